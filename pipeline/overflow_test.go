package pipeline_test

import (
	"crypto/sha1"
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

// words is content whose lines are "<ip> <range> <word>".
const words = `
name: words
filter: "true"
grok:
  pattern: '^%{NOTSPACE:ip} %{NOTSPACE:range} %{WORD:word}$'
  apply_on: Line.Raw
statics:
 - {meta: source_ip, expression: evt.Parsed.ip}
 - {meta: SourceRange, expression: evt.Parsed.range}
`

const bad = `
name: bad
description: d
type: trigger
filter: evt.Parsed.word == 'bad'
labels: {remediation: true}
reprocess: true
`

type item struct {
	kind  hub.Kind
	stage string
	text  string
}

// outcome runs lines over content and tells the alerts.
func outcome(t *testing.T, items []item, now time.Time, lines ...string) (string, pipeline.Stats) {
	t.Helper()
	c := hub.Content{Items: []hub.Item{{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(words)}}}
	for i, it := range items {
		c.Items = append(c.Items, hub.Item{Kind: it.kind, Stage: it.stage, Path: fmt.Sprintf("%d.yaml", i), Data: []byte(it.text)})
	}
	var got []string
	e, errs := pipeline.Load(pipeline.Options{Content: c, Alert: func(a decisions.Alert) {
		got = append(got, fmt.Sprintf("%s %s=%s %d", a.Scenario, a.Source.Scope, a.Source.Value, a.EventsCount))
	}})
	for _, err := range errs {
		t.Fatal(err)
	}
	for i, l := range lines {
		e.Process([]event.Line{{Raw: l, Module: "file", Mode: event.Mode(i % 2)}}, now)
	}
	return strings.Join(got, ", "), e.Stats()
}

func TestPostOverflows(t *testing.T) {
	f := func(want string, posts ...item) pipeline.Stats {
		t.Helper()
		got, stats := outcome(t, append(posts, item{hub.Scenario, "", bad}), t0,
			"192.0.2.1 192.0.2.0/24 good", "192.0.2.1 192.0.2.0/24 bad", "2001:db8::1 2001:db8::/32 bad")
		if got != want {
			t.Errorf("alerts: %q, want %q", got, want)
		}
		return stats
	}
	enrich := func(text string) item { return item{hub.PostOverflow, "s00-enrich", text} }
	whitelist := func(text string) item { return item{hub.PostOverflow, "s01-whitelist", text} }
	const four, six = "bad Ip=192.0.2.1 1", "bad Ip=2001:db8::1 1"
	f(four + ", " + six)
	toRange := enrich(`
name: six
filter: IsIPV6(evt.Overflow.Alert.Source.IP)
onsuccess: next_stage
statics:
 - {target: evt.Overflow.Alert.Source.Scope, value: Range}
 - {target: evt.Overflow.Alert.Source.Value, expression: 'IpToRange(evt.Overflow.Alert.Source.IP, "/64")'}
`)
	s := f(four+", bad Range=2001:db8::/64 1", toRange)
	if s.Pardoned != 0 || s.Alerts != 2 {
		t.Errorf("stats %+v", s)
	}
	s = f(six, whitelist("name: w\nwhitelist: {reason: r, cidr: [192.0.2.0/28]}\n"))
	if s.Pardoned != 1 || s.Alerts != 1 || s.Whitelisted != 0 {
		t.Errorf("stats %+v", s)
	}
	f(four, whitelist("name: w\nwhitelist: {reason: r, ip: ['2001:db8::1']}\n"))
	// by the address that it was about at first
	f(four, toRange, whitelist("name: w\nwhitelist: {reason: r, ip: ['2001:db8::1']}\n"))
	f(four, whitelist("name: w\nwhitelist: {reason: r, expression: [\"any(evt.Overflow.Alert.Events, {.GetMeta('source_ip') == '2001:db8::1'})\"]}\n"))
	f("", whitelist("name: w\nwhitelist: {reason: r, expression: [\"evt.GetType() == 'overflow' && evt.Meta.source_ip == ''\"]}\n"))
	// what the first stage finds the second one uses; without a success there the walk ends
	mark := "name: m\nfilter: evt.Overflow.Alert.Source.Range == '192.0.2.0/24'\nonsuccess: next_stage\nstatics: [{meta: seen, value: x}]\n"
	f(six, enrich(mark), whitelist("name: w\nwhitelist: {reason: r, expression: [evt.Meta.seen == 'x']}\n"))
	f(six, enrich(mark), whitelist("name: w\nwhitelist: {reason: r, expression: ['true']}\n"))
	// an expression that fails pardons nobody
	f(four+", "+six, whitelist("name: w\nwhitelist: {reason: r, expression: [int(evt.Meta.seen) == 1]}\n"))
	// patterns: own name space, which starts from the stock
	f(four+", "+six, item{hub.Parser, "s00-raw", "name: p\npattern_syntax: {MINE: x}\nstatics: [{parsed: a, value: b}]\n"},
		enrich("name: q\npattern_syntax: {MINE: 192.*}\ngrok: {pattern: '%{MINE:a}', expression: evt.Overflow.Alert.Source.IP}\n"))
	f(six, item{hub.Parser, "s00-raw", "name: p\npattern_syntax: {MINE: x}\nstatics: [{parsed: a, value: b}]\n"},
		enrich("name: q\nonsuccess: next_stage\npattern_syntax: {MINE: 192.*}\ngrok: {pattern: '%{MINE:a}', expression: evt.Overflow.Alert.Source.IP}\n"),
		whitelist("name: w\nwhitelist: {reason: r, expression: [evt.Parsed.a != '']}\n"))
}

// Texts that postoverflows give alerts outlive the event, and may be hostile.
func TestPostOverflowTexts(t *testing.T) {
	post := item{hub.PostOverflow, "s00-enrich", "name: p\nstatics: [{target: evt.Overflow.Alert.Source.Value, expression: Upper(evt.Overflow.Alert.Source.Value)}]\n"}
	s := strings.Replace(bad, "reprocess: true", "scope: {type: word, expression: evt.Parsed.range}", 1)
	got, _ := outcome(t, []item{post, {hub.Scenario, "", s}}, t0, "192.0.2.1 a\x00b\xffc bad", "192.0.2.1 next bad")
	if want := "bad word=AB\uFFFDC 1, bad word=NEXT 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReprocess(t *testing.T) {
	const ranges = `
name: ranges
description: d
type: leaky
filter: evt.GetType() == 'overflow' && evt.Overflow.Alert.Remediation == true
groupby: evt.Overflow.Alert.Source.Range
distinct: evt.Overflow.Alert.Source.IP
capacity: 2
leakspeed: 1m
scope: {type: Range}
`
	var lines []string
	for i := range 6 {
		lines = append(lines, fmt.Sprintf("192.0.2.%d 192.0.2.0/24 bad", i/2))
	}
	count := func(content []item, want string) {
		t.Helper()
		got, stats := outcome(t, append(content, item{hub.Scenario, "", ranges}), t0, lines...)
		if i := strings.Index(got, "ranges"); got[max(i, 0):] != want && !(i < 0 && want == "") {
			t.Errorf("alerts: %q, want at last %q", got, want)
		}
		if stats.Failures > 0 {
			t.Error(stats.LastFailure)
		}
	}
	// Lines of a replay, too, become live overflows: all go into one bucket.
	count([]item{{hub.Scenario, "", bad}}, "ranges Range=192.0.2.0/24 3, bad Ip=192.0.2.2 1")
	count([]item{{hub.Scenario, "", strings.Replace(bad, "reprocess: true", "", 1)}}, "")
	// whitelisted overflows are no events
	count([]item{{hub.Scenario, "", bad}, {hub.PostOverflow, "s01-whitelist", "name: w\nwhitelist: {reason: r, ip: [192.0.2.1]}\n"}}, "")
	// sources that are not addresses have no range
	got, _ := outcome(t, []item{
		{hub.Scenario, "", bad + "scope: {type: word, expression: evt.Parsed.word}\n"},
		{hub.Scenario, "", strings.Replace(ranges, "distinct: evt.Overflow.Alert.Source.IP\n", "", 1)},
	}, t0, lines...)
	if want := strings.TrimSuffix(strings.Repeat("bad word=bad 1, ", 6), ", "); got != want {
		t.Errorf("alerts: %q, want %q", got, want)
	}
	// a postoverflow's range is one, with an expression or without
	toRange := item{hub.PostOverflow, "s00-enrich", `
name: r
statics:
 - {target: evt.Overflow.Alert.Source.Scope, value: Range}
 - {target: evt.Overflow.Alert.Source.Value, value: 192.0.2.0/28}
`}
	count([]item{{hub.Scenario, "", bad}, toRange}, "ranges Range=192.0.2.0/28 3, ranges Range=192.0.2.0/28 3, ranges Range=192.0.2.0/28 3, bad Range=192.0.2.0/28 1")
	// an endless chain ends
	endless := "name: endless\ndescription: d\ntype: trigger\nfilter: evt.GetType() == 'overflow'\nreprocess: true\n"
	got, stats := outcome(t, []item{{hub.Scenario, "", bad}, {hub.Scenario, "", endless}}, t0, "192.0.2.1 192.0.2.0/24 bad")
	if n := strings.Count(got, "endless Ip=192.0.2.1"); n != 99 || stats.Failures != 1 ||
		!strings.Contains(stats.LastFailure, "endless: cannot reprocess overflow: more than 100 follow from one") {
		t.Errorf("%d alerts, stats %+v", n, stats)
	}
}

// A counter's overflow by the clock is handled as any other.
func TestCounterByTheClock(t *testing.T) {
	var got []string
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(words)},
			{Kind: hub.Scenario, Path: "c.yaml", Data: []byte("name: c\ndescription: d\ntype: counter\nfilter: 'true'\ngroupby: evt.Meta.source_ip\ncapacity: -1\nduration: 1m\n")},
			{Kind: hub.PostOverflow, Stage: "s01-whitelist", Path: "w.yaml", Data: []byte("name: w\nwhitelist: {reason: r, ip: [192.0.2.1]}\n")},
		}},
		Alert: func(a decisions.Alert) { got = append(got, a.Message) },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e.Process([]event.Line{{Raw: "192.0.2.1 192.0.2.0/24 x"}, {Raw: "192.0.2.2 192.0.2.0/24 x"}, {Raw: "192.0.2.2 192.0.2.0/24 x"}}, t0)
	e.Advance(t0.Add(59 * time.Second))
	e.Process([]event.Line{{Raw: "192.0.2.2 192.0.2.0/24 x"}}, t0.Add(59*time.Second))
	if len(got) > 0 {
		t.Errorf("too early: %q", got)
	}
	for s := range 3 {
		e.Advance(t0.Add(time.Duration(61+s) * time.Second))
	}
	want := "Ip 192.0.2.2 performed 'c' (3 events over 1m0s) at 2026-03-14 10:00:59 +0000 UTC"
	if s := e.Stats(); len(got) != 1 || got[0] != want || s.Alerts != 1 || s.Pardoned != 1 {
		t.Errorf("got %q, stats %+v", got, s)
	}
}

