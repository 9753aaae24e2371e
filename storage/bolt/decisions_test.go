package bolt

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"cs/decisions"
)

// TestRuns: a list takes few records, whose decisions end one by one, and go
// with their alert. A file in which each decision has a record of its own, as
// earlier versions wrote them, is dealt with alike.
func TestRuns(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprint("old=", old), func(t *testing.T) {
			ctx := t.Context()
			path := filepath.Join(t.TempDir(), "cs.db")
			s := open(t, path)
			defer s.Close()
			var alerts []decisions.Alert
			for i, n := range []int{1, runLength - 1, runLength, runLength + 1, 0, 1000, 2} {
				a := decisions.Alert{UUID: fmt.Sprint(i), MachineID: "m", Decisions: make([]decisions.Decision, n)}
				for j := range a.Decisions {
					a.Decisions[j] = decisions.Decision{UUID: fmt.Sprint(i, j), Value: fmt.Sprint(j), Until: time.Unix(int64(j), 0).UTC(), Created: time.Unix(7, 0).UTC()}
				}
				alerts = append(alerts, a)
			}
			if _, err := s.AddAlerts(ctx, alerts); err != nil {
				t.Fatal(err)
			}
			want := map[int64]decisions.Decision{}
			var last int64
			for _, a := range alerts {
				for _, d := range a.Decisions {
					if d.ID != last+1 || d.AlertID != a.ID {
						t.Fatalf("decision %+v after %d, of alert %d", d, last, a.ID)
					}
					want[d.ID], last = d, d.ID
				}
			}
			if old {
				err := s.db.Update(func(tx *bbolt.Tx) error { return oneEach(tx) })
				if err != nil {
					t.Fatal(err)
				}
			}
			same := func() {
				t.Helper()
				if got := readAll(t, s).decisions; !reflect.DeepEqual(got, want) {
					t.Fatalf("%d decisions, want %d, or they differ", len(got), len(want))
				}
				for _, a := range alerts {
					got, err := s.Alert(ctx, a.ID)
					if err != nil {
						t.Fatal(err)
					}
					for i, d := range got.Decisions {
						if d != want[a.Decisions[i].ID] {
							t.Fatalf("decision %+v of alert %d", d, a.ID)
						}
					}
					if len(got.Decisions) != len(a.Decisions) {
						t.Fatalf("alert %d has %d decisions, want %d", a.ID, len(got.Decisions), len(a.Decisions))
					}
				}
			}
			same()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 5 {
				var ids []int64
				for range 1 + rnd.IntN(200) {
					ids = append(ids, rnd.Int64N(last+50))
				}
				until, known := time.Unix(1<<30+rnd.Int64N(1000), 0).UTC(), map[int64]bool{}
				for _, id := range ids {
					if d, ok := want[id]; ok {
						d.Until, known[id] = until, true
						want[id] = d
					}
				}
				if n, err := s.ExpireDecisions(ctx, ids, until); err != nil || n != len(known) {
					t.Fatalf("%d have ended, want %d; %v", n, len(known), err)
				}
				same()
			}
			for len(alerts) > 0 {
				i := rnd.IntN(len(alerts))
				a := alerts[i]
				alerts = append(alerts[:i], alerts[i+1:]...)
				for _, d := range a.Decisions {
					delete(want, d.ID)
				}
				if _, err := s.DeleteAlerts(ctx, []int64{a.ID}); err != nil {
					t.Fatal(err)
				}
				same()
			}
		})
	}
}

// oneEach writes all decisions as the first version did.
func oneEach(tx *bbolt.Tx) error {
	b := tx.Bucket(decisionsBucket)
	var all []decisions.Decision
	err := b.ForEach(func(key, record []byte) error {
		run, err := loadRun(key, record, nil)
		all = append(all, run...)
		return err
	})
	for i := range all {
		c := coder{buf: []byte{1}, version: 1}
		c.decision(&all[i])
		if err == nil {
			err = b.Put(binary.BigEndian.AppendUint64(nil, uint64(all[i].ID)), c.buf)
		}
	}
	return err
}

// TestOverlaps: of two runs that share IDs a repair keeps one.
func TestOverlaps(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "cs.db"))
	defer s.Close()
	run := func(first, n int64) (ds []decisions.Decision) {
		for id := first; id < first+n; id++ {
			ds = append(ds, decisions.Decision{ID: id})
		}
		return ds
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(decisionsBucket)
		for _, ds := range [][]decisions.Decision{run(10, 5), run(20, 1)} {
			if err := putRuns(b, ds); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			first, n int64
			want     bool
		}{{1, 9, false}, {1, 10, true}, {9, 20, true}, {12, 1, true}, {14, 2, true}, {15, 5, false}, {15, 6, true}, {21, 3, false}} {
			if got, err := overlaps(b, run(c.first, c.n)); err != nil || got != c.want {
				t.Errorf("%d decisions from %d: %v %v", c.n, c.first, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
