package grok

import (
	"regexp"
	"strings"
	"testing"
)

// What the spec says that references and definitions look like.
var (
	referenceTwin  = regexp.MustCompile(`%\{(\w+)(?::(\w+))?\}`)
	definitionTwin = regexp.MustCompile(`^(\w+)\s+(.*)$`)
)

func FuzzScan(f *testing.F) {
	for _, text := range []string{
		"", "x", "%{A}", "%{A:b}", "%{A:}", "%{:b}", "%{A:b:int}", "%{%{A}}", "%{A}%{B:c}", "%{A%{B_1:c_2}", "%%{A}", "%{A-b}", "%{A ", "%{", "%{A:b", "%{é}",
		"A b", "A", "A ", " A b", "A \t b c ", "A_1\vx", "A\fx", "# A b", "é x", "A\u00a0b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		from := 0
		for _, at := range referenceTwin.FindAllStringSubmatchIndex(text, -1) {
			r, ok := nextReference(text, from)
			field := ""
			if at[4] >= 0 {
				field = text[at[4]:at[5]]
			}
			if want := (reference{at[0], at[1], text[at[2]:at[3]], field}); !ok || r != want {
				t.Fatalf("%q from %d: got %+v, %v, want %+v", text, from, r, ok, want)
			}
			from = r.end
		}
		if r, ok := nextReference(text, from); ok {
			t.Fatalf("%q from %d: got %+v, want none", text, from, r)
		}
		line, _, _ := strings.Cut(text, "\n") // files are read by lines
		m := definitionTwin.FindStringSubmatch(line)
		name, pattern, ok := cutDefinition(line)
		if ok != (m != nil) || ok && (name != m[1] || pattern != m[2]) {
			t.Fatalf("%q: got %q, %q, %v, want %q", line, name, pattern, ok, m)
		}
	})
}
