package node_test

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"cs/pipeline/enrich"
	"cs/pipeline/enrich/enrichtest"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/grok"
	"cs/pipeline/hub"
	"cs/pipeline/node"
)

var now = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

// parser is a set of parsers and one runner over them.
type parser struct {
	t      testing.TB
	run    *node.Runner
	event  *event.Event
	trace  []string
	failed []string
	warned []string
	now    time.Time
}

// compile compiles parsers, given as stage and text.
func compile(t testing.TB, files ...[2]string) *parser {
	t.Helper()
	p := &parser{t: t, now: now}
	schema := event.NewSchema()
	stashes := node.NewStashes(func() time.Time { return p.now })
	c := node.Compiler{
		Expr: &expr.Compiler{Schema: schema}, Grok: grok.Stock(), Files: hub.NewFiles("", nil), Stashes: stashes,
		Lookups: enrich.NewLookups(enrich.Settings{Dir: enrichtest.Databases(t)}),
		Warn:    func(m string) { p.warned = append(p.warned, m) },
	}
	for i, f := range files {
		for _, err := range c.Add(hub.Item{Kind: hub.Parser, Stage: f[0], Path: fmt.Sprintf("%d.yaml", i), Data: []byte(f[1])}) {
			t.Fatal(err)
		}
	}
	stages := c.Stages()
	p.event = event.New(schema)
	p.run = node.NewRunner(stages, &expr.Ctx{Event: p.event, Stash: stashes}, func(node string, err error) {
		p.failed = append(p.failed, node+": "+err.Error())
	})
	p.run.Trace = func(stage string, n *node.Node, ok bool) {
		p.trace = append(p.trace, fmt.Sprintf("%s/%s=%v", stage, n.Name(), ok))
	}
	return p
}

// parse parses a line and returns the fields, "name=value", sorted.
func (p *parser) parse(l event.Line) (fields string, ok bool) {
	p.trace, p.failed = nil, nil
	p.run.Expr.Now = p.now
	p.event.Reset(l)
	ok = p.run.Run()
	var out []string
	s := p.event.Schema()
	for i := range s.Len() {
		if slot := event.Slot(i); p.event.Has(slot) {
			space, name := s.Name(slot)
			out = append(out, strings.ToLower(space.String()[:1])+"."+name+"="+p.event.Get(slot))
		}
	}
	sort.Strings(out)
	return strings.Join(out, " "), ok
}

// expect parses a raw line and compares the fields; want "-" for a line that
// is not understood.
func (p *parser) expect(raw, want string) {
	p.t.Helper()
	got, ok := p.parse(event.Line{Raw: raw})
	if !ok {
		got = strings.TrimSpace("- " + got)
	}
	if got != want {
		p.t.Errorf("%q: got  %s\nwant %s\ntrace %v, failed %v", raw, got, want, p.trace, p.failed)
	}
}

// one compiles a single node without a stage before or after it.
func one(t testing.TB, text string) *parser {
	t.Helper()
	return compile(t, [2]string{"s00", "name: n\n" + text})
}

func TestGrok(t *testing.T) {
	p := one(t, `
grok:
  pattern: '^%{WORD:verb}(?: %{INT:n})?(?: %{WORD})?$'
  apply_on: Line.Raw
  statics:
    - meta: v
      expression: Upper(evt.Parsed.verb)
statics:
  - meta: done
    value: yes
`)
	p.expect("get 5", "m.done=yes m.v=GET p.n=5 p.verb=get")
	p.expect("get", "m.done=yes m.v=GET p.n= p.verb=get") // a field that took no part is there
	p.expect("get 5 6 7", "-")

	p = one(t, "grok: {pattern: 'a', apply_on: Line.Raw}\n")
	p.expect("a", "-") // a grok without fields fails although it matches

	p = one(t, "grok: {pattern: '%{WORD:x}', apply_on: y}\n")
	p.expect("a", "-") // there is no evt.Parsed.y

	p = one(t, "grok: {name: WORD, pattern: '%{INT:x}', expression: evt.Line.Raw + 'b'}\nnodes: [{statics: [{parsed: k, value: v}]}]\n")
	p.expect("a", "p.k=v") // name wins over pattern and has no fields; children run all the same

	p = one(t, "grok: {pattern: '^%{DATA:x}$', expression: 6 * 7}\n")
	p.expect("a", "p.x=42")

	p = one(t, "grok: {pattern: '^%{DATA:x}$', expression: 1 == 1}\n")
	p.expect("a", "p.x=") // what is no text counts as an empty one
	p = one(t, "grok: {pattern: '^%{DATA:x}$', expression: 'int(evt.Line.Raw)'}\n")
	p.expect("a", "-") // an error is no text at all
}

