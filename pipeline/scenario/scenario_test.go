package scenario_test

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"math/rand"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cs/decisions"
	"cs/pipeline/bucket"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/hub"
	"cs/pipeline/scenario"
)

var t0 = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

// world is a set of scenarios and one runner over them.
type world struct {
	t      testing.TB
	set    *scenario.Set
	run    *scenario.Runner
	event  *event.Event
	alerts []decisions.Alert
	failed []string
}

// fields are what a test gives an event: "Meta.source_ip" and its value.
type fields map[string]string

var used = regexp.MustCompile(`evt\.(Meta|Parsed)\.(\w+)`)

func compile(t testing.TB, text string) *world {
	t.Helper()
	return compileWith(t, text, nil)
}

// compileWith compiles with settings, which may be nil.
func compileWith(t testing.TB, text string, settings func(*scenario.Compiler)) *world {
	t.Helper()
	w := &world{t: t}
	schema := event.NewSchema()
	c := scenario.NewCompiler(&expr.Compiler{Schema: schema}, hub.NewFiles("", nil))
	for _, err := range c.Add(hub.Item{Kind: hub.Scenario, Path: "s.yaml", Data: []byte(text), Hash: "beef", Version: "0.4"}) {
		t.Fatal(err)
	}
	if settings != nil {
		settings(c)
	}
	for _, f := range append(used.FindAllString(text, -1), "evt.Meta.source_ip", "evt.Meta.b", "evt.Meta.a", "evt.Parsed.p") {
		w.intern(schema, strings.TrimPrefix(f, "evt."))
	}
	w.set = c.Set(bucket.Config{})
	w.event = event.New(schema)
	w.run = w.set.NewRunner(&expr.Ctx{Event: w.event},
		func(o *scenario.Overflow) { w.alerts = append(w.alerts, o.Alerts...) },
		func(name string, err error) { w.failed = append(w.failed, name) })
	return w
}

func (w *world) intern(s *event.Schema, name string) event.Slot {
	space, key, _ := strings.Cut(name, ".")
	for _, sp := range []event.Space{event.Parsed, event.Meta, event.Enriched} {
		if sp.String() == space {
			slot, err := s.Intern(sp, key)
			if err != nil {
				w.t.Fatal(err)
			}
			return slot
		}
	}
	w.t.Fatal("no such space: ", name)
	return 0
}

// live pours an event that happens at a time.
func (w *world) live(at time.Time, f fields) {
	w.event.Reset(event.Line{})
	w.pour(at, f)
}

// replay pours an event that a log dates.
func (w *world) replay(date string, f fields) {
	w.event.Reset(event.Line{Mode: event.Replay})
	w.event.MarshaledTime = date
	w.pour(t0, f)
}

func (w *world) pour(now time.Time, f fields) {
	w.event.Time = now
	for _, name := range slices.Sorted(maps.Keys(f)) {
		w.event.Set(w.intern(w.event.Schema(), name), f[name])
	}
	w.run.Run(now)
}

// take returns the alerts since the last call, as "scenario value count".
func (w *world) take() string {
	var out []string
	for _, a := range w.alerts {
		out = append(out, fmt.Sprintf("%s %s=%s %d/%d", a.Scenario, a.Source.Scope, a.Source.Value, a.EventsCount, len(a.Events)))
	}
	w.alerts = nil
	return strings.Join(out, ", ")
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.take(); got != want {
		w.t.Errorf("alerts: %q, want %q", got, want)
	}
}

const leaky = `
type: leaky
name: bf
description: d
filter: evt.Meta.what == 'fail'
groupby: evt.Meta.source_ip
capacity: 3
leakspeed: 10s
`

func fail(ip string) fields { return fields{"Meta.what": "fail", "Meta.source_ip": ip} }

