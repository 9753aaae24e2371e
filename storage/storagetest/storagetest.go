// Package storagetest proves a storage.Store: every backend's tests call Run.
// The suite covers each method and its conditions, the order of IDs and walks,
// concurrent use, reopening, and a long random walk compared with storage/mem.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cs/decisions"
	"cs/storage"
)

// Opener opens an empty store and returns with it a function that closes it
// and opens it again with what it held. The backend's test sees to the
// closing at the end, of whichever was opened last.
type Opener func(t *testing.T) (s storage.Store, reopen func() storage.Store)

// Run runs the whole suite.
func Run(t *testing.T, open Opener) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"Machines", testMachines},
		{"Bouncers", testBouncers},
		{"Stamps", testStamps},
		{"Alerts", testAlerts},
		{"KnownAlerts", testKnownAlerts},
		{"Restore", testRestore},
		{"EachAlert", testEachAlert},
		{"AlertHeads", testAlertHeads},
		{"EachDecision", testEachDecision},
		{"Allowlists", testAllowlists},
		{"IDsAreNotReused", testIDsAreNotReused},
		{"Values", testValues},
		{"EndedContext", testEndedContext},
		{"WriteWhileWalking", testWriteWhileWalking},
		{"Closed", testClosed},
		{"Concurrency", testConcurrency},
		{"RandomWalk", testRandomWalk},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// epoch is the time at which all tests begin; its fraction and its zone are
// there to be lost by a careless backend.
var epoch = time.Date(2026, 3, 1, 12, 30, 15, 123456789, time.FixedZone("", 2*3600))

func testMachines(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	second := storage.Machine{ID: "web-2", PasswordHash: "$2a$10$abc", AuthType: "password", Created: epoch.Add(time.Second)}
	first := storage.Machine{
		ID: "zz-first", PasswordHash: "$2a$10$def", AuthType: "password", IP: "192.0.2.7", Validated: true,
		Version: "v1.2.3", Scenarios: []string{"a/ssh", "b/web"}, OSName: "debian", OSVersion: "12", OSFamily: "linux",
		FeatureFlags: []string{"x"}, Datasources: map[string]int64{"file": 3, "journalctl": 1},
		HubItems: map[string][]storage.HubItem{"parsers": {{Name: "a/b", Version: "0.1", Status: "custom"}}},
		Created:  epoch, Updated: epoch.Add(time.Minute), LastPush: epoch.Add(time.Hour), LastHeartbeat: epoch.Add(2 * time.Hour),
	}
	must(t, s.AddMachine(ctx, second))
	must(t, s.AddMachine(ctx, first))
	is(t, s.AddMachine(ctx, storage.Machine{ID: "web-2"}), storage.ErrExists)
	if s.AddMachine(ctx, storage.Machine{}) == nil {
		t.Error("a machine without an ID was added")
	}

	for range 2 { // before and after reopening
		list, err := s.Machines(ctx)
		must(t, err)
		equal(t, list, []storage.Machine{first, second})
		got, err := s.Machine(ctx, "zz-first")
		must(t, err)
		equal(t, got, first)
		if got.Created.Location() != time.UTC {
			t.Errorf("Created is in %v, not UTC", got.Created.Location())
		}
		// What is returned is a copy.
		got.Scenarios[0] = "changed"
		got.Datasources["file"] = 99
		got.HubItems["parsers"][0].Name = "changed"
		again, err := s.Machine(ctx, "zz-first")
		must(t, err)
		equal(t, again, first)
		s = reopen()
	}

	_, err := s.Machine(ctx, "nobody")
	is(t, err, storage.ErrNotFound)
	is(t, s.UpdateMachine(ctx, "nobody", func(*storage.Machine) error { return nil }), storage.ErrNotFound)
	is(t, s.DeleteMachine(ctx, "nobody"), storage.ErrNotFound)

	must(t, s.UpdateMachine(ctx, "web-2", func(m *storage.Machine) error {
		equal(t, *m, second)
		m.Validated = true
		m.ID = "renamed"
		m.Scenarios = []string{"c/x"}
		return nil
	}))
	second.Validated, second.Scenarios = true, []string{"c/x"}
	refused := errors.New("refused")
	is(t, s.UpdateMachine(ctx, "web-2", func(m *storage.Machine) error {
		m.Validated = false
		return refused
	}), refused)
	got, err := s.Machine(ctx, "web-2")
	must(t, err)
	equal(t, got, second)

	must(t, s.DeleteMachine(ctx, "zz-first"))
	is(t, s.DeleteMachine(ctx, "zz-first"), storage.ErrNotFound)
	s = reopen()
	list, err := s.Machines(ctx)
	must(t, err)
	equal(t, list, []storage.Machine{second})
}

