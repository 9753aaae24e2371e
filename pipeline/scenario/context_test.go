package scenario_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cs/pipeline/hub"
	"cs/pipeline/scenario"
)

// context adds installed contexts and bounds their values.
func context(t *testing.T, length int, texts ...string) func(*scenario.Compiler) {
	return func(c *scenario.Compiler) {
		c.ContextLength = length
		for _, text := range texts {
			for _, err := range c.AddContext(hub.Item{Kind: hub.Context, Path: "c.yaml", Data: []byte(text)}) {
				t.Fatal(err)
			}
		}
	}
}

// meta returns the context of the last alert.
func (w *world) meta() string {
	w.t.Helper()
	if len(w.alerts) == 0 {
		w.t.Fatal("no alert")
	}
	var out []string
	for _, kv := range w.alerts[len(w.alerts)-1].Meta {
		out = append(out, kv.Key+"="+kv.Value)
	}
	w.alerts = nil
	return strings.Join(out, " ")
}

func TestContext(t *testing.T) {
	w := compileWith(t, leaky, context(t, 0, `
context:
  users: [evt.Meta.user, "Upper(evt.Meta.user)", evt.Meta.user]
  port: ["evt.Meta.what in ['fail'] ? evt.Meta.what + ':' + evt.Parsed.p : ''"]
  number: [int(evt.Parsed.p) - 20]
`, `
name: second
context:
  users: [evt.Meta.user, evt.Meta.b]
  list: ["Split(evt.Meta.source_ip, '.0')", "filter(['', 'y'], true)"]
  none: [evt.Meta.nothing, nil, "'' + evt.Parsed.none"]
  web: ["req != nil ? req.Host : ''", "req.Method != '' ? JA4H(req) : ''", "(match.uri != nil && match.internal != true) ? match.uri : ''"]
  early: [evt.Line.Src, evt.GetMeta('user') + '!', len(evt.Line.Labels)]
  float: ["float(evt.Parsed.p) / 2", 1 == 2, "1 == 1"]
`, "context:\n  users: ['evt.Meta.user == \"u2\" ? string(int(evt.Meta.user)) : \"\"']\n"))
	for i := range 4 {
		f := fail("192.0.2.1")
		f["Meta.user"], f["Parsed.p"] = fmt.Sprint("u", i/2), "22"
		if i == 3 {
			f["Meta.user"], f["Meta.b"] = "u2", "\x00\xff<"
		}
		w.live(t0, f)
	}
	want := `early=["u0!","0","u1!","u2!"] float=["11","true"] list=["192",".2.1","[ y]"] number=["2"] port=["fail:22"] ` +
		`users=["u0","U0","u1","U1","u2","U2","` + "\uFFFD" + `\u003c"]`
	if got := w.meta(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.Join(w.failed, ", "); got != "context users" {
		t.Errorf("failed: %s", got)
	}
}

// Values that are too long lose their end.
func TestContextLength(t *testing.T) {
	run := func(length int, want string, users ...string) {
		t.Helper()
		w := compileWith(t, strings.Replace(leaky, "capacity: 3", fmt.Sprint("capacity: ", len(users)-1), 1),
			context(t, length, "context: {u: [evt.Meta.user]}\n"))
		for i, u := range users {
			f := fail("192.0.2.1")
			f["Meta.user"] = u
			w.live(t0.Add(time.Duration(i)), f)
		}
		got := w.meta()
		if got != want {
			t.Errorf("%d: got %s, want %s", length, got, want)
		}
		if got == "" {
			return
		}
		var list []string
		if v := strings.TrimPrefix(got, "u="); len(v) > 4000 || length > 0 && len(v) > length || json.Unmarshal([]byte(v), &list) != nil {
			t.Errorf("%d: got %d bytes: %.40s", length, len(v), v)
		}
	}
	run(14, `u=["abc"]`, "abc", "defgh")
	run(15, `u=["abc","defgh"]`, "abc", "defgh")
	run(18, `u=["abc","defgh"]`, "abc", "defgh", "i")
	run(14, `u=["abcdef..."]`, "abcdefghijkl", "x")
	run(13, `u=["abcdef..."]`, "abcdefghijkl", "x")
	run(12, `u=["abc..."]`, "abcdefghijkl", "x")
	run(10, `u=["ä..."]`, "äöüß", "x")
	run(5, "", "abcdefghijkl", "x")
	run(0, `u=["`+strings.Repeat("a", 2500)+`..."]`, strings.Repeat("a", 5000), "x")
	run(9000, `u=["`+strings.Repeat("a", 3996)+`"]`, strings.Repeat("a", 3996), "x")
}

func TestFaultyContext(t *testing.T) {
	f := func(kind hub.Kind, text string, want ...string) {
		t.Helper()
		var got []string
		compileWith(t, leaky, func(c *scenario.Compiler) {
			for _, err := range c.AddContext(hub.Item{Kind: kind, Path: "c.yaml", Data: []byte(text)}) {
				got = append(got, err.Error())
			}
		})
		if len(got) != len(want) {
			t.Fatalf("%s: got %q, want %q", text, got, want)
		}
		for i := range got {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%s: got %q, want %q", text, got[i], want[i])
			}
		}
	}
	f(hub.Context, "context:\n  a: [evt.Meta.x]\n")
	f(hub.ConsoleContext, "a: [evt.Meta.x]\n")
	f(hub.Context, "a: [evt.Meta.x]\n", "cannot load context: c.yaml:1: a: unknown key")
	f(hub.Context, "context:\n  a: evt.Meta.x\n", "cannot load context: c.yaml:2: context.a: want a list")
	f(hub.ConsoleContext, "a:\n - evt.Meta.x\n - evt.Nope\n - nope\n",
		"cannot load context: c.yaml:3: a[1]: cannot compile expression", "cannot load context: c.yaml:4: a[2]: cannot compile expression")
	f(hub.Context, "context: [", "cannot load context: ")
}

