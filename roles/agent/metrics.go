package agent

import (
	"context"

	"cs/pipeline"
	"cs/platform/metric"
)

// Levels of the metrics page, as the configuration calls them.
const (
	metricsFull       = "full"
	metricsAggregated = "aggregated" // nothing about a single parser, and scenarios of all sources
)

// Metrics returns the numbers of the agent under upstream's names, for a page of a
// level: "full", "aggregated", or another one for nothing of the agent.
func (a *Agent) Metrics(level string) metric.Source {
	return func(ctx context.Context, w *metric.Writer) {
		full := level == metricsFull
		if !full && level != metricsAggregated {
			return
		}
		a.sources.Metrics(ctx, w)
		traffic := a.meters.Traffic()
		writeParsers(w, traffic)
		writeNodes(w, traffic, full)
		a.writeBuckets(w, traffic, full)
		a.writeStashes(w)
		a.writeUnparsed(w)
		a.writeOwn(w)
	}
}

// MetricsInfo writes what names the program, on a page that has nothing of a LAPI.
func MetricsInfo(version string) metric.Source {
	return func(_ context.Context, w *metric.Writer) {
		w.Family("cs_info", metric.Gauge, "Information about Crowdsec.")
		w.Sample(1, "version", version)
	}
}

func writeParsers(w *metric.Writer, traffic []pipeline.Traffic) {
	w.Family("cs_parser_hits_total", metric.Counter, "Total events entered the parser.")
	sums := make(map[[2]string]uint64)
	for _, t := range traffic {
		sums[[2]string{t.Source, t.Module}] += t.Lines
	}
	for k, n := range sums {
		if n > 0 {
			w.Sample(float64(n), "source", k[0], "type", k[1])
		}
	}
	w.Sort()
	family := func(name, help string, value func(*pipeline.Traffic) uint64) {
		w.Family(name, metric.Counter, help)
		for i := range traffic {
			if t := &traffic[i]; value(t) > 0 {
				w.Sample(float64(value(t)), "source", t.Source, "type", t.Module, "acquis_type", t.Type)
			}
		}
	}
	family("cs_parser_hits_ok_total", "Total events were successfully parsed.", func(t *pipeline.Traffic) uint64 { return t.Parsed })
	family("cs_parser_hits_ko_total", "Total events were unsuccessfully parsed.", func(t *pipeline.Traffic) uint64 { return t.Lines - t.Parsed })

	times := func(name, help string, of func(*pipeline.Traffic) *metric.Histogram) {
		w.HistogramFamily(name, help)
		for i := range traffic {
			if t := &traffic[i]; t.Lines > 0 {
				w.Histogram(of(t), "type", t.Module, "source", t.Source)
			}
		}
	}
	times("cs_parsing_time_seconds", "Time spent parsing a line, of one in 64.", func(t *pipeline.Traffic) *metric.Histogram { return t.ParseTime })
	times("cs_bucket_pour_seconds", "Time spent pouring an event to buckets, of one in 64.", func(t *pipeline.Traffic) *metric.Histogram { return t.PourTime })
}

func writeNodes(w *metric.Writer, traffic []pipeline.Traffic, full bool) {
	family := func(name, help string, whitelists bool, value func(*pipeline.NodeTraffic) uint64) {
		w.Family(name, metric.Counter, help)
		for i := range traffic {
			t := &traffic[i]
			for j := range t.Nodes {
				n := &t.Nodes[j]
				v := value(n)
				if v == 0 || whitelists && !n.Whitelist {
					continue
				}
				kind := t.Type
				if kind == "" {
					kind = "unknown"
				}
				labels := []string{"source", t.Source, "type", t.Module, "name", n.Name}
				if whitelists {
					labels = append(labels, "reason", n.Reason)
				}
				w.Sample(float64(v), append(labels, "stage", n.Stage, "acquis_type", kind)...)
			}
		}
	}
	if full {
		family("cs_node_hits_total", "Total events entered node.", false, func(n *pipeline.NodeTraffic) uint64 { return n.Passed })
		family("cs_node_hits_ok_total", "Total events successfully exited node.", false, func(n *pipeline.NodeTraffic) uint64 { return n.Succeeded })
		family("cs_node_hits_ko_total", "Total events unsuccessfully exited node.", false, func(n *pipeline.NodeTraffic) uint64 { return n.Passed - n.Succeeded })
	}
	family("cs_node_wl_hits_total", "Total events processed by whitelist node.", true, func(n *pipeline.NodeTraffic) uint64 { return n.Passed })
	family("cs_node_wl_hits_ok_total", "Total events successfully whitelisted by node.", true, func(n *pipeline.NodeTraffic) uint64 { return n.Listed })
}