func testBouncers(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	second := storage.Bouncer{Name: "a@192.0.2.1", KeyHash: "ff00", AuthType: "api-key", AutoCreated: true, Created: epoch.Add(time.Second)}
	first := storage.Bouncer{
		Name: "fw", KeyHash: "ff00", AuthType: "api-key", IP: "192.0.2.1", Type: "cs-firewall", Version: "1",
		OSName: "debian", OSVersion: "12", OSFamily: "linux", FeatureFlags: []string{"f"},
		Created: epoch, Updated: epoch, LastPull: epoch.Add(time.Hour), Cursor: 1 << 40,
	}
	must(t, s.AddBouncer(ctx, second))
	must(t, s.AddBouncer(ctx, first))
	is(t, s.AddBouncer(ctx, first), storage.ErrExists)
	if s.AddBouncer(ctx, storage.Bouncer{}) == nil {
		t.Error("a bouncer without a name was added")
	}
	for range 2 {
		list, err := s.Bouncers(ctx)
		must(t, err)
		equal(t, list, []storage.Bouncer{first, second})
		got, err := s.Bouncer(ctx, "fw")
		must(t, err)
		equal(t, got, first)
		s = reopen()
	}
	_, err := s.Bouncer(ctx, "nobody")
	is(t, err, storage.ErrNotFound)
	is(t, s.UpdateBouncer(ctx, "nobody", func(*storage.Bouncer) error { return nil }), storage.ErrNotFound)
	is(t, s.DeleteBouncer(ctx, "nobody"), storage.ErrNotFound)
	must(t, s.UpdateBouncer(ctx, "fw", func(b *storage.Bouncer) error {
		b.IP, b.Name = "198.51.100.9", "renamed"
		return nil
	}))
	first.IP = "198.51.100.9"
	got, err := s.Bouncer(ctx, "fw")
	must(t, err)
	equal(t, got, first)
	must(t, s.DeleteBouncer(ctx, "fw"))
	s = reopen()
	list, err := s.Bouncers(ctx)
	must(t, err)
	equal(t, list, []storage.Bouncer{second})
}

func testStamps(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	must(t, s.AddMachine(ctx, storage.Machine{ID: "m", LastPush: epoch}))
	must(t, s.AddBouncer(ctx, storage.Bouncer{Name: "b"}))
	later := epoch.Add(time.Hour)
	must(t, s.StampMachines(ctx, []storage.MachineStamp{{ID: "gone", LastPush: later}, {ID: "m", LastHeartbeat: later}}))
	must(t, s.StampBouncers(ctx, []storage.BouncerStamp{{Name: "gone"}, {Name: "b", LastPull: later, Cursor: 42}}))
	s = reopen()
	m, err := s.Machine(ctx, "m")
	must(t, err)
	equal(t, m, storage.Machine{ID: "m", LastPush: epoch, LastHeartbeat: later})
	b, err := s.Bouncer(ctx, "b")
	must(t, err)
	equal(t, b, storage.Bouncer{Name: "b", LastPull: later, Cursor: 42})
}

// fullAlert has a value in every field that a store keeps.
func fullAlert(uuid string) decisions.Alert {
	return decisions.Alert{
		UUID: uuid, MachineID: "web-1", Scenario: "a/ssh-bf", ScenarioHash: "0123", ScenarioVersion: "0.3",
		Message: "ip 192.0.2.7 did it", Kind: "crowdsec", Capacity: -1, Leakspeed: "10s", EventsCount: 6,
		Simulated: true, Remediation: true,
		Source: decisions.Source{
			Scope: decisions.ScopeIP, Value: "192.0.2.7", IP: "192.0.2.7", Range: "192.0.2.0/24",
			ASNumber: "64496", ASName: "EXAMPLE", Country: "DE", Latitude: -51.25, Longitude: 9.75,
		},
		Events: []decisions.Event{
			{Timestamp: "2026-03-01T12:30:15Z", Meta: []decisions.KeyValue{{Key: "user", Value: "root"}, {Key: "user", Value: "adm"}}},
			{Timestamp: "2026-03-01T12:30:16Z"},
		},
		Meta: []decisions.KeyValue{{Key: "target_user", Value: `["root"]`}, {Key: "a", Value: ""}},
		Decisions: []decisions.Decision{
			{
				UUID: uuid + "-d", Origin: decisions.OriginCrowdsec, Scenario: "a/ssh-bf", Scope: decisions.ScopeIP, Type: "ban",
				Value: "192.0.2.7", Simulated: true, Created: epoch, Until: epoch.Add(4 * time.Hour),
			},
			{Scope: "username", Type: "captcha", Value: "bob", Until: epoch.Add(time.Hour)},
		},
		StartAt: epoch, StopAt: epoch.Add(time.Second), Created: epoch.Add(2 * time.Second),
	}
}

