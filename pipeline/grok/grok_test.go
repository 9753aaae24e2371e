package grok

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"cs/pipeline/match"

	"github.com/google/go-cmp/cmp"
)

func TestStockPatternsAreValid(t *testing.T) {
	l := Stock()
	if n := len(l.Names()); n != 397 {
		t.Errorf("stock library has %d patterns, want 397", n)
	}
	for name, d := range l.defs {
		if _, err := syntax.Parse(d.expression(), syntax.Perl); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// parse runs a pattern with some definitions and shows the fields as text.
func parse(t *testing.T, l *Library, pattern, text string) string {
	t.Helper()
	p, err := l.Compile(pattern)
	if err != nil {
		t.Fatalf("%s: %v", pattern, err)
	}
	values := make([]string, len(p.Fields))
	if !p.Match(new(match.Machine), text, values) {
		return "no"
	}
	var b strings.Builder
	for i, f := range p.Fields {
		fmt.Fprintf(&b, "%s=%s ", f, values[i])
	}
	return strings.TrimSpace(b.String())
}

func TestFields(t *testing.T) {
	l := &Library{defs: map[string]*definition{}}
	for _, d := range [][2]string{
		{"N", `[0-9]+`}, {"W", `[a-z]+`}, {"WN", `%{W:w}(-)(?P<native>%{N:n})`},
		{"TWO", `%{WN} %{WN}`}, {"HIDE", `%{WN}/%{N:n}`}, {"SELF", `%{N:n}`},
		{"EITHER", `%{W:v}|%{N:v}`}, {"FLAG", `(?i)abc`},
	} {
		if err := l.Define(d[0], strings.ReplaceAll(d[1], "(?P<native>", "(")); err != nil {
			t.Fatal(err)
		}
	}
	f := func(pattern, text, want string) {
		t.Helper()
		if got := parse(t, l, pattern, text); got != want {
			t.Errorf("%s on %q: got %q, want %q", pattern, text, got, want)
		}
	}
	f(`%{N:n}`, "abc 12", "n=12")
	f(`(x)(y)%{N:n}`, "xy12", "n=12")
	f(`%{N}`, "12", "no") // no field at all
	f(`(?P<n>\d)`, "12", "no")
	f(`(?P<n>\d)%{N:m}`, "12", "m=2")
	f(`%{N:n}(%{W:w})?`, "12", "n=12 w=")
	f(`%{N:x} %{W:x}`, "12 a", "x=a")                    // the last one
	f(`%{N:x},|%{W:x}`, "12,", "x=")                     // also if it took no part
	f(`%{EITHER}`, "ab", "v=")                           // same within a reference
	f(`%{WN}`, "a-1", "n=1 w=a")                         // inner fields are visible
	f(`%{TWO}`, "a-1 b-2", "n=2 w=b")                    // later reference wins
	f(`%{WN} %{N:n}`, "a-1 2", "n=2 w=a")                // outer hides inner
	f(`%{N:n} %{WN}`, "2 a-1", "n=2 w=a")                // wherever it stands
	f(`%{HIDE}`, "a-1/7", "n=7 w=a")                     // on any level
	f(`%{SELF:n}`, "5", "n=5")                           // own name around the same inner one
	f(`%{SELF:n}%{W:n}`, "5a", "n=a")                    // and hidden by a later one
	f(`%{W:n} %{HIDE}`, "z a-1/7", "n=z w=a")            // two levels
	f(`%{HIDE} %{WN}`, "a-1/7 b-3", "n=3 w=b")           // later reference beats deeper level
	f(`%{N:n:int}`, "5", "no")                           // not a reference
	f(`%{N:n:int} %{N:m}`, "%{N:n:int} 3", "m=3")        // but text
	f(`%{N:a-b}%{W:w}`, "%{N:a-b}x", "w=x")              // same
	f(`%{FLAG}%{W:w}`, "ABCx ABCX", "w=x")               // flags end with the reference
	f(`^%{W:w}|%{N:n}$`, "1", "n=1 w=")                  // alternatives stay apart
	f(`%{W:w}\n%{N:n}`, "a\n1", "n=1 w=a")               // escapes pass through
	f(`%{EITHER:e}`, "ab", "e=ab v=")                    // field around fields
	f(`%{W:w}%{N:n}`, "\xffä1a2", "n=2 w=a")             // any bytes
	f(`%{W:_1}%{N:n9}`, "a1", "_1=a n9=1")               // odd names
	f(`(%{W:w}|%{N:n})+`, "a1b2", "n=2 w=b")             // loops keep the last round
	f(`(?P<grok_field_w>x)%{W:v}`, "xa", "v=a")          // a native group in our manner
	f(`(?P<grok_field_v>x)%{W:w}(?P<v>z)`, "xaz", "w=a") // and one that isn't used here
}

func TestDefine(t *testing.T) {
	l := Stock()
	if err := l.Define("MINE", `%{IP:ip} x`); err != nil {
		t.Fatal(err)
	}
	if err := l.Define("MINE", `other`); !errors.Is(err, ErrDefined) {
		t.Errorf("second definition: %v", err)
	}
	if got := parse(t, l, "%{MINE}", "1.2.3.4 x"); got != "ip=1.2.3.4" {
		t.Errorf("the first definition did not stay: %q", got)
	}
	f := func(name, pattern, want string) {
		t.Helper()
		if err := l.Define(name, pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: got %v, want %q", name, pattern, err, want)
		}
		if l.Has(name) {
			t.Errorf("%s is defined in spite of the error", name)
		}
	}
	f("BAD", `(`, "missing closing )")
	f("BAD", ``, "empty")
	f("BAD", `%{NOSUCH}`, "NOSUCH")
	f("BAD", `%{BAD}`, "BAD")
	f("BAD", `a[%{GREEDYDATA:x}]`, "nothing can be captured")
	f("", `x`, "name is empty")
	if err := l.Define("BOMB0", strings.Repeat("x", 50)); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		name, twice := fmt.Sprintf("BOMB%d", i+1), fmt.Sprintf("%%{BOMB%d}%%{BOMB%d}", i, i)
		if err := l.Define(name, twice); err != nil {
			f(name, twice, "when its references are expanded")
			break
		} else if i == 39 {
			t.Error("a pattern of a million megabytes is accepted")
		}
	}
	if _, err := l.Compile(`%{NOSUCH:x}`); err == nil {
		t.Error("unknown reference compiles")
	}
	if _, err := l.CompileName("NOSUCH"); err == nil {
		t.Error("unknown name compiles")
	}
}

// TestSoundPatternsAreValid: what is taken for valid because of its text alone must
// be, and have its groups.
func TestSoundPatternsAreValid(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	sound, valid := 0, 0
	for range 3000 {
		l := &Library{defs: map[string]*definition{}}
		for n := range 5 {
			var b strings.Builder
			for range 1 + rng.IntN(5) {
				switch k := rng.IntN(14); {
				case k < 5 && n > 0:
					fmt.Fprintf(&b, "%%{P%d%s}", rng.IntN(n), []string{"", ":a", ":b"}[rng.IntN(3)])
				case k < 8:
					b.WriteString("x")
				default:
					b.WriteString([]string{"[", "]", `\Q`, `\E`, `\`, "(", ")", "{2}", "{600}", "(?P<n>y)", "*", "?", "|", "(?i)", "[^", "(?:", "a-", "+?", "$"}[rng.IntN(19)])
				}
			}
			if d, err := l.parse(b.String()); err == nil {
				re, err := syntax.Parse(d.expression(), syntax.Perl)
				for f := range d.owner {
					if err == nil && re.CapNames() != nil && !strings.Contains(strings.Join(re.CapNames(), " "), groupPrefix+f) {
						err = errors.New("no group")
					}
				}
				if d.sound() && err != nil {
					t.Fatalf("%q, %q: %v", b.String(), d.expression(), err)
				}
				if d.sound() {
					sound++
				}
				if err == nil {
					valid++
				}
			}
			if l.Define(fmt.Sprint("P", n), b.String()) != nil {
				l.defs[fmt.Sprint("P", n)] = &definition{parts: []part{{text: "x"}}}
			}
		}
	}
	t.Logf("%d of %d valid patterns are found so by their text", sound, valid)
	if sound < valid/4 {
		t.Error("too few")
	}
}

func TestCloneIsIndependent(t *testing.T) {
	a := Stock()
	b := a.Clone()
	if err := b.Define("ONLYB", "x"); err != nil {
		t.Fatal(err)
	}
	if a.Has("ONLYB") || !b.Has("IP") {
		t.Error("clone shares its name space or lost patterns")
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mine", "# comment\n\nA1 [a-z]+\r\nB1\t \t%{A1:x}%{BROKEN}\nIP twice\nC1 (\nD1 %{A1:x}=%{IP:ip}\n not one\n")
	write("redis", "REDISLOG own\n") // instead of the stock file
	write("notes.txt", "E1 x\n")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, errs := Load(dir)
	var got []string
	for _, err := range errs {
		got = append(got, strings.TrimPrefix(err.Error(), dir+string(os.PathSeparator)))
	}
	want := []string{
		"mine:4: no pattern is named BROKEN",
		"mine:5: pattern is defined already",
		"mine:6: missing closing ): `(`",
	}
	for i, g := range got {
		if i >= len(want) || !strings.HasPrefix(g, want[i][:7]) || !strings.Contains(g, want[i][8:30]) {
			t.Errorf("error %q, want %q", g, want[min(i, len(want)-1)])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d errors, want %d", len(got), len(want))
	}
	if s := parse(t, l, "%{D1}", "..abc=1.2.3.4"); s != "ip=1.2.3.4 x=abc" {
		t.Errorf("D1: %q", s)
	}
	if l.Has("E1") || l.Has("REDISTIMESTAMP") || !l.Has("REDISLOG") {
		t.Error("wrong files were read")
	}
	if l, errs := Load(filepath.Join(dir, "nowhere")); len(errs) != 0 || !l.Has("SSHD_FAIL") {
		t.Errorf("directory that doesn't exist: %v", errs)
	}
}

// slow is the twin of the expansion, taken literally from the rules: every
// reference is a capturing group, and groups are counted.
type slow struct {
	defs  map[string]string
	group int
}

func (s *slow) expand(pattern string) (expr string, fields map[string]int) {
	own, inner := map[string]int{}, map[string]int{}
	var b strings.Builder
	rest := 0
	for _, at := range referenceTwin.FindAllStringSubmatchIndex(pattern, -1) {
		text := pattern[rest:at[0]]
		s.group += strings.Count(text, "(") - strings.Count(text, "(?:")
		b.WriteString(text + "(")
		s.group++
		if at[4] >= 0 {
			own[pattern[at[4]:at[5]]] = s.group
		}
		e, f := s.expand(s.defs[pattern[at[2]:at[3]]])
		b.WriteString(e + ")")
		for k, v := range f {
			inner[k] = v
		}
		rest = at[1]
	}
	text := pattern[rest:]
	s.group += strings.Count(text, "(") - strings.Count(text, "(?:")
	b.WriteString(text)
	for k, v := range own {
		inner[k] = v
	}
	return b.String(), inner
}

func TestExpansionAgainstSlowTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	fields := []string{":a", ":b", ":c", "", ""}
	for round := range 300 {
		l := &Library{defs: map[string]*definition{}}
		s := &slow{defs: map[string]string{}}
		var names []string
		piece := func() string {
			if len(names) > 0 && rng.IntN(2) == 0 {
				return "%{" + names[rng.IntN(len(names))] + fields[rng.IntN(len(fields))] + "}"
			}
			return []string{"x", "y+", "(x|y)", "(?:xy)?", "x|", "(y)?", "z*"}[rng.IntN(7)]
		}
		for n := range 6 {
			var b strings.Builder
			for range 1 + rng.IntN(4) {
				b.WriteString(piece())
			}
			name := fmt.Sprint("P", n)
			if err := l.Define(name, b.String()); err != nil {
				t.Fatal(err)
			}
			s.defs[name] = b.String()
			names = append(names, name)
		}
		pattern := "%{P5}%{P4:a}"
		p, err := l.Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		expr, groups := s.expand(pattern)
		s.group = 0
		re := regexp.MustCompile(expr)
		for range 20 {
			text := make([]byte, rng.IntN(10))
			for i := range text {
				text[i] = "xyzu"[rng.IntN(4)]
			}
			want := map[string]string{}
			loc := re.FindStringSubmatch(string(text))
			for f, g := range groups {
				if loc != nil {
					want[f] = loc[g]
				}
			}
			values := make([]string, len(p.Fields))
			got := map[string]string{}
			ok := p.Match(new(match.Machine), string(text), values)
			for i, f := range p.Fields {
				if ok {
					got[f] = values[i]
				}
			}
			if ok != (loc != nil) || !cmp.Equal(got, want) {
				t.Fatalf("round %d: %v on %q: %s", round, s.defs, text, cmp.Diff(want, got))
			}
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	p, err := Stock().Compile(`^%{SYSLOGLINE}`)
	if err != nil {
		t.Fatal(err)
	}
	var m match.Machine
	values := make([]string, len(p.Fields))
	const line = "Nov 18 21:38:25 web-6 sshd[7927]: Invalid user a from 1.2.3.4"
	for range 100 { // the tables grow while they are used
		p.Match(&m, line, values)
	}
	if n := testing.AllocsPerRun(100, func() {
		if !p.Match(&m, line, values) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Fatalf("Match allocates %v times", n)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("%{IP:a} %{NUMBER:n:int}")
	f.Add("(?P<x>%{COMBINEDAPACHELOG})|%{WORD:x")
	l := Stock()
	f.Fuzz(func(t *testing.T, pattern string) {
		if len(pattern) > 200 {
			return
		}
		p, err := l.Compile(pattern)
		if err != nil {
			return
		}
		p.Match(new(match.Machine), "10.0.0.1 - - x", make([]string, len(p.Fields)))
	})
}
