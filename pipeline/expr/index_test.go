package expr

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"cs/pipeline/event"
)

// outcome lists what filters gave: one run by one, or through an index.
func outcome(progs []*Program, x *Ctx, indexed *Index) string {
	var out strings.Builder
	visit := func(i int, err error) { fmt.Fprintf(&out, "%d %v\n", i, err) }
	if indexed != nil {
		indexed.Run(x, visit)
		return out.String()
	}
	for i, p := range progs {
		if ok, err := p.Bool(x); ok || err != nil {
			visit(i, err)
		}
	}
	return out.String()
}

// stepwise is outcome for somebody who goes through the candidates.
func stepwise(ix *Index, x *Ctx) string {
	var out strings.Builder
	c := ix.Candidates()
	c.Find(x)
	for i := c.Next(0); i >= 0; i = c.Next(i + 1) {
		if ok, err := c.Test(x, i); ok || err != nil {
			fmt.Fprintf(&out, "%d %v\n", i, err)
		}
		c.Renew(x)
	}
	return out.String()
}

// metas lists the fields of an event, to see the effects of filters.
func metas(x *Ctx) string {
	var out strings.Builder
	for _, slot := range x.Event.Schema().Sorted(event.Meta) {
		fmt.Fprintln(&out, x.Event.Has(slot), x.Event.Get(slot))
	}
	return out.String()
}

// TestIndexHub runs all scenario filters of the hub through one index and one
// by one, over events made of the words of one of them.
func TestIndexHub(t *testing.T) {
	c := &Compiler{Schema: event.NewSchema(), Files: testFiles{
		"http_path_traversal.txt": {"../", "..%2f"}, "sensitive_data.txt": {".git", "/.ENV", "id_rsa"}, "sqli_probe_patterns.txt": {"UNION", "select(", "%27"},
		"xss_probe_patterns.txt": {"<script", "onload="}, "bad_user_agents.regex.txt": {`(?i)nikto`, `sqlmap/\d`},
	}}
	var progs []*Program
	var exprs []hubExpr
	for _, e := range hubExprs(t) {
		if e.key != "filter" || !strings.HasPrefix(e.file, "scenarios") {
			continue
		}
		if p, err := c.CompileBool(e.src); err == nil {
			progs, exprs = append(progs, p), append(exprs, e)
		}
	}
	ix := NewIndex(progs)
	t.Logf("%d filters: %d tables, %d gates, %d without a gate", len(progs), len(ix.tables), len(ix.gates), count(ix.free))
	hits, runs := 0, 0
	for n, e := range exprs {
		words := wordsOf(t, e.src)
		rng := rand.New(rand.NewPCG(uint64(n), 3))
		for range 6 {
			ev := words.event(rng)
			x, y := ctxOf(c, ev), ctxOf(c, ev)
			got, want := outcome(progs, x, ix), outcome(progs, y, nil)
			if got != want || metas(x) != metas(y) {
				t.Fatalf("events of %s: got\n%s\nwant\n%s\nevent %+v", e.src, got, want, ev)
			}
			runs++
			hits += strings.Count(got, "\n")
		}
	}
	t.Logf("%d runs, %d filters true or failed", runs, hits)
	if hits < runs/4 {
		t.Fatalf("only %d hits in %d runs", hits, runs)
	}
}

