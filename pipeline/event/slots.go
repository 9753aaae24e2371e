package event

import "slices"

// Slots is a set of slots of one Schema.
type Slots []uint64

func newSlots(n int) Slots { return make(Slots, (n+63)/64) }

// Has tells whether a slot is in the set.
func (s Slots) Has(i Slot) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// Add puts a slot into the set.
func (s Slots) Add(i Slot) { s[i>>6] |= 1 << (i & 63) }

// Of returns the slots of some spaces. The schema must be complete.
func (s *Schema) Of(spaces ...Space) Slots {
	out := newSlots(s.Len())
	for id := range s.names {
		if slices.Contains(spaces, s.names[id].space) {
			out.Add(Slot(id))
		}
	}
	return out
}
