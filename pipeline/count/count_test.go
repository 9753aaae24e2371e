package count

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// The twin counts in a map, and copies it for Try.
func TestAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	c, got := New(20), map[int]uint32{}
	now, saved := map[int]uint32{}, map[int]uint32{}
	trying := false
	for range 100_000 {
		switch i := rnd.IntN(40); {
		case i < 20:
			c.Add(i)
			now[i]++
		case i < 25:
			c.Try()
			saved, trying = maps.Clone(now), true
		case i < 28 && trying:
			c.Undo()
			now = maps.Clone(saved)
		case i < 31:
			c.Sure()
			trying = false
		case i == 31:
			sums := maps.Clone(got)
			c.Drain(func(i int, n uint32) { sums[i] += n })
			for i, n := range now {
				if got[i]+n != sums[i] {
					t.Fatalf("counter %d: %d, want %d", i, sums[i], got[i]+n)
				}
			}
			got, now, trying = sums, map[int]uint32{}, false
			c.Sure()
		}
	}
	if len(got) != 20 {
		t.Fatalf("%d counters", len(got))
	}
	var none *Counts
	none.Add(7)
}

func TestAddDoesNotAllocate(t *testing.T) {
	c := New(100)
	step := func() {
		c.Try()
		for i := range 100 {
			c.Add(i)
		}
		c.Undo()
		c.Sure()
		for i := range 100 {
			c.Add(i)
		}
		c.Drain(func(int, uint32) {})
	}
	step()
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := New(100)
	for i := 0; b.Loop(); i++ {
		c.Add(i & 63)
	}
}