func TestAlert(t *testing.T) {
	w := compile(t, leaky+"labels: {remediation: true}\n")
	for i := range 4 {
		f := fail("192.0.2.1")
		f["Meta.b"], f["Meta.a"] = "x\x00\xff", fmt.Sprint(i)
		w.live(t0.Add(time.Duration(i)*time.Second), f)
	}
	if len(w.alerts) != 1 {
		t.Fatalf("%d alerts", len(w.alerts))
	}
	got := w.alerts[0]
	want := decisions.Alert{
		Scenario:        "bf",
		ScenarioHash:    "beef",
		ScenarioVersion: "0.4",
		Message:         "Ip 192.0.2.1 performed 'bf' (4 events over 3s) at 2026-03-14 10:00:03 +0000 UTC",
		Kind:            "crowdsec",
		Capacity:        3,
		Leakspeed:       "10s",
		EventsCount:     4,
		Remediation:     true,
		Source:          decisions.Source{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1"},
		StartAt:         t0,
		StopAt:          t0.Add(3 * time.Second),
		Created:         t0.Add(3 * time.Second),
	}
	for i := range 4 {
		want.Events = append(want.Events, decisions.Event{
			Timestamp: fmt.Sprintf("2026-03-14T10:00:0%dZ", i),
			Meta: []decisions.KeyValue{ // sorted by key
				{Key: "a", Value: fmt.Sprint(i)}, {Key: "b", Value: "x\uFFFD"},
				{Key: "source_ip", Value: "192.0.2.1"}, {Key: "what", Value: "fail"},
			},
		})
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(decisions.Alert{}, "UUID")); diff != "" {
		t.Error(diff)
	}
	if ok, _ := regexp.MatchString(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, got.UUID); !ok {
		t.Errorf("UUID %q", got.UUID)
	}
}

func TestEnrichedSource(t *testing.T) {
	w := compile(t, "type: trigger\nname: t\ndescription: d\nfilter: 'true'\n")
	w.live(t0, fields{
		"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "192.0.2.99/24", "Enriched.ASNumber": "64500",
		"Enriched.ASNOrg": "Org", "Enriched.IsoCode": "FR", "Enriched.Latitude": "48.5", "Enriched.Longitude": "2.250000",
	})
	want := decisions.Source{Scope: "Ip", Value: "192.0.2.1", IP: "192.0.2.1", Range: "192.0.2.0/24",
		ASNumber: "64500", ASName: "Org", Country: "FR", Latitude: 48.5, Longitude: 2.25}
	if len(w.alerts) != 1 || w.alerts[0].Source != want {
		t.Errorf("got %+v", w.alerts)
	}
}

func TestLeaky(t *testing.T) {
	w := compile(t, leaky)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	for i := range 4 {
		w.live(at(i), fail("192.0.2.1"))
		w.live(at(i), fail("2001:db8::1"))
		w.live(at(i), fields{"Meta.what": "success", "Meta.source_ip": "192.0.2.2"})
	}
	w.expect("bf Ip=192.0.2.1 4/4, bf Ip=2001:db8::1 4/4")
	// the bucket is over: the next three fit into a new one
	for i := range 3 {
		w.live(at(10+i), fail("192.0.2.1"))
	}
	w.expect("")
	w.live(at(13), fail("192.0.2.1"))
	w.expect("bf Ip=192.0.2.1 4/4")
	// one every ten seconds leaks away
	for i := range 50 {
		w.live(at(100+10*i), fail("192.0.2.1"))
	}
	w.expect("")
	// four tokens were saved up, one more is gained on the way: the queue keeps capacity+1
	w = compile(t, leaky)
	for _, s := range []int{0, 1, 2, 11, 12} {
		w.live(at(s), fail("192.0.2.1"))
	}
	w.expect("bf Ip=192.0.2.1 5/4")
	// after capacity+1 times the leakspeed a bucket is forgotten
	for _, s := range []int{200, 200, 200, 241} {
		w.live(at(s), fail("192.0.2.1"))
	}
	w.expect("")
	if b := w.set.Buckets(); b.Buckets != 1 || b.Specs[0].Underflowed != 1 {
		t.Errorf("%+v", b)
	}
	w.run.Advance(at(400))
	if b := w.set.Buckets(); b.Buckets != 0 || b.Specs[0].Underflowed != 2 {
		t.Errorf("%+v", b)
	}
}

func TestReplayCountsByTheLog(t *testing.T) {
	w := compile(t, leaky)
	f := fail("192.0.2.1")
	for _, d := range []string{"2020-01-01T00:00:00Z", "2020-01-01T01:00:00Z", "2020-01-01T02:00:00Z", "2020-01-01T03:00:00Z", "2020-01-01T04:00:00Z"} {
		w.replay(d, f)
	}
	w.expect("") // an hour apart, although all in the same moment
	for _, d := range []string{"2020-01-02T00:00:03Z", "2020-01-02T01:00:02+01:00", "2020-01-02T00:00:01Z", "2020-01-02T00:00:00.5Z"} {
		w.replay(d, f)
	}
	w.expect("bf Ip=192.0.2.1 4/4") // also backwards
	for range 10 {
		w.replay("", f)
		w.replay("yesterday", f)
	}
	w.expect("") // without a date the event is lost
	// live events have buckets of their own
	for range 3 {
		w.replay("2020-01-03T00:00:00Z", f)
		w.live(t0, f)
	}
	w.expect("")
}

func TestBlackhole(t *testing.T) {
	w := compile(t, leaky+"blackhole: 1m\n")
	burst := func(s int, ip string) {
		for range 4 {
			w.live(t0.Add(time.Duration(s)*time.Second), fail(ip))
		}
	}
	burst(0, "192.0.2.1")
	w.expect("bf Ip=192.0.2.1 4/4")
	burst(30, "192.0.2.1")
	burst(59, "192.0.2.1")
	w.expect("") // and the silence is not made longer
	burst(59, "192.0.2.2")
	w.expect("bf Ip=192.0.2.2 4/4")
	burst(60, "192.0.2.1")
	w.expect("bf Ip=192.0.2.1 4/4")
}

func TestDistinctAndCancel(t *testing.T) {
	w := compile(t, leaky+"distinct: evt.Meta.user\ncancel_on: evt.Meta.user == 'known'\n")
	pour := func(users string) {
		for u := range strings.FieldsSeq(users) {
			f := fail("192.0.2.1")
			f["Meta.user"] = u
			w.live(t0, f)
		}
	}
	pour("a a a a a b c b a c")
	w.expect("")
	pour("d")
	w.expect("bf Ip=192.0.2.1 4/4")
	pour("a b c known d e")
	w.expect("")
	pour("f g")
	w.expect("bf Ip=192.0.2.1 4/4")
	pour("a b c known known d e f")
	w.expect("")
}

func TestTrigger(t *testing.T) {
	w := compile(t, `
type: trigger
name: t
description: d
filter: evt.Meta.what == 'x'
groupby: evt.Meta.source_ip
distinct: evt.Meta.source_ip
cancel_on: 'true'
blackhole: 10s
`)
	x := fields{"Meta.what": "x", "Meta.source_ip": "192.0.2.1"}
	w.live(t0, x)
	w.expect("t Ip=192.0.2.1 1/1") // distinct and cancel_on have no say
	w.live(t0.Add(9*time.Second), x)
	w.expect("")
	w.live(t0.Add(10*time.Second), x)
	w.expect("t Ip=192.0.2.1 1/1")
	w.replay("no date", x)
	w.expect("t Ip=192.0.2.1 1/1") // it takes the clock then
}

func TestCondition(t *testing.T) {
	w := compile(t, `
type: conditional
name: c
description: d
filter: evt.Meta.what != ''
groupby: evt.Meta.source_ip
condition: |
  let bad = filter(queue.Queue, {.Meta.what == 'fail'});
  len(bad) >= 2 && queue.GetQueue()[-1].Parsed.p == 'go' &&
  MedianInterval(map(bad[-2:], {#.Time})) >= duration("10s") && queue.Queue[0].Enriched.IsoCode == 'FR'
leakspeed: 1m
capacity: -1
`)
	pour := func(s int, what, p string) {
		f := fail("192.0.2.1")
		f["Meta.what"], f["Parsed.p"], f["Enriched.IsoCode"] = what, p, "FR"
		w.live(t0.Add(time.Duration(s)*time.Second), f)
	}
	pour(0, "fail", "go")
	pour(5, "fail", "go")
	w.expect("") // too quick
	pour(15, "fail", "")
	w.expect("") // the last one does not say go
	pour(16, "other", "go")
	w.expect("c Ip=192.0.2.1 4/4")
	pour(30, "fail", "go")
	pour(91, "fail", "go")
	w.expect("") // the first was forgotten
	pour(101, "fail", "go")
	w.expect("c Ip=192.0.2.1 2/2")

	// many events
	const many = "type: conditional\nname: m\ndescription: d\nfilter: evt.Meta.what == 'fail'\ngroupby: evt.Meta.source_ip\nleakspeed: 1h\n"
	for condition, n := range map[string]int{
		"condition: len(queue.Queue) >= 250\ncapacity: -1\n":                           250,
		"condition: count(queue.Queue, {.Meta.source_ip != ''}) > 200\ncapacity: -1\n": 201,
		"condition: len(queue.Queue) == 301 && true\ncapacity: -1\ncache_size: 300\n":  301,
		"condition: \"len(filter(queue.Queue, {true})) > 140\"\ncapacity: 160\n":       141,
	} {
		w = compile(t, many+condition)
		for range n {
			w.expect("")
			w.live(t0, fail("192.0.2.1"))
		}
		w.expect(fmt.Sprintf("m Ip=192.0.2.1 %d/%d", n, n))
	}

	// what an event is beside its fields
	w = compile(t, leaky+`condition: |
  leaky.Limiter != nil && leaky.Mode == queue.Queue[0].ExpectMode && queue.Queue[0].GetType() == 'log' && queue.Queue[0].Type == 0 &&
  queue.Queue[0].Process && !queue.Queue[0].Whitelisted
`)
	w.live(t0, fail("192.0.2.1"))
	w.expect("bf Ip=192.0.2.1 1/1")

	// beside the own way of a leaky bucket
	w = compile(t, leaky+"condition: len(queue.Queue) == 2 && queue.Queue[1].Meta.b == 'now' || queue.Queue[0].Meta.b == 'error' && int(evt.Meta.b) == 1\n")
	for _, b := range []string{"", "now", "", "", "", "", "error", "x", "x", "x"} {
		f := fail("192.0.2.1")
		f["Meta.b"] = b
		w.live(t0, f)
	}
	w.expect("bf Ip=192.0.2.1 2/2, bf Ip=192.0.2.1 4/4, bf Ip=192.0.2.1 4/4")
	if len(w.failed) == 0 {
		t.Error("a failed condition is not told")
	}
}

func TestCounter(t *testing.T) {
	w := compile(t, `
type: counter
name: many
description: d
filter: evt.Meta.what == 'fail'
groupby: evt.Meta.source_ip
capacity: -1
cache_size: 2
duration: 1m
`)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	for _, s := range []int{0, 1, 30, 59} {
		w.live(at(s), fail("192.0.2.1"))
		w.run.Advance(at(s))
	}
	w.live(at(59), fail("192.0.2.2"))
	w.expect("") // its time is not over
	w.run.Advance(at(61))
	if len(w.alerts) == 1 {
		a := w.alerts[0]
		if !a.StartAt.Equal(at(0)) || !a.StopAt.Equal(at(60)) || a.Capacity != -1 || a.Leakspeed != "0s" ||
			a.Message != "Ip 192.0.2.1 performed 'many' (4 events over 1m0s) at 2026-03-14 10:00:59 +0000 UTC" {
			t.Errorf("got %+v", a)
		}
	}
	w.expect("many Ip=192.0.2.1 4/3")
	// whoever is late with Advance: the next event of the group ends it
	w.live(at(200), fail("192.0.2.2"))
	w.expect("many Ip=192.0.2.2 1/1")
	w.run.Advance(at(300))
	w.expect("many Ip=192.0.2.2 1/1") // the event that ended the other
	// in a replay it never overflows
	for s := range 5 {
		w.replay(at(40*s).Format(time.RFC3339), fail("192.0.2.1"))
	}
	if n := w.set.Buckets().Specs[0].Created; n != 4 {
		t.Errorf("%d buckets made, want 4: the replayed one lives from event to event", n)
	}
	w.replay(at(1000).Format(time.RFC3339), fail("192.0.2.1"))
	w.run.Advance(at(100_000))
	w.expect("")
	if n := w.set.Buckets().Specs[0].Created; n != 5 {
		t.Errorf("%d buckets made, want 5: the replayed one is forgotten", n)
	}
}

const bayesian = `
type: bayesian
name: odd
description: d
filter: evt.Meta.what != ''
groupby: evt.Meta.source_ip
capacity: -1
leakspeed: 1m
bayesian_prior: 0.5
bayesian_threshold: 0.8
bayesian_conditions:
 - {condition: evt.Meta.what == 'fail', prob_given_evil: 0.8, prob_given_benign: 0.2, guillotine: %s}
 - {condition: evt.Meta.b == 'odd', prob_given_evil: 0.6, prob_given_benign: 0.3}
 - {condition: len(queue.Queue) > 2 && leaky.Total_count > 2 || int(evt.Meta.a) > 0, prob_given_evil: 0.9, prob_given_benign: 0.1}
`

func TestBayesian(t *testing.T) {
	run := func(guillotine, want string, events ...string) {
		t.Helper()
		w := compile(t, fmt.Sprintf(bayesian, guillotine))
		for i, e := range events {
			what, b, _ := strings.Cut(e, " ")
			f := fail("192.0.2.1")
			f["Meta.what"], f["Meta.b"], f["Meta.a"] = what, b, "0"
			w.live(t0.Add(time.Duration(i)*time.Second), f)
		}
		w.expect(want)
	}
	// 0.8/0.2 * 0.4/0.7 * 0.1/0.9 = 0.25 to 1; with the third: 4 * 4/7 * 9 = 20.6 to 1
	run("false", "", "fail", "fail")
	run("false", "odd Ip=192.0.2.1 3/3", "fail", "fail", "fail")
	run("false", "", "fail odd", "fail odd", "ok") // 0.25 * 0.57 * 9 = 1.3 to 1
	run("false", "odd Ip=192.0.2.1 4/4", "fail odd", "fail odd", "ok", "fail")
	run("true", "odd Ip=192.0.2.1 3/3", "fail", "ok", "ok") // seen once is seen for ever
	run("true", "", "ok", "ok", "ok", "ok")
	// a condition that fails tells nothing: 4 * 2 to 1 are 0.89
	w := compile(t, fmt.Sprintf(bayesian, "false"))
	f := fail("192.0.2.1")
	f["Meta.b"], f["Meta.a"] = "odd", "x"
	w.live(t0, f)
	w.expect("odd Ip=192.0.2.1 1/1")
	if len(w.failed) != 1 {
		t.Errorf("failed: %v", w.failed)
	}
	// its leakspeed is how long it lives after its last event
	w = compile(t, fmt.Sprintf(bayesian, "false"))
	for _, s := range []int{0, 50, 120, 170} {
		f := fail("192.0.2.1")
		f["Meta.a"] = "0"
		w.live(t0.Add(time.Duration(s)*time.Second), f)
	}
	w.expect("")
}

// Random events must overflow when the odds, multiplied in the order in which one
// would do it on paper, say so.
func TestBayesianAgainstSlow(t *testing.T) {
	type bucket struct {
		last  time.Time
		total int
		fired bool
	}
	r := rand.New(rand.NewSource(1))
	w := compile(t, fmt.Sprintf(bayesian, "true"))
	buckets := map[string]*bucket{}
	now, overflows := t0, 0
	for step := range 20_000 {
		now = now.Add(time.Duration(r.Int63n(int64(12 * time.Second))))
		ip := fmt.Sprintf("192.0.2.%d", r.Intn(4))
		f := fields{"Meta.source_ip": ip, "Meta.what": "ok", "Meta.b": "", "Meta.a": "0"}
		if r.Intn(4) == 0 {
			f["Meta.what"] = "fail"
		}
		if r.Intn(3) == 0 {
			f["Meta.b"] = "odd"
		}
		b := buckets[ip]
		if b == nil || now.After(b.last.Add(time.Minute)) {
			b = &bucket{}
			buckets[ip] = b
		}
		b.last = now
		b.total++
		b.fired = b.fired || f["Meta.what"] == "fail"
		odds := 1.0
		for _, c := range []struct {
			there        bool
			evil, benign float64
		}{{b.fired, 0.8, 0.2}, {f["Meta.b"] == "odd", 0.6, 0.3}, {b.total > 2, 0.9, 0.1}} {
			if c.there {
				odds *= c.evil / c.benign
			} else {
				odds *= (1 - c.evil) / (1 - c.benign)
			}
		}
		want := ""
		if odds/(1+odds) > 0.8 {
			want = fmt.Sprintf("odd Ip=%s %d/%[2]d", ip, b.total)
			delete(buckets, ip)
			overflows++
		}
		w.live(now, f)
		if got := w.take(); got != want {
			t.Fatalf("step %d: alerts %q, want %q (odds %g, %+v)", step, got, want, odds, *b)
		}
	}
	if overflows < 100 {
		t.Errorf("only %d overflows", overflows)
	}
}

// Conditions that look at the event alone cost no allocation.
func TestBayesianDoesNotAllocate(t *testing.T) {
	w := compile(t, strings.Replace(fmt.Sprintf(bayesian, "true"), "len(queue.Queue) > 2 && leaky.Total_count > 2 ||", "leaky.Total_count > 2 &&", 1))
	slot := func(name string) event.Slot { return w.intern(w.event.Schema(), name) }
	what, ip, a := slot("Meta.what"), slot("Meta.source_ip"), slot("Meta.a")
	at := t0
	step := func() {
		at = at.Add(2 * time.Minute)
		w.event.Reset(event.Line{})
		w.event.Set(what, "fine")
		w.event.Set(ip, "192.0.2.1")
		w.event.Set(a, "0")
		w.run.Run(at)
		w.run.Advance(at)
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n != 0 || len(w.alerts) > 0 {
		t.Errorf("%v allocations, %d alerts", n, len(w.alerts))
	}
}

func TestOverflowFilter(t *testing.T) {
	run := func(filter, want string, failed int) {
		t.Helper()
		w := compile(t, leaky+"blackhole: 1m\noverflow_filter: \""+filter+"\"\n")
		for i := range 8 {
			f := fail("192.0.2.1")
			f["Meta.a"] = fmt.Sprint(i)
			w.live(t0, f)
		}
		w.expect(want)
		if len(w.failed) != failed {
			t.Errorf("%s: failed %v, want %d", filter, w.failed, failed)
		}
	}
	const once = "bf Ip=192.0.2.1 4/4"
	run("true", once, 0)
	run("any(queue.Queue, {.Meta.a == '7'})", once, 0) // the first is discarded, and starts no silence
	run("any(queue.Queue, {.Meta.a == '9'})", "", 0)
	run("signal.Alert.GetEventsCount() > 4", "", 0)
	run("signal.Alert.Source.IP == '192.0.2.1' && signal.GetSources()[0] == '192.0.2.1' && signal.Sources['192.0.2.1'].Scope == 'Ip'", once, 0)
	run("leaky.Total_count == 4 && leaky.Ovflw_ts == leaky.First_ts && leaky.Duration == duration('40s') && leaky.Queue.L == 3", once, 0)
	// sha1 of filter, group and name, as sha1sum has it
	run("leaky.Mapkey == '"+sha1sum("evt.Meta.what == 'fail'\x00192.0.2.1\x00bf")+"' && signal.Mapkey == leaky.Mapkey", once, 0)
	// upstream runs it without evt: using it is an error, and the overflow counts
	run("evt.Meta.source_ip == 'x'", once, 2)
	run("leaky.Total_count > 4 && evt.Meta.source_ip == 'x'", "", 0)

	// no alert can be made without an address
	w := compile(t, leaky+"blackhole: 1m\noverflow_filter: len(signal.APIAlerts) == 0 && signal.Alert.Remediation\n")
	for range 4 {
		w.live(t0, fields{"Meta.what": "fail"})
	}
	w.expect("")
}

func sha1sum(s string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(s))) }

