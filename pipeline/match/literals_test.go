package match

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cs/platform/sharedtest"
)

// found is the slow twin of Literals.Find.
func found(literals []string, fold bool, text string) []int {
	var ids []int
	for id, lit := range literals {
		if fold {
			lit, text = lower(lit), lower(text)
		}
		if strings.Contains(text, lit) {
			ids = append(ids, id)
		}
	}
	return ids
}

func checkLiterals(t *testing.T, literals []string, text string) {
	t.Helper()
	for _, fold := range []bool{false, true} {
		for _, dense := range []int{maxDense, 0} {
			l := newLiterals(literals, fold, dense)
			set := NewBits(len(literals))
			l.Find(text, set)
			want := found(literals, fold, text)
			if got := slices.Collect(set.All); !slices.Equal(got, want) {
				t.Fatalf("%q in %q, fold %v, dense %d: got %v, want %v", literals, text, fold, dense, got, want)
			}
			if got := l.Any(text); got != (len(want) > 0) {
				t.Fatalf("%q in %q, fold %v, dense %d: Any is %v", literals, text, fold, dense, got)
			}
		}
	}
}

func TestLiterals(t *testing.T) {
	checkLiterals(t, nil, "abc")
	checkLiterals(t, []string{""}, "")
	checkLiterals(t, []string{"he", "she", "his", "hers", "he"}, "usHErs")
	checkLiterals(t, []string{"abcd", "bc", "c", ""}, "xabcd")
	checkLiterals(t, []string{"\xff\x00", "\u017f", "K"}, "\u212ak\x00\xff\x00")
	// The shortest decide how the places to look at are found.
	checkLiterals(t, []string{"abc", "bcde"}, "xabcdabbcDEcabc")
	checkLiterals(t, []string{"abcd", "", "bcdef"}, "ABCxabcd")
	checkLiterals(t, []string{"@bcd", "`bcd", "k[]x"}, "`bcd@BCDk{}x")
	for i := range 9 {
		checkLiterals(t, []string{"abcd", "wxyz"}, strings.Repeat("-", i)+"abcd"+strings.Repeat("-", i)+"wxyz")
	}
	var every []string
	for b := range 256 {
		every = append(every, string([]byte{byte(b), byte(b + 1)}))
	}
	checkLiterals(t, every, "abcd\xfe\xff\x00")
}

func TestLiteralsRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abAB"[rng.IntN(4)]
		}
		return string(b)
	}
	for range 500 {
		var literals []string
		for range rng.IntN(12) {
			literals = append(literals, word(rng.IntN(6)))
		}
		checkLiterals(t, literals, word(rng.IntN(40)))
	}
}

func FuzzLiterals(f *testing.F) {
	f.Add("he,she,his,hers", "ushers")
	f.Add(",a", "")
	f.Fuzz(func(t *testing.T, literals, text string) {
		if len(literals) < 200 && len(text) < 200 {
			checkLiterals(t, strings.Split(literals, ","), lower(text))
			checkLiterals(t, strings.Split(literals, ","), text)
		}
	})
}

func TestLiteralsDoNotAllocate(t *testing.T) {
	l := NewLiterals([]string{"root", "admin", "in"}, true)
	set := NewBits(l.Len())
	if n := testing.AllocsPerRun(100, func() {
		set.Clear()
		l.Find("sshd: no Administrator", set)
	}); n != 0 {
		t.Fatalf("Find allocates %v times", n)
	}
}

func checkAny(t *testing.T, exprs []string, text string) {
	t.Helper()
	a, err := NewAny(exprs)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.ContainsFunc(exprs, func(e string) bool { return regexp.MustCompile(e).MatchString(text) })
	if got := a.Match(new(Machine), text); got != want {
		t.Errorf("%q on %q: got %v, want %v", exprs, text, got, want)
	}
}

func TestAny(t *testing.T) {
	f := func(text string, exprs ...string) {
		t.Helper()
		checkAny(t, exprs, text)
	}
	f("x")
	f("x", "y", "x")
	f("x", "")
	f("MASSCAN", `(?i)masscan`, `zgrab`)
	f("ma\u017f\u017fcan", `(?i)masscan`)
	f("\u212aelvin", `(?i)^kelvin$`)
	f("Kelvin", `kelvin`)
	f("ÄB", `(?i)äb`)
	f("a\xffb", "a\ufffdb")
	f("abd", `ab(c|d)`, `zzz|qqq`)
	f("bc", `(abc)?bc`)
	f("aab", `(?:aa)+b`, `(?:zz){0,3}b$`)
	f("aab", `(?:aa){1,3}b`)
	f("b", `[ab]`)
	if _, err := NewAny([]string{"a", "("}); err == nil || !strings.Contains(err.Error(), "2 of 2") {
		t.Errorf("bad expression: %v", err)
	}
}

// userAgents is the list of bad user agents, upstream's largest use of many
// expressions on one text.
func userAgents(tb testing.TB) []string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(sharedtest.Dir(tb), "hub", "data", "bad_user_agents.regex.txt"))
	if err != nil {
		tb.Fatal(err)
	}
	var exprs []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			exprs = append(exprs, line)
		}
	}
	return exprs
}

const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

func TestAnyOnUserAgents(t *testing.T) {
	exprs := userAgents(t)
	var oracle []*regexp.Regexp
	for _, e := range exprs {
		oracle = append(oracle, regexp.MustCompile(e))
	}
	a, err := NewAny(exprs)
	if err != nil {
		t.Fatal(err)
	}
	var m Machine
	hits := 0
	for i, text := range append(exprs, browser, "curl/8.1", "", "\u212a") {
		if i%8 != 0 && i < len(exprs)-8 {
			continue // regexp takes its time
		}
		text = strings.NewReplacer(`\b`, "", `\`, "").Replace(text)
		for _, s := range []string{text, strings.ToUpper(text)} {
			want := slices.ContainsFunc(oracle, func(re *regexp.Regexp) bool { return re.MatchString(s) })
			if got := a.Match(&m, s); got != want {
				t.Errorf("%q: got %v, want %v", s, got, want)
			}
			if want {
				hits++
			}
		}
	}
	t.Logf("%d expressions, %d of them without a needed literal, %d hits", len(exprs), len(slices.Collect(a.always.All)), hits)
	if hits < len(exprs)/8 {
		t.Error("the names of the agents themselves are not found")
	}
}

func BenchmarkAny(b *testing.B) {
	a, err := NewAny(userAgents(b))
	if err != nil {
		b.Fatal(err)
	}
	var m Machine
	b.ReportAllocs()
	b.SetBytes(int64(len(browser)))
	for b.Loop() {
		a.Match(&m, browser)
	}
}

func BenchmarkLiterals(b *testing.B) {
	l := NewLiterals(userAgents(b), true)
	found := NewBits(l.Len())
	b.ReportAllocs()
	b.SetBytes(int64(len(browser)))
	for b.Loop() {
		l.Find(browser, found)
	}
}
