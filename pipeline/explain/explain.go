// Package explain shows what the engine makes of lines: which parsers took
// them, what they found, into which buckets they went and what overflowed. Its
// Record can be written as the three dump files that tools around upstream
// read, and be judged by the assertions of a hub's tests (Hub).
//
// It runs an engine of its own over finished logs, with the clock of the logs.
// roles/cli and the crowdsec-like command line call it; no role needs it to work.
//
// Behaviour: spec engine §6 of upstream's log processor.
package explain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/scenario"
	"cs/pipeline/source"
)

// maxSteps bounds a Record: the events, and copies of events, that it may hold.
// A longer log is for the agent.
const maxSteps = 1 << 20

// Record is what happened to lines.
type Record struct {
	// Parsers has what each document did with each event that reached it: by
	// stage and name of the document. The stage "success" is always there, with
	// an empty list under "".
	Parsers map[string]map[string][]Entry

	// Poured has the events by the scenario into whose buckets they went, and
	// under "OK" all that reached the scenarios.
	Poured map[string][]*Event

	// Overflows are the buckets that overflowed, in the order in which they did.
	Overflows []Result

	Failures    uint64 // run-time errors of expressions
	LastFailure string // the last of them; "" if there was none
}

// Entry is what one document did with one event.
type Entry struct {
	Index   int    `yaml:"idx"` // counts the documents of a stage in the order of their first event, from 1
	Event   *Event `yaml:"evt"` // as the document left it
	Success bool   `yaml:"success"`
}

// Event is a copy of an event under upstream's names of its fields.
type Event struct {
	Type            int               `yaml:"Type,omitempty"` // 0: of a log, 1: an overflow
	ExpectMode      int               `yaml:"ExpectMode,omitempty"`
	Whitelisted     bool              `yaml:"Whitelisted,omitempty"`
	WhitelistReason string            `yaml:"WhitelistReason,omitempty"`
	Stage           string            `yaml:"Stage,omitempty"`
	Line            Line              `yaml:"Line,omitempty"`
	Parsed          map[string]string `yaml:"Parsed,omitempty"`
	Enriched        map[string]string `yaml:"Enriched,omitempty"`
	Unmarshaled     map[string]any    `yaml:"Unmarshaled,omitempty"`
	Overflow        *dumpedOverflow   `yaml:"Overflow,omitempty"` // that it is; nil: of a log
	Time            time.Time         `yaml:"Time,omitempty"`
	StrTime         string            `yaml:"StrTime,omitempty"`
	StrTimeFormat   string            `yaml:"StrTimeFormat,omitempty"`
	MarshaledTime   string            `yaml:"MarshaledTime,omitempty"`
	Process         bool              `yaml:"Process,omitempty"`
	Meta            map[string]string `yaml:"Meta,omitempty"`

	overflow *Overflow // what Overflow was made of
}

// tellOverflow makes the event an overflow.
func (e *Event) tellOverflow(o *Overflow) { e.overflow, e.Overflow = o, newDumpedOverflow(o) }

// Line is where an event comes from. An overflow has none.
type Line struct {
	Raw     string            `yaml:"Raw,omitempty"`
	Src     string            `yaml:"Src,omitempty"`
	Time    time.Time         `yaml:"time"`
	Labels  map[string]string `yaml:"Labels,omitempty"`
	Process bool              `yaml:"process"`
	Module  string            `yaml:"Module,omitempty"`
}

// Result is a bucket that overflowed.
type Result struct {
	Event    *Event // what the postoverflows made of it
	Overflow *Overflow
}

// Overflow is what came out of a bucket.
type Overflow struct {
	Mapkey      string            // the name of the bucket: a hash of the scenario and the group
	Whitelisted bool              // a postoverflow pardoned it
	Reprocess   bool              // scenarios see it as an event
	Alerts      []decisions.Alert // one for each source
	keys        []string          // of the sources
}

// Alert returns the first alert, nil if there is none.
func (o *Overflow) Alert() *decisions.Alert {
	if len(o.Alerts) == 0 {
		return nil
	}
	return &o.Alerts[0]
}

// Sources returns whom the overflow is about, by the values that they had before
// the postoverflows.
func (o *Overflow) Sources() map[string]*decisions.Source {
	m := make(map[string]*decisions.Source, len(o.Alerts))
	for i := range o.Alerts {
		m[o.keys[i]] = &o.Alerts[i].Source
	}
	return m
}

// SourceNames returns the keys of Sources, sorted.
func (o *Overflow) SourceNames() []string { return slices.Sorted(maps.Keys(o.Sources())) }

// Options say what to run.
type Options struct {
	// Engine is what it runs in, without alerts and tracer.
	Engine pipeline.Options

	// Events keeps copies of the events that were poured, too. Without it,
	// Record.Poured is empty.
	Events bool
}

// Run reads a source to its end. Faulty content is left out: its errors come
// back as the second value, and the record is about the rest.
func Run(ctx context.Context, opt Options, src source.Source) (*Record, []error, error) {
	rec := &recorder{opt: opt, rec: &Record{
		Parsers: map[string]map[string][]Entry{"success": {"": {}}},
		Poured:  map[string][]*Event{},
	}}
	rec.known = map[*event.Event]known{}
	opt.Engine.Mapkeys = true
	engine, faulty := pipeline.Load(opt.Engine)
	err := src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
		for i := range batch {
			batch[i].Time = rec.tick()
			engine.Trace(batch[i:i+1], batch[i].Time, rec)
		}
		done()
		return rec.full()
	})
	if err != nil {
		return nil, faulty, fmt.Errorf("cannot explain %s: %w", src.Name(), err)
	}
	stats := engine.Stats()
	rec.rec.Failures, rec.rec.LastFailure = stats.Failures, stats.LastFailure
	return rec.rec, faulty, nil
}

