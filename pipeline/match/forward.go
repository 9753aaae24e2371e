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
	work builder // guarded by automaton.mu
}

// threads is a state.
type threads struct {
	list   string        // eight bytes a thread: instruction, number of its registers
	before kind          // kind of the rune before; edge if it doesn't matter
	hits   atomic.Uint32 // times it led to itself, until skip is known
	skip   atomic.Pointer[skip]
}

// registers bounds the registers of a match; a state that needs more counts as
// a full automaton. No public pattern needs half of them.
const registers = 256

// skip tells how to run through a state that leads to itself on most runes.
type skip struct {
	stay [256]bool // bytes on which the state stays itself
	exit int       // the only byte on which it doesn't; manyExits or noExit
	do   action    // of each step that stays
}

const (
	manyExits = -1
	noExit    = -2
)

// skipAfter is how often a state must lead to itself before it is worth
// building all its transitions to learn whether it can be run through.
const skipAfter = 16

type verdict uint8

const (
	failed verdict = iota
	matched
	undecided // needs a state that the full automaton can't hold
)

func newForward(c *code, limit limits) *forward {
	return &forward{automaton: newAutomaton[threads](c.columns(), limit), code: c, work: newBuilder(c)}
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
	row := at * f.columns
	next := t.next
	i := pos
	for {
		column, width := c.endOfText(), 1
		if i < len(s) {
			// The column of non-ASCII bytes is never filled, so that this
			// path needs no test for them.
			column = uint32(c.byByte[s[i]])
			e := atomic.LoadUint32(&next[row+column])
			if e-1 < special-1 {
				row = e
				i++
				continue
			}
			if s[i] >= utf8.RuneSelf {
				class, n := c.decode(s[i:])
				column, width = uint32(class), n
			}
		}
		e := atomic.LoadUint32(&next[row+column])
		if e == 0 {
			if e, t = f.build(t, row/f.columns, column); e == 0 {
				return undecided, i
			}
			next = t.next
		}
		if e < special {
			row = e
			i += width
			continue
		}
		if a := e >> actShift & actMask; a != none {
			do := &t.actions[a]
			if do.apply(m, i) {
				result = matched
				if caps == nil {
					return matched, i
				}
				do.report(m, pos, i, caps)
			}
		}
		to := e & stateMask
		if to == dead {
			return result, i
		}
		row = to * f.columns
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
			_, width := c.decodeLast(s[i:to])
			if i = to; x.do.apply(m, i-width) {
				result = matched
				if caps == nil {
					return matched, i
				}
				x.do.report(m, pos, i-width, caps)
			}
		}
	}
}

// apply sets the register and tells whether there is a match to be reported.
func (a *action) apply(m *Machine, i int) bool {
	if a.set >= 0 {
		m.regs[a.set&(registers-1)] = int32(i)
	}
	return a.reports
}

func (a *action) report(m *Machine, start, end int, caps []int32) {
	caps[0], caps[1] = int32(start), int32(end)
	caps = caps[2:][:len(a.regs)]
	for slot, r := range a.regs {
		if r < 0 {
			caps[slot] = -1
		} else {
			caps[slot] = m.regs[r&(registers-1)]
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
		f.work = newBuilder(f.code)
	}
}

// begin returns the start state for a kind of rune before, none if it can't be
// built.
func (f *forward) begin(before kind) (uint32, *table[threads]) {
	f.mu.Lock()
	defer f.mu.Unlock()
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
	list, after, key, do, ok := f.work.step(s, column)
	f.bytes += (len(f.work.vectors) - vectors) * (4*f.code.slots + 96)
	if !ok {
		f.full = true
		return 0
	}
	to := f.state(list, after)
	if to == none {
		return 0
	}
	act := uint32(none)
	if do.set >= 0 || do.reports {
		if act, ok = f.act(key, do); !ok {
			return 0
		}
	}
	e := to * f.columns
	if act != none || to == dead || to == from {
		e = special | act<<actShift | to
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
	act := int64(-1) // number of the action that all steps to itself share
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
		if a := int64(e >> actShift & actMask); act < 0 || act == a {
			act = a
			stays[class] = true
		}
	}
	x.do.set = -1
	if act > none {
		x.do = f.cur.Load().actions[act]
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
	s.skip.Store(x)
}
