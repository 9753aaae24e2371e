package bolt

import (
	"encoding/hex"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/storage"
)

var update = flag.Bool("update", false, "write the records of a new version to testdata")

var (
	someMachine = storage.Machine{
		PasswordHash: "$2a$10$abc", AuthType: "password", IP: "192.0.2.7", Validated: true, Version: "v1", Scenarios: []string{"a/b", ""},
		OSName: "debian", OSVersion: "12", OSFamily: "linux", FeatureFlags: []string{"f"}, Datasources: map[string]int64{"file": 3, "a": -1},
		HubItems: map[string][]storage.HubItem{"parsers": {{Name: "a/b", Version: "0.1", Status: "official"}, {Name: "c"}}, "scenarios": nil},
		Created:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Updated: time.Unix(-1, 0).UTC(), LastHeartbeat: time.Unix(1<<40, 999_999_999).UTC(),
	}
	someBouncer = storage.Bouncer{
		KeyHash: "ff00", AuthType: "api-key", IP: "2001:db8::1", Type: "t", Version: "v", OSName: "n", OSVersion: "o", OSFamily: "f",
		FeatureFlags: []string{"x", "y"}, AutoCreated: true, Created: time.Unix(1, 2).UTC(), Cursor: math.MaxInt64,
	}
	someAlert = alertRecord{
		Alert: decisions.Alert{
			UUID: "u", MachineID: "m", Scenario: "a/ssh", ScenarioHash: "h", ScenarioVersion: "0.1", Message: "msg", Kind: "crowdsec",
			Capacity: -1, Leakspeed: "10s", EventsCount: math.MaxInt32, Simulated: true, Remediation: true,
			Source: decisions.Source{
				Scope: "Ip", Value: "v", IP: "i", Range: "r", ASNumber: "1", ASName: "n", Country: "DE", Latitude: -1.5, Longitude: 2.25,
			},
			Events:  []decisions.Event{{Timestamp: "t", Meta: []decisions.KeyValue{{Key: "k", Value: "v"}}}, {}},
			Meta:    []decisions.KeyValue{{Key: "k", Value: "w"}},
			StartAt: time.Unix(1_700_000_000, 5).UTC(), StopAt: time.Unix(1_700_000_001, 0).UTC(), Created: time.Unix(1_700_000_002, 0).UTC(),
		},
		first: 7, count: 2,
	}
	someDecision = decisions.Decision{
		AlertID: 9, UUID: "u", Origin: "crowdsec", Scenario: "a/ssh", Scope: "Ip", Type: "ban", Value: "192.0.2.7", Simulated: true,
		Created: time.Unix(1_700_000_000, 0).UTC(), Until: time.Unix(1_700_014_400, 0).UTC(),
	}
	someAllowlist = storage.Allowlist{
		Description: "d", ConsoleID: "c", Created: time.Unix(1_700_000_000, 0).UTC(), Updated: time.Unix(1_700_000_001, 0).UTC(),
		Items: []storage.AllowItem{{Value: "192.0.2.0/24", Comment: "c", Created: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC()}, {Value: "::1"}},
	}
)

// TestRecordsOfEveryVersion reads records as they lie on users' disks. A new
// version adds files; those of old ones never change.
func TestRecordsOfEveryVersion(t *testing.T) {
	older := someMachine
	older.HubItems = nil
	golden(t, "machine-v1.hex", 1, older, (*coder).machine)
	golden(t, "machine-v2.hex", machineVersion, someMachine, (*coder).machine)
	golden(t, "bouncer-v1.hex", bouncerVersion, someBouncer, (*coder).bouncer)
	golden(t, "alert-v1.hex", 1, someAlert, (*coder).alert)
	zoned := someAlert
	zoned.StartAt = zoned.StartAt.In(time.FixedZone("", -3*60*60-30*60))
	golden(t, "alert-v2.hex", alertVersion, zoned, (*coder).alert)
	golden(t, "decision-v1.hex", 1, []decisions.Decision{someDecision}, (*coder).run)
	other := someDecision
	other.Value = "2001:db8::/32"
	golden(t, "decision-v2.hex", decisionVersion, []decisions.Decision{someDecision, other}, (*coder).run)
	golden(t, "alerthead-v1.hex", alertHeadVersion, storage.AlertHead{Created: time.Unix(1_700_000_002, 7).UTC(), Decisions: 3}, (*coder).alertHead)
	golden(t, "allowlist-v1.hex", allowlistVersion, someAllowlist, (*coder).allowlist)
}

