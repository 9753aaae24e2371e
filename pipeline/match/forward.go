package match

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// forward is a tagged automaton: it matches at a given position and finds the
// groups in the same pass (Laurikari 2000, with the priorities of Perl instead
// of those of POSIX).
//
// A state is an ordered list of threads, most preferred first: an instruction
// and, for each capture slot, the register that holds its position. All slots
// set in one step get the same position, so one register that no thread uses
// serves them all, and registers are never copied. A thread stands behind the
// rune it has taken: what lies between there and the next instruction that
// takes one (captures, assertions) is followed when the next rune is known.
// So assertions can be decided, and ways that fail on that rune cost nothing.
type forward struct {
	*automaton[threads]
	code *code
	work *builder // guarded by automaton.mu, nil until it is needed
}

// threads is a state.
type threads struct {
	list   string        // eight bytes a thread: instruction, number of its registers
	before kind          // kind of the rune before; edge if it doesn't matter
	hits   atomic.Uint32 // times it led to itself, until skip is known
	skip   atomic.Pointer[skip]
}

// skip tells how to run through a state that leads to itself on most runes.
type skip struct {
	exit int       // the only byte that leads elsewhere; manyExits or noExit
	do   uint32    // what each step that stays does
	rep  report    // if do is that; a reader's table may be too old to have it
	stay [256]bool // bytes on which the state stays itself
}

const (
	manyExits = -1
	noExit    = -2
)

// skipAfter is how often a state must lead to itself before it is worth
// building all its transitions to learn whether it can be run through.
const skipAfter = 16

// maxExits is the number of bytes that leave a state from which on it isn't
// worth running through it: numbers and words are short.
const maxExits = 160

type verdict uint8

const (
	failed verdict = iota
	matched
	undecided // needs a state that the full automaton can't hold
)

func newForward(c *code, limit limits) *forward {
	return &forward{automaton: newAutomaton[threads](c.columns(), limit), code: c}
}

// match tries to match at pos, a border of runes. It fills caps, which may be
// nil, and returns where it stopped.
func (f *forward) match(m *Machine, s string, pos int, caps []int32) (verdict, int) {
	c := f.code
	t := f.cur.Load()
	before := c.kindBefore(s, pos)
	at := atomic.LoadUint32(&t.first[before])
	if at == none {
		if at, t = f.begin(before); at == none {
			return undecided, pos
		}
	}
	result := failed
	columns := f.columns
	row := at * columns
	next := t.next
	i := pos
	for {
		var e, column uint32
		width := 1
		if i < len(s) {
			// The column of non-ASCII bytes is never filled, so that this
			// path needs no test for them.
			column = uint32(c.byByte[s[i]])
			e = atomic.LoadUint32(&next[row+column])
			if e-1 < special-1 {
				row = e
				i++
				continue
			}
			if s[i] >= utf8.RuneSelf {
				class, n := c.decode(s[i:])
				column, width = uint32(class), n
				e = atomic.LoadUint32(&next[row+column])
			}
		} else {
			column = c.endOfText()
			e = atomic.LoadUint32(&next[row+column])
		}
		if e == 0 {
			if e, t = f.build(t, row/columns, column); e == 0 {
				return undecided, i
			}
			next = t.next
		}
		if e < special {
			row = e
			i += width
			continue
		}
		to := e & stateMask
		switch do := e >> doShift & doMask; {
		case do == none:
		case do < firstReport:
			m.regs[(do-1)&(registers-1)] = int32(i)
		default:
			result = matched
			if caps == nil {
				return matched, i
			}
			m.report(&t.reports[do-firstReport], pos, i, caps)
		}
		if to == dead {
			return result, i
		}
		row = to * columns
		i += width
		if e&toItself == 0 {
			continue
		}
		x := t.states[to].skip.Load()
		if x == nil {
			if t.states[to].hits.Add(1) >= skipAfter {
				f.analyse(t, to)
			}
			continue
		}
		if to := x.run(s, i); to > i {
			if x.do == none {
				i = to
				continue
			}
			// Only what the last step does counts.
			_, width := c.decodeLast(s[i:to])
			if i = to; x.do < firstReport {
				m.regs[(x.do-1)&(registers-1)] = int32(i - width)
				continue
			}
			result = matched
			if caps == nil {
				return matched, i
			}
			m.report(&x.rep, pos, i-width, caps)
		}
	}
}

// report notes a match.
func (m *Machine) report(r *report, start, end int, caps []int32) {
	if r.set >= 0 {
		m.regs[r.set&(registers-1)] = int32(end)
	}
	caps[0], caps[1] = int32(start), int32(end)
	caps = caps[2:][:len(r.regs)]
	for slot, reg := range r.regs {
		caps[slot] = -1
		if reg >= 0 {
			caps[slot] = m.regs[reg&(registers-1)]
		}
	}
}

