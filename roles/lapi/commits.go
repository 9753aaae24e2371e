package lapi

import (
	"context"
	"fmt"
	"sync"

	"cs/decisions"
)

// commits brings alerts into the store and their decisions into the log in one
// and the same order. Callers that come while another one writes are taken
// together in the next transaction: a disk's fsync is paid for once.
type commits struct {
	mu      sync.Mutex
	waiting []*commit
	turn    chan struct{} // of capacity 1: held by who writes
}

type commit struct {
	alerts []decisions.Alert
	known  []bool
	err    error
	done   bool // guarded by turn
}

// hold waits for the turn, which keeps the store and the log in step, and
// returns what gives it back.
func (c *commits) hold(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// commit stores alerts, tells the bouncers, and returns which of the alerts
// were known already. It fills in the IDs.
func (s *Server) commit(ctx context.Context, alerts []decisions.Alert) ([]bool, error) {
	if len(alerts) == 0 {
		return nil, nil
	}
	c := &commit{alerts: alerts}
	s.commits.mu.Lock()
	s.commits.waiting = append(s.commits.waiting, c)
	s.commits.mu.Unlock()

	// From here on our alerts may be written by another caller at any time, so
	// this isn't given up when the context ends; a transaction is short.
	s.commits.turn <- struct{}{}
	defer func() { <-s.commits.turn }()
	if !c.done {
		s.write(context.WithoutCancel(ctx))
	}
	return c.known, c.err
}

// write stores what waits. The caller has the turn.
func (s *Server) write(ctx context.Context) {
	s.commits.mu.Lock()
	batch := s.commits.waiting
	s.commits.waiting = nil
	s.commits.mu.Unlock()

	if err := s.writeTogether(ctx, batch); err != nil && len(batch) > 1 {
		// One of them may be to blame; the others shall not suffer for it.
		for i := range batch {
			s.writeTogether(ctx, batch[i:i+1])
		}
	}
}

func (s *Server) writeTogether(ctx context.Context, batch []*commit) error {
	all := batch[0].alerts
	if len(batch) > 1 {
		n := 0
		for _, c := range batch {
			n += len(c.alerts)
		}
		all = make([]decisions.Alert, 0, n)
		for _, c := range batch {
			all = append(all, c.alerts...)
		}
	}
	known, err := s.store.AddAlerts(ctx, all)
	var fresh []decisions.Decision
	for _, c := range batch {
		c.done, c.err = true, err
		if err != nil {
			continue
		}
		n := len(c.alerts)
		copy(c.alerts, all[:n])
		c.known, known, all = known[:n:n], known[n:], all[n:]
		for i := range c.alerts {
			if ds := c.alerts[i].Decisions; fresh == nil {
				fresh = ds[:len(ds):len(ds)] // a long list is not copied if it is the only one
			} else {
				fresh = append(fresh, ds...)
			}
		}
	}
	if len(fresh) > 0 {
		if refused := s.decisions.Add(fresh, s.now()); refused > 0 {
			s.log.Error("too many live decisions: new ones are stored, and come into force when others end", "refused", refused, "limit", s.conf.MaxDecisions)
		}
		s.wakeClock()
	}
	return err
}

// expire ends decisions in the store, then tells the bouncers.
func (s *Server) expire(ctx context.Context, ids []int64) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	release, err := s.commits.hold(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	now := s.now()
	n, err := s.store.ExpireDecisions(ctx, ids, now)
	if err != nil {
		return 0, err
	}
	s.decisions.End(ids, now)
	return n, nil
}

// readmitMost is how many decisions are let in at a time that are only in the store.
const readmitMost = 64 << 10

// readmit brings decisions into force that the limit refused, as far as there
// is room by now, and those that ended before the clock was set back. Nothing is stored or deleted meanwhile, so that none comes
// back that somebody has just deleted.
func (s *Server) readmit(ctx context.Context) error {
	if s.decisions.Room() == 0 {
		return nil
	}
	release, err := s.commits.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	now, room := s.now(), min(s.decisions.Room(), readmitMost)
	var waiting []decisions.Decision
	all := true
	err = s.store.EachDecision(ctx, now, func(d *decisions.Decision) bool {
		if s.decisions.Has(d.ID) {
			return true
		}
		if all = len(waiting) < room; all {
			waiting = append(waiting, *d)
		}
		return all
	})
	if err != nil {
		return fmt.Errorf("cannot look for decisions that are not in force: %w", err)
	}
	n := s.decisions.Readmit(waiting, all, now)
	s.log.Info("decisions are in force that had no room, or seemed to be over by a wrong clock", "decisions", n)
	s.wakeClock()
	return nil
}
