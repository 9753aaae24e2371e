package pipeline_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

var t0 = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

// load returns an engine of the starter set and where its alerts go.
func load(tb testing.TB) (*pipeline.Engine, *[]decisions.Alert) {
	tb.Helper()
	return loadFor(tb, 0)
}

func loadFor(tb testing.TB, workers int) (*pipeline.Engine, *[]decisions.Alert) {
	tb.Helper()
	var alerts []decisions.Alert
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Base(),
		Workers: workers,
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

func ExampleEngine() {
	engine, errs := pipeline.Load(pipeline.Options{
		Content: hub.Base(),
		Alert:   func(a decisions.Alert) { fmt.Println(a.Message) },
	})
	for _, err := range errs {
		fmt.Println(err)
	}
	labels := map[string]string{"type": "syslog"}
	now := time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)
	for i := range 6 {
		engine.Process([]event.Line{{
			Raw:    fmt.Sprintf("Mar 14 10:00:0%d box sshd[77]: Failed password for root from 192.0.2.7 port 40000 ssh2", i),
			Src:    "/var/log/auth.log",
			Module: "file",
			Labels: labels,
		}}, now.Add(time.Duration(i)*time.Second))
	}
	// Output: Ip 192.0.2.7 performed 'cs/ssh-bf' (6 events over 5s) at 2026-03-14 10:00:05 +0000 UTC
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

// After the first lines of a kind, a line costs no allocation, whatever it is;
// only alerts do.
func TestLinesDoNotAllocate(t *testing.T) {
	e, alerts := loadFor(t, 1) // with more, chance decides when another one sees its first line of a kind
	nginx := map[string]string{"type": "nginx"}
	access := func(i, day int, request string, status int, agent string) event.Line {
		return event.Line{Raw: fmt.Sprintf(`198.51.100.%d - - [%02d/Mar/2026:10:00:%02d +0000] "%s" %d 153 "-" "%s"`, i, day, i%60, request, status, agent),
			Src: "/var/log/nginx/access.log", Module: "file", Labels: nginx}
	}
	f := func(what string, line func(i, day int) event.Line) {
		t.Helper()
		var batches [][]event.Line
		for day := range 28 {
			var batch []event.Line
			for i := range 100 {
				l := line(i, day+1)
				l.Mode = event.Mode(i % 2)
				batch = append(batch, l)
			}
			batches = append(batches, batch)
		}
		now, day := t0, 0
		step := func() {
			now = now.Add(24 * time.Hour)
			e.Process(batches[day], now)
			e.Advance(now)
			day++
		}
		// Automata grow with what they see, and again for what they see often.
		for range 3 {
			for _, batch := range batches {
				for _, l := range batch {
					l.Mode = event.Live
					now = now.Add(24 * time.Hour)
					e.Process([]event.Line{l}, now)
				}
			}
		}
		for range 5 {
			step()
		}
		*alerts = nil
		if n := testing.AllocsPerRun(20, step); n != 0 || len(*alerts) > 0 {
			t.Errorf("%s: %v allocations for 100 lines, %d alerts", what, n, len(*alerts))
		}
	}
	f("failed logins", func(i, day int) event.Line {
		return syslogLine(fmt.Sprintf("Mar %2d 10:00:%02d box sshd[%d]: Failed password for invalid user u%d from 198.51.100.%d port 4%d ssh2", day, i%60, 100+i, i, i, i))
	})
	f("other lines of sshd", func(i, day int) event.Line {
		return syslogLine(fmt.Sprintf("Mar %2d 10:00:%02d box sshd[%d]: Accepted publickey for root from 198.51.100.%d port 22 ssh2", day, i%60, 100+i, i))
	})
	f("other programs", func(i, day int) event.Line {
		return syslogLine(fmt.Sprintf("2026-03-%02dT10:00:%02d.%03dZ box cron[%d]: (root) CMD (run-parts %d)", day, i%60, i, 100+i, i))
	})
	f("no syslog", func(i, day int) event.Line { return syslogLine(fmt.Sprintf("garbage %d", i)) })
	f("pages", func(i, day int) event.Line {
		return access(i, day, fmt.Sprintf("GET /page/%d?x=%d HTTP/1.1", i, i), 200, "Mozilla/5.0")
	})
	f("missing pages", func(i, day int) event.Line {
		return access(i, day, fmt.Sprintf("GET /page/%d HTTP/1.1", i), 404, "Mozilla/5.0")
	})
	f("pictures", func(i, day int) event.Line { return access(i, day, "GET /a/b/c.PNG HTTP/1.1", 404, "Mozilla/5.0") })
	f("scanners", func(i, day int) event.Line { return access(i, day, "GET / HTTP/1.1", 200, "sqlmap/1.7") })
	f("climbers", func(i, day int) event.Line { return access(i, day, "GET /../../etc/passwd HTTP/1.1", 404, "curl/8") })
	f("no requests", func(i, day int) event.Line { return access(i, day, `\x16\x03\x01`, 400, "-") })
}

// Whatever is in a line, it costs no more than a bounded time and never
// harms the lines after it.
func TestHostileLines(t *testing.T) {
	e, alerts := load(t)
	mega := strings.Repeat("A", 1<<20)
	hostile := []string{
		"", "\x00", "\xff\xfe", "%{GREEDYDATA}", strings.Repeat("\x00", 1<<16), mega,
		"Mar 14 10:00:00 box sshd[77]: Failed password for " + mega + " from 192.0.2.7 port 22 ssh2",
		"Mar 14 10:00:00 box sshd[77]: Failed password for \x00\xff\xf0\x28 from 192.0.2.8 port 22 ssh2",
		"Mar 14 10:00:00 box sshd[77]: Failed password for a" + strings.Repeat(" from 192.0.2.9", 50_000),
		"Mar 14 10:00:00 box sshd[77]: Failed password for x from 192.0.2." + strings.Repeat("9", 1<<16) + " port 22 ssh2",
		"Mar 14 99:00:00 box sshd[77]: Failed password for root from 999.0.2.9 port 22 ssh2",
		`192.0.2.10 - - [14/Mar/2026:10:00:00 +0000] "GET /` + strings.Repeat("../", 300_000) + ` HTTP/1.1" 404 1 "-" "-"`,
		`192.0.2.10 - - [14/Mar/2026:10:00:00 +0000] "` + strings.Repeat(`\"`, 1<<19) + `" 404 1 "-" "-"`,
		`192.0.2.10 - - [14/Mar/2026:10:00:00 +0000] "GET /` + strings.Repeat("?", 1<<20) + ` HTTP/1.1" 404 1 "-" "` + mega + `"`,
		`192.0.2.10 - ` + mega + ` [99/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 404 1 "-" "-"`,
		`192.0.2.10 - - [14/Mar/2026:10:00:00 +0000] "GET /` + "\xff\xc0\x00\x80" + ` HTTP/1.1" 404 1 "-" "\xed\xa0\x80"`,
	}
	start := time.Now()
	for _, typ := range []string{"syslog", "nginx", "", "\xff"} {
		labels := map[string]string{"type": typ}
		for _, raw := range hostile {
			for range 8 { // more than any capacity of a distinct value
				e.Process([]event.Line{{Raw: raw, Src: raw, Module: "file", Labels: labels}}, t0)
			}
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("hostile lines took %v", d)
	}
	found := false
	for _, a := range *alerts {
		for _, ev := range a.Events {
			for _, kv := range ev.Meta {
				if !utf8.ValidString(kv.Value) || strings.Contains(kv.Value, "\x00") || len(kv.Value) > 3*8<<10 {
					t.Errorf("alert of %s: %s is %d bytes of %.40q", a.Scenario, kv.Key, len(kv.Value), kv.Value)
				}
				found = found || strings.Contains(kv.Value, "\uFFFD")
			}
		}
	}
	if !found {
		t.Error("no alert about the user with the odd name")
	}
	e.Process([]event.Line{{}}, t0) // no labels at all
	before := len(*alerts)
	for i := range 6 {
		e.Process([]event.Line{syslogLine(fmt.Sprintf("Mar 14 10:00:%02d box sshd[77]: Failed password for root from 192.0.2.77 port 22 ssh2", i))}, t0)
	}
	if len(*alerts) != before+1 {
		t.Errorf("%d alerts after the hostile lines, want 1", len(*alerts)-before)
	}
}

// Many callers at once must neither lose nor invent events.
func TestConcurrentProcess(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	e, errs := pipeline.Load(pipeline.Options{Content: hub.Base(), Alert: func(a decisions.Alert) {
		mu.Lock()
		defer mu.Unlock()
		got[a.Scenario+" "+a.Source.Value]++
	}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	stop := make(chan struct{})
	var wg, side sync.WaitGroup
	side.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.Advance(t0)
				e.Stats()
				time.Sleep(time.Millisecond)
			}
		}
	})
	const attackers, each = 50, 6
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < attackers*each; i += 4 {
				e.Process([]event.Line{syslogLine(fmt.Sprintf("Mar 14 10:00:00 box sshd[%d]: Failed password for root from 192.0.2.%d port 22 ssh2", i, i%attackers))}, t0)
			}
		})
	}
	wg.Wait()
	close(stop)
	side.Wait()
	if len(got) != attackers {
		t.Fatalf("%d attackers found, want %d", len(got), attackers)
	}
	for who, n := range got {
		if n != 1 {
			t.Errorf("%s: %d alerts", who, n)
		}
	}
	if s := e.Stats(); s.Lines != attackers*each || s.Poured != attackers*each || s.Alerts != attackers {
		t.Errorf("stats %+v", s)
	}
}

