package match

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

// modes are the ways to run a program that must all give what regexp gives.
// Small limits make the automata full and start again in the middle of a text.
var modes = []struct {
	name  string
	limit limits
	find  func(p *Program, m *Machine, s string, caps []int32) bool
}{
	{"cascade", defaultLimits, (*Program).Match},
	{"small", limits{states: 6, bytes: 1 << 20, relearn: 3}, (*Program).Match},
	{"tiny", limits{states: 40, bytes: 3000, relearn: 2}, (*Program).Match},
	{"reverse", defaultLimits, func(p *Program, m *Machine, s string, caps []int32) bool {
		if p.code == nil || p.anchored {
			return p.Match(m, s, caps)
		}
		return p.search(m, s, 0, caps)
	}},
	{"backtracker", defaultLimits, func(p *Program, m *Machine, s string, caps []int32) bool {
		if p.code == nil {
			return p.Match(m, s, caps)
		}
		return p.backtrack(m, s, 0, caps)
	}},
}

// check compares all modes with regexp on some texts, twice: with tables to be
// built, and with those the first time left.
func check(t *testing.T, expr string, texts []string) (matches int) {
	t.Helper()
	re, err := regexp.Compile(expr)
	if err != nil {
		if _, err := Compile(expr, nil); err == nil {
			t.Fatalf("%q: compiles here, but not with regexp", expr)
		}
		return 0
	}
	var every, odd []int
	for g := 1; g <= re.NumSubexp(); g++ {
		every = append(every, g)
		if g%2 == 1 {
			odd = append([]int{g}, odd...) // not in ascending order
		}
	}
	for _, mode := range modes {
		for _, keep := range [][]int{nil, every, odd} {
			p, err := compileLimited(expr, keep, mode.limit)
			if err != nil {
				t.Fatalf("%q: %v", expr, err)
			}
			var m Machine
			for range 2 {
				for _, s := range texts {
					if compare(t, mode.name, p, re, func(caps []int32) bool { return mode.find(p, &m, s, caps) }, s) {
						matches++
					}
				}
			}
		}
	}
	return matches
}

func compare(t *testing.T, mode string, p *Program, re *regexp.Regexp, find func([]int32) bool, s string) bool {
	t.Helper()
	loc := re.FindStringSubmatchIndex(s)
	caps := make([]int32, 2+2*len(p.keep))
	got := find(caps)
	if got != (loc != nil) {
		t.Fatalf("%s: %q on %q: got %v, want %v", mode, p, s, got, loc != nil)
	}
	if find(nil) != got {
		t.Fatalf("%s: %q on %q: another verdict without groups", mode, p, s)
	}
	if !got {
		return false
	}
	want := []int32{int32(loc[0]), int32(loc[1])}
	for _, g := range p.keep {
		want = append(want, int32(loc[2*g]), int32(loc[2*g+1]))
	}
	if !slices.Equal(caps, want) {
		t.Fatalf("%s: %q on %q, groups %v: got %v, want %v", mode, p, s, p.keep, caps, want)
	}
	return true
}

// generator makes random expressions and texts over a small alphabet.
type generator struct{ *rand.Rand }

func (g generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g generator) expr(depth int) string {
	if depth == 0 || g.IntN(5) == 0 {
		return g.pick("a", "b", "ab", "c", ".", "[ab]", "[^a]", `\w`, `\W`, `\d`, `\s`, "é", "\ufffd", "[é-ü]", "[^b\n]",
			`\b`, `\B`, "^", "$", "(?m:^)", "(?m:$)", `\A`, `\z`, "", "_", `\n`, "(?s:.)", "(?i:k)", "(?i:éS)", `\p{L}`, "[^é]", `\x00`)
	}
	switch g.IntN(8) {
	case 0, 1, 2:
		return g.expr(depth-1) + g.expr(depth-1)
	case 3:
		return "(?:" + g.expr(depth-1) + "|" + g.expr(depth-1) + ")"
	case 4, 5:
		return "(" + g.expr(depth-1) + ")"
	case 6:
		return "(?:" + g.expr(depth-1) + ")" + g.pick("*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}")
	}
	return "(" + g.expr(depth-1) + ")" + g.pick("*", "+", "?", "*?", "+?", "{1,2}") + g.expr(depth-1)
}

