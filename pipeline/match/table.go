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

	mu       sync.Mutex
	index    map[string]uint32 // states by key
	reports  map[string]uint32 // by key
	states   uint32            // in use
	reported uint32            // in use
	bytes    int               // estimate of the memory used
	full     bool

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

// defaultLimits allow what all but a few of the public patterns ever use. There
// can't be more states than stateMask.
var defaultLimits = limits{states: 8000, bytes: 4 << 20, relearn: 4096}

type table[S any] struct {
	age     uint32        // how often the automaton has started again
	first   [kinds]uint32 // start states by kind of the rune before, accessed atomically
	next    []uint32      // entry by state*columns + column, accessed atomically
	states  []*S          // by number, longer than what is in use
	reports []report      // same
}

// An entry of table.next is 0 while unknown. It is plain if it is below
// special: then it is the next state times columns, and nothing else is to be
// done. Otherwise it holds the number of the next state, what else is to be
// done, and whether the state leads to itself and can be run through.
//
// What is to be done is a number: none; 1 to registers to set the register
// before that number; from firstReport on a match is found, too, and the number
// is that of a report.
const (
	special     = 1 << 31
	toItself    = 1 << 30
	doShift     = 14
	stateMask   = 1<<doShift - 1
	doMask      = 1<<16 - 1
	firstReport = registers + 1
	maxReports  = doMask - registers

	none = 0 // number of the state that stands for unknown, and for nothing to do
	dead = 1 // number of the state that leads nowhere
)

// registers bounds the registers of a match; a state that needs more counts as
// a full automaton. No public pattern needs half of them.
const registers = 256

// report is a match that ends before the rune of a transition.
type report struct {
	set  int16   // register that gets the position first, -1: none
	regs []int16 // by capture slot, -1: unset
}

func newAutomaton[S any](columns uint32, limit limits) *automaton[S] {
	a := &automaton[S]{columns: columns, limit: limit}
	a.reset()
	return a
}

// reset forgets all states. The caller holds a.mu or is the only user.
func (a *automaton[S]) reset() {
	a.index = map[string]uint32{}
	a.reports = map[string]uint32{}
	a.states, a.reported, a.bytes, a.full = 2, 0, 0, false
	a.misses.Store(0)
	age := uint32(0)
	if old := a.cur.Load(); old != nil {
		age = old.age + 1
	}
	a.cur.Store(&table[S]{age: age, next: make([]uint32, 4*a.columns), states: make([]*S, 4), reports: make([]report, 4)})
}

// size returns the number of states and an estimate of the memory they use.
func (a *automaton[S]) size() (states, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.states) - 2, a.bytes
}

// miss notes a text that was not decided because the automaton is full. It
// tells whether it is time to start again from nothing.
func (a *automaton[S]) miss() bool { return a.misses.Add(1) >= a.limit.relearn }

// add returns the number of the state with that key, which is s if there is
// none so far. It returns none if the automaton is full. The caller holds a.mu.
func (a *automaton[S]) add(key string, s *S) uint32 {
	if id, ok := a.index[key]; ok {
		return id
	}
	// The key, its entry in the map, the pointer and S itself, and the row.
	size := 2*len(key) + 128 + 4*int(a.columns)
	if a.full || a.states >= a.limit.states || a.bytes+size > a.limit.bytes {
		a.full = true
		return none
	}
	t := a.cur.Load()
	if int(a.states) == len(t.states) {
		t = a.grow(2*len(t.states), len(t.reports))
	}
	id := a.states
	t.states[id] = s
	a.states++
	a.bytes += size
	a.index[key] = id
	return id
}

// report returns what is to be done for a report, none if there are too many.
// The caller holds a.mu.
func (a *automaton[S]) report(key string, r report) uint32 {
	if do, ok := a.reports[key]; ok {
		return do
	}
	if a.reported == maxReports {
		a.full = true
		return none
	}
	t := a.cur.Load()
	if int(a.reported) == len(t.reports) {
		t = a.grow(len(t.states), 2*len(t.reports))
	}
	t.reports[a.reported] = r
	do := firstReport + a.reported
	a.reported++
	a.bytes += len(key) + 2*len(r.regs) + 128
	a.reports[key] = do
	return do
}

// grow publishes a larger copy of the table. The caller holds a.mu.
func (a *automaton[S]) grow(states, reports int) *table[S] {
	old := a.cur.Load()
	t := &table[S]{
		age:     old.age,
		first:   old.first,
		next:    make([]uint32, states*int(a.columns)),
		states:  make([]*S, states),
		reports: make([]report, reports),
	}
	copy(t.next, old.next)
	copy(t.states, old.states)
	copy(t.reports, old.reports)
	a.cur.Store(t)
	return t
}

// known returns the entry for a state and column of table t, with the newest
// table, or 0 if it is to be built. It is final if it can't be built because
// the states have been forgotten since. The caller holds a.mu.
func (a *automaton[S]) known(t *table[S], from, column uint32) (entry uint32, cur *table[S], final bool) {
	cur = a.cur.Load()
	if cur.age != t.age {
		return 0, cur, true
	}
	entry = cur.next[from*a.columns+column]
	return entry, cur, entry != 0
}

// link sets the entry for a state and column. The caller holds a.mu.
func (a *automaton[S]) link(from, column, entry uint32) {
	atomic.StoreUint32(&a.cur.Load().next[from*a.columns+column], entry)
}