func testAlerts(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	_, err := s.Alert(ctx, 1)
	is(t, err, storage.ErrNotFound)

	batch := []decisions.Alert{fullAlert("u1"), {Message: "bare"}, fullAlert("u2")}
	known, err := s.AddAlerts(ctx, batch)
	must(t, err)
	equal(t, known, []bool{false, false, false})
	if ids := []int64{batch[0].ID, batch[1].ID, batch[2].ID}; !slices.IsSorted(ids) || ids[0] <= 0 || ids[0] == ids[1] || ids[1] == ids[2] {
		t.Fatalf("IDs of one batch: %v", ids)
	}
	last := int64(0)
	for _, a := range batch {
		for _, d := range a.Decisions {
			if d.ID <= last || d.AlertID != a.ID {
				t.Fatalf("decision %d of alert %d says alert %d, after decision %d", d.ID, a.ID, d.AlertID, last)
			}
			last = d.ID
		}
	}
	zoned := decisions.Alert{StartAt: epoch.In(time.FixedZone("there", 2*60*60)), StopAt: epoch.In(time.FixedZone("", -3*60*60-30*60))}
	added := []decisions.Alert{zoned}
	_, err = s.AddAlerts(ctx, added)
	must(t, err)
	got, err := s.Alert(ctx, added[0].ID)
	must(t, err)
	equal(t, []string{got.StartAt.Format(time.RFC3339), got.StopAt.Format(time.RFC3339)},
		[]string{zoned.StartAt.Format(time.RFC3339), zoned.StopAt.Format(time.RFC3339)})
	for range 2 {
		for _, want := range batch {
			got, err := s.Alert(ctx, want.ID)
			must(t, err)
			equal(t, got, want)
		}
		s = reopen()
	}
	if got, err := s.AddAlerts(ctx, nil); err != nil || len(got) != 0 {
		t.Errorf("AddAlerts of nothing: %v, %v", got, err)
	}

	next := []decisions.Alert{fullAlert("u3")}
	_, err = s.AddAlerts(ctx, next)
	must(t, err)
	if next[0].ID <= batch[2].ID || next[0].Decisions[0].ID <= last {
		t.Errorf("after reopening, alert %d follows %d and decision %d follows %d", next[0].ID, batch[2].ID, next[0].Decisions[0].ID, last)
	}

	n, err := s.DeleteAlerts(ctx, []int64{batch[0].ID, 999, batch[0].ID, batch[1].ID})
	must(t, err)
	equal(t, n, 2)
	_, err = s.Alert(ctx, batch[0].ID)
	is(t, err, storage.ErrNotFound)
	s = reopen()
	var left []decisions.Decision
	must(t, s.EachDecision(ctx, time.Time{}, func(d *decisions.Decision) bool {
		left = append(left, *d)
		return true
	}))
	equal(t, left, slices.Concat(batch[2].Decisions, next[0].Decisions))
}

