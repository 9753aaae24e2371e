// Package mem is a Store without a file, for tests: plain maps behind one
// lock, obvious on purpose, so that it can serve as the twin that cleverer
// backends are compared with. It forgets everything at the end of the process.
package mem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cs/decisions"
	"cs/platform/order"
	"cs/storage"
)

var _ storage.Store = (*Store)(nil)

var (
	errClosed = errors.New("the store is closed")
	errNoName = errors.New("the name is empty")
)

// Store keeps everything in memory. Use New.
type Store struct {
	mu           sync.Mutex
	closed       bool
	machines     map[string]storage.Machine
	bouncers     map[string]storage.Bouncer
	allowlists   map[string]storage.Allowlist
	alerts       []decisions.Alert // by rising ID, without their decisions
	decisions    []decisions.Decision
	values       map[string][]byte
	lastAlert    int64
	lastDecision int64
}

// New returns an empty store.
func New() *Store {
	return &Store{
		machines:   make(map[string]storage.Machine),
		bouncers:   make(map[string]storage.Bouncer),
		allowlists: make(map[string]storage.Allowlist),
		values:     make(map[string][]byte),
	}
}

// do runs f under the lock, unless the context has ended or the store is closed.
func (s *Store) do(ctx context.Context, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f()
}

// Close makes later calls fail, as those of a store with a file do.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *Store) AddMachine(ctx context.Context, m storage.Machine) error {
	return s.do(ctx, func() error {
		return add(s.machines, "machine", m.ID, copyMachine(m))
	})
}

func (s *Store) Machine(ctx context.Context, id string) (m storage.Machine, err error) {
	err = s.do(ctx, func() error {
		m, err = get(s.machines, "machine", id)
		m = copyMachine(m)
		return err
	})
	return m, err
}

func (s *Store) Machines(ctx context.Context) (list []storage.Machine, err error) {
	err = s.do(ctx, func() error {
		for _, m := range s.machines {
			list = append(list, copyMachine(m))
		}
		order.Sort(list, func(a, b storage.Machine) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
		return nil
	})
	return list, err
}

func (s *Store) UpdateMachine(ctx context.Context, id string, change func(*storage.Machine) error) error {
	return s.do(ctx, func() error {
		m, err := get(s.machines, "machine", id)
		if err != nil {
			return err
		}
		m = copyMachine(m)
		if err := change(&m); err != nil {
			return fmt.Errorf("cannot update machine %q: %w", id, err)
		}
		m.ID = id
		s.machines[id] = copyMachine(m)
		return nil
	})
}

func (s *Store) DeleteMachine(ctx context.Context, id string) error {
	return s.do(ctx, func() error { return remove(s.machines, "machine", id) })
}

func (s *Store) AddBouncer(ctx context.Context, b storage.Bouncer) error {
	return s.do(ctx, func() error {
		return add(s.bouncers, "bouncer", b.Name, copyBouncer(b))
	})
}

func (s *Store) Bouncer(ctx context.Context, name string) (b storage.Bouncer, err error) {
	err = s.do(ctx, func() error {
		b, err = get(s.bouncers, "bouncer", name)
		b = copyBouncer(b)
		return err
	})
	return b, err
}

func (s *Store) Bouncers(ctx context.Context) (list []storage.Bouncer, err error) {
	err = s.do(ctx, func() error {
		for _, b := range s.bouncers {
			list = append(list, copyBouncer(b))
		}
		order.Sort(list, func(a, b storage.Bouncer) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
		})
		return nil
	})
	return list, err
}

func (s *Store) UpdateBouncer(ctx context.Context, name string, change func(*storage.Bouncer) error) error {
	return s.do(ctx, func() error {
		b, err := get(s.bouncers, "bouncer", name)
		if err != nil {
			return err
		}
		b = copyBouncer(b)
		if err := change(&b); err != nil {
			return fmt.Errorf("cannot update bouncer %q: %w", name, err)
		}
		b.Name = name
		s.bouncers[name] = copyBouncer(b)
		return nil
	})
}

