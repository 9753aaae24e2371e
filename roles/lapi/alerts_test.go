package lapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
	"cs/storage/mem"
)

// TestAlertOfAnAgent sends and lists what a CrowdSec agent does.
func TestAlertOfAnAgent(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "web1"), bouncer(t, s, "fw")
	clk.Add(time.Second)
	m.want("POST", "/v1/alerts", "["+alertJSON("ip", "203.0.113.7", "null", noon())+"]", 201, `["1"]`)

	clk.Set(noon().Add(40 * time.Second))
	const want = `{"capacity":5,"created_at":"2026-03-01T10:00:21Z","decisions":[{"duration":"3h59m20s","id":1,"origin":"crowdsec","scenario":"crowdsecurity/ssh-bf","scope":"Ip","simulated":false,"type":"ban","value":"203.0.113.7"}],` +
		`"events":[{"meta":[{"key":"service","value":"ssh"}],"timestamp":"2026-03-01 10:00:20 +0000 UTC"}],"events_count":6,"id":1,"kind":"crowdsec","labels":null,"leakspeed":"10s","machine_id":"web1","message":"Ip 203.0.113.7",` +
		`"remediation":true,"scenario":"crowdsecurity/ssh-bf","scenario_hash":"ab12","scenario_version":"0.3","simulated":false,"source":{"scope":"Ip","value":"203.0.113.7"},"start_at":"2026-03-01T10:00:20Z","stop_at":"2026-03-01T10:00:20Z","uuid":"`
	w := m.want("GET", "/v1/alerts/1", "", 200, "*")
	if got := w.Body.String(); !strings.HasPrefix(got, want) {
		t.Fatalf("got\n%s\nwant\n%s…", got, want)
	}
	b.want("GET", "/v1/decisions?ip=203.0.113.7", "", 200,
		`[{"duration":"3h59m20s","id":1,"origin":"crowdsec","scenario":"crowdsecurity/ssh-bf","scope":"Ip","type":"ban","value":"203.0.113.7"}]`)
	b.want("GET", "/v1/decisions?ip=203.0.113.8", "", 200, "null")
	m.want("GET", "/v1/alerts?ip=203.0.113.8", "", 200, "null")
	m.want("HEAD", "/v1/alerts", "", 200, "")
	m.want("HEAD", "/v1/alerts/1", "", 200, "")
	m.want("GET", "/v1/alerts/x", "", 400, `{"message":"alert_id must be valid integer"}`)
	m.want("GET", "/v1/alerts/99", "", 404, `{"message":"object not found"}`)
	row, _ := s.store.Machine(t.Context(), "web1")
	s.machines.seen(&row)
	if row.LastPush.IsZero() {
		t.Fatal("the push was not noted")
	}
}

func TestWhatBecomesADecision(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m := machine(t, s, "m")
	f := func(alert, answer string, values ...string) {
		t.Helper()
		before := len(live(s))
		m.want("POST", "/v1/alerts", "["+alert+"]", 201, answer)
		all := live(s)
		if len(all)-before != len(values) {
			t.Fatalf("%d decisions, want %d: %+v", len(all)-before, len(values), all[before:])
		}
		for _, want := range values {
			found := false
			for _, d := range all {
				found = found || fmt.Sprintf("%s %s %s %s %v", d.Type, d.Scope, d.Value, d.Origin, d.Simulated) == want
			}
			if !found {
				t.Fatalf("there is no %q in %+v", want, all)
			}
		}
	}
	f(alertJSON("ip", "1.1.1.1", "null", clk.Now()), `["1"]`, "ban Ip 1.1.1.1 crowdsec false")
	f(alertJSON("RANGE", "2.2.2.0/24", "null", clk.Now()), `["2"]`, "ban Range 2.2.2.0/24 crowdsec false")
	f(alertJSON("Country", "FR", "null", clk.Now()), `["3"]`)
	f(strings.Replace(alertJSON("ip", "1.1.1.2", "null", clk.Now()), `"remediation":true`, `"remediation":false`, 1), `["4"]`)
	f(strings.Replace(alertJSON("ip", "1.1.1.3", "null", clk.Now()), `"simulated":false`, `"simulated":true`, 1), `["5"]`, "ban Ip 1.1.1.3 crowdsec true")
	f(alertJSON("ip", "1.1.1.4", "null", clk.Now().Add(-5*time.Hour)), `["6"]`) // a replayed log: over already
	f(alertJSON("ip", "no address", "null", clk.Now()), `[]`)                   // nobody could enforce it
	f(alertJSON("", "", "["+decisionJSON("as", "64500", "captcha", "cscli", "1d")+","+decisionJSON("ip", "bad", "ban", "cscli", "1h")+"]", clk.Now()),
		`["7"]`, "captcha AS 64500 cscli false")
	// One that can't be understood spoils the request, and nothing of it is kept.
	bad := "[" + alertJSON("ip", "9.9.9.9", "null", clk.Now()) + "," + alertJSON("ip", "9.9.9.9", "["+decisionJSON("ip", "9.9.9.9", "ban", "cscli", "soon")+"]", clk.Now()) + "]"
	w := m.want("POST", "/v1/alerts", bad, 500, "*")
	if body := w.Body.String(); !strings.Contains(body, "decision duration 'soon'") || !strings.Contains(body, "unable to parse duration") {
		t.Fatal(body)
	}
	m.want("GET", "/v1/alerts?value=9.9.9.9", "", 200, "null")
}

