package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"cs/decisions"
	"cs/storage"
)

// contents is all that a file holds.
type contents struct {
	machines   map[string]storage.Machine
	bouncers   map[string]storage.Bouncer
	allowlists map[string]storage.Allowlist
	alerts     map[int64]decisions.Alert
	decisions  map[int64]decisions.Decision
	value      string
}

func readAll(t *testing.T, s *Store) contents {
	t.Helper()
	ctx := t.Context()
	c := contents{
		map[string]storage.Machine{}, map[string]storage.Bouncer{}, map[string]storage.Allowlist{},
		map[int64]decisions.Alert{}, map[int64]decisions.Decision{}, "",
	}
	machines, err1 := s.Machines(ctx)
	bouncers, err2 := s.Bouncers(ctx)
	allowlists, err3 := s.Allowlists(ctx)
	for _, m := range machines {
		c.machines[m.ID] = m
	}
	for _, b := range bouncers {
		c.bouncers[b.Name] = b
	}
	for _, l := range allowlists {
		c.allowlists[l.Name] = l
	}
	err4 := s.EachAlert(ctx, storage.AlertFilter{}, func(a *decisions.Alert) bool {
		c.alerts[a.ID] = *a
		return true
	})
	err5 := s.EachDecision(ctx, time.Time{}, func(d *decisions.Decision) bool {
		c.decisions[d.ID] = *d
		return true
	})
	value, err6 := s.Value(ctx, "secret")
	if errors.Is(err6, storage.ErrNotFound) {
		err6 = nil
	}
	c.value = string(value)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	return c
}