func (a *Agent) writeBuckets(w *metric.Writer, traffic []pipeline.Traffic, full bool) {
	if full {
		w.Family("cs_bucket_poured_total", metric.Counter, "Total events were poured in bucket.")
		for i := range traffic {
			for _, p := range traffic[i].Poured {
				w.Sample(float64(p.Lines), "source", traffic[i].Source, "type", traffic[i].Module, "name", p.Name)
			}
		}
		w.Sort() // of two acquisitions of one file the lines are told together
	}
	buckets := a.buckets()
	family := func(name, kind, help string, value func(*pipeline.ScenarioStats) float64) {
		w.Family(name, kind, help)
		for i := range buckets {
			if v := value(&buckets[i]); v > 0 || kind == metric.Gauge && buckets[i].Created > 0 {
				w.Sample(v, "name", buckets[i].Name)
			}
		}
	}
	family("cs_buckets", metric.Gauge, "Number of buckets that currently exist.", func(s *pipeline.ScenarioStats) float64 { return float64(s.Live) })
	family("cs_bucket_instantiation_total", metric.Counter, "Total buckets were instantiated.", func(s *pipeline.ScenarioStats) float64 { return float64(s.Created) })
	family("cs_bucket_overflowed_total", metric.Counter, "Total buckets overflowed.", func(s *pipeline.ScenarioStats) float64 { return float64(s.Overflowed) })
	family("cs_bucket_underflowed_total", metric.Counter, "Total buckets underflowed.", func(s *pipeline.ScenarioStats) float64 { return float64(s.Underflowed) })
	family("cs_bucket_canceled_total", metric.Counter, "Total buckets canceled.", func(s *pipeline.ScenarioStats) float64 { return float64(s.Cancelled) })
}

// buckets returns what happened to buckets, under the engines before as well.
func (a *Agent) buckets() []pipeline.ScenarioStats {
	a.processing.RLock()
	defer a.processing.RUnlock()
	return addBuckets(a.before, a.engine.Buckets())
}

// addBuckets adds up what happened under an engine that is gone, of which no bucket lives,
// and under the one after it.
func addBuckets(gone, now []pipeline.ScenarioStats) []pipeline.ScenarioStats {
	sums := make(map[string]pipeline.ScenarioStats)
	for _, s := range gone {
		s.Live = 0
		sums[s.Name] = s
	}
	for _, s := range now {
		sum := sums[s.Name]
		sum.Name = s.Name
		sum.Add(s.Counts)
		sums[s.Name] = sum
	}
	var all []pipeline.ScenarioStats
	for _, name := range sortedKeys(sums) {
		all = append(all, sums[name])
	}
	return all
}

// writeUnparsed names the sources of which no line is understood any more.
func (a *Agent) writeUnparsed(w *metric.Writer) {
	names := a.strange.Load()
	if names == nil || len(*names) == 0 {
		return
	}
	w.Family("cs_source_unparsed", metric.Gauge, "1 if lines of the source were understood and none is any more.")
	for _, name := range *names {
		w.Sample(1, "source", name)
		w.Problem("no line of " + name + " is understood any more")
	}
}

// writeStashes tells how much nodes remember. All caches are of upstream's kind LRU.
func (a *Agent) writeStashes(w *metric.Writer) {
	first := true
	a.current().Stashes().Each(func(name string, entries int) {
		if first {
			w.Family("cs_cache_size", metric.Gauge, "Entries per cache.")
			first = false
		}
		w.Sample(float64(entries), "name", name, "type", "LRU")
	})
}

// writeOwn writes what upstream's agent doesn't tell.
func (a *Agent) writeOwn(w *metric.Writer) {
	s := a.stats()
	w.Family("cs_buckets_evicted_total", metric.Counter, "Buckets ended early because there were too many.")
	w.Sample(float64(s.Buckets.Evicted))
	w.Family("cs_bucket_events_dropped_total", metric.Counter, "Events that buckets could not keep because of the bound of memory.")
	w.Sample(float64(s.Buckets.Dropped))
	w.Family("cs_agent_stale_lines_total", metric.Counter, "Lines that were written too long ago, while no agent ran, to count.")
	w.Sample(float64(s.Stale))
	w.Family("cs_expression_failures_total", metric.Counter, "Run-time errors of expressions of content.")
	w.Sample(float64(s.Failures))
	var all []counts
	for _, o := range a.outboxes {
		all = append(all, o.counts())
	}
	family := func(name, kind, help string, value func(counts) int) {
		w.Family(name, kind, help)
		for i, c := range all {
			if name := a.outboxes[i].name; name != "" {
				w.Sample(float64(value(c)), "lapi", name)
			} else {
				w.Sample(float64(value(c)))
			}
		}
	}
	family("cs_agent_alerts_waiting", metric.Gauge, "Alerts that wait for the LAPI.", func(c counts) int { return c.waiting })
	family("cs_agent_alerts_sent_total", metric.Counter, "Alerts that the LAPI has taken.", func(c counts) int { return c.sent })
	family("cs_agent_alerts_rejected_total", metric.Counter, "Alerts that the LAPI refused for good.", func(c counts) int { return c.rejected })
	family("cs_agent_alerts_dropped_total", metric.Counter, "Alerts given up because the spool was full.", func(c counts) int { return c.dropped })
}