func (g generator) text() string {
	var b strings.Builder
	for range g.IntN(12) {
		b.WriteString(g.pick("a", "a", "b", "b", "c", "ab", "_", " ", "\n", "1", "é", "ü", "k", "\u212a", "ſ",
			"\xff", "\xc3", "\xa9", "\xe2\x84", "\x00", "\ufffd", "\U0001f600", "\xf0\x9f\x98"))
	}
	return b.String()
}

func (g generator) texts(n int) []string {
	texts := []string{"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "ééééééééééééééééééééééééééééa\xff"}
	for range n {
		texts = append(texts, g.text())
	}
	return texts
}

func TestRandomExpressions(t *testing.T) {
	rounds := 500
	if testing.Short() {
		rounds = 200
	}
	g := generator{rand.New(rand.NewPCG(5, 6))}
	matches, kept := 0, 0
	for range rounds {
		expr := g.expr(4)
		if re, err := syntax.Parse(expr, syntax.Perl); err == nil {
			kept += re.MaxCap()
		}
		matches += check(t, expr, g.texts(12))
	}
	t.Logf("%d matches, %d groups", matches, kept)
}

func TestExpressions(t *testing.T) {
	f := func(expr string, texts ...string) {
		t.Helper()
		check(t, expr, texts)
	}
	f(`(a*)*`, "aab", "")
	f(`(a|b*)*c`, "ababc", "ab")
	f(`(|a)*`, "aa")
	f(`(|a)+`, "aa")
	f(`(a+)(b|ab)?`, "aab")
	f(`(?:(a)|(b))+`, "ab", "ba")
	f(`(\w+)\s(\w+)$`, "foo bar baz", "x")
	f(`.*?(\d+)`, "ab12", "\n12")
	f(`^a|b`, "cb", "ca")
	f(`a$|^b`, "ab", "ba")
	f(`\bfoo\b`, "xfoo foo", "é\xfffoo")
	f(`(?m)^(\w+)$`, "a b\nfoo\nbar")
	f(`x*`, "yyx")
	f(`[\x{D800}-\x{DFFF}]`, "\xed\xa0\x80", "\ufffd")
	f(`\x{FFFD}`, "\xff", "\ufffd", "é"[:1])
	f("\ufffda", "\xe2\x84a", "\xffa")
	f(`[^\x00-\x{10FFFF}]|a`, "ba")
	f(`(a{0,3}){0,3}b`, "aaaaaaab")
	f(strings.Repeat("(a)?", 60)+"b", strings.Repeat("a", 60)+"b")
	f(`(`, "")
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "|%c[%c-%c]", 0x4e00+3*i, 0x4e00+3*i, 0x4e01+3*i)
	}
	f(many.String()[1:], "\u4e03\u4e04", "zz\u4e06\u4e05") // too many classes
}

func FuzzAgainstRegexp(f *testing.F) {
	f.Add(`^(\w+)\s(.*?)(?:\[(\d+)\])?$`, "sshd foo [12]\n\xff")
	f.Add(`(a|ab)(c|bcd)(d*)`, "abcd")
	f.Add(`(?i)\bk(é|.)+?$`, "\u212aé\xc3")
	f.Add(`(|a)*(?m:$)`, "aa\nb")
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(expr) > 60 || len(text) > 200 {
			return
		}
		if re, err := syntax.Parse(expr, syntax.Perl); err == nil {
			if prog, err := syntax.Compile(re.Simplify()); err != nil || len(prog.Inst) > 2000 {
				return // large counted repetitions only take time
			}
		}
		check(t, expr, []string{text, text + text})
	})
}
