package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/decisions"
)

const goodAlert = `{"capacity":5,"decisions":null,"Events":[{"meta":[{"key":"k","value":"v"}],"timestamp":"2026-01-02T03:04:05Z"}],
"events_count":6,"labels":["x"],"leakspeed":"10s","message":"","scenario":"s","scenario_hash":"","scenario_version":"","simulated":false,
"source":{"scope":"ip","value":"1.2.3.4","cn":"FR","latitude":1.5},"start_at":"2026-01-02T03:04:00+01:00","stop_at":"no time","unknown":[{}]}`

func TestDecodeAlerts(t *testing.T) {
	list, err := DecodeAlerts([]byte("[" + goodAlert + "] trailing"))
	if err != nil {
		t.Fatal(err)
	}
	a := list[0]
	if a.Labels != nil || len(a.Events) != 1 || a.Events[0].Meta[0].Value != "v" || a.Source.Country != "FR" || a.Source.Latitude != 1.5 {
		t.Fatalf("%+v", a)
	}
	d, err := a.ToDomain(t0)
	if err != nil {
		t.Fatal(err)
	}
	if d.Source.Scope != "Ip" || !d.StopAt.Equal(t0) || d.StartAt.Format(time.RFC3339) != "2026-01-02T03:04:00+01:00" {
		t.Fatalf("%+v", d)
	}
}

func TestDecodeAlertsNamesWhatIsMissing(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		_, err := DecodeAlerts([]byte(body))
		var invalid *ValidationError
		if !errors.As(err, &invalid) || err.Error() != "validation failure list:\n"+want {
			t.Fatalf("got %v, want %s", err, want)
		}
	}
	without := func(key string) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(goodAlert), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, key)
		b, _ := json.Marshal(m)
		return "[" + string(b) + "]"
	}
	for _, key := range []string{"capacity", "events_count", "leakspeed", "message", "scenario", "scenario_hash", "scenario_version", "simulated", "source", "start_at", "stop_at"} {
		f(without(key), "0."+key+" in body is required")
	}
	f(without("Events"), "0.events in body is required")
	f("["+goodAlert+","+strings.Replace(goodAlert, `"value":"1.2.3.4",`, "", 1)+"]", "1.source.value in body is required")
	f("["+strings.Replace(goodAlert, `"decisions":null`, `"decisions":[{"origin":"o","type":"ban","scope":"ip","duration":"4h","scenario":"s"}]`, 1)+"]",
		"0.decisions.0.value in body is required")
	f("["+strings.Replace(goodAlert, `"timestamp":"2026-01-02T03:04:05Z"`, `"timestamp":null`, 1)+"]", "0.events.0.timestamp in body is required")
}

func TestDecodeAlertsRefuses(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if _, err := DecodeAlerts([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%.40q: got %v, want %q", body, err, want)
		}
	}
	f("", "EOF")
	f("{", "unexpected EOF")
	f(`{"a":1}`, "cannot unmarshal object")
	f(`[{"capacity":"5"}]`, "cannot unmarshal string")
	f("["+strings.Repeat("{},", maxElements)+"{}]", "elements")
	f("[null]", "0.capacity in body is required")
}

