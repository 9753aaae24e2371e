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
			for n := 0; key != nil && n < decisionPage; n++ {
				end, err := decisionEnd(record)
				if err != nil {
					return fmt.Errorf("decision %d: %w", keyID(key), recordError(err))
				}
				if end.After(endAfter) {
					page = append(page, decisions.Decision{})
					if err := loadDecision(key, record, known, &page[len(page)-1]); err != nil {
						return err
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
		for _, id := range ids {
			key := idKey(id)
			record := b.Get(key)
			if record == nil {
				continue
			}
			var d decisions.Decision
			if err := loadDecision(key, record, nil, &d); err != nil {
				return err
			}
			d.Until = until
			if err := b.Put(key, encode(decisionVersion, &d, (*coder).decision)); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot expire decisions: %w", err)
	}
	return n, nil
}

func loadDecision(key, record []byte, n names, d *decisions.Decision) error {
	d.ID = keyID(key)
	if err := decode(decisionVersion, record, n, d, (*coder).decision); err != nil {
		return fmt.Errorf("decision %d: %w", d.ID, recordError(err))
	}
	return nil
}