func testRestore(t *testing.T, open Opener) {
	s, _ := open(t)
	d := func(id int64) decisions.Decision {
		return decisions.Decision{ID: id, Scope: "Ip", Value: "192.0.2.1", Type: "ban", Until: time.Unix(2e9, 0)}
	}
	old := []decisions.Alert{
		{ID: 17, UUID: "a", MachineID: "m", Scenario: "x", Decisions: []decisions.Decision{d(40), d(41)}},
		{ID: 19, UUID: "b"},
		{ID: 20, UUID: "c", Decisions: []decisions.Decision{d(50)}},
	}
	must(t, s.Restore(t.Context(), old))
	for _, bad := range [][]decisions.Alert{
		{{ID: 20}},
		{{ID: 21}, {ID: 21}},
		{{ID: 21, Decisions: []decisions.Decision{d(50)}}},
		{{ID: 21, Decisions: []decisions.Decision{d(51), d(53)}}},
		{{ID: 21, Decisions: []decisions.Decision{d(52), d(51)}}},
	} {
		if err := s.Restore(t.Context(), bad); !errors.Is(err, storage.ErrExists) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	fresh := []decisions.Alert{{UUID: "d", MachineID: "m", Decisions: []decisions.Decision{d(0)}}, {UUID: "a", MachineID: "m", Decisions: []decisions.Decision{d(0)}}}
	known, err := s.AddAlerts(t.Context(), fresh)
	must(t, err)
	equal(t, []bool{false, true}, known)
	equal(t, []int64{21, 17}, []int64{fresh[0].ID, fresh[1].ID})
	equal(t, int64(51), fresh[0].Decisions[0].ID)
	a, err := s.Alert(t.Context(), 17)
	must(t, err)
	var ids []int64
	for _, d := range a.Decisions {
		equal(t, int64(17), d.AlertID)
		ids = append(ids, d.ID)
	}
	equal(t, []int64{40, 41}, ids)
}

func testKnownAlerts(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	first := []decisions.Alert{fullAlert("u1")}
	_, err := s.AddAlerts(ctx, first)
	must(t, err)
	s = reopen()

	other := fullAlert("u1")
	other.MachineID = "web-11" // with "u1" not to be taken for web-1 and "1u1"
	twin := fullAlert("1u1")
	anonymous := fullAlert("")
	again := []decisions.Alert{fullAlert("u1"), other, twin, fullAlert("u9"), fullAlert("u9"), anonymous, anonymous}
	// Each needs its own decisions, because they get their IDs in place.
	again[6].Decisions = slices.Clone(again[6].Decisions)
	known, err := s.AddAlerts(ctx, again)
	must(t, err)
	equal(t, known, []bool{true, false, false, false, true, false, false})
	if again[0].ID != first[0].ID || again[0].Decisions != nil {
		t.Errorf("a known alert has ID %d and decisions %v, want %d and none", again[0].ID, again[0].Decisions, first[0].ID)
	}
	if again[4].ID != again[3].ID || again[4].Decisions != nil {
		t.Errorf("a repeated alert of the batch has ID %d, want %d", again[4].ID, again[3].ID)
	}
	if again[5].ID == again[6].ID {
		t.Error("two alerts without a UUID are one")
	}

	// Only one of an alert's twins is gone once it is deleted.
	_, err = s.DeleteAlerts(ctx, []int64{first[0].ID})
	must(t, err)
	back := []decisions.Alert{fullAlert("u1"), other}
	known, err = s.AddAlerts(ctx, back)
	must(t, err)
	equal(t, known, []bool{false, true})
}

func testEachAlert(t *testing.T, open Opener) {
	ctx := t.Context()
	s, _ := open(t)
	const n = 300 // several pages of any backend
	var want []decisions.Alert
	for i := range n {
		a := decisions.Alert{Message: fmt.Sprint(i), StartAt: epoch.Add(time.Duration(i%7) * time.Minute)}
		if i%50 == 0 {
			a = fullAlert(fmt.Sprint("u", i))
			a.StartAt = epoch
		}
		want = append(want, a)
	}
	_, err := s.AddAlerts(ctx, want)
	must(t, err)

	f := func(filter storage.AlertFilter, keep func(i int, a *decisions.Alert) bool) {
		t.Helper()
		var expect, got []decisions.Alert
		for i := range want {
			if keep(i, &want[i]) {
				expect = append(expect, want[i])
			}
		}
		if !filter.Oldest {
			slices.Reverse(expect)
		}
		if filter.Limit > 0 && len(expect) > filter.Limit {
			expect = expect[:filter.Limit]
		}
		must(t, s.EachAlert(ctx, filter, func(a *decisions.Alert) bool {
			got = append(got, *a)
			return true
		}))
		equal(t, got, expect)
	}
	all := func(int, *decisions.Alert) bool { return true }
	f(storage.AlertFilter{}, all)
	f(storage.AlertFilter{Oldest: true}, all)
	f(storage.AlertFilter{Limit: 1}, all)
	f(storage.AlertFilter{Limit: 150, Oldest: true}, all)
	f(storage.AlertFilter{Limit: 1000}, all)
	// Both bounds belong to the range.
	f(storage.AlertFilter{Since: epoch.Add(2 * time.Minute), Until: epoch.Add(4 * time.Minute)}, func(_ int, a *decisions.Alert) bool {
		m := a.StartAt.Sub(epoch) / time.Minute
		return m >= 2 && m <= 4
	})
	f(storage.AlertFilter{Until: epoch}, func(_ int, a *decisions.Alert) bool { return a.StartAt.Equal(epoch) })
	// Match sees the decisions, and the limit counts what it has let through.
	f(storage.AlertFilter{Limit: 3, Match: func(a *decisions.Alert) bool { return len(a.Decisions) == 2 }},
		func(i int, _ *decisions.Alert) bool { return i%50 == 0 })

	calls := 0
	must(t, s.EachAlert(ctx, storage.AlertFilter{}, func(*decisions.Alert) bool {
		calls++
		return calls < 5
	}))
	equal(t, calls, 5)
}

func testAlertHeads(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	last, err := s.LastAlert(ctx)
	must(t, err)
	equal(t, last, int64(0))
	heads, err := s.AlertHeads(ctx, 0, 10)
	must(t, err)
	equal(t, len(heads), 0)

	batch := make([]decisions.Alert, 20)
	var want []storage.AlertHead
	for i := range batch {
		batch[i] = decisions.Alert{Message: "bare"}
		if i%3 == 0 {
			batch[i] = fullAlert(fmt.Sprint("u", i))
		}
		batch[i].Created = epoch.Add(time.Duration(-i) * time.Hour) // the clock may have been set
	}
	_, err = s.AddAlerts(ctx, batch)
	must(t, err)
	for i := range batch {
		want = append(want, storage.AlertHead{ID: batch[i].ID, Created: batch[i].Created.UTC(), Decisions: len(batch[i].Decisions)})
	}
	n, err := s.DeleteAlerts(ctx, []int64{batch[4].ID, batch[19].ID})
	must(t, err)
	equal(t, n, 2)
	want = slices.Delete(want[:19], 4, 5)
	for range 2 {
		heads, err = s.AlertHeads(ctx, 0, 100)
		must(t, err)
		equal(t, heads, want)
		heads, err = s.AlertHeads(ctx, batch[4].ID, 3)
		must(t, err)
		equal(t, heads, want[4:7])
		last, err = s.LastAlert(ctx)
		must(t, err)
		equal(t, last, batch[18].ID)
		s = reopen()
	}

	has := func(machine string, want bool) {
		t.Helper()
		got, err := s.HasAlerts(ctx, machine)
		must(t, err)
		equal(t, got, want)
	}
	has("web-1", true)
	has("web-", false)
	has("web-11", false)
	for _, h := range want {
		_, err := s.DeleteAlerts(ctx, []int64{h.ID})
		must(t, err)
	}
	has("web-1", false)
}

func testAllowlists(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	second := storage.Allowlist{Name: "a", Created: epoch.Add(time.Second)}
	first := storage.Allowlist{
		Name: "office", Description: "where we sit", ConsoleID: "c0ffee", Created: epoch, Updated: epoch.Add(time.Minute),
		Items: []storage.AllowItem{
			{Value: "192.0.2.0/24", Comment: "second floor", Created: epoch, Expires: epoch.Add(time.Hour)},
			{Value: "2001:db8::1", Created: epoch},
		},
	}
	must(t, s.AddAllowlist(ctx, second))
	must(t, s.AddAllowlist(ctx, first))
	is(t, s.AddAllowlist(ctx, storage.Allowlist{Name: "office"}), storage.ErrExists)
	if s.AddAllowlist(ctx, storage.Allowlist{}) == nil {
		t.Error("a list without a name was added")
	}
	for range 2 {
		list, err := s.Allowlists(ctx)
		must(t, err)
		equal(t, list, []storage.Allowlist{first, second})
		got, err := s.Allowlist(ctx, "office")
		must(t, err)
		equal(t, got, first)
		got.Items[0].Value = "changed"
		again, err := s.Allowlist(ctx, "office")
		must(t, err)
		equal(t, again, first)
		s = reopen()
	}
	_, err := s.Allowlist(ctx, "none")
	is(t, err, storage.ErrNotFound)
	is(t, s.UpdateAllowlist(ctx, "none", func(*storage.Allowlist) error { return nil }), storage.ErrNotFound)
	is(t, s.DeleteAllowlist(ctx, "none"), storage.ErrNotFound)
	must(t, s.UpdateAllowlist(ctx, "office", func(l *storage.Allowlist) error {
		equal(t, *l, first)
		l.Name = "renamed"
		l.Items = append(l.Items[1:], storage.AllowItem{Value: "198.51.100.1", Created: epoch})
		return nil
	}))
	first.Items = []storage.AllowItem{first.Items[1], {Value: "198.51.100.1", Created: epoch}}
	refused := errors.New("refused")
	is(t, s.UpdateAllowlist(ctx, "office", func(l *storage.Allowlist) error {
		l.Items = nil
		return refused
	}), refused)
	s = reopen()
	got, err := s.Allowlist(ctx, "office")
	must(t, err)
	equal(t, got, first)
	must(t, s.DeleteAllowlist(ctx, "office"))
	list, err := s.Allowlists(ctx)
	must(t, err)
	equal(t, list, []storage.Allowlist{second})
}

func testEachDecision(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	epoch := epoch.UTC() // comparing without zones is quicker
	a := decisions.Alert{Scenario: "import"}
	const n = 2500
	for i := range n {
		a.Decisions = append(a.Decisions, decisions.Decision{
			UUID: fmt.Sprint(i), Scope: decisions.ScopeIP, Type: "ban", Origin: decisions.OriginImport,
			Value: fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff), Created: epoch, Until: epoch.Add(time.Duration(i%10) * time.Hour),
		})
	}
	batch := []decisions.Alert{a}
	_, err := s.AddAlerts(ctx, batch)
	must(t, err)
	a = batch[0]

	f := func(endAfter time.Time) {
		t.Helper()
		var got, expect []decisions.Decision
		for _, d := range a.Decisions {
			if d.Until.After(endAfter) {
				expect = append(expect, d)
			}
		}
		must(t, s.EachDecision(ctx, endAfter, func(d *decisions.Decision) bool {
			got = append(got, *d)
			return true
		}))
		equal(t, got, expect)
	}
	f(time.Time{})
	f(epoch)
	f(epoch.Add(9 * time.Hour)) // none

	changed, err := s.ExpireDecisions(ctx, []int64{a.Decisions[9].ID, 1 << 40, a.Decisions[19].ID}, epoch.Add(-time.Hour))
	must(t, err)
	equal(t, changed, 2)
	a.Decisions[9].Until, a.Decisions[19].Until = epoch.Add(-time.Hour), epoch.Add(-time.Hour)
	s = reopen()
	f(epoch)
	got, err := s.Alert(ctx, a.ID)
	must(t, err)
	equal(t, got, a)

	calls := 0
	must(t, s.EachDecision(ctx, epoch, func(*decisions.Decision) bool {
		calls++
		return calls < 3
	}))
	equal(t, calls, 3)
}

