package bucket

// looks is how many cells evict chooses from.
const looks = 16

// evict ends one of the emptiest buckets, to make room: of some that it looks at,
// the one that will be empty first. So a flood of addresses that are seen once
// washes itself away, and not the buckets that are about to overflow: that all of
// those it looks at are fuller than the flood's does not happen. To know the
// emptiest of all, an order would have to be kept up with each pour.
//
// The table is full, so that every cell that was ever made is in use. Which ones it
// looks at depends on the number of evictions only: a replay always has the same result.
func (t *Table) evict() {
	best, first := none, int64(0)
	for n := range min(looks, t.made) {
		i := n
		if t.made > looks {
			t.dice = t.dice*1664525 + 1013904223 // Numerical Recipes' generator
			i = int32(uint64(t.dice) * uint64(t.made) >> 32)
		}
		if at := t.emptyAt(t.at(i)); best < 0 || at < first {
			best, first = i, at
		}
	}
	t.evicted++
	t.remove(best)
}
