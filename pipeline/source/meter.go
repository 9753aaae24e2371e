package source

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cs/pipeline/event"
	"cs/platform/metric"
	"cs/platform/order"
)

// maxCounts bounds the names that are counted one by one, for names may come
// from the network; the others are counted as otherName.
const (
	maxCounts = 1000
	otherName = "(other)"
)

// Counts are counters by name. Safe for concurrent use; the zero value is ready.
type Counts struct {
	mu   sync.Mutex
	by   map[string]*count
	last *count // the one that was moved last
}

type count struct {
	name string
	n    int64
}

// Add adds n to the counter of a name.
func (c *Counts) Add(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.name != name {
		c.last = c.find(name)
	}
	c.last.n += int64(n)
}

func (c *Counts) find(name string) *count {
	if found := c.by[name]; found != nil {
		return found
	}
	if len(c.by) >= maxCounts {
		name = otherName
		if found := c.by[name]; found != nil {
			return found
		}
	}
	if c.by == nil {
		c.by = map[string]*count{}
	}
	made := &count{name: strings.Clone(name)} // it may be a view of what changes
	c.by[made.name] = made
	return made
}

// Each calls f for each counter, in the order of names.
func (c *Counts) Each(f func(name string, n int64)) {
	c.mu.Lock()
	all := make([]count, 0, len(c.by))
	for _, one := range c.by {
		all = append(all, *one)
	}
	c.mu.Unlock()
	order.Sort(all, func(a, b count) int { return strings.Compare(a.name, b.name) })
	for _, one := range all {
		f(one.name, one.n)
	}
}

// Meter counts what one source does. Safe for concurrent use.
type Meter struct {
	Kind string // of source, as in Spec
	Type string // labels.type
	// Hits are lines delivered, by Line.Src.
	Hits Counts
	// Dropped are lines, or messages of a protocol, that were lost before
	// anybody could read them, as far as that is known.
	Dropped atomic.Int64
	// Cut are lines that were longer than the limit.
	Cut atomic.Int64
	// Parsed are messages by format, and by Line.Src and format with a NUL
	// between them, of a source that knows several.
	Parsed Counts
	// Requests are those of a source that is a server, by address of the
	// client.
	Requests Counts

	name    atomic.Pointer[string]
	report  func(error)  // set with name
	last    atomic.Int64 // when lines came last, in unix ns; 0: never
	behind  atomic.Int64 // ns
	silence silence
}

