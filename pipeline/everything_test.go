package pipeline_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// everything loads all of the public hub.
func everything(tb testing.TB, settings ...hub.Item) (*pipeline.Engine, *[]decisions.Alert) {
	tb.Helper()
	dir := filepath.Join(sharedtest.Dir(tb), "hub")
	c, errs := hub.Load(dir)
	c.Settings = append(c.Settings, settings...)
	var alerts []decisions.Alert
	e, faulty := pipeline.Load(pipeline.Options{
		Content: c,
		DataDir: filepath.Join(dir, "data"),
		Now:     func() time.Time { return t0 },
		Alert:   func(a decisions.Alert) { alerts = append(alerts, a) },
	})
	for _, err := range append(errs, faulty...) {
		tb.Error(err)
	}
	return e, &alerts
}

func TestAllOfTheHubLoads(t *testing.T) {
	e, alerts := everything(t,
		hub.Item{Kind: hub.Simulation, Path: "simulation.yaml", Data: []byte("exclusions: [crowdsecurity/ssh-bf]\n")},
		hub.Item{Kind: hub.ConsoleContext, Path: "context.yaml", Data: []byte("ports: [evt.Parsed.source_port, evt.Line.Src]\n")},
	)
	for i := range 6 {
		line := syslogLine("Mar 14 10:00:00 box sshd[77]: Failed password for root from 192.0.2.7 port 4000" + string(rune('0'+i)) + " ssh2")
		e.Process([]event.Line{line}, t0.Add(time.Duration(i)*time.Second))
	}
	found := map[string]bool{}
	for _, a := range *alerts {
		if found[a.Scenario] = true; a.Simulated != (a.Scenario == "crowdsecurity/ssh-bf") {
			t.Errorf("%s is simulated: %v", a.Scenario, a.Simulated)
		}
		var ports, users string
		for _, kv := range a.Meta {
			switch kv.Key {
			case "ports":
				ports = kv.Value
			case "target_user":
				users = kv.Value
			}
		}
		if users != `["root"]` || !strings.Contains(ports, "/var/log/auth.log") {
			t.Errorf("context of %s: %v", a.Scenario, a.Meta)
		}
	}
	if !found["crowdsecurity/ssh-bf"] {
		t.Errorf("alerts %v", *alerts)
	}
	if s := e.Stats(); s.Failures > 0 {
		t.Errorf("%d failures, the last: %s", s.Failures, s.LastFailure)
	}
}

// Postoverflows, contexts and all the rest cost a line that is poured nothing.
func TestAllOfTheHubDoesNotAllocate(t *testing.T) {
	if testing.Short() {
		t.Skip("short runs have the race detector, under which kept memory is thrown away at random")
	}
	e, alerts := everything(t)
	pages := nginxLines()[:64]
	for i := range pages {
		pages[i].Raw = strings.Replace(pages[i].Raw, `" 200 `, `" 404 `, 1)
	}
	// Logins that work have no place where they come from without a database of places, so a
	// condition fails for each of them; those that don't work come back slowly enough.
	var logins []event.Line
	for i := range 32 {
		logins = append(logins,
			syslogLine(fmt.Sprintf("Mar 14 10:00:00 box sshd[77]: Accepted publickey for u%d from 198.51.100.%d port 22 ssh2: ED25519 SHA256:abc", i, i)),
			syslogLine(fmt.Sprintf("Mar 14 10:00:00 box sshd[77]: Failed password for root from 203.0.113.%d port 4%d ssh2", i, i)))
	}
	now := t0
	for _, c := range []struct {
		name  string
		batch []event.Line
		apart time.Duration
	}{{"pages", pages, 24 * time.Hour}, {"logins", logins, 70 * time.Second}} {
		step := func() {
			now = now.Add(c.apart)
			e.Process(c.batch, now)
			e.Advance(now)
		}
		for range 150 { // until the queues of conditions are full
			step()
		}
		*alerts = nil
		before := e.Stats()
		if n := testing.AllocsPerRun(10, step); n != 0 || len(*alerts) > 0 {
			t.Errorf("%s: %v allocations for %d lines, %d alerts", c.name, n, len(c.batch), len(*alerts))
		}
		after := e.Stats()
		if after.Poured == before.Poured {
			t.Errorf("%s: no line was poured", c.name)
		}
		if failed := after.Failures > before.Failures; failed != (c.name == "logins") {
			t.Errorf("%s: failed: %s", c.name, after.LastFailure)
		}
	}
}