func TestChildren(t *testing.T) {
	const ok, fails = "{filter: 'true', statics: [{parsed: K, value: v}]}", "{filter: 'false', statics: [{parsed: K, value: v}]}"
	f := func(grok string, children string, want bool) {
		t.Helper()
		text := "nodes: [" + children + "]\n"
		if grok != "" {
			text += "grok: {apply_on: Line.Raw, pattern: '" + grok + "'}\n"
		}
		p := one(t, text)
		if _, got := p.parse(event.Line{Raw: "a"}); got != want {
			t.Errorf("grok %q, children %s: %v, want %v", grok, children, got, want)
		}
	}
	// without a grok the last child that ran decides
	f("", ok+","+fails, false)
	f("", fails+","+ok, true)
	// with one that matched none can spoil it
	f("%{WORD:x}", fails, true)
	// with one that failed they run all the same
	f("%{INT:x}", ok, true)
	f("%{INT:x}", fails, false)

	// next_stage makes the first success the last
	p := one(t, "onsuccess: next_stage\nnodes: [{statics: [{parsed: a, value: 1}]}, {statics: [{parsed: b, value: 2}]}]\n")
	p.expect("x", "p.a=1")
	p = one(t, "nodes: [{statics: [{parsed: a, value: 1}]}, {statics: [{parsed: b, value: 2}]}]\n")
	p.expect("x", "p.a=1 p.b=2")

	// what a failed branch set stays
	p = one(t, "nodes: [{statics: [{parsed: a, value: 1}]}, {filter: 'false', statics: [{parsed: b, value: 2}]}]\nstatics: [{parsed: c, value: 3}]\n")
	p.expect("x", "- p.a=1")
}