func TestRepeatedDelivery(t *testing.T) {
	s := open(t, nil)
	l := s.Local("agent")
	now := time.Now()
	alert := decisions.Alert{
		UUID: "0b3c2a1e-5d4f-4a6b-8c7d-9e8f7a6b5c4d", Scenario: "s", Remediation: true, StartAt: now, StopAt: now,
		Source: decisions.Source{Scope: "Ip", Value: "1.2.3.4"},
	}
	for range 3 {
		if err := l.SendAlerts(t.Context(), []decisions.Alert{alert}); err != nil {
			t.Fatal(err)
		}
	}
	if alert.Decisions != nil || alert.ID != 0 {
		t.Fatal("the caller's alert was changed")
	}
	if n := len(live(s)); n != 1 {
		t.Fatalf("%d decisions", n)
	}
	// Another machine may use the same UUID, by chance or by malice.
	if err := s.Local("other").SendAlerts(t.Context(), []decisions.Alert{alert}); err != nil {
		t.Fatal(err)
	}
	if n := len(live(s)); n != 2 {
		t.Fatalf("%d decisions", n)
	}
	// Over the wire the UUID is kept too.
	m := machine(t, s, "m")
	body := "[" + strings.Replace(alertJSON("ip", "5.6.7.8", "null", now), "{", `{"uuid":"`+alert.UUID+`",`, 1) + "]"
	first := m.want("POST", "/v1/alerts", body, 201, "*").Body.String()
	m.want("POST", "/v1/alerts", body, 201, first)
	// What is no UUID is replaced, and says nothing.
	body = "[" + strings.Replace(alertJSON("ip", "5.6.7.9", "null", now), "{", `{"uuid":"x",`, 1) + "]"
	first = m.want("POST", "/v1/alerts", body, 201, "*").Body.String()
	if again := m.want("POST", "/v1/alerts", body, 201, "*").Body.String(); again == first {
		t.Fatal("two alerts are taken for one")
	}
}

