package match

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unicode/utf8"
)

// reverse is an automaton that reads a text backward and finds the first
// position where a match begins, in one pass whatever the expression.
//
// Its state at a position is the set of instructions that can take the rune
// there and go on to a match.
type reverse struct {
	*automaton[viable]
	code *code

	// Guarded by automaton.mu, and nil until they are needed.
	takes []uint32    // the instructions that take a rune, by inst.arg
	end   uint32      // the instruction that is a match
	ways  [][2]uint32 // by instruction: the range of preds that leads to it without a rune
	preds []uint32
	ok    []bool // by instruction: whether it leads to a match
	queue []uint32
}

// viable is a state.
type viable struct {
	set    []uint64 // by inst.arg
	after  kind     // kind of the rune at the position
	starts uint8    // bit by kind of the rune before: whether a match can start here
}

func newReverse(c *code, limit limits) *reverse {
	return &reverse{automaton: newAutomaton[viable](c.columns(), limit), code: c}
}

// prepare turns the ways of the code around.
func (r *reverse) prepare() {
	c := r.code
	count := make([]uint32, len(c.insts)+1)
	each := func(do func(from, to uint32)) {
		for pc := range c.insts {
			switch in := &c.insts[pc]; in.op {
			case opAlt:
				do(uint32(pc), in.out)
				do(uint32(pc), in.arg)
			case opCapture, opAssert:
				do(uint32(pc), in.out)
			}
		}
	}
	each(func(_, to uint32) { count[to]++ })
	r.ways = make([][2]uint32, len(c.insts))
	sum := uint32(0)
	for pc := range r.ways {
		r.ways[pc] = [2]uint32{sum, sum}
		sum += count[pc]
	}
	r.preds = make([]uint32, sum)
	each(func(from, to uint32) {
		r.preds[r.ways[to][1]] = from
		r.ways[to][1]++
	})
	r.takes = make([]uint32, c.runes)
	for pc := range c.insts {
		switch in := &c.insts[pc]; in.op {
		case opRune:
			r.takes[in.arg] = uint32(pc)
		case opMatch:
			r.end = uint32(pc)
		}
	}
	r.ok = make([]bool, len(c.insts))
}

// search returns the first position from pos on at which a match begins.
func (r *reverse) search(s string, pos int) (int, verdict) {
	c := r.code
	t := r.cur.Load()
	row := atomic.LoadUint32(&t.first[edge])
	if row == 0 {
		if row, t = r.begin(); row == 0 {
			r.missed()
			return 0, undecided
		}
	}
	start := -1
	if t.states[row/r.columns].starts&(1<<c.kindBefore(s, len(s))) != 0 {
		start = len(s)
	}
	for i := len(s); ; {
		if i > pos && s[i-1] < utf8.RuneSelf {
			i, row, start = walkBack(t.next, &c.byByte, s, i, pos, row, start)
		}
		if i == pos {
			break
		}
		column, width := c.decodeLast(s[pos:i])
		to := atomic.LoadUint32(&t.next[row+column])
		if to == 0 {
			if to, t = r.build(t, row, column); to == 0 {
				r.missed()
				return 0, undecided
			}
		}
		i -= width
		row = to
		do := atomic.LoadUint32(&t.next[to])
		if uint8(do) == starts || do&look != 0 && t.states[do>>lookShift].starts&(1<<c.kindBefore(s, i)) != 0 {
			start = i
		}
	}
	if start < 0 {
		return 0, failed
	}
	return start, matched
}

// starts stands in a row in the place of a register: a match can begin where
// the state is entered.
const starts = 1

// walkBack goes on from a row, not beyond pos, while that is known to be all,
// and returns the position, the row and the last start.
//
//go:noinline
func walkBack(next []uint32, class *[256]uint8, s string, i, pos int, row uint32, start int) (int, uint32, int) {
	for ; i > pos; i-- {
		to := atomic.LoadUint32(&next[row+uint32(class[s[i-1]])])
		do := atomic.LoadUint32(&next[to])
		if do&look != 0 {
			break
		}
		if uint8(do) == starts {
			start = i - 1
		}
		row = to
	}
	return i, row, start
}

// missed notes a text that was not decided.
func (r *reverse) missed() {
	if !r.miss() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		r.reset()
	}
}

// begin returns the entry for the end of the text, 0 if it can't be built, and
// the newest table.
func (r *reverse) begin() (uint32, *table[viable]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ok == nil {
		r.prepare()
	}
	row := r.state(make([]uint64, (r.code.runes+63)/64), edge)
	t := r.cur.Load()
	atomic.StoreUint32(&t.first[edge], row)
	return row, t
}

// state returns the entry that leads to a state.
func (r *reverse) state(set []uint64, after kind) uint32 {
	key := make([]byte, 0, 8*len(set)+1)
	for _, w := range set {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	key = append(key, byte(after))
	if row := r.find(key); row != 0 {
		return row
	}
	s := &viable{set: set, after: after}
	for before := range kinds {
		if before == edge || r.code.asserts != nil {
			r.mark(s, before)
		}
		if r.ok[r.code.start] {
			s.starts |= 1 << before
		}
	}
	switch s.starts {
	case 0:
		return r.add(string(key), s, 0, false)
	case 1<<kinds - 1:
		return r.add(string(key), s, starts, false)
	}
	return r.add(string(key), s, 0, true)
}

// mark fills ok for a position in state s behind a rune of a kind.
func (r *reverse) mark(s *viable, before kind) {
	holds := holding(before, s.after)
	clear(r.ok)
	r.queue = r.queue[:0]
	reach := func(pc uint32) {
		if !r.ok[pc] {
			r.ok[pc] = true
			r.queue = append(r.queue, pc)
		}
	}
	reach(r.end)
	for w, word := range s.set {
		for ; word != 0; word &= word - 1 {
			reach(r.takes[w<<6|bits.TrailingZeros64(word)])
		}
	}
	for len(r.queue) > 0 {
		pc := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		for _, from := range r.preds[r.ways[pc][0]:r.ways[pc][1]] {
			in := &r.code.insts[from]
			if in.op != opAssert || in.arg&^uint32(holds) == 0 {
				reach(from)
			}
		}
	}
}

// build fills the entry for a row and column of table t. It returns 0 if it
// can't, and the newest table.
func (r *reverse) build(t *table[viable], row, column uint32) (uint32, *table[viable]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to, final := r.known(t, row, column)
	if !final && !r.full {
		to = r.fill(row, column)
	}
	return to, r.cur.Load()
}

func (r *reverse) fill(row, column uint32) uint32 {
	s := r.cur.Load().states[row/r.columns]
	r.mark(s, r.code.kind[column])
	set := make([]uint64, len(s.set))
	for n, pc := range r.takes {
		in := &r.code.insts[pc]
		if r.ok[in.out] && r.code.sets[in.set].has(int(column)) {
			set[n>>6] |= 1 << (n & 63)
		}
	}
	to := r.state(set, r.code.kind[column])
	if to != 0 {
		r.link(row, column, to)
	}
	return to
}
