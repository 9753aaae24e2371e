package order

// Records are what a Heap holds the numbers of.
type Records interface {
	// Sooner tells whether record a comes before b.
	Sooner(a, b uint32) bool
	// Moved tells a record where it is in the heap now.
	Moved(record, pos uint32)
}

// Heap is a binary heap of numbers of records; the first one comes first.
// Compared with container/heap a number costs four bytes and no interface value,
// and any record can leave, since it knows its place.
type Heap []uint32

// Push adds a record.
func (h *Heap) Push(of Records, record uint32) {
	*h = append(*h, record)
	pos := uint32(len(*h) - 1)
	of.Moved(record, pos)
	h.up(of, pos)
}

// Remove takes out the record at pos.
func (h *Heap) Remove(of Records, pos uint32) {
	last := uint32(len(*h) - 1)
	if pos != last {
		h.swap(of, pos, last)
	}
	*h = (*h)[:last]
	if pos != last {
		h.Fix(of, pos)
	}
}

// Fix finds the place of the record at pos, which comes sooner or later than it did.
func (h Heap) Fix(of Records, pos uint32) {
	h.down(of, pos)
	h.up(of, pos)
}

func (h Heap) up(of Records, i uint32) {
	for i > 0 {
		parent := (i - 1) / 2
		if !of.Sooner(h[i], h[parent]) {
			return
		}
		h.swap(of, i, parent)
		i = parent
	}
}

func (h Heap) down(of Records, i uint32) {
	for {
		child := 2*i + 1
		if child >= uint32(len(h)) {
			return
		}
		if child+1 < uint32(len(h)) && of.Sooner(h[child+1], h[child]) {
			child++
		}
		if !of.Sooner(h[child], h[i]) {
			return
		}
		h.swap(of, i, child)
		i = child
	}
}

func (h Heap) swap(of Records, i, j uint32) {
	h[i], h[j] = h[j], h[i]
	of.Moved(h[i], i)
	of.Moved(h[j], j)
}