func (s *Store) DeleteBouncer(ctx context.Context, name string) error {
	return s.do(ctx, func() error { return remove(s.bouncers, "bouncer", name) })
}

func (s *Store) StampBouncers(ctx context.Context, stamps []storage.BouncerStamp) error {
	return s.do(ctx, func() error {
		for _, stamp := range stamps {
			if b, ok := s.bouncers[stamp.Name]; ok {
				b.LastPull, b.Cursor = stamp.LastPull.UTC(), stamp.Cursor
				s.bouncers[stamp.Name] = b
			}
		}
		return nil
	})
}

func (s *Store) StampMachines(ctx context.Context, stamps []storage.MachineStamp) error {
	return s.do(ctx, func() error {
		for _, stamp := range stamps {
			m, ok := s.machines[stamp.ID]
			if !ok {
				continue
			}
			if !stamp.LastHeartbeat.IsZero() {
				m.LastHeartbeat = stamp.LastHeartbeat.UTC()
			}
			if !stamp.LastPush.IsZero() {
				m.LastPush = stamp.LastPush.UTC()
			}
			s.machines[stamp.ID] = m
		}
		return nil
	})
}

func (s *Store) AddAlerts(ctx context.Context, alerts []decisions.Alert) (known []bool, err error) {
	err = s.do(ctx, func() error {
		known = make([]bool, len(alerts))
		for i := range alerts {
			known[i] = s.addAlert(&alerts[i])
		}
		return nil
	})
	return known, err
}

// addAlert stores one alert and gives it its ID; it tells whether it is known.
func (s *Store) addAlert(a *decisions.Alert) (known bool) {
	if a.UUID != "" {
		for _, old := range s.alerts {
			if old.MachineID == a.MachineID && old.UUID == a.UUID {
				a.ID, a.Decisions = old.ID, nil
				return true
			}
		}
	}
	s.lastAlert++
	a.ID = s.lastAlert
	for i := range a.Decisions {
		s.lastDecision++
		a.Decisions[i].ID, a.Decisions[i].AlertID = s.lastDecision, a.ID
		s.decisions = append(s.decisions, copyDecision(a.Decisions[i]))
	}
	kept := copyAlert(*a)
	kept.Decisions = nil
	s.alerts = append(s.alerts, kept)
	return false
}

func (s *Store) Restore(ctx context.Context, alerts []decisions.Alert) error {
	return s.do(ctx, func() error {
		lastAlert, lastDecision := s.lastAlert, s.lastDecision
		for _, a := range alerts {
			for i, d := range a.Decisions {
				if d.ID <= lastDecision || i > 0 && d.ID != lastDecision+1 {
					return fmt.Errorf("cannot restore alerts: alert %d: decision %d: %w", a.ID, d.ID, storage.ErrExists)
				}
				lastDecision = d.ID
			}
			if a.ID <= lastAlert {
				return fmt.Errorf("cannot restore alerts: alert %d: %w", a.ID, storage.ErrExists)
			}
			lastAlert = a.ID
		}
		for _, a := range alerts {
			for _, d := range a.Decisions {
				d.AlertID = a.ID
				s.decisions = append(s.decisions, copyDecision(d))
			}
			a = copyAlert(a)
			a.Decisions = nil
			s.alerts = append(s.alerts, a)
		}
		s.lastAlert, s.lastDecision = lastAlert, lastDecision
		return nil
	})
}

func (s *Store) Alert(ctx context.Context, id int64) (a decisions.Alert, err error) {
	err = s.do(ctx, func() error {
		for _, kept := range s.alerts {
			if kept.ID == id {
				a = s.whole(kept)
				return nil
			}
		}
		return fmt.Errorf("cannot read alert %d: %w", id, storage.ErrNotFound)
	})
	return a, err
}

// whole returns a copy of an alert with its decisions as they are now.
func (s *Store) whole(kept decisions.Alert) decisions.Alert {
	a := copyAlert(kept)
	for _, d := range s.decisions {
		if d.AlertID == a.ID {
			a.Decisions = append(a.Decisions, d)
		}
	}
	return a
}

