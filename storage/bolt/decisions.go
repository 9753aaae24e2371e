package bolt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"cs/decisions"
)

// decisionPage is how many decisions one read transaction of a walk looks at.
const decisionPage = 1024

func (s *Store) EachDecision(ctx context.Context, endAfter time.Time, f func(*decisions.Decision) bool) error {
	known := make(names)
	page := make([]decisions.Decision, 0, decisionPage)
	for next := int64(1); next > 0; {
		page = page[:0]
		err := s.read(ctx, func(tx *bbolt.Tx) error {
			c := tx.Bucket(decisionsBucket).Cursor()
			key, record := c.Seek(idKey(next))
			for n := 0; key != nil && n < decisionPage; {
				run, err := loadRun(key, record, known)
				if err != nil {
					return err
				}
				n += len(run)
				for i := range run {
					if run[i].Until.After(endAfter) {
						page = append(page, run[i])
					}
				}
				key, record = c.Next()
			}
			next = keyID(key)
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot read decisions: %w", err)
		}
		for i := range page {
			if !f(&page[i]) {
				return nil
			}
		}
	}
	return nil
}

func (s *Store) ExpireDecisions(ctx context.Context, ids []int64, until time.Time) (n int, err error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	err = s.write(ctx, func(tx *bbolt.Tx) error {
		n = 0
		b := tx.Bucket(decisionsBucket)
		for left := ids; len(left) > 0; {
			key, record := b.Cursor().Seek(idKey(left[0]))
			if key == nil {
				return nil
			}
			run, err := loadRun(key, record, nil)
			if err != nil {
				return err
			}
			before := n
			for last := keyID(key); len(left) > 0 && left[0] <= last; left = left[1:] {
				if i := left[0] - run[0].ID; i >= 0 {
					run[i].Until = until
					n++
				}
			}
			if n == before {
				continue
			}
			if err := b.Put(key, encodeRun(nil, run)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot expire decisions: %w", err)
	}
	return n, nil
}

// runLength is how many decisions are in one record at most. Who changes one
// writes all of them.
const runLength = 128

// putRuns writes decisions of one alert, whose IDs follow each other.
func putRuns(b *bbolt.Bucket, ds []decisions.Decision) error {
	size := 0
	for len(ds) > 0 {
		n := min(len(ds), runLength)
		record := encodeRun(make([]byte, 0, size), ds[:n])
		size = len(record) + len(record)/32 // the next one is about as long
		if err := b.Put(idKey(ds[n-1].ID), record); err != nil {
			return err
		}
		ds = ds[n:]
	}
	return nil
}

func encodeRun(buf []byte, run []decisions.Decision) []byte {
	version := byte(1)
	if len(run) > 1 {
		version = decisionVersion
	}
	c := coder{buf: append(buf, version), version: version}
	c.run(&run)
	return c.buf
}

// loadRun reads decisions, whose last one's ID is the key.
func loadRun(key, record []byte, n names) (run []decisions.Decision, err error) {
	last := keyID(key)
	if err = decode(decisionVersion, record, n, &run, (*coder).run); err == nil && last < int64(len(run)) {
		err = errNumber
	}
	if err != nil {
		return nil, fmt.Errorf("decision %d: %w", last, recordError(err))
	}
	for i := range run {
		run[i].ID = last - int64(len(run)-1-i)
	}
	return run, nil
}

// eachRun calls f for the records of the decisions of an alert, which may be
// incomplete in a damaged file.
func eachRun(b *bbolt.Bucket, a *alertRecord, f func(key, record []byte) error) error {
	if a.count == 0 {
		return nil
	}
	end := a.first + int64(a.count)
	c := b.Cursor()
	for key, record := c.Seek(idKey(a.first)); key != nil && keyID(key) < end; key, record = c.Next() {
		if err := f(key, record); err != nil {
			return err
		}
	}
	return nil
}
