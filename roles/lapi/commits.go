package lapi

import (
	"context"
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
		all = nil
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
			fresh = append(fresh, c.alerts[i].Decisions...)
		}
	}
	if len(fresh) > 0 {
		if refused := s.decisions.Add(fresh, s.now()); refused > 0 {
			s.log.Error("too many live decisions, some are stored but not in force", "refused", refused, "limit", s.conf.MaxDecisions)
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
	now := s.now()
	n, err := s.store.ExpireDecisions(ctx, ids, now)
	if err != nil {
		return 0, err
	}
	s.decisions.End(ids, now)
	return n, nil
}