// someStore makes a file with something in every bucket, over many pages, and
// returns what it holds.
func someStore(t *testing.T, path string) contents {
	t.Helper()
	ctx := t.Context()
	s := open(t, path)
	var adding sync.WaitGroup // at once, so that they share transactions
	for i := range 40 {
		adding.Go(func() {
			err := errors.Join(
				s.AddMachine(ctx, storage.Machine{ID: fmt.Sprint("m", i), PasswordHash: strings.Repeat("x", 60), Created: time.Unix(int64(i), 0)}),
				s.AddBouncer(ctx, storage.Bouncer{Name: fmt.Sprint("b", i), KeyHash: strings.Repeat("k", 128), Cursor: int64(i)}),
				s.AddAllowlist(ctx, storage.Allowlist{Name: fmt.Sprint("l", i), Items: []storage.AllowItem{{Value: "192.0.2.0/24", Comment: strings.Repeat("c", 100)}}}),
			)
			if err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	var batch []decisions.Alert
	for i := range 120 {
		a := decisions.Alert{UUID: fmt.Sprint("u", i), MachineID: "m1", Message: strings.Repeat("m", 700), Created: time.Unix(int64(i), 0)}
		n := i % 12
		if i == 60 {
			n = 3*runLength + 5
		}
		for j := range n {
			a.Decisions = append(a.Decisions, decisions.Decision{
				UUID: fmt.Sprint(i, j), Scope: decisions.ScopeIP, Value: fmt.Sprintf("10.%d.%d.%d", j>>8, i, j&255), Type: "ban", Until: time.Unix(1<<40, 0),
			})
		}
		if batch = append(batch, a); len(batch) == 20 {
			if _, err := s.AddAlerts(ctx, batch); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	if err := s.SetValue(ctx, "secret", []byte("s3cret")); err != nil {
		t.Fatal(err)
	}
	c := readAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

func repaired(t *testing.T, path string) (*Repaired, contents) {
	t.Helper()
	r, err := Repair(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.Damaged); err != nil {
		t.Error(err)
	}
	s := open(t, path)
	defer s.Close()
	return r, readAll(t, s)
}

func TestRepairOfAWholeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	before := someStore(t, path)
	r, after := repaired(t, path)
	if !r.Whole() || !reflect.DeepEqual(before, after) {
		t.Errorf("%+v", r)
	}
	if r.Kept["alerts"] != 120 || r.Kept["machines"] != 40 || r.Damaged != path+".damaged" {
		t.Errorf("%+v", r)
	}
	// IDs go on where they were, and known alerts stay known.
	s := open(t, path)
	defer s.Close()
	batch := []decisions.Alert{{UUID: "u5", MachineID: "m1"}, {UUID: "new", MachineID: "m1", Decisions: make([]decisions.Decision, 1)}}
	known, err := s.AddAlerts(t.Context(), batch)
	if err != nil || !known[0] || known[1] || batch[1].ID <= 120 {
		t.Error(known, batch[1].ID, err)
	}
	for id := range after.decisions {
		if batch[1].Decisions[0].ID <= id {
			t.Fatal("the ID of a decision was given again")
		}
	}
	heads, err := s.AlertHeads(t.Context(), 0, 1000)
	if err != nil || len(heads) != 121 {
		t.Error(len(heads), err)
	}
	if r, _ := repairedAgain(t, path, s); r.Damaged != path+".damaged-2" {
		t.Error(r.Damaged)
	}
}

func repairedAgain(t *testing.T, path string, s *Store) (*Repaired, contents) {
	t.Helper()
	if _, err := Repair(t.Context(), path); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("a file in use: %v", err)
	}
	s.Close()
	return repaired(t, path)
}

// TestRepairOfDamagedPages overwrites whole pages. What is kept must be as it
// was, no ban on a page that can be read may be missing, and what is
// missing must be told.
func TestRepairOfDamagedPages(t *testing.T) {
	good := filepath.Join(t.TempDir(), "cs.db")
	before := someStore(t, good)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	size := os.Getpagesize()
	rnd := rand.New(rand.NewPCG(7, 7))
	gone, saved, lost := 0, 0, 0
	rounds := 30
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		bad := append([]byte(nil), text...)
		for range 1 + rnd.IntN(3) {
			page := rnd.IntN(len(bad) / size)
			clear(bad[page*size : (page+1)*size])
		}
		path := filepath.Join(t.TempDir(), "cs.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Repair(t.Context(), path)
		if err != nil { // the page of the buckets
			gone++
			if now, rerr := os.ReadFile(path); rerr != nil || string(now) != string(bad) {
				t.Fatalf("round %d: the file was changed although nothing could be saved: %v", round, err)
			}
			if _, err := os.Stat(path + ".repaired"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("round %d: something is left behind: %v", round, err)
			}
			continue
		}
		s := open(t, path)
		after := readAll(t, s)
		s.Close()
		subset(t, round, before.machines, after.machines)
		subset(t, round, before.bouncers, after.bouncers)
		subset(t, round, before.allowlists, after.allowlists)
		for id, d := range after.decisions {
			a := after.alerts[d.AlertID]
			if !hasDecision(&a, id) {
				t.Errorf("round %d: decision %d is not with its alert", round, id)
			}
			d.AlertID = before.decisions[id].AlertID // it may have been adopted
			if d != before.decisions[id] {
				t.Errorf("round %d: decision %d is %+v, was %+v", round, id, d, before.decisions[id])
			}
		}
		for id, a := range before.alerts {
			if kept, ok := after.alerts[id]; ok && (kept.UUID != a.UUID || kept.Message != a.Message) {
				t.Errorf("round %d: alert %d is %+v", round, id, kept)
			}
		}
		if whole := reflect.DeepEqual(before, after); r.Whole() && !whole {
			t.Errorf("round %d: something is missing and nobody says so", round)
		} else if whole {
			saved++
		} else {
			lost++
		}
	}
	t.Logf("nothing saved: %d, part lost: %d, nothing lost: %d", gone, lost, saved)
	if lost == 0 || saved == 0 {
		t.Error("the damage is not of all kinds")
	}
}

func subset[K comparable, V any](t *testing.T, round int, before, after map[K]V) {
	t.Helper()
	for k, v := range after {
		if !reflect.DeepEqual(before[k], v) {
			t.Errorf("round %d: %v is %+v, was %+v", round, k, v, before[k])
		}
	}
}

func hasDecision(a *decisions.Alert, id int64) bool {
	for _, d := range a.Decisions {
		if d.ID == id {
			return true
		}
	}
	return false
}

// TestRepairWithoutMetaPages finds the buckets although nothing says where they are.
func TestRepairWithoutMetaPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	before := someStore(t, path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 2*os.Getpagesize()), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Open(t.Context(), path); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "lapi repair") {
		t.Error(err)
	}
	_, after := repaired(t, path)
	if !reflect.DeepEqual(before, after) {
		t.Error("something is missing")
	}
}

// TestRepairTakesTheOlderState tears the last transaction.
func TestRepairTakesTheOlderState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cs.db")
	before := someStore(t, path)
	s := open(t, path)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetValue(t.Context(), "other", []byte("x")))
	must(s.Close())
	// Its root page is lost: the file system wrote the meta page and not that.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(err)
	defer f.Close()
	info, err := f.Stat()
	must(err)
	newest := (&salvage{file: f, size: info.Size()}).roots()[0]
	_, err = f.WriteAt(make([]byte, 8), int64(newest.page)*int64(os.Getpagesize()))
	must(err)
	r, after := repaired(t, path)
	if r.Whole() || !reflect.DeepEqual(before, after) {
		t.Errorf("%+v", r)
	}
}

