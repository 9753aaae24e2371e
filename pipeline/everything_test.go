package pipeline_test

import (
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
	batch := nginxLines()
	for i := range batch[:64] {
		batch[i].Raw = strings.Replace(batch[i].Raw, `" 200 `, `" 404 `, 1)
	}
	now := t0
	step := func() {
		now = now.Add(24 * time.Hour)
		e.Process(batch[:64], now)
		e.Advance(now)
	}
	for range 40 {
		step()
	}
	*alerts = nil
	before := e.Stats().Poured
	if n := testing.AllocsPerRun(10, step); n != 0 || len(*alerts) > 0 {
		t.Errorf("%v allocations for 64 lines, %d alerts", n, len(*alerts))
	}
	if e.Stats().Poured == before {
		t.Error("no line was poured")
	}
}
