package expr

import (
	"math/rand/v2"
	"strings"
	"testing"

	"cs/pipeline/event"
)

// FuzzCompile checks that nothing panics: neither compiling any text, nor
// running what compiles, nor building an index of it.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(60) {
		g := &gen{r: rand.New(rand.NewPCG(seed, 5))}
		f.Add(g.cond(3), "a=1 b=\"c")
		f.Add(g.any(3), `{"a":[1,{"b":"\u00e9"}]}`)
	}
	for _, src := range []string{
		`1..2000000`, `"a"[9223372036854775807:-9223372036854775808]`, `[][0]`, `1 % 0`, `-9223372036854775808 / -1`, `let evt = 1; evt`,
		`reduce(1..3, #acc + #, 0)`, `sortBy([], #)`, `{"a": 1}.a`, `evt.Unmarshaled?.a?.b["c"][0:1]`, `#`, `.x`, `any(1..3, {#index == 1})`,
		`ParseKV(evt.Line.Raw, evt.Unmarshaled, "kv") == nil`, `ParseKVLax(evt.Line.Raw, evt.Unmarshaled, "kv") == nil`,
		`UnmarshalJSON(evt.Line.Raw, evt.Unmarshaled, "j") in ["", nil]`, `JsonExtract(evt.Line.Raw, "a[1].b")`, `JsonExtractSlice(evt.Line.Raw, "a")`,
		`repeat("ab", 1000000)`, `max(1, [2, "a"])`, `median()`, `sum([1, "a"])`, `Sprintf("%d%!", nil)`, `take([1], -1)`, `$env["evt"]`, `1 | len()`,
		`evt.Time.Weekday().String()`, `evt.Overflow.Alert.Events[0].GetMeta("a")`, `Get([], -1)`, `SplitN("a", "", -5)`, `bitshl(1, 70)`, `if true {1} else {2}`,
	} {
		f.Add(src, "x")
	}
	f.Fuzz(func(t *testing.T, src, raw string) {
		c := &Compiler{Schema: event.NewSchema(), Files: testFiles{"list.txt": {"a", "b"}}}
		p, err := c.Compile(src)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "cannot compile expression: ") {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		if _, err := c.Schema.Intern(event.Parsed, "a"); err != nil {
			t.Fatal(err)
		}
		e := event.New(c.Schema)
		x := &Ctx{Event: e}
		for _, slot := range c.Schema.Sorted(event.Parsed) {
			e.Set(slot, raw)
		}
		e.Line.Raw = raw
		_, _ = p.Any(x)
		_, _, _ = p.Text(x)
		ok, err := p.Bool(x)
		NewIndex([]*Program{p}).Run(x, func(_ int, ierr error) {
			if (ierr == nil) != ok && (ierr != nil) != (err != nil) && !strings.Contains(src, "(") {
				t.Fatalf("%q: index %v, alone %v %v", src, ierr, ok, err)
			}
		})
	})
}