func (s *Store) EachAlert(ctx context.Context, filter storage.AlertFilter, f func(*decisions.Alert) bool) error {
	var list []decisions.Alert
	err := s.do(ctx, func() error {
		for _, kept := range s.alerts {
			list = append(list, s.whole(kept))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !filter.Oldest {
		slices.Reverse(list)
	}
	n := 0
	for i := range list {
		a := &list[i]
		switch {
		case !filter.Since.IsZero() && a.StartAt.Before(filter.Since),
			!filter.Until.IsZero() && a.StartAt.After(filter.Until),
			filter.Match != nil && !filter.Match(a):
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if n++; !f(a) || n == filter.Limit {
			break
		}
	}
	return nil
}

func (s *Store) DeleteAlerts(ctx context.Context, ids []int64) (n int, err error) {
	err = s.do(ctx, func() error {
		before := len(s.alerts)
		s.alerts = slices.DeleteFunc(s.alerts, func(a decisions.Alert) bool { return slices.Contains(ids, a.ID) })
		s.decisions = slices.DeleteFunc(s.decisions, func(d decisions.Decision) bool { return slices.Contains(ids, d.AlertID) })
		n = before - len(s.alerts)
		return nil
	})
	return n, err
}

func (s *Store) AlertHeads(ctx context.Context, after int64, limit int) (heads []storage.AlertHead, err error) {
	err = s.do(ctx, func() error {
		for _, kept := range s.alerts {
			if kept.ID > after && len(heads) < limit {
				heads = append(heads, storage.AlertHead{ID: kept.ID, Created: kept.Created, Decisions: len(s.whole(kept).Decisions)})
			}
		}
		return nil
	})
	return heads, err
}

func (s *Store) LastAlert(ctx context.Context) (id int64, err error) {
	err = s.do(ctx, func() error {
		for _, kept := range s.alerts {
			id = kept.ID
		}
		return nil
	})
	return id, err
}

func (s *Store) HasAlerts(ctx context.Context, machineID string) (found bool, err error) {
	err = s.do(ctx, func() error {
		found = slices.ContainsFunc(s.alerts, func(a decisions.Alert) bool { return a.MachineID == machineID && a.UUID != "" })
		return nil
	})
	return found, err
}

func (s *Store) EachDecision(ctx context.Context, endAfter time.Time, f func(*decisions.Decision) bool) error {
	var list []decisions.Decision
	err := s.do(ctx, func() error {
		list = slices.Clone(s.decisions)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if list[i].Until.After(endAfter) && !f(&list[i]) {
			break
		}
	}
	return nil
}

func (s *Store) ExpireDecisions(ctx context.Context, ids []int64, until time.Time) (n int, err error) {
	err = s.do(ctx, func() error {
		for i := range s.decisions {
			if slices.Contains(ids, s.decisions[i].ID) {
				s.decisions[i].Until = until.UTC()
				n++
			}
		}
		return nil
	})
	return n, err
}

func (s *Store) AddAllowlist(ctx context.Context, l storage.Allowlist) error {
	return s.do(ctx, func() error {
		return add(s.allowlists, "allowlist", l.Name, copyAllowlist(l))
	})
}

func (s *Store) Allowlist(ctx context.Context, name string) (l storage.Allowlist, err error) {
	err = s.do(ctx, func() error {
		l, err = get(s.allowlists, "allowlist", name)
		l = copyAllowlist(l)
		return err
	})
	return l, err
}

func (s *Store) Allowlists(ctx context.Context) (list []storage.Allowlist, err error) {
	err = s.do(ctx, func() error {
		for _, l := range s.allowlists {
			list = append(list, copyAllowlist(l))
		}
		order.Sort(list, func(a, b storage.Allowlist) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
		})
		return nil
	})
	return list, err
}

func (s *Store) UpdateAllowlist(ctx context.Context, name string, change func(*storage.Allowlist) error) error {
	return s.do(ctx, func() error {
		l, err := get(s.allowlists, "allowlist", name)
		if err != nil {
			return err
		}
		l = copyAllowlist(l)
		if err := change(&l); err != nil {
			return fmt.Errorf("cannot update allowlist %q: %w", name, err)
		}
		l.Name = name
		s.allowlists[name] = copyAllowlist(l)
		return nil
	})
}

func (s *Store) DeleteAllowlist(ctx context.Context, name string) error {
	return s.do(ctx, func() error { return remove(s.allowlists, "allowlist", name) })
}

func (s *Store) Value(ctx context.Context, name string) (value []byte, err error) {
	err = s.do(ctx, func() error {
		value, err = get(s.values, "value", name)
		value = slices.Clone(value)
		return err
	})
	return value, err
}

func (s *Store) SetValue(ctx context.Context, name string, value []byte) error {
	return s.do(ctx, func() error {
		if name == "" {
			return fmt.Errorf("cannot set a value: %w", errNoName)
		}
		s.values[name] = slices.Clone(value)
		return nil
	})
}

func add[T any](rows map[string]T, kind, name string, row T) error {
	err := error(nil)
	if _, ok := rows[name]; ok {
		err = storage.ErrExists
	} else if name == "" {
		err = errNoName
	}
	if err != nil {
		return fmt.Errorf("cannot add %s %q: %w", kind, name, err)
	}
	rows[name] = row
	return nil
}

func get[T any](rows map[string]T, kind, name string) (T, error) {
	row, ok := rows[name]
	if !ok {
		return row, fmt.Errorf("cannot read %s %q: %w", kind, name, storage.ErrNotFound)
	}
	return row, nil
}

func remove[T any](rows map[string]T, kind, name string) error {
	if _, ok := rows[name]; !ok {
		return fmt.Errorf("cannot delete %s %q: %w", kind, name, storage.ErrNotFound)
	}
	delete(rows, name)
	return nil
}

func copyMachine(m storage.Machine) storage.Machine {
	m.Scenarios = slices.Clone(m.Scenarios)
	m.FeatureFlags = slices.Clone(m.FeatureFlags)
	m.Datasources = maps.Clone(m.Datasources)
	m.HubItems = maps.Clone(m.HubItems)
	for kind, items := range m.HubItems {
		m.HubItems[kind] = slices.Clone(items)
	}
	utc(&m.Created, &m.Updated, &m.LastPush, &m.LastHeartbeat)
	return m
}

func copyBouncer(b storage.Bouncer) storage.Bouncer {
	b.FeatureFlags = slices.Clone(b.FeatureFlags)
	utc(&b.Created, &b.Updated, &b.LastPull)
	return b
}

func copyAllowlist(l storage.Allowlist) storage.Allowlist {
	l.Items = slices.Clone(l.Items)
	if len(l.Items) == 0 {
		l.Items = nil
	}
	for i := range l.Items {
		utc(&l.Items[i].Created, &l.Items[i].Expires)
	}
	utc(&l.Created, &l.Updated)
	return l
}

func copyAlert(a decisions.Alert) decisions.Alert {
	a.Events = slices.Clone(a.Events)
	for i := range a.Events {
		a.Events[i].Meta = slices.Clone(a.Events[i].Meta)
	}
	a.Meta = slices.Clone(a.Meta)
	utc(&a.Created)
	a.StartAt, a.StopAt = fixed(a.StartAt), fixed(a.StopAt)
	return a
}

// fixed drops all of a time's zone but the offset.
func fixed(t time.Time) time.Time {
	if _, offset := t.Zone(); offset != 0 {
		return t.Round(0).In(time.FixedZone("", offset))
	}
	return t.Round(0).UTC()
}

func copyDecision(d decisions.Decision) decisions.Decision {
	utc(&d.Created, &d.Until)
	return d
}

// utc drops what a file would not keep of times: their zone and the reading
// of the monotonic clock.
func utc(times ...*time.Time) {
	for _, t := range times {
		*t = t.Round(0).UTC()
	}
}
