package lapi

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/platform/metric"
	"cs/roles/api"
	"cs/roles/config"
	"cs/storage"
)

// Levels of the metrics page.
const (
	MetricsFull       = "full"
	MetricsAggregated = "aggregated" // nothing about a single machine, bouncer or scenario
	MetricsNone       = "none"       // nothing of the LAPI
)

// maxCallers bounds the machines and bouncers that are counted one by one, times
// the routes they use. Later ones are counted together as "other".
const maxCallers = 10_000

// alertsAge is for how long the number of alerts on the page may be old: all
// are looked through for it.
const alertsAge = time.Minute

// ServeMetrics serves the page for Prometheus until ctx ends, if the
// configuration asks for one.
func (s *Server) ServeMetrics(ctx context.Context, env *platform.Env, m config.Metrics) error {
	switch m.Level {
	case MetricsFull, MetricsAggregated, MetricsNone:
	default:
		s.log.Error("prometheus.level is none of full, aggregated, none: the page tells of the process only", "level", m.Level)
		m.Level = MetricsNone
	}
	return metric.Serve(ctx, m.Listen, s.numbers(m.Level)...)
}

// page is what the commands of this host read over the socket, whether there is
// a page for Prometheus or not.
func (s *Server) page() http.Handler {
	return metric.Handler(s.numbers(MetricsFull)...)
}

// numbers are those of this process.
func (s *Server) numbers(level string) []metric.Source {
	all := []metric.Source{metric.Runtime(s.started), s.Metrics(level, s.conf.Version)}
	if s.conf.Metrics != nil {
		all = append(all, s.conf.Metrics(level))
	}
	return all
}

// variables are the path variables as upstream's metrics page names them.
var variables = strings.NewReplacer(
	api.PathAlerts+"/{id}", api.PathAlerts+"/:alert_id",
	api.PathDecisions+"/{id}", api.PathDecisions+"/:decision_id",
	api.PathAllowlistCheck+"/{target}", api.PathAllowlistCheck+"/:ip_or_range",
	api.PathAllowlists+"/{name}", api.PathAllowlists+"/:allowlist_name",
	"{name}", ":name",
)

// requests counts what the server is asked, and by whom.
type requests struct {
	mu      sync.RWMutex
	routes  map[route]*routeCount
	callers map[caller]*atomic.Uint64
	found   map[finding]*atomic.Uint64

	alerts struct { // on the page
		mu     sync.Mutex
		counts map[string]int // by scenario
		at     time.Time
	}
}

// route is a path with its variables, and a method.
type route struct{ path, method string }

type routeCount struct {
	n    atomic.Uint64
	took *metric.Histogram
}

// caller is a machine, or a bouncer, on a route.
type caller struct {
	bouncer bool
	name    string
	route
}

// finding is whether a bouncer's question was answered with decisions.
type finding struct {
	bouncer string
	some    bool
}

// answered counts a request, once it is answered. The path is the pattern that
// it matched, "" if there is none. A method that nobody knows may be any text
// of a stranger, and is counted as "other".
func (q *requests) answered(path, method string, took time.Duration) {
	switch {
	case path == api.PathHealth, path == "/metrics": // who looks at the numbers is none of them
		return
	case path == "/" || strings.HasSuffix(path, "/{$}"):
		path = ""
	}
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	c := entry(&q.mu, &q.routes, route{path, method}, func() *routeCount {
		const ms = time.Millisecond
		return &routeCount{took: metric.NewHistogram(5*ms, 10*ms, 25*ms, 50*ms, 75*ms, 100*ms, 200*ms, 300*ms, 400*ms, 500*ms, 750*ms, 1000*ms)}
	})
	c.n.Add(1)
	c.took.Observe(took)
}

