package api

import (
	"fmt"
	"slices"

	"cs/decisions"
)

// doubts is how often in a row the server must count otherwise than we before
// we ask for everything anew. Once is no sign of a fault: what ends within the
// second of an answer may be in one count and not in the other.
const doubts = 3

// held is the IDs of the decisions that a server has told us and not taken
// back, so that its tally can be checked: 8 bytes each.
type held struct {
	ids   []int64 // rising
	tally decisions.Tally
	wrong int // tallies in a row that differed
}

// take notes what an answer tells.
func (h *held) take(delta *decisions.Delta) {
	if delta.Full {
		h.ids = h.ids[:0]
	} else if len(delta.New)+len(delta.Deleted) == 0 {
		return
	}
	gone := make([]int64, 0, len(delta.Deleted))
	for i := range delta.Deleted {
		gone = append(gone, delta.Deleted[i].ID)
	}
	slices.Sort(gone)
	h.ids = slices.DeleteFunc(h.ids, func(id int64) bool {
		_, found := slices.BinarySearch(gone, id)
		return found
	})
	for i := range delta.New {
		h.ids = append(h.ids, delta.New[i].ID)
	}
	slices.Sort(h.ids)
	h.ids = slices.Compact(h.ids)
	h.tally = decisions.Tally{}
	for _, id := range h.ids {
		h.tally.Add(id)
	}
}

// agrees compares our tally with the server's, and tells whether we may go on
// with what we have. A server that sends none is believed.
func (h *held) agrees(header string) bool {
	if header == "" || header == FormatTally(h.tally) {
		h.wrong = 0
		return true
	}
	h.wrong++
	return h.wrong < doubts
}

// FormatTally writes a tally for HeaderTally.
func FormatTally(t decisions.Tally) string { return fmt.Sprintf("%d.%016x", t.Count, t.Sum) }
