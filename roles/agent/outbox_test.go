package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cs/decisions"
	"cs/pipeline/source"
	"cs/roles/api"
)

func testOutbox(t *testing.T, lapi LAPI, limit int64) *outbox {
	t.Helper()
	dir := t.TempDir()
	sp, err := openSpool(filepath.Join(dir, "spool"), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.close() })
	return newOutbox(lapi, sp, filepath.Join(dir, "rejected"), slog.New(slog.DiscardHandler))
}

func numbered(from, to int) (list []decisions.Alert) {
	for i := from; i <= to; i++ {
		list = append(list, decisions.Alert{UUID: decisions.NewUUID(), Message: fmt.Sprint(i)})
	}
	return list
}

func messages(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func without(list []string, out ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(out, s) })
}

func mustPut(t *testing.T, o *outbox, list []decisions.Alert) {
	t.Helper()
	if err := put([]*outbox{o}, list, source.Moves{}); err != nil {
		t.Fatal(err)
	}
}

// refusing answers 500 to batches with one of the messages, as upstream does.
func refusing(status int, bad ...string) func(int, []decisions.Alert) (bool, error) {
	return func(_ int, alerts []decisions.Alert) (bool, error) {
		for _, a := range alerts {
			if slices.Contains(bad, a.Message) {
				return false, &api.Error{Status: status, Message: "no"}
			}
		}
		return true, nil
	}
}

// until runs rounds until nothing waits, and returns how many.
func until(t *testing.T, o *outbox, most int) int {
	t.Helper()
	var s sender
	for n := 1; n <= most; n++ {
		if _, err := s.round(context.Background(), o); err == nil && o.pending() == 0 {
			return n
		}
	}
	t.Fatalf("%d alerts still wait after %d rounds", o.pending(), most)
	return 0
}

func TestPoison(t *testing.T) {
	f := func(status, alerts int, bad ...string) {
		t.Helper()
		lapi := &fakeLAPI{answer: refusing(status, bad...)}
		o := testOutbox(t, lapi, 1<<20)
		mustPut(t, o, numbered(1, alerts))
		until(t, o, 20)
		if got, want := lapi.stored(), without(messages(1, alerts), bad...); !slices.Equal(got, want) {
			t.Errorf("status %d, bad %q: got %q, want %q", status, bad, got, want)
		}
		text, err := os.ReadFile(o.rejectedPath)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n != len(bad) || !strings.Contains(string(text), `"Message":"`+bad[0]+`"`) {
			t.Errorf("status %d, bad %q: kept %d: %s", status, bad, n, text)
		}
	}
	f(500, 20, "7")
	f(500, 20, "1")
	f(500, 20, "20")
	f(500, 300, "1", "2", "3", "4", "150", "300")
	f(400, 1, "1") // the LAPI says that it is wrong: no other alert is needed to know it
	f(413, 5, "3")
	var first []string
	for i := 1; i <= 250; i++ { // more than a window of nothing else
		first = append(first, fmt.Sprint(i))
	}
	f(500, 260, first...)
}

// TestIllLAPI: a server that answers 500 to all is not asked for each alert, and nothing is
// given up.
func TestIllLAPI(t *testing.T) {
	lapi := &fakeLAPI{answer: func(int, []decisions.Alert) (bool, error) {
		return false, &api.Error{Status: 500, Message: "database is locked"}
	}}
	o := testOutbox(t, lapi, 1<<20)
	mustPut(t, o, numbered(1, 500))
	var s sender
	for range 3 {
		if _, err := s.round(context.Background(), o); err == nil {
			t.Fatal("no error")
		}
	}
	if lapi.calls > 3*8*patience {
		t.Fatalf("%d requests in three rounds", lapi.calls)
	}
	lapi.answer = nil
	until(t, o, 20)
	if got := lapi.stored(); !slices.Equal(got, messages(1, 500)) {
		t.Fatalf("got %d alerts", len(got))
	}
}