// FuzzDecodeAlerts: whatever comes in, what is accepted survives the way into
// the domain and back to the wire.
func FuzzDecodeAlerts(f *testing.F) {
	f.Add([]byte("[" + goodAlert + "]"))
	f.Add([]byte(`[{"decisions":[{}]},null]`))
	f.Add([]byte(`[[[[["\"\\`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := DecodeAlerts(body)
		if err != nil {
			return
		}
		for i := range list {
			d, err := list[i].ToDomain(t0)
			if err != nil {
				continue
			}
			w := FromAlert(&d, t0)
			again, err := w.ToDomain(t0)
			if err != nil {
				t.Fatal(err)
			}
			w2 := FromAlert(&again, t0)
			w.Decisions, w2.Decisions = nil, nil // what is left of them depends on when it is asked
			if diff := cmp.Diff(w, w2); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// plainAlert is as an agent writes it.
const plainAlert = `{"capacity":5,"created_at":"","decisions":null,"events":[{"meta":[{"key":"k","value":"v"}],"timestamp":"2026-01-02T03:04:05Z"}],
"events_count":6,"labels":null,"leakspeed":"10s","message":"","remediation":true,"scenario":"s","scenario_hash":"","scenario_version":"","simulated":false,
"source":{"scope":"ip","value":"1.2.3.4","cn":"FR","latitude":1.5},"start_at":"2026-01-02T03:04:00+01:00","stop_at":"no time","uuid":"u"}`

// FuzzScanAlerts compares the scanner with encoding/json.
func FuzzScanAlerts(f *testing.F) {
	f.Add([]byte("[" + plainAlert + "," + plainAlert + "] and more"))
	f.Add([]byte(strings.Replace("["+plainAlert+"]", `"decisions":null,`, `"decisions" : [ { "duration":"1h","origin":"o","scenario":"s","scope":"Ip","type":"ban","value":"é"}],"meta":[{}],"id":-7,"kind":"x", `, 1)))
	f.Add([]byte(strings.Replace("["+plainAlert+"]", `"scope":`, `"latitude":-12.50,"longitude":0,"range":"","scope":`, 1)))
	f.Add([]byte(` [ ] `))
	f.Add([]byte(`[{"capacity":01}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := scanAlerts(body)
		if !ok {
			return
		}
		want, err := decodeAlerts(body)
		if err != nil {
			t.Fatalf("took %q: %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q\n%s", body, diff)
		}
	})
}

// TestScanTakesWhatIsSent makes sure that the bodies of real programs are not
// left to encoding/json.
func TestScanTakesWhatIsSent(t *testing.T) {
	sent, err := json.Marshal([]Alert{FromAlert(&decisions.Alert{
		Scenario: "crowdsecurity/ssh-bf", StartAt: t0, StopAt: t0, Source: decisions.Source{Scope: "Ip", Value: "192.0.2.1", Latitude: 48.8},
		Events:    []decisions.Event{{Timestamp: "2026-01-02T03:04:05Z", Meta: []decisions.KeyValue{{Key: "k", Value: "v"}}}},
		Decisions: []decisions.Decision{{Scope: "Ip", Value: "192.0.2.1", Until: t0.Add(time.Hour)}},
	}, t0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{string(sent), "[" + plainAlert + "]"} {
		if _, ok := scanAlerts([]byte(body)); !ok {
			t.Errorf("gave up at %s", body)
		}
	}
}

// TestScanTakesLittleMemory: whatever lists a body has, and in whatever order, what is made of it
// takes no more than some times its own memory.
func TestScanTakesLittleMemory(t *testing.T) {
	repeat := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	meta := func(n int) string { return `"meta":[` + repeat(n, `{"key":"some key","value":"some value"}`) + `]` }
	event := func(n int) string { return `{` + meta(n) + `,"timestamp":"2026-03-01T10:00:00Z"}` }
	f := func(what, body string) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, ok := scanAlerts([]byte(body))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; !ok || took > uint64(12*len(body)) {
			t.Errorf("%s: %d bytes of memory for %d of JSON, %v", what, took, len(body), ok)
		}
	}
	with := func(events string) string {
		return strings.Replace(plainAlert, `"events":[`, `"events":[`+events+`,`, 1)
	}
	f("an alert with events", "["+with(repeat(3000, event(20)))+"]")
	f("long events", "["+with(repeat(100, event(500)))+"]")
	f("many alerts", "["+repeat(1000, with(event(20)))+"]")
	f("a long one first", "["+with(event(3000))+","+repeat(1000, with(event(20)))+"]")
	f("growing ones", "["+with(event(9)+","+event(90)+","+event(900)+","+event(9000))+"]")
}

func FuzzDecodeStream(f *testing.F) {
	f.Add(`{"new": [{"duration":"4h","id":1,"origin":"o","scenario":"s","scope":"Ip","type":"ban","uuid":"u","value":"1.2.3.4"}], "deleted": []}`)
	f.Add(`{"deleted":null,"new":null}`)
	f.Add(`{"new":[{"duration":"4h"`)
	f.Add(`{"other":[1,2],"new":[]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var delta decisions.Delta
		_, err := newStreamReader(strings.NewReader(body), t0, true).read(&delta, maxStreamed)
		// Cut into bytes it is the same.
		var bytewise decisions.Delta
		_, berr := newStreamReader(iotest.OneByteReader(strings.NewReader(body)), t0, true).read(&bytewise, maxStreamed)
		if fmt.Sprint(err) != fmt.Sprint(berr) {
			t.Fatalf("%q: at once %v, in bytes %v", body, err, berr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(delta, bytewise); diff != "" {
			t.Fatal(diff)
		}
		// Then it was one whole object, and encoding/json finds the same in it.
		var twin struct{ New, Deleted []streamed }
		dec := json.NewDecoder(strings.NewReader(body))
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			t.Fatalf("accepted %q, which is no object: %v", body, err)
		}
		if strings.Count(body, `"new"`) > 1 || strings.Count(body, `"deleted"`) > 1 || strings.ContainsAny(body, "\\NEWDLT") {
			return // encoding/json takes the last of several, of any case
		}
		if err := json.Unmarshal(raw, &twin); err != nil {
			t.Fatalf("accepted %q, but: %v", body, err)
		}
		same := func(got []decisions.Decision, want []streamed) {
			if len(got) != len(want) {
				t.Fatalf("%q: %d decisions, want %d", body, len(got), len(want))
			}
			for i, d := range got {
				w := want[i]
				if d.ID <= 0 || d.Value != w.Value || d.Origin != w.Origin || d.Scenario != w.Scenario || d.UUID != w.UUID || d.Type != w.Type || d.Scope != decisions.NormalScope(w.Scope) {
					t.Fatalf("%q: got %+v, want %+v", body, d, w)
				}
				if length, err := ParseDuration(w.Duration); err != nil || !d.Until.Equal(t0.Add(length)) {
					t.Fatalf("%q: ends %v", body, d.Until)
				}
			}
		}
		same(delta.New, twin.New)
		same(delta.Deleted, twin.Deleted)
	})
}

func TestDecodeMetrics(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		_, err := DecodeMetrics([]byte(body))
		switch {
		case want == "" && err != nil:
			t.Fatal(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	f(`{"log_processors":null,"remediation_components":[{"version":"v1","utc_startup_timestamp":1,"metrics":[{"meta":{"window_size_seconds":1,"utc_now_timestamp":2},"items":[{"name":"n","value":1.5,"unit":"u","labels":{"a":"b"}}]}]}]}`, "")
	f(`{"log_processors":[{"utc_startup_timestamp":1}]}`, "log_processors.0.version in body is required")
	f(`{"log_processors":[{"version":"v","utc_startup_timestamp":1,"metrics":{"meta":{}}}]}`, "cannot unmarshal object")
	f(`{"log_processors":[{"version":"v","utc_startup_timestamp":1,"metrics":[{"meta":{"window_size_seconds":1,"utc_now_timestamp":2},"items":[{"value":1,"unit":"u"}]}]}]}`, "items.0.name in body is required")
	f(`{"log_processors":[{"version":"`+strings.Repeat("x", 256)+`","utc_startup_timestamp":1}]}`, "at most 255")
}