func TestScopes(t *testing.T) {
	f := func(scope, want string, events ...fields) {
		t.Helper()
		w := compile(t, "type: leaky\nname: s\ndescription: d\nfilter: 'true'\ncapacity: 1\nleakspeed: 1s\n"+scope)
		for _, e := range events {
			w.live(t0, e)
		}
		w.expect(want)
	}
	a, b := fields{"Meta.source_ip": "192.0.2.1", "Meta.a": "x"}, fields{"Meta.source_ip": "192.0.2.2", "Meta.a": "y"}
	// one alert for each source, all with all the events
	f("", "s Ip=192.0.2.1 2/2, s Ip=192.0.2.2 2/2", a, b)
	f("", "s Ip=192.0.2.1 2/2", a, a)
	f("", "s Ip=192.0.2.1 2/2", a, fields{"Meta.source_ip": "::ffff:192.0.2.1"})
	f("", "s Ip=2001:db8::1 2/2", fields{"Meta.source_ip": "2001:DB8::1"}, fields{"Meta.source_ip": "2001:0db8::1"})
	// without an address there is no alert
	f("", "", a, fields{"Meta.a": "x"})
	f("", "", a, fields{"Meta.source_ip": "nobody"})
	// another scope needs none
	f("scope: {type: user, expression: evt.Meta.a}\n", "s user=x 2/2", fields{"Meta.a": "x"}, fields{"Meta.a": "x"})
	f("scope: {type: user, expression: evt.Meta.a}\n", "s user=x 2/2, s user=y 2/2", a, b)
	f("scope: {type: user, expression: string(int(evt.Meta.a))}\n", "", a, b) // an error: no value
	// ranges
	r := fields{"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "192.0.2.0/25"}
	f("scope: {type: Range}\n", "s Range=192.0.2.0/25 2/2", r, r)
	f("scope: {type: Range}\n", "", r, fields{"Meta.source_ip": "192.0.2.1", "Meta.SourceRange": "many"})
	f("scope: {type: Range, expression: \"IpToRange(evt.Meta.source_ip, '/16')\"}\n", "s Range=192.0.0.0/16 2/2", a, b)
}

// A run-time error in one scenario leaves the event to the others.
func TestErrorsStayWithTheirScenario(t *testing.T) {
	doc := func(name, rest string) string {
		return "type: trigger\nname: " + name + "\ndescription: d\n" + rest + "\n---\n"
	}
	w := compile(t, doc("a", "filter: int(evt.Meta.a) == 1")+doc("b", "filter: 'true'\ngroupby: string(int(evt.Meta.a))")+
		doc("c", "filter: 'true'\ncancel_on: int(evt.Meta.a) == 1")+doc("d", "filter: 'true'\ndistinct: string(int(evt.Meta.a))"))
	w.live(t0, fields{"Meta.source_ip": "192.0.2.1", "Meta.a": "x"})
	w.expect("c Ip=192.0.2.1 1/1, d Ip=192.0.2.1 1/1")
	slices.Sort(w.failed)
	if got := strings.Join(w.failed, " "); got != "a b c d" {
		t.Errorf("failed: %s", got)
	}
}

// Documents of the same name and filter pour into the same buckets, which
// obey the one that made them.
func TestSharedBuckets(t *testing.T) {
	w := compile(t, leaky+"---"+strings.Replace(leaky, "capacity: 3", "capacity: 30\ndistinct: evt.Meta.b", 1))
	w.live(t0, fail("192.0.2.1"))
	w.expect("")
	w.live(t0, fail("192.0.2.1"))
	w.expect("bf Ip=192.0.2.1 4/4") // each event counted twice
	if n := len(w.set.Names()); n != 1 {
		t.Errorf("%d names", n)
	}
	// a trigger is no other kind of document
	w = compile(t, leaky+"---\ntype: trigger\nname: bf\ndescription: d\nfilter: evt.Meta.what == 'fail'\ngroupby: evt.Meta.source_ip\n")
	w.live(t0, fail("192.0.2.1"))
	w.expect("")
	w.live(t0, fail("192.0.2.1"))
	w.expect("bf Ip=192.0.2.1 4/4")
	w = compile(t, "type: trigger\nname: bf\ndescription: d\nfilter: evt.Meta.what == 'fail'\ngroupby: evt.Meta.source_ip\n---"+leaky)
	w.live(t0, fail("192.0.2.1")) // the bucket of the trigger is over, and the next one made by the other document
	w.expect("bf Ip=192.0.2.1 1/1")
	w.live(t0, fail("192.0.2.1"))
	w.expect("")
	// another filter text is another scenario
	w = compile(t, leaky+"---"+strings.Replace(leaky, "== 'fail'", "==  'fail'", 1))
	for range 4 {
		w.live(t0, fail("192.0.2.1"))
	}
	w.expect("bf Ip=192.0.2.1 4/4, bf Ip=192.0.2.1 4/4")
}

// A log may claim any time; none may break the arithmetic.
func TestAbsurdTimes(t *testing.T) {
	w := compile(t, leaky+"blackhole: 2562047h\n---"+strings.NewReplacer("bf", "slow", "10s", "2562047h").Replace(leaky))
	for _, d := range []string{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "2262-04-11T23:47:17Z", "2100-01-01T00:00:00Z"} {
		for _, year := range []int{9999, 1, 2262, 1000} {
			w.live(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), fail("192.0.2.1"))
			w.replay(d, fail("192.0.2.1"))
		}
	}
	if got := w.take(); !strings.Contains(got, "bf") || !strings.Contains(got, "slow") {
		t.Errorf("alerts: %q", got)
	}
}

