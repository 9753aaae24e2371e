package expr

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cs/pipeline/event"
	"cs/pipeline/expr/syntax/syntaxtest"
)

// gen makes random expressions. Most are well typed; some are not, on purpose.
type gen struct {
	r     *rand.Rand
	loops int
	lets  []string
}

func (g *gen) pick(of ...string) string { return of[g.r.IntN(len(of))] }

func (g *gen) quote() string {
	return "'" + g.pick("", "a", "b", "ab", "GET", "get", "x y", "1", "42", "é", "/a/b", "a,b,c", "k=v", `{"a":{"b":"c"},"n":1}`, "1.2.3.4", "10.0.0.0/8", "[a-c]+") + "'"
}

func (g *gen) str(d int) string {
	if g.r.IntN(30) == 0 {
		// not nil itself: expr-lang takes cond ? 'text' : nil for a text and fails when it compares it
		if a := g.any(d - 1); a != "nil" {
			return a
		}
	}
	if d <= 0 || g.r.IntN(4) == 0 {
		return g.pick("evt.Parsed.a", "evt.Parsed.b", "evt.Meta.c", "evt.Line.Raw", "evt.StrTime", "evt.Line.Labels.type", g.quote(), g.quote(), "evt.Parsed.missing")
	}
	switch g.r.IntN(22) {
	case 0:
		return "(" + g.str(d-1) + " + " + g.str(d-1) + ")"
	case 1:
		return "(" + g.cond(d-1) + " ? " + g.str(d-1) + " : " + g.str(d-1) + ")"
	case 2:
		return g.str(d-1) + "[" + g.pick("", "1", "-1", "2", "-3") + ":" + g.pick("", "1", "-1", "5") + "]"
	case 3:
		return g.pick("Upper", "Lower", "upper", "lower", "TrimSpace", "trim", "QueryUnescape", "PathUnescape", "PathEscape", "QueryEscape") + "(" + g.str(d-1) + ")"
	case 4:
		return g.pick("TrimPrefix", "TrimSuffix", "trimPrefix", "trimSuffix", "Trim", "TrimLeft", "TrimRight", "trim") + "(" + g.str(d-1) + ", " + g.str(d-1) + ")"
	case 5:
		return "string(" + g.int(d-1) + ")"
	case 6:
		return "ReplaceAll(" + g.str(d-1) + ", " + g.str(d-1) + ", " + g.str(d-1) + ")"
	case 7:
		return "Join(" + g.list(d-1) + ", " + g.str(d-1) + ")"
	case 8:
		return "Sprintf(" + g.pick("'%v-%v'", "'%s%d'", "'%x %q'") + ", " + g.any(d-1) + ", " + g.any(d-1) + ")"
	case 9:
		return "JsonExtract(" + g.str(d-1) + ", " + g.pick("'a.b'", "'n'", "'a'", "'x[0].y'", g.str(0)) + ")"
	case 10:
		l := g.list(d - 1)
		if strings.HasPrefix(l, "filter") { // expr-lang's machine loses its stack in filter(…)[-1]
			return l + "[0]"
		}
		return l + "[" + g.pick("0", "-1", "1", g.int(0)) + "]"
	case 11:
		return "(" + g.str(d-1) + " ?? " + g.str(d-1) + ")"
	case 12:
		return "Replace(" + g.str(d-1) + ", " + g.str(d-1) + ", " + g.str(d-1) + ", " + g.int(0) + ")"
	case 13:
		return "evt.Parsed[" + g.pick("'a'", "'b'", g.str(d-1)) + "]"
	case 14:
		return "Get(" + g.list(d-1) + ", " + g.int(0) + ")"
	case 15:
		return "type(" + g.any(d-1) + ")"
	case 16:
		if g.loops > 0 {
			return "#"
		}
	case 17:
		if len(g.lets) > 0 {
			return g.lets[g.r.IntN(len(g.lets))]
		}
	case 18:
		return "ToString(" + g.any(d-1) + ")"
	case 19:
		return "join(" + g.list(d-1) + g.pick("", ", '-'") + ")"
	case 20:
		return "IpToRange(" + g.str(d-1) + ", " + g.pick("'/24'", "'64'", g.str(0)) + ")"
	case 21:
		return "toBase64(" + g.str(d-1) + ")"
	}
	return g.str(0)
}

