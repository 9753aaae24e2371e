package decisions

import (
	"math/bits"
	"math/rand/v2"
)

// index finds records by a number that follows from them: their ID, or their
// address. It keeps five bytes for a place where a map would keep the number once
// more, in 16: it is a hash table with linear probing over the numbers of the
// records, and a byte of each one's hash beside it, so that only records are
// looked at that are likely to be the right one.
//
// It is cut into parts that grow by themselves: none is so large that
// others would have to wait for its growing.
type index struct {
	key   func(i uint32) uint64 // of a record
	seed  uint64
	parts [indexParts]indexPart
	n     int
}

const indexParts = 128

type indexPart struct {
	tags    []uint8 // 0: the place is free
	records []uint32
	n       int
}

func newIndex(key func(i uint32) uint64) index { return index{key: key, seed: rand.Uint64() | 1} }

// place returns the part that a key belongs to, from which place of it on, and its tag.
func (x *index) place(key uint64) (p *indexPart, at int, tag uint8) {
	hi, lo := bits.Mul64(key^x.seed, 0x9e3779b97f4a7c15)
	h := (hi ^ lo) * x.seed
	p = &x.parts[h>>57]
	first, rest := bits.Mul64(h<<7, uint64(len(p.tags)))
	return p, int(first), uint8(rest>>56) | 1
}

// find returns the record with a key, 0 if there is none.
func (x *index) find(key uint64) uint32 {
	p, at, tag := x.place(key)
	if len(p.tags) == 0 {
		return 0
	}
	for ; p.tags[at] != 0; at = p.after(at) {
		if i := p.records[at]; p.tags[at] == tag && x.key(i) == key {
			return i
		}
	}
	return 0
}

// put makes record i the one with a key.
func (x *index) put(key uint64, i uint32) {
	p, at, tag := x.place(key)
	if p.n >= len(p.tags)*7/8 { // a free place is always left
		x.grow(p, len(p.tags)*4/3+4)
		p, at, tag = x.place(key)
	}
	for ; p.tags[at] != 0; at = p.after(at) {
		if p.tags[at] == tag && x.key(p.records[at]) == key {
			p.records[at] = i
			return
		}
	}
	p.tags[at], p.records[at] = tag, i
	p.n++
	x.n++
}

// remove forgets a key, whose record must still be there.
func (x *index) remove(key uint64) {
	p, at, tag := x.place(key)
	if len(p.tags) == 0 {
		return
	}
	for ; p.tags[at] != tag || x.key(p.records[at]) != key; at = p.after(at) {
		if p.tags[at] == 0 {
			return
		}
	}
	p.n--
	x.n--
	// Those that had to go further than here move up, so that the row has no gap.
	for next := p.after(at); p.tags[next] != 0; next = p.after(next) {
		_, home, _ := x.place(x.key(p.records[next]))
		if p.distance(home, next) >= p.distance(at, next) {
			p.tags[at], p.records[at] = p.tags[next], p.records[next]
			at = next
		}
	}
	p.tags[at], p.records[at] = 0, 0
}

// each calls f for all records, in no particular order, until it returns false.
func (x *index) each(f func(i uint32) bool) {
	for p := range x.parts {
		for at, i := range x.parts[p].records {
			if x.parts[p].tags[at] != 0 && !f(i) {
				return
			}
		}
	}
}

func (p *indexPart) after(at int) int {
	if at++; at < len(p.tags) {
		return at
	}
	return 0
}

// distance is how far place b is behind a.
func (p *indexPart) distance(a, b int) int {
	if b >= a {
		return b - a
	}
	return b - a + len(p.tags)
}

// reserve makes room for n more records, so that the parts don't grow step by step.
func (x *index) reserve(n int) {
	for p := range x.parts {
		part := &x.parts[p]
		if want := (part.n + n/indexParts) * 5 / 4; want > len(part.tags)*4/3 {
			x.grow(part, want)
		}
	}
}

// grow gives a part so many places.
func (x *index) grow(p *indexPart, room int) {
	old := *p
	p.tags, p.records = make([]uint8, room), make([]uint32, room)
	for from, i := range old.records {
		if old.tags[from] == 0 {
			continue
		}
		_, at, tag := x.place(x.key(i))
		for p.tags[at] != 0 {
			at = p.after(at)
		}
		p.tags[at], p.records[at] = tag, i
	}
}
