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

// take notes what an answer, or a part of one, tells.
func (h *held) take(delta *decisions.Delta) {
	if delta.Full && delta.Part == 0 {
		h.ids, h.tally = h.ids[:0], decisions.Tally{}
	}
	gone := make([]int64, 0, len(delta.Deleted))
	for i := range delta.Deleted {
		if id := delta.Deleted[i].ID; h.has(id) {
			gone = append(gone, id)
		}
	}
	h.drop(gone)
	var late []int64 // an ID that is not the highest, which is rare
	for i := range delta.New {
		switch id := delta.New[i].ID; {
		case len(h.ids) == 0 || id > h.ids[len(h.ids)-1]:
			h.ids = append(h.ids, id)
			h.tally.Add(id)
		case !h.has(id):
			late = append(late, id)
		}
	}
	if len(late) == 0 {
		return
	}
	slices.Sort(late)
	late = slices.Compact(late)
	for _, id := range late {
		h.tally.Add(id)
	}
	h.ids = append(h.ids, late...)
	slices.Sort(h.ids)
}

func (h *held) has(id int64) bool {
	_, found := slices.BinarySearch(h.ids, id)
	return found
}

// drop forgets IDs.
func (h *held) drop(gone []int64) {
	slices.Sort(gone)
	gone = slices.Compact(gone)
	for _, id := range gone {
		h.tally.Remove(id)
	}
	const few = 8
	if len(gone) > few {
		h.ids = slices.DeleteFunc(h.ids, func(id int64) bool {
			_, found := slices.BinarySearch(gone, id)
			return found
		})
		return
	}
	for _, id := range gone {
		i, _ := slices.BinarySearch(h.ids, id)
		h.ids = slices.Delete(h.ids, i, i+1)
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
