package pipeline

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"cs/pipeline/bucket"
	"cs/pipeline/count"
	"cs/pipeline/event"
	"cs/pipeline/node"
	"cs/platform/metric"
	"cs/platform/order"
)

const (
	// maxSources bounds the sources that are told apart in Traffic; later ones are
	// counted together as "other".
	maxSources = 1000
	// timedEvery says that the time is taken of one line in so many: looking at
	// the clock costs as much as a field.
	timedEvery = 64
)

// Traffic is what was counted of the lines of one source.
type Traffic struct {
	Source, Module, Type string // Src, Module and the label type of its lines

	Lines, Parsed uint64
	Nodes         []NodeTraffic     // of those that saw a line, in the order of their names
	Poured        []ScenarioTraffic // likewise

	// Times of one line in 64.
	ParseTime, PourTime *metric.Histogram
}

// NodeTraffic is what was counted of parsers, or nodes below one, of one name.
type NodeTraffic struct {
	node.Label
	Passed, Succeeded, Listed uint64 // see node.Passed
}

// ScenarioTraffic is how many lines the scenarios of one name wanted.
type ScenarioTraffic struct {
	Name  string
	Lines uint64
}

// Meters keep what engines count of their lines. An engine that takes the place of
// another goes on with its Meters. They are safe for concurrent use.
type Meters struct {
	mu      sync.Mutex
	sources map[origin]*traffic
}

// origin is where lines come from.
type origin struct{ source, module, typ string }

// NewMeters returns empty Meters.
func NewMeters() *Meters { return &Meters{sources: make(map[origin]*traffic)} }

// traffic is what is known of one origin, by names: numbers are those of an engine.
type traffic struct {
	origin              origin
	lines, parsed       uint64
	nodes               map[node.Label]*[node.Counted]uint64
	poured              map[string]*uint64
	parseTime, pourTime *metric.Histogram
}

// of returns the traffic of an origin. The lock is held.
func (m *Meters) of(o origin) *traffic {
	t := m.sources[o]
	if t == nil && len(m.sources) >= maxSources {
		o = origin{source: "other"}
		t = m.sources[o]
	}
	if t == nil {
		const ms = time.Millisecond
		t = &traffic{
			nodes: make(map[node.Label]*[node.Counted]uint64), poured: make(map[string]*uint64),
			parseTime: metric.NewHistogram(ms/2, ms, 3*ms/2, 2*ms, 5*ms/2, 3*ms, 4*ms, 5*ms, 15*ms/2, 10*ms),
			pourTime:  metric.NewHistogram(ms, 2*ms, 5*ms, 10*ms, 15*ms, 20*ms, 30*ms, 40*ms, 50*ms),
		}
		// What comes with a line may be a view of what changes.
		t.origin = origin{strings.Clone(o.source), strings.Clone(o.module), strings.Clone(o.typ)}
		m.sources[t.origin] = t
	}
	return t
}

// Traffic returns what was counted so far, in the order of the sources. What comes
// of a batch is in it when the batch is through.
func (m *Meters) Traffic() []Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Traffic
	for o, t := range m.sources {
		one := Traffic{
			Source: o.source, Module: o.module, Type: o.typ, Lines: t.lines, Parsed: t.parsed,
			ParseTime: t.parseTime, PourTime: t.pourTime,
		}
		for label, n := range t.nodes {
			one.Nodes = append(one.Nodes, NodeTraffic{label, n[node.Passed], n[node.Succeeded], n[node.Listed]})
		}
		order.Sort(one.Nodes, func(a, b NodeTraffic) int {
			return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
		})
		for _, name := range slices.Sorted(maps.Keys(t.poured)) {
			one.Poured = append(one.Poured, ScenarioTraffic{name, *t.poured[name]})
		}
		all = append(all, one)
	}
	order.Sort(all, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Type, b.Type))
	})
	return all
}

// meter is what a worker counts of one source, until it is put back or there are too many others.
type meter struct {
	labels        map[string]string // with origin: whose lines these are
	origin        origin
	lines, parsed uint64
	nodes, poured *count.Counts
	ticks         uint32
	traffic       *traffic // whose times are taken
}

// maxMeters is how many sources may take turns, as those of a syslog server do, without a look
// at what all workers share.
const maxMeters = 16

