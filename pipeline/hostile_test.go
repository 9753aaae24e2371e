package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

var logOfTest = regexp.MustCompile(`(?m)^log_(file|type): *"?([^"\r\n]+?)"? *$`)

// hubLines returns a line of each kind in the logs of the hub's tests.
func hubLines(tb testing.TB) (lines []event.Line) {
	tb.Helper()
	seen := map[string]bool{}
	configs, err := filepath.Glob(filepath.Join(sharedtest.Dir(tb), "hub", ".tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		tb.Fatal(err, "the hub has no tests")
	}
	for _, name := range configs {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		conf := map[string]string{}
		for _, m := range logOfTest.FindAllStringSubmatch(string(text), -1) {
			conf[m[1]] = m[2]
		}
		log, err := os.ReadFile(filepath.Join(filepath.Dir(name), conf["file"]))
		if err != nil {
			tb.Fatal(err)
		}
		if raw, _, _ := strings.Cut(string(log), "\n"); !seen[conf["type"]] {
			seen[conf["type"]] = true
			labels := map[string]string{"type": conf["type"]}
			lines = append(lines, event.Line{Raw: raw, Src: conf["file"], Module: "file", Labels: labels, Mode: event.Replay})
		}
	}
	return lines
}

// everythingSmall is all of the public hub with room for little.
func everythingSmall(tb testing.TB) *pipeline.Engine {
	tb.Helper()
	dir := filepath.Join(sharedtest.Dir(tb), "hub")
	c, errs := hub.Load(dir)
	e, faulty := pipeline.Load(pipeline.Options{
		Content: c, DataDir: filepath.Join(dir, "data"), MaxBuckets: maxBuckets, MaxKept: maxKept,
		Now:   func() time.Time { return t0 },
		Alert: func(decisions.Alert) {},
	})
	for _, err := range append(errs, faulty...) {
		tb.Fatal(err)
	}
	return e
}

const maxBuckets, maxKept = 5000, 4 << 20

// No line makes the engine fail, forget its bounds or miss what comes after,
// whatever parser it is for: each kind of line that the hub knows, with something in
// it that its author would like to do harm with.
func TestAllOfTheHubSurvivesHostileLines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 6_000
	var keys strings.Builder
	for i := range size / 10 {
		keys.WriteString("key" + strings.Repeat("x", i%5) + "=v,")
	}
	hostile := map[string]string{
		"long word":      strings.Repeat("a", size),
		"numbers":        strings.Repeat("1.", size/2),
		"blanks":         strings.Repeat(" \t", size/2),
		"quotes":         strings.Repeat(`"'\`, size/3),
		"brackets":       strings.Repeat(`[{`, size/2),
		"closed":         strings.Repeat(`{"a":`, size/10) + "1" + strings.Repeat("}", size/10),
		"elements":       strings.Repeat("<a>", size/6) + strings.Repeat("</a>", size/8),
		"pairs":          keys.String(),
		"slashes":        strings.Repeat("/../", size/4),
		"escapes":        strings.Repeat("%25", size/3),
		"NULs":           strings.Repeat("\x00", 500),
		"no UTF-8":       strings.Repeat("\xff\xc3", 500),
		"runes":          strings.Repeat("\u0130\u212a\U0001f4a9", 500),
		"what templates": "%{GREEDYDATA:x} ${jndi:ldap://x} {{.x}} $(id) evt.Parsed.x",
	}
	e := everythingSmall(t)
	n := uint64(0)
	for _, l := range hubLines(t) {
		middle := len(l.Raw) / 2
		for _, h := range hostile {
			var batch []event.Line
			for _, raw := range []string{h, l.Raw + h, h + l.Raw, l.Raw[:middle] + h + l.Raw[middle:]} {
				bad := l
				bad.Raw = raw
				batch = append(batch, bad)
			}
			e.Process(batch, t0)
			n += uint64(len(batch))
		}
	}
	s := e.Stats()
	if s.Lines != n || s.Buckets.Buckets > maxBuckets || s.Buckets.KeptBytes > maxKept {
		t.Errorf("after %d lines: %+v", n, s)
	}
	before := e.Stats().Alerts
	for i := range 6 {
		line := syslogLine("Mar 14 10:00:00 box sshd[77]: Failed password for root from 192.0.2.7 port 4000" + string(rune('0'+i)) + " ssh2")
		e.Process([]event.Line{line}, t0)
	}
	if e.Stats().Alerts == before {
		t.Error("a brute force went unseen")
	}
}

// Lines of a megabyte, for parsers that decode them.
func TestAllOfTheHubSurvivesHugeLines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 1 << 20
	e := everythingSmall(t)
	var keys strings.Builder
	for keys.Len() < size {
		keys.WriteString(`"k` + strings.Repeat("0", keys.Len()%7) + `":0,`)
	}
	for _, l := range hubLines(t) {
		switch l.Labels["type"] {
		case "syslog", "nginx", "caddy", "k8s-audit", "eventlog", "traefik":
			for _, raw := range []string{
				`{"a":{` + keys.String() + `"x":1}}`, strings.Repeat(`{"a":`, size/5),
				"<Event>" + strings.Repeat("<Data Name='x'>", size/15), l.Raw + strings.Repeat(" x=1", size/4), strings.Repeat("a", size),
			} {
				l.Raw = raw
				e.Process([]event.Line{l}, t0)
			}
		}
	}
	if s := e.Stats(); s.Buckets.KeptBytes > maxKept {
		t.Errorf("%+v", s)
	}
}

// decoders is content that decodes what lines hold in each way there is, and scenarios that
// keep and look at it.
const decoders = `
name: json
filter: evt.Line.Labels.type == 'json' && UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, 'doc') in ['', nil]
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {meta: what, expression: evt.Unmarshaled.doc.k1}
 - {parsed: path, expression: "JsonExtract(evt.Line.Raw, 'a.a.k9')"}
---
name: pairs
filter: evt.Line.Labels.type == 'kv' && ParseKV(evt.Line.Raw, evt.Unmarshaled, 'doc') in ['', nil]
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {meta: what, expression: evt.Unmarshaled.doc.k1}
---
name: lax pairs
filter: evt.Line.Labels.type == 'lax' && ParseKVLax(evt.Line.Raw, evt.Unmarshaled, 'doc') in ['', nil]
statics: [{meta: source_ip, value: 192.0.2.1}]
---
name: xml
filter: evt.Line.Labels.type == 'xml'
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {meta: what, expression: "XMLGetNodeValue(evt.Line.Raw, '/e/d[2]/x') + XMLGetAttributeValue(evt.Line.Raw, '/e/d', 'a')"}
---
name: text
filter: evt.Line.Labels.type == 'text'
grok:
  pattern: '^(%{WORD:first} ?)*(%{DATA:a}[ ,]+)*(x+x+)*%{GREEDYDATA:rest}$'
  apply_on: Line.Raw
statics:
 - {meta: source_ip, value: 192.0.2.1}
 - {meta: what, expression: evt.Parsed.rest}
nodes:
 - grok: {pattern: '(a+)+(b+)+%{IP:client}', apply_on: Line.Raw}
 - grok: {pattern: '%{NOTSPACE:user}@(%{HOSTNAME:host}\.)+x', apply_on: Line.Raw}
`

const lookers = `
type: conditional
name: all of it
description: d
filter: evt.Meta.source_ip != ''
groupby: evt.Meta.source_ip
leakspeed: 1h
capacity: -1
condition: any(queue.Queue, {.Line.Raw == 'x' || .Unmarshaled.doc == 1 || .Parsed.rest matches '(a|aa)+z'})
---
type: leaky
name: distinct
description: d
filter: Upper(evt.Meta.what) contains 'NEEDLE' || evt.Meta.source_ip != '' && !(evt.Meta.what matches '^(x|xx|[a-z]*)*!$')
groupby: evt.Meta.what
distinct: evt.Meta.what
leakspeed: 1h
capacity: 2
`

// Each kind of line that is made to be dear costs memory in proportion to its length,
// at most, and keeps none of it.
func TestHostileLinesStayInBounds(t *testing.T) {
	mega := 1 << 20
	if testing.Short() {
		mega >>= 3
	}
	keys := func(format string) string { // as many as fit
		var b strings.Builder
		for i := 0; b.Len() < mega; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	many := func(format string) string { // a million
		var b strings.Builder
		for i := range mega {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	lines := []struct{ name, typ, raw string }{
		{"a long line", "text", strings.Repeat("a", mega)},
		{"a long line of words", "text", strings.Repeat("word ", mega/5)},
		{"no UTF-8", "text", strings.Repeat("\xff\xc3\x28 ", mega/4)},
		{"NULs", "text", strings.Repeat("\x00", mega)},
		{"nested repetition", "text", strings.Repeat("a", mega) + "b!"},
		{"repeated separators", "text", strings.Repeat(", ", mega/2) + "!"},
		{"hosts without end", "text", strings.Repeat("a.", mega/2) + "@" + strings.Repeat("b.", 1000)},
		{"runes that change their length with their case", "text", strings.Repeat("\u0130\u212a", mega/5)},
		{"deep JSON", "json", strings.Repeat(`{"a":`, mega/6) + "1" + strings.Repeat("}", mega/6)},
		{"deep lists", "json", strings.Repeat("[", mega/2) + strings.Repeat("]", mega/2)},
		{"unfinished JSON", "json", `{"k1":"` + strings.Repeat(`\u0041`, mega/6)},
		{"JSON with many keys", "json", "{" + keys(`"k%d":0,`) + `"x":1}`},
		{"JSON with a million keys", "json", "{" + many(`"k%d":0,`) + `"x":1}`},
		{"the same key again and again", "json", "{" + strings.Repeat(`"a":{},`, mega/7) + `"x":1}`},
		{"pairs with a million keys", "kv", many("k%d=v ")},
		{"unfinished pairs", "kv", strings.Repeat(`a="`, mega/3)},
		{"lax pairs", "lax", keys("k%d=v ")},
		{"elements", "xml", strings.Repeat("<e>", mega/3)},
		{"siblings", "xml", "<e>" + strings.Repeat("<d a='1'><x>y</x></d>", mega/21) + "</e>"},
		{"attributes", "xml", "<e><d " + keys("a%d='1' ") + "/></e>"},
		{"a billion laughs", "xml", `<!DOCTYPE e [<!ENTITY a "ha">` + keys(`<!ENTITY b%d "&a;&a;&a;&a;&a;&a;&a;&a;">`) + "]><e><d/><d><x>&b9;</x></d></e>"},
		{"an external entity", "xml", `<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/passwd">]><e><d/><d><x>&a;</x></d></e>`},
	}
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "decoders.yaml", Data: []byte(decoders)},
			{Kind: hub.Scenario, Path: "lookers.yaml", Data: []byte(lookers)},
		}},
		MaxBuckets: maxBuckets, MaxKept: maxKept, Workers: 1,
	})
	for _, err := range errs {
		t.Fatal(err)
	}
	memory := func() (live, made int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), int(m.TotalAlloc)
	}
	for _, l := range lines {
		line := event.Line{Raw: l.raw, Src: "x.log", Module: "file", Labels: map[string]string{"type": l.typ}}
		before, made := memory()
		e.Process([]event.Line{line}, t0)
		after, total := memory()
		if grown := after - before; grown > maxKept+4<<20 {
			t.Errorf("%s: %d KB are kept of %d", l.name, grown>>10, len(l.raw)>>10)
		}
		if made := total - made; made > 60*len(l.raw)+16<<20 {
			t.Errorf("%s: %d KB are made of %d", l.name, made>>10, len(l.raw)>>10)
		}
		if s := e.Stats(); s.Buckets.Buckets > maxBuckets || s.Buckets.KeptBytes > maxKept {
			t.Errorf("%s: %+v", l.name, s)
		}
	}
	before := e.Stats()
	for i := range 4 {
		e.Process([]event.Line{{Raw: fmt.Sprintf(`{"k1":"needle %d"}`, i), Module: "file", Labels: map[string]string{"type": "json"}}}, t0)
	}
	if s := e.Stats(); s.Parsed != before.Parsed+4 || s.Poured != before.Poured+4 {
		t.Errorf("after it, %d of 4 lines are parsed, %d poured", s.Parsed-before.Parsed, s.Poured-before.Poured)
	}
}

// FuzzLine gives lines of any kind to all of the hub's content at once.
func FuzzLine(f *testing.F) {
	for _, l := range hubLines(f) {
		f.Add(l.Labels["type"], l.Raw)
	}
	e := everythingSmall(f)
	f.Fuzz(func(t *testing.T, typ, raw string) {
		before := e.Stats()
		l := event.Line{Raw: raw, Src: "x.log", Module: "file", Labels: map[string]string{"type": typ}}
		replayed := l
		replayed.Mode = event.Replay
		e.Process([]event.Line{l, replayed}, t0)
		e.Advance(t0)
		if s := e.Stats(); s.Lines != before.Lines+2 || s.Buckets.Buckets > maxBuckets || s.Buckets.KeptBytes > maxKept {
			t.Errorf("after %q: %+v", raw, s)
		}
	})
}