// TestEachAlertOnce lets the LAPI fail in all ways, restarts the outbox in
// between, and wants each alert once and in order.
func TestEachAlertOnce(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		lapi := &fakeLAPI{}
		lapi.answer = func(call int, alerts []decisions.Alert) (bool, error) {
			switch rnd.IntN(8) {
			case 0:
				return false, fmt.Errorf("%w: refused", api.ErrUnreachable)
			case 1:
				return true, fmt.Errorf("%w: timeout after it was stored", api.ErrUnreachable)
			case 2:
				return false, &api.Error{Status: 503}
			case 3:
				return false, &api.Error{Status: 401}
			}
			return true, nil
		}
		o := testOutbox(t, lapi, 1<<20)
		var s sender
		put := 0
		for range 200 {
			switch rnd.IntN(6) {
			case 0, 1:
				n := 1 + rnd.IntN(10)
				mustPut(t, o, numbered(put+1, put+n))
				put += n
			case 2: // killed: nothing is closed or said good-bye to
				o.spool.abandon()
				sp, err := openSpool(o.spool.dir, o.spool.limit)
				if err != nil {
					t.Fatal(err)
				}
				o, s = newOutbox(lapi, sp, o.rejectedPath, o.log), sender{}
			case 3:
				if err := o.spool.trim(); err != nil {
					t.Fatal(err)
				}
			default:
				_, _ = s.round(context.Background(), o) // errors are the point
			}
		}
		lapi.answer = nil
		until(t, o, 100)
		if got := lapi.stored(); !slices.Equal(got, messages(1, put)) {
			t.Fatalf("seed %d: got %q, want 1 to %d", seed, got, put)
		}
	}
}

// TestDiskFull: what the spool can't take waits in memory, and positions must
// not pass it.
func TestDiskFull(t *testing.T) {
	lapi := &fakeLAPI{}
	o := testOutbox(t, lapi, 1<<20)
	mustPut(t, o, numbered(1, 2))
	o.spool.w.Close()
	if err := put([]*outbox{o}, numbered(3, 3+maxUnspooled), source.Moves{}); err == nil {
		t.Fatal("no error")
	}
	if err := o.sync(); err == nil {
		t.Fatal("positions may be saved although alerts are in memory only")
	}
	if o.lost != 1 {
		t.Fatalf("%d lost, want 1", o.lost)
	}
	until(t, o, 20)
	if got := lapi.stored(); !slices.Equal(got, without(messages(1, 3+maxUnspooled), "3")) {
		t.Fatalf("got %d alerts", len(got))
	}
}

// TestPauses: failures are tried again ever more slowly, and at once when the LAPI is back.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lapi := &fakeLAPI{answer: func(int, []decisions.Alert) (bool, error) { return false, api.ErrUnreachable }}
		o := newOutbox(lapi, nil, "", slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { o.Run(ctx); close(done) }()
		mustPut(t, o, numbered(1, 1))
		time.Sleep(10 * time.Minute)
		lapi.mu.Lock()
		if lapi.calls < 15 || lapi.calls > 60 {
			t.Errorf("%d attempts in ten minutes", lapi.calls)
		}
		lapi.answer = nil
		lapi.mu.Unlock()
		poke(o.retry)
		synctest.Wait()
		if len(lapi.stored()) != 1 {
			t.Error("it is not sent when the LAPI is back")
		}
		cancel()
		<-done
	})
}

func TestAway(t *testing.T) {
	f := func(want bool, err error) {
		t.Helper()
		if got := away(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: got %v", err, got)
		}
	}
	f(true, api.ErrUnreachable)
	f(true, context.DeadlineExceeded)
	for _, status := range []int{302, 401, 403, 404, 429, 502, 503, 504} {
		f(true, &api.Error{Status: status})
	}
	for _, status := range []int{400, 413, 415, 422, 500} {
		f(false, &api.Error{Status: status})
	}
	f(false, errors.New("cannot store 1 alerts: value too large"))
}