func TestStages(t *testing.T) {
	node := func(name, filter, success string) [2]string {
		return [2]string{name[:3], fmt.Sprintf("name: %s\nfilter: %q\nonsuccess: %s\nstatics: [{parsed: %s, value: 1}]\n", name, filter, success, name)}
	}
	f := func(raw, want string, files ...[2]string) {
		t.Helper()
		p := compile(t, files...)
		_, ok := p.parse(event.Line{Raw: raw})
		if got := fmt.Sprint(ok, " ", strings.Join(p.trace, " ")); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	const yes, no = "true", "false"
	f("x", "true s00/s00a=true s01/s01a=true", node("s00a", yes, "next_stage"), node("s00b", yes, "next_stage"), node("s01a", yes, "next_stage"))
	f("x", "true s00/s00a=false s00/s00b=true s01/s01a=true", node("s00a", no, "next_stage"), node("s00b", yes, "next_stage"), node("s01a", yes, "continue"))
	f("x", "false s00/s00a=false", node("s00a", no, "next_stage"), node("s01a", yes, "next_stage"))
	// an event that nobody moved on is dropped at the next stage
	f("x", "false s00/s00a=true", node("s00a", yes, "continue"), node("s01a", yes, "next_stage"))
	// in the last stage next_stage only ends the stage
	f("x", "true s00/s00a=true s01/s01a=true", node("s00a", yes, "next_stage"), node("s01a", yes, "next_stage"), node("s01b", yes, "continue"))
	f("x", "true s00/s00a=true s01/s01a=true s01/s01b=true", node("s00a", yes, "next_stage"), node("s01a", yes, "continue"), node("s01b", yes, "continue"))
	// a child moves the event itself, its parent once more: s01 is skipped
	twice := [2]string{"s00", "name: a\nonsuccess: next_stage\nnodes: [{onsuccess: next_stage, statics: [{parsed: k, value: 1}]}]\n"}
	f("x", "true s00/a=true s02/s02a=true", twice, node("s01a", yes, "next_stage"), node("s02a", yes, "next_stage"))
	// no parsers: nothing is understood or refused
	f("x", "true ")
}

func TestStatics(t *testing.T) {
	p := one(t, `
statics:
  - parsed: a
    value: 1.50
  - parsed: b
    expression: evt.Parsed.nothing
  - parsed: a
    expression: evt.Parsed.nothing
  - meta: c
    expression: len(evt.Line.Raw)
  - meta: d
    expression: 0.5
  - meta: e
    expression: nil
  - target: evt.Parsed.f.g
    value: f
  - target: Meta.g
    value: g
  - target: evt.Enriched.h
    value: h
  - target: evt.StrTime
    value: i
  - target: evt.Line.Module
    value: j
`)
	p.expect("abc", "e.h=h m.c=3 m.d=0.500000 m.g=g p.a=1.50 p.f=f")
	if p.event.StrTime != "i" || p.event.Line.Module != "j" {
		t.Errorf("StrTime %q, Module %q", p.event.StrTime, p.event.Line.Module)
	}

	// a line has labels and documents of its own
	p = one(t, `
statics:
  - target: evt.Line.Labels.kind
    expression: evt.Line.Raw
  - target: evt.Unmarshaled.doc.deep
    expression: evt.Line.Raw
  - meta: kind
    expression: evt.Line.Labels.kind + evt.Line.Labels.type + evt.Unmarshaled.doc
  - target: evt.Whitelisted
    value: "true"
  - target: evt.Nothing.here
    value: x
`)
	labels := map[string]string{"type": "t"}
	for _, raw := range []string{"a", "b"} {
		if got, _ := p.parse(event.Line{Raw: raw, Labels: labels}); got != "m.kind="+raw+"t"+raw {
			t.Errorf("got %s", got)
		}
	}
	p.expect("c", "m.kind=cc")
	if len(labels) != 1 || p.event.Whitelisted {
		t.Errorf("labels %v, whitelisted %v", labels, p.event.Whitelisted)
	}
	if len(p.warned) != 2 || !strings.Contains(p.warned[1], `0.yaml:12: statics[4].target: "evt.Nothing.here" is nothing that a text can be assigned to`) {
		t.Errorf("warned: %q", p.warned)
	}

	// what fails is skipped and told
	p = one(t, "statics: [{parsed: a, expression: int(evt.Line.Raw)}, {parsed: b, value: 1}]\n")
	p.expect("5", "p.a=5 p.b=1")
	p.expect("x", "p.b=1")
	if len(p.failed) != 1 || !strings.HasPrefix(p.failed[0], "n: ") {
		t.Errorf("failed: %v", p.failed)
	}

	// what is no text ends the parse
	p = one(t, "statics: [{parsed: a, value: 1}, {parsed: b, expression: evt.Line.Raw == 'x'}, {parsed: c, value: 1}]\n")
	p.expect("x", "- p.a=1")
}

func TestFilter(t *testing.T) {
	p := one(t, "filter: int(evt.Line.Raw) > 3\nstatics: [{parsed: a, value: 1}]\n")
	p.expect("5", "p.a=1")
	p.expect("3", "-")
	p.expect("x", "-")
	if len(p.failed) != 1 {
		t.Errorf("failed: %v", p.failed)
	}
}

func TestParseDate(t *testing.T) {
	p := one(t, `
statics:
  - target: evt.StrTime
    expression: evt.Line.Raw
  - method: ParseDate
    expression: evt.StrTime
`)
	f := func(raw string, mode event.Mode, want string, wantTime time.Time) {
		t.Helper()
		got, _ := p.parse(event.Line{Raw: raw, Mode: mode})
		if got != "e.MarshaledTime="+want || !p.event.Time.Equal(wantTime) {
			t.Errorf("%q: got %s, time %v; want %s, %v", raw, got, p.event.Time, want, wantTime)
		}
	}
	date := time.Date(2021, 9, 29, 12, 11, 34, 0, time.UTC)
	f("29/Sep/2021:14:11:34 +0200", event.Live, "2021-09-29T14:11:34+02:00", time.Time{})
	f("29/Sep/2021:14:11:34 +0200", event.Replay, "2021-09-29T14:11:34+02:00", date)
	f("soon", event.Replay, "2026-03-14T10:00:00Z", time.Time{})
	f("", event.Replay, "2026-03-14T10:00:00Z", time.Time{})                                                    // an empty value skips other statics, not this one
	p = one(t, "grok: {pattern: '%{WORD:w}', apply_on: Line.Raw, statics: [{method: ParseDate}, {meta: x}]}\n") // those of a grok are not checked
	p.expect("a", "e.MarshaledTime=2026-03-14T10:00:00Z p.w=a")
}

func TestWhitelist(t *testing.T) {
	p := compile(t, [2]string{"s00", `
name: a
statics:
  - meta: source_ip
    expression: evt.Line.Raw
---
name: b
whitelist:
  reason: ours
  ip: [192.0.2.1, "2001:db8::1"]
  cidr: [10.0.0.0/8]
  expression:
    - evt.Line.Raw contains 'friend'
    - int(evt.Line.Raw) == 1
    - evt.Line.Raw contains 'never reached'
statics:
  - meta: listed
    value: yes
---
name: c
whitelist: {reason: second, ip: [192.0.2.1]}
`})
	f := func(raw, want string) {
		t.Helper()
		_, ok := p.parse(event.Line{Raw: raw})
		listed, _ := p.event.Schema().Lookup(event.Meta, "listed")
		if !ok || p.event.Whitelisted != (want != "") || p.event.WhitelistReason != want || p.event.Has(listed) != (want == "ours") {
			t.Errorf("%q: ok %v, whitelisted %v for %q, statics %v; want %q", raw, ok, p.event.Whitelisted, p.event.WhitelistReason, p.event.Has(listed), want)
		}
	}
	f("192.0.2.1", "ours")
	f("::ffff:192.0.2.1", "ours")
	f("2001:db8:0::1", "ours")
	f("10.255.0.1", "ours")
	f("11.0.0.1", "")
	f("a friend", "ours")
	f("1", "ours")
	f("never reached", "") // an expression failed before it
	f("fe80::1%eth0", "")
	f("", "")
}

func TestStash(t *testing.T) {
	p := compile(t, [2]string{"s00", `
name: put
filter: evt.Line.Raw startsWith 'put '
onsuccess: next_stage
grok: {pattern: '^put %{WORD:k} %{WORD:v}$', apply_on: Line.Raw}
stash:
  - {name: c, key: evt.Parsed.k, value: evt.Parsed.v, ttl: 10s, size: 2}
`}, [2]string{"s00", `
name: get
filter: evt.Line.Raw startsWith 'get '
onsuccess: next_stage
statics:
  - parsed: got
    expression: GetFromStash('c', Split(evt.Line.Raw, ' ')[1])
  - parsed: unknown
    expression: GetFromStash('nope', 'x')
`})
	p.expect("put a 1", "p.k=a p.v=1")
	p.expect("get a", "p.got=1")
	p.expect("put a 2", "p.k=a p.v=2")
	p.expect("put b 3", "p.k=b p.v=3")
	p.expect("get a", "p.got=2") // now b is the one not used for longest
	p.expect("put c 4", "p.k=c p.v=4")
	p.expect("get b", "")
	p.expect("get a", "p.got=2")
	long := strings.Repeat("x", 20_000) // more than a stash takes
	p.expect("put d "+long, "p.k=d p.v="+long)
	p.expect("get d", "")
	p.expect("get a", "p.got=2")
	p.now = p.now.Add(10 * time.Second)
	p.expect("get a", "")
}

func TestPatternsAreShared(t *testing.T) {
	p := compile(t,
		[2]string{"s00", "name: a\nonsuccess: next_stage\npattern_syntax: {MINE: 'x+'}\ngrok: {pattern: '^%{MINE:a}', apply_on: Line.Raw}\n"},
		[2]string{"s00", "name: b\nonsuccess: next_stage\npattern_syntax: {MINE: 'y+'}\ngrok: {pattern: '^a%{MINE:b}', apply_on: Line.Raw}\n"})
	p.expect("xx", "p.a=xx")
	p.expect("ax", "p.b=x") // the first definition holds for everybody
	p.expect("ay", "-")
	if len(p.warned) != 1 || !strings.Contains(p.warned[0], "1.yaml:3: pattern_syntax.MINE: the pattern is defined already") {
		t.Errorf("warned: %q", p.warned)
	}
}

func TestUnmarshalJSON(t *testing.T) {
	p := one(t, `
statics:
  - method: UnmarshalJSON
    expression: evt.Line.Raw
  - parsed: ip
    expression: evt.Unmarshaled.client?.ip
`)
	p.expect(`{"client": {"ip": "192.0.2.1"}, "other": 1}`, "p.ip=192.0.2.1")
	p.expect(`{"other": 1}`, "")
	p.expect(`{"client`, "")
	if len(p.failed) != 1 || !strings.Contains(p.failed[0], "cannot decode the line as JSON") {
		t.Errorf("failed: %v", p.failed)
	}

	// also keys that content doesn't spell out
	p = one(t, `
statics:
  - method: UnmarshalJSON
    expression: evt.Line.Raw
  - parsed: v
    expression: evt.Unmarshaled[evt.Unmarshaled.which] ?? 'none'
  - parsed: n
    expression: len(evt.Unmarshaled)
`)
	p.expect(`{"which": "a", "a": "x"}`, "p.n=2 p.v=x")
	p.expect(`{"which": "b"}`, "p.n=1 p.v=none")
}

func TestMethods(t *testing.T) {
	p := one(t, `statics:
 - {method: GeoIpCity, expression: evt.Line.Raw}
 - {method: IpToRange, expression: evt.Line.Raw}
 - {meta: country, expression: evt.Enriched.IsoCode}
 - {meta: range, expression: evt.Enriched.SourceRange}
`)
	p.expect("1.2.3.4", "e.IsInEU=true e.IsoCode=FR e.Latitude=46.000000 e.Longitude=2.000000 e.SourceRange=1.2.0.0/16 m.country=FR m.range=1.2.0.0/16")
	p.expect("nobody", "")
	if len(p.warned) != 0 {
		t.Errorf("warned: %q", p.warned)
	}
}

func TestUnknownMethodsOnlyWarn(t *testing.T) {
	p := one(t, "statics: [{method: Nope, value: x}, {parsed: a, value: 1}]\n")
	p.expect("x", "p.a=1")
	if len(p.warned) != 1 {
		t.Errorf("warned: %q", p.warned)
	}
}

func TestDocumentsWithoutAName(t *testing.T) {
	p := compile(t, [2]string{"s00", "filter: 'true'\nstatics: [{parsed: a, value: 1}]\n---\ndescription: x\nstatics: [{parsed: b, value: 1}]\n"})
	p.expect("x", "p.b=1") // the first is nobody's
	if want := []string{"s00/=true"}; !slices.Equal(p.trace, want) {
		t.Errorf("got %q, want %q", p.trace, want)
	}
	p = compile(t, [2]string{"s00", "author: x\nfilter: int(evt.Line.Raw) > 1\nstatics: [{parsed: a, value: 1}]\n"})
	p.expect("x", "-")
	if len(p.failed) != 1 || !strings.HasPrefix(p.failed[0], "0.yaml: ") {
		t.Errorf("failed: %q", p.failed)
	}
}

// With many nodes in a stage filters are asked through an index. What comes out
// must not depend on it: asking with and without a trace, which turns the
// index off, must give the same.
func TestIndexChangesNothing(t *testing.T) {
	var files [][2]string
	add := func(name, rest string) {
		files = append(files, [2]string{"s00", "name: " + name + "\n" + rest})
	}
	for i := range 20 {
		add(fmt.Sprintf("n%02d", i), fmt.Sprintf("filter: evt.Line.Labels.type == 't%d'\nonsuccess: next_stage\nstatics: [{parsed: n, value: %d}]\n", i, i))
	}
	add("p0", "filter: int(evt.Line.Raw) > 5\nstatics: [{parsed: p, value: first}]\n")
	// sets what the filter of a later node asks for, and fails
	add("q0", "filter: evt.Line.Labels.type == 'q'\nnodes: [{statics: [{parsed: q, value: set}]}, {filter: 'false', statics: [{parsed: x, value: x}]}]\n")
	add("q1", "filter: evt.Parsed.q == 'set'\nstatics: [{parsed: seen, value: yes}]\n")
	add("r0", "statics: [{meta: all, value: yes}]\n")
	p := compile(t, files...)
	trace := p.run.Trace
	for _, typ := range []string{"t0", "t7", "t19", "t20", "q", ""} {
		for _, raw := range []string{"", "3", "7", "x"} {
			l := event.Line{Raw: raw, Labels: map[string]string{"type": typ}}
			p.run.Trace = trace
			want, ok := p.parse(l)
			failed := fmt.Sprint(p.failed)
			p.run.Trace = nil
			got, ok2 := p.parse(l)
			if got != want || ok2 != ok || fmt.Sprint(p.failed) != failed {
				t.Errorf("type %q, line %q:\nindexed %v %s %v\nwant    %v %s %s", typ, raw, ok2, got, p.failed, ok, want, failed)
			}
		}
	}
}

func FuzzLoadParser(f *testing.F) {
	f.Add("name: a\nfilter: evt.Line.Raw != ''\ngrok: {pattern: '%{WORD:x}', apply_on: Line.Raw}\nstatics: [{meta: a, expression: evt.Parsed.x}]\n", "a line")
	f.Add("name: a\nnodes:\n - pattern_syntax: {X: '(a|b)*'}\n   grok: {pattern: '%{X:y}', expression: evt.Line.Src}\nwhitelist: {ip: [1.2.3.4], expression: ['true']}\n", "ab")
	f.Add("name: a\nstash: [{name: s, key: evt.Line.Raw, value: '1', ttl: 1s}]\nstatics: [{method: ParseDate, value: x}, {target: evt.StrTime, value: y}]\n---\nname: b\n", "")
	stock := grok.Stock()
	f.Fuzz(func(t *testing.T, text, line string) {
		schema := event.NewSchema()
		stashes := node.NewStashes(time.Now)
		c := node.Compiler{Expr: &expr.Compiler{Schema: schema}, Grok: stock.Clone(), Files: hub.NewFiles("", nil), Stashes: stashes}
		c.Add(hub.Item{Kind: hub.Parser, Stage: "s00", Path: "f.yaml", Data: []byte(text)})
		ctx := &expr.Ctx{Event: event.New(schema), Stash: stashes, Now: now}
		r := node.NewRunner(c.Stages(), ctx, nil)
		for range 2 {
			ctx.Event.Reset(event.Line{Raw: line, Src: line})
			r.Run()
		}
	})
}

func TestStageOfAnEvent(t *testing.T) {
	p := compile(t,
		[2]string{"s00", "name: a\nonsuccess: next_stage\nstatics: [{parsed: first, expression: evt.Stage}]\n"},
		[2]string{"s01", "name: b\nfilter: evt.Stage == 's01'\nstatics: [{parsed: second, expression: evt.Stage}]\n"})
	p.expect("x", "p.first=s00 p.second=s01")
}
