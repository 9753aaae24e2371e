package order

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type records struct{ keys, pos []uint32 }

func (r *records) Sooner(a, b uint32) bool  { return r.keys[a] < r.keys[b] }
func (r *records) Moved(record, pos uint32) { r.pos[record] = pos }

// TestHeap holds a heap against a list that is searched.
func TestHeap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		r, h := &records{}, Heap(nil)
		var in []uint32
		for range 300 {
			switch n := uint32(len(r.keys)); {
			case len(in) == 0 || rng.IntN(3) > 0:
				r.keys, r.pos = append(r.keys, rng.Uint32N(100)), append(r.pos, 0)
				h.Push(r, n)
				in = append(in, n)
			case rng.IntN(2) == 0:
				i := rng.IntN(len(in))
				h.Remove(r, r.pos[in[i]])
				in = slices.Delete(in, i, i+1)
			default:
				i := in[rng.IntN(len(in))]
				r.keys[i] = rng.Uint32N(100)
				h.Fix(r, r.pos[i])
			}
			if len(h) != len(in) {
				t.Fatalf("%d records, want %d", len(h), len(in))
			}
			for _, i := range in {
				if h[r.pos[i]] != i {
					t.Fatalf("record %d isn't at %d", i, r.pos[i])
				}
				if r.keys[h[0]] > r.keys[i] {
					t.Fatalf("%d is first, although %d comes sooner", h[0], i)
				}
			}
		}
	}
}