// recorder watches an engine. Lines come one at a time, but it doesn't rely on it.
type recorder struct {
	opt Options

	mu    sync.Mutex
	rec   *Record
	steps int
	last  time.Time
	known map[*event.Event]known
}

// known is what a recorder was told last of an event that is still on its way.
type known struct {
	stage    string
	overflow *Overflow
	dumped   *dumpedOverflow
}

// tick returns a time that no other line has: readers of the dumps know a
// line by it.
func (r *recorder) tick() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().UTC()
	if !now.After(r.last) {
		now = r.last.Add(1)
	}
	r.last = now
	return now
}

var errFull = errors.New("the log is too long: more happens to its lines than fits a dump")

func (r *recorder) full() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.steps > maxSteps {
		return errFull
	}
	return nil
}

// Began implements pipeline.Tracer.
func (r *recorder) Began(*event.Line) {}

// Parsed implements pipeline.Tracer.
func (r *recorder) Parsed(e *event.Event, step pipeline.Step) {
	copied := snapshot(e)
	copied.Stage = step.Next
	if step.Overflow != nil {
		copied.tellOverflow(newOverflow(e, step.Overflow))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[e] = known{step.Next, copied.overflow, copied.Overflow}
	r.steps++
	stage := r.rec.Parsers[step.Stage]
	if stage == nil {
		stage = map[string][]Entry{}
		r.rec.Parsers[step.Stage] = stage
	}
	index := len(stage) + 1
	if known := stage[step.Node]; len(known) > 0 {
		index = known[0].Index
	}
	stage[step.Node] = append(stage[step.Node], Entry{Index: index, Event: copied, Success: step.OK})
}

// Arrived implements pipeline.Tracer.
func (r *recorder) Arrived(e *event.Event) { r.Poured(e, "OK") }

// Poured implements pipeline.Tracer.
func (r *recorder) Poured(e *event.Event, scenario string) {
	if !r.opt.Events {
		return
	}
	copied := snapshot(e)
	copied.Process = true
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.known[e]
	copied.Stage, copied.overflow, copied.Overflow = of.stage, of.overflow, of.dumped
	r.steps++
	r.rec.Poured[scenario] = append(r.rec.Poured[scenario], copied)
}

// Overflowed implements pipeline.Tracer.
func (r *recorder) Overflowed(e *event.Event, o *scenario.Overflow) {
	copied := snapshot(e)
	overflow := newOverflow(e, o)
	copied.tellOverflow(overflow)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[e] = known{r.known[e].stage, overflow, copied.Overflow}
	r.steps += len(o.Alerts[0].Events)
	r.rec.Overflows = append(r.rec.Overflows, Result{copied, overflow})
}

// newOverflow copies an overflow, whose alerts postoverflows may change.
func newOverflow(e *event.Event, o *scenario.Overflow) *Overflow {
	alerts := slices.Clone(o.Alerts)
	for i := range alerts { // upstream keeps addresses as the log spelt them
		src := &alerts[i].Source
		if src.IP == "" {
			continue // a source of another scope has none
		}
		if src.Scope == decisions.ScopeIP && src.Value == src.IP {
			src.Value = o.Spelt[i]
		}
		src.IP = o.Spelt[i]
	}
	return &Overflow{Mapkey: o.Mapkey, Whitelisted: e.Whitelisted, Reprocess: o.Reprocess, Alerts: alerts, keys: o.Keys}
}

// snapshot copies an event, whose texts live only as long as its line.
func snapshot(e *event.Event) *Event {
	c := &Event{
		ExpectMode:  int(e.Line.Mode),
		Whitelisted: e.Whitelisted, WhitelistReason: strings.Clone(e.WhitelistReason),
		Parsed: map[string]string{}, Enriched: map[string]string{}, Meta: map[string]string{},
		Unmarshaled: map[string]any{},
		Time:        e.Time,
		StrTime:     strings.Clone(e.StrTime), StrTimeFormat: strings.Clone(e.StrTimeFormat),
		MarshaledTime: strings.Clone(e.MarshaledTime),
	}
	if e.Line.Module == "" {
		c.Type = 1
	} else {
		c.Line = Line{
			Raw: strings.Clone(e.Line.Raw), Src: strings.Clone(e.Line.Src), Time: e.Line.Time,
			Labels: e.Line.Labels, Process: true, Module: e.Line.Module,
		}
	}
	texts := map[event.Space]map[string]string{event.Parsed: c.Parsed, event.Meta: c.Meta, event.Enriched: c.Enriched}
	for i := range e.Schema().Len() {
		slot := event.Slot(i)
		space, name := e.Schema().Name(slot)
		if e.Has(slot) {
			texts[space][name] = strings.Clone(e.Get(slot))
		}
	}
	for name, doc := range e.Docs() {
		c.Unmarshaled[strings.Clone(name)] = cloned(doc)
	}
	return c
}

// cloned copies a decoded document, whose texts may be views of the line.
func cloned(doc any) any {
	switch d := doc.(type) {
	case string:
		return strings.Clone(d)
	case map[string]any:
		m := make(map[string]any, len(d))
		for k, v := range d {
			m[strings.Clone(k)] = cloned(v)
		}
		return m
	case map[string]string:
		m := make(map[string]string, len(d))
		for k, v := range d {
			m[strings.Clone(k)] = strings.Clone(v)
		}
		return m
	case []any:
		l := make([]any, len(d))
		for i, v := range d {
			l[i] = cloned(v)
		}
		return l
	}
	return doc
}
