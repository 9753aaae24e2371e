package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/platform/order"
	"cs/roles/api"
)

const (
	// reportEvery is how often the LAPI is told what was read, as upstream's agent
	// does; and it does so at the start.
	reportEvery = 30 * time.Minute
	// reportTime and lastReportTime are for how long one report may take, and
	// the one at the end.
	reportTime     = 10 * time.Second
	lastReportTime = 300 * time.Millisecond
)

// hubTypes are the keys of a report's hub_items; all are always there.
var hubTypes = []string{"appsec-configs", "appsec-rules", "collections", "contexts", "parsers", "postoverflows", "scenarios"}

// hubItems returns what is installed, as a report tells it.
func hubItems(c hub.Content) api.HubItems {
	items := make(api.HubItems)
	for _, typ := range hubTypes {
		items[typ] = []api.HubItem{}
	}
	types := map[hub.Kind]string{hub.Parser: "parsers", hub.Scenario: "scenarios", hub.PostOverflow: "postoverflows", hub.Context: "contexts", hub.Collection: "collections"}
	for _, it := range slices.Concat(c.Items, c.Collections) {
		one := api.HubItem{Name: it.Name, Version: it.Version}
		switch {
		case it.Version == "?":
			one.Status = "tainted"
		case it.Hash != "":
			one.Status = "official"
		default:
			one.Status = "custom"
		}
		items[types[it.Kind]] = append(items[types[it.Kind]], one)
	}
	for _, list := range items {
		order.Sort(list, func(a, b api.HubItem) int { return strings.Compare(a.Name, b.Name) })
	}
	return items
}

// usage makes reports of what was counted since the last one.
type usage struct {
	started time.Time
	last    map[string]float64 // what was reported, by item
}

// items returns what has been counted since the last report, and what to take over
// into last when it has arrived.
func (u *usage) items(traffic []pipeline.Traffic) (items []api.UsageItem, sums map[string]float64) {
	sums = make(map[string]float64)
	items = []api.UsageItem{}
	put := func(name, unit string, value uint64, labels map[string]string) {
		key := name
		for _, k := range sortedKeys(labels) {
			key += "\x00" + k + "\x00" + labels[k]
		}
		sums[key] += float64(value)
		if delta := sums[key] - u.last[key]; delta > 0 {
			items = append(items, api.UsageItem{Name: name, Unit: unit, Value: delta, Labels: labels})
		}
	}
	for _, t := range traffic {
		if t.Module == "" {
			continue // postoverflows: their events are no lines
		}
		labels := func(more ...string) map[string]string {
			m := map[string]string{"datasource_type": t.Module, "source": t.Source, "acquis_type": t.Type}
			for i := 0; i < len(more); i += 2 {
				m[more[i]] = more[i+1]
			}
			return m
		}
		put("read", "line", t.Lines, labels())
		put("global_parsed", "line", t.Parsed, labels())
		put("global_unparsed", "line", t.Lines-t.Parsed, labels())
		for _, n := range t.Nodes {
			if n.Whitelist {
				put("whitelisted", "event", n.Listed, labels("whitelist_name", n.Name, "whitelist_stage", n.Stage))
			}
			if !strings.HasPrefix(n.Name, "child-") {
				put("parsed", "line", n.Succeeded, labels("parser_name", n.Name, "parser_stage", n.Stage))
				put("unparsed", "line", n.Passed-n.Succeeded, labels("parser_name", n.Name, "parser_stage", n.Stage))
			}
		}
	}
	return items, sums
}

// report sends one report.
func (a *Agent) report(ctx context.Context, to LAPI, u *usage, now time.Time) error {
	items, sums := u.items(a.meters.Traffic())
	a.about.Lock()
	hub, sources := a.about.hub, maps.Clone(a.about.sources)
	a.about.Unlock()
	os := api.LocalOS()
	err := to.Report(ctx, api.ComponentMetrics{
		Version: a.cfg.Version, Startup: u.started.Unix(), OS: &os, FeatureFlags: []string{}, Datasources: sources, HubItems: hub,
		Metrics: []api.UsageWindow{{
			Meta:  api.UsageMeta{Length: int64(reportEvery / time.Second), Now: now.Unix()},
			Items: items,
		}},
	})
	if err == nil {
		u.last = sums
	}
	return err
}

// reports tells a LAPI at the start, now and then, and at the end what was read.
func (a *Agent) reports(ctx context.Context, to *outbox) {
	u := usage{started: time.Now()}
	failures, told := 0, false
	for done := false; ; {
		limit := reportTime
		if done {
			limit = lastReportTime
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		err := a.report(one, to.lapi, &u, time.Now())
		cancel()
		wait := reportEvery
		var refused *api.Error
		switch {
		case err == nil:
			failures, told = 0, false
		case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
			to.log.Warn("the LAPI takes no reports of usage: it is older than that")
			return
		default:
			failures++
			s := sender{failures: failures}
			wait = min(s.pause(), reportEvery)
			if !told && !done && !away(err) { // a LAPI that is away is told of by the heartbeat
				told = true
				to.log.Warn("cannot report usage, trying again", "err", err)
			}
		}
		if done {
			return
		}
		select {
		case <-ctx.Done():
			if failures > 0 {
				return // it would fail again
			}
			done = true
		case <-time.After(wait):
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