func (g *gen) int(d int) string {
	if d <= 0 || g.r.IntN(4) == 0 {
		return fmt.Sprint(g.r.IntN(7) - 2)
	}
	switch g.r.IntN(9) {
	case 0:
		return "(" + g.int(d-1) + g.pick(" + ", " - ", " * ", " % ") + g.int(d-1) + ")"
	case 1:
		return "len(" + g.pick(g.str(d-1), g.list(d-1), g.any(d-1)) + ")"
	case 2:
		return "int(" + g.pick(g.str(d-1), g.num(d-1), g.any(d-1)) + ")"
	case 3:
		return g.pick("indexOf", "lastIndexOf", "Index", "IndexAny") + "(" + g.str(d-1) + ", " + g.str(d-1) + ")"
	case 4:
		return "count" + "(" + g.list(d-1) + ", {" + g.inLoop(d-1) + "})"
	case 5:
		return "-" + g.int(d-1)
	case 6:
		return g.pick("bitand", "bitor", "bitxor") + "(" + g.int(d-1) + ", " + g.int(d-1) + ")"
	case 7:
		if g.loops > 0 {
			return g.pick("len(#)", "0")
		}
	}
	return "(" + g.cond(d-1) + " ? " + g.int(d-1) + " : " + g.int(d-1) + ")"
}

func (g *gen) num(d int) string {
	switch g.r.IntN(7) {
	case 0:
		return "(" + g.num(d-2) + " / " + g.int(d-1) + ")"
	case 1:
		return "float(" + g.pick(g.str(d-2), g.int(d-1)) + ")"
	case 2:
		return g.pick("ceil", "floor", "round", "abs") + "(" + g.pick("2.5", "-1.5", "evt.Unmarshaled.d.n") + ")"
	case 3:
		return "(" + g.int(d-1) + g.pick(" * ", " + ", " - ", " ** ") + "1.5)"
	case 4:
		return "Atof(" + g.str(d-2) + ")"
	}
	return g.pick(g.int(d-1), "0.5", "2.0", "-1.25")
}

func (g *gen) list(d int) string {
	if d <= 0 || g.r.IntN(3) == 0 {
		return g.pick("['a', 'b']", "['GET', 'x', '']", "[evt.Parsed.a, 'b']", "File('list.txt')", "['a']", "[]", "[1, 2]", "['a', nil, 3]")
	}
	switch g.r.IntN(9) {
	case 0:
		return g.pick("Split", "split", "SplitAfter", "splitAfter") + "(" + g.str(d-1) + ", " + g.str(d-1) + ")"
	case 1:
		return "filter(" + g.list(d-1) + ", {" + g.inLoop(d-1) + "})"
	case 2:
		g.loops++
		body := g.pick(g.str(d-1), g.int(d-1), "#", "Upper(#)")
		g.loops--
		return "map(" + g.list(d-1) + ", {" + body + "})"
	case 3:
		return "[" + g.str(d-1) + ", " + g.str(d-1) + "]"
	case 4:
		return "Fields(" + g.str(d-1) + ")"
	case 5:
		return g.list(d-1) + "[" + g.pick("", "1", "-1") + ":" + g.pick("", "1", "-1") + "]"
	case 6:
		return g.pick("SplitN", "SplitAfterN") + "(" + g.str(d-1) + ", " + g.str(d-1) + ", " + g.int(0) + ")"
	case 7:
		return g.pick("0..2", "1..1", "3..1")
	}
	return "(" + g.cond(d-1) + " ? " + g.list(d-1) + " : " + g.list(d-1) + ")"
}

func (g *gen) inLoop(d int) string {
	g.loops++
	defer func() { g.loops-- }()
	if g.r.IntN(2) == 0 {
		return g.str(d) + g.pick(" contains ", " == ", " startsWith ", " endsWith ", " in ['a', 'b', ", " != ") + g.pick("#", "Upper(#)", "Lower(#)")
	}
	switch g.r.IntN(4) {
	case 0:
		return g.pick("len(#) > 1", "# != 'a'", g.cond(d-1)) + " && " + g.str(d) + g.pick(" contains ", " == ", " endsWith ") + g.pick("#", "Upper(#)")
	case 1:
		return g.pick("IpInRange("+g.str(d)+", #)", g.str(d)+" matches #", "# == "+g.str(d), "len(#) > 0 && IpInRange("+g.str(d)+", #)", "# startsWith "+g.str(d), "#index > 0 && evt.Parsed.a contains #",
			"JsonExtract(#, 'a') == evt.Parsed.b", "evt.Parsed.a contains # && evt.Parsed.b contains #", "evt.Parsed.a contains # ? evt.Parsed.b == 'a' : false")
	}
	return g.cond(d)
}