func TestRepairRefuses(t *testing.T) {
	dir := t.TempDir()
	f := func(name string, text []byte, want string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if text != nil {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Repair(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := os.ReadFile(path); string(now) != string(text) {
			t.Errorf("%s has changed", name)
		}
	}
	f("none", nil, "no such file")
	f("empty", []byte{}, "nothing in it can be read")
	f("text", []byte(strings.Repeat("this is a text\n", 1000)), "nothing in it can be read")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(dir, "good.db")
	someStore(t, path)
	if _, err := Repair(ended, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSalvageAnything reads files that were damaged byte by byte. Nothing may
// end the process or hang, and what comes out can be opened.
func TestSalvageAnything(t *testing.T) {
	good := filepath.Join(t.TempDir(), "cs.db")
	someStore(t, good)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		bad := append([]byte(nil), text...)
		for range 1 + rnd.IntN(200) {
			bad[rnd.IntN(len(bad))] = byte(rnd.Uint32())
		}
		// Some of it where pages say what they hold.
		for range rnd.IntN(4) {
			page := rnd.IntN(len(bad) / os.Getpagesize())
			binary.NativeEndian.PutUint32(bad[page*os.Getpagesize()+8+rnd.IntN(40):], rnd.Uint32())
		}
		path := filepath.Join(t.TempDir(), "cs.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Repair(t.Context(), path); err != nil {
			continue
		}
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := useAll(t.Context(), s); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

// TestUpgrade opens a file of the first schema.
func TestUpgrade(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the file is edited while it is open")
	}
	path := filepath.Join(t.TempDir(), "cs.db")
	before := someStore(t, path)
	before.allowlists = map[string]storage.Allowlist{}
	s := open(t, path)
	want, err := s.AlertHeads(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	downgrade(t, s)
	s.Close()
	for range 2 {
		s = open(t, path)
		got, err := s.AlertHeads(t.Context(), 0, 1000)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d heads, want %d: %v", len(got), len(want), err)
		}
		if after := readAll(t, s); !reflect.DeepEqual(before, after) {
			t.Error("something is missing")
		}
		if err := s.AddAllowlist(t.Context(), storage.Allowlist{Name: "l"}); err != nil {
			t.Error(err)
		}
		before.allowlists["l"] = storage.Allowlist{Name: "l"}
		if err := s.DeleteAllowlist(t.Context(), "l"); err != nil {
			t.Error(err)
		}
		delete(before.allowlists, "l")
		s.Close()
	}
}

// downgrade makes a file look as the first version of the program left it.
func downgrade(t *testing.T, s *Store) {
	t.Helper()
	err := s.write(t.Context(), func(tx *bbolt.Tx) error {
		return errors.Join(
			tx.DeleteBucket(alertHeadsBucket), tx.DeleteBucket(allowlistsBucket),
			tx.Bucket(metaBucket).Put(schemaKey, binary.AppendUvarint(nil, 1)),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
}
