package pipeline_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/scenario"
	"cs/platform/sharedtest"
)

// teamOf loads content for some workers.
func teamOf(t *testing.T, workers int, opt pipeline.Options) (*pipeline.Engine, *[]decisions.Alert) {
	t.Helper()
	alerts := new([]decisions.Alert)
	opt.Workers = workers
	opt.Now = func() time.Time { return t0 }
	opt.Alert = func(a decisions.Alert) {
		a.UUID = ""
		*alerts = append(*alerts, a)
	}
	e, errs := pipeline.Load(opt)
	for _, err := range errs {
		if !strings.Contains(err.Error(), "not supported yet") {
			t.Fatal(err)
		}
	}
	return e, alerts
}

// blind is a tracer: with one, an engine does one line after the other.
type blind struct{}

func (blind) Began(*event.Line)                           {}
func (blind) Parsed(*event.Event, pipeline.Step)          {}
func (blind) Arrived(*event.Event)                        {}
func (blind) Poured(*event.Event, string)                 {}
func (blind) Overflowed(*event.Event, *scenario.Overflow) {}

// sameForTeams runs the same with one worker and several. All must have the
// alerts of an engine that does one line after the other, in the same order, and
// the same counts.
func sameForTeams(t *testing.T, opt pipeline.Options, run func(e *pipeline.Engine, process func([]event.Line, time.Time)), sizes ...int) (*pipeline.Engine, []decisions.Alert) {
	t.Helper()
	one, want := teamOf(t, 1, opt)
	run(one, func(batch []event.Line, now time.Time) { one.Trace(batch, now, blind{}) }) // as they come
	for _, n := range append([]int{1}, sizes...) {
		e, got := teamOf(t, n, opt)
		run(e, e.Process)
		if !reflect.DeepEqual(*want, *got) { // quicker than to tell what differs
			t.Fatalf("%d workers (%d alerts) instead of one (%d):\n%s", n, len(*got), len(*want), cmp.Diff(*want, *got))
		}
		a, b := one.Stats(), e.Stats()
		a.LastFailure, b.LastFailure = "", "" // the last of any worker
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("%d workers instead of one:\n%s", n, diff)
		}
		untimed := cmpopts.IgnoreFields(pipeline.Traffic{}, "ParseTime", "PourTime")
		if diff := cmp.Diff(one.Traffic(), e.Traffic(), untimed); diff != "" {
			t.Fatalf("%d workers instead of one:\n%s", n, diff)
		}
	}
	return one, *want
}

// The logs of all hub tests, one after the other, through all of the hub.
func TestTeamsOnHubLogs(t *testing.T) {
	dir := filepath.Join(sharedtest.Dir(t), "hub")
	c, errs := hub.Load(dir)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var items []hub.Item
	for _, item := range c.Items {
		if !strings.Contains(string(item.Data), "reverse_dns") { // no name server is asked
			items = append(items, item)
		}
	}
	c.Items = items
	var lines []event.Line
	typ := regexp.MustCompile(`(?m)^log_type: *(\S+)`)
	logs, err := filepath.Glob(filepath.Join(dir, ".tests", "*", "*.log"))
	if err != nil || len(logs) < 100 {
		t.Fatalf("%d logs, %v", len(logs), err)
	}
	for i, path := range logs {
		if testing.Short() && i%5 > 0 {
			continue
		}
		conf, err := os.ReadFile(filepath.Join(filepath.Dir(path), "config.yaml"))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := typ.FindSubmatch(conf)
		if m == nil {
			continue
		}
		labels := map[string]string{"type": strings.Trim(string(m[1]), `"'`)}
		for line := range strings.Lines(string(text)) {
			lines = append(lines, event.Line{Raw: strings.TrimSuffix(line, "\n"), Src: path, Module: "file", Labels: labels, Mode: event.Replay})
		}
	}
	e, alerts := sameForTeams(t, pipeline.Options{Content: c, DataDir: filepath.Join(dir, "data")}, func(e *pipeline.Engine, process func([]event.Line, time.Time)) {
		for rest := lines; len(rest) > 0; {
			n := min(len(rest), 1000)
			process(rest[:n], t0)
			rest = rest[n:]
		}
	}, 4)
	if poured := e.Stats().Poured; len(alerts) < 30 || poured < 300 {
		t.Errorf("%d alerts, %d lines poured", len(alerts), poured)
	}
}

