package bucket

// Crowded tells whether there are so many buckets that it is worth collecting pours
// to Touch them.
func (t *Table) Crowded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n >= worthTouching
}

// Touch brings what coming pours will look at into the processor's cache: for all
// at the same time, while each pour by itself would wait for its bucket to come
// from memory. It changes nothing. pour returns the i-th of n pours.
func (t *Table) Touch(n int, pour func(i int) *Pour) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n < worthTouching {
		return
	}
	var hashes [touchAtOnce]uint32
	var cells [touchAtOnce]int32
	for from := 0; from < n; from += touchAtOnce {
		// Processors load on while they wait, but not far, and not beyond a branch
		// that they can't guess before: hence one short loop after the other.
		m := min(n-from, touchAtOnce)
		for i := range m {
			p := pour(from + i)
			hashes[i] = hashOf(p.Key.of(ident(t.specs[p.Spec].Share, p.Replay, false)))
		}
		sum := t.index.touch(hashes[:m])
		found := 0
		for _, h := range hashes[:m] {
			cells[found] = t.index.guess(h)
			if cells[found] >= 0 {
				found++
			}
		}
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

const (
	// worthTouching is the number of buckets that no longer fit a cache well.
	worthTouching = 4096
	touchAtOnce   = 64
)
