package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"cs/decisions"
	"cs/platform"
	"cs/storage"
)

// skipIDs is how many IDs are left out where it can't be read which were given.
const skipIDs = 1 << 20

// repairBatch is how many records a repair writes in one transaction.
const repairBatch = 10_000

// Repaired is what a repair has saved, and what it could not.
type Repaired struct {
	// Kept counts the records of each bucket, Lost those that were found but
	// can't be read.
	Kept, Lost map[string]int
	// Pages counts the damaged pages. What stood on them is not known, if it
	// wasn't found in an older state of the file.
	Pages int
	// Adopted counts decisions whose alerts are lost. They stay in force: each
	// has been given an alert that says so.
	Adopted int
	Damaged string // where the damaged file is now
}

// Whole tells whether nothing is missing.
func (r *Repaired) Whole() bool { return r.Pages == 0 && len(r.Lost) == 0 && r.Adopted == 0 }

// Repair writes what can be read of the file at path to a new one, which takes
// its place; the damaged file stays beside it under another name. It fails with
// storage.ErrLocked while a process uses the file, and leaves everything as it
// is if nothing can be saved.
//
// The newest state of the file is taken. Where pages of it are damaged, what
// was on them is looked for in older states, so that records may come back that
// had been deleted a short while before.
func Repair(ctx context.Context, path string) (r *Repaired, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot repair %s: %w", path, err)
		}
	}()
	if _, err := os.Stat(path); err != nil {
		return nil, pathCause(err)
	}
	lock, err := platform.Lock(path)
	if errors.Is(err, platform.ErrLocked) {
		return nil, storage.ErrLocked
	} else if err != nil {
		return nil, pathCause(err)
	}
	defer lock.Close()
	file := lock.(*os.File) // another one could not be read on Windows
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	fresh := path + ".repaired"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	w := &repair{from: &salvage{file: file, size: info.Size()}, out: Repaired{Kept: map[string]int{}, Lost: map[string]int{}}}
	if err := w.run(ctx, fresh); err != nil {
		return nil, errors.Join(err, remove(fresh))
	}
	w.out.Damaged = freeName(path + ".damaged")
	lock.Close() // Windows renames no open file
	if err := os.Rename(path, w.out.Damaged); err != nil {
		return nil, err
	}
	if err := os.Rename(fresh, path); err != nil {
		return nil, errors.Join(err, os.Rename(w.out.Damaged, path))
	}
	return &w.out, platform.SyncDir(filepath.Dir(path))
}

func pathCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// freeName returns a name that no file has: the given one, or with a number.
func freeName(path string) string {
	name := path
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", path, n)
	}
}

// repair is one run of Repair.
type repair struct {
	from *salvage
	db   *bbolt.DB
	out  Repaired
}

func (w *repair) run(ctx context.Context, path string) (err error) {
	w.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 1, FreelistType: bbolt.FreelistMapType, NoStatistics: true, NoSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.db.Sync(), w.db.Close()) }() // once is enough
	if err := w.db.Update(func(tx *bbolt.Tx) error { return upgrade(tx, 0) }); err != nil {
		return err
	}
	roots, kept := w.from.roots(), 0
	for _, b := range buckets {
		switch string(b.name) {
		case string(metaBucket), string(alertHeadsBucket), string(alertUUIDBucket):
			continue // made from the others
		}
		if err := w.bucket(ctx, roots, b.name); err != nil {
			return err
		}
		kept += w.out.Kept[string(b.name)]
	}
	w.out.Pages = w.from.bad
	if kept == 0 {
		return errors.New("nothing in it can be read")
	}
	if err := w.link(ctx); err != nil {
		return err
	}
	return w.adopt(ctx)
}

// entry is a key with its record.
type entry struct{ key, record []byte }