func golden[T any](t *testing.T, file string, version byte, want T, walk func(*coder, *T)) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if _, err := os.Stat(path); *update && err != nil {
		text := hex.EncodeToString(encode(version, &want, walk)) + "\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	record, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	var got T
	if err := decode(version, record, nil, &got, walk); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", file, got, want)
	}
}

// TestEveryFieldIsKept fails when a field is added to a type and forgotten in
// its walk, or in the example above.
func TestEveryFieldIsKept(t *testing.T) {
	f := func(v any, not ...string) {
		t.Helper()
		empty := map[string]bool{}
		for _, name := range not {
			empty[name] = true
		}
		var walk func(prefix string, v reflect.Value)
		walk = func(prefix string, v reflect.Value) {
			for i := range v.NumField() {
				name := prefix + v.Type().Field(i).Name
				switch field := v.Field(i); {
				case empty[name]:
				case field.IsZero():
					t.Errorf("%T.%s has no value in the example", v.Interface(), name)
				case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[time.Time]():
					walk(name+".", field)
				}
			}
		}
		walk("", reflect.ValueOf(v))
	}
	f(someMachine, "ID", "LastPush") // the key; a zero time
	f(someBouncer, "Name", "Updated", "LastPull")
	f(someAlert.Alert, "ID", "Decisions") // records of their own
	f(someDecision, "ID")
}

func TestNames(t *testing.T) {
	n := make(names)
	for i := range maxNames + 10 {
		n.get([]byte{byte(i), byte(i >> 8)})
	}
	if len(n) != maxNames {
		t.Errorf("%d names are kept, the bound is %d", len(n), maxNames)
	}
	var none names
	if got := none.get([]byte("x")); got != "x" {
		t.Errorf("without a table: %q", got)
	}
}

// FuzzRecords reads arbitrary bytes as each kind of record. What can be read
// must be the same after writing and reading it again.
func FuzzRecords(f *testing.F) {
	f.Add(uint8(0), encode(machineVersion, &someMachine, (*coder).machine))
	f.Add(uint8(1), encode(bouncerVersion, &someBouncer, (*coder).bouncer))
	f.Add(uint8(2), encode(alertVersion, &someAlert, (*coder).alert))
	f.Add(uint8(3), encodeRun(nil, []decisions.Decision{someDecision}))
	f.Add(uint8(3), encodeRun(nil, []decisions.Decision{someDecision, someDecision}))
	f.Add(uint8(3), []byte{})
	f.Add(uint8(5), encode(allowlistVersion, &someAllowlist, (*coder).allowlist))
	f.Add(uint8(2), []byte{1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, kind uint8, record []byte) {
		switch kind % 6 {
		case 0:
			again(t, machineVersion, record, (*coder).machine)
		case 1:
			again(t, bouncerVersion, record, (*coder).bouncer)
		case 2:
			again(t, alertVersion, record, (*coder).alert)
			alertStart(record)
		case 3:
			again(t, decisionVersion, record, (*coder).run)
		case 4:
			again(t, alertHeadVersion, record, (*coder).alertHead)
		case 5:
			again(t, allowlistVersion, record, (*coder).allowlist)
		}
	})
}

func again[T any](t *testing.T, version byte, record []byte, walk func(*coder, *T)) {
	var first, second T
	if decode(version, record, make(names), &first, walk) != nil {
		return
	}
	written := encode(version, &first, walk)
	if err := decode(version, written, nil, &second, walk); err != nil {
		t.Fatalf("what was written can't be read: %v", err)
	}
	// Compared as written, since a NaN is not equal to itself.
	if string(encode(version, &second, walk)) != string(written) {
		t.Fatalf("read %+v, again %+v", first, second)
	}
}