// met counts a line. It tells whether the time is to be taken of what it costs.
func (w *worker) met(l *event.Line) (timed bool) {
	m := w.meter
	if m == nil || !m.counts(l) {
		m = w.turnTo(l)
	}
	m.lines++
	m.ticks++
	return m.ticks%timedEvery == 1
}

// counts tells whether a line is of the meter's source.
func (m *meter) counts(l *event.Line) bool {
	if l.Src != m.origin.source || l.Module != m.origin.module {
		return false
	}
	if !sameMap(l.Labels, m.labels) {
		if l.Labels["type"] != m.origin.typ {
			return false
		}
		m.labels = l.Labels
	}
	return true
}

// turnTo makes the meter of a line's source that of the moment.
func (w *worker) turnTo(l *event.Line) *meter {
	if w.meter != nil {
		w.meter.nodes.Sure()
		w.meter.poured.Sure()
	}
	var m *meter
	switch i := slices.IndexFunc(w.meters, func(m *meter) bool { return m.counts(l) }); {
	case i >= 0:
		m = w.meters[i]
	case len(w.meters) < maxMeters:
		m = &meter{nodes: count.New(len(w.engine.stages.Labels()) * node.Counted), poured: count.New(w.engine.set.Len())}
		w.meters = append(w.meters, m)
		w.engine.assign(m, l)
	default: // the one that has been there for the longest time
		m = w.meters[0]
		w.meters = append(w.meters[:0], w.meters[1:]...)
		w.meters = append(w.meters, m)
		w.engine.collect(m)
		w.engine.assign(m, l)
	}
	w.meter = m
	w.parse.Counts, w.pour.Counts = m.nodes, m.poured
	return m
}

// assign makes a meter that of a line's source.
func (e *Engine) assign(m *meter, l *event.Line) {
	from := origin{l.Src, l.Module, l.Labels["type"]}
	meters := e.opt.Meters
	meters.mu.Lock()
	m.traffic = meters.of(from)
	meters.mu.Unlock()
	m.labels = l.Labels
	if m.origin = m.traffic.origin; m.origin != from { // it is counted with others
		m.origin = origin{strings.Clone(l.Src), l.Module, from.typ}
	}
}

// sameMap tells whether two maps are one, whatever is in them.
func sameMap(a, b map[string]string) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}

// collect adds what a worker counted of one source to the meters.
func (e *Engine) collect(m *meter) {
	if m.lines == 0 {
		return
	}
	meters := e.opt.Meters
	meters.mu.Lock()
	defer meters.mu.Unlock()
	t := m.traffic
	t.lines += m.lines
	t.parsed += m.parsed
	m.lines, m.parsed = 0, 0
	m.nodes.Drain(func(i int, n uint32) { t.node(e.stages.Labels(), i, n) })
	m.poured.Drain(func(i int, n uint32) {
		name := e.set.Name(i)
		if t.poured[name] == nil {
			t.poured[name] = new(uint64)
		}
		*t.poured[name] += uint64(n)
	})
}

func (t *traffic) node(labels []node.Label, i int, n uint32) {
	label := labels[i/node.Counted]
	if t.nodes[label] == nil {
		t.nodes[label] = new([node.Counted]uint64)
	}
	t.nodes[label][i%node.Counted] += uint64(n)
}

// collectAfter adds what the postoverflows of a worker counted: of no source.
func (e *Engine) collectAfter(a *aftermath) {
	meters := e.opt.Meters
	meters.mu.Lock()
	defer meters.mu.Unlock()
	a.parse.Counts.Drain(func(i int, n uint32) { meters.of(origin{}).node(e.after.Labels(), i, n) })
}

// Traffic is that of the Meters.
func (e *Engine) Traffic() []Traffic { return e.opt.Meters.Traffic() }

// ScenarioStats is what happened to the buckets of the scenarios of one name.
type ScenarioStats struct {
	Name string
	bucket.Counts
}

// Buckets tells what happened to buckets, in the order of the scenarios' names.
func (e *Engine) Buckets() []ScenarioStats {
	byName := make(map[string]*ScenarioStats)
	for i, c := range e.set.Buckets().Specs {
		name := e.set.Name(i)
		if byName[name] == nil {
			byName[name] = &ScenarioStats{Name: name}
		}
		byName[name].Add(c)
	}
	var all []ScenarioStats
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all
}