// ofAllKinds is content whose lines depend on each other in all ways there are.
// They are "<ip> <range> <word>".
var ofAllKinds = []item{
	{hub.Parser, "s01-parse", `
name: remember
filter: evt.Parsed.word startsWith 'put'
stash:
 - {name: memory, key: evt.Parsed.ip, value: evt.Parsed.word, ttl: 1h, size: 3}
statics: [{meta: did, value: put}]
`},
	{hub.Parser, "s01-parse", `
name: recall
filter: evt.Parsed.word == 'get' && GetFromStash('memory', evt.Parsed.ip) != ''
statics:
 - {meta: was, expression: "GetFromStash('memory', evt.Parsed.ip)"}
`},
	{hub.Parser, "s01-parse", "name: rest\nstatics: [{meta: word, expression: evt.Parsed.word}]\n"},
	{hub.Scenario, "", bad},
	{hub.Scenario, "", "name: recalled\ndescription: d\ntype: trigger\nfilter: evt.Meta.was startsWith 'put'\ngroupby: evt.Meta.was\nblackhole: 20s\nscope: {type: was, expression: evt.Meta.was}\n"},
	{hub.Scenario, "", "name: asks\ndescription: d\ntype: leaky\ncapacity: 2\nleakspeed: 1m\nfilter: evt.Parsed.word == 'w1'\ngroupby: GetFromStash('memory', evt.Parsed.ip)\n"},
	{hub.Scenario, "", "name: distinct\ndescription: d\ntype: leaky\ncapacity: 3\nleakspeed: 10s\nfilter: evt.Parsed.word startsWith 'w'\ngroupby: evt.Parsed.ip\ndistinct: evt.Parsed.word\nblackhole: 1m\n"},
	{hub.Scenario, "", "name: cancelled\ndescription: d\ntype: leaky\ncapacity: 4\nleakspeed: 10s\nfilter: \"true\"\ngroupby: evt.Parsed.range\ncancel_on: evt.Parsed.word == 'stop'\n"},
	{hub.Scenario, "", "name: shared\ndescription: d\ntype: leaky\ncapacity: 4\nleakspeed: 10s\nfilter: evt.Parsed.word == 'w2'\ngroupby: evt.Parsed.ip\n---\nname: shared\ndescription: d\ntype: leaky\ncapacity: 2\nleakspeed: 10s\nfilter: evt.Parsed.word == 'w2'\ngroupby: evt.Parsed.ip\ndistinct: evt.Line.Raw\n"},
	{hub.Scenario, "", "name: conditional\ndescription: d\ntype: conditional\ncapacity: -1\nleakspeed: 10s\nfilter: evt.Parsed.word in ['w3', 'w4']\ngroupby: evt.Parsed.ip\ncondition: len(queue.Queue) > 2 && evt.Parsed.word != queue.Queue[-2].Parsed.word\n"},
	{hub.Scenario, "", "name: counter\ndescription: d\ntype: counter\ncapacity: -1\nduration: 30s\nfilter: evt.Parsed.word == 'w5'\ngroupby: evt.Parsed.ip\n"},
	{hub.Scenario, "", "name: wrong\ndescription: d\ntype: trigger\nfilter: int(evt.Parsed.word) == 1\n"},
	{hub.Scenario, "", "name: ranges\ndescription: d\ntype: leaky\ncapacity: 2\nleakspeed: 1m\nfilter: evt.GetType() == 'overflow' && evt.Overflow.Alert.Remediation == true\ngroupby: evt.Overflow.Alert.Source.Range\nscope: {type: Range}\n"},
	{hub.PostOverflow, "s01-whitelist", "name: w\nwhitelist: {reason: r, expression: [\"GetFromStash('memory', evt.Overflow.Alert.Source.IP) == 'put2'\"]}\n"},
}

