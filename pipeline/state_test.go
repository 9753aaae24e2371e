package pipeline_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// An engine that is stopped and started again has the alerts of one that ran on,
// also when its content has changed so that all fields have other numbers.
func TestStateOutlivesTheEngine(t *testing.T) {
	context := hub.Item{Kind: hub.ConsoleContext, Path: "context.yaml", Data: []byte("words: [evt.Parsed.word]\nraw: [evt.Line.Raw]\n")}
	content := contentOf(ofAllKinds)
	content.Settings = []hub.Item{context}
	more := contentOf(append([]item{
		{hub.Parser, "s01-parse", "name: more\nstatics: [{parsed: aaa, value: x}, {meta: aaa, value: x}, {parsed: zzz, value: x}]\nfilter: evt.Meta.never == 'x'\n"},
		{hub.Scenario, "", "name: more\ndescription: d\ntype: trigger\nfilter: evt.Meta.bbb == 'x'\n"},
	}, ofAllKinds...))
	more.Settings = []hub.Item{{Kind: hub.ConsoleContext, Path: "c.yaml", Data: []byte("first: [evt.Meta.ccc]\n")}, context}

	var batches [][]event.Line
	for i := range 40 {
		var batch []event.Line
		for j := range 30 {
			n := i*30 + j
			word := []string{"stop", "w1", "w2", "w3", "w4", "w5", "x"}[n*n%97%7] // those that ask no stash
			batch = append(batch, event.Line{Raw: fmt.Sprintf("192.0.2.%d 192.0.%d.0/24 %s", n%5, n%3, word), Module: "file"})
		}
		batches = append(batches, batch)
	}
	run := func(restart func(*pipeline.Engine) *pipeline.Engine, alerts *[]decisions.Alert) []decisions.Alert {
		e, first := teamOf(t, 1, pipeline.Options{Content: content})
		now := t0
		for i, batch := range batches {
			if i == 20 && restart != nil {
				e = restart(e)
			}
			now = now.Add(time.Second)
			e.Process(batch, now)
			e.Advance(now)
		}
		if alerts != nil {
			return append(*first, *alerts...)
		}
		return *first
	}
	want := run(nil, nil)
	if len(want) < 30 {
		t.Fatalf("%d alerts", len(want))
	}
	for _, c := range []hub.Content{content, more} {
		next, alerts := teamOf(t, 1, pipeline.Options{Content: c})
		got := run(func(e *pipeline.Engine) *pipeline.Engine {
			var state bytes.Buffer
			if err := e.SaveState(&state); err != nil {
				t.Fatal(err)
			}
			if err := next.LoadState(&state, t0.Add(20*time.Second)); err != nil {
				t.Fatal(err)
			}
			return next
		}, alerts)
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("%d alerts instead of %d:\n%s", len(got), len(want), cmp.Diff(want, got))
		}
	}
}

// A scenario that was changed begins anew.
func TestStateOfChangedScenarios(t *testing.T) {
	const s = "name: NAME\ndescription: d\ntype: leaky\ncapacity: 2\nleakspeed: 1m\nfilter: evt.Parsed.word == 'x'\ngroupby: evt.Parsed.ip\n"
	load := func(a, b string) (*pipeline.Engine, *[]decisions.Alert) {
		return teamOf(t, 1, pipeline.Options{Content: contentOf([]item{
			{hub.Parser, "s01-parse", "name: rest\nstatics: [{meta: word, expression: evt.Parsed.word}]\n"},
			{hub.Scenario, "", strings.Replace(a, "NAME", "a", 1)}, {hub.Scenario, "", strings.Replace(b, "NAME", "b", 1)},
		})})
	}
	line := []event.Line{{Raw: "192.0.2.1 192.0.2.0/24 x", Module: "file"}}
	f := func(a, b, want string) {
		t.Helper()
		old, _ := load(s, s)
		old.Process(line, t0)
		old.Process(line, t0)
		var state bytes.Buffer
		if err := old.SaveState(&state); err != nil {
			t.Fatal(err)
		}
		e, alerts := load(a, b)
		if err := e.LoadState(&state, t0); err != nil {
			t.Fatal(err)
		}
		e.Process(line, t0)
		var got []string
		for _, a := range *alerts {
			got = append(got, fmt.Sprint(a.Scenario, " ", a.EventsCount))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("alerts %q, want %q", got, want)
		}
	}
	f(s, s, "a 3, b 3")
	f(s, strings.Replace(s, "capacity: 2", "capacity: 3", 1), "a 3")
	f(strings.Replace(s, "'x'", "'x' || false", 1), s, "b 3")
	f(strings.Replace(s, "description: d", "description: other", 1), "", "a 3")
	f(strings.Replace(s, "NAME", "c", 1), s, "b 3")
}

// What is no state is refused, and the engine works.
func TestNoState(t *testing.T) {
	e, alerts := load(t)
	for _, text := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		if err := e.LoadState(strings.NewReader(text), t0); err == nil || !strings.Contains(err.Error(), "cannot load buckets") {
			t.Errorf("%.9q: error %v", text, err)
		}
	}
	for i := range 6 {
		e.Process([]event.Line{syslogLine(fmt.Sprintf("Mar 14 10:00:%02d box sshd[77]: Failed password for root from 192.0.2.7 port 22 ssh2", i))}, t0)
	}
	if len(*alerts) != 1 {
		t.Errorf("%d alerts", len(*alerts))
	}
}
