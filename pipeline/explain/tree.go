package explain

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/scenario"
	"cs/pipeline/source"
	"cs/platform/order"
)

const (
	// part is how many lines one goroutine has in hand.
	part = 64
	// partsEach bounds how many such are kept, for each goroutine, until they are printed.
	partsEach = 4
)

// Tree prints what happens to each line: the stages that it came to, the
// documents that were tried there with what they found, and the scenarios whose
// buckets it went into (spec cli §5.1). It holds some lines at a time.
//
// What happens to a line depends on those before it only through stashes. Where
// content has none, lines are shared among processors.
type Tree struct {
	Verbose        bool // list what each document changed
	Failures       bool // leave out the lines that reached the scenarios
	OnlySuccessful bool // leave out the documents that failed

	// Plain makes a text of a log fit for a terminal; nil leaves it as it is.
	Plain func(string) string
}

// Run reads a source to its end and prints to w; lines counts what was read.
// Faulty content is left out: its errors come back as the second value.
func (t Tree) Run(ctx context.Context, opt pipeline.Options, src source.Source, w io.Writer) (lines int, faulty []error, err error) {
	if t.Plain == nil {
		t.Plain = func(s string) string { return s }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	engine, faulty := pipeline.Load(opt)
	workers := cmp.Or(opt.Workers, runtime.GOMAXPROCS(0))
	engine.Stashes().Each(func(string, int) { workers = 1 })
	traces := make([]*trace, workers)
	for i := range traces {
		traces[i] = &trace{Tree: t}
	}
	out := make([][]byte, partsEach*workers)
	err = src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
		for some := range slices.Chunk(batch, part*len(out)) {
			if err := explain(engine, some, opt.Now, traces, out, w); err != nil {
				return err
			}
		}
		lines += len(batch)
		done()
		return nil
	})
	if err != nil {
		return lines, faulty, fmt.Errorf("cannot explain %s: %w", src.Name(), err)
	}
	return lines, faulty, nil
}

// explain prints what happens to lines, which traces share. They fit out, part by part.
func explain(engine *pipeline.Engine, lines []event.Line, now func() time.Time, traces []*trace, out [][]byte, w io.Writer) error {
	lists := slices.Collect(slices.Chunk(lines, part))
	var begun atomic.Int64
	var all sync.WaitGroup
	for _, l := range traces[:min(len(traces), len(lists))] {
		all.Go(func() {
			for i := begun.Add(1) - 1; i < int64(len(lists)); i = begun.Add(1) - 1 {
				l.out = out[i][:0]
				engine.Trace(lists[i], now(), l)
				l.end()
				out[i] = l.out
			}
		})
	}
	all.Wait()
	for i := range lists {
		if _, err := w.Write(out[i]); err != nil {
			return err
		}
	}
	return nil
}

// trace is what happened to the line at hand. It implements pipeline.Tracer.
type trace struct {
	Tree

	fields event.Slots // those that are compared; nil before the first step
	paths  []string    // of the fields, by slot; "" until one is shown
	known  state       // the event as the last document that succeeded left it

	raw string // the line at hand
	any bool   // there is one

	steps     []step
	changes   []change // of all steps, if somebody wants to see them
	arrived   bool
	pardoned  bool
	reason    string // why it was pardoned
	scenarios []string

	out []byte // what is printed
}

// step is what a document did.
type step struct {
	stage, node      string
	ok               bool
	created, updated int
	pardoned         bool // it whitelisted the event
	changes          int  // end of its changes
}

// change is a field that got a value, or another one. Fields never lose theirs.
type change struct {
	path     string
	from, to string
	created  bool
}

// state is what is compared of an event. Texts are valid as long as those of
// the event.
type state struct {
	seen          bool // false for the state before the first step
	whitelisted   bool
	reason, stage string
	raw, src      string
	module        string
	time          time.Time
	str, layout   string
	marshaled     string
	has           []bool // by slot
	values        []string
	docs          map[string]any
}

// Began implements pipeline.Tracer.
func (l *trace) Began(line *event.Line) {
	l.end()
	l.raw, l.any = line.Raw, true
}

// end prints the line at hand, and forgets it.
func (l *trace) end() {
	if !l.any {
		return
	}
	l.print()
	l.any = false
	l.steps, l.changes, l.scenarios = l.steps[:0], l.changes[:0], l.scenarios[:0]
	l.arrived, l.pardoned, l.reason = false, false, ""
	has, values := l.known.has, l.known.values
	clear(has)
	clear(values)
	l.known = state{has: has, values: values}
}