func TestAlertFilters(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m := machine(t, s, "m")
	post := func(alert string) { t.Helper(); m.want("POST", "/v1/alerts", "["+alert+"]", 201, "*") }
	post(alertJSON("ip", "1.1.1.1", "null", clk.Now()))                                                                      // 1
	post(alertJSON("range", "10.0.0.0/8", "["+decisionJSON("range", "10.0.0.0/8", "captcha", "cscli", "1h")+"]", clk.Now())) // 2
	clk.Add(2 * time.Hour)
	m = machine(t, s, "m") // the token has expired
	post(strings.NewReplacer(`"remediation":true`, `"remediation":false`, `"kind":"crowdsec"`, `"kind":"waf"`, "ssh-bf", "http").
		Replace(alertJSON("ip", "10.1.1.1", "null", clk.Now()))) // 3
	post(alertJSON("lists:tor", "", "["+decisionJSON("ip", "3.3.3.3", "ban", "lists", "1h")+"]", clk.Now()))         // 4
	post(strings.Replace(alertJSON("ip", "4.4.4.4", "null", clk.Now()), `"simulated":false`, `"simulated":true`, 1)) // 5

	f := func(query, want string) {
		t.Helper()
		w := m.want("GET", "/v1/alerts?"+query, "", 200, "*")
		var list []api.Alert
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, a := range list {
			ids = append(ids, fmt.Sprint(a.ID))
		}
		if got := strings.Join(ids, " "); got != want {
			t.Fatalf("%s: got %q, want %q", query, got, want)
		}
	}
	f("", "5 4 3 2 1")
	f("sort=ASC", "1 2 3 4 5")
	f("limit=2", "5 4")
	f("limit=0", "5 4 3 2 1")
	f("scope=IP", "5 3 1")
	f("value=1.1.1.1", "1")
	f("scenario=manual", "4 2") // one of the decisions has it
	f("scenario=crowdsecurity/http", "3")
	f("ip=1.1.1.1", "1")
	f("ip=10.1.1.1", "2") // alert 3 has no decision
	f("range=10.2.0.0/16", "2")
	f("range=0.0.0.0/0", "")
	f("range=0.0.0.0/0&contains=false", "5 4 2 1")
	f("since=1h", "5 4 3")
	f("until=1h", "2 1")
	f("created_before=1h", "2 1")
	f("decision_type=captcha", "2")
	f("origin=lists", "4")
	f("include_capi=false", "5 3 2 1")
	f("include_capi=true", "5 4 3 2 1")
	f("include_capi=false&origin=lists", "4")
	f("has_active_decision=true", "5 4 1")
	f("has_active_decision=false", "3")
	f("simulated=false", "4 3 2 1")
	f("kind=waf", "3")
	f("kind=waf&kind=crowdsec", "3") // the first one counts
	w := m.want("GET", "/v1/alerts?with_decisions=false&limit=1", "", 200, "*")
	if !strings.Contains(w.Body.String(), `"decisions":null`) {
		t.Fatal(w.Body)
	}

	bad := func(query, message string) {
		t.Helper()
		m.want("GET", "/v1/alerts?"+query, "", 500, fmt.Sprintf(`{"message":%q}`, message))
	}
	bad("x=v", "filter parameter 'x' is unknown (=v): invalid filter")
	bad("scopes=ip", "filter parameter 'scopes' is unknown (=ip): invalid filter")
	bad("ip=bad", "unable to convert 'bad' to int: invalid ip address 'bad': invalid ip address / range")
	bad("has_active_decision=x", `'x' is not a boolean: strconv.ParseBool: parsing "x": invalid syntax: unable to parse type`)
	bad("limit=x", "bad limit in parameters: [x]: unable to query")
	m.want("GET", "/v1/alerts?since=x", "", 500, "*")
}

func TestDeletingAlerts(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) {
		turned(c)
		c.Policy.TrustedIPs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	})
	m, b := machine(t, s, "m"), bouncer(t, s, "fw")
	for i := range 3 {
		m.want("POST", "/v1/alerts", "["+alertJSON("ip", fmt.Sprintf("1.1.1.%d", i+1), "null", clk.Now())+"]", 201, "*")
	}
	b.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	m.want("DELETE", "/v1/alerts/1", "", 403, `{"message":"access forbidden from this IP (192.0.2.1)"}`)
	m.from = "203.0.113.1"
	m.want("DELETE", "/v1/alerts/1", "", 200, `{"nbDeleted":"1"}`)
	m.want("DELETE", "/v1/alerts/1", "", 500, `{"message":"ent: alert not found"}`)
	m.want("DELETE", "/v1/alerts?typo=1", "", 500, "*")
	m.from = "127.0.0.1"
	m.want("DELETE", "/v1/alerts?ip=1.1.1.2&limit=0", "", 200, `{"nbDeleted":"1"}`)
	m.want("GET", "/v1/alerts?value=1.1.1.2", "", 200, "null")
	b.want("GET", "/v1/decisions?ip=1.1.1.2", "", 200, "null")
	// Unlike upstream's, our bouncers hear of it.
	w := b.want("GET", "/v1/decisions/stream", "", 200, "*")
	if got := w.Body.String(); !strings.Contains(got, `"value":"1.1.1.1"`) || !strings.Contains(got, `"value":"1.1.1.2"`) || strings.Contains(got, `"value":"1.1.1.3"`) {
		t.Fatal(got)
	}
}

