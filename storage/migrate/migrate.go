// Package migrate brings what CrowdSec's LAPI (upstream's) has kept in its
// SQLite file into a Store: machines with their passwords, bouncers with their
// keys, allowlists, alerts with events and decisions. It reads the databases
// of all versions since 1.0, whose tables lack some columns; the file is only
// read. roles/takeover calls it.
package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cs/decisions"
	"cs/storage"
	"cs/storage/migrate/sqlitefile"
)

// ErrChanged means that somebody wrote to the database while it was read.
var ErrChanged = errors.New("it is being written to: stop CrowdSec first")

// batch is how many alerts are stored at a time, unless they have many decisions.
const (
	batch          = 256
	batchDecisions = 20_000
)

// Summary counts what was found, or brought over.
type Summary struct {
	Machines   int
	Bouncers   int
	Allowlists int
	AllowItems int
	Alerts     int
	Decisions  int      // of all alerts
	Live       int      // of those, in force
	Left       []string // what is not brought over, and why
}

// left notes something that can't be brought over. The list is bounded.
func (s *Summary) left(format string, args ...any) {
	if len(s.Left) < 100 {
		s.Left = append(s.Left, fmt.Sprintf(format, args...))
	}
}

// Source is upstream's database.
type Source struct {
	file     *sqlitefile.File
	machines map[int64]string // IDs by the numbers of their rows
}

// Open opens the file.
func Open(path string) (*Source, error) {
	f, err := sqlitefile.Open(path)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"machines", "bouncers", "alerts", "decisions"} {
		if !f.Has(name) {
			f.Close()
			return nil, fmt.Errorf("cannot use %s: it is no database of a LAPI: it has no table %q", path, name)
		}
	}
	return &Source{file: f}, nil
}

// Close closes the file.
func (s *Source) Close() error { return s.file.Close() }

// Into brings all into a store that is empty. With a nil store it only counts.
// The error is ErrChanged if what was read may not fit together.
func (s *Source) Into(ctx context.Context, store storage.Store, now time.Time) (out Summary, err error) {
	for _, step := range []func(context.Context, storage.Store, *Summary) error{s.addMachines, s.addBouncers, s.addAllowlists} {
		if err := step(ctx, store, &out); err != nil {
			return out, err
		}
	}
	if err := s.addAlerts(ctx, store, &out, now); err != nil {
		return out, err
	}
	changed, err := s.file.Changed()
	if err == nil && changed {
		err = ErrChanged
	}
	return out, err
}

func (s *Source) addMachines(ctx context.Context, store storage.Store, out *Summary) error {
	s.machines = make(map[int64]string)
	return s.file.Each("machines", func(r *sqlitefile.Row) error {
		m := storage.Machine{
			ID: r.Text("machine_id"), PasswordHash: r.Text("password"), AuthType: authType(r, storage.AuthPassword),
			IP: r.Text("ip_address"), Validated: r.Bool("is_validated"), Version: r.Text("version"), Scenarios: list(r.Text("scenarios")),
			OSName: r.Text("osname"), OSVersion: r.Text("osversion"), OSFamily: r.Text("osfamily"), FeatureFlags: list(r.Text("featureflags")),
			Created: timeOf(r, "created_at"), Updated: timeOf(r, "updated_at"), LastPush: timeOf(r, "last_push"), LastHeartbeat: timeOf(r, "last_heartbeat"),
		}
		if m.ID == "" || len(m.ID) > 255 {
			out.left("machine %q: its name has no or more than 255 characters", m.ID)
			return nil
		}
		// What it has reported comes again with its next report.
		_ = json.Unmarshal([]byte(r.Text("datasources")), &m.Datasources)
		var items map[string][]struct{ Name, Status, Version string }
		if json.Unmarshal([]byte(r.Text("hubstate")), &items) == nil && len(items) > 0 {
			m.HubItems = make(map[string][]storage.HubItem)
			for kind := range items {
				for _, item := range items[kind] {
					m.HubItems[kind] = append(m.HubItems[kind], storage.HubItem(item))
				}
			}
		}
		s.machines[r.ID] = m.ID
		out.Machines++
		if store == nil {
			return nil
		}
		return store.AddMachine(ctx, m)
	})
}

// addBouncers leaves their places in the stream out: each is sent everything
// once, which does no harm.
func (s *Source) addBouncers(ctx context.Context, store storage.Store, out *Summary) error {
	return s.file.Each("bouncers", func(r *sqlitefile.Row) error {
		b := storage.Bouncer{
			Name: r.Text("name"), KeyHash: r.Text("api_key"), AuthType: authType(r, storage.AuthKey), IP: r.Text("ip_address"),
			Type: r.Text("type"), Version: r.Text("version"), AutoCreated: r.Bool("auto_created"),
			OSName: r.Text("osname"), OSVersion: r.Text("osversion"), OSFamily: r.Text("osfamily"), FeatureFlags: list(r.Text("featureflags")),
			Created: timeOf(r, "created_at"), Updated: timeOf(r, "updated_at"), LastPull: timeOf(r, "last_pull"),
		}
		if b.Name == "" || len(b.Name) > 255 {
			out.left("bouncer %q: its name has no or more than 255 characters", b.Name)
			return nil
		}
		if len(b.KeyHash) != len(storage.HashKey("")) && b.AuthType == storage.AuthKey {
			out.left("bouncer %q: its key is not kept as SHA-512", b.Name)
			return nil
		}
		out.Bouncers++
		if store == nil {
			return nil
		}
		return store.AddBouncer(ctx, b)
	})
}

