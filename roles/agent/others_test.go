package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cs/decisions"
	"cs/pipeline/source"
	"cs/roles/api"
	"cs/roles/config"
)

// TestAllLAPIs: each LAPI gets every alert once, whatever becomes of another one, and of the
// agent.
func TestAllLAPIs(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	appendTo(t, log, "")
	first, second, third := &fakeLAPI{}, &fakeLAPI{}, &fakeLAPI{}
	set := func(l *fakeLAPI, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.answer = func(int, []decisions.Alert) (bool, error) { return err == nil, err }
	}
	other := func(name string, l LAPI) Other {
		return Other{Name: name, Connect: func(func() []string) (LAPI, error) { return l, nil }}
	}
	cfg := Config{
		DataDir: filepath.Join(dir, "data"), LAPI: first, Others: []Other{other("/etc/second.yaml", second)}, load: loadFake,
		Inputs: []config.Acquisition{fileInput("x", []string{log})},
	}
	set(second, errUnreachable)
	r := start(t, cfg)
	appendTo(t, log, "attack 1\nattack 2\n")
	eventually(t, "the first gets them", func() bool { return slices.Equal(first.stored(), []string{"attack 1", "attack 2"}) })
	if c := r.agent.outboxes[1].counts(); c.waiting != 2 || c.sent != 0 {
		t.Errorf("the second: %+v", c)
	}
	r.end()

	// The next process: the second one is there, and there is a third.
	set(second, nil)
	set(first, errUnreachable)
	set(third, &api.Error{Status: 422})
	cfg.Others = append(cfg.Others, other("/etc/third.yaml", third))
	r = start(t, cfg)
	eventually(t, "the second gets them", func() bool { return slices.Equal(second.stored(), []string{"attack 1", "attack 2"}) })
	appendTo(t, log, "attack 3\n")
	eventually(t, "the second gets another", func() bool { return len(second.stored()) == 3 })
	eventually(t, "the third refuses it", func() bool { return r.agent.outboxes[2].counts().rejected == 1 })
	set(third, nil)
	appendTo(t, log, "attack 4\n")
	eventually(t, "the third gets what comes", func() bool { return slices.Equal(third.stored(), []string{"attack 4"}) })
	set(first, nil)
	eventually(t, "the first gets what it missed", func() bool { return len(first.stored()) == 4 })
	r.end()
	want := []string{"attack 1", "attack 2", "attack 3", "attack 4"}
	if !slices.Equal(first.stored(), want) || !slices.Equal(second.stored(), want) || !slices.Equal(third.stored(), want[3:]) {
		t.Errorf("got %q, %q and %q", first.stored(), second.stored(), third.stored())
	}
	if kept, _ := filepath.Glob(filepath.Join(cfg.DataDir, "rejected-alerts-*.jsonl")); len(kept) != 1 {
		t.Errorf("what the third refused is in %q", kept)
	}
}

// pair returns the outboxes of two LAPIs.
func pair(t *testing.T, sp *spool, lapis []*fakeLAPI) []*outbox {
	t.Helper()
	first := newOutbox(lapis[0], sp, "", slog.New(slog.DiscardHandler))
	second, err := first.another("second", lapis[1])
	if err != nil {
		t.Fatal(err)
	}
	return []*outbox{first, second}
}

// TestEachAlertOnceToEach is TestEachAlertOnce with two LAPIs on one spool, of which
// one is away most of the time.
func TestEachAlertOnceToEach(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		lapis := []*fakeLAPI{{}, {}}
		for i, l := range lapis {
			l.answer = func(int, []decisions.Alert) (bool, error) {
				if rnd.IntN(2+8*i) > 1 {
					return rnd.IntN(2) == 0, fmt.Errorf("%w: away", api.ErrUnreachable)
				}
				return true, nil
			}
		}
		dir := t.TempDir()
		open := func() []*outbox {
			sp, err := openSpool(dir, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			sp.limit = parts * 600 // small segments
			return pair(t, sp, lapis)
		}
		all, senders := open(), make([]sender, 2)
		n := 0
		for range 150 {
			switch rnd.IntN(6) {
			case 0:
				more := 1 + rnd.IntN(3)
				all[0].spool.limit = 1 << 20
				if err := put(all, numbered(n+1, n+more), source.Moves{}); err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(3) == 0 {
					if err := all[0].spool.roll(); err != nil {
						t.Fatal(err)
					}
				}
				n += more
			case 1: // killed
				all[0].spool.abandon()
				all, senders = open(), make([]sender, 2)
			case 2:
				if err := all[0].spool.trim(); err != nil {
					t.Fatal(err)
				}
			default:
				i := rnd.IntN(2)
				_, _ = senders[i].round(context.Background(), all[i]) // errors are the point
			}
		}
		for i, l := range lapis {
			l.mu.Lock()
			l.answer = nil
			l.mu.Unlock()
			until(t, all[i], 200)
			if got := l.stored(); !slices.Equal(got, messages(1, n)) {
				t.Fatalf("seed %d: LAPI %d got %d alerts of %d: %q", seed, i, len(got), n, got)
			}
		}
		if err := all[0].spool.trim(); err != nil {
			t.Fatal(err)
		}
		if segments, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(segments) > 2 { // the last one, and the one that the last alert is in
			t.Errorf("seed %d: %d segments are left", seed, len(segments))
		}
		all[0].spool.abandon()
	}
}

// TestOneIsAway: what the bound of the spool costs is counted for the LAPI that lacks it.
func TestOneIsAway(t *testing.T) {
	dir := t.TempDir()
	sp, err := openSpool(dir, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	lapis := []*fakeLAPI{{}, {answer: func(int, []decisions.Alert) (bool, error) { return false, errUnreachable }}}
	all := pair(t, sp, lapis)
	var s sender
	for i := range 1000 {
		if err := put(all, numbered(i+1, i+1), source.Moves{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.round(t.Context(), all[0]); err != nil {
			t.Fatal(err)
		}
		if err := sp.trim(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(lapis[0].stored()); n != 1000 {
		t.Errorf("the first got %d", n)
	}
	for _, o := range all {
		o.tellDropped()
	}
	a, b := all[0].counts(), all[1].counts()
	if a.dropped != 0 || a.waiting != 0 || b.dropped == 0 || b.dropped+b.waiting != 1000 {
		t.Errorf("first %+v, second %+v", a, b)
	}
	size := int64(0)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			size += fi.Size()
		}
	}
	if size > 65<<10 {
		t.Errorf("the spool has %d bytes", size)
	}
}
