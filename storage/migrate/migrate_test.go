package migrate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/decisions"
	"cs/storage"
	"cs/storage/mem"
)

// TestInto brings over a database of all that a LAPI keeps, and of what can't be
// brought over. testdata/make.sql made it, with upstream's tables of 1.7 as the
// specification has them, by the sqlite3 program.
func TestInto(t *testing.T) {
	s, err := Open("testdata/lapi.db")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	want := Summary{
		Machines: 2, Bouncers: 3, Allowlists: 2, AllowItems: 3, Alerts: 3, Decisions: 7, Live: 4,
		Left: []string{`bouncer "odd": its key is not kept as SHA-512`, `allowlist item "nonsense": it is no address`, `decision 16: "not an address" is no address`},
	}
	counted, err := s.Into(t.Context(), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, counted); diff != "" {
		t.Errorf("counted: %s", diff)
	}
	store := mem.New()
	got, err := s.Into(t.Context(), store, now)
	if err != nil {
		t.Fatal(err)
	}
	want.Alerts++ // that of the orphans
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("brought over: %s", diff)
	}

	m, err := store.Machine(t.Context(), "web1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(storage.Machine{
		ID: "web1", PasswordHash: "$2a$10$abcdefghijklmnopqrstuv", AuthType: "password", IP: "192.0.2.7", Validated: true, Version: "v1.7.8-linux",
		Scenarios: []string{"a/ssh", "b/web"}, OSName: "debian", OSVersion: "12", OSFamily: "linux", FeatureFlags: []string{"f"},
		Datasources: map[string]int64{"file": 2}, HubItems: map[string][]storage.HubItem{"parsers": {{Name: "a/b", Status: "official", Version: "0.1"}}},
		Created: at("2026-02-01T10:00:00.123456789Z"), Updated: at("2026-02-02T08:00:00Z"), LastHeartbeat: at("2026-02-03T00:00:00Z"),
	}, m); diff != "" {
		t.Error(diff)
	}
	if m, err = store.Machine(t.Context(), "old"); err != nil || m.AuthType != "password" || m.Validated {
		t.Errorf("%+v, %v", m, err)
	}
	b, err := store.Bouncer(t.Context(), "fw@10.0.0.2")
	if err != nil || !b.AutoCreated || b.KeyHash != storage.HashKey("k") || b.IP != "10.0.0.2" || b.Cursor != 0 || !b.LastPull.Equal(at("2026-02-28T10:00:00Z")) {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err = store.Bouncer(t.Context(), "cert@10.0.0.3"); err != nil || b.AuthType != "tls" {
		t.Errorf("%+v, %v", b, err)
	}
	l, err := store.Allowlist(t.Context(), "office")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(storage.Allowlist{
		Name: "office", Description: "ours", Created: at("2026-01-01T00:00:00Z"), Updated: at("2026-01-02T00:00:00Z"),
		Items: []storage.AllowItem{
			{Value: "192.0.2.0/24", Comment: "c", Created: at("2026-01-01T00:00:00Z")},
			{Value: "2001:db8::1", Created: at("2026-01-01T00:00:00Z"), Expires: at("2027-01-01T00:00:00Z")},
		},
	}, l); diff != "" {
		t.Error(diff)
	}
	if l, err = store.Allowlist(t.Context(), "theirs"); err != nil || l.ConsoleID != "id-7" || len(l.Items) != 1 {
		t.Errorf("%+v, %v", l, err)
	}

	a, err := store.Alert(t.Context(), 17)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decisions.Alert{
		ID: 17, UUID: "0b3c0000-0000-4000-8000-000000000001", MachineID: "web1", Scenario: "a/ssh", ScenarioHash: "h", ScenarioVersion: "0.3", Message: "m",
		Kind: "crowdsec", Capacity: 5, Leakspeed: "10s", EventsCount: 6, Remediation: true,
		Source:  decisions.Source{Scope: "Ip", Value: "203.0.113.7", IP: "203.0.113.7", Range: "203.0.113.0/24", ASNumber: "64500", ASName: "n", Country: "FR", Latitude: 1.5, Longitude: -2},
		Events:  []decisions.Event{{Timestamp: "2026-02-28T12:00:00+02:00", Meta: []decisions.KeyValue{{Key: "service", Value: "ssh"}}}, {Timestamp: "2026-02-28T10:00:01Z"}},
		Meta:    []decisions.KeyValue{{Key: "k", Value: "v"}},
		StartAt: at("2026-02-28T10:00:00Z"), StopAt: at("2026-02-28T10:00:20Z"), Created: at("2026-02-28T10:00:21.5Z"),
		Decisions: []decisions.Decision{
			{ID: 10, AlertID: 17, UUID: "9d1f0000-0000-4000-8000-000000000001", Origin: "crowdsec", Scenario: "a/ssh", Scope: "Ip", Type: "ban", Value: "203.0.113.7",
				Created: at("2026-02-28T10:00:21Z"), Until: at("2026-03-01T14:00:20Z")},
			{ID: 11, AlertID: 17, Origin: "crowdsec", Scenario: "a/ssh", Scope: "Country", Type: "captcha", Value: "FR",
				Created: at("2026-02-28T10:00:21Z"), Until: at("2026-02-28T14:00:20Z")},
		},
	}, a); diff != "" {
		t.Error(diff)
	}
	// The gap between 12 and 15 is closed, and the alert after them keeps its own.
	ids := func(alert int64) (ids []int64) {
		a, err := store.Alert(t.Context(), alert)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range a.Decisions {
			ids = append(ids, d.ID)
		}
		return ids
	}
	for alert, want := range map[int64][]int64{18: {12, 13}, 21: {20}, 22: {30}} {
		if diff := cmp.Diff(want, ids(alert)); diff != "" {
			t.Errorf("alert %d: %s", alert, diff)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if s, err := Open(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, %v", s, err)
		}
	}
	f("sqlitefile/testdata/tree.db", `it has no table "machines"`)
	f("testdata/make.sql", "not a SQLite 3 database")
	f("testdata/none.db", "no such file")
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(empty, "not a SQLite 3 database")
}

// TestChangedMeanwhile: a database that is written to while it is read is not
// taken for whole.
func TestChangedMeanwhile(t *testing.T) {
	data, err := os.ReadFile("testdata/lapi.db")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lapi.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data[27]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Into(t.Context(), mem.New(), time.Now()); err != ErrChanged {
		t.Error(err)
	}
}