func TestNothingIsAllocatedBelowOverflow(t *testing.T) {
	w := compile(t, leaky+"distinct: evt.Meta.user\n")
	slot := func(name string) event.Slot { return w.intern(w.event.Schema(), name) }
	what, ip, user := slot("Meta.what"), slot("Meta.source_ip"), slot("Meta.user")
	at := t0
	step := func() {
		at = at.Add(11 * time.Second)
		w.event.Reset(event.Line{})
		w.event.Set(what, "fail")
		w.event.Set(ip, "192.0.2.1")
		w.event.Set(user, "someone")
		w.run.Run(at)
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n != 0 || len(w.alerts) > 0 {
		t.Errorf("%v allocations, %d alerts", n, len(w.alerts))
	}
}

func FuzzLoadScenario(f *testing.F) {
	f.Add(leaky+"distinct: evt.Meta.user\nblackhole: 1m\nscope: {type: Range}\n", "192.0.2.1")
	f.Add("type: trigger\nname: t\ndescription: d\nfilter: 'true'\nscope: {type: user, expression: evt.Meta.source_ip}\nlabels: {remediation: true}\n", "x")
	f.Add("type: conditional\nname: c\ndescription: d\nfilter: 'true'\nleakspeed: 3h\ncondition: len(queue.Queue) > 3\n", "")
	f.Add("type: bayesian\nname: b\ndescription: d\nfilter: 'true'\nbayesian_conditions: [{condition: 'true', prob_given_evil: 0.5}]\n", "")
	f.Add(fmt.Sprintf(bayesian, "true"), "192.0.2.1")
	f.Add("type: counter\nname: c\ndescription: d\nfilter: 'true'\nduration: 3h\ncapacity: -1\noverflow_filter: leaky.Total_count > 3 && evt.Meta.a == ''\n", "192.0.2.1")
	f.Fuzz(func(t *testing.T, text, ip string) {
		schema := event.NewSchema()
		c := scenario.NewCompiler(&expr.Compiler{Schema: schema}, hub.NewFiles("", nil))
		c.Add(hub.Item{Kind: hub.Scenario, Path: "f.yaml", Data: []byte(text)})
		set := c.Set(bucket.Config{MaxBuckets: 10})
		source, err := schema.Intern(event.Meta, "source_ip")
		if err != nil {
			t.Fatal(err)
		}
		ctx := &expr.Ctx{Event: event.New(schema)}
		r := set.NewRunner(ctx, func(*scenario.Overflow) {}, nil)
		for i := range 20 {
			ctx.Event.Reset(event.Line{Mode: event.Mode(i % 2)})
			ctx.Event.MarshaledTime = "2026-01-02T03:04:05Z"
			ctx.Event.Set(source, ip)
			r.Run(t0.Add(time.Duration(i) * time.Hour))
		}
		r.Advance(t0.Add(100 * time.Hour))
	})
}