// bucket copies what can be read of a bucket.
func (w *repair) bucket(ctx context.Context, roots []root, name []byte) error {
	var sequence, last uint64
	var batch []entry
	var failed error
	flush := func() {
		if failed = errors.Join(ctx.Err(), failed); failed == nil {
			failed = w.put(name, batch)
		}
		batch = batch[:0]
	}
	for _, r := range roots {
		whole := false
		w.from.buckets(r, func(found, header []byte) {
			if !bytes.Equal(found, name) {
				return
			}
			sequence = max(sequence, binary.NativeEndian.Uint64(header[8:]))
			whole = w.from.records(header, func(key, record []byte) {
				if !valid(name, key, record) {
					if !bytes.Equal(name, decisionsBucket) { // link counts those
						w.out.Lost[string(name)]++
					}
					return
				}
				last = max(last, uint64(keyID(key)))
				batch = append(batch, entry{bytes.Clone(key), bytes.Clone(record)})
				if len(batch) == repairBatch {
					flush()
				}
			})
		})
		if flush(); failed != nil {
			return failed
		}
		if whole {
			break
		}
	}
	if sequence == 0 {
		sequence = skipIDs
	}
	return w.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(name).SetSequence(max(sequence, last+1)) })
}

// put adds entries that are not there yet: a newer state has been read before.
func (w *repair) put(name []byte, batch []entry) error {
	return w.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(name)
		b.FillPercent = fill
		for _, e := range batch {
			if b.Get(e.key) != nil {
				continue
			}
			n := 1
			if bytes.Equal(name, decisionsBucket) {
				run, err := loadRun(e.key, e.record, nil)
				if err != nil {
					return err
				}
				if taken, err := overlaps(b, run); err != nil {
					return err
				} else if taken {
					continue
				}
				n = len(run)
			}
			if err := b.Put(e.key, e.record); err != nil {
				return err
			}
			w.out.Kept[string(name)] += n
		}
		return nil
	})
}

// overlaps tells whether some of a run's IDs are given: a state that a crash kept
// from becoming valid may have had others under them.
func overlaps(all *bbolt.Bucket, run []decisions.Decision) (bool, error) {
	key, record := all.Cursor().Seek(idKey(run[0].ID))
	if key == nil {
		return false, nil
	}
	next, err := loadRun(key, record, nil)
	return err == nil && next[0].ID <= run[len(run)-1].ID, err
}

// valid tells whether a record can be used.
func valid(bucket, key, record []byte) bool {
	var err error
	switch string(bucket) {
	case string(machinesBucket):
		err = decode(machineVersion, record, nil, new(storage.Machine), (*coder).machine)
	case string(bouncersBucket):
		err = decode(bouncerVersion, record, nil, new(storage.Bouncer), (*coder).bouncer)
	case string(allowlistsBucket):
		err = decode(allowlistVersion, record, nil, new(storage.Allowlist), (*coder).allowlist)
	case string(alertsBucket):
		err = decode(alertVersion, record, nil, new(alertRecord), (*coder).alert)
	case string(decisionsBucket):
		_, err = loadRun(key, record, nil)
	default:
		return true
	}
	if numbered := string(bucket) == string(alertsBucket) || string(bucket) == string(decisionsBucket); numbered && keyID(key) <= 0 {
		return false
	}
	return err == nil
}

// pages calls f with all entries of a bucket, some at a time. f may change it.
func (w *repair) pages(ctx context.Context, name []byte, f func(tx *bbolt.Tx, page []entry) error) error {
	var last []byte
	for {
		var page []entry
		err := w.db.Update(func(tx *bbolt.Tx) error {
			c := tx.Bucket(name).Cursor()
			key, record := c.Seek(last)
			if last != nil && bytes.Equal(key, last) {
				key, record = c.Next()
			}
			for ; key != nil && len(page) < repairBatch; key, record = c.Next() {
				page = append(page, entry{bytes.Clone(key), bytes.Clone(record)})
			}
			return f(tx, page)
		})
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		last = page[len(page)-1].key
	}
}

