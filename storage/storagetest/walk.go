package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/mem"
)

// testRandomWalk does the same random things to the store and to the plain
// one in memory, and expects the same answers and at times the same contents.
func testRandomWalk(t *testing.T, open Opener) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s, reopen := open(t)
			w := walk{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), store: s, twin: mem.New()}
			for i := range 240 {
				w.step()
				if i%60 == 59 {
					w.store = reopen()
				}
				if i%40 == 39 {
					w.compare()
				}
			}
		})
	}
}

type walk struct {
	t           *testing.T
	rnd         *rand.Rand
	store, twin storage.Store
}

// both runs f on the store and on its twin and compares what it returns.
func (w *walk) both(f func(context.Context, storage.Store) (any, error)) {
	w.t.Helper()
	got, gotErr := f(w.t.Context(), w.store)
	want, wantErr := f(w.t.Context(), w.twin)
	if (gotErr == nil) != (wantErr == nil) {
		w.t.Fatalf("error %v, the twin says %v", gotErr, wantErr)
	}
	for _, condition := range []error{storage.ErrExists, storage.ErrNotFound} {
		if errors.Is(wantErr, condition) {
			is(w.t, gotErr, condition)
		}
	}
	equal(w.t, got, want)
}

func (w *walk) step() {
	name := fmt.Sprint("n", w.rnd.IntN(6))
	at := epoch.Add(time.Duration(w.rnd.IntN(1000)) * time.Minute)
	ids := make([]int64, w.rnd.IntN(5))
	for i := range ids {
		ids[i] = w.rnd.Int64N(60)
	}
	pick := w.rnd.IntN(20)
	seed := w.rnd.Uint64()
	w.both(func(ctx context.Context, s storage.Store) (any, error) {
		switch pick {
		case 0:
			return nil, s.AddMachine(ctx, storage.Machine{ID: name, Created: at, Scenarios: []string{name}})
		case 1:
			return nil, s.DeleteMachine(ctx, name)
		case 2:
			return nil, s.UpdateMachine(ctx, name, func(m *storage.Machine) error {
				m.Updated = at
				m.Version += "x"
				return nil
			})
		case 3:
			return nil, s.StampMachines(ctx, []storage.MachineStamp{{ID: name, LastHeartbeat: at}, {ID: "n0", LastPush: at}})
		case 4:
			return nil, s.AddBouncer(ctx, storage.Bouncer{Name: name, Created: at})
		case 5:
			return nil, s.DeleteBouncer(ctx, name)
		case 6:
			return nil, s.UpdateBouncer(ctx, name, func(b *storage.Bouncer) error { b.IP += "1"; return nil })
		case 7:
			return nil, s.StampBouncers(ctx, []storage.BouncerStamp{{Name: name, LastPull: at, Cursor: int64(seed >> 1)}})
		case 8:
			return s.DeleteAlerts(ctx, ids)
		case 9:
			return s.ExpireDecisions(ctx, ids, at)
		case 10:
			return nil, s.SetValue(ctx, name, []byte(at.String()))
		case 11:
			return nil, s.AddAllowlist(ctx, storage.Allowlist{Name: name, Created: at})
		case 12:
			return nil, s.UpdateAllowlist(ctx, name, func(l *storage.Allowlist) error {
				l.Items = append(l.Items, storage.AllowItem{Value: fmt.Sprint(len(l.Items)), Created: at})
				return nil
			})
		case 13:
			return nil, s.DeleteAllowlist(ctx, name)
		default:
			batch := alerts(rand.New(rand.NewPCG(seed, 1)))
			known, err := s.AddAlerts(ctx, batch)
			return []any{known, batch}, err
		}
	})
}

// alerts makes a few alerts, now and then with a UUID seen before.
func alerts(rnd *rand.Rand) []decisions.Alert {
	list := make([]decisions.Alert, 1+rnd.IntN(4))
	for i := range list {
		list[i] = fullAlert(fmt.Sprint("u", rnd.IntN(200)))
		list[i].MachineID = fmt.Sprint("m", rnd.IntN(2))
		list[i].StartAt = epoch.Add(time.Duration(rnd.IntN(100)) * time.Minute)
		list[i].Decisions = list[i].Decisions[:rnd.IntN(3)]
	}
	return list
}

// compare compares all contents.
func (w *walk) compare() {
	since := epoch.Add(time.Duration(w.rnd.IntN(100)) * time.Minute)
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.Machines(ctx)) })
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.Bouncers(ctx)) })
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.Allowlists(ctx)) })
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.LastAlert(ctx)) })
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.HasAlerts(ctx, "m1")) })
	after := w.rnd.Int64N(60)
	w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.AlertHeads(ctx, after, 40)) })
	for i := range 6 {
		w.both(func(ctx context.Context, s storage.Store) (any, error) { return list(s.Value(ctx, fmt.Sprint("n", i))) })
	}
	for _, filter := range []storage.AlertFilter{{}, {Oldest: true}, {Since: since}, {Until: since, Limit: 3}} {
		w.both(func(ctx context.Context, s storage.Store) (any, error) {
			var all []decisions.Alert
			err := s.EachAlert(ctx, filter, func(a *decisions.Alert) bool { all = append(all, *a); return true })
			return all, err
		})
	}
	for _, after := range []time.Time{{}, since} {
		w.both(func(ctx context.Context, s storage.Store) (any, error) {
			var all []decisions.Decision
			err := s.EachDecision(ctx, after, func(d *decisions.Decision) bool { all = append(all, *d); return true })
			return all, err
		})
	}
}

func list[T any](v T, err error) (any, error) { return v, err }
