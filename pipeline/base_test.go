package pipeline_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/platform/sharedtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The starter set over the logs in testdata/base: what it reports is in the
// golden file beside each.
func TestStarterSet(t *testing.T) {
	f := func(log, typ string) {
		t.Helper()
		e, alerts := load(t)
		path := filepath.Join("testdata", "base", log)
		replay(t, e, path, typ)
		golden(t, path+".alerts", describe(*alerts))
	}
	f("ssh.log", "syslog")
	f("ssh-forms.log", "syslog")
	f("ssh-injection.log", "syslog")
	f("syslog-heads.log", "syslog")
	f("web.log", "nginx")
	f("web-syslog.log", "syslog")
}

// What the starter set must leave in peace: people who mistype, agents with
// many keys, pages that lost their pictures, monitors, crawlers.
func TestStarterSetPeace(t *testing.T) {
	f := func(log, typ string) {
		t.Helper()
		e, alerts := load(t)
		replay(t, e, filepath.Join("testdata", "base", log), typ)
		if s := e.Stats(); s.Parsed == 0 || s.Poured == 0 || len(*alerts) > 0 {
			t.Errorf("%s: %d lines parsed, %d poured, and these alerts:\n%s", log, s.Parsed, s.Poured, describe(*alerts))
		}
	}
	f("ssh-peace.log", "syslog")
	f("web-peace.log", "nginx")
}

// A real log of a peaceful web site.
func TestRealWebLog(t *testing.T) {
	e, alerts := load(t)
	replay(t, e, filepath.Join(sharedtest.Dir(t), "logs", "web-access.log"), "web")
	s := e.Stats()
	golden(t, filepath.Join("testdata", "real-web.alerts"), fmt.Sprintf("%d lines, %d parsed, %d poured, %d failures\n%s",
		s.Lines, s.Parsed, s.Poured, s.Failures, describe(*alerts)))
}

// replay processes a file by the times in it.
func replay(t *testing.T, e *pipeline.Engine, path, typ string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"type": typ}
	var batch []event.Line
	for line := range strings.Lines(string(data)) {
		batch = append(batch, event.Line{
			Raw: strings.TrimSuffix(line, "\n"), Src: filepath.Base(path), Module: "file", Labels: labels, Mode: event.Replay,
		})
		if len(batch) == 100 {
			e.Process(batch, t0)
			batch = batch[:0]
		}
	}
	e.Process(batch, t0)
}

func describe(alerts []decisions.Alert) string {
	var b bytes.Buffer
	for _, a := range alerts {
		fmt.Fprintf(&b, "%s\n", a.Message)
		fmt.Fprintf(&b, "  %s %s, %d events, %d kept, %s to %s, remediation %v\n",
			a.Source.Scope, a.Source.Value, a.EventsCount, len(a.Events), a.StartAt.Format("15:04:05"), a.StopAt.Format("15:04:05"), a.Remediation)
		last := a.Events[len(a.Events)-1]
		fmt.Fprintf(&b, "  last: %s", last.Timestamp)
		for _, kv := range last.Meta {
			fmt.Fprintf(&b, " %s=%q", kv.Key, kv.Value)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update rewrites it):\n%s", path, diff)
	}
}
