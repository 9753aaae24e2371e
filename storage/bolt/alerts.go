package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"cs/decisions"
	"cs/storage"
)

// A page of a walk over alerts ends when it holds this many alerts, decisions, or
// bytes of the rest of them: what is in memory at a time stays small.
const (
	alertPage          = 64
	alertPageDecisions = 1024
	alertPageBytes     = 1 << 20
)

func (s *Store) AddAlerts(ctx context.Context, alerts []decisions.Alert) (known []bool, err error) {
	known = make([]bool, len(alerts))
	err = s.write(ctx, func(tx *bbolt.Tx) error {
		w := newAlertWriter(tx)
		for i := range alerts {
			if known[i], err = w.add(&alerts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot store alerts: %w", err)
	}
	for i := range alerts {
		if known[i] { // not before it is on disk: the transaction may be done again
			alerts[i].Decisions = nil
		}
	}
	return known, nil
}

func (s *Store) Restore(ctx context.Context, alerts []decisions.Alert) error {
	err := s.write(ctx, func(tx *bbolt.Tx) error {
		w := newAlertWriter(tx)
		for i := range alerts {
			if err := w.restore(alerts[i]); err != nil {
				return fmt.Errorf("alert %d: %w", alerts[i].ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot restore alerts: %w", err)
	}
	return nil
}

// alertWriter adds alerts in one transaction.
type alertWriter struct {
	alerts, heads, byUUID, decisions *bbolt.Bucket

	records []byte // where the next ones go, many to an allocation
}

func newAlertWriter(tx *bbolt.Tx) alertWriter {
	w := alertWriter{
		alerts:    tx.Bucket(alertsBucket),
		heads:     tx.Bucket(alertHeadsBucket),
		byUUID:    tx.Bucket(alertUUIDBucket),
		decisions: tx.Bucket(decisionsBucket),
	}
	w.alerts.FillPercent = fill
	w.heads.FillPercent = fill
	w.decisions.FillPercent = fill
	return w
}

func (w *alertWriter) add(a *decisions.Alert) (known bool, err error) {
	if a.UUID != "" {
		key := uuidKey(a.MachineID, a.UUID)
		if id := keyID(w.byUUID.Get(key)); id > 0 {
			a.ID = id
			return true, nil
		}
	}
	if a.ID, err = nextID(w.alerts); err != nil {
		return false, err
	}
	for i := range a.Decisions {
		if a.Decisions[i].ID, err = nextID(w.decisions); err != nil {
			return false, err
		}
	}
	return false, w.put(a)
}

// restore adds an alert under the IDs that it has.
func (w *alertWriter) restore(a decisions.Alert) error {
	last := int64(w.decisions.Sequence())
	for i := range a.Decisions {
		if id := a.Decisions[i].ID; id <= last || i > 0 && id != last+1 {
			return fmt.Errorf("decision %d: %w", id, storage.ErrExists)
		}
		last = a.Decisions[i].ID
	}
	if a.ID <= int64(w.alerts.Sequence()) {
		return storage.ErrExists
	}
	if err := errors.Join(w.alerts.SetSequence(uint64(a.ID)), w.decisions.SetSequence(uint64(last))); err != nil {
		return err
	}
	return w.put(&a)
}

// put writes an alert and its decisions, which have their IDs.
func (w *alertWriter) put(a *decisions.Alert) error {
	record := alertRecord{Alert: *a, count: uint64(len(a.Decisions))}
	if record.count > 0 {
		record.first = a.Decisions[0].ID
	}
	for i := range a.Decisions {
		a.Decisions[i].AlertID = a.ID
	}
	if err := putRuns(w.decisions, a.Decisions); err != nil {
		return err
	}
	if err := w.link(&record); err != nil {
		return err
	}
	return w.alerts.Put(idKey(a.ID), w.record(alertVersion, func(c *coder) { c.alert(&record) }))
}

// record returns what walk writes, which is good as long as the transaction.
func (w *alertWriter) record(version byte, walk func(*coder)) []byte {
	const room, most = 64 << 10, 4 << 10
	if cap(w.records)-len(w.records) < most {
		w.records = make([]byte, 0, room)
	}
	c := coder{buf: append(w.records, version), version: version}
	walk(&c)
	record := c.buf[len(w.records):len(c.buf):len(c.buf)]
	w.records = c.buf // of a long one it may be another array, which is as good
	return record
}

// link notes an alert where it is looked for by its age and by its UUID.
func (w *alertWriter) link(a *alertRecord) error {
	if err := putHead(w.heads, a); err != nil || a.UUID == "" {
		return err
	}
	return w.byUUID.Put(uuidKey(a.MachineID, a.UUID), idKey(a.ID))
}

// putHead notes an alert among those by which old ones are found.
func putHead(heads *bbolt.Bucket, a *alertRecord) error {
	h := storage.AlertHead{Created: a.Created, Decisions: int(a.count)}
	return heads.Put(idKey(a.ID), encode(alertHeadVersion, &h, (*coder).alertHead))
}

func nextID(b *bbolt.Bucket) (int64, error) {
	id, err := b.NextSequence()
	return int64(id), err
}

func (s *Store) Alert(ctx context.Context, id int64) (decisions.Alert, error) {
	var a alertRecord
	err := s.read(ctx, func(tx *bbolt.Tx) error {
		key := idKey(id)
		record := tx.Bucket(alertsBucket).Get(key)
		if record == nil {
			return storage.ErrNotFound
		}
		return loadAlert(tx, key, record, nil, &a)
	})
	if err != nil {
		return decisions.Alert{}, fmt.Errorf("cannot read alert %d: %w", id, err)
	}
	return a.Alert, nil
}

// loadAlert reads an alert with its decisions.
func loadAlert(tx *bbolt.Tx, key, record []byte, n names, a *alertRecord) error {
	a.ID = keyID(key)
	if err := decode(alertVersion, record, n, a, (*coder).alert); err != nil {
		return recordError(err)
	}
	err := eachRun(tx.Bucket(decisionsBucket), a, func(key, record []byte) error {
		run, err := loadRun(key, record, n)
		if err == nil && run[0].ID != a.first+int64(len(a.Decisions)) {
			err = missing(a)
		}
		if a.Decisions == nil {
			a.Decisions = run
		} else {
			a.Decisions = append(a.Decisions, run...)
		}
		return err
	})
	if err == nil && uint64(len(a.Decisions)) != a.count {
		err = missing(a)
	}
	return err
}

func missing(a *alertRecord) error {
	return corrupt(fmt.Errorf("decision %d of alert %d is missing", a.first+int64(len(a.Decisions)), a.ID))
}

func (s *Store) EachAlert(ctx context.Context, filter storage.AlertFilter, f func(*decisions.Alert) bool) error {
	w := alertWalk{filter: filter, names: make(names)}
	seen := 0
	for !w.done {
		clear(w.page) // a large one shall not outlive its page
		w.page = w.page[:0]
		if err := s.read(ctx, w.read); err != nil {
			return fmt.Errorf("cannot read alerts: %w", err)
		}
		for i := range w.page {
			a := &w.page[i].Alert
			if filter.Match != nil && !filter.Match(a) {
				continue
			}
			if seen++; !f(a) || seen == filter.Limit {
				return nil
			}
		}
	}
	return nil
}

// alertWalk goes through the alerts page by page.
type alertWalk struct {
	filter storage.AlertFilter
	names  names
	page   []alertRecord
	last   int64 // ID at which the last page ended; 0: at the start
	done   bool
}

// read fills the next page.
func (w *alertWalk) read(tx *bbolt.Tx) error {
	c := tx.Bucket(alertsBucket).Cursor()
	total, size := 0, 0
	for key, record := w.seek(c); ; key, record = w.step(c) {
		if key == nil {
			w.done = true
			return nil
		}
		if len(w.page) >= alertPage || total >= alertPageDecisions || size >= alertPageBytes {
			return nil
		}
		w.last = keyID(key)
		start, err := alertStart(record)
		if err != nil {
			return fmt.Errorf("alert %d: %w", w.last, recordError(err))
		}
		if !w.filter.Since.IsZero() && start.Before(w.filter.Since) || !w.filter.Until.IsZero() && start.After(w.filter.Until) {
			continue
		}
		w.page = append(w.page, alertRecord{})
		a := &w.page[len(w.page)-1]
		if err := loadAlert(tx, key, record, w.names, a); err != nil {
			return fmt.Errorf("alert %d: %w", w.last, err)
		}
		total += len(a.Decisions)
		size += len(record)
	}
}

// seek moves to the first alert that no page has held.
func (w *alertWalk) seek(c *bbolt.Cursor) (key, record []byte) {
	switch {
	case w.filter.Oldest:
		return c.Seek(idKey(w.last + 1))
	case w.last == 0:
		return c.Last()
	}
	if key, _ := c.Seek(idKey(w.last)); key == nil {
		return c.Last() // the alert itself and all after it are gone meanwhile
	}
	return c.Prev()
}

func (w *alertWalk) step(c *bbolt.Cursor) (key, record []byte) {
	if w.filter.Oldest {
		return c.Next()
	}
	return c.Prev()
}

func (s *Store) DeleteAlerts(ctx context.Context, ids []int64) (n int, err error) {
	err = s.write(ctx, func(tx *bbolt.Tx) error {
		n = 0
		for _, id := range ids {
			deleted, err := deleteAlert(tx, id)
			if err != nil {
				return fmt.Errorf("alert %d: %w", id, err)
			}
			if deleted {
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot delete alerts: %w", err)
	}
	return n, nil
}

func deleteAlert(tx *bbolt.Tx, id int64) (bool, error) {
	alerts, all := tx.Bucket(alertsBucket), tx.Bucket(decisionsBucket)
	key := idKey(id)
	record := alerts.Get(key)
	if record == nil {
		return false, nil
	}
	var a alertRecord
	a.ID = id
	if err := decode(alertVersion, record, nil, &a, (*coder).alert); err != nil {
		return false, recordError(err)
	}
	var doomed [][]byte // none is deleted while they are walked over
	err := eachRun(all, &a, func(key, _ []byte) error {
		doomed = append(doomed, bytes.Clone(key))
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, key := range doomed {
		if err := all.Delete(key); err != nil {
			return false, err
		}
	}
	if a.UUID != "" {
		if err := tx.Bucket(alertUUIDBucket).Delete(uuidKey(a.MachineID, a.UUID)); err != nil {
			return false, err
		}
	}
	if err := tx.Bucket(alertHeadsBucket).Delete(key); err != nil {
		return false, err
	}
	return true, alerts.Delete(key)
}

func (s *Store) AlertHeads(ctx context.Context, after int64, limit int) (heads []storage.AlertHead, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx) error {
		heads = make([]storage.AlertHead, 0, min(limit, 1024))
		c := tx.Bucket(alertHeadsBucket).Cursor()
		for key, record := c.Seek(idKey(after + 1)); key != nil && len(heads) < limit; key, record = c.Next() {
			h := storage.AlertHead{ID: keyID(key)}
			if err := decode(alertHeadVersion, record, nil, &h, (*coder).alertHead); err != nil {
				return fmt.Errorf("alert %d: %w", h.ID, recordError(err))
			}
			heads = append(heads, h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look through the alerts: %w", err)
	}
	return heads, nil
}

func (s *Store) LastAlert(ctx context.Context) (id int64, err error) {
	err = s.read(ctx, func(tx *bbolt.Tx) error {
		key, _ := tx.Bucket(alertHeadsBucket).Cursor().Last()
		id = keyID(key)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot find the newest alert: %w", err)
	}
	return id, nil
}

func (s *Store) HasAlerts(ctx context.Context, machineID string) (found bool, err error) {
	prefix := uuidKey(machineID, "")
	err = s.read(ctx, func(tx *bbolt.Tx) error {
		key, _ := tx.Bucket(alertUUIDBucket).Cursor().Seek(prefix)
		found = bytes.HasPrefix(key, prefix)
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("cannot look for alerts of machine %q: %w", machineID, err)
	}
	return found, nil
}