// alertsOf runs lines in a replay over content beside words.
func alertsOf(t *testing.T, items []item, lines ...string) (alerts []decisions.Alert) {
	t.Helper()
	c := hub.Content{Items: []hub.Item{{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(words)}}}
	for i, it := range items {
		c.Items = append(c.Items, hub.Item{Kind: it.kind, Stage: it.stage, Path: fmt.Sprintf("%d.yaml", i), Data: []byte(it.text)})
	}
	e, errs := pipeline.Load(pipeline.Options{Content: c, Alert: func(a decisions.Alert) { alerts = append(alerts, a) }})
	for _, err := range errs {
		t.Fatal(err)
	}
	for _, l := range lines {
		e.Process([]event.Line{{Raw: l, Module: "file", Mode: event.Replay}}, t0)
	}
	return alerts
}

func TestMapkeyInPostOverflows(t *testing.T) {
	const asks = "name: asks\nstatics: [{target: evt.Overflow.Alert.Message, expression: \"evt.Overflow.Mapkey + ' ' + evt.Overflow.BucketId\"}]\n"
	alerts := alertsOf(t, []item{
		{hub.PostOverflow, "s00-enrich", asks},
		{hub.Scenario, "", strings.Replace(bad, "reprocess: true", "groupby: evt.Parsed.word", 1)},
	}, "192.0.2.1 192.0.2.0/24 bad")
	key := fmt.Sprintf("%x", sha1.Sum([]byte("evt.Parsed.word == 'bad'\x00bad\x00bad")))
	if len(alerts) != 1 || alerts[0].Message != key+" "+key {
		t.Errorf("got %+v, want a message of %s", alerts, key)
	}
}