func TestSimulation(t *testing.T) {
	f := func(want string, files ...string) {
		t.Helper()
		w := compileWith(t, leaky+"---"+strings.Replace(leaky, "name: bf", "name: other", 1), func(c *scenario.Compiler) {
			for _, text := range files {
				if err := c.Simulate(hub.Item{Kind: hub.Simulation, Path: "simulation.yaml", Data: []byte(text)}); err != nil {
					t.Fatal(err)
				}
			}
		})
		for range 4 {
			w.live(t0, fail("192.0.2.1"))
		}
		var got []string
		for _, a := range w.alerts {
			if a.Simulated {
				got = append(got, a.Scenario)
			}
		}
		if s := strings.Join(got, " "); s != want || len(w.alerts) != 2 {
			t.Errorf("%q: simulated %q of %d, want %q", files, s, len(w.alerts), want)
		}
	}
	f("")
	f("", "simulation: false\n")
	f("bf", "simulation: false\nexclusions: [bf, x]\n")
	f("bf other", "simulation: true\nexclusions: []\n")
	f("other", "simulation: true\nexclusions: [bf]\n")
	f("other", "exclusions: [bf]\n", "simulation: on\n")
	f("bf", "simulation: true\nexclusions: [other]\n", "exclusions: [other]\n")
	f("bf other", "simulation: true\nexclusions: [other]\n", "exclusions: []\n")
	compileWith(t, leaky, func(c *scenario.Compiler) {
		err := c.Simulate(hub.Item{Path: "simulation.yaml", Data: []byte("simulation: false\nexclusion: [bf]\n")})
		if err == nil || !strings.HasPrefix(err.Error(), "cannot load simulation: simulation.yaml:2: exclusion: unknown key") {
			t.Error(err)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add("context:\n  u: [evt.Meta.user, len(evt.Line.Raw)]\n", "simulation: true\nexclusions: [bf]\n", "root", 100)
	f.Add("context: {u: [evt.Parsed.p + evt.Enriched.x], w: ['JA4H(req)', match.uri]}\n", "exclusions:\n", "\xff\x00", 1)
	f.Fuzz(func(t *testing.T, installed, simulation, user string, length int) {
		w := compileWith(t, leaky, func(c *scenario.Compiler) {
			c.ContextLength = length
			c.AddContext(hub.Item{Kind: hub.Context, Path: "c.yaml", Data: []byte(installed)})
			c.AddContext(hub.Item{Kind: hub.ConsoleContext, Path: "d.yaml", Data: []byte(installed)})
			_ = c.Simulate(hub.Item{Kind: hub.Simulation, Path: "s.yaml", Data: []byte(simulation)})
		})
		for range 4 {
			fields := fail("192.0.2.1")
			fields["Meta.b"], fields["Parsed.p"] = user, user
			w.live(t0, fields)
		}
		if len(w.alerts) != 1 {
			t.Fatalf("%d alerts", len(w.alerts))
		}
		for _, kv := range w.alerts[0].Meta {
			var list []string
			if err := json.Unmarshal([]byte(kv.Value), &list); err != nil || len(list) == 0 || len(kv.Value) > scenario.DefaultContextLength {
				t.Errorf("%s is %d bytes of %.40q: %v", kv.Key, len(kv.Value), kv.Value, err)
			}
		}
	})
}