func (s *Source) addAllowlists(ctx context.Context, store storage.Store, out *Summary) error {
	const lists, items, links = "allow_lists", "allow_list_items", "allow_list_allowlist_items"
	if !s.file.Has(lists) || !s.file.Has(items) || !s.file.Has(links) {
		return nil // before 1.6.5
	}
	all := make(map[int64]storage.AllowItem)
	err := s.file.Each(items, func(r *sqlitefile.Row) error {
		item := storage.AllowItem{Value: r.Text("value"), Comment: r.Text("comment"), Created: timeOf(r, "created_at"), Expires: timeOf(r, "expires_at")}
		if _, err := decisions.ParsePrefix(item.Value); err != nil {
			out.left("allowlist item %q: it is no address", item.Value)
			return nil
		}
		all[r.ID] = item
		return nil
	})
	if err != nil {
		return err
	}
	of := make(map[int64][]int64)
	err = s.file.Each(links, func(r *sqlitefile.Row) error {
		if item := r.Int("allow_list_item_id"); all[item].Value != "" {
			of[r.Int("allow_list_id")] = append(of[r.Int("allow_list_id")], item)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.file.Each(lists, func(r *sqlitefile.Row) error {
		l := storage.Allowlist{Name: r.Text("name"), Description: r.Text("description"), Created: timeOf(r, "created_at"), Updated: timeOf(r, "updated_at")}
		if r.Bool("from_console") {
			l.ConsoleID = r.Text("allowlist_id")
			if l.ConsoleID == "" {
				l.ConsoleID = l.Name
			}
		}
		if l.Name == "" || len(l.Name) > 255 {
			out.left("allowlist %q: its name has no or more than 255 characters", l.Name)
			return nil
		}
		ids := of[r.ID]
		slices.Sort(ids)
		known := make(map[string]bool)
		for _, id := range ids {
			if item := all[id]; !known[item.Value] {
				known[item.Value] = true
				l.Items = append(l.Items, item)
			}
		}
		out.Allowlists++
		out.AllowItems += len(l.Items)
		if store == nil {
			return nil
		}
		return store.AddAllowlist(ctx, l)
	})
}

// addAlerts keeps the IDs of alerts, and those of decisions as far as an
// alert's have no gaps: the ones after a gap move up to close it.
func (s *Source) addAlerts(ctx context.Context, store storage.Store, out *Summary, now time.Time) error {
	of, err := s.decisions(out, now)
	if err != nil || store == nil {
		if err == nil {
			err = s.file.Each("alerts", func(*sqlitefile.Row) error { out.Alerts++; return nil })
		}
		return err
	}
	events, err := s.events()
	if err != nil {
		return err
	}
	metas, err := s.metas()
	if err != nil {
		return err
	}
	var waiting []decisions.Alert
	var next, lastAlert int64 = 1, 0
	held := 0
	flush := func() error {
		err := store.Restore(ctx, waiting)
		waiting, held = waiting[:0], 0
		return err
	}
	add := func(a decisions.Alert) error {
		for i := range a.Decisions {
			d := &a.Decisions[i]
			if i == 0 {
				next = max(next, d.ID)
			}
			d.ID, d.AlertID = next, a.ID
			next++
		}
		out.Alerts++
		lastAlert = a.ID
		held += len(a.Decisions)
		if waiting = append(waiting, a); len(waiting) < batch && held < batchDecisions {
			return nil
		}
		return flush()
	}
	err = s.file.Each("alerts", func(r *sqlitefile.Row) error {
		a := s.alert(r)
		a.Decisions, a.Events, a.Meta = of[r.ID], events[r.ID], metas[r.ID]
		for i := range a.Decisions {
			a.Decisions[i].Simulated = a.Decisions[i].Simulated || a.Simulated
		}
		delete(of, r.ID)
		delete(events, r.ID)
		return add(a)
	})
	if err != nil {
		return err
	}
	for _, orphans := range of { // their alerts were deleted: what is banned stays banned
		orphans = slices.DeleteFunc(orphans, func(d decisions.Decision) bool { return !d.Active(now) })
		if len(orphans) == 0 {
			continue
		}
		d := &orphans[0]
		err := add(decisions.Alert{
			ID: lastAlert + 1, UUID: decisions.NewUUID(), Scenario: d.Scenario, Message: "the alert of these decisions was deleted", Simulated: d.Simulated,
			Source: decisions.Source{Scope: d.Scope, Value: d.Value}, StartAt: d.Created, StopAt: d.Created, Created: d.Created, Decisions: orphans,
		})
		if err != nil {
			return err
		}
	}
	return flush()
}

func (s *Source) alert(r *sqlitefile.Row) decisions.Alert {
	a := decisions.Alert{
		ID: r.ID, UUID: r.Text("uuid"), MachineID: s.machines[r.Int("machine_alerts")], Scenario: r.Text("scenario"),
		ScenarioHash: r.Text("scenario_hash"), ScenarioVersion: r.Text("scenario_version"), Message: r.Text("message"), Kind: r.Text("kind"),
		Capacity: int32(r.Int("capacity")), Leakspeed: r.Text("leak_speed"), EventsCount: int32(r.Int("events_count")),
		Simulated: r.Bool("simulated"), Remediation: r.Bool("remediation"),
		Source: decisions.Source{
			Scope: r.Text("source_scope"), Value: r.Text("source_value"), IP: r.Text("source_ip"), Range: r.Text("source_range"),
			ASNumber: r.Text("source_as_number"), ASName: r.Text("source_as_name"), Country: r.Text("source_country"),
			Latitude: float32(r.Float("source_latitude")), Longitude: float32(r.Float("source_longitude")),
		},
		StartAt: localTime(r, "started_at"), StopAt: localTime(r, "stopped_at"), Created: timeOf(r, "created_at"),
	}
	if a.UUID == "" {
		a.UUID = decisions.NewUUID() // before 1.4
	}
	return a
}

// decisions reads all decisions, by the number of their alert (0: none), in
// the order of their IDs.
func (s *Source) decisions(out *Summary, now time.Time) (map[int64][]decisions.Decision, error) {
	of := make(map[int64][]decisions.Decision)
	texts := make(map[string]string) // many have the same
	same := func(t string) string {
		if known, ok := texts[t]; ok || len(texts) > 10_000 {
			if ok {
				return known
			}
			return t
		}
		texts[t] = t
		return t
	}
	err := s.file.Each("decisions", func(r *sqlitefile.Row) error {
		d := decisions.Decision{
			ID: r.ID, UUID: r.Text("uuid"), Origin: same(r.Text("origin")), Scenario: same(r.Text("scenario")),
			Scope: same(decisions.NormalScope(r.Text("scope"))), Type: same(r.Text("type")), Value: r.Text("value"),
			Simulated: r.Bool("simulated"), Created: timeOf(r, "created_at"), Until: timeOf(r, "until"),
		}
		if d.Scope == decisions.ScopeIP || d.Scope == decisions.ScopeRange {
			if _, ok := d.Prefix(); !ok {
				out.left("decision %d: %q is no address", d.ID, d.Value)
				return nil
			}
		}
		out.Decisions++
		if d.Active(now) {
			out.Live++
		}
		alert := r.Int("alert_decisions")
		of[alert] = append(of[alert], d)
		return nil
	})
	return of, err
}

func (s *Source) events() (map[int64][]decisions.Event, error) {
	of := make(map[int64][]decisions.Event)
	if !s.file.Has("events") {
		return of, nil
	}
	return of, s.file.Each("events", func(r *sqlitefile.Row) error {
		e := decisions.Event{Timestamp: localTime(r, "time").Format(time.RFC3339Nano)}
		_ = json.Unmarshal([]byte(r.Text("serialized")), &e.Meta) // upstream shows none of what it can't read either
		alert := r.Int("alert_events")
		of[alert] = append(of[alert], e)
		return nil
	})
}

func (s *Source) metas() (map[int64][]decisions.KeyValue, error) {
	of := make(map[int64][]decisions.KeyValue)
	if !s.file.Has("meta") {
		return of, nil
	}
	return of, s.file.Each("meta", func(r *sqlitefile.Row) error {
		alert := r.Int("alert_metas")
		of[alert] = append(of[alert], decisions.KeyValue{Key: r.Text("key"), Value: r.Text("value")})
		return nil
	})
}

// authType is how somebody proves who they are; before 1.4 there was one way.
func authType(r *sqlitefile.Row, usual string) string {
	if t := r.Text("auth_type"); t != "" {
		return t
	}
	return usual
}

// list cuts a text at its commas.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// layouts are the ways in which drivers have written times.
var layouts = []string{
	"2006-01-02 15:04:05.999999999Z07:00",
	time.RFC3339Nano,
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999 -0700 MST",
	"2006-01-02",
}

// timeOf reads a time, zero if there is none or it can't be read.
func timeOf(r *sqlitefile.Row, column string) time.Time {
	t := localTime(r, column)
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// localTime is timeOf with the offset that is written there.
func localTime(r *sqlitefile.Row, column string) time.Time {
	text, _, _ := strings.Cut(r.Text(column), " m=") // the monotonic clock
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	switch n := r.Int(column); {
	case n > 1e12:
		return time.UnixMilli(n)
	case n > 0:
		return time.Unix(n, 0)
	}
	return time.Time{}
}
