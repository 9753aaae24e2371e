package bouncer

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
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

// meter makes reports of counters.
type meter struct {
	Usage
	count         func(context.Context) ([]remediate.Counter, error)
	started, last time.Time
	seen          map[string]remediate.Counter // the counters when they were last read
	unsent        map[string]remediate.Counter // what has been counted and not reported
}

// report sends one report, nothing if the LAPI is not known to take any.
func (m *meter) report(ctx context.Context, census map[string]remediate.Census, now time.Time) error {
	err := m.read(ctx)
	c := api.ComponentMetrics{
		Type: "crowdsec-firewall-bouncer", Version: m.Version, Startup: m.started.Unix(), FeatureFlags: []string{},
		Metrics: []api.UsageWindow{{
			Meta:  api.UsageMeta{Length: int64(now.Sub(m.last) / time.Second), Now: now.Unix()},
			Items: m.items(census),
		}},
	}
	os := api.LocalOS()
	c.OS = &os
	if rerr := m.Report(ctx, c); rerr != nil {
		return errors.Join(err, rerr)
	}
	m.last = now
	clear(m.unsent)
	return err
}

// read adds what was counted since the last time. Counters begin anew when the
// rules are made anew.
func (m *meter) read(ctx context.Context) error {
	list, err := m.count(ctx)
	if err != nil {
		return err
	}
	if m.unsent == nil {
		m.unsent = make(map[string]remediate.Counter)
	}
	seen := make(map[string]remediate.Counter)
	for _, c := range list {
		seen[c.Name] = c
		before := m.seen[c.Name]
		if c.Packets < before.Packets || c.Bytes < before.Bytes {
			before = remediate.Counter{}
		}
		sum := m.unsent[c.Name]
		sum.Packets += c.Packets - before.Packets
		sum.Bytes += c.Bytes - before.Bytes
		m.unsent[c.Name] = sum
	}
	m.seen = seen
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
	for _, name := range slices.Sorted(maps.Keys(m.unsent)) {
		c := m.unsent[name]
		what, label := "dropped", []string{"origin", name}
		if family, ok := strings.CutPrefix(name, "processed-"); ok {
			what, label = "processed", []string{"ip_type", family}
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
	started := b.now()
	m := meter{Usage: b.cfg.Usage, count: b.r.Counters, started: started, last: started}
	if err := m.read(ctx); err == nil {
		clear(m.unsent) // what an earlier process has reported
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
		err := m.report(one, b.r.Census(), b.now())
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
