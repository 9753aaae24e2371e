package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/platform/metric"
	"cs/roles/api"
	"cs/roles/config"
)

// TestNumbers: what is read shows on the page of metrics and in the reports of
// usage, over a reload too.
func TestNumbers(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, "")
	lapi := &fakeLAPI{}
	cfg := Config{
		DataDir: filepath.Join(dir, "data"), LAPI: lapi, Content: starter, Version: "v9",
		Inputs: []config.Acquisition{fileInput("syslog", []string{log})},
	}
	r := start(t, cfg)
	defer r.end()
	lines := int64(0)
	feed := func() {
		for range 4 {
			appendTo(t, log, sshFailure(int(lines)))
			lines++
		}
		appendTo(t, log, "nonsense\n")
		lines++
		eventually(t, "the lines are read", func() bool { return r.agent.stats().Lines == uint64(lines) })
	}
	page := func(level string) string {
		var w metric.Writer
		r.agent.Metrics(level)(context.Background(), &w)
		text := strings.ReplaceAll(string(w.Bytes()), log, "LOG")
		return regexp.MustCompile(`(?m)^(#.*|cs_(parsing_time|bucket_pour_seconds).*)\n`).ReplaceAllString(text, "")
	}
	feed()
	want := `cs_filesource_hits_total{source="LOG",datasource_type="file",acquis_type="syslog"} 5
cs_parser_hits_total{source="LOG",type="file"} 5
cs_parser_hits_ok_total{source="LOG",type="file",acquis_type="syslog"} 4
cs_parser_hits_ko_total{source="LOG",type="file",acquis_type="syslog"} 1
cs_node_hits_total{source="LOG",type="file",name="child-cs/syslog",stage="s00-raw",acquis_type="syslog"} 7
cs_node_hits_total{source="LOG",type="file",name="cs/syslog",stage="s00-raw",acquis_type="syslog"} 5
`
	got := page("full")
	for _, want := range append(strings.Split(strings.TrimSpace(want), "\n"),
		`cs_bucket_poured_total{source="LOG",type="file",name="cs/ssh-bf"} 4`,
		`cs_buckets{name="cs/ssh-bf"} 1`,
		`cs_bucket_instantiation_total{name="cs/ssh-bf"} 1`,
		`cs_agent_alerts_waiting 0`,
	) {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if got := page("aggregated"); strings.Contains(got, "cs_node_hits") || strings.Contains(got, "poured") || !strings.Contains(got, "cs_bucket_instantiation") {
		t.Errorf("got\n%s", got)
	}
	if got := page("none"); got != "" {
		t.Errorf("got\n%s", got)
	}

	eventually(t, "the first report", func() bool { lapi.mu.Lock(); defer lapi.mu.Unlock(); return len(lapi.reports) == 1 })
	first := lapi.reports[0]
	if first.Version != "v9" || first.Datasources["file"] != 1 || len(first.HubItems["scenarios"]) < 4 || first.HubItems["collections"] == nil {
		t.Errorf("got %+v", first)
	}
	u := usage{started: time.Now()}
	tell := func() string {
		if err := r.agent.report(t.Context(), lapi, &u, time.Unix(1800000000, 0)); err != nil {
			t.Fatal(err)
		}
		lapi.mu.Lock()
		defer lapi.mu.Unlock()
		report := lapi.reports[len(lapi.reports)-1]
		var items []string
		for _, it := range report.Metrics[0].Items {
			if it.Labels["parser_name"] == "" || it.Labels["parser_name"] == "cs/syslog" {
				labels, _ := json.Marshal(it.Labels)
				items = append(items, strings.ReplaceAll(fmt.Sprintf("%s %v %s %s", it.Name, it.Value, it.Unit, labels), log, "LOG"))
			}
		}
		slices.Sort(items)
		return strings.Join(items, "\n")
	}
	const labels = `{"acquis_type":"syslog","datasource_type":"file","source":"LOG"}`
	const parser = `{"acquis_type":"syslog","datasource_type":"file","parser_name":"cs/syslog","parser_stage":"s00-raw","source":"LOG"}`
	if got, want := tell(), "global_parsed 4 line "+labels+"\nglobal_unparsed 1 line "+labels+"\nparsed 4 line "+parser+"\nread 5 line "+labels+"\nunparsed 1 line "+parser; got != want {
		t.Errorf("got\n%s", got)
	}
	if got := tell(); got != "" {
		t.Errorf("nothing has happened, but it tells\n%s", got)
	}
	if err := r.agent.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	feed()
	if got := page("full"); !strings.Contains(got, `cs_filesource_hits_total{source="LOG",datasource_type="file",acquis_type="syslog"} 10`) ||
		!strings.Contains(got, `cs_bucket_instantiation_total{name="cs/ssh-bf"} 2`) || !strings.Contains(got, `cs_bucket_overflowed_total{name="cs/ssh-bf"} 1`) {
		t.Errorf("after a reload, got\n%s", got)
	}
	if got := tell(); !strings.Contains(got, "read 5 line") {
		t.Errorf("got\n%s", got)
	}
}

// TestReportsWait: a LAPI that is away gets the report later, and an old one none.
func TestReportsWait(t *testing.T) {
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "log"), "")
	lapi := &fakeLAPI{}
	var answer error = errUnreachable
	asked := 0
	lapi.answer = func(call int, _ []decisions.Alert) (bool, error) {
		asked++
		return answer == nil, answer
	}
	cfg := Config{DataDir: filepath.Join(dir, "data"), LAPI: lapi, load: loadFake, Inputs: []config.Acquisition{fileInput("x", []string{filepath.Join(dir, "log")})}}
	r := start(t, cfg)
	change := func(err error) { lapi.mu.Lock(); answer = err; lapi.mu.Unlock() }
	eventually(t, "it is asked", func() bool { lapi.mu.Lock(); defer lapi.mu.Unlock(); return asked >= 2 })
	change(nil)
	eventually(t, "the report arrives", func() bool { lapi.mu.Lock(); defer lapi.mu.Unlock(); return len(lapi.reports) > 0 })
	r.end()
	change(&api.Error{Status: 404})
	r = start(t, cfg)
	eventually(t, "it is told", func() bool { return strings.Contains(r.text(), "takes no reports of usage") })
	r.end()
}
