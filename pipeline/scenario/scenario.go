// Package scenario decides which parsed events are suspicious and tells, as
// decisions.Alert, who did what too often.
//
// It compiles the YAML of scenarios, runs their filters over each event, pours
// the event into the buckets of those that match (pipeline/bucket counts) and
// turns overflows into alerts. The engine (package pipeline) gives each worker
// a Runner. Whom an alert punishes, and for how long, is not known here.
//
// Behaviour: spec engine §5 of upstream's log processor. An event that is
// poured and does not overflow allocates nothing.
package scenario

import (
	"math"
	"time"

	"cs/decisions"
	"cs/pipeline/bucket"
	"cs/pipeline/enrich"
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
	scope       string
	scopeValue  *expr.Program // nil: the address
	remediation bool
	spec        bucket.Spec
	shared      bool // another document pours into the same buckets
}

// Set is the scenarios of one engine with their buckets. It is safe for
// concurrent use.
type Set struct {
	scenarios []*Scenario
	index     *expr.Index
	table     *bucket.Table
	codec     codec
	newUUID   func() string
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

// Advance ends the live buckets whose time is over.
func (s *Set) Advance(now time.Time) { s.table.Advance(now) }

// Buckets tells what the table of buckets holds; the counts of Specs are in
// the order of the documents.
func (s *Set) Buckets() bucket.Stats { return s.table.Stats() }

// Name returns the name of the i-th document.
func (s *Set) Name(i int) string { return s.scenarios[i].name }

// Runner pours events for one worker.
type Runner struct {
	Expr *expr.Ctx // its Event is the one that is poured

	// Alert takes what overflowed. No lock is held while it runs.
	Alert func(decisions.Alert)

	// Failed is told of run-time errors; the scenario then does not see the
	// event, the others do. May be nil.
	Failed func(scenario string, err error)

	// Trace is told into whose bucket the event goes, right before. Nil: nobody
	// asks.
	Trace func(scenario string)

	// Poured counts the events that went into at least one bucket.
	Poured uint64

	set      *Set
	visit    func(i int, err error)
	hits     []int
	record   []byte
	overflow bucket.Overflow

	// condition has the Vars of conditions. They are compiled apart, so they
	// need scratch memory of their own.
	condition expr.Ctx
}

// NewRunner returns a runner over the scenarios of s.
func (s *Set) NewRunner(ctx *expr.Ctx, alert func(decisions.Alert), failed func(scenario string, err error)) *Runner {
	r := &Runner{Expr: ctx, Alert: alert, Failed: failed, set: s}
	r.visit = func(i int, err error) { // made once, because a closure allocates
		if err != nil {
			r.failed(s.scenarios[i], err)
			return
		}
		r.hits = append(r.hits, i)
	}
	return r
}

// Run gives the event to all scenarios whose filter it passes. All filters run
// before the first bucket sees the event, because a filter may set a Meta.
func (r *Runner) Run(now time.Time) {
	r.hits = r.hits[:0]
	r.set.index.Run(r.Expr, r.visit)
	if len(r.hits) == 0 {
		return
	}
	r.Poured++
	e := r.Expr.Event
	p := bucket.Pour{Time: nanos(now)}
	if e.Line.Mode == event.Replay {
		t, ok := enrich.RFC3339(e.MarshaledTime)
		p.Replay, p.NoTime = true, !ok
		if ok {
			p.Time = nanos(t)
		}
	}
	r.record = r.set.codec.appendEvent(r.record[:0], e)
	shared := len(r.record)
	for _, i := range r.hits {
		p.Spec = i
		r.record = r.record[:shared]
		r.pour(p)
	}
}

func (r *Runner) pour(p bucket.Pour) {
	sc, table := r.set.scenarios[p.Spec], r.set.table
	group := ""
	if sc.groupBy != nil {
		var err error
		if group, _, err = sc.groupBy.Text(r.Expr); err != nil {
			r.failed(sc, err)
			return
		}
	}
	p.Key = table.Key(group)
	if sc.shared { // the bucket obeys the document that made it
		sc = r.set.scenarios[table.Owner(&p)]
	}
	if sc.distinct != nil {
		value, _, err := sc.distinct.Text(r.Expr)
		if err != nil {
			r.failed(sc, err) // and the event counts
		} else {
			p.HasDistinct, p.Distinct = true, table.Value(value)
		}
	}
	if sc.cancelOn != nil {
		var err error
		if p.Cancel, err = sc.cancelOn.Bool(r.Expr); err != nil {
			r.failed(sc, err) // and the bucket goes on
		}
	}
	if sc.scopeValue != nil {
		value, _, err := sc.scopeValue.Text(r.Expr)
		if err != nil {
			r.failed(sc, err) // and an alert will lack its source
		} else {
			r.record = r.set.codec.appendScopeValue(r.record, value)
		}
	}
	if sc.condition != nil {
		r.record = r.set.codec.appendQueued(r.record, r.Expr.Event)
	}
	p.Record = r.record
	if r.Trace != nil {
		r.Trace(sc.name)
	}
	switch table.Pour(&p, &r.overflow) {
	case bucket.Overflowed:
	case bucket.Poured:
		if sc.condition == nil || !r.fulfilled(sc, &r.overflow) || !table.Overflow(&p, &r.overflow) {
			return
		}
	default:
		return
	}
	if table.Silenced(r.overflow.Spec, p.Key, r.overflow.At, p.Replay) {
		return
	}
	r.set.alerts(r.set.scenarios[r.overflow.Spec], &r.overflow, r.Alert)
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
