package lapi

import (
	"net/netip"
	"testing"
	"time"

	"cs/decisions"
)

// TestFeedTellsInParts follows a large set in process: no delta is much longer
// than a part, and what ends or comes while the set is told is not lost.
func TestFeedTellsInParts(t *testing.T) {
	const n = 3 * feedPart
	s := open(t, nil)
	next := netip.MustParseAddr("10.0.0.1")
	add := func(n int) {
		a := decisions.Alert{Scenario: "manual", StartAt: time.Now(), StopAt: time.Now()}
		for range n {
			a.Decisions = append(a.Decisions, decisions.Decision{
				Origin: "cscli", Scenario: "manual", Scope: "Ip", Type: "ban", Value: next.String(), Until: time.Now().Add(time.Hour),
			})
			next = next.Next()
		}
		if err := s.Local("m").SendAlerts(t.Context(), []decisions.Alert{a}); err != nil {
			t.Fatal(err)
		}
	}
	add(n)
	f, known := s.Feed("fw"), map[int64]bool{}
	var longest, parts int
	tell := func() decisions.Delta {
		d, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d.Full && d.Part == 0 {
			clear(known)
		}
		for i := range d.Deleted {
			delete(known, d.Deleted[i].ID)
		}
		for i := range d.New {
			known[d.New[i].ID] = true
		}
		longest = max(longest, len(d.New))
		parts++
		return d
	}
	upToDate := func() bool {
		all := live(s)
		for i := range all {
			if !known[all[i].ID] {
				return false
			}
		}
		return len(all) == len(known)
	}
	first := tell()
	if !first.Full || !first.More || first.Part != 0 {
		t.Fatalf("the first delta is %v, %v, part %d, want a part of the whole set", first.Full, first.More, first.Part)
	}
	s.decisions.End([]int64{first.New[0].ID}, s.now()) // one that was told
	add(1)                                             // behind what is told
	for d := first; d.More; {
		was := d.Part
		if d = tell(); !d.Full || d.Part != was+1 {
			t.Fatalf("a delta is %v, part %d, want part %d of the whole set", d.Full, d.Part, was+1)
		}
	}
	if d := tell(); d.Full || !upToDate() {
		t.Fatalf("after the whole set and a delta %d of %d decisions are known", len(known), len(live(s)))
	}
	if want := 2 * feedPart; longest >= want || parts < 4 {
		t.Errorf("%d deltas, the longest of %d decisions, want less than %d", parts, longest, want)
	}
	parts = 0
	add(n)
	for !upToDate() {
		if d := tell(); d.Full {
			t.Fatal("news came as the whole set")
		}
	}
	if want := 2 * feedPart; longest >= want || parts < 2 {
		t.Errorf("news came in %d deltas, the longest of %d decisions, want less than %d", parts, longest, want)
	}
	f.Resync()
	if d := tell(); !d.Full || d.Part != 0 || !d.More {
		t.Errorf("after Resync: %v, part %d, %v", d.Full, d.Part, d.More)
	}
}