// Name is that of the source.
func (m *Meter) Name() string {
	if name := m.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Last returns when lines came last; the zero time if they never did.
func (m *Meter) Last() time.Time {
	if ns := m.last.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// SetBehind says how old the newest line was when it was read, for media that
// tell the time of each.
func (m *Meter) SetBehind(d time.Duration) { m.behind.Store(int64(max(d, 0))) }

// Behind returns what SetBehind said last.
func (m *Meter) Behind() time.Duration { return time.Duration(m.behind.Load()) }

// Silent tells whether the source has been silent for much longer than it
// usually is.
func (m *Meter) Silent() bool { return m.silence.alarmed.Load() }

// deliver counts a batch.
func (m *Meter) deliver(batch []event.Line, now time.Time) {
	for i := 0; i < len(batch); {
		src, n := batch[i].Src, 1
		for i+n < len(batch) && batch[i+n].Src == src {
			n++
		}
		m.Hits.Add(src, n)
		i += n
	}
	m.last.Store(now.UnixNano())
	m.silence.heard(now)
}

// Metered wraps a source so that m counts what it delivers. report is told when it falls
// silent.
func Metered(src Source, m *Meter, report func(error)) Source {
	name := src.Name()
	m.report = report
	m.name.Store(&name)
	return &metered{src, m}
}

// Named wraps a source so that its Name is another one.
func Named(src Source, name string) Source { return &named{src, name} }

type named struct {
	Source
	name string
}

func (s *named) Name() string { return s.name }

// MeterOf returns the meter of a source that Metered has made; nil of another one.
func MeterOf(src Source) *Meter {
	if s, ok := src.(*metered); ok {
		return s.m
	}
	return nil
}

type metered struct {
	Source
	m *Meter
}

func (s *metered) Run(ctx context.Context, out Sink) error {
	return s.Source.Run(ctx, func(ctx context.Context, batch []event.Line, done func()) error {
		s.m.deliver(batch, time.Now())
		return out(ctx, batch, done)
	})
}

// Meters are those of all sources. Safe for concurrent use; a nil one keeps none.
type Meters struct {
	mu  sync.Mutex
	all []*Meter
}

// New adds a meter.
func (ms *Meters) New(kind, typ string) *Meter {
	m := &Meter{Kind: kind, Type: typ}
	if ms != nil {
		ms.mu.Lock()
		defer ms.mu.Unlock()
		ms.all = append(ms.all, m)
	}
	return m
}

// Drop forgets the meter of a source that is no longer read.
func (ms *Meters) Drop(m *Meter) {
	if ms != nil {
		ms.mu.Lock()
		defer ms.mu.Unlock()
		ms.all = slices.DeleteFunc(ms.all, func(x *Meter) bool { return x == m })
	}
}

// All returns the meters, in the order in which they were made.
func (ms *Meters) All() []*Meter {
	if ms == nil {
		return nil
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return slices.Clone(ms.all)
}

// CheckSilence raises an alarm for each source that has fallen silent. Call it once a
// minute.
func (ms *Meters) CheckSilence(now time.Time) {
	for _, m := range ms.All() {
		if m.name.Load() == nil {
			continue
		}
		if err := m.silence.check(m.Name(), now); err != nil {
			m.report(err)
		}
	}
}

// families are upstream's counters of lines (spec engine §8) by kind of source:
// their name and the label with the source's name.
var families = map[string]struct{ name, label string }{
	"file":         {"cs_filesource_hits_total", "source"},
	"journalctl":   {"cs_journalctlsource_hits_total", "source"},
	"docker":       {"cs_dockersource_hits_total", "source"},
	"loki":         {"cs_lokisource_hits_total", "source"},
	"victorialogs": {"cs_victorialogssource_hits_total", "source"},
	"wineventlog":  {"cs_winevtlogsource_hits_total", "source"},
	"k8s-audit":    {"cs_k8sauditsource_hits_total", "source"},
	"syslog":       {"cs_syslogsource_hits_total", "source"},
	"http":         {"cs_httpsource_hits_total", "src"},
	"kafka":        {"cs_kafkasource_hits_total", "topic"},
}

// Metrics is the metric.Source of all sources: the counters that upstream has, and for
// each source when it was heard last, how far it is behind, and what was lost.
func (ms *Meters) Metrics(_ context.Context, w *metric.Writer) {
	all := ms.All()
	for _, kind := range kindsOf(all) {
		f, ok := families[kind]
		if !ok {
			continue
		}
		w.Family(f.name, metric.Counter, "Total lines that were read.")
		each(all, kind, func(m *Meter) {
			m.Hits.Each(func(src string, n int64) {
				w.Sample(float64(n), f.label, src, "datasource_type", kind, "acquis_type", m.Type)
			})
		})
		w.Sort()
		switch kind {
		case "syslog":
			w.Family("cs_syslogsource_parsed_total", metric.Counter, "Total messages of a known format.")
			each(all, kind, func(m *Meter) {
				m.Parsed.Each(func(name string, n int64) {
					src, format, _ := strings.Cut(name, "\x00")
					w.Sample(float64(n), "source", src, "type", format, "datasource_type", kind, "acquis_type", m.Type)
				})
			})
			w.Sort()
		case "k8s-audit":
			w.Family("cs_k8sauditsource_requests_total", metric.Counter, "Total requests that were received.")
			each(all, kind, func(m *Meter) {
				m.Requests.Each(func(src string, n int64) { w.Sample(float64(n), "source", src) })
			})
			w.Sort()
		}
	}
	own := func(name, kind, help string, value func(*Meter) float64) {
		if len(all) == 0 {
			return
		}
		w.Family(name, kind, help)
		for _, m := range all {
			w.Sample(value(m), "source", m.Name(), "datasource_type", m.Kind, "acquis_type", m.Type)
		}
	}
	own("cs_source_last_line_timestamp_seconds", metric.Gauge, "When lines came last, 0 if they never did.", func(m *Meter) float64 { return float64(m.last.Load()) / 1e9 })
	own("cs_source_lag_seconds", metric.Gauge, "How old the newest line was when it was read.", func(m *Meter) float64 { return m.Behind().Seconds() })
	own("cs_source_dropped_total", metric.Counter, "Lines that were lost before they could be read.", func(m *Meter) float64 { return float64(m.Dropped.Load()) })
	own("cs_source_cut_total", metric.Counter, "Lines that were longer than the limit.", func(m *Meter) float64 { return float64(m.Cut.Load()) })
	own("cs_source_silent", metric.Gauge, "1 if the source has been silent for much longer than it usually is.", func(m *Meter) float64 {
		if m.Silent() {
			w.Problem("nothing has come from " + m.Name() + " for much longer than usual")
			return 1
		}
		return 0
	})
}

func kindsOf(all []*Meter) (kinds []string) {
	for _, m := range all {
		if !slices.Contains(kinds, m.Kind) {
			kinds = append(kinds, m.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func each(all []*Meter, kind string, f func(*Meter)) {
	for _, m := range all {
		if m.Kind == kind {
			f(m)
		}
	}
}
