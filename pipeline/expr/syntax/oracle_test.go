package syntax_test

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/expr-lang/expr/builtin"
	"go.yaml.in/yaml/v3"

	"cs/pipeline/expr/syntax"
	"cs/pipeline/expr/syntax/syntaxtest"
	"cs/platform/sharedtest"
)

// corpus has every construct of the language, and what is nearly one.
var corpus = []string{
	// literals
	`0`, `42`, `1_000`, `1__0_`, `007`, `0129`, `0x2A`, `0X_f_F`, `0xg`, `0x`, `0x1.8`, `0x1e+5`, `0x1p4`, `0o17`, `0O_7`, `0o8`, `0b101`, `0B1_1`, `0b2`,
	`0b1e5`, `0o7e1`, `0b1.5`, `0_x1`, `1.5`, `1.`, `1.e5`, `1.e`, `.5`, `._5`, `.5_`, `.0x5`, `.5.5`, `1e3`, `1E+3`, `1e-3`, `1e+_5`, `1e`, `1e400`, `1e-400`,
	`1..2`, `1...5`, `.5..6`, `0x1..5`, `1.5..2`, `1 .. 2`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `1a`, `1_a`, `1é`, `1.foo`, `1[0]`,
	`""`, `''`, "``", `"a'b"`, `'a"b'`, "`a\"'\\n`", "`a``b`", "`````", "```", "`a\nb`", "`\xff`", "`\xff```", `"a`, `'a`, "`a", "'a\nb'", "'a\rb'", "'a\r\nb'",
	`"\a\b\f\n\r\t\v\\\""`, `'\''`, `"\'"`, "\"\\`\"", `"\?"`, `"\d"`, `"\x41\xe9"`, `"\x4"`, `"\xg0"`, `"\X41"`, `"\101\377"`, `"\400"`, `"\18"`, `"\08"`, `"\u00e9"`, `"\u00e"`,
	`"\ud800"`, `"\U0001F600"`, `"\U00110000"`, `"\UFFFFFFFF"`, `"\u{1F600}"`, `"\u{41}"`, `"\u{}"`, `"\u{1234567}"`, `"\u{110000}"`, `"\u{0000041}"`, `"\u{41"`, "\"\xff\"",
	"\"\xff\\n\"", `"é\n"`, `"\`, `"\"`, `b"a"`, `B'a\xff\377'`, `b"\u0041"`, `b"é"`, "b\"\xff\"", "b`a`", `b"a`, `b ""`, `bb""`, `b'a'[0]`,
	`true`, `false`, `nil`, `true.a`, `nil[0]`, `nil?.a`, `true(1)`, `True`,
	// names, comments, blanks
	`a`, `$env`, `$env["a"]`, `$env.a`, `_`, `é`, `٣`, `a1`, "a\u00a0+\u2003b", "a\t\n\r+b", `a // b`, "a // b\n + c", `a /* b */ + c`, `/*/ a`, `/**/a`, `/***/ a`, `a /* b`, `a # b`,
	`a / b`, `a /`, "\xff", "a\x00", "\ufeffa", "\ufffd", `€`, `a @ b`, `~a`, `\`, ``, ` `, `// a`,
	// operators
	`a || b && c`, `a or b and c`, `a and b or c`, `a == b != c`, `a < b`, `a < b < c`, `a < b <= c > d`, `a < b == c`, `a == b < c < d`, `a < (b < c < d) < e`, `a in b`, `a not in b`,
	`a not  in b`, "a not\nin b", `a not /* x */ in b`, `a not contains b`, `a not matches b`, `a not startsWith b not endsWith c`, `a not == b`, `a not b`, `a not`, `not a in b`,
	`not (a in b)`, `not not a`, `!a`, `!!a`, `- -a`, `--a`, `+-a`, `-a ** b`, `-1[0]`, `-a[0]`, `not true.a`, `!a.b`, `a ** b ** c`, `a ^ b ^ c`, `a ** -b`, `2 ** 3 * 4`, `a * b + c`,
	`a + b * c`, `a - b - c`, `a / b % c`, `a .. b + 1`, `a..b`, `1 + a not in b`, `1 + 2 in b`, `a + b not in c and d`, `a not in b not in c`, `a not 'in' b`, `a not b'in' c`,
	`a ?? b`, `a ?? b ?? c`, `a + b ?? c`, `a ?? b + c`, `(a ?? b) + c`, `a ?? b not in c`, `a ?? b | f()`, `a ?? b ? c : d`, `a or b ?? c or d`, `x + a ?? b == c`, `a ?? b == c`, `-a ?? b`,
	`a = b`, `a & b`, `a &&& b`, `a === b`, `a !== b`, `a <> b`, `a =< b`, `a <* b`, `a *= b`, `a ! b`, `a !* b`, `!`, `a +`, `+`, `a b`, `a "b"`, `1 2`, `a contains b contains c`,
	`a matches "b" && c`, `a in`, `in a`, `a.in in b`, `a startsWith -b`, `a % -b`, `a | b`, `a | f`, `a | f()`, `a | f(b) | g(c,)`, `a | len()`, `a | any(#)`, `a | any({# > 1})`,
	`a | any()`, `a | count()`, `a | count(#)`, `a | count(,)`, `a | reduce(# + #acc, 0)`, `a | reduce(#,)`, `a + b | f()`, `a | f() + b`, `a | f().b`, `a | f()[0]`, `a | true()`, `a | 1()`,
	`a | if()`, `f(a | g())`, `[a | g()]`, `-a | g()`, `not a | g()`, `(a | g()).b`, `a || b | g()`, `a | g() ?? c`, `a | g() ?? c + d`,
	// conditionals
	`a ? b : c`, `a ? b : c ? d : e`, `a ? b ? c : d : e`, `a ?: b`, `a ?: b ?: c`, `(a ?: b) ?: c`, `a ?b:c`, `a ?.5 : 1`, `a ?? .5`, `a ? .5 : 1`, `a ? b`, `a ? b :`, `a ? : b`, `a ?:: f()`,
	`a ? ::f() : b`, `a ? b :: c`, `a + b ? c : d + e`, `a ? b : c | f()`, `a ? b, c : d`, `a ? (b; c) : d`, `a ? b; c : d`, `-a ? b : c`, `[a ? b : c]`, `a[b ? c : d]`, `a[b ? c : d : e]`,
	`if a { b } else { c }`, `if a { b } else if c { d } else { e }`, `if a { b }`, `if a { } else { b }`, `if a { b; c } else { d; e }`, `if a { b; } else { c }`, `if (a) { b } else { c }`,
	`if a { b } else { c } + 1`, `if a { b } else { c }; d`, `if a { b } else { c }.d`, `1 + if a { b } else { c }`, `(if a { b } else { c }) + 1`, `if {} {1} else {2}`, `if {a: 1}.a {1} else {2}`,
	`a ? if b { c } else { d } : e`, `a ? b : if c { d } else { e } ? f : g`, `a ?: if b {c} else {d} ?: e`, `if a { let b = 1; b } else { c }`, `else`, `if`, `if a`, `if a {b} else c`,
	`if if a {b} else {c} {d} else {e}`, `a.if`, `f(if a {1} else {2})`,
	// let, sequences
	`let a = 1; a`, `let a = 1; let b = 2; a + b`, `let a = 1`, `let a = 1;`, `let a; a`, `let a == 1; a`, `let 1 = 2; a`, `let in = 2; a`, `let true = 1; a`, `let a = let b = 1; b; a`,
	`let a = (let b = 1; b); a`, `1 + let a = 1; a`, `(let a = 1; a) + 1`, `let a = 1, b = 2; a`, `a; b`, `a; b; c;`, `a;`, `;`, `a;;b`, `(a; b)`, `(a; b;)`, `[a; b]`, `f(a; b)`, `let a = b ? c : d; a; e`,
	`let a = if b {1} else {2}; a`, `let #a = 1; a`, `let a = 1; a | f()`, `let let = 1; a`,
	// members, slices
	`a.b`, `a.b.c`, `a?.b`, `a?.b.c`, `a?.b?.c`, `(a?.b).c`, `(a?.b)?.c`, `a?.b[0]`, `a?.b[0].c`, `a?.[0]`, `a?.[0]?.[1].b`, `a?.[1:2]`, `a?.b[1:2]`, `a?. b`, `a . b`, `a.not`, `a.not in b`, `a.in.let.if`,
	`a.true`, `a.nil()`, `a.1`, `a."b"`, `a.b'c'`, `a.`, `a?.`, `a..`, `.a`, `a.[0]`, `a?..b`, `a.#`, `a[0]`, `a[0][1]`, `a["b"]`, `a[]`, `a[0`, `a[0,1]`, `a[:]`, `a[1:]`, `a[:1]`, `a[1:2]`, `a[1:2:3]`,
	`a[::]`, `a[b:c]`, `a[-1:]`, `a[1:2].b`, `a[1:2][0]`, `a[:`, `a[1:`, `"abc"[1]`, `"abc".d`, `[1, 2][0]`, `{a: 1}.a`, `{a: 1}["a"]`, `(a).b`, `(a)[0]`, `(1)[0]`, `(1).a`, `(true).a`,
	// calls
	`f()`, `f(a)`, `f(a, b)`, `f(a, b,)`, `f(,)`, `f(a,,b)`, `f(a b)`, `f(`, `f(a`, `f)`, `f(a).b`, `f(a)[0]`, `f(a)(b)`, `(f)(a)`, `a.f()`, `a.f(b, c,).g()`, `a?.f()`, `a?.f().g`, `a.f(b)(c)`, `a[0]()`,
	`a["f"](b)`, `::f()`, `::len(a)`, `::f`, `::any(a, #)`, `a.len(b)`, `len`, `len()`, `len(a, b)`, `any`, `f ()`, `in(a)`, `not(a)`, `not (a)`, `a.not(b)`, `:: f(a).b`, `"f"(a)`,
	// predicates
	`any(a, # > 1)`, `any(a, {# > 1})`, `any(a, {#.b == 1})`, `any(a, .b == 1)`, `any(a, {.b})`, `any(a, {.b.c[0]})`, `any(a, {let x = #; x > 1})`, `any(a, {#; #})`, `any(a, #; #)`, `any(a, {#;})`, `any(a, {})`,
	`any(a)`, `any()`, `any(a,)`, `any(a, #,)`, `any(a, #, #)`, `any(a, #,,)`, `any(a #)`, `any(a, {#)`, `any(a, {#}`, `any(a, b)`, `any({a: 1}, #)`, `any(a, {b: 1})`, `all(a, any(#, # > 1))`, `none(a, {not #})`,
	`one(a, !#)`, `filter(a, #)[0]`, `filter(a, .b).c`, `map(a, #index)`, `map(a, # index)`, `map(a, #1)`, `map(a, #in)`, `map(a, # in [1])`, `map(a, # not in [1])`, `map(a, ##)`, `map(a, # # )`, `map(a, #b'c')`,
	`map(a, [#, .b])`, `map(a, {(#)})`, `map(a, {{b: #}})`, `map(a, f(#, .b))`, `map(a, -#)`, `map(a, -.b)`, `map(a, . b)`, `map(a, #.b.c)`, `map(a, #?.b)`, `map(a, ?.b)`, `map(a, #[0])`, `map(a, .[0])`, `map(a, # ?? .b)`,
	`map(a, # ? .b : .c)`, `map(a, b.c)`, `map(a, ..b)`, `map(a, 1..#)`, `count(a)`, `count(a,)`, `count(a, #)`, `count(a, #,)`, `sum(a)`, `sum(a, .b)`, `reduce(a, #acc + #)`, `reduce(a, #acc + #, 0)`, `reduce(a, #acc + #, 0,)`,
	`reduce(a, #acc + #,)`, `reduce(a, #, 0, 1)`, `sortBy(a, #)`, `sortBy(a, #, "desc")`, `groupBy(a, .b)`, `find(a, #)`, `findIndex(a, #)`, `findLast(a, #)`, `findLastIndex(a, #)`, `#`, `#a`, `.a`, `any(a, #) && #`,
	`map(a, x | f(#))`, `map(a | f(), #)`, `map(a, # | f())`, `map(a, if # {1} else {2})`, `map(a, {if # {1} else {2}})`, `map(a, let x = #; x)`, `x not #in y`,
	// arrays and maps
	`[]`, `[1]`, `[1, 2, 3]`, `[1, 2,]`, `[,]`, `[1,,2]`, `[1 2]`, `[1`, `]`, `[[1], [2]]`, `[1][0]`, `{}`, `{a: 1}`, `{a: 1, "b": 2, 3: 4, (c): 5,}`, `{1_0: 2, .5: 3, 0x1: 1}`, `{.5.5: 1, .0x5: 2, 0x: 3, 1.: 4, .0b2: 5}`, `{1a: 1}`, `{.: 1}`, `{(a) + b: 1}`, `{a}`, `{a:}`, `{: 1}`,
	`{,}`, `{a: 1,,}`, `{a: 1 b: 2}`, `{a: 1`, `}`, `{in: 1}`, `{true: 1}`, `{b"a": 1}`, `{-1: 1}`, `{[1]: 1}`, `{a::f()}`, `{a: ::f()}`, `{a: b ? c : d}`, `{"a": {"b": {}}}`, `{(a): 1}.b`, `{#: 1}`,
	// brackets
	`(a)`, `((a))`, `(a`, `a)`, `()`, `(a]`, `[a)`, `(a, b)`, `(a)(b)`, `a(`,
}

