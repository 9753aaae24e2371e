package api

import (
	"encoding/json"
	"testing"
	"time"

	"cs/decisions"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// The two shapes of GET /v1/decisions and of its stream, for encoding/json.
type liveShape struct {
	Duration string `json:"duration"`
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Scenario string `json:"scenario"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	Value    string `json:"value"`
}

type streamShape struct {
	Duration string `json:"duration"`
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Scenario string `json:"scenario"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	UUID     string `json:"uuid,omitempty"`
	Value    string `json:"value"`
}

func FuzzAppendDecision(f *testing.F) {
	f.Add(int64(40), int64(14360), "crowdsec", "crowdsecurity/ssh-bf", "Ip", "ban", "9d1f", "203.0.113.7")
	f.Add(int64(41), int64(7), "CAPI", "ssh", "Range", "ban", "f81d4fae-7dec-41d0-a765-00a0c91e6bf6", "2001:db8::/32")
	f.Add(int64(41), int64(7), "CAPI", "ssh", "Ip", "ban", "", "::FFFF:1.2.3.4")
	f.Add(int64(-1), int64(-5), "lists:a&b", "manual 'ban' <x>", "user\"name\\", "\x00\x1f\n\r\t\b\f", "", "\u2028\u2029\xff\xc3\u00e9")
	f.Fuzz(func(t *testing.T, id, seconds int64, origin, scenario, scope, kind, uuid, value string) {
		d := decisions.Decision{ID: id, UUID: uuid, Origin: origin, Scenario: scenario, Scope: scope, Type: kind, Value: value,
			Until: t0.Add(time.Duration(seconds%1e9) * time.Second)}
		left := d.Until.Sub(t0).String()
		want, _ := json.Marshal(liveShape{left, id, origin, scenario, scope, kind, value})
		if got := AppendDecision(nil, &d, t0, false); string(got) != string(want) {
			t.Fatalf("live:\ngot  %s\nwant %s", got, want)
		}
		want, _ = json.Marshal(streamShape{left, id, origin, scenario, scope, kind, uuid, value})
		if got := AppendDecision(nil, &d, t0, true); string(got) != string(want) {
			t.Fatalf("stream:\ngot  %s\nwant %s", got, want)
		}
		set := decisions.NewSet(0)
		if !set.Upsert(d) {
			return // an Ip that is none
		}
		row, _ := set.Row(id)
		rows := Rows{Now: t0, WithUUID: true}
		if got := rows.Append(nil, &row); string(got) != string(want) {
			t.Fatalf("a row:\ngot  %s\nwant %s", got, want)
		}
	})
}

func TestAppendDecisionDoesNotAllocate(t *testing.T) {
	d := decisions.Decision{ID: 40, UUID: "9d1f", Origin: "crowdsec", Scenario: "manual 'ban' <x>", Scope: "Ip", Type: "ban", Value: "203.0.113.7", Until: t0.Add(time.Hour)}
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { buf = AppendDecision(buf[:0], &d, t0, true) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