func testIDsAreNotReused(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	batch := []decisions.Alert{fullAlert("u1"), fullAlert("u2")}
	_, err := s.AddAlerts(ctx, batch)
	must(t, err)
	n, err := s.DeleteAlerts(ctx, []int64{batch[0].ID, batch[1].ID})
	must(t, err)
	equal(t, n, 2)
	s = reopen()
	next := []decisions.Alert{fullAlert("u3")}
	_, err = s.AddAlerts(ctx, next)
	must(t, err)
	if next[0].ID <= batch[1].ID || next[0].Decisions[0].ID <= batch[1].Decisions[1].ID {
		t.Fatalf("alert %d and decision %d were given again", next[0].ID, next[0].Decisions[0].ID)
	}
}

func testValues(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	_, err := s.Value(ctx, "secret")
	is(t, err, storage.ErrNotFound)
	value := []byte("one")
	must(t, s.SetValue(ctx, "secret", value))
	value[0] = 'X'
	must(t, s.SetValue(ctx, "empty", nil))
	if s.SetValue(ctx, "", []byte("x")) == nil {
		t.Error("a value without a name was set")
	}
	for range 2 {
		got, err := s.Value(ctx, "secret")
		must(t, err)
		equal(t, string(got), "one")
		got[0] = 'X'
		got, err = s.Value(ctx, "empty")
		must(t, err)
		equal(t, string(got), "")
		s = reopen()
	}
	must(t, s.SetValue(ctx, "secret", []byte("two")))
	got, err := s.Value(ctx, "secret")
	must(t, err)
	equal(t, string(got), "two")
}