// A faulty item disables itself, with a message that leads to the fault, and
// nothing else.
func TestFaultyContent(t *testing.T) {
	good := `{type: trigger, name: good, description: d, filter: "evt.Parsed.message contains 'x'", scope: {type: word, expression: evt.Parsed.message}}`
	parser := `{name: p, filter: "evt.Line.Raw != ''", statics: [{parsed: message, expression: evt.Line.Raw}]}`
	f := func(kind hub.Kind, text, want string) {
		t.Helper()
		var alerts []decisions.Alert
		e, errs := pipeline.Load(pipeline.Options{
			Content: hub.Content{Items: []hub.Item{
				{Kind: hub.Parser, Stage: "s00", Path: "p.yaml", Data: []byte(parser)},
				{Kind: kind, Stage: "s00", Path: "bad.yaml", Data: []byte(text)},
				{Kind: hub.Scenario, Path: "good.yaml", Data: []byte(good)},
			}},
			Alert: func(a decisions.Alert) { alerts = append(alerts, a) },
		})
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Fatalf("%s:\ngot %v\nwant one error with %s", text, errs, want)
		}
		e.Process([]event.Line{{Raw: "x1"}}, t0)
		if len(alerts) != 1 || alerts[0].Source.Value != "x1" {
			t.Fatalf("%s: the rest gives %+v", text, alerts)
		}
	}
	f(hub.Scenario, "type: leaky\nname: a\nfliter: x\n", "bad.yaml:3: fliter: unknown key (did you mean filter?)")
	f(hub.Scenario, "type: leaky\nname: a\ndescription: b\nfilter: evt.Meta.x == 1\ncapacity: 1\nleakspeed: 1s\n", "bad.yaml:4: filter: cannot compile expression")
	f(hub.Scenario, "type: leaky\nname: a\ndescription: b\nfilter: 'true'\ncapacity: 0\nleakspeed: 1s\n", "bad.yaml:2: name: a leaky scenario needs a capacity above 0, this is 0")
	f(hub.Scenario, "type: leaky\nname: a\ndescription: b\nfilter: 'true'\ncapacity: 1\n", "bad.yaml:2: name: a leaky scenario needs a leakspeed above 0, this is 0s")
	f(hub.Scenario, "type: leeky\nname: a\ndescription: b\nfilter: 'true'\n", `bad.yaml:1: type: unknown type "leeky"`)
	f(hub.Scenario, "type: trigger\nname: a\ndescription: b\nfilter: 'true'\nscope: {type: Ip, expression: evt.Meta.x}\n", "bad.yaml:5: scope.expression: scope Ip takes no expression")
	f(hub.Scenario, "type: trigger\nname: a\ndescription: b\nfilter: 'true'\nscope: {type: user}\n", "bad.yaml:5: scope.type: scope user needs an expression")
	f(hub.Scenario, "type: trigger\nname: a\ndescription: b\n", "scenario a has no filter")
	const head = "name: a\ndescription: b\nfilter: 'true'\n"
	f(hub.Scenario, head+"type: counter\ncapacity: -1\n", "bad.yaml:1: name: a counter needs a duration above 0, this is 0s")
	f(hub.Scenario, head+"type: counter\nduration: 1m\n", "bad.yaml:1: name: a counter has the capacity -1, this is 0")
	bayes := head + "type: bayesian\nleakspeed: 1m\ncapacity: -1\nbayesian_threshold: 0.5\n"
	f(hub.Scenario, bayes+"bayesian_prior: 2\n", "bad.yaml:1: name: bayesian_prior is above 0 and at most 1, this is 2")
	f(hub.Scenario, bayes+"bayesian_prior: 0.5\n", "bad.yaml:1: name: a bayesian scenario needs bayesian_conditions")
	f(hub.Scenario, bayes+"bayesian_prior: 0.5\nbayesian_conditions: [{condition: evt.Meta.x}]\n", "bad.yaml:9: bayesian_conditions[0].condition: cannot compile expression")
	f(hub.Scenario, bayes+"bayesian_prior: 0.5\nbayesian_conditions: ["+strings.Repeat("{condition: 'true', guillotine: true}, ", 17)+"]\n", "more than 16 conditions have a guillotine")
	f(hub.Scenario, head+"type: leaky\ncapacity: 1\nleakspeed: 1m\noverflow_filter: signal.Alert.Foo\n", "bad.yaml:7: overflow_filter: cannot compile expression")
	f(hub.Scenario, "type: trigger\nname: a\nfilter: 'true'\n", "scenario a has no description")
	f(hub.Scenario, "type: trigger\n", "scenario has no name")
	f(hub.Scenario, "a: [", "cannot parse YAML")
	f(hub.Parser, "name: a\nfilter: evt.Foo\n", "bad.yaml:2: filter: cannot compile expression")
	f(hub.Parser, "name: a\n", "bad.yaml:1: name: node is empty")
	f(hub.Parser, "name: a\nonsuccess: stop\n", `bad.yaml:2: onsuccess: "stop" is neither next_stage nor continue`)
	f(hub.Parser, "name: a\ngrok: {pattern: '%{NOPE:x}', apply_on: message}\n", "bad.yaml:2: grok.pattern: cannot compile grok pattern: no pattern is named NOPE")
	f(hub.Parser, "name: a\ngrok: {pattern: '%{DATA:x}'}\n", "grok has neither apply_on nor expression")
	f(hub.Parser, "name: a\nstatics:\n - enriched: x\n   value: y\n", "bad.yaml:4: statics[0].value: static has no method, meta, parsed or target")
	f(hub.Parser, "name: a\nwhitelist: {ip: [300.1.1.1]}\n", `bad.yaml:2: whitelist.ip[0]: cannot parse address`)
	f(hub.Parser, "name: a\npattern_syntax: {X: '('}\nstatics: [{meta: a, value: b}]\n", "bad.yaml:2: pattern_syntax.X: cannot define pattern X")
	f(hub.PostOverflow, "name: a\n", "cannot load postoverflow: bad.yaml:1: name: node is empty")
}

