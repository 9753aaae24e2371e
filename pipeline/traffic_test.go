package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// What is counted of lines, by source, and goes on in an engine that takes the
// place of another.
func TestTraffic(t *testing.T) {
	item := func(kind hub.Kind, stage, text string) hub.Item {
		return hub.Item{Kind: kind, Stage: stage, Path: stage + ".yaml", Data: []byte(text)}
	}
	opt := pipeline.Options{
		Meters: pipeline.NewMeters(),
		Content: hub.Content{Items: []hub.Item{
			item(hub.Parser, "s01-parse", `
name: me/logs
onsuccess: next_stage
filter: evt.Line.Labels.type == 'x'
nodes:
 - grok: {pattern: '^failed %{IP:ip}$', apply_on: Line.Raw}
 - name: good
   grok: {pattern: '^welcome %{IP:ip}$', apply_on: Line.Raw}
statics: [{meta: source_ip, expression: evt.Parsed.ip}]
`),
			item(hub.Parser, "s02-enrich", "name: me/friends\nwhitelist: {reason: friends, ip: [192.0.2.9]}\n"),
			item(hub.Scenario, "", "type: leaky\nname: me/bf\ndescription: d\nfilter: evt.Line.Raw startsWith 'failed'\ngroupby: evt.Meta.source_ip\ncapacity: 1\nleakspeed: 10s\nlabels: {remediation: true}\n"),
			item(hub.PostOverflow, "s00-enrich", "name: me/pardon\nwhitelist: {reason: pardoned, ip: [192.0.2.2]}\n"),
		}},
		Alert: func(a decisions.Alert) {},
	}
	e, errs := pipeline.Load(opt)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	feed := func(e *pipeline.Engine) {
		var batch []event.Line
		x, y := map[string]string{"type": "x"}, map[string]string{"type": "y"}
		add := func(src, raw string, labels map[string]string) {
			batch = append(batch, event.Line{Raw: raw, Src: src, Module: "file", Labels: labels})
		}
		add("/a", "failed 192.0.2.1", x)
		add("/a", "welcome 192.0.2.1", x)
		add("/b", "failed 192.0.2.9", x)
		add("/a", "failed 192.0.2.2", x)
		add("/a", "nonsense", x)
		add("/a", "failed 192.0.2.2", x) // is pardoned
		add("/b", "failed 192.0.2.1", y)
		e.Process(batch, t0)
	}
	tell := func(e *pipeline.Engine) string {
		var b strings.Builder
		for _, s := range e.Traffic() {
			fmt.Fprintf(&b, "%s %s %s: %d lines, %d parsed\n", s.Source, s.Module, s.Type, s.Lines, s.Parsed)
			for _, n := range s.Nodes {
				fmt.Fprintf(&b, "  %s %s: %d, %d", n.Stage, n.Name, n.Passed, n.Succeeded)
				if n.Whitelist {
					fmt.Fprintf(&b, ", %s %d", n.Reason, n.Listed)
				}
				fmt.Fprintln(&b)
			}
			for _, p := range s.Poured {
				fmt.Fprintf(&b, "  %s: %d\n", p.Name, p.Lines)
			}
		}
		return b.String()
	}
	feed(e)
	want := `  : 0 lines, 0 parsed
  s00-enrich me/pardon: 1, 1, pardoned 1
/a file x: 5 lines, 4 parsed
  s01-parse child-me/logs: 5, 3
  s01-parse good: 2, 1
  s01-parse me/logs: 5, 4
  s02-enrich me/friends: 4, 4, friends 0
  me/bf: 3
/b file x: 1 lines, 1 parsed
  s01-parse child-me/logs: 1, 1
  s01-parse me/logs: 1, 1
  s02-enrich me/friends: 1, 1, friends 1
/b file y: 1 lines, 0 parsed
`
	if got := tell(e); got != want {
		t.Fatalf("got\n%s", got)
	}
	if got := e.Buckets(); len(got) != 1 || got[0].Created != 2 || got[0].Overflowed != 1 || got[0].Live != 1 {
		t.Errorf("buckets: %+v", got)
	}
	again, _ := pipeline.Load(opt)
	feed(again)
	if got := tell(again); !strings.Contains(got, "/a file x: 10 lines, 8 parsed") || !strings.Contains(got, "me/bf: 6") {
		t.Errorf("after an exchange:\n%s", got)
	}
}

// Sources without end are counted together.
func TestTrafficIsBounded(t *testing.T) {
	e, _ := pipeline.Load(pipeline.Options{})
	for i := range 3000 {
		e.Process([]event.Line{{Raw: "x", Src: fmt.Sprint(i), Module: "file"}}, time.Now())
	}
	all := e.Traffic()
	if len(all) != 1001 || all[1000].Source != "other" || all[1000].Lines != 2000 {
		t.Errorf("%d sources, the last is %+v", len(all), all[len(all)-1])
	}
}

// Lines of two sources in turn, as a syslog server gets them, cost no memory.
func TestTrafficOfTwoSourcesDoesNotAllocate(t *testing.T) {
	e, _ := pipeline.Load(pipeline.Options{Workers: 1})
	batch := make([]event.Line, 100)
	for i := range batch {
		batch[i] = event.Line{Raw: "x", Src: []string{"192.0.2.1", "192.0.2.2"}[i%2], Module: "syslog"}
	}
	e.Process(batch, t0)
	if n := testing.AllocsPerRun(50, func() { e.Process(batch, t0) }); n != 0 {
		t.Errorf("%v allocations for 100 lines", n)
	}
}