// run returns where the state is left.
func (x *skip) run(s string, i int) int {
	switch x.exit {
	case manyExits:
		for i < len(s) && x.stay[s[i]] {
			i++
		}
		return i
	case noExit:
		return len(s)
	}
	if n := strings.IndexByte(s[i:], byte(x.exit)); n >= 0 {
		return i + n
	}
	return len(s)
}

// missed notes a text that was not decided.
func (f *forward) missed() {
	if !f.miss() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		f.reset()
		f.work = nil
	}
}

// begin returns the start state for a kind of rune before, none if it can't be
// built.
func (f *forward) begin(before kind) (uint32, *table[threads]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.work == nil {
		f.work = newBuilder(f.code)
	}
	id := f.state([]thread{{pc: f.code.start, regs: f.work.unset()}}, before)
	t := f.cur.Load()
	if id != none {
		atomic.StoreUint32(&t.first[before], id)
	}
	return id, t
}

// state returns the number of a state.
func (f *forward) state(list []thread, before kind) uint32 {
	if len(list) == 0 {
		return dead
	}
	if f.code.asserts == nil || !slices.ContainsFunc(list, func(th thread) bool { return f.code.asserts[th.pc] }) {
		before = edge
	}
	key := make([]byte, 0, 8*len(list)+1)
	for _, th := range list {
		key = binary.LittleEndian.AppendUint32(key, th.pc)
		key = binary.LittleEndian.AppendUint32(key, th.regs)
	}
	key = append(key, byte(before))
	k := string(key)
	return f.add(k, &threads{list: k[:len(k)-1], before: before})
}

// build fills the entry for a state and column of table t. It returns 0 if it
// can't, and the newest table.
func (f *forward) build(t *table[threads], from, column uint32) (uint32, *table[threads]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, cur, final := f.known(t, from, column)
	if !final {
		e = f.fill(cur.states[from], from, column)
	}
	return e, f.cur.Load()
}

func (f *forward) fill(s *threads, from, column uint32) uint32 {
	if f.full {
		return 0
	}
	vectors := len(f.work.vectors)
	next, ok := f.work.step(s, column)
	f.bytes += (len(f.work.vectors) - vectors) * (4*f.code.slots + 96)
	if !ok {
		f.full = true
		return 0
	}
	to := f.state(next.list, next.before)
	if to == none {
		return 0
	}
	do := uint32(none)
	if next.set >= 0 {
		do = uint32(next.set) + 1
	}
	if next.report >= 0 {
		key := binary.AppendVarint(nil, int64(next.set))
		key = binary.AppendVarint(key, next.report)
		if do = f.report(string(key), report{next.set, f.work.vectors[next.report]}); do == none {
			return 0
		}
	}
	e := to * f.columns
	if do != none || to == dead || to == from {
		e = special | do<<doShift | to
	}
	if to == from {
		e |= toItself
	}
	f.link(from, column, e)
	return e
}

// analyse finds out how a state can be run through.
func (f *forward) analyse(t *table[threads], id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cur := f.cur.Load()
	if cur.age != t.age || cur.states[id].skip.Load() != nil {
		return
	}
	s := cur.states[id]
	x := &skip{exit: noExit}
	stays := make([]bool, f.code.classes)
	first := true
	for class := range f.code.classes {
		e, _, _ := f.known(t, id, uint32(class))
		if e == 0 {
			if e = f.fill(s, id, uint32(class)); e == 0 {
				s.skip.Store(&skip{exit: manyExits}) // full: never ask again
				return
			}
		}
		if e&(special|toItself) != special|toItself {
			continue
		}
		if do := e >> doShift & doMask; first || do == x.do {
			first, x.do = false, do
			stays[class] = true
		}
	}
	if x.do >= firstReport {
		x.rep = f.cur.Load().reports[x.do-firstReport]
	}
	allOthers := true
	for _, class := range f.code.byBound {
		allOthers = allOthers && stays[class]
	}
	exits := 0
	for b := range x.stay {
		x.stay[b] = b >= utf8.RuneSelf && allOthers || b < utf8.RuneSelf && stays[f.code.byByte[b]]
		if !x.stay[b] {
			exits++
			x.exit = b
		}
	}
	if exits > 1 {
		x.exit = manyExits
	}
	if exits > maxExits {
		// Not worth it: take the mark off.
		for class := range f.code.classes {
			e, _, _ := f.known(t, id, uint32(class))
			if e&(special|toItself) != special|toItself {
				continue
			}
			if e &^= toItself; e>>doShift&doMask == none {
				e = id * f.columns
			}
			f.link(id, uint32(class), e)
		}
	}
	s.skip.Store(x)
}
