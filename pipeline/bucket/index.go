package bucket

// index finds cells by key: open addressing with linear probing. An entry holds
// half of the key, so a probe rarely looks at a wrong cell, and neither growing nor
// deleting looks at any.
type index struct {
	entries []entry
	n       int
}

type entry struct {
	hash uint32
	cell int32 // cell+1; 0: empty
}

func (x *index) init() { x.entries = make([]entry, 64) }

func hashOf(key uint64) uint32 { return uint32(key) }

// first and next walk the places where a hash may be.
func (x *index) first(hash uint32) int { return int(hash) & (len(x.entries) - 1) }
func (x *index) next(p int) int        { return (p + 1) & (len(x.entries) - 1) }

// match returns the cell at a place if it has the hash, none at the end of
// the walk, and another negative number to walk on.
func (x *index) match(p int, hash uint32) int32 {
	e := x.entries[p]
	if e.cell == 0 {
		return none
	}
	if e.hash != hash {
		return none - 1
	}
	return e.cell - 1
}

// touch brings the places where hashes may be into the cache. What it returns
// means nothing.
func (x *index) touch(hashes []uint32) (sum uint32) {
	mask := uint32(len(x.entries) - 1)
	for _, h := range hashes {
		sum += x.entries[h&mask].hash
	}
	return sum
}

// guess returns a cell that is probably that of the hash, none if there is none.
func (x *index) guess(hash uint32) int32 {
	for p := x.first(hash); ; p = x.next(p) {
		if i := x.match(p, hash); i >= none {
			return i
		}
	}
}

func (x *index) put(hash uint32, cell int32) {
	if 8*(x.n+1) > 7*len(x.entries) {
		old := x.entries
		x.entries = make([]entry, 2*len(old))
		for _, e := range old {
			if e.cell != 0 {
				x.place(e)
			}
		}
	}
	x.place(entry{hash, cell + 1})
	x.n++
}

func (x *index) place(e entry) {
	p := x.first(e.hash)
	for x.entries[p].cell != 0 {
		p = x.next(p)
	}
	x.entries[p] = e
}

// del removes a cell and closes the gap, so that no walk ends too early.
func (x *index) del(hash uint32, cell int32) {
	p := x.first(hash)
	for x.entries[p].cell != cell+1 {
		p = x.next(p)
	}
	mask := len(x.entries) - 1
	for q := x.next(p); x.entries[q].cell != 0; q = x.next(q) {
		home := x.first(x.entries[q].hash)
		if (q-home)&mask >= (q-p)&mask { // it may move back to the gap
			x.entries[p] = x.entries[q]
			p = q
		}
	}
	x.entries[p] = entry{}
	x.n--
}