func contentOf(items []item) hub.Content {
	c := hub.Content{Items: []hub.Item{{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(strings.Replace(words, "statics:", "onsuccess: next_stage\nstatics:", 1))}}}
	for i, it := range items {
		c.Items = append(c.Items, hub.Item{Kind: it.kind, Stage: it.stage, Path: fmt.Sprintf("%d.yaml", i), Data: []byte(it.text)})
	}
	return c
}

// Random lines that depend on each other, in batches of any length, with the
// wall clock and with that of the log.
func TestTeams(t *testing.T) {
	opt := pipeline.Options{Content: contentOf(ofAllKinds)}
	sizes := []int{2, 4, 7}
	if testing.Short() {
		sizes = sizes[1:2]
	}
	for seed := range int64(3) {
		_, alerts := sameForTeams(t, opt, func(e *pipeline.Engine, process func([]event.Line, time.Time)) {
			r := rand.New(rand.NewSource(seed))
			now := t0
			for range 12 {
				var batch []event.Line
				for range r.Intn(900) {
					word := []string{"get", "put1", "put2", "bad", "stop", "w1", "w2", "w3", "w4", "w5", "1", "x"}[r.Intn(12)]
					if seed%3 == 2 && r.Intn(10) > 0 { // hardly a line can go ahead
						word = []string{"get", "put1", "put2"}[r.Intn(3)]
					}
					raw := fmt.Sprintf("192.0.2.%d 192.0.%d.0/24 %s", r.Intn(5), r.Intn(3), word)
					if r.Intn(200) == 0 {
						raw = strings.Repeat("long ", r.Intn(20_000)) + raw
					}
					batch = append(batch, event.Line{Raw: raw, Module: "file", Mode: event.Mode(r.Intn(2))})
				}
				now = now.Add(time.Duration(r.Intn(40)) * time.Second)
				process(batch, now)
				e.Advance(now)
			}
		}, sizes...)
		kinds := map[string]int{}
		for _, a := range alerts {
			kinds[a.Scenario]++
		}
		for _, name := range []string{"bad", "recalled", "asks", "distinct", "cancelled", "shared", "conditional", "counter", "ranges"} {
			if kinds[name] == 0 && seed%3 < 2 {
				t.Errorf("seed %d: no alert of %s: %v", seed, name, kinds)
			}
		}
	}
}

// With very many buckets, one worker collects pours, too.
func TestCrowdedBuckets(t *testing.T) {
	var lines []event.Line
	for i := range 20_000 {
		word := []string{"x", "w1", "w2", "w3", "w4", "stop", "put1", "get", "bad"}[i*i%101%9]
		if i < 12_000 {
			word = "w1"
		}
		n := i % 7000
		if i > 15_000 {
			n = i % 17
		}
		lines = append(lines, event.Line{Raw: fmt.Sprintf("10.0.%d.%d 10.%d.0.0/16 %s", n/256, n%256, n, word), Module: "file"})
	}
	run := func(most int) []decisions.Alert {
		e, alerts := teamOf(t, 1, pipeline.Options{Content: contentOf(ofAllKinds)})
		for rest := lines; len(rest) > 0; {
			n := min(len(rest), most)
			e.Process(rest[:n], t0)
			rest = rest[n:]
		}
		if n := e.Stats().Buckets.Buckets; n < 10_000 {
			t.Errorf("%d buckets", n)
		}
		return *alerts
	}
	want := run(10)
	if got := run(1000); len(want) < 500 || !reflect.DeepEqual(want, got) {
		t.Fatalf("%d alerts instead of %d:\n%s", len(got), len(want), cmp.Diff(want, got))
	}
}

