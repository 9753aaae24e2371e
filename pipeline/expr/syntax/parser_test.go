package syntax

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestErrors compares what people read with testdata/errors.txt.
func TestErrors(t *testing.T) {
	var b strings.Builder
	for _, src := range []string{
		``, ` `, `a ==`, `a = b`, `a & b`, `a @ b`, "a \xff", `a b`, `a 1`, `a "b"`, `a #b`, `(a`, `(a]`, `a)`, `f(a, b`, `f(a b)`, `a[1`, `[1, 2`, `{a: 1`, `{a 1}`, `{-1: 1}`, `a.1`, `a. == b`, `a?.`,
		`evt.Parsed.x == 'it's'`, `evt.Parsed.x == 'a`, `evt.Parsed.x == "a`, "evt.Parsed.x == `a", `evt.Parsed.x matches 'a\.b'`, `"\x4"`, `"\u{110000}"`, `b"\u0041"`, `/* a`,
		`1a`, `0xg`, `1e999`, `99999999999999999999`, `0x1.8`, `a ?? b + c`, `a not b`, `a ? b`, `a ? b, c`, `if a { b }`, `if a b`, `let 1 = 2; a`, `let a = 1`, `let a = 1; `, `a;;b`,
		`any(a)`, `any()`, `any(a, #; #)`, `any(a, {#)`, `count(a, #, #)`, `# > 1`, `.a`, `a | b`, `a | 1`, `::a`, `f(a)(b)`,
		"evt.Meta.service == 'ssh' &&\n  evt.Meta.log_type = 'x' ||\n  true", "a\n  b", "a ==\n\n", "a\t==\t= b", "'é' == é = 1",
		strings.Repeat("a || ", 60) + "= 1", strings.Repeat("a || ", 60) + "= 1" + strings.Repeat(" || a", 60), "= 1" + strings.Repeat(" || a", 60), strings.Repeat("a", maxSource+1),
		strings.Repeat("(", 1100), strings.Repeat("a + ", 6000) + "a",
	} {
		_, err := Parse(src)
		if err == nil {
			t.Errorf("%s: no error", src)
			continue
		}
		if len(src) > 1000 {
			src = src[:20] + "…"
		}
		b.WriteString(src + "\n=> " + err.Error() + "\n\n")
	}
	golden := filepath.Join("testdata", "errors.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("errors have changed (-update writes them):\n%s", b.String())
	}
}

// TestNesting checks that no source overflows the stack.
func TestNesting(t *testing.T) {
	f := func(before, inside, after string) {
		t.Helper()
		for _, n := range []int{maxDepth / 10, maxDepth * 2, maxSource / len(before+after)} {
			src := strings.Repeat(before, n) + inside + strings.Repeat(after, n)
			if len(src) > maxSource {
				src = src[:maxSource]
			}
			_, err := Parse(src)
			switch {
			case n < maxDepth/2 && err != nil:
				t.Errorf("%d × %s: %v", n, before, err)
			case n > maxDepth && (err == nil || !strings.Contains(err.Error(), "more than")):
				t.Errorf("%d × %s: %v", n, before, err)
			}
		}
	}
	f("(", "a", ")")
	f("[", "a", "]")
	f("{a: ", "1", "}")
	f("{(", "1", "): a}")
	f("-", "a", "")
	f("not ", "a", "")
	f("f(", "a", ")")
	f("a.f(", "a", ")")
	f("len(", "a", ")")
	f("any(a, {", "#", "})")
	f("any(", "a", ", #)")
	f("a[", "0", "]")
	f("a?.[", "0", "]")
	f("a[:", "0", "]")
	f("a ? ", "b", " : c")
	f("a ? b : ", "c", "")
	f("a ?: ", "b", "")
	f("if a { b } else ", "{ c }", "")
	f("if a { ", "b", " } else { c }")
	f("if ", "a", " { b } else { c }")
	f("let a = 1; ", "a", "")
	f("let a = (", "1", "); a")
	f("a ** ", "b", "")
	f("a || (b && ", "c", ")")
	f("::f(", "a", ")")
}

// TestSharedNodes checks that a node which is met several times counts as
// often: doubled 30 times it would keep the compiler busy for hours.
func TestSharedNodes(t *testing.T) {
	f := func(before, inside, after string) {
		t.Helper()
		if _, err := Parse(strings.Repeat(before, 5) + inside + strings.Repeat(after, 5)); err != nil {
			t.Error(err)
		}
		_, err := Parse(strings.Repeat(before, 30) + inside + strings.Repeat(after, 30))
		if err == nil || !strings.Contains(err.Error(), "more than 10000 parts") {
			t.Errorf("%s: %v", before+inside+after, err)
		}
	}
	f("(", "a", " ?: b)")
	f("(1 < ", "a", " < 3)")
	f("a ?: (", "b ?: c", " ?: d)")
	f("", "a", " ?: if a {1} else {2}")
}

func TestText(t *testing.T) {
	f := func(src string, want ...string) {
		t.Helper()
		n, err := Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		Walk(n, func(n Node) { got = append(got, n.Where().Text(src)) })
		if strings.Join(got, " | ") != strings.Join(want, " | ") {
			t.Errorf("%s: got %s", src, strings.Join(got, " | "))
		}
	}
	f(`(a + b) * -c`, `(a + b) * -c`, `a + b`, `a`, `b`, `-c`, `c`)
	f(`f( (x) ).y`, `f( (x) ).y`, `f( (x) )`, `f`, `x`, `y`)
	f(`1 < (b) < c`, `1 < (b) < c`, `1 < (b)`, `1`, `b`, `(b) < c`, `b`, `c`)
	f(`x | any(.y)`, `x | any(.y)`, `x`, `.y`, `.y`, ``, `y`)
	f(`a?.b[1:] // all`, `a?.b[1:]`, `a?.b`, `a?.b`, `a`, `b`, `1`)
	f(`a not in [b,]`, `a not in [b,]`, `a not in [b,]`, `a`, `[b,]`, `b`)
}

func BenchmarkParse(b *testing.B) {
	const src = `evt.Meta.service == 'http' && evt.Meta.log_type in ['http_access-log', 'http_error-log'] &&
		(evt.Meta.http_status startsWith "40" || any(File("paths.txt"), {Upper(evt.Parsed.request) contains Upper(#)})) ? evt.Parsed.verb[1:] : nil`
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}
