package lapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
)

const (
	// headPage is how many alerts are looked at in one transaction.
	headPage = 1024
	// A transaction deletes so many alerts or decisions at most, unless a single
	// alert has more: reports wait for it.
	deleteAlertsMost    = 256
	deleteDecisionsMost = 10_000
)

// retain deletes what is too old: alerts, items of allowlists, and accounts of
// which nothing is heard any more.
func (s *Server) retain(ctx context.Context) error {
	r := s.rules.Load()
	_, err := s.flushAlerts(ctx, int64(r.MaxAlerts), r.MaxAlertAge)
	return errors.Join(err, s.dropExpired(ctx), s.dropSilent(ctx))
}

// flushAlerts deletes alerts that are too old or too many and returns how many
// there were. One with a decision in force stays, however old: its bouncers
// would lose the ban. Only heads of alerts are read.
func (s *Server) flushAlerts(ctx context.Context, most int64, age time.Duration) (deleted int, err error) {
	newest, err := s.store.LastAlert(ctx)
	if err != nil {
		return 0, err
	}
	oldest := s.now().Add(-age)
	defer func() {
		if deleted > 0 {
			s.log.Info("deleted old alerts", "alerts", deleted)
		}
	}()
	for after := int64(0); ; {
		heads, err := s.store.AlertHeads(ctx, after, headPage)
		if err != nil || len(heads) == 0 {
			return deleted, err
		}
		after = heads[len(heads)-1].ID
		// Where one is young enough so are all that follow.
		young := slices.IndexFunc(heads, func(h storage.AlertHead) bool { return h.Created.After(oldest) && h.ID > newest-most })
		if young >= 0 {
			heads = heads[:young]
		}
		n, err := s.deleteOld(ctx, heads)
		if deleted += n; err != nil || young >= 0 {
			return deleted, err
		}
	}
}

// deleteOld deletes those alerts that have no decision in force, some at a time.
func (s *Server) deleteOld(ctx context.Context, heads []storage.AlertHead) (deleted int, err error) {
	keep, err := s.inForce(ctx, heads)
	if err != nil {
		return 0, err
	}
	for i := 0; i < len(heads); {
		var ids []int64
		for n := 0; i < len(heads) && len(ids) < deleteAlertsMost; i++ {
			h := heads[i]
			if keep[h.ID] {
				continue
			}
			if n += h.Decisions; n > deleteDecisionsMost && len(ids) > 0 {
				break
			}
			ids = append(ids, h.ID)
		}
		n, err := s.removeAlerts(ctx, ids)
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// inForce returns which of the alerts have a decision in force.
func (s *Server) inForce(ctx context.Context, heads []storage.AlertHead) (map[int64]bool, error) {
	asked, live := make(map[int64]bool, len(heads)), make(map[int64]bool)
	for _, h := range heads {
		asked[h.ID] = h.Decisions > 0
	}
	refused, now := false, s.now()
	s.decisions.View(func(set *decisions.Set) {
		for _, id := range set.OfAlerts(asked) {
			if d, ok := set.Get(id); ok && d.Active(now) {
				live[d.AlertID] = true
			}
		}
		refused = set.Refused() > 0
	})
	if !refused {
		return live, nil
	}
	// Those for which there was no room are in the store only.
	for _, h := range heads {
		if h.Decisions == 0 || live[h.ID] {
			continue
		}
		a, err := s.store.Alert(ctx, h.ID)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		live[h.ID] = hasDecision(&a, func(d *decisions.Decision) bool { return d.Active(now) })
	}
	return live, nil
}

// dropSilent deletes machines and bouncers of which nothing was heard for as
// long as the configuration says. One that was never heard stays.
func (s *Server) dropSilent(ctx context.Context) error {
	now, c := s.now(), s.rules.Load()
	silent := func(last time.Time, auth string, idle, idleTLS time.Duration) bool {
		if auth == storage.AuthTLS {
			idle = idleTLS
		}
		return idle > 0 && !last.IsZero() && now.Sub(last) >= idle
	}
	if c.IdleMachines > 0 || c.IdleCertMachines > 0 {
		rows, err := s.store.Machines(ctx)
		if err != nil {
			return err
		}
		for i := range rows {
			m := &rows[i]
			s.machines.seen(m)
			if ip, _ := netip.ParseAddr(m.IP); ip.IsLoopback() || !silent(m.LastHeartbeat, m.AuthType, c.IdleMachines, c.IdleCertMachines) {
				continue
			}
			if has, err := s.store.HasAlerts(ctx, m.ID); err != nil {
				return err
			} else if has {
				continue // somebody may want to know where they came from
			}
			if err := s.deleteMachine(ctx, m.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("cannot delete silent machine %q: %w", m.ID, err)
			}
			s.log.Info("a machine is deleted that was silent for long", "machine", m.ID, "since", m.LastHeartbeat)
		}
	}
	if c.IdleBouncers > 0 || c.IdleCertBouncers > 0 {
		for _, b := range s.bouncers.list() {
			if !silent(b.LastPull, b.AuthType, c.IdleBouncers, c.IdleCertBouncers) {
				continue
			}
			if err := s.forgetBouncer(ctx, b.Name); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("cannot delete silent bouncer %q: %w", b.Name, err)
			}
			s.log.Info("a bouncer is deleted that was silent for long", "bouncer", b.Name, "since", b.LastPull)
		}
	}
	return nil
}

// forgetBouncer removes one row, whoever else has its key.
func (s *Server) forgetBouncer(ctx context.Context, name string) error {
	s.accounts.Lock()
	defer s.accounts.Unlock()
	if !slices.ContainsFunc(s.bouncers.list(), func(b storage.Bouncer) bool { return b.Name == name }) {
		return fmt.Errorf("bouncer %q %w", name, storage.ErrNotFound)
	}
	return s.dropBouncer(ctx, name)
}

// adminFlush deletes old alerts now, by the bounds that the operator names.
func (s *Server) adminFlush(w http.ResponseWriter, r *http.Request) {
	var in api.FlushRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	age, err := api.ParseDuration(in.MaxAge)
	if err != nil || age < 0 || in.MaxItems < 0 {
		refuse(w, http.StatusUnprocessableEntity, "max_age wants a duration, max_items a number, neither below zero")
		return
	}
	n, err := s.flushAlerts(r.Context(), in.MaxItems, age)
	if err != nil {
		s.adminDone(w, r, err, 0)
		return
	}
	answer(w, http.StatusOK, api.FlushResponse{Deleted: n})
}