// link makes what leads to the alerts, and has each own no decisions but those
// that are there: the longest run of them.
func (w *repair) link(ctx context.Context) error {
	return w.pages(ctx, alertsBucket, func(tx *bbolt.Tx, page []entry) error {
		to := newAlertWriter(tx)
		for _, e := range page {
			var a alertRecord
			if err := decode(alertVersion, e.record, nil, &a, (*coder).alert); err != nil {
				return err
			}
			a.ID = keyID(e.key)
			first, count, lost, err := longestRun(to.decisions, &a)
			if err != nil {
				return err
			}
			if count != a.count {
				if lost > 0 {
					w.out.Lost[string(decisionsBucket)] += lost
				}
				a.first, a.count = first, count
				if err := to.alerts.Put(e.key, encode(alertVersion, &a, (*coder).alert)); err != nil {
					return err
				}
			}
			if err := to.link(&a); err != nil {
				return err
			}
		}
		return nil
	})
}

// longestRun returns the longest run of an alert's decisions without a gap, and
// how many of them all are not there.
func longestRun(all *bbolt.Bucket, a *alertRecord) (first int64, count uint64, lost int, err error) {
	next, length := a.first, uint64(0)
	lost = int(min(a.count, 1<<30))
	err = eachRun(all, a, func(key, record []byte) error {
		run, err := loadRun(key, record, nil)
		if err != nil || run[0].ID < a.first {
			return err
		}
		if run[0].ID != next {
			length = 0
		}
		next = keyID(key) + 1
		lost -= len(run)
		if length += uint64(len(run)); length > count {
			first, count = next-int64(length), length
		}
		return nil
	})
	if a.count == 0 {
		first = a.first
	}
	return first, count, lost, err
}

// adopt gives decisions whose alert does not have them an alert of their own:
// what is banned stays banned.
func (w *repair) adopt(ctx context.Context) error {
	return w.pages(ctx, decisionsBucket, func(tx *bbolt.Tx, page []entry) error {
		to := newAlertWriter(tx)
		var orphans []decisions.Decision
		for _, e := range page {
			run, err := loadRun(e.key, e.record, nil)
			if err != nil {
				return err
			}
			d := &run[0]
			if owns(to.alerts, d) { // one, and so all
				continue
			}
			if n := len(orphans); n > 0 && (orphans[n-1].ID+1 != d.ID || orphans[n-1].AlertID != d.AlertID) {
				if err := w.foster(to, orphans); err != nil {
					return err
				}
				orphans = orphans[:0]
			}
			if err := to.decisions.Delete(e.key); err != nil { // foster cuts them anew
				return err
			}
			orphans = append(orphans, run...)
		}
		return w.foster(to, orphans)
	})
}

// owns tells whether the alert that a decision names has it.
func owns(alerts *bbolt.Bucket, d *decisions.Decision) bool {
	var a alertRecord
	record := alerts.Get(idKey(d.AlertID))
	return record != nil && decode(alertVersion, record, nil, &a, (*coder).alert) == nil &&
		d.ID >= a.first && d.ID-a.first < int64(a.count)
}

// foster makes an alert for decisions with consecutive IDs.
func (w *repair) foster(to alertWriter, orphans []decisions.Decision) (err error) {
	if len(orphans) == 0 {
		return nil
	}
	d := orphans[0]
	a := alertRecord{first: d.ID, count: uint64(len(orphans)), Alert: decisions.Alert{
		UUID: decisions.NewUUID(), Scenario: d.Scenario, Message: "the alert of these decisions was lost", Simulated: d.Simulated,
		Source: decisions.Source{Scope: d.Scope, Value: d.Value}, StartAt: d.Created, StopAt: d.Created, Created: d.Created,
	}}
	if a.ID, err = nextID(to.alerts); err != nil {
		return err
	}
	for i := range orphans {
		orphans[i].AlertID = a.ID
	}
	if err := putRuns(to.decisions, orphans); err != nil {
		return err
	}
	w.out.Adopted += len(orphans)
	if err := to.alerts.Put(idKey(a.ID), encode(alertVersion, &a, (*coder).alert)); err != nil {
		return err
	}
	return to.link(&a)
}
