package node

import (
	"fmt"
	"testing"
	"time"
)

// TestTakeOver: a reload keeps what is stashed under a name that is still there, the last used
// first, and for as long as it was to be kept.
func TestTakeOver(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	old, fresh := NewStashes(clock), NewStashes(clock)
	old.declare("a", 10, "")
	old.declare("gone", 10, "")
	fresh.declare("a", 2, "")
	fresh.declare("new", 10, "")
	for i := range 4 {
		old.Set("a", fmt.Sprint(i), fmt.Sprint("v", i), time.Minute)
	}
	old.Set("a", "short", "x", time.Second)
	old.Set("gone", "k", "v", time.Minute)
	if old.Get("a", "0") != "v0" { // which makes it the last used
		t.Fatal("0 is gone")
	}
	now = now.Add(30 * time.Second)
	fresh.TakeOver(old)
	for key, want := range map[string]string{"0": "v0", "1": "", "2": "", "3": "v3", "short": ""} {
		if got := fresh.Get("a", key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	sizes := ""
	fresh.Each(func(name string, n int) { sizes += fmt.Sprintf("%s=%d ", name, n) })
	if sizes != "a=2 new=0 " {
		t.Errorf("got %s", sizes)
	}
	now = now.Add(31 * time.Second)
	if got := fresh.Get("a", "0"); got != "" {
		t.Errorf("it is kept for longer than it should: %q", got)
	}
}