func BenchmarkLineNginx(b *testing.B) {
	e, _ := load(b)
	benchmarkLines(b, e, nginxLines())
}

func nginxLines() (batch []event.Line) {
	labels := map[string]string{"type": "nginx"}
	for i := range 256 {
		raw := fmt.Sprintf(`198.51.%d.%d - - [14/Mar/2026:10:00:%02d +0000] "GET /static/app/page-%d.html?session=abc%d HTTP/1.1" 200 %d "https://example.com/index" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"`,
			i%200, i%250, i%60, i, i*7, 1000+i)
		batch = append(batch, event.Line{Raw: raw, Src: "/var/log/nginx/access.log", Module: "file", Labels: labels})
	}
	return batch
}

func BenchmarkLineSSHD(b *testing.B) {
	e, _ := load(b)
	var batch []event.Line
	for i := range 256 {
		batch = append(batch, syslogLine(fmt.Sprintf("Mar 14 10:00:%02d box sshd[%d]: Failed password for invalid user admin%d from 198.51.%d.%d port %d ssh2",
			i%60, 1000+i, i%9, i, i, 40000+i)))
	}
	benchmarkLines(b, e, batch)
}

// With all of the public hub loaded, 700 scenarios and 150 parsers.
func BenchmarkLineNginxHub(b *testing.B) {
	c, _ := hub.Load(filepath.Join(sharedtest.Dir(b), "hub"))
	e, _ := pipeline.Load(pipeline.Options{Content: c, DataDir: filepath.Join(sharedtest.Dir(b), "hub", "data")})
	benchmarkLines(b, e, nginxLines())
}

// benchmarkLines processes one batch after the other, a minute apart, so that
// no bucket overflows.
func benchmarkLines(b *testing.B, e *pipeline.Engine, batch []event.Line) {
	bytes := 0
	for _, l := range batch {
		bytes += len(l.Raw)
	}
	now := t0
	b.SetBytes(int64(bytes / len(batch)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(batch) {
		now = now.Add(time.Minute)
		e.Process(batch[:min(len(batch), b.N-i)], now)
		e.Advance(now)
	}
	b.StopTimer()
	if s := e.Stats(); s.Alerts > 0 || s.Parsed != s.Lines || s.Failures > 0 {
		b.Fatalf("stats %+v", s)
	}
}