func TestCorpus(t *testing.T) {
	counts := map[syntaxtest.Result]int{}
	for _, src := range corpus {
		counts[syntaxtest.Same(t, src)]++
	}
	t.Log(len(corpus), counts)
	if counts[syntaxtest.BothAccept] < 200 || counts[syntaxtest.BothRefuse] < 150 {
		t.Error("the corpus has lost its variety: ", counts)
	}
}

// TestSplices cuts the corpus into pieces and joins them anew.
func TestSplices(t *testing.T) {
	n := 60_000
	if testing.Short() {
		n = 10_000
	}
	pick := func(r *rand.Rand) string { return corpus[r.IntN(len(corpus))] }
	counts := map[syntaxtest.Result]int{}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		src := pick(r)
		for range 1 + r.IntN(3) {
			i, j := r.IntN(len(src)+1), r.IntN(len(src)+1)
			switch r.IntN(5) {
			case 0:
				src = src[:i] + pick(r) + src[i:]
			case 1:
				src = src[:min(i, j)] + src[max(i, j):]
			case 2:
				src = "(" + src + ")" + pick(r)
			case 3:
				src = pick(r) + " " + src
			case 4:
				src = strings.Replace(pick(r), "a", src, 1)
			}
		}
		counts[syntaxtest.Same(t, src)]++
		if t.Failed() {
			return
		}
	}
	t.Log(counts)
}

