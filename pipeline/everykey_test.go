package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// Content with every key that parsers, scenarios and what is in them can have does
// what it says.
func TestEveryKey(t *testing.T) {
	c, errs := hub.Load("testdata/everykey")
	var got []string
	now := t0
	e, faulty := pipeline.Load(pipeline.Options{
		Content: c, DataDir: t.TempDir(), Now: func() time.Time { return now },
		Warn: func(m string) { t.Log(m) },
		Alert: func(a decisions.Alert) {
			var kv []string
			for _, m := range a.Meta {
				kv = append(kv, m.Key+"="+m.Value)
			}
			slices.Sort(kv)
			got = append(got, fmt.Sprintf("%s %s=%s %d/%d %v %s", strings.TrimPrefix(a.Scenario, "odd/"), a.Source.Scope, a.Source.Value, a.EventsCount, len(a.Events), a.Remediation, strings.Join(kv, " ")))
		},
	})
	for _, err := range append(errs, faulty...) {
		t.Error(err)
	}
	f := func(line string, want ...string) {
		t.Helper()
		now = now.Add(time.Second)
		got = nil
		e.Process([]event.Line{{Raw: line, Src: "odd.log", Module: "file", Labels: map[string]string{"type": "odd"}}}, now)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", line, got, want)
		}
	}
	const user = `{"user":"u"}`
	f("192.0.2.1 a=b1 x never", `bayesian Ip=192.0.2.1 1/1 false rights=["b1"]`)
	f("192.0.2.1 a=b2 never " + user)
	f("192.0.2.1 a=b2 never " + user) // that was seen; not so by the conditional one
	f("192.0.2.1 a=b3 baa "+user,
		`leaky Range=192.0.2.1/24 3/2 true rights=["b2","b3"] user=["u"]`,
		`trigger Range=192.0.2.1/24 1/1 false `) // "true" is a text
	f("192.0.2.1 a=b4 never -")
	f("192.0.2.1 a=stop never -")
	f("198.51.100.7 a=b4 never -")
	f(`192.0.2.9 a=b5 never {"user":"admin"}`)
	f("192.0.2.30 a=b6 x -")
	f("192.0.2.30 a=b7 x -")
	f("192.0.2.30 a=b7 bar -", `conditional Ip=192.0.2.30 3/3 false rights=["b6","b7"]`)
	now, got = now.Add(time.Hour), nil
	e.Advance(now)
	if want := []string{`counter Ip=192.0.2.1 5/5 false rights=["b1","b2","b3","b4","stop"] user=["u"]`}; !slices.Equal(got, want) {
		t.Errorf("after an hour: %q, want %q", got, want)
	}
	s := e.Stats()
	if s.Lines != 11 || s.Parsed != 11 || s.Whitelisted != 2 || s.Pardoned != 1 || s.Failures != 0 || s.Buckets.Specs[0].Cancelled != 1 {
		t.Errorf("%+v", s)
	}
}
