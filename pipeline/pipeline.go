// Package pipeline is the engine: lines go in, alerts come out. It loads
// content (pipeline/hub), parses lines with it (pipeline/node) and pours
// events into the buckets of scenarios (pipeline/scenario).
//
// roles/agent feeds it from sources and takes the alerts; hub tests and
// explain run it over files. It opens no socket and reads nothing but content.
package pipeline

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/pipeline/bucket"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/grok"
	"cs/pipeline/hub"
	"cs/pipeline/node"
	"cs/pipeline/scenario"
)

// Options say what an engine is made of.
type Options struct {
	Content hub.Content

	DataDir    string // of data files that content names; may be ""
	PatternDir string // of grok patterns beside the stock ones; may be ""

	DNS enrich.DNS // how long names are remembered
	CTI enrich.CTI // the threat intelligence that expressions may ask

	MaxBuckets int // bound of buckets, 0 for bucket.DefaultMaxBuckets
	MaxKept    int // bound of the bytes that buckets keep of events, 0 for bucket.DefaultMaxKept

	ContextLength int // bound of a value in an alert's context, 0 for scenario.DefaultContextLength

	// Now is the clock of what outlives lines (stashes); nil is time.Now.
	Now func() time.Time

	// Workers bounds how many goroutines share the lines of one Process, 0 for as
	// many as there are processors. All Process calls at once have Workers-1 more
	// goroutines than callers. What comes out is the same with any number.
	Workers int

	// Alert takes the alerts: one at a time for each call of Process or Advance,
	// while the call lasts, though not always from the goroutine that called. What
	// it does, they wait for.
	Alert func(decisions.Alert)

	// CatchUp is how old a line may be that was written while nobody read it, to be
	// given to scenarios; 0 for DefaultCatchUp.
	CatchUp time.Duration

	// Meters take what is counted of the lines; nil: Meters of its own.
	Meters *Meters

	// Mapkeys says that overflows shall have the names of their buckets, even if no
	// expression asks for them: more is kept with each event then.
	Mapkeys bool

	// Warn is told what is doubtful in the content but disables nothing, while
	// Load runs. May be nil.
	Warn func(message string)
}

// DefaultCatchUp is a restart with an update and a look at what went wrong. Older
// lines are of attacks that are over.
const DefaultCatchUp = 10 * time.Minute

// Tracer watches lines go through the engine. Its methods are called within Trace, by
// the goroutine that is in it. Events are valid until they return.
type Tracer interface {
	// Began tells that a line begins. What follows is about it and its overflows.
	Began(l *event.Line)
	// Parsed tells how a document of a stage ended.
	Parsed(e *event.Event, step Step)
	// Arrived tells that the event was understood and goes to the scenarios.
	Arrived(e *event.Event)
	// Poured tells into whose bucket the event goes.
	Poured(e *event.Event, scenario string)
	// Overflowed tells what came out of a bucket. The event is the overflow, as
	// the postoverflows left it. If it is not whitelisted the alerts are sent.
	Overflowed(e *event.Event, o *scenario.Overflow)
}

// Step is what one document did with an event.
type Step struct {
	Stage string // of the document
	Node  string // the name of the document
	OK    bool
	Next  string // the stage that the event is in now

	Overflow *scenario.Overflow // that the event is; nil for a line
}

// Engine turns lines into alerts. It is safe for concurrent use.
type Engine struct {
	opt     Options
	schema  *event.Schema
	stages  *node.Stages
	after   *node.Stages // of postoverflows
	set     *scenario.Set
	stashes *node.Stashes
	lookups *enrich.Lookups

	mu       sync.Mutex
	idle     []*worker // as many as ever worked at once
	teams    []*team   // idle, too
	spare    int       // goroutines that may still be started
	lastItem string    // that failed last, worded when somebody asks
	lastErr  error

	clock struct { // what Advance works with
		mu     sync.Mutex
		worker *worker
	}

	lines, parsed, whitelisted, poured, alerts, pardoned, stale, failures atomic.Uint64
}

// Stats counts since the start, except where noted.
type Stats struct {
	Lines       uint64
	Parsed      uint64 // understood by all stages, whitelisted ones included
	Whitelisted uint64
	Poured      uint64 // went into at least one bucket
	Alerts      uint64
	Pardoned    uint64 // overflows that a postoverflow whitelisted
	Stale       uint64 // understood, but written too long ago, while nobody read them
	Failures    uint64 // run-time errors of expressions
	LastFailure string // with the name of the item; "" if there was none
	Parsers     int    // documents loaded
	Buckets     bucket.Stats
}