func testEndedContext(t *testing.T, open Opener) {
	s, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is(t, s.AddMachine(ctx, storage.Machine{ID: "m"}), context.Canceled)
	_, err := s.AddAlerts(ctx, []decisions.Alert{{}})
	is(t, err, context.Canceled)
	_, err = s.Machines(ctx)
	is(t, err, context.Canceled)
	is(t, s.EachAlert(ctx, storage.AlertFilter{}, func(*decisions.Alert) bool { return true }), context.Canceled)
	list, err := s.Machines(t.Context())
	must(t, err)
	equal(t, list, nil)
}

func testWriteWhileWalking(t *testing.T, open Opener) {
	ctx := t.Context()
	s, _ := open(t)
	var batch []decisions.Alert
	for i := range 150 {
		batch = append(batch, fullAlert(fmt.Sprint(i)))
	}
	_, err := s.AddAlerts(ctx, batch)
	must(t, err)
	seen := 0
	must(t, s.EachAlert(ctx, storage.AlertFilter{}, func(a *decisions.Alert) bool {
		seen++
		n, err := s.DeleteAlerts(ctx, []int64{a.ID})
		must(t, err)
		equal(t, n, 1)
		return true
	}))
	equal(t, seen, len(batch))
	must(t, s.EachDecision(ctx, time.Time{}, func(d *decisions.Decision) bool {
		t.Errorf("decision %d survived its alert", d.ID)
		return false
	}))
}

