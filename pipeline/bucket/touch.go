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
	var cells, heads [touchAtOnce]int32
	var chunks [2 * touchAtOnce]int32
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
		nchunks, nheads := 0, 0
		for _, i := range cells[:found] {
			c := t.at(i)
			if c.queue.tail >= 0 {
				chunks[nchunks] = c.queue.tail
				nchunks++
				if int(c.queue.n) > t.specs[c.spec].queue {
					heads[nheads] = c.queue.tail
					nheads++
				}
			}
			if c.values >= 0 {
				chunks[nchunks] = c.values
				nchunks++
			}
		}
		for _, i := range chunks[:nchunks] { // a chunk is two cache lines
			c := t.chunks.at(i)
			sum += uint32(c.next) + uint32(c.data[chunkData-1])
		}
		for k, i := range heads[:nheads] { // the oldest event makes room for the new one
			heads[k] = t.chunks.at(i).next
		}
		for k, i := range heads[:nheads] {
			c := t.chunks.at(i)
			sum += uint32(c.data[chunkData-1])
			heads[k] = c.next
		}
		for _, i := range heads[:nheads] {
			sum += uint32(t.chunks.at(i).next)
		}
		t.touched += sum // so that no compiler leaves it out
	}
}

const (
	// worthTouching is the number of buckets that no longer fit a cache well.
	worthTouching = 4096
	touchAtOnce   = 64
)