// Load compiles content. A faulty item is left out and named by an error with
// file, line and key; the engine works with the rest, and an engine without
// any content parses nothing.
func Load(opt Options) (*Engine, []error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.CatchUp == 0 {
		opt.CatchUp = DefaultCatchUp
	}
	if opt.Meters == nil {
		opt.Meters = NewMeters()
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	e := &Engine{opt: opt, schema: event.NewSchema(), stashes: node.NewStashes(opt.Now), spare: opt.Workers - 1}
	var errs []error
	patterns := grok.Stock()
	if opt.PatternDir != "" {
		patterns, errs = grok.Load(opt.PatternDir)
	}
	files := hub.NewFiles(opt.DataDir, opt.Content.Data)
	lookups := enrich.NewLookups(enrich.Settings{Dir: opt.DataDir, DNS: opt.DNS, CTI: opt.CTI})
	e.lookups = lookups
	ec := &expr.Compiler{Schema: e.schema, Files: files, Lookups: lookups}
	parsers := node.Compiler{Expr: ec, Grok: patterns, Files: files, Stashes: e.stashes, Lookups: lookups, Warn: opt.Warn}
	// Postoverflows have a name space of their own, which starts from the same patterns.
	after := node.Compiler{Expr: ec, Grok: patterns.Clone(), Files: files, Stashes: e.stashes, Lookups: lookups, Warn: opt.Warn}
	scenarios := scenario.NewCompiler(ec, files) // before the parsers: its few fields must have room
	scenarios.Warn, scenarios.ContextLength, scenarios.Mapkeys = opt.Warn, opt.ContextLength, opt.Mapkeys
	items, done := hub.ParseAhead(opt.Content.Items)
	defer done()
	files.Expect(items)
	for _, doubt := range opt.Content.Doubts {
		if opt.Warn != nil {
			opt.Warn(doubt)
		}
	}
	for _, item := range items {
		ec.Warn = nil
		if opt.Warn != nil {
			ec.Warn = func(message string) { opt.Warn(item.Path + ": " + message) }
		}
		switch item.Kind {
		case hub.Parser:
			errs = append(errs, parsers.Add(item)...)
		case hub.Scenario:
			errs = append(errs, scenarios.Add(item)...)
		case hub.PostOverflow:
			errs = append(errs, after.Add(item)...)
		case hub.Context:
			errs = append(errs, scenarios.AddContext(item)...)
		}
	}
	for _, item := range opt.Content.Settings {
		switch item.Kind {
		case hub.ConsoleContext:
			errs = append(errs, scenarios.AddContext(item)...)
		case hub.Simulation:
			if err := scenarios.Simulate(item); err != nil {
				errs = append(errs, err)
			}
		}
	}
	files.Expect(nil)
	e.stages, e.after = parsers.Stages(), after.Stages()
	e.set = scenarios.Set(bucket.Config{MaxBuckets: opt.MaxBuckets, MaxKept: opt.MaxKept})
	e.opt.Content = hub.Content{} // its documents weigh more than what was compiled of them
	return e, errs
}

// Process runs lines in their order, or as if. now is the clock of live lines.
// The lines are not used after it returns. From some hundreds of lines on, it is
// worth sharing them among workers.
func (e *Engine) Process(batch []event.Line, now time.Time) {
	w := e.take()
	helpers, total := e.hire(batch)
	switch {
	case helpers > 0 || total >= minShare && e.set.Crowded():
		e.share(w, batch, total, helpers, now)
	default:
		w.alone(batch, now)
	}
	e.lines.Add(uint64(len(batch)))
	e.put(w)
}

// Trace is Process for who wants to know what happens, which costs time: it tells t.
func (e *Engine) Trace(batch []event.Line, now time.Time, t Tracer) {
	w := e.take()
	w.watch(t)
	for i := range batch {
		w.line(batch[i], now)
	}
	w.watch(nil)
	e.lines.Add(uint64(len(batch)))
	e.put(w)
}

// Advance ends the live buckets whose time is over at now, which makes counters
// overflow. Calling it rarely costs memory and makes counters late.
func (e *Engine) Advance(now time.Time) {
	e.clock.mu.Lock()
	defer e.clock.mu.Unlock()
	if e.clock.worker == nil {
		e.clock.worker = e.newWorker()
	}
	w := e.clock.worker
	w.ctx.Now = now
	w.pour.Advance(now)
	w.settle(now)
	w.settleAll(now)
	e.count(w)
}

// SaveState writes the live buckets: what an attacker has done so far. It may be
// called at any time. Lines that are processed meanwhile may be in it or not.
func (e *Engine) SaveState(w io.Writer) error { return e.set.Save(w) }

// LoadState reads what SaveState wrote, before the first line is processed. The
// buckets of scenarios that are gone or were changed are left out, and those that
// the clock has ended before now. Damage is an error; the buckets before it stay.
func (e *Engine) LoadState(r io.Reader, now time.Time) error { return e.set.Load(r, now) }

// Stashes returns what nodes remember from one event to another.
func (e *Engine) Stashes() *node.Stashes { return e.stashes }

// Scenarios returns the names of the scenarios, as LAPI is told them.
func (e *Engine) Scenarios() []string { return e.set.Names() }

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	item, err := e.lastItem, e.lastErr
	e.mu.Unlock()
	last := ""
	if err != nil {
		last = item + ": " + err.Error()
	}
	return Stats{
		Lines:       e.lines.Load(),
		Parsed:      e.parsed.Load(),
		Whitelisted: e.whitelisted.Load(),
		Poured:      e.poured.Load(),
		Alerts:      e.alerts.Load(),
		Pardoned:    e.pardoned.Load(),
		Stale:       e.stale.Load(),
		Failures:    e.failures.Load(),
		LastFailure: last,
		Parsers:     e.stages.Len(),
		Buckets:     e.set.Buckets(),
	}
}

