package expr

import (
	"testing"

	"cs/pipeline/event"
)

// steady are expressions that must not allocate once warm.
var steady = []string{
	`evt.Meta.service == 'http' && evt.Meta.log_type in ['http_access-log', 'http_error-log']`,
	`Upper(evt.Meta.http_path) contains Upper('.env') or Lower(QueryUnescape(evt.Meta.http_path)) startsWith '/b'`,
	`evt.Parsed.verb + " " + evt.Meta.http_path`,
	`evt.Meta.http_path matches '(?i)\\.ENV'`,
	`any(File('paths.txt'), { evt.Meta.http_path contains # })`,
	`any(File('paths.txt'), { Upper(evt.Meta.http_path) contains Upper(#) })`,
	`RegexpInFile(evt.Meta.http_path, 'agents.txt')`,
	`int(evt.Parsed.n) >= 42 && int(evt.Parsed.n) < 42.5 && len(evt.Parsed.verb) == 3`,
	`evt.Parsed.verb == 'GET' ? evt.Parsed.verb : nil`,
	`int(evt.Parsed.n) + 1`,
	`float(evt.Parsed.n)`,
	`Split(evt.Meta.http_path, '/')[-1]`,
	`TrimSpace(evt.Parsed.verb)[0:2] + evt.Line.Labels.type`,
	`evt.GetMeta('service') == 'http' && evt.SetMeta('a', 'b')`,
	`JsonExtract(evt.Line.Raw, 'a.b[1]') == 'x'`,
	`evt.Unmarshaled.doc.name == "x" && evt.Unmarshaled.doc.list[0] startsWith "y"`,
	`let x = Lower(evt.Parsed.verb); x == 'get' && x != 'put'`,
	`IsIPV4('1.2.3.4') && IpInRange(evt.Parsed.ip, '1.2.3.0/24') && !IsIP(evt.Parsed.verb)`,
	`IpToRange(evt.Parsed.ip, '/24')`,
	`ReplaceAll(evt.Meta.http_path, '/', '-')`,
	`Match('*env*', evt.Meta.http_path)`,
	`evt.Parsed.verb in evt.Parsed`,
	`TimeNow() != ''`,
	`XMLGetNodeValue(evt.Line.Src, "/e[1]/d[@n='x']") + XMLGetAttributeValue(evt.Line.Src, "/e/d", "n")`,
}

func TestSteadyExpressionsDoNotAllocate(t *testing.T) {
	for _, src := range steady {
		c := testCompiler()
		p, err := c.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		x := testCtx(t, c)
		if slot, ok := c.Schema.Lookup(event.Unmarshaled, "doc"); ok {
			x.Event.SetDoc(slot, map[string]any{"name": "x", "list": []any{"yy"}})
		}
		if slot, ok := c.Schema.Lookup(event.Parsed, "ip"); ok {
			x.Event.Set(slot, "1.2.3.4")
		}
		x.Event.Line.Src = `<e><d n="x">a&#98;</d></e>`
		x.Event.Line.Raw = `{"a":{"b":["y","x"]}}`
		run := func() {
			if p.val.bool != nil {
				_, err = p.Bool(x)
			} else {
				_, _, err = p.Text(x)
			}
		}
		run()
		// the arena keeps what a line makes; this line is evaluated again and
		// again, so there must be room
		x.Event.Keep(make([]byte, 256<<10))
		line := x.Event.Line
		vals := snapshot(x.Event)
		n := testing.AllocsPerRun(200, func() {
			x.Event.Reset(line)
			vals(x.Event)
			run()
		})
		if n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", src, n, err)
		}
	}
}

// snapshot returns a function that gives an event the fields that e has.
func snapshot(e *event.Event) func(*event.Event) {
	type field struct {
		slot event.Slot
		text string
		doc  any
	}
	var fields []field
	for slot := range event.Slot(e.Schema().Len()) {
		if e.Has(slot) || e.Doc(slot) != nil {
			fields = append(fields, field{slot, e.Get(slot), e.Doc(slot)})
		}
	}
	return func(e *event.Event) {
		for _, f := range fields {
			if f.doc != nil {
				e.SetDoc(f.slot, f.doc)
			} else {
				e.Set(f.slot, f.text)
			}
		}
	}
}

func BenchmarkExpressions(b *testing.B) {
	for _, src := range steady {
		c := testCompiler()
		p, err := c.Compile(src)
		if err != nil {
			b.Fatal(err)
		}
		x := testCtx(b, c)
		x.Event.Line.Src = `<e><d n="x">a&#98;</d></e>`
		x.Event.Line.Raw = `{"a":{"b":["y","x"]}}`
		line := x.Event.Line
		vals := snapshot(x.Event)
		b.Run(src, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Event.Reset(line) // or the arena grows
				vals(x.Event)
				if p.val.bool != nil {
					_, _ = p.Bool(x)
				} else {
					_, _, _ = p.Text(x)
				}
			}
		})
	}
}