func (g *gen) any(d int) string {
	switch g.r.IntN(10) {
	case 0:
		return g.str(d - 1)
	case 1:
		return g.int(d - 1)
	case 2:
		return g.num(d - 1)
	case 3:
		return g.cond(d - 1)
	case 4:
		return "nil"
	case 5:
		return g.list(d - 1)
	case 6:
		return "get(" + g.pick("evt.Unmarshaled.d", "evt.Unmarshaled", "evt.Unmarshaled.l") + ", " + g.pick("'s'", "'a'", "0", "-1") + ")"
	case 7:
		return "(" + g.any(d-1) + " ?? " + g.any(d-1) + ")"
	}
	return g.pick("evt.Unmarshaled.d.s", "evt.Unmarshaled.d.n", "evt.Unmarshaled.d.b", "evt.Unmarshaled.d.l", "evt.Unmarshaled.d.none", "evt.Unmarshaled.none",
		"evt.Unmarshaled.none?.x", "evt.Unmarshaled.none?.x.y", "evt.Unmarshaled.d.l[0]", "evt.Unmarshaled.d.l[1:]", "evt.Unmarshaled.d.s[:1]", "evt.Unmarshaled.d['s']",
		"evt.Unmarshaled.d.m.x?.y", "evt.Unmarshaled.none.x", "evt.Unmarshaled.d.l?.[0]", "evt.Unmarshaled.kv.k", "evt.Unmarshaled.kv", "evt.Unmarshaled.d")
}

func (g *gen) cond(d int) string {
	if d <= 0 {
		return g.pick("evt.Process", "evt.Parsed.a == 'a'", "evt.Unmarshaled.d.b", "evt.Whitelisted", "evt.Meta.c != ''")
	}
	switch g.r.IntN(24) {
	case 0, 1:
		return "(" + g.cond(d-1) + g.pick(" && ", " and ", " || ", " or ") + g.cond(d-1) + ")"
	case 2:
		return g.pick("not ", "!") + "(" + g.cond(d-1) + ")"
	case 3, 4:
		return "(" + g.str(d-1) + g.pick(" == ", " != ", " < ", " >= ") + g.str(d-1) + ")"
	case 5:
		return "(" + g.num(d-1) + g.pick(" == ", " != ", " < ", " <= ", " > ", " >= ") + g.num(d-1) + ")"
	case 6, 7, 8:
		return "(" + g.str(d-1) + g.pick(" contains ", " startsWith ", " endsWith ", " not contains ") + g.str(d-1) + ")"
	case 9:
		return "(" + g.str(d-1) + g.pick(" in ", " not in ") + g.list(d-1) + ")"
	case 10:
		return "(" + g.any(d-1) + g.pick(" in ", " not in ") + g.pick(g.list(d-1), "evt.Unmarshaled.d.l", "['a', nil, 3, 1.5]", "[1, 2]", "evt.Unmarshaled.d", "nil") + ")"
	case 11, 12:
		return "(" + g.any(d-1) + g.pick(" == ", " != ") + g.any(d-1) + ")"
	case 13:
		return "(" + g.any(d-1) + g.pick(" < ", " > ", " <= ") + g.any(d-1) + ")"
	case 14:
		return "(" + g.any(d-1) + g.pick(" contains ", " startsWith ", " matches ") + g.pick(g.any(d-1), g.str(d-1)) + ")"
	case 15:
		return "(" + g.str(d-1) + " matches " + g.pick("'^a'", "'(?i)GET'", "'[0-9]+$'", "Upper('a+')", "evt.Parsed.b") + ")"
	case 16, 17:
		return g.pick("any", "all", "none", "one") + "(" + g.pick(g.list(d-1), "evt.Unmarshaled.d.l", "File('list.txt')", "File('ranges.txt')") + ", {" + g.inLoop(d-1) + "})"
	case 18:
		return g.pick("IsIP", "IsIPV4", "IsIPV6") + "(" + g.str(d-1) + ")"
	case 19:
		return "IpInRange(" + g.str(d-1) + ", " + g.pick("'10.0.0.0/8'", "'1.2.3.0/24'", g.str(d-1)) + ")"
	case 20:
		return "Match(" + g.pick("'*a*'", "'?'", "'G*T'", g.str(d-1)) + ", " + g.str(d-1) + ")"
	case 21:
		name := fmt.Sprintf("v%d", len(g.lets))
		val := g.str(d - 1)
		g.lets = append(g.lets, name)
		body := g.cond(d - 1)
		g.lets = g.lets[:len(g.lets)-1]
		return "(let " + name + " = " + val + "; " + body + ")"
	case 22:
		return "(" + g.str(d-1) + " in " + g.pick("evt.Parsed", "evt.Meta", "evt.Unmarshaled", "evt.Unmarshaled.d") + ")"
	}
	return "(" + g.cond(d-1) + " ? " + g.cond(d-1) + " : " + g.cond(d-1) + ")"
}

