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

// find returns the first position from pos on at which a match begins.
func (r *reverse) find(s string, pos int) (int, verdict) {
	c := r.code
	t := r.cur.Load()
	at := atomic.LoadUint32(&t.first[edge])
	if at == none {
		if at, t = r.begin(); at == none {
			return 0, undecided
		}
	}
	start := -1
	row := at * r.columns
	next := t.next
	if t.states[at].starts&(1<<c.kindBefore(s, len(s))) != 0 {
		start = len(s)
	}
	for i := len(s); i > pos; {
		column, width := uint32(c.byByte[s[i-1]]), 1
		e := atomic.LoadUint32(&next[row+column])
		if e-1 < special-1 {
			row = e
			i--
			continue
		}
		if s[i-1] >= utf8.RuneSelf {
			class, n := c.decodeLast(s[pos:i])
			column, width = uint32(class), n
			e = atomic.LoadUint32(&next[row+column])
		}
		if e == 0 {
			if e, t = r.build(t, row/r.columns, column); e == 0 {
				return 0, undecided
			}
			next = t.next
		}
		i -= width
		if e < special {
			row = e
			continue
		}
		to := e & stateMask
		row = to * r.columns
		if t.states[to].starts&(1<<c.kindBefore(s, i)) != 0 {
			start = i
		}
	}
	if start < 0 {
		return 0, failed
	}
	return start, matched
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

// begin returns the state at the end of the text, none if it can't be built.
func (r *reverse) begin() (uint32, *table[viable]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ok == nil {
		r.prepare()
	}
	id := r.state(make([]uint64, (r.code.runes+63)/64), edge)
	t := r.cur.Load()
	if id != none {
		atomic.StoreUint32(&t.first[edge], id)
	}
	return id, t
}

// state returns the number of a state.
func (r *reverse) state(set []uint64, after kind) uint32 {
	key := make([]byte, 0, 8*len(set)+1)
	for _, w := range set {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	key = append(key, byte(after))
	if id, ok := r.index[string(key)]; ok {
		return id
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
	return r.add(string(key), s)
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

// build fills the entry for a state and column of table t. It returns 0 if it
// can't, and the newest table.
func (r *reverse) build(t *table[viable], from, column uint32) (uint32, *table[viable]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, cur, final := r.known(t, from, column)
	if !final && !r.full {
		e = r.fill(cur.states[from], from, column)
	}
	return e, r.cur.Load()
}

func (r *reverse) fill(s *viable, from, column uint32) uint32 {
	r.mark(s, r.code.kind[column])
	set := make([]uint64, len(s.set))
	for n, pc := range r.takes {
		in := &r.code.insts[pc]
		if r.ok[in.out] && r.code.sets[in.set].has(int(column)) {
			set[n>>6] |= 1 << (n & 63)
		}
	}
	to := r.state(set, r.code.kind[column])
	if to == none {
		return 0
	}
	e := to * r.columns
	if r.cur.Load().states[to].starts != 0 {
		e = special | to
	}
	r.link(from, column, e)
	return e
}
