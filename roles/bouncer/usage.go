package bouncer

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sort"
	"time"

	"cs/remediate"
	"cs/roles/api"
)

const (
	// reportEvery is how often the LAPI is told what was done, as upstream's bouncer does.
	reportEvery = 15 * time.Minute
	// reportTime and lastReportTime are for how long one report may take, and
	// the one at the end.
	reportTime     = 10 * time.Second
	lastReportTime = 300 * time.Millisecond
)

// Usage is how the LAPI is told what was done.
type Usage struct {
	Report  func(context.Context, api.ComponentMetrics) error
	Version string
}

// meter adds up what the packet filter counts, whose counters begin anew now
// and then, and makes reports of it.
type meter struct {
	count    func(context.Context) ([]remediate.Counter, error)
	started  time.Time
	primed   bool                          // what an earlier process has left is known
	seen     map[counted]remediate.Counter // the counters when they were last read
	total    map[counted]remediate.Counter // what was counted since started
	reported map[counted]remediate.Counter // how much of it the LAPI was told
	last     time.Time                     // when it was told
}

// counted names a counter.
type counted struct {
	origin string // "": of all packets
	ipv6   bool
}

// sortedKeys returns the names of counters in order.
func sortedKeys(m map[counted]remediate.Counter) []counted {
	list := make([]counted, 0, len(m))
	for key := range m {
		list = append(list, key)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].origin != list[j].origin {
			return list[i].origin < list[j].origin
		}
		return list[j].ipv6 && !list[i].ipv6
	})
	return list
}

func ipType(ipv6 bool) string {
	if ipv6 {
		return "ipv6"
	}
	return "ipv4"
}

// component is a report of the time since the last one.
func (m *meter) component(version string, census map[string]remediate.Census, now time.Time) api.ComponentMetrics {
	os := api.LocalOS()
	return api.ComponentMetrics{
		Type: UpstreamName, Version: version, Startup: m.started.Unix(), FeatureFlags: []string{}, OS: &os,
		Metrics: []api.UsageWindow{{
			Meta:  api.UsageMeta{Length: int64(now.Sub(m.last) / time.Second), Now: now.Unix()},
			Items: m.items(census),
		}},
	}
}

// told notes that the LAPI has taken a report of some totals.
func (m *meter) told(total map[counted]remediate.Counter, now time.Time) {
	m.reported, m.last = total, now
}

// read adds what was counted since the last time. Counters begin anew when the
// rules are made anew.
func (m *meter) read(ctx context.Context) error {
	list, err := m.count(ctx)
	if err != nil {
		return err
	}
	if m.total == nil {
		m.total = make(map[counted]remediate.Counter)
	}
	seen := make(map[counted]remediate.Counter)
	for _, c := range list {
		key := counted{c.Origin, c.IPv6}
		seen[key] = c
		before := m.seen[key]
		if !m.primed {
			before = c // an earlier process has told it
		} else if c.Packets < before.Packets || c.Bytes < before.Bytes {
			before = remediate.Counter{}
		}
		sum := m.total[key]
		sum.Packets += c.Packets - before.Packets
		sum.Bytes += c.Bytes - before.Bytes
		m.total[key] = sum
	}
	m.seen, m.primed = seen, m.primed || list != nil
	return nil
}

// items is the contents of a report. What has not happened is left out.
func (m *meter) items(census map[string]remediate.Census) (items []api.UsageItem) {
	put := func(name, unit string, value uint64, labels ...string) {
		item := api.UsageItem{Name: name, Unit: unit, Value: float64(value), Labels: make(map[string]string)}
		for i := 0; i < len(labels); i += 2 {
			item.Labels[labels[i]] = labels[i+1]
		}
		items = append(items, item)
	}
	for _, origin := range slices.Sorted(maps.Keys(census)) {
		for _, family := range []struct {
			name string
			n    int
		}{{"ipv4", census[origin].IPv4}, {"ipv6", census[origin].IPv6}} {
			if family.n > 0 {
				put("active_decisions", "ip", uint64(family.n), "origin", origin, "ip_type", family.name)
			}
		}
	}
	for _, key := range sortedKeys(m.total) {
		c, told := m.total[key], m.reported[key]
		c.Packets -= told.Packets
		c.Bytes -= told.Bytes
		what, label := "dropped", []string{"origin", key.origin, "ip_type", ipType(key.ipv6)}
		if key.origin == "" {
			what, label = "processed", label[2:]
		}
		if c.Bytes > 0 {
			put(what, "byte", c.Bytes, label...)
		}
		if c.Packets > 0 {
			put(what, "packet", c.Packets, label...)
		}
	}
	return items
}

// reports tells the LAPI now and then what was done, and once more at the end.
func (b *Bouncer) reports(ctx context.Context) {
	if b.cfg.Usage.Report == nil {
		return
	}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	failing := false
	for done := false; !done; {
		limit := reportTime
		select {
		case <-tick.C:
		case <-ctx.Done():
			done, limit = true, lastReportTime
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		err := b.reportUsage(one)
		cancel()
		var refused *api.Error
		switch {
		case err == nil:
			failing = false
		case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
			b.log.Warn("the LAPI takes no reports of usage: it is older than that")
			return
		case !failing && !done: // told once
			failing = true
			b.log.Warn("cannot report usage, trying again", "err", err)
		}
	}
}

// reportUsage makes one report. What does not arrive is in the next one.
func (b *Bouncer) reportUsage(ctx context.Context) error {
	now := b.now()
	census, _ := b.r.Census()
	b.meterMu.Lock()
	_ = b.meter.read(ctx) // what can't be read now is in the next report
	total := maps.Clone(b.meter.total)
	c := b.meter.component(b.cfg.Usage.Version, census, now)
	b.meterMu.Unlock()
	if err := b.cfg.Usage.Report(ctx, c); err != nil {
		return err
	}
	b.meterMu.Lock()
	defer b.meterMu.Unlock()
	b.meter.told(total, now)
	return nil
}
