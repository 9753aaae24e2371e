package lapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/roles/api"
	"cs/storage"
)

// usageMetrics takes a report of usage. What it tells of the sender (version,
// operating system) is kept with its row; the numbers are added up.
func (s *Server) usageMetrics(w http.ResponseWriter, r *http.Request, who string) {
	body, release, err := s.upload(w, r, who)
	defer release()
	if err != nil {
		refuseBody(w, err)
		return
	}
	in, err := api.DecodeMetrics(body)
	var invalid *api.ValidationError
	switch {
	case errors.As(err, &invalid):
		refuse(w, http.StatusUnprocessableEntity, invalid.Error())
		return
	case err != nil:
		refuseBody(w, err)
		return
	}
	own, part := in.LogProcessors, "log processor"
	if isBouncer(r) {
		own, part = in.RemediationComponents, "remediation component"
	}
	switch {
	case len(own) == 0:
		refuse(w, http.StatusBadRequest, "Missing "+part+" data")
		return
	case len(own) > 1:
		refuse(w, http.StatusBadRequest, "Payload has more than one "+part)
		return
	}
	if err := s.reported(r.Context(), reporter{Bouncer: isBouncer(r), Name: who}, own[0]); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// reported keeps what a report tells.
func (s *Server) reported(ctx context.Context, who reporter, report api.ComponentMetrics) error {
	limitReport(&report)
	now := s.now()
	s.usage.add(who, report.Metrics, now)
	if who.Bouncer {
		s.bouncers.reported(who.Name, report, now)
		return nil
	}
	err := s.store.UpdateMachine(ctx, who.Name, func(m *storage.Machine) error {
		m.Version = clip(report.Version)
		m.OSName, m.OSVersion, m.OSFamily = report.OS.Name, report.OS.Version, report.OS.Family
		m.FeatureFlags = report.FeatureFlags
		m.Datasources = report.Datasources
		m.HubItems = hubItems(report.HubItems)
		m.Updated = now
		return nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// hubItems is what is kept of what a machine has installed.
func hubItems(reported api.HubItems) map[string][]storage.HubItem {
	kept, n := make(map[string][]storage.HubItem), 0
	for _, kind := range slices.Sorted(maps.Keys(reported)) {
		for _, item := range reported[kind] {
			if n++; n > maxHubItems {
				return kept
			}
			kept[clip(kind)] = append(kept[clip(kind)], storage.HubItem{Name: clip(item.Name), Version: clip(item.Version), Status: clip(item.Status)})
		}
	}
	return kept
}

const (
	// maxListed bounds the lists that a report may leave with its sender's row,
	// and maxHubItems what it has installed; the hub has about 2000 items.
	maxListed   = 100
	maxHubItems = 4096
	// maxUsage bounds the numbers that are kept of reports, of all senders and
	// days: about 200 bytes each. At the bound the oldest day makes room, and if
	// there is only one the new number is left out.
	maxUsage = 20_000
	// maxUsageItems bounds those of one sender and day.
	maxUsageItems = 500
)

// limitReport bounds what is kept of a report.
func limitReport(r *api.ComponentMetrics) {
	if r.OS == nil {
		r.OS = &api.OS{}
	}
	r.FeatureFlags = r.FeatureFlags[:min(len(r.FeatureFlags), maxListed)]
	for i := range r.FeatureFlags {
		r.FeatureFlags[i] = clip(r.FeatureFlags[i])
	}
	sources := make(map[string]int64)
	for name, n := range r.Datasources {
		if len(sources) == maxListed {
			break
		}
		sources[clip(name)] = n
	}
	r.Datasources = sources
}

// usage adds up what bouncers and machines report, by day, so that a year of
// reports takes no more room than a week of them.
type usage struct {
	mu    sync.Mutex
	age   time.Duration                         // for how long reports are kept
	days  map[usageDay]map[string]api.UsageItem // by usageKey
	since map[usageDay]time.Time                // of the day's first report
	size  int                                   // items of all days
	dirty bool
}

// keepFor says for how long reports are kept.
func (u *usage) keepFor(age time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.age = age
}

// usageDay is a day of a sender's reports.
type usageDay struct {
	reporter
	Day int64 // since 1970
}

// reporter is who sends reports: a machine or a bouncer.
type reporter struct {
	Bouncer bool
	Name    string
}

// add takes a report in.
func (u *usage) add(who reporter, windows []api.UsageWindow, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	day := usageDay{who, dayOf(now)}
	for _, w := range windows {
		for _, item := range w.Items {
			u.put(day, item, now)
		}
	}
}

func (u *usage) put(day usageDay, item api.UsageItem, at time.Time) {
	limitItem(&item)
	if u.days == nil {
		u.days, u.since = make(map[usageDay]map[string]api.UsageItem), make(map[usageDay]time.Time)
	}
	items := u.days[day]
	if items == nil {
		items = make(map[string]api.UsageItem)
		u.days[day], u.since[day] = items, at
	}
	key := usageKey(&item)
	known, ok := items[key]
	switch {
	case !ok && (len(items) >= maxUsageItems || u.size >= maxUsage && !u.dropOldest(day.Day)):
		return
	case !ok:
		u.size++
	case !isState(item.Name):
		item.Value += known.Value
	}
	items[key] = item
	u.dirty = true
}

// isState tells whether a number says how things are, and not what has
// happened since the last report (upstream's rule).
func isState(name string) bool {
	return name == "active_decisions" || strings.HasSuffix(name, "_gauge")
}

func dayOf(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// limitItem bounds the texts of an item.
func limitItem(item *api.UsageItem) {
	item.Name, item.Unit = clip(item.Name), clip(item.Unit)
	labels := make(map[string]string)
	for _, k := range slices.Sorted(maps.Keys(item.Labels))[:min(len(item.Labels), 16)] {
		labels[clip(k)] = clip(item.Labels[k])
	}
	item.Labels = labels
}

// usageKey names a number: its name, unit and labels.
func usageKey(item *api.UsageItem) string {
	b := fmt.Appendf(nil, "%q %q", item.Name, item.Unit)
	for _, k := range slices.Sorted(maps.Keys(item.Labels)) {
		b = fmt.Appendf(b, " %q=%q", k, item.Labels[k])
	}
	return string(b)
}

// list returns what the reports of the last days come to.
func (u *usage) list(now time.Time) []api.Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(now)
	all := make(map[reporter]*usage)
	since := make(map[reporter]time.Time)
	// In the order of the days, so that the last state counts.
	for n := dayOf(now.Add(-u.age)); n <= dayOf(now); n++ {
		for day, items := range u.days {
			if day.Day != n {
				continue
			}
			sum := all[day.reporter]
			if sum == nil {
				sum = new(usage)
				all[day.reporter], since[day.reporter] = sum, u.since[day]
			}
			for _, item := range items {
				sum.put(usageDay{}, item, now)
			}
		}
	}
	byName := make(map[string]reporter) // machines first
	for who := range all {
		byName[fmt.Sprint(who.Bouncer, " ", who.Name)] = who
	}
	out := []api.Usage{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		who := byName[name]
		sum := all[who]
		one := api.Usage{Machine: who.Name, Since: since[who]}
		if who.Bouncer {
			one.Machine, one.Bouncer = "", who.Name
		}
		items := sum.days[usageDay{}]
		for _, key := range slices.Sorted(maps.Keys(items)) {
			one.Items = append(one.Items, items[key])
		}
		out = append(out, one)
	}
	return out
}

// forget drops the days that are too old.
func (u *usage) forget(now time.Time) {
	oldest := dayOf(now.Add(-u.age))
	u.drop(func(day usageDay) bool { return day.Day < oldest })
}

// dropOldest drops the oldest of the days before one, of all senders, and tells
// whether there was any.
func (u *usage) dropOldest(before int64) bool {
	oldest := before
	for day := range u.days {
		oldest = min(oldest, day.Day)
	}
	u.drop(func(day usageDay) bool { return day.Day == oldest && oldest < before })
	return oldest < before
}

// keep drops the reports of those who are no more.
func (u *usage) keep(known func(reporter) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop(func(day usageDay) bool { return !known(day.reporter) })
}

func (u *usage) drop(which func(usageDay) bool) {
	for day, items := range u.days {
		if which(day) {
			u.size -= len(items)
			delete(u.days, day)
			delete(u.since, day)
			u.dirty = true
		}
	}
}

// savedDay is a day as it is stored.
type savedDay struct {
	usageDay
	Since time.Time
	Items []api.UsageItem
}

// valueUsage is the name of the value kept in the store.
const valueUsage = "usage-metrics"

// flush writes the reports if there were any since the last time.
func (u *usage) flush(ctx context.Context, store storage.Store, now time.Time) error {
	u.mu.Lock()
	u.forget(now)
	if !u.dirty {
		u.mu.Unlock()
		return nil
	}
	u.dirty = false
	var days []savedDay
	for day, items := range u.days {
		days = append(days, savedDay{day, u.since[day], slices.Collect(maps.Values(items))})
	}
	u.mu.Unlock()
	err := store.SetValue(ctx, valueUsage, marshal(days))
	if err != nil {
		u.mu.Lock()
		u.dirty = true
		u.mu.Unlock()
		return fmt.Errorf("cannot write the reports of usage: %w", err)
	}
	return nil
}

// load reads what flush wrote.
func (u *usage) load(ctx context.Context, store storage.Store) error {
	text, err := store.Value(ctx, valueUsage)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	var days []savedDay
	if err == nil {
		err = json.Unmarshal(text, &days)
	}
	if err != nil {
		return fmt.Errorf("cannot load the reports of usage: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range days {
		for _, item := range d.Items {
			u.put(d.usageDay, item, d.Since)
		}
	}
	u.dirty = false
	return nil
}

// adminUsage answers with the sums of the reports.
func (s *Server) adminUsage(w http.ResponseWriter, _ *http.Request) {
	s.usage.keep(s.knows)
	answer(w, http.StatusOK, s.usage.list(s.now()))
}

// knows tells whether a sender of reports still has an account.
func (s *Server) knows(who reporter) bool {
	if who.Bouncer {
		return s.bouncers.has(who.Name)
	}
	return s.machines.allowed(who.Name)
}
