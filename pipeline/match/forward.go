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
//
// A quick automaton drops threads when a preferred one has come much further.
// What it finds is right, since those that it drops count only if all others
// fail; but if they fail it can't tell.
type forward struct {
	*automaton[tagged]
	code  *code
	quick bool
	work  *builder // guarded by automaton.mu, nil until it is needed
}

// tagged is a state.
type tagged struct {
	threads
	slots []uint8              // registers of the report by capture slot, 0: unset
	hits  atomic.Uint32        // times it was entered, until skip is known
	skip  atomic.Pointer[skip] // for some states that lead to themselves
}

// skip tells how to run through a state that leads to itself on most runes.
type skip struct {
	exit int       // the only byte that leads elsewhere; manyExits or noExit
	stay [256]bool // bytes on which the state stays itself
}

const (
	manyExits = -1
	noExit    = -2
)

// skipAfter is how often a state that leads to itself must be entered before it
// is worth building all its transitions to learn whether it can be run through.
const skipAfter = 16

// maxExits is the number of bytes that leave a state from which on it isn't
// worth running through it: numbers and words are short.
const maxExits = 160

type verdict uint8

const (
	failed verdict = iota
	matched
	lost      // a quick automaton may have dropped what counts
	undecided // needs a state that the full automaton can't hold
)

func newForward(c *code, limit limits, quick bool) *forward {
	return &forward{automaton: newAutomaton[tagged](c.columns(), limit), code: c, quick: quick}
}

// match tries to match at pos, a border of runes. It fills caps, which may be
// nil, and returns where it stopped.
func (f *forward) match(m *Machine, s string, pos int, caps []int32) (verdict, int) {
	c := f.code
	t := f.cur.Load()
	before := c.kindBefore(s, pos)
	row := atomic.LoadUint32(&t.first[before])
	if row == 0 {
		if row, t = f.begin(before); row == 0 {
			f.missed()
			return undecided, pos
		}
	}
	found := false
	for i := pos; ; {
		if i < len(s) && s[i] < utf8.RuneSelf {
			i, row = walk(t.next, &c.byByte, &m.regs, s, i, row)
		}
		column, width := c.endOfText(), 0
		if i < len(s) {
			column, width = c.decode(s[i:])
		}
		to := atomic.LoadUint32(&t.next[row+column])
		if to == 0 {
			if to, t = f.build(t, row, column); to == 0 {
				f.missed()
				return undecided, i
			}
		}
		do := atomic.LoadUint32(&t.next[to])
		m.regs[uint8(do)] = int32(i)
		if do&look != 0 {
			st := t.states[do>>lookShift]
			if st.report != none {
				if caps == nil {
					return matched, i
				}
				found = true
				m.report(st.slots, pos, i, caps)
			}
			if len(st.list) == 0 {
				switch {
				case st.partial:
					return lost, i
				case found:
					return matched, i
				}
				return failed, i
			}
			if x := st.skip.Load(); x != nil {
				i = x.run(s, i+width)
				row = to
				continue
			}
			if st.report == none && st.hits.Add(1) == skipAfter {
				f.analyse(t, to, st)
			}
		}
		row = to
		i += width
	}
}

// walk goes on from a row while there is nothing to be done but to set registers,
// and returns the position and row from where there is. All that it needs
// is in registers of the machine, which it would not be as a part of match.
//
//go:noinline
func walk(next []uint32, class *[256]uint8, regs *[registers]int32, s string, i int, row uint32) (int, uint32) {
	for ; i < len(s); i++ {
		to := atomic.LoadUint32(&next[row+uint32(class[s[i]])])
		do := atomic.LoadUint32(&next[to])
		if do&look != 0 {
			break
		}
		regs[uint8(do)] = int32(i)
		row = to
	}
	return i, row
}

// report notes a match.
func (m *Machine) report(slots []uint8, start, end int, caps []int32) {
	caps[0], caps[1] = int32(start), int32(end)
	caps = caps[2:][:len(slots)]
	for slot, reg := range slots {
		caps[slot] = -1
		if reg != 0 {
			caps[slot] = m.regs[reg]
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

// begin returns the entry for the start behind a kind of rune, 0 if it can't be
// built, and the newest table.
func (f *forward) begin(before kind) (uint32, *table[tagged]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.work == nil {
		var certain []int
		if f.quick {
			certain = f.code.certain()
		}
		f.work = newBuilder(f.code, certain)
	}
	row := f.state(threads{
		list:   []thread{{pc: f.code.start, regs: f.work.unset()}},
		before: before,
		report: none,
	})
	t := f.cur.Load()
	atomic.StoreUint32(&t.first[before], row)
	return row, t
}

// state returns the entry that leads to a state, whose list it copies.
func (f *forward) state(s threads) uint32 {
	if f.code.asserts == nil || !slices.ContainsFunc(s.list, func(th thread) bool { return f.code.asserts[th.pc] }) {
		s.before = edge
	}
	var buf [256]byte
	key := append(buf[:0], byte(s.before), 0, s.set)
	if s.partial {
		key[1] = 1
	}
	key = binary.AppendVarint(key, int64(s.report))
	for _, th := range s.list {
		key = binary.AppendUvarint(key, uint64(th.pc))
		key = binary.AppendUvarint(key, uint64(th.regs))
	}
	if row := f.find(key); row != 0 {
		return row
	}
	s.list = slices.Clone(s.list)
	st := &tagged{threads: s}
	if s.report != none {
		st.slots = f.work.vectors[s.report]
	}
	f.bytes += 8 * len(s.list)
	return f.add(string(key), st, s.set, s.report != none || len(s.list) == 0)
}

// build fills the entry for a row and column of table t. It returns 0 if it
// can't, and the newest table.
func (f *forward) build(t *table[tagged], row, column uint32) (uint32, *table[tagged]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to, final := f.known(t, row, column)
	if !final {
		to = f.fill(row, column)
	}
	return to, f.cur.Load()
}

func (f *forward) fill(row, column uint32) uint32 {
	if f.full {
		return 0
	}
	from := f.cur.Load().states[row/f.columns]
	vectors := len(f.work.vectors)
	next, ok := f.work.step(&from.threads, column)
	f.bytes += (len(f.work.vectors) - vectors) * (2*f.code.slots + 96)
	if !ok {
		f.full = true
		return 0
	}
	to := f.state(next)
	if to == 0 {
		return 0
	}
	if to == row && from.set == 0 && from.report == none && from.hits.Load() == 0 {
		f.enter(row/f.columns, 0, true) // to count how often
	}
	f.link(row, column, to)
	return to
}

// analyse finds out how a state that leads to itself can be run through.
func (f *forward) analyse(t *table[tagged], row uint32, s *tagged) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cur.Load().age != t.age {
		return
	}
	stays := make([]bool, f.code.classes)
	for class := 1; class < f.code.classes; class++ {
		to, _ := f.known(t, row, uint32(class))
		if to == 0 {
			to = f.fill(row, uint32(class))
		}
		stays[class] = to == row
	}
	x := &skip{exit: noExit}
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
	if exits <= maxExits {
		s.skip.Store(x)
	} else {
		f.enter(row/f.columns, 0, false)
	}
}
