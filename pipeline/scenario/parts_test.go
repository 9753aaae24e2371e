package scenario_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/scenario"
)

// Expressions about a bucket see of its events all that the events had.
func TestConditionsReadWholeEvents(t *testing.T) {
	run := func(condition string, want bool) {
		t.Helper()
		w := compileWith(t, "type: conditional\nname: c\ndescription: d\nfilter: evt.Meta.source_ip != ''\nleakspeed: 1h\ncapacity: -1\ncondition: |\n  len(queue.Queue) == 2 && ("+condition+")\n",
			func(c *scenario.Compiler) { c.Warn = func(message string) { t.Error(message) } })
		doc, err := w.event.Schema().Intern(event.Unmarshaled, "doc")
		if err != nil {
			t.Fatal(err)
		}
		w.event = event.New(w.event.Schema())
		ctx := w.run.Expr
		ctx.Event, ctx.Stage = w.event, "s02-enrich"
		labels := map[string]string{"type": "syslog", "zone": "dmz"}
		for i := range 2 {
			n := fmt.Sprint(i)
			w.event.Reset(event.Line{Raw: "line " + n, Src: "/var/log/x", Module: "file", Labels: labels, Time: t0.Add(time.Duration(i) * time.Second)})
			w.event.Time = t0
			w.event.StrTime, w.event.StrTimeFormat = "Mar 14 10:00:0"+n, "Jan _2 15:04:05"
			w.event.Set(w.intern(w.event.Schema(), "Meta.source_ip"), "192.0.2.1")
			w.event.SetDoc(doc, map[string]any{"n": float64(i), "text": "t" + n, "list": []any{true, nil, "x"}, "kv": map[string]string{"k": n}})
			w.run.Run(t0)
		}
		if len(w.failed) > 0 || want != (len(w.alerts) == 1) {
			t.Errorf("%s: %d alerts, failed %v", condition, len(w.alerts), w.failed)
		}
	}
	run("queue.Queue[0].Line.Raw == 'line 0' && queue.Queue[-1].Line.Raw == 'line 1'", true)
	run("queue.Queue[0].Line.Raw == 'line 1'", false)
	run("all(queue.Queue, {#.Line.Src == '/var/log/x' && #.Line.Module == 'file' && #.Line.Process})", true)
	run("queue.Queue[1].Line.Time.Sub(queue.Queue[0].Line.Time) == duration('1s')", true)
	run("queue.Queue[0].Line.Labels.type == 'syslog' && queue.Queue[0].Line.Labels['zone'] == 'dmz' && queue.Queue[0].Line.Labels.none == ''", true)
	run("len(queue.Queue[0].Line.Labels) == 2", true)
	run("queue.Queue[0].StrTime == 'Mar 14 10:00:00' && queue.Queue[1].StrTime == 'Mar 14 10:00:01' && queue.Queue[0].StrTimeFormat == 'Jan _2 15:04:05'", true)
	run("queue.Queue[0].Stage == 's02-enrich' && queue.Queue[0].WhitelistReason == ''", true)
	run("queue.Queue[1].Unmarshaled.doc.n == 1 && queue.Queue[1].Unmarshaled.doc.text == 't1' && queue.Queue[0].Unmarshaled.doc.kv.k == '0'", true)
	run("queue.Queue[1].Unmarshaled.doc.list[0] && queue.Queue[1].Unmarshaled.doc.list[1] == nil && len(queue.Queue[1].Unmarshaled.doc.list) == 3", true)
	run("queue.Queue[1].Unmarshaled.none == nil", true)
	run("queue.Queue[0].Overflow.Alert == nil && len(queue.Queue[0].Overflow.GetSources()) == 0 && queue.Queue[0].Overflow.Mapkey == ''", true)
	run("queue.Queue[0].ParseIPSources()[0].String() == '192.0.2.1'", true)
	run("!queue.Queue[0].Appsec.HasInBandMatches", true)
	run("queue.Queue[0].GetMeta('source_ip') == '192.0.2.1' && queue.GetQueue()[0].Meta.source_ip == '192.0.2.1'", true)
}

// The same of an overflow that became an event.
func TestConditionsReadOverflows(t *testing.T) {
	w := compile(t, "type: conditional\nname: c\ndescription: d\nfilter: evt.Overflow.Alert != nil\nleakspeed: 1h\ncapacity: -1\ncondition: |\n"+
		"  len(queue.Queue) == 2 && queue.Queue[0].Overflow.Alert.Scenario == 'first' && queue.Queue[1].Overflow.Alert.Scenario == 'second'\n"+
		"  && queue.Queue[0].Overflow.Mapkey == 'k' && queue.Queue[0].Overflow.Reprocess && 'key' in queue.Queue[0].Overflow.GetSources()\n"+
		"  && queue.Queue[0].Overflow.Sources['key'].IP == '192.0.2.9' && len(queue.Queue[0].Overflow.APIAlerts) == 1\n"+
		"  && queue.Queue[0].Overflow.Alert.Events[0].GetMeta('user') == 'root' && queue.Queue[0].GetType() == 'overflow'\n"+
		"  && queue.Queue[0].Overflow.Alert.StartAt startsWith '2026-03-14' && queue.Queue[0].ParseIPSources()[0].String() == '192.0.2.9'\n")
	for _, name := range []string{"first", "second"} {
		o := &scenario.Overflow{Keys: []string{"192.0.2.9"}, Alerts: []decisions.Alert{{
			Scenario: name, StartAt: t0, Source: decisions.Source{Scope: "Ip", Value: "192.0.2.9", IP: "192.0.2.9"},
			Events: []decisions.Event{{Meta: []decisions.KeyValue{{Key: "user", Value: "root"}}}},
		}}}
		w.event.Reset(event.Line{})
		w.event.Time = t0
		x := w.run.Expr
		x.Alerts, x.Alert, x.Mapkey, x.Reprocess, x.Sources = o.Alerts, &o.Alerts[0], "k", true, []string{"key"}
		w.run.RunOverflow(o, t0)
	}
	if len(w.alerts) != 1 || len(w.failed) > 0 {
		t.Errorf("%d alerts, failed %v", len(w.alerts), w.failed)
	}
}