// Parsed implements pipeline.Tracer.
func (l *trace) Parsed(e *event.Event, s pipeline.Step) {
	if ofOverflow(e) {
		return
	}
	next := step{stage: s.Stage, node: s.Node, ok: s.OK}
	if s.OK {
		l.compare(&next, e, s.Next)
	}
	next.changes = len(l.changes)
	l.steps = append(l.steps, next)
}

// Arrived implements pipeline.Tracer.
func (l *trace) Arrived(e *event.Event) { l.arrived = l.arrived || !ofOverflow(e) }

// Poured implements pipeline.Tracer.
func (l *trace) Poured(e *event.Event, scenario string) {
	if !ofOverflow(e) {
		l.scenarios = append(l.scenarios, scenario)
	}
}

// Overflowed implements pipeline.Tracer.
func (l *trace) Overflowed(*event.Event, *scenario.Overflow) {}

// ofOverflow tells an overflow that postoverflows parse from a line.
func ofOverflow(e *event.Event) bool { return e.Line.Module == "" }

// compare counts what a document changed, in about the order in which upstream
// has the fields of an event, and goes on from there.
func (l *trace) compare(s *step, e *event.Event, stage string) {
	k := &l.known
	if !k.seen && e.Line.Mode == event.Replay {
		l.update(s, "ExpectMode", "0", "1")
	}
	if e.Whitelisted && !k.whitelisted {
		l.update(s, "Whitelisted", "false", "true")
		k.whitelisted, s.pardoned, l.pardoned, l.reason = true, true, true, strings.Clone(e.WhitelistReason)
	}
	l.compareText(s, "WhitelistReason", &k.reason, e.WhitelistReason)
	l.compareText(s, "Stage", &k.stage, stage)
	l.compareText(s, "Line.Raw", &k.raw, e.Line.Raw)
	l.compareText(s, "Line.Src", &k.src, e.Line.Src)
	if !k.seen {
		l.updateTime(s, "Line.Time", time.Time{}, e.Line.Time)
		if l.Verbose {
			for _, name := range slices.Sorted(maps.Keys(e.Line.Labels)) {
				l.create(s, "Line.Labels."+name, e.Line.Labels[name])
			}
		} else {
			s.created += len(e.Line.Labels)
		}
		l.update(s, "Line.Process", "false", "true")
	}
	l.compareText(s, "Line.Module", &k.module, e.Line.Module)
	l.compareFields(s, e)
	if docs := e.Docs(); len(docs) > len(k.docs) {
		for _, name := range slices.Sorted(maps.Keys(docs)) {
			if _, ok := k.docs[name]; !ok {
				l.createAll(s, "Unmarshaled."+name, docs[name])
			}
		}
		k.docs = docs
	}
	if !k.time.Equal(e.Time) {
		l.updateTime(s, "Time", k.time, e.Time)
		k.time = e.Time
	}
	l.compareText(s, "StrTime", &k.str, e.StrTime)
	l.compareText(s, "StrTimeFormat", &k.layout, e.StrTimeFormat)
	l.compareText(s, "MarshaledTime", &k.marshaled, e.MarshaledTime)
	k.seen = true
}

// compareFields looks at Parsed, Enriched and Meta.
func (l *trace) compareFields(s *step, e *event.Event) {
	k := &l.known
	if l.fields == nil {
		l.fields = e.Schema().Of(event.Parsed, event.Enriched, event.Meta)
		l.paths = make([]string, e.Schema().Len())
		k.has, k.values = make([]bool, e.Schema().Len()), make([]string, e.Schema().Len())
	}
	first := len(l.changes)
	for slot := range e.Among(l.fields) {
		value := e.Get(slot)
		if k.has[slot] && k.values[slot] == value {
			continue
		}
		if path := l.path(e.Schema(), slot); k.has[slot] {
			l.update(s, path, k.values[slot], value)
		} else {
			l.create(s, path, value)
		}
		k.has[slot], k.values[slot] = true, value
	}
	order.Sort(l.changes[first:], func(a, b change) int { return strings.Compare(a.path, b.path) })
}

// path names a field: "Parsed.program".
func (l *trace) path(schema *event.Schema, slot event.Slot) string {
	if !l.Verbose {
		return ""
	}
	if l.paths[slot] == "" { // some get their names late
		space, name := schema.Name(slot)
		l.paths[slot] = space.String() + "." + name
	}
	return l.paths[slot]
}