// worker is what one call of Process needs for itself. Workers are kept: they
// own the scratch memory that makes a line free of allocations.
type worker struct {
	engine *Engine
	ctx    expr.Ctx
	parse  *node.Runner
	pour   *scenario.Runner
	after  *aftermath // nil until it is needed
	tracer Tracer     // nil but within Trace

	overflows []*scenario.Overflow // of the line at hand
	pending   []*scenario.Overflow // to be settled

	group group
	own   chunk // of alone
	ahead ahead
	tally tally

	meter  *meter   // of the source of the line at hand
	meters []*meter // of the sources that were there last
}

// tally is what a worker counts until it is put back.
type tally struct {
	parsed, whitelisted, stale, failures uint64
	lastItem                             string
	lastErr                              error
}

func (e *Engine) take() *worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.idle); n > 0 {
		w := e.idle[n-1]
		e.idle = e.idle[:n-1]
		return w
	}
	return e.newWorker()
}

func (e *Engine) newWorker() *worker {
	w := &worker{engine: e}
	w.ctx.Event = event.New(e.schema)
	w.ctx.Stash = e.stashes
	w.parse = node.NewRunner(e.stages, &w.ctx, w.failed)
	w.parse.MayStash = w.ahead.mayStash
	w.pour = e.set.NewRunner(&w.ctx, w.overflow, w.failed)
	return w
}

// watch lets a tracer watch, nil nobody.
func (w *worker) watch(t Tracer) {
	w.tracer = t
	watch(t, w.parse, w.pour, &w.ctx, new(*scenario.Overflow))
	if w.after != nil {
		w.after.watch(t)
	}
}

// watch lets a tracer watch runners. of is what their event is.
func watch(t Tracer, parse *node.Runner, pour *scenario.Runner, ctx *expr.Ctx, of **scenario.Overflow) {
	if t == nil {
		parse.Trace, pour.Trace = nil, nil
		return
	}
	parse.Trace = func(stage string, n *node.Node, ok bool) {
		t.Parsed(ctx.Event, Step{stage, n.Name(), ok, parse.Stage(), *of})
	}
	pour.Trace = func(scenario string) { t.Poured(ctx.Event, scenario) }
}

// put counts what a worker did and keeps it for the next.
func (e *Engine) put(w *worker) {
	e.count(w)
	w.ctx.Event.Release()
	w.group.release()
	if w.after != nil {
		w.after.ctx.Event.Release()
		w.after.ctx.Alert, w.after.ctx.Alerts, w.after.of = nil, nil, nil
	}
	e.mu.Lock()
	e.idle = append(e.idle, w)
	e.mu.Unlock()
}

func (e *Engine) count(w *worker) {
	e.parsed.Add(w.tally.parsed)
	e.whitelisted.Add(w.tally.whitelisted)
	e.stale.Add(w.tally.stale)
	e.poured.Add(w.pour.Poured)
	if w.tally.failures > 0 {
		e.failures.Add(w.tally.failures)
		e.mu.Lock()
		e.lastItem, e.lastErr = w.tally.lastItem, w.tally.lastErr
		e.mu.Unlock()
	}
	w.tally, w.pour.Poured = tally{}, 0
	for _, m := range w.meters {
		e.collect(m)
	}
	if w.after != nil {
		e.collectAfter(w.after)
	}
}

// line does all that there is to do with a line.
func (w *worker) line(l event.Line, now time.Time) {
	timed := w.met(&l)
	var begin, parsed time.Time
	if timed {
		begin = time.Now()
	}
	w.ctx.Now = now
	ev := w.ctx.Event
	ev.Reset(l)
	ev.Time = now.UTC()
	if w.tracer != nil {
		w.tracer.Began(&ev.Line)
	}
	ok := w.parse.Run() && w.arrived(ev)
	if timed {
		parsed = time.Now()
		w.meter.traffic.parseTime.Observe(parsed.Sub(begin))
	}
	if !ok {
		return
	}
	if w.tracer != nil {
		w.tracer.Arrived(ev)
	}
	w.pour.Run(now)
	w.settle(now)
	if timed {
		w.meter.traffic.pourTime.Observe(time.Since(parsed))
	}
}

// arrived counts an event that the parsers have understood, and tells whether
// scenarios get to see it.
func (w *worker) arrived(ev *event.Event) bool {
	w.tally.parsed++
	w.meter.parsed++
	if ev.Whitelisted {
		w.tally.whitelisted++
		return false
	}
	if ev.Line.Mode == event.CatchUp && w.ctx.Now.Sub(enrich.Written(ev)) > w.engine.opt.CatchUp {
		w.tally.stale++
		return false
	}
	return true
}

func (w *worker) failed(item string, err error) {
	w.tally.failures++
	w.tally.lastItem, w.tally.lastErr = item, err
}