// indexGen makes filters of the kind that an index has clues about.
func indexGen(g *gen) string {
	field := func() string { return g.pick("evt.Parsed.a", "evt.Parsed.b", "evt.Meta.c") }
	k := func() string {
		return g.pick("'a'", "'GET'", "'get'", "'x y'", "'ab'", "''", "'ſ'", "'k'", "'/a'", "'É'", "'S'")
	}
	subject := func() string {
		switch g.r.IntN(5) {
		case 0:
			return "Upper(" + field() + ")"
		case 1:
			return "Lower(" + field() + ")"
		case 2:
			return g.pick("Upper(QueryUnescape(evt.Parsed.a))", "evt.Line.Raw", "Lower(Upper(evt.Parsed.b))", "TrimSpace(evt.Parsed.a)")
		}
		return field()
	}
	var cond func(d int) string
	cond = func(d int) string {
		switch n := g.r.IntN(17); {
		case d > 0 && n < 5:
			return "(" + cond(d-1) + g.pick(" && ", " && ", " || ") + cond(d-1) + ")"
		case d > 0 && n == 5:
			return "not (" + cond(d-1) + ")"
		case d > 0 && n == 6:
			return "(" + cond(d-1) + " ? " + cond(d-1) + " : " + g.pick("false", cond(d-1)) + ")"
		case n == 7:
			return "any(File('list.txt'), {" + subject() + g.pick(" contains ", " == ", " startsWith ", " endsWith ") + g.pick("#", "Upper(#)", "Lower(#)") + g.pick("", " && len(#) > 1", " && evt.Unmarshaled.d.n > 1", " ? evt.SetMeta('c', 'GET') : false") + "})"
		case n == 8:
			return g.pick("int(evt.Parsed.b) > 3", "evt.Unmarshaled.d.n > 1", "evt.SetMeta('c', "+k()+")", "evt.SetParsed('a', evt.Meta.c)", "evt.Unmarshaled.d.s == 'a'")
		case n == 9:
			return subject() + " in [" + k() + ", " + k() + "]"
		case n == 10:
			return subject() + g.pick(" != ", " == ") + k()
		case n == 11:
			return k() + " == " + subject()
		case n == 12:
			return g.pick(subject()+" matches ", "any(File('list.txt'), {"+subject()+" matches #}) || "+subject()+" matches ") + g.pick("'a|GET'", "'(?i)s|^get'", "'^k'", "'É'", "'(?i)É|k'", "''")
		case n == 13 && d > 0:
			v := fmt.Sprint("v", d)
			return "(let " + v + " = " + g.pick(subject(), subject(), "evt.Unmarshaled.d.s") + "; " + v + g.pick(" == ", " contains ", " matches ", " != ") + k() + g.pick(" && ", " || ") + cond(d-1) + ")"
		case n == 14:
			return g.pick("evt.Line.Labels.type", "evt.Line.Src", "evt.StrTime", "evt.Line.Labels.none") + g.pick(" == ", " != ", " startsWith ") + k()
		case n == 15:
			return subject() + " not in [" + k() + ", " + k() + "]"
		}
		return subject() + g.pick(" contains ", " startsWith ", " endsWith ", " == ") + k()
	}
	return cond(3)
}

// TestIndexRandom compares an index of random filters with the filters run one
// by one, effects and failures included.
func TestIndexRandom(t *testing.T) {
	hits := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 17))
		g := &gen{r: r}
		c := &Compiler{Schema: event.NewSchema(), Files: testFiles{"list.txt": {"a", "GET", "x", "ſ"}}}
		var progs []*Program
		for range 1 + r.IntN(150) {
			src := indexGen(g)
			p, err := c.CompileBool(src)
			if err != nil {
				t.Fatalf("%s: %v", src, err)
			}
			progs = append(progs, p)
		}
		ix := NewIndex(progs)
		for range 40 {
			ev := randomEvent(r)
			if r.IntN(4) == 0 { // letters whose other case is ASCII
				ev.Parsed["a"] = g.pick("ſ", "K", "xſy", "ı", "İ", "GEſ", "a\u212a", "é", "xÉ", "éa\xffget")
			}
			x, y := ctxOf(c, ev), ctxOf(c, ev)
			got, want := outcome(progs, x, ix), outcome(progs, y, nil)
			if got != want || metas(x) != metas(y) {
				for i, p := range progs {
					t.Log(i, p)
				}
				t.Fatalf("got\n%s\nwant\n%s\nevent %+v", got, want, ev)
			}
			hits += strings.Count(got, "\n")

			// The same by the two other ways to use an index.
			x = ctxOf(c, ev)
			first := ""
			if i, err := ix.First(x); i >= 0 {
				first = fmt.Sprintf("%d %v\n", i, err)
			}
			if !strings.HasPrefix(want, first) || first == "" && want != "" {
				t.Fatalf("first: got %s, want\n%s\nevent %+v", first, want, ev)
			}
			x = ctxOf(c, ev)
			if got := stepwise(ix, x); got != want || metas(x) != metas(y) {
				t.Fatalf("stepwise: got\n%s\nwant\n%s\nevent %+v", got, want, ev)
			}
		}
	}
	if hits < 10_000 {
		t.Fatalf("only %d hits", hits)
	}
}

func webFilters(tb testing.TB) (*Compiler, []*Program) {
	c := testCompiler()
	var progs []*Program
	for i := range 300 {
		src := fmt.Sprintf(`evt.Meta.service == 'http' && evt.Meta.log_type in ['http_access-log', 'http_error-log'] && Upper(evt.Meta.http_path) contains Upper('/path%d')`, i)
		if i%10 == 0 {
			src = fmt.Sprintf(`evt.Meta.log_type == 'other%d'`, i)
		}
		if i%50 == 1 {
			src = `any(File('paths.txt'), {evt.Meta.http_path contains #})`
		}
		p, err := c.CompileBool(src)
		if err != nil {
			tb.Fatal(err)
		}
		progs = append(progs, p)
	}
	return c, progs
}

