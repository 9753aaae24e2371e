package bouncer

import (
	"context"
	"strconv"
	"time"

	"cs/platform/metric"
)

// metricsAgain is how long a page that could not be served waits.
const metricsAgain = 10 * time.Second

// serveMetrics serves the page for Prometheus until ctx ends.
func (b *Bouncer) serveMetrics(ctx context.Context) {
	if b.cfg.Metrics == "" {
		return
	}
	for {
		err := servePage(ctx, b.cfg.Metrics, b.writeMetrics, metric.Runtime(b.started))
		if ctx.Err() != nil {
			return
		}
		b.log.Warn("no page for Prometheus, trying again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(metricsAgain):
		}
	}
}

// writeMetrics writes the numbers under upstream's names, and ours. Those of
// upstream's that only grow are called gauges by it, too.
func (b *Bouncer) writeMetrics(ctx context.Context, w *metric.Writer) {
	s, lengths := b.look(ctx)
	totals := b.totals(ctx)

	w.Family("fw_bouncer_banned_ips", metric.Gauge, "Denotes the number of IPs which are currently banned")
	for _, o := range s.Origins {
		w.Sample(float64(o.IPv4), "ip_type", "ipv4", "origin", o.Origin)
		w.Sample(float64(o.IPv6), "ip_type", "ipv6", "origin", o.Origin)
	}
	w.Sort()
	for _, f := range []struct {
		name, help string
		processed  bool
		bytes      bool
	}{
		{"fw_bouncer_dropped_packets", "Denotes the number of total dropped packets because of rule(s) created by crowdsec", false, false},
		{"fw_bouncer_dropped_bytes", "Denotes the number of total dropped bytes because of rule(s) created by crowdsec", false, true},
		{"fw_bouncer_processed_packets", "Denotes the number of total processed packets by the rules created by crowdsec", true, false},
		{"fw_bouncer_processed_bytes", "Denotes the number of total processed bytes by the rules created by crowdsec", true, true},
	} {
		w.Family(f.name, metric.Gauge, f.help)
		for key, c := range totals {
			if f.processed != (key.origin == "") {
				continue
			}
			n := c.Packets
			if f.bytes {
				n = c.Bytes
			}
			labels := []string{"ip_type", ipType(key.ipv6), "origin", key.origin}
			if f.processed {
				labels = labels[:2]
			}
			w.Sample(float64(n), labels...)
		}
		w.Sort()
	}
	one := func(name, kind, help string, v float64) {
		w.Family(name, kind, help)
		w.Sample(v)
	}
	one("lapi_requests_total", metric.Counter, "The total number of calls to CrowdSec LAPI", float64(s.Pulls))
	one("lapi_requests_failures_total", metric.Counter, "The total number of failed calls to CrowdSec LAPI", float64(s.Failures))

	one("fw_bouncer_enforced_ratio", metric.Gauge, "Share of what should be blocked that is; 1 unless something is wrong", s.EnforcedRatio)
	one("fw_bouncer_desired_entries", metric.Gauge, "Prefixes that should be blocked", float64(s.Desired))
	one("fw_bouncer_enforced_entries", metric.Gauge, "Prefixes that the packet filter was given", float64(s.Enforced))
	w.Family("fw_bouncer_entries", metric.Gauge, "Prefixes that the packet filter was given, by their length")
	for l, n := range lengths {
		w.Sample(float64(n), "ip_type", ipType(l.IPv6), "length", strconv.Itoa(l.Bits))
	}
	w.Sort()
	w.HistogramFamily("fw_bouncer_apply_seconds", "How long the packet filter took for some changes")
	w.Histogram(b.took)
	w.Family("fw_bouncer_unenforced", metric.Gauge, "Prefixes that should be blocked and are not, by the reason")
	for reason, n := range s.Unenforced {
		w.Sample(float64(n), "reason", reason)
	}
	w.Sort()
	one("fw_bouncer_ruleset_repairs_total", metric.Counter, "Loads because somebody else changed the rules", float64(s.Repairs))
	one("fw_bouncer_apply_errors_total", metric.Counter, "Failed calls of the packet filter", float64(s.Errors))
	one("fw_bouncer_resyncs_total", metric.Counter, "How often the whole list was asked for again", float64(s.Resyncs))
	one("fw_bouncer_suspect_lists_total", metric.Counter, "Whole lists that were not believed at once", float64(s.Suspect))
	one("fw_bouncer_ended_connections_total", metric.Counter, "Tracked connections that a ban has ended", float64(s.Ended))
	if !s.LastPull.IsZero() {
		one("fw_bouncer_lapi_last_success_timestamp", metric.Gauge, "When the LAPI answered last, in seconds since 1970", float64(s.LastPull.Unix()))
	}
	one("fw_bouncer_lag_seconds", metric.Gauge, "From the last decision to its place in the packet filter", s.Lag)
}