// randomEvent has the fields that gen mentions.
func randomEvent(r *rand.Rand) *oracleEvent {
	w := &words{
		texts:  []string{"a", "b", "ab", "GET", "get", "A", "x y", "a,b,c", "/a/b", "1", "42", "10.1.2.3", "k=v", `{"a":{"b":"c"},"n":1,"x":[{"y":"z"}]}`, "é", "4.5"},
		fields: map[event.Space][]string{event.Parsed: {"a", "b"}, event.Meta: {"c"}},
	}
	ev := w.event(r)
	ev.Overflow.Alert = nil
	ev.Whitelisted = r.IntN(2) == 0
	d := map[string]any{"s": w.text(r), "n": float64(r.IntN(5)), "b": r.IntN(2) == 0, "l": []any{w.text(r), "a", 3.0, nil}, "m": map[string]any{"x": nil}}
	for _, k := range slices.Sorted(maps.Keys(d)) {
		if r.IntN(10) == 0 && k != "l" { // expr-lang walks the bytes of a text and counts maps; we refuse
			d[k] = w.doc(r, nil)
		}
	}
	ev.Unmarshaled["d"] = d
	ev.Unmarshaled["kv"] = map[string]string{"k": w.text(r)}
	ev.Unmarshaled["l"] = []any{"p", 1.0}
	return ev
}

// TestRandom compares random expressions with expr-lang's machine.
func TestRandom(t *testing.T) {
	files := testFiles{"list.txt": {"a", "b", "/a", "GET", ".env", `{"a":"b"}`}, "ranges.txt": {"1.2.3.0/24", "10.0.0.0/8", "2001:db8::/32"}}
	n := 6_000
	if testing.Short() {
		n = 2_000
	}
	counts := map[string]int{}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		g := &gen{r: r}
		src := g.cond(4)
		if seed%3 == 0 {
			src = g.any(4)
		}
		c := &Compiler{Schema: event.NewSchema(), Files: files}
		// what groks give has a slot before anything runs
		for space, names := range map[event.Space]string{event.Parsed: "ab", event.Meta: "c", event.Unmarshaled: "dl"} {
			for _, name := range strings.Split(names, "") {
				if _, err := c.Schema.Intern(space, name); err != nil {
					t.Fatal(err)
				}
			}
		}
		p, err := c.Compile(src)
		o, oerr := oracleCompile(src, files)
		switch {
		case err != nil && oerr != nil:
			counts["both refuse"]++
			continue
		case err != nil:
			counts["only we refuse"]++
			t.Errorf("only we refuse %s: %v", src, err)
			continue
		case oerr != nil:
			counts["only the oracle refuses"]++
			continue
		}
		for range 6 {
			counts[same(t, c, p, o, randomEvent(r), src)]++
			if t.Failed() {
				return
			}
		}
	}
	t.Log(counts)
}

// TestRandomSyntax compares what the parsers make of random expressions, whole
// and damaged.
func TestRandomSyntax(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	counts := map[syntaxtest.Result]int{}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 12))
		g := &gen{r: r}
		src := g.cond(4)
		if seed%2 == 0 {
			src = g.any(4)
		}
		counts[syntaxtest.Same(t, src)]++
		i, j := r.IntN(len(src)), r.IntN(len(src))
		switch r.IntN(3) {
		case 0:
			src = src[:min(i, j)] + src[max(i, j):]
		case 1:
			src = src[:i] + g.pick("(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "'", "|", "#", " not ", " in ", "-", " ?? ", ";") + src[i:]
		case 2:
			src = src[:i] + src[i+1:]
		}
		counts[syntaxtest.Same(t, src)]++
	}
	t.Log(counts)
}