func TestIndexDoesNotAllocate(t *testing.T) {
	c, progs := webFilters(t)
	ix := NewIndex(progs)
	x := testCtx(t, c)
	hits := 0
	visit := func(int, error) { hits++ }
	ix.Run(x, visit)
	if hits != 6 {
		t.Fatalf("%d filters hit", hits)
	}
	if n := testing.AllocsPerRun(100, func() { ix.Run(x, visit) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkIndex(b *testing.B) {
	c, progs := webFilters(b)
	x := testCtx(b, c)
	visit := func(int, error) {}
	b.Run("indexed", func(b *testing.B) {
		ix := NewIndex(progs)
		b.ReportAllocs()
		for b.Loop() {
			ix.Run(x, visit)
		}
	})
	b.Run("each", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, p := range progs {
				_, _ = p.Bool(x)
			}
		}
	})
}

// Upper and Lower make ASCII letters of no others than the foreign ones.
func TestForeign(t *testing.T) {
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		s := string(r)
		for _, other := range []string{strings.ToUpper(s), strings.ToLower(s)} {
			if slices.ContainsFunc([]rune(other), func(o rune) bool { return o < utf8.RuneSelf || slices.Contains(foreign[:], string(o)) }) &&
				!slices.Contains(foreign[:], s) {
				t.Errorf("%U gives %q", r, other)
			}
		}
	}
	f := func(s string, want bool) {
		t.Helper()
		if hasForeign(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	f("", false)
	f("abcdefghijklmnop", false)
	f("é", false)
	f("abcdefghijklmnéſ", true)
	f("ſabcdefghijklmnop", true)
}

func TestLongestASCII(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := longestASCII(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	f("", "")
	f("é", "")
	f("abc", "abc")
	f("aébcédé", "bc")
	f("\xffab", "ab")
}

// Candidates see what was changed on the way.
func TestCandidatesAreRenewed(t *testing.T) {
	c := &Compiler{Schema: event.NewSchema()}
	var progs []*Program
	for _, src := range []string{"evt.Meta.a == 'x'", "evt.Meta.a == 'y'", "evt.Meta.a contains 'yy'", "evt.Meta.a != 'yy'"} {
		p, err := c.CompileBool(src)
		if err != nil {
			t.Fatal(err)
		}
		progs = append(progs, p)
	}
	progs = append(progs, nil)
	slot, _ := c.Schema.Lookup(event.Meta, "a")
	x := &Ctx{Event: event.New(c.Schema)}
	x.Event.Reset(event.Line{})
	f := NewIndex(progs).Candidates()
	expect := func(want ...int) {
		t.Helper()
		var got []int
		for i := f.Next(0); i >= 0; i = f.Next(i + 1) {
			if ok, err := f.Test(x, i); ok && err == nil {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	x.Event.Set(slot, "x")
	f.Find(x)
	expect(0, 3, 4)
	x.Event.Set(slot, "yy")
	f.Renew(x)
	expect(2, 4)
	x.Event.Set(slot, "y")
	f.Renew(x)
	expect(1, 3, 4)
}

// Verdicts are those of the text, whatever texts were asked about before.
func TestRecalled(t *testing.T) {
	c := &Compiler{Schema: event.NewSchema(), Files: testFiles{"bots.txt": {"bot[0-9]", "crawl"}}}
	p, err := c.CompileBool("RegexpInFile(evt.Meta.a, 'bots.txt')")
	if err != nil {
		t.Fatal(err)
	}
	slot, _ := c.Schema.Lookup(event.Meta, "a")
	x := &Ctx{Event: event.New(c.Schema)}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		n := r.IntN(2000)
		s := strings.Repeat("-", r.IntN(40)*(n%8)) + fmt.Sprint("agent ", n)
		want := n%3 == 0
		if want {
			s += []string{"crawl", "bot7"}[n%2]
		}
		x.Event.Reset(event.Line{})
		x.Event.Set(slot, s)
		if got, err := p.Bool(x); got != want || err != nil {
			t.Fatalf("%s: %v, %v", s, got, err)
		}
	}
}

// Conditions that begin with the same one share its needles, not what follows.
func TestWithNeedles(t *testing.T) {
	add := func(c clue, texts ...string) clue {
		var more []needle
		for _, text := range texts {
			more = append(more, needle{text: text})
		}
		return c.withNeedles(more)
	}
	f := func(c clue, want string) {
		t.Helper()
		got := ""
		for _, n := range c.needles {
			got += n.text
		}
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	first := add(add(clue{needles: []needle{{text: "a"}}}, "b"), "c")
	one := add(first, "d", "e")
	other := add(first, "f")
	longer := add(one, "g")
	f(first, "abc")
	f(one, "abcde")
	f(other, "abcf")
	f(longer, "abcdeg")
	f(add(other, "h"), "abcfh")
}
