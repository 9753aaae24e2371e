package bucket

// Touch brings what coming pours will look at into the processor's cache: for all
// at the same time, while each pour by itself would wait for its bucket to come
// from memory. It changes nothing. pour returns the i-th of n pours.
func (t *Table) Touch(n int, pour func(i int) *Pour) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n < worthTouching {
		return
	}
	var keys [touchAtOnce]uint64
	var cells [touchAtOnce]int32
	for from := 0; from < n; from += touchAtOnce {
		m := min(n-from, touchAtOnce)
		// Processors load on while they wait, unless they must guess a branch by
		// what they wait for: hence one loop after the other.
		for i := range m {
			p := pour(from + i)
			keys[i] = p.Key.of(ident(t.specs[p.Spec].Share, p.Replay, false))
			t.touchIndex(keys[i])
		}
		found := 0
		for i := range m {
			if c := t.index.guess(hashOf(keys[i])); c >= 0 {
				cells[found] = c
				found++
			}
		}
		sum := uint32(0)
		for _, c := range cells[:found] {
			sum += t.at(c).total
		}
		tails := cells[:0]
		for _, c := range cells[:found] {
			if tail := t.at(c).queue.tail; tail >= 0 {
				tails = append(tails, tail)
			}
		}
		for i, c := range tails { // to the heads: the oldest event makes room for the new one
			tails[i] = t.chunks.at(c).next
		}
		for i, c := range tails { // a chunk is two cache lines
			head := t.chunks.at(c)
			sum += uint32(head.data[chunkData-1])
			tails[i] = head.next
		}
		for _, c := range tails {
			sum += uint32(t.chunks.at(c).next)
		}
		t.touched += sum // so that no compiler leaves it out
	}
}

// touchIndex brings where a key is found into the cache.
func (t *Table) touchIndex(key uint64) {
	t.touched += t.index.entries[t.index.first(hashOf(key))].hash
}

const (
	// worthTouching is the number of buckets that no longer fit a cache well.
	worthTouching = 4096
	touchAtOnce   = 64
)
