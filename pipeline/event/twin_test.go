package event

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestEventAgainstMaps compares an event with maps, over random operations.
func TestEventAgainstMaps(t *testing.T) {
	s := NewSchema()
	var slots []Slot
	for i := range 150 {
		for _, space := range []Space{Parsed, Meta, Enriched} {
			slot, err := s.Intern(space, fmt.Sprint("f", i))
			if err != nil {
				t.Fatal(err)
			}
			slots = append(slots, slot)
		}
	}
	metas := s.Of(Meta)
	r := rand.New(rand.NewPCG(3, 4))
	e, other := New(s), New(s)
	var slow, kept map[Slot]string
	var c Copy
	reset := func() {
		e.Reset(Line{Raw: fmt.Sprint(r.IntN(100))})
		slow = map[Slot]string{}
	}
	reset()
	for range 20_000 {
		i := slots[r.IntN(len(slots))]
		switch n := r.IntN(100); {
		case n < 70:
			v := e.Keep([]byte(fmt.Sprint(r.IntN(3000)))[r.IntN(2):])
			e.Set(i, v)
			slow[i] = v
		case n < 80:
			reset()
		case n < 85:
			c.Take(e)
			kept = maps.Clone(slow)
			for k, v := range kept {
				kept[k] = string([]byte(v)) // what e kept goes with its line
			}
		case n < 90 && kept != nil:
			c.Restore(other)
			for _, i := range slots {
				if v, ok := kept[i]; other.Has(i) != ok || other.Get(i) != v {
					t.Fatalf("restored slot %d: %v %q, want %v %q", i, other.Has(i), other.Get(i), ok, v)
				}
			}
		case n < 95:
			last, count := -1, 0
			for i := range e.Among(metas) {
				space, _ := s.Name(i)
				if _, ok := slow[i]; !ok || space != Meta || int(i) <= last {
					t.Fatalf("slot %d is among the metas", i)
				}
				last = int(i)
				count++
			}
			for i := range slow {
				if metas.Has(i) {
					count--
				}
			}
			if count != 0 {
				t.Fatalf("%d metas too many", count)
			}
		}
		if v, ok := slow[i]; e.Has(i) != ok || e.Get(i) != v {
			t.Fatalf("slot %d: %v %q, want %v %q", i, e.Has(i), e.Get(i), ok, v)
		}
	}
}