// What no expression mentions is not kept, and what is too large is left out.
func TestBucketsKeepLittle(t *testing.T) {
	kept := func(condition string, line string, doc any) int {
		w := compile(t, "type: conditional\nname: c\ndescription: d\nfilter: evt.Meta.source_ip != ''\nleakspeed: 1h\ncapacity: -1\ncondition: "+condition+"\n")
		slot, err := w.event.Schema().Intern(event.Unmarshaled, "doc")
		if err != nil {
			t.Fatal(err)
		}
		w.event = event.New(w.event.Schema())
		w.run.Expr.Event = w.event
		w.event.Reset(event.Line{Raw: line})
		w.event.Set(w.intern(w.event.Schema(), "Meta.source_ip"), "192.0.2.1")
		w.event.SetDoc(slot, doc)
		w.run.Run(t0)
		if len(w.failed) > 0 {
			t.Errorf("%s: failed %v", condition, w.failed)
		}
		return w.set.Buckets().KeptBytes
	}
	large := strings.Repeat("x", 1<<20)
	least := kept("len(queue.Queue) > 9", "", nil)
	if n := kept("len(queue.Queue) > 9", large, large); n != least {
		t.Errorf("%d bytes are kept of what nobody asks for", n-least)
	}
	if n := kept("queue.Queue[0].Line.Raw == ''", large, nil); n < 1<<10 || n > 16<<10 {
		t.Errorf("%d bytes of a line are kept", n)
	}
	deep := any("x")
	for range 100_000 {
		deep = []any{deep}
	}
	for name, doc := range map[string]any{"long": large, "wide": map[string]any{"a": []any{large, large}}, "texts": map[string]string{"a": large}, "deep": deep} {
		if n := kept("queue.Queue[0].Unmarshaled.doc == 1", "", map[string]any{"a": doc}); n > 64<<10 {
			t.Errorf("%s: %d bytes of a document are kept", name, n)
		}
	}
}

// What conditions of the hub ask about queues costs no allocation.
func TestConditionsDoNotAllocate(t *testing.T) {
	for _, condition := range []string{
		`let failed = filter(queue.Queue, {#.Meta.b == 'x'}); len(failed) >= 4 && MedianInterval(map(failed[-4:], {#.Time})) > duration("10h")`,
		`let failed = filter(queue.Queue, {#.GetMeta("b") == 'x'}); len(failed) >= 4 && AverageInterval(map(failed, {#.Time})) > duration("10h")`,
		`len(queue.Queue) >= 2 and Distance(queue.Queue[-1].Enriched.Latitude, queue.Queue[-1].Enriched.Longitude, queue.Queue[-2].Enriched.Latitude, queue.Queue[-2].Enriched.Longitude) > 1000`,
		`len(queue.Queue) >= 2 and any(queue.Queue, {.Meta.b in ["/usr/bin/wget", "/usr/bin/curl"]})`,
		`any(queue.Queue, { .Meta.b matches '^\\/(usr\\/(local\\/)?)?bin\\/(sh|bash|perl|dash|zsh)$' }) && queue.Queue[0].Meta.b == queue.Queue[1].Meta.b`,
		`any(queue.Queue, { !(.Meta.b == "x" or .Meta.b startsWith "/bin/")}) || queue.Queue[-1].Time.Hour() > 23`,
		`any(queue.Queue, { .Line.Raw contains "y" || .StrTime == "y" || .Stage == "y" || .Line.Labels.type == "y"})`,
		`count(queue.Queue, {.Meta.b == "y"}) > 1 || len(map(filter(queue.Queue, {.Meta.b == "x"}), {#})) > 1000`,
		`leaky.Total_count > 1000000`,
	} {
		w := compile(t, "type: conditional\nname: c\ndescription: d\nfilter: evt.Meta.source_ip != ''\nleakspeed: 1h\ncapacity: -1\ncondition: |\n  "+condition+"\n")
		ip, b := w.intern(w.event.Schema(), "Meta.source_ip"), w.intern(w.event.Schema(), "Meta.b")
		at := t0
		labels := map[string]string{"type": "x"}
		step := func() {
			at = at.Add(time.Second)
			w.event.Reset(event.Line{Raw: "x", Labels: labels})
			w.event.Time = at
			w.event.Set(ip, "192.0.2.1")
			w.event.Set(b, "x")
			w.run.Run(at)
		}
		for range 300 {
			step()
		}
		w.run.Failed = func(string, error) {}
		if n := testing.AllocsPerRun(100, step); n != 0 || len(w.alerts) > 0 {
			t.Errorf("%s: %v allocations, %d alerts", condition, n, len(w.alerts))
		}
	}
}
