package pipeline_test

import (
	"fmt"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

var t0 = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

// load returns an engine of the starter set and where its alerts go.
func load(tb testing.TB) (*pipeline.Engine, *[]decisions.Alert) {
	tb.Helper()
	var alerts []decisions.Alert
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Base(),
		Now:     func() time.Time { return t0 },
		Alert:   func(a decisions.Alert) { alerts = append(alerts, a) },
		Warn:    func(m string) { tb.Errorf("warning: %s", m) },
	})
	for _, err := range errs {
		tb.Error(err)
	}
	if tb.Failed() {
		tb.FailNow()
	}
	return e, &alerts
}

func syslogLine(text string) event.Line {
	return event.Line{Raw: text, Src: "/var/log/auth.log", Module: "file", Labels: map[string]string{"type": "syslog"}}
}

func TestBruteForce(t *testing.T) {
	e, alerts := load(t)
	for i := range 6 {
		line := fmt.Sprintf("Mar 14 10:00:%02d box sshd[77]: Failed password for root from 192.0.2.7 port %d ssh2", i, 40000+i)
		e.Process([]event.Line{syslogLine(line)}, t0.Add(time.Duration(i)*time.Second))
	}
	if len(*alerts) != 1 {
		t.Fatalf("%d alerts, want 1; stats %+v", len(*alerts), e.Stats())
	}
	a := (*alerts)[0]
	if a.Scenario != "cs/ssh-bf" || a.Source.Scope != "Ip" || a.Source.Value != "192.0.2.7" || a.EventsCount != 6 || !a.Remediation {
		t.Fatalf("got %+v", a)
	}
}