func TestRetention(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) { turned(c); c.Policy.MaxAlerts = 10 })
	l := s.Local("m")
	send := func(n int, length time.Duration) {
		t.Helper()
		for i := range n {
			a := decisions.Alert{Scenario: "s", StartAt: clk.Now(), StopAt: clk.Now()}
			a.Decisions = []decisions.Decision{{Type: "ban", Scope: "Ip", Value: fmt.Sprintf("10.0.0.%d", i), Until: clk.Now().Add(length)}}
			if err := l.SendAlerts(t.Context(), []decisions.Alert{a}); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() (n int) {
		t.Helper()
		if err := s.retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := s.store.EachAlert(t.Context(), storage.AlertFilter{}, func(*decisions.Alert) bool { n++; return true })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	send(2, 30*24*time.Hour) // long bans stay, whatever their age
	send(15, time.Minute)
	clk.Add(time.Hour)
	if n := count(); n != 2+10 {
		t.Fatalf("%d alerts, want the newest 10 and two with active decisions", n)
	}
	clk.Add(8 * 24 * time.Hour)
	if n := count(); n != 2 {
		t.Fatalf("%d alerts after a week", n)
	}
	clk.Add(30 * 24 * time.Hour)
	if n := count(); n != 0 {
		t.Fatalf("%d alerts in the end", n)
	}
}

// broken is a store whose disk is full.
type broken struct{ storage.Store }

func (broken) AddAlerts(context.Context, []decisions.Alert) ([]bool, error) {
	return nil, errors.New("no space left on device")
}

func TestNothingIsAcknowledgedThatIsNotStored(t *testing.T) {
	s := open(t, func(c *Config) {
		c.OpenStore = func(context.Context) (storage.Store, error) { return broken{mem.New()}, nil }
	})
	m := machine(t, s, "m")
	m.want("POST", "/v1/alerts", "["+alertJSON("ip", "1.1.1.1", "null", time.Now())+"]", 500, `{"message":"cannot store 1 alerts: no space left on device"}`)
	if len(live(s)) != 0 {
		t.Fatal("it is in force, but not stored")
	}
}

// TestConcurrentAlerts: whoever reads with a cursor misses none.
func TestConcurrentAlerts(t *testing.T) {
	s := open(t, nil)
	feed := s.Feed("fw")
	const senders, each = 8, 25
	for i := range senders {
		go func() {
			l := s.Local(fmt.Sprint("agent", i))
			for j := range each {
				now := time.Now()
				l.SendAlerts(t.Context(), []decisions.Alert{{Scenario: "s", Remediation: true, StartAt: now, StopAt: now,
					Source: decisions.Source{Scope: "Ip", Value: fmt.Sprintf("10.0.%d.%d", i, j)}}})
			}
		}()
	}
	seen := make(map[string]bool)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(seen) < senders*each {
		d, err := feed.Next(ctx)
		if err != nil {
			t.Fatalf("%v after %d of %d", err, len(seen), senders*each)
		}
		for _, n := range d.New {
			if seen[n.Value] {
				t.Fatalf("%s is told twice", n.Value)
			}
			seen[n.Value] = true
		}
	}
}

func TestLongMetaIsCut(t *testing.T) {
	a := decisions.Alert{
		Meta: []decisions.KeyValue{{Key: strings.Repeat("k", 300), Value: strings.Repeat("é", 4000)}},
		Events: []decisions.Event{
			{Timestamp: "soon", Meta: []decisions.KeyValue{{Key: "a", Value: strings.Repeat("x", 20000)}, {Key: "b", Value: "short"}}},
			{Meta: make([]decisions.KeyValue, 1000)},
		},
	}
	limitMeta(&a, noon())
	if n := len(a.Meta[0].Key); n != 255 {
		t.Fatal(n)
	}
	if v := a.Meta[0].Value; len(v) != 4094 || strings.ContainsRune(v, '\ufffd') {
		t.Fatal(len(v))
	}
	e := a.Events[0]
	if v := e.Meta[0].Value; len(v) != 2048+len("<stripped>") || !strings.HasSuffix(v, "<stripped>") || e.Meta[1].Value != "short" {
		t.Fatal(len(v))
	}
	if e.Timestamp != "2026-03-01T10:00:20Z" || a.Events[1].Meta != nil {
		t.Fatalf("%q %d", e.Timestamp, len(a.Events[1].Meta))
	}
}

// TestWrongClockOfAMachine: the operator hears of bans that nobody gets.
func TestWrongClockOfAMachine(t *testing.T) {
	clk, turned := clockAtNoon()
	var log bytes.Buffer
	s := open(t, func(c *Config) { turned(c); c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	m := machine(t, s, "web1")
	f := func(off time.Duration, want string) {
		t.Helper()
		log.Reset()
		m.want("POST", "/v1/alerts", "["+alertJSON("Ip", "1.1.1.1", "null", clk.Now().Add(off))+"]", 201, "*")
		if got := log.String(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Fatalf("%v: %q", off, got)
		}
	}
	f(0, "")
	f(-3*time.Hour, "")
	f(-5*time.Hour, "nobody is banned")
	f(30*time.Second, "")
	f(time.Hour, "clock of the machine is ahead")
}

// TestLongTextsOfDecisions: a machine can't send what bouncers choke on.
func TestLongTextsOfDecisions(t *testing.T) {
	clk, turned := clockAtNoon()
	s := open(t, turned)
	m, b := machine(t, s, "m"), bouncer(t, s, "b")
	long := strings.Repeat("é", 1<<20)
	manual(t, m, clk.Now(),
		decisionJSON("username", long, "ban", "cscli", "1h"),
		decisionJSON(long, "x", "ban", "cscli", "1h"),
		decisionJSON("ip", "1.1.1.1", long, "cscli", "1h"),
		strings.Replace(decisionJSON("ip", "1.1.1.2", "ban", long, "1h"), `"manual"`, `"`+long+`"`, 1))
	var list []struct{ Value, Origin, Scenario string }
	if err := json.Unmarshal(b.want("GET", "/v1/decisions", "", 200, "*").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Value != "1.1.1.2" || list[0].Origin != long[:longestText] || list[0].Scenario != long[:longestText] {
		t.Fatalf("%d decisions", len(list))
	}
}

// TestFewWordsOfManyAlerts: however much is wrong in a request, and however long, the log
// has a line for each kind.
func TestFewWordsOfManyAlerts(t *testing.T) {
	clk, turned := clockAtNoon()
	var log bytes.Buffer
	s := open(t, func(c *Config) { turned(c); c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if err := s.createAllowlist(t.Context(), "l", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.allow(t.Context(), "l", []storage.AllowItem{{Value: "10.0.0.0/8"}}); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	m := machine(t, s, "m")
	var list []string
	for range 100 {
		list = append(list,
			alertJSON("Ip", "192.0.2.7", "["+decisionJSON("ip", "nonsense", "ban", "crowdsec", "1h")+"]", clk.Now()),
			alertJSON("Ip", "10.1.1.1", "null", clk.Now()),
			alertJSON("Ip", "192.0.2.7", "["+decisionJSON("ip", "10.1.1.1", "ban", "crowdsec", "1h")+"]", clk.Now()))
	}
	m.want("POST", "/v1/alerts", strings.ReplaceAll("["+strings.Join(list, ",")+"]", "crowdsecurity/ssh-bf", strings.Repeat("x", 5000)), 201, "[]")
	if n := strings.Count(log.String(), "\n"); n != 4 || log.Len() > 4*600 || strings.Count(log.String(), "alerts=100") != 2 || strings.Count(log.String(), "decisions=100") != 2 {
		t.Fatalf("%d lines:\n%s", n, log.String())
	}
}

// TestOffsetOfTheLog: what an agent says of times comes back in its own zone.
func TestOffsetOfTheLog(t *testing.T) {
	s := onDisk(t)
	m := machine(t, s, "m")
	body := regexp.MustCompile(`"(start|stop)_at":"[^"]*"`).ReplaceAllString(alertJSON("Ip", "192.0.2.1", "null", time.Now()), `"${1}_at":"2026-03-01T10:00:00.5+05:30"`)
	m.want("POST", "/v1/alerts", "["+body+"]", 201, `["1"]`)
	got := m.want("GET", "/v1/alerts/1", "", 200, "*").Body.String()
	for _, want := range []string{`"start_at":"2026-03-01T10:00:00+05:30"`, `"stop_at":"2026-03-01T10:00:00+05:30"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}