func TestTimesKeepTheZoneOfTheLog(t *testing.T) {
	const dated = "name: dated\nstatics:\n - {target: evt.StrTime, value: 2026-03-14T10:00:00.5+05:30}\n - {method: ParseDate, expression: evt.StrTime}\n - {target: MarshaledTime, expression: evt.Enriched.MarshaledTime}\n"
	alerts := alertsOf(t, []item{{hub.Parser, "s00-raw", dated}, {hub.Scenario, "", bad}}, "192.0.2.1 192.0.2.0/24 bad")
	const want = "2026-03-14T10:00:00.5+05:30"
	if len(alerts) != 1 || alerts[0].StartAt.Format(time.RFC3339Nano) != want || alerts[0].StopAt.Format(time.RFC3339Nano) != want ||
		!strings.HasSuffix(alerts[0].Message, "at 2026-03-14 10:00:00.5 +0530 +0530") {
		t.Errorf("got %+v", alerts)
	}
}

// The time of an event is that of the log in a replay, in its zone, and else in UTC, as
// upstream's: content asks for hours.
func TestHoursOfEvents(t *testing.T) {
	var got []string
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "p.yaml", Data: []byte(`name: p
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {method: ParseDate, expression: evt.Line.Raw}
 - {target: MarshaledTime, expression: evt.Enriched.MarshaledTime}
 - {meta: hour, expression: evt.Time.Hour()}
`)},
			{Kind: hub.Scenario, Path: "s.yaml", Data: []byte(`type: conditional
name: s
description: d
filter: evt.Line.Time.Hour() == 19
capacity: -1
leakspeed: 1h
condition: string(queue.Queue[0].Time.Hour()) == evt.Meta.hour && queue.Queue[0].Time.Minute() in [0, 15] && queue.Queue[0].Line.Time.Hour() == 19
`)},
		}},
		Alert: func(a decisions.Alert) { got = append(got, a.Events[0].Meta[0].Value) },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	now := time.Date(2026, 3, 14, 22, 0, 0, 0, time.FixedZone("", 3*3600))
	for _, l := range []event.Line{
		{Raw: "2026-03-14T01:00:00+02:00", Mode: event.Replay}, {Raw: "2026-03-14T02:15:00-05:45", Mode: event.Replay},
		{Raw: "2026-03-14T03:00:00Z", Mode: event.Replay}, {Raw: "2026-03-14T04:00:00+02:00"},
	} {
		l.Time = now
		e.Process([]event.Line{l}, now)
	}
	if want := []string{"1", "2", "3", "19"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A Meta whose name only comes up at run time is one like the others.
func TestMadeUpMetas(t *testing.T) {
	const sets = "name: sets\nfilter: evt.SetMeta('x_' + evt.Parsed.word, evt.Parsed.ip)\nstatics: [{meta: again, expression: \"evt.GetMeta('x_' + evt.Parsed.word)\"}]\n"
	var lines []string
	for i := range 100 { // more names than there is room for
		lines = append(lines, fmt.Sprintf("192.0.2.1 192.0.2.0/24 w%d", i))
	}
	alerts := alertsOf(t, []item{{hub.Parser, "s00-raw", sets}, {hub.Scenario, "", bad}}, append([]string{"192.0.2.1 192.0.2.0/24 bad"}, append(lines, "192.0.2.2 192.0.2.0/24 bad")...)...)
	if len(alerts) != 2 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for i, a := range alerts {
		want := fmt.Sprintf("192.0.2.%d", i+1)
		got := map[string]string{}
		for _, kv := range a.Events[0].Meta {
			got[kv.Key] = kv.Value
		}
		if got["x_bad"] != want || got["again"] != want || len(got) != 4 {
			t.Errorf("metas of alert %d: %v", i, got)
		}
	}
}

// Counters of more addresses than may follow from one overflow end at the same time:
// none is taken for a consequence of another.
func TestManyCountersEndAtOnce(t *testing.T) {
	const attackers = 250
	alerts := map[string]int{}
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "words.yaml", Data: []byte(words)},
			{Kind: hub.Scenario, Path: "count.yaml", Data: []byte("type: counter\nname: count\ndescription: d\nfilter: evt.Parsed.word == 'bad'\n" +
				"groupby: evt.Meta.source_ip\ncapacity: -1\nduration: 1m\nlabels: {remediation: true}\nreprocess: true\n")},
		}},
		Alert: func(a decisions.Alert) { alerts[a.Source.Value]++ },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var batch []event.Line
	for i := range attackers {
		batch = append(batch, event.Line{Raw: fmt.Sprintf("198.51.100.%d 198.51.100.0/24 bad", i), Module: "file"})
	}
	e.Process(batch, t0)
	if len(alerts) > 0 {
		t.Fatalf("%d alerts before the time is over", len(alerts))
	}
	e.Advance(t0.Add(2 * time.Minute))
	if s := e.Stats(); len(alerts) != attackers || s.Alerts != attackers || s.Failures > 0 {
		t.Errorf("%d of %d told, %d alerts, failed: %s", len(alerts), attackers, s.Alerts, s.LastFailure)
	}
}
