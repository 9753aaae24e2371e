package match

import (
	"sync"
	"sync/atomic"
)

// automaton is a lazily built automaton that all workers share: states are
// appended under a mutex and read without one. S is what belongs to a state.
//
// Readers load cur once per text and follow its entries. An entry is written
// with an atomic store after everything that it leads to. When a slice is full
// a table twice as large takes its place; a reader of the old one doesn't see
// new entries any more, asks for them, and gets the new table.
type automaton[S any] struct {
	columns uint32
	limit   limits
	cur     atomic.Pointer[table[S]]

	mu     sync.Mutex
	index  map[string]uint32 // states by key
	states uint32            // in use
	bytes  int               // estimate of the memory used
	full   bool

	misses atomic.Uint32 // texts not decided since the last start
}

// limits bounds an automaton. Beyond, texts that need a new state are not
// decided; after relearn of them the automaton starts again from nothing, so
// that hostile lines can't spoil it for good.
type limits struct {
	states  uint32
	bytes   int
	relearn uint32
}

// defaultLimits allow what all but a few of the public patterns ever use.
var defaultLimits = limits{states: 8000, bytes: 4 << 20, relearn: 4096}

// table has a row for each state, and in it a column for each class of runes
// (from 1) and two more: see code. Its entries, accessed atomically, are the
// index where the row of the next state begins, 0 while that is unknown. Column 0
// says what is to be done where the state is entered: the register to set and,
// with the bit look, what else the state wants.
type table[S any] struct {
	age    uint32        // how often the automaton has started again
	first  [kinds]uint32 // entry that leads to the start, by kind of the rune before, accessed atomically
	next   []uint32
	states []*S // by number, longer than what is in use
}

const (
	// look is the bit of column 0 that says that there is more to be done than
	// to set a register. The number of the state stands above it.
	look      = 1 << 8
	lookShift = 9

	// registers bounds the registers of a match; a state that needs more counts
	// as a full automaton. No public pattern needs half of them. Number 0 is
	// never read: states that keep no position set it, which costs less than to
	// ask.
	registers = 256
)

func newAutomaton[S any](columns uint32, limit limits) *automaton[S] {
	a := &automaton[S]{columns: columns, limit: limit}
	a.reset()
	return a
}

// reset forgets all states. The caller holds a.mu or is the only user.
func (a *automaton[S]) reset() {
	a.index = map[string]uint32{}
	a.states, a.bytes, a.full = 1, 0, false
	a.misses.Store(0)
	age := uint32(0)
	if old := a.cur.Load(); old != nil {
		age = old.age + 1
	}
	t := &table[S]{age: age, next: make([]uint32, 4*a.columns), states: make([]*S, 4)}
	t.next[0] = look // so that the way to what is unknown ends a fast loop
	a.cur.Store(t)
}

// size returns the number of states and an estimate of the memory they use.
func (a *automaton[S]) size() (states, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.states) - 1, a.bytes
}

// miss notes a text that was not decided because the automaton is full. It
// tells whether it is time to start again from nothing.
func (a *automaton[S]) miss() bool { return a.misses.Add(1) >= a.limit.relearn }

// find returns the entry that leads to the state with a key, 0 if there is none.
// The caller holds a.mu.
func (a *automaton[S]) find(key []byte) uint32 { return a.index[string(key)] * a.columns }

// add makes s a new state with that key, and returns the entry that leads to it,
// 0 if the automaton is full. Where the state is entered a register is set, and
// more is done if looked is true. The caller holds a.mu.
func (a *automaton[S]) add(key string, s *S, set uint8, looked bool) uint32 {
	// The key, its entry in the map, the pointer and S itself, and the row.
	size := 2*len(key) + 128 + 4*int(a.columns)
	if a.full || a.states >= a.limit.states || a.bytes+size > a.limit.bytes {
		a.full = true
		return 0
	}
	if int(a.states) == len(a.cur.Load().states) {
		a.grow()
	}
	t := a.cur.Load()
	id := a.states
	t.states[id] = s
	a.states++
	a.bytes += size
	a.index[key] = id
	a.enter(id, set, looked)
	return id * a.columns
}

// enter sets what is to be done where a state is entered. The caller holds a.mu.
func (a *automaton[S]) enter(id uint32, set uint8, looked bool) {
	do := id<<lookShift | uint32(set)
	if looked {
		do |= look
	}
	atomic.StoreUint32(&a.cur.Load().next[id*a.columns], do)
}

// grow publishes a larger copy of the table. The caller holds a.mu.
func (a *automaton[S]) grow() {
	old := a.cur.Load()
	t := &table[S]{age: old.age, next: make([]uint32, 2*len(old.next)), states: make([]*S, 2*len(old.states))}
	for k := range t.first {
		t.first[k] = old.first[k]
	}
	copy(t.next, old.next)
	copy(t.states, old.states)
	a.cur.Store(t)
}

// known returns the entry of a row of table t, or 0 if it is to be built. It is
// final if it can't be built because the states have been forgotten since. The
// caller holds a.mu.
func (a *automaton[S]) known(t *table[S], row, column uint32) (entry uint32, final bool) {
	cur := a.cur.Load()
	if cur.age != t.age {
		return 0, true
	}
	entry = cur.next[row+column]
	return entry, entry != 0
}

// link sets an entry. The caller holds a.mu.
func (a *automaton[S]) link(row, column, entry uint32) {
	atomic.StoreUint32(&a.cur.Load().next[row+column], entry)
}
