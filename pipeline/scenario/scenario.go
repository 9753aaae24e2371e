// Package scenario decides which parsed events are suspicious and tells, as
// decisions.Alert, who did what too often.
//
// It compiles the YAML of scenarios, runs their filters over each event, pours
// the event into the buckets of those that match (pipeline/bucket counts) and
// turns overflows into alerts. The engine (package pipeline) gives each worker
// a Runner. Whom an alert punishes, and for how long, is not known here.
//
// It behaves as CrowdSec's scenarios do, which content relies on. An event that is
// poured and does not overflow allocates nothing.
package scenario

import (
	"math"
	"time"

	"cs/pipeline/bucket"
	"cs/pipeline/count"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// Scenario is one compiled document. Immutable.
type Scenario struct {
	name        string
	filter      *expr.Program
	groupBy     *expr.Program // nil: all events share one bucket
	distinct    *expr.Program // nil: all count
	cancelOn    *expr.Program // nil: nothing cancels
	condition   *expr.Program // nil: it overflows only by itself
	least       int           // events of a queue for which the condition may be true
	hypothesis  *hypothesis   // nil: as above
	overflowIf  *expr.Program // overflow_filter; nil: every overflow counts
	scope       string
	scopeValue  *expr.Program // nil: the address
	remediation bool
	reprocess   bool
	simulated   bool
	hash        string
	version     string
	spec        bucket.Spec
	leakspeed   string
	shared      bool // another document pours into the same buckets
	inspects    bool // it has expressions about its buckets and their events
	asksEvent   bool // its conditions look at the event that was poured, too
	spaces      []event.Space
	fields      event.Slots // those of spaces, which these expressions look at beside the metas
	parts       []part      // the rest of an event that they look at
	kind        string
	filterText  string
	digest      string // of the definition
}

// Set is the scenarios of one engine with their buckets. It is safe for
// concurrent use.
type Set struct {
	scenarios []*Scenario
	index     *expr.Index
	table     *bucket.Table
	codec     codec
	newUUID   func() string
	details   []detail // of contexts
	contexts  []string // their names, in order
	early     []int    // those that are evaluated when an event is judged

	contextLength int
	mapkeys       bool // somebody asks for the names of buckets
}

// Names returns the names of the scenarios, each once, in loading order.
func (s *Set) Names() []string {
	seen := map[string]bool{}
	names := []string{}
	for _, sc := range s.scenarios {
		if !seen[sc.name] {
			seen[sc.name] = true
			names = append(names, sc.name)
		}
	}
	return names
}

// Buckets tells what the table of buckets holds; the counts of Specs are in
// the order of the documents.
func (s *Set) Buckets() bucket.Stats { return s.table.Stats() }

// Crowded tells whether it is worth collecting events to Touch their buckets
// before they are poured.
func (s *Set) Crowded() bool { return s.table.Crowded() }

// Len returns the number of documents.
func (s *Set) Len() int { return len(s.scenarios) }

// Name returns the name of the i-th document.
func (s *Set) Name(i int) string { return s.scenarios[i].name }

// Runner pours events for one worker.
type Runner struct {
	Expr *expr.Ctx // its Event is the one that is poured

	// Overflow takes what overflowed and may keep it. No lock is held while it
	// runs, but it must not use the Runner.
	Overflow func(*Overflow)

	// Failed is told of run-time errors; the scenario then does not see the
	// event, the others do. May be nil.
	Failed func(scenario string, err error)

	// Trace is told into whose bucket the event goes, right before. Nil: nobody
	// asks.
	Trace func(scenario string)

	// Poured counts the events that went into at least one bucket.
	Poured uint64

	// Counts counts the events that each document wants, by its number. Nil:
	// nobody asks.
	Counts *count.Counts

	set      *Set
	visit    func(i int, err error)
	hits     []int
	own      Intents // of Run
	overflow bucket.Overflow
	ended    func(bucket.Key, *bucket.Overflow)
	told     told

	late  expr.Ctx     // for intents whose event is no longer that of Expr
	again *event.Event // is that event; nil until it is needed

	// Conditions and overflow filters have Vars and are compiled apart, so they
	// need scratch memory of their own.
	condition, overflowIf expr.Ctx
	inspected             inspected

	context expr.Ctx     // the same for contexts
	lists   [][]string   // values by name, see tellContext
	kept    *event.Event // is filled with what a bucket kept of an event; nil until it is needed
}

// NewRunner returns a runner over the scenarios of s.
func (s *Set) NewRunner(ctx *expr.Ctx, overflow func(*Overflow), failed func(scenario string, err error)) *Runner {
	r := &Runner{Expr: ctx, Overflow: overflow, Failed: failed, set: s}
	r.visit = func(i int, err error) { // made once, because a closure allocates
		if err != nil {
			r.failed(s.scenarios[i], err)
			return
		}
		r.hits = append(r.hits, i)
	}
	r.context.Vars = contextVars()
	r.ended = func(k bucket.Key, _ *bucket.Overflow) { r.overflowed(k, false) }
	return r
}

// Advance ends the live buckets whose time is over. Counters among them
// overflow.
func (r *Runner) Advance(now time.Time) { r.set.table.Advance(now, &r.overflow, r.ended) }

// overflowed tells of the bucket in r.overflow, which has ended.
func (r *Runner) overflowed(k bucket.Key, replay bool) {
	sc, at := r.set.scenarios[r.overflow.Spec], r.overflow.At
	var o *Overflow
	if sc.overflowIf != nil { // before the silence: what it discards starts none
		o = r.tell(sc, replay)
		if !r.passes(sc, o, replay) {
			return
		}
	}
	if r.set.table.Silenced(r.overflow.Spec, k, at, replay) {
		return
	}
	if o == nil {
		o = r.tell(sc, replay)
	}
	if len(o.Alerts) > 0 {
		r.Overflow(o)
	}
}

// tell turns the bucket in r.overflow into alerts with their context.
func (r *Runner) tell(sc *Scenario, replay bool) *Overflow {
	text := r.overflow.Text()
	o := r.tellAlerts(sc, text, replay)
	if r.set.mapkeys {
		o.Mapkey = sc.mapkey(&r.set.codec, &r.overflow)
	}
	r.tellContext(o, text)
	return o
}

func (r *Runner) failed(sc *Scenario, err error) {
	if r.Failed != nil {
		r.Failed(sc.name, err)
	}
}

// nanos is t in Unix nanoseconds. What a log claims to be before 1970 or
// after 2100 is moved to these ends, far from where sums overflow.
func nanos(t time.Time) int64 {
	const last = 4102444800 // 2100-01-01
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= last:
		return last * 1e9
	}
	return t.UnixNano()
}

// maxScenarios bounds the number of documents: buckets hold it in 16 bits.
const maxScenarios = math.MaxUint16