// TestTokens joins tokens at random: sentences that no one would write.
func TestTokens(t *testing.T) {
	tokens := strings.Fields(`a b f len any count reduce 1 .5 2.5 "s" 'in' true nil # #acc . ?. [ ] ( ) { } ( ) [ ] { } , , ; : ? ?: :: | ?? .. + - * ** ! not in
		contains matches and or && || == < >= = let if else a b a b 1`)
	n := 100_000
	if testing.Short() {
		n = 15_000
	}
	counts := map[syntaxtest.Result]int{}
	for seed := range n {
		r := rand.New(rand.NewPCG(uint64(seed), 4))
		var b strings.Builder
		for range 1 + r.IntN(9) {
			b.WriteString(tokens[r.IntN(len(tokens))])
			if r.IntN(3) > 0 {
				b.WriteByte(' ')
			}
		}
		src := b.String()
		counts[syntaxtest.Same(t, src)]++
		if r.IntN(2) == 0 {
			counts[syntaxtest.Same(t, "any(a, {"+src+"})")]++
		}
		if t.Failed() {
			return
		}
	}
	t.Log(counts)
}

// TestExceptions checks that every exception is one.
func TestExceptions(t *testing.T) {
	f := func(src string) {
		t.Helper()
		if r := syntaxtest.Same(t, src); r != syntaxtest.Excepted {
			t.Errorf("%.60s: %s", src, r)
		}
	}
	f(strings.Repeat(" ", 64<<10) + "a")
	f(strings.Repeat("(", 1100) + "a" + strings.Repeat(")", 1100))
	f(strings.Repeat("(", 12) + "a" + strings.Repeat(" ?: b)", 12))
	f(strings.Repeat("if a { b } else { c }; ", 2600) + "a")
	f(`a not "in" b`)
	f(`"\U80000041"`)
}