// Several sources at once share the workers, and each keeps its order.
func TestTeamsAtOnce(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	content := contentOf(ofAllKinds)
	for i := range content.Items { // room for all sources
		content.Items[i].Data = bytes.Replace(content.Items[i].Data, []byte("size: 3"), []byte("size: 100"), 1)
	}
	e, errs := pipeline.Load(pipeline.Options{Content: content, Workers: 3, Alert: func(a decisions.Alert) {
		mu.Lock()
		defer mu.Unlock()
		if a.Scenario == "recalled" {
			got[a.Source.Value]++
		}
	}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	const sources, batches, lines = 5, 8, 200
	var wg sync.WaitGroup
	for s := range sources {
		wg.Go(func() {
			for b := range batches {
				var batch []event.Line
				for i := range lines {
					word := "x"
					switch i {
					case 50:
						word = fmt.Sprintf("put%d", s*batches+b)
					case 51:
						word = "get"
					}
					batch = append(batch, event.Line{Raw: fmt.Sprintf("192.0.%d.%d 192.0.2.0/24 %s", s, b%2, word), Module: "file"})
				}
				e.Process(batch, t0)
			}
		})
	}
	wg.Wait()
	if len(got) != sources*batches {
		t.Errorf("%d alerts, want %d: %v", len(got), sources*batches, got)
	}
	if s := e.Stats(); s.Lines != sources*batches*lines || s.Parsed != s.Lines {
		t.Errorf("%d lines, %d parsed", s.Lines, s.Parsed)
	}
}

// When Process returns, what it started has ended.
func TestTeamsLeaveNothingBehind(t *testing.T) {
	e, _ := teamOf(t, 5, pipeline.Options{Content: hub.Base()})
	batch := nginxLines()
	before := runtime.NumGoroutine()
	for range 20 {
		e.Process(batch, t0)
	}
	for i := 0; runtime.NumGoroutine() > before; i++ { // they have said that they are done, and are about to go
		if i == 1000 {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTeamsDoNotAllocate(t *testing.T) {
	if testing.Short() {
		t.Skip("short runs have the race detector, under which kept memory is thrown away at random")
	}
	e, alerts := teamOf(t, 3, pipeline.Options{Content: hub.Base()})
	batch := nginxLines()
	for i := range batch[:64] {
		batch[i].Raw = strings.Replace(batch[i].Raw, `" 200 `, `" 404 `, 1)
	}
	batch = append(batch, batch...)
	now := t0
	step := func() {
		now = now.Add(24 * time.Hour)
		e.Process(batch, now)
		e.Advance(now)
	}
	for range 200 {
		step()
	}
	*alerts = nil
	if n := testing.AllocsPerRun(50, step); n != 0 || len(*alerts) > 0 {
		t.Errorf("%v allocations for %d lines, %d alerts", n, len(batch), len(*alerts))
	}
}

// The same lines with one worker and with more, in batches as sources deliver
// them and larger. The fastest batch tells most on a machine that others use.
func BenchmarkWorkers(b *testing.B) {
	for _, lines := range []int{256, 1024, 8192} {
		var batch []event.Line
		for i := range lines {
			l := nginxLines()[i%256]
			l.Raw = fmt.Sprintf("10.%d.%d.%d%s", i>>16, i>>8&255, i&255, l.Raw[len("198.51.100.1"):])
			batch = append(batch, l)
		}
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("batch=%d/workers=%d", lines, workers), func(b *testing.B) {
				e, errs := pipeline.Load(pipeline.Options{Content: hub.Base(), Workers: workers, Alert: func(decisions.Alert) {}})
				if len(errs) > 0 {
					b.Fatal(errs)
				}
				now := t0
				for range 3 {
					e.Process(batch, now)
				}
				best := time.Hour
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += len(batch) {
					now = now.Add(time.Minute)
					start := time.Now()
					e.Process(batch, now)
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best.Nanoseconds())/float64(len(batch)), "best-ns/line")
				if s := e.Stats(); s.Alerts > 0 {
					b.Fatalf("stats %+v", s)
				}
			})
		}
	}
}
