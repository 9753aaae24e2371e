package api

import (
	"math/rand/v2"
	"testing"

	"cs/decisions"
)

// TestHeldAgainstSlow compares the tally after random changes, repeated and
// unknown ones too, with that of a map.
func TestHeldAgainstSlow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var h held
	slow := make(map[int64]bool)
	for step := range 500 {
		var d decisions.Delta
		if d.Full = rng.IntN(20) == 0; d.Full {
			clear(slow)
		}
		for range rng.IntN(5) {
			if id := int64(rng.IntN(40)); !d.Full {
				d.Deleted = append(d.Deleted, decisions.Decision{ID: id})
				delete(slow, id)
			}
		}
		for range rng.IntN(5) {
			id := int64(rng.IntN(40))
			d.New = append(d.New, decisions.Decision{ID: id})
			slow[id] = true
		}
		h.take(&d)
		var want decisions.Tally
		for id := range slow {
			want.Add(id)
		}
		if h.tally != want || !h.agrees(FormatTally(want)) {
			t.Fatalf("step %d: %+v, want %+v", step, h.tally, want)
		}
	}
	for i, want := range []bool{true, true, false} {
		if got := h.agrees("1.0000000000000000"); got != want {
			t.Fatalf("doubt %d: %v", i, got)
		}
	}
	if !h.agrees("") || h.wrong != 0 {
		t.Fatal("a server without a tally is believed")
	}
}