// TestHub compares the parsers on every text in the YAML files of the hub,
// expression or not, and on every assertion of its tests.
func TestHub(t *testing.T) {
	root := filepath.Join(sharedtest.Dir(t), "hub")
	texts := map[string]bool{}
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case string:
			texts[v] = true
		case map[string]any:
			for _, e := range v {
				collect(e)
			}
		case []any:
			for _, e := range v {
				collect(e)
			}
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		switch filepath.Ext(path) {
		case ".yaml", ".yml":
			for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
				var doc any
				if dec.Decode(&doc) != nil {
					break // the end, or a file that is no YAML
				}
				collect(doc)
			}
		case ".assert":
			for line := range strings.Lines(string(data)) {
				texts[strings.TrimSuffix(line, "\n")] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[syntaxtest.Result]int{}
	least := 40_000
	for i, src := range slices.Sorted(maps.Keys(texts)) {
		if testing.Short() && i%8 != 0 {
			continue
		}
		counts[syntaxtest.Same(t, src)]++
	}
	if testing.Short() {
		least /= 8
	}
	t.Log(len(texts), counts)
	if counts[syntaxtest.BothAccept] < least || counts[syntaxtest.Excepted] > 0 {
		t.Error("the hub has more expressions, and none that needs an exception: ", counts)
	}
}

func TestBuiltins(t *testing.T) {
	for _, name := range builtin.Names {
		src := name + "(a, b)"
		if syntaxtest.Same(t, src) != syntaxtest.BothAccept {
			t.Errorf("%s is refused", src)
		}
		n, _ := syntax.Parse(src)
		if _, ok := n.(*syntax.Builtin); !ok {
			t.Errorf("%s is a %T", src, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, src := range corpus {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) { syntaxtest.Same(t, src) })
}