var knownMethods = []string{"GET", "POST", "HEAD", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT"}

// from counts a request by who sends it, but for reports of usage, which
// upstream doesn't count here.
func (q *requests) from(bouncer bool, name, path, method string) {
	if path == api.PathUsageMetrics {
		return
	}
	count(&q.mu, &q.callers, caller{bouncer, name, route{path, method}}, caller{bouncer, "other", route{path, method}})
}

// told counts the answer to a bouncer's question.
func (q *requests) told(bouncer string, some bool) {
	count(&q.mu, &q.found, finding{bouncer, some}, finding{"other", some})
}

// count adds one to what a map holds for a key, or for other if there are
// maxCallers keys without this one.
func count[K comparable](mu *sync.RWMutex, m *map[K]*atomic.Uint64, key, other K) {
	mu.RLock()
	n := (*m)[key]
	crowded := n == nil && len(*m) >= maxCallers
	mu.RUnlock()
	if crowded {
		key = other
	}
	if n == nil {
		n = entry(mu, m, key, func() *atomic.Uint64 { return new(atomic.Uint64) })
	}
	n.Add(1)
}

// entry returns what a map holds for a key, made if it isn't there yet.
func entry[K comparable, V any](mu *sync.RWMutex, m *map[K]*V, key K, make1 func() *V) *V {
	mu.RLock()
	v := (*m)[key]
	mu.RUnlock()
	if v != nil {
		return v
	}
	mu.Lock()
	defer mu.Unlock()
	if v = (*m)[key]; v == nil {
		if *m == nil {
			*m = make(map[K]*V)
		}
		v = make1()
		(*m)[key] = v
	}
	return v
}

// Metrics returns the numbers of the server under upstream's names, for a page
// of a level (MetricsFull, MetricsAggregated or MetricsNone).
func (s *Server) Metrics(level, version string) metric.Source {
	return func(ctx context.Context, w *metric.Writer) {
		if level == MetricsNone {
			return
		}
		w.Family("cs_info", metric.Gauge, "Information about Crowdsec.")
		w.Sample(1, "version", version)
		s.requests.write(w, level == MetricsFull)
		if level == MetricsFull {
			s.writeDecisions(w)
			s.writeAlerts(ctx, w)
			s.writeHeartbeats(ctx, w)
		}
	}
}

func (q *requests) write(w *metric.Writer, full bool) {
	q.mu.RLock()
	routes, callers, found := maps.Clone(q.routes), maps.Clone(q.callers), maps.Clone(q.found)
	q.mu.RUnlock()

	w.Family("cs_lapi_route_requests_total", metric.Counter, "Number of calls to each route per method.")
	byText := make(map[string]route)
	for r, c := range routes {
		w.Sample(float64(c.n.Load()), "route", cmp.Or(r.shown(), "invalid-endpoint"), "method", r.method)
		byText[r.path+" "+r.method] = r
	}
	w.Sort()
	if !full {
		return
	}
	w.HistogramFamily("cs_lapi_request_duration_seconds", "Response time of LAPI")
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		r := byText[text]
		w.Histogram(routes[r].took, "endpoint", r.shown(), "method", r.method)
	}
	for _, family := range []struct {
		bouncer           bool
		name, label, help string
	}{
		{false, "cs_lapi_machine_requests_total", "machine", "Number of calls to each route per method grouped by machines."},
		{true, "cs_lapi_bouncer_requests_total", "bouncer", "Number of calls to each route per method grouped by bouncers."},
	} {
		w.Family(family.name, metric.Counter, family.help)
		for c, n := range callers {
			if c.bouncer == family.bouncer {
				w.Sample(float64(n.Load()), family.label, c.name, "route", c.shown(), "method", c.method)
			}
		}
		w.Sort()
	}
	for _, family := range []struct {
		some       bool
		name, help string
	}{
		{true, "cs_lapi_decisions_ok_total", "Number of calls to /decisions that returned non-empty result."},
		{false, "cs_lapi_decisions_ko_total", "Number of calls to /decisions that returned empty result."},
	} {
		w.Family(family.name, metric.Counter, family.help)
		for f, n := range found {
			if f.some == family.some {
				w.Sample(float64(n.Load()), "bouncer", f.bouncer)
			}
		}
		w.Sort()
	}
}

func (r route) shown() string { return variables.Replace(r.path) }

// writeDecisions counts the decisions in force by scenario, origin and type.
func (s *Server) writeDecisions(w *metric.Writer) {
	counts := make(map[decisions.Kind]int)
	s.decisions.View(func(set *decisions.Set) {
		set.EachKind(func(k *decisions.Kind, n int) {
			if !k.Simulated {
				counts[decisions.Kind{Scenario: k.Scenario, Origin: k.Origin, Type: k.Type}] += n
			}
		})
	})
	w.Family("cs_active_decisions", metric.Gauge, "Number of active decisions.")
	for k, n := range counts {
		w.Sample(float64(n), "reason", k.Scenario, "origin", k.Origin, "action", k.Type)
	}
	w.Sort()
}

// writeAlerts counts the alerts by scenario, without the pulls of lists.
func (s *Server) writeAlerts(ctx context.Context, w *metric.Writer) {
	c := &s.requests.alerts
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := s.now(); c.counts == nil || now.Sub(c.at).Abs() >= alertsAge {
		counts := make(map[string]int)
		err := s.store.EachAlert(ctx, storage.AlertFilter{}, func(a *decisions.Alert) bool {
			if !fromLists(a) {
				counts[clip(a.Scenario)]++
			}
			return ctx.Err() == nil
		})
		if err != nil || ctx.Err() != nil {
			s.log.Error("cannot count the alerts", "err", err)
			return
		}
		c.counts, c.at = counts, now
	}
	w.Family("cs_alerts", metric.Gauge, "Number of alerts (excluding CAPI).")
	for _, scenario := range slices.Sorted(maps.Keys(c.counts)) {
		w.Sample(float64(c.counts[scenario]), "reason", scenario)
	}
}

func (s *Server) writeHeartbeats(ctx context.Context, w *metric.Writer) {
	rows, err := s.store.Machines(ctx)
	if err != nil {
		s.log.Error("cannot list the machines", "err", err)
		return
	}
	w.Family("cs_machines_last_heartbeat_timestamp", metric.Gauge, "Unix timestamp of the last heartbeat received from each machine.")
	for i := range rows {
		if s.machines.seen(&rows[i]); !rows[i].LastHeartbeat.IsZero() {
			w.Sample(float64(rows[i].LastHeartbeat.Unix()), "machine", rows[i].ID)
		}
	}
}
