package match

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestStepsAreLinear runs expressions and texts that make backtrackers
// exponential, and repeated tries quadratic, at two lengths.
func TestStepsAreLinear(t *testing.T) {
	f := func(expr, piece, tail string) {
		t.Helper()
		p, err := Compile(expr, nil)
		if err != nil {
			t.Fatal(err)
		}
		steps := func(n int) int {
			var m Machine
			s := strings.Repeat(piece, n) + tail
			p.Match(&m, s, nil)
			if m.Counts.Backtrack+m.Counts.Stdlib > 0 {
				t.Errorf("%s: automata full: %+v", expr, m.Counts)
			}
			if limit := 6*len(s) + 100; m.steps > limit {
				t.Errorf("%s on %d bytes: %d steps, want %d at most", expr, len(s), m.steps, limit)
			}
			return m.steps
		}
		short, long := steps(500), steps(5000)
		if long > 11*short+1000 {
			t.Errorf("%s: %d steps for a text, %d for one ten times as long", expr, short, long)
		}
		// The same by the backtracker: bounded by pairs of instruction and
		// position.
		var m Machine
		s := strings.Repeat(piece, 300) + tail
		p.backtrack(&m, s, 0, nil)
		if pairs := (len(s) + 1) * len(p.code.insts); m.back.steps > pairs {
			t.Errorf("%s: backtracker visits %d of %d pairs", expr, m.back.steps, pairs)
		}
	}
	f(`(a+)+$`, "a", "b")
	f(`(a|a)*c`, "a", "b")
	f(`(a|aa)+$`, "a", "b")
	f(`a.*b.*c.*d`, "abc", "")
	f(`x*x*x*x*y`, "x", "")
	f(`(.*)(.*)(.*)(.*)z`, "xyz ", "\n")
	f(`[a-z]+\d`, "a", "")
	f(`(?:\d+\.){3}\d+:`, "1.", "")
	f(`é+ü`, "é", "\xff")
	f(`\bfoo\w*bar\b`, "foo", "")
	f(`"[^"]*";`, `"`, "")
}

// TestWorkersShareAProgram has many workers build the same tables, with the
// automata often full and started again.
func TestWorkersShareAProgram(t *testing.T) {
	for _, limit := range []limits{defaultLimits, {states: 30, bytes: 1 << 20, relearn: 5}} {
		p, err := compileLimited(`(\w+)@([a-z.]+)(?: \[(\d+)\])?(é*)$`, []int{1, 2, 3, 4}, limit)
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for i := range 200 {
			texts = append(texts, strings.Repeat("a_b ", i%17)+strings.Repeat("x", i%5)+"@"+strings.Repeat("ab.", i%7)+" [12]"[:i%2*5]+strings.Repeat("é", i%3))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				var m Machine
				var caps, want [10]int32
				for _, s := range texts {
					got := p.Match(&m, s, caps[:])
					if got != p.stdlib(&m, s, want[:]) || got && caps != want {
						t.Errorf("%q: %v, got %v, want %v", s, got, caps, want)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestTablesAreBounded feeds random texts to expressions that need many states.
func TestTablesAreBounded(t *testing.T) {
	limit := limits{states: 100, bytes: 30_000, relearn: 10}
	for _, expr := range []string{`(a|b)*a(a|b){12}c`, `([ab]{1,9})+([bc]{1,9})+(c?)d`} {
		p, err := compileLimited(expr, []int{1, 2}, limit)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(11, 12))
		var m Machine
		restarts := uint32(0)
		for range 2000 {
			s := make([]byte, rng.IntN(100))
			for i := range s {
				s[i] = "abcd"[rng.IntN(4)]
			}
			p.Match(&m, string(s), nil)
			p.search(&m, string(s), 0, nil)
			if states, bytes := p.Tables(); states > 300 || bytes > 3*limit.bytes {
				t.Fatalf("%s: %d states, %d bytes", expr, states, bytes)
			}
			restarts = max(restarts, p.quick.cur.Load().age+p.forward.cur.Load().age+p.reverse.cur.Load().age)
		}
		if restarts == 0 || m.Counts.Backtrack == 0 {
			t.Errorf("%s: tables never were full: %+v", expr, m.Counts)
		}
	}
}

func TestKeepIsChecked(t *testing.T) {
	f := func(keep ...int) {
		t.Helper()
		if _, err := Compile(`(a)(b)`, keep); err == nil {
			t.Errorf("groups %v are accepted", keep)
		}
	}
	f(0)
	f(3)
	f(-1)
	f(1, 1)
}

// TestLongTextGoesToRegexp is about what fits in no table and no memo.
func TestLongTextGoesToRegexp(t *testing.T) {
	p, err := compileLimited(strings.Repeat("(?:a|b)?", 300)+"c$", nil, limits{states: 4, bytes: 1 << 20, relearn: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	var m Machine
	s := strings.Repeat("abcd", 8_000) + "c"
	if !p.Match(&m, s, nil) || m.Counts.Stdlib != 1 {
		t.Errorf("counts: %+v", m.Counts)
	}
}