// createAll notes the leaves of a document.
func (l *trace) createAll(s *step, path string, doc any) {
	switch doc := doc.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(doc)) {
			l.createAll(s, path+"."+key, doc[key])
		}
	case map[string]string:
		for _, key := range slices.Sorted(maps.Keys(doc)) {
			l.create(s, path+"."+key, doc[key])
		}
	default:
		l.create(s, path, fmt.Sprint(doc))
	}
}

func (l *trace) compareText(s *step, path string, known *string, value string) {
	if *known != value {
		l.update(s, path, *known, value)
		*known = value
	}
}

func (l *trace) updateTime(s *step, path string, from, to time.Time) {
	s.updated++
	if l.Verbose {
		l.changes = append(l.changes, change{path: path, from: from.UTC().Round(0).String(), to: to.UTC().Round(0).String()})
	}
}

func (l *trace) update(s *step, path, from, to string) {
	s.updated++
	if l.Verbose { // the texts don't outlive the line, and the changes nearly do
		l.changes = append(l.changes, change{path: path, from: strings.Clone(from), to: strings.Clone(to)})
	}
}

func (l *trace) create(s *step, path, value string) {
	s.created++
	if l.Verbose {
		l.changes = append(l.changes, change{path: path, to: strings.Clone(value), created: true})
	}
}

const (
	good = "🟢"
	bad  = "🔴"
	more = "├"
	last = "└"
)

// branch returns the sign before one of several.
func branch(isLast bool) string {
	if isLast {
		return last
	}
	return more
}

// print appends what is to be printed of the line.
func (l *trace) print() {
	if l.arrived && l.Failures {
		return
	}
	l.put("line: ", l.Plain(l.raw), "\n")
	stage, begin := "", 0
	for i := range l.steps {
		s := &l.steps[i]
		if s.stage != stage {
			stage = s.stage
			l.put("\t├ ", stage, "\n")
		}
		if s.ok || !l.OnlySuccessful {
			l.putStep(s, l.changes[begin:s.changes], l.lastOfStage(i))
		}
		begin = s.changes
	}
	switch {
	case l.arrived:
		l.put("\t├-------- parser success ", good, "\n\t├ Scenarios\n")
		slices.Sort(l.scenarios)
		l.scenarios = slices.Compact(l.scenarios)
		for i, name := range l.scenarios {
			l.put("\t\t", branch(i == len(l.scenarios)-1), " ", good, " ", name, "\n")
		}
	case l.pardoned:
		l.put("\t└-------- parser success, ignored by whitelist (", l.Plain(l.reason), ") ", good, "\n")
	default:
		l.put("\t└-------- parser failure ", bad, "\n")
	}
	l.put("\n")
}

// lastOfStage tells whether no later step of the stage is shown.
func (l *trace) lastOfStage(i int) bool {
	for _, s := range l.steps[i+1:] {
		if s.stage != l.steps[i].stage {
			break
		}
		if s.ok || !l.OnlySuccessful {
			return false
		}
	}
	return true
}

func (l *trace) putStep(s *step, changes []change, isLast bool) {
	if !s.ok {
		l.put("\t|\t", branch(isLast), " ", bad, " ", s.node, "\n")
		return
	}
	l.put("\t|\t", branch(isLast), " ", good, " ", s.node, " (")
	begin := len(l.out)
	part := func(sign byte, n int) {
		if n > 0 {
			if len(l.out) > begin {
				l.put(" ")
			}
			l.out = strconv.AppendInt(append(l.out, sign), int64(n), 10)
		}
	}
	part('+', s.created)
	part('~', s.updated)
	if len(l.out) == begin {
		l.put("unchanged")
	}
	if s.pardoned {
		l.put(" [whitelisted]")
	}
	l.put(")\n")
	for i, c := range changes {
		l.put("\t|\t\t", branch(i == len(changes)-1))
		if c.created {
			l.put(" create evt.", l.Plain(c.path), " : ", l.Plain(c.to), "\n")
		} else {
			l.put(" update evt.", l.Plain(c.path), " : ", l.Plain(c.from), " -> ", l.Plain(c.to), "\n")
		}
	}
}

func (l *trace) put(texts ...string) {
	for _, t := range texts {
		l.out = append(l.out, t...)
	}
}
