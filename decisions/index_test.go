package decisions

import (
	"math/rand/v2"
	"testing"
)

// TestIndexAgainstMap does random operations on an index and on a map. Few keys
// and many of one part make rows in which those behind a removed one move up.
func TestIndexAgainstMap(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		keys := make([]uint64, 1+rng.IntN(5000)) // by record
		for i := range keys {
			keys[i] = rng.Uint64() >> rng.IntN(60)
		}
		x, m := newIndex(func(i uint32) uint64 { return keys[i] }), map[uint64]uint32{}
		if seed%2 == 0 { // all in one part
			for i := range keys {
				for p, _, _ := x.place(keys[i]); p != &x.parts[5]; p, _, _ = x.place(keys[i]) {
					keys[i] = rng.Uint64()
				}
			}
		}
		for step := range 20_000 {
			i := uint32(1 + rng.IntN(len(keys)))
			if int(i) == len(keys) {
				continue
			}
			key := keys[i]
			if got := x.find(key); got != m[key] {
				t.Fatalf("seed %d step %d: found %d, want %d", seed, step, got, m[key])
			}
			if rng.IntN(5) < 2 {
				x.remove(key)
				delete(m, key)
			} else {
				x.put(key, i)
				m[key] = i
			}
			if x.n != len(m) {
				t.Fatalf("seed %d step %d: %d keys, want %d", seed, step, x.n, len(m))
			}
		}
		seen := map[uint32]bool{}
		x.each(func(i uint32) bool { seen[i] = true; return true })
		for key, i := range m {
			if x.find(key) != i || !seen[i] {
				t.Fatalf("seed %d: key %d is lost", seed, key)
			}
			delete(seen, i)
		}
		if len(seen) > 0 {
			t.Fatalf("seed %d: records that nobody put in: %v", seed, seen)
		}
	}
}