func testClosed(t *testing.T, open Opener) {
	ctx := t.Context()
	s, _ := open(t)
	must(t, s.Close())
	if s.AddMachine(ctx, storage.Machine{ID: "m"}) == nil {
		t.Error("a closed store took a machine")
	}
	if _, err := s.Machines(ctx); err == nil {
		t.Error("a closed store was read")
	}
}

// testConcurrency has many writers and readers at once; the race detector and
// the IDs tell whether they are kept apart.
func testConcurrency(t *testing.T, open Opener) {
	ctx := t.Context()
	s, reopen := open(t)
	const writers, rounds = 8, 20
	must(t, s.AddMachine(ctx, storage.Machine{ID: "counter"}))
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		ids   = map[int64]bool{}
		fresh int // of the alerts that all writers send
	)
	for w := range writers {
		wg.Go(func() {
			last := int64(0)
			for i := range rounds {
				batch := []decisions.Alert{
					{UUID: fmt.Sprint(w, i), Decisions: []decisions.Decision{{Value: fmt.Sprint(w, i)}}},
					{UUID: fmt.Sprint("shared", i)},
				}
				known, err := s.AddAlerts(ctx, batch)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if batch[0].ID <= last || ids[batch[0].ID] || known[0] {
					t.Errorf("writer %d got alert %d after %d", w, batch[0].ID, last)
				}
				last = batch[0].ID
				ids[last] = true
				if !known[1] {
					fresh++
				}
				mu.Unlock()
				// A refused neighbour in the same batch must not harm the others.
				if err := s.AddMachine(ctx, storage.Machine{ID: "counter"}); !errors.Is(err, storage.ErrExists) {
					t.Errorf("AddMachine: %v", err)
				}
				err = s.UpdateMachine(ctx, "counter", func(m *storage.Machine) error {
					if m.Datasources == nil {
						m.Datasources = map[string]int64{}
					}
					m.Datasources["n"]++
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range rounds {
				last := int64(0)
				err := s.EachAlert(ctx, storage.AlertFilter{Oldest: true}, func(a *decisions.Alert) bool {
					if a.ID <= last {
						t.Errorf("alert %d is walked over after %d", a.ID, last)
					}
					last = a.ID
					return true
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s = reopen()
	equal(t, fresh, rounds)
	m, err := s.Machine(ctx, "counter")
	must(t, err)
	equal(t, m.Datasources["n"], writers*rounds)
	n := 0
	must(t, s.EachAlert(ctx, storage.AlertFilter{}, func(*decisions.Alert) bool { n++; return true }))
	equal(t, n, writers*rounds+rounds)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return // far quicker than cmp, which is for times in other zones and nil for empty
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("want -, got +:\n%s", diff)
	}
}
