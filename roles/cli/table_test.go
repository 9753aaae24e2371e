package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := plain(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("root", "root")
	f("日本 é", "日本 é")
	f("a\nb\tc\rd", `a\nb\tc\x0dd`)
	f("\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`)
	f("\x1b]8;;http://evil\x07", `\x1b]8;;http://evil\x07`)
	f("\u009b2J", `\u009b2J`) // one-character CSI
	f("\x7f", `\x7f`)
	f("\xff\xfe", `\xff\xfe`)
	f("\u202eevil\u2066", `\u202eevil\u2066`)
	f("a\u200bb\ufeff", `a\u200bb\ufeff`)
	f("a\u2028b", `a\u2028b`)
	f("\U000e0041", `\U000e0041`)
	f("\ufffd", "\ufffd")
}

func TestWrap(t *testing.T) {
	f := func(in string, width int, want ...string) {
		t.Helper()
		got := wrap(in, width)
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q at %d: got %q, want %q", in, width, got, want)
		}
	}
	f("", 5, "")
	f("abcde", 5, "abcde")
	f("abcdef", 5, "abcde", "f")
	f("abc def", 5, "abc", "def")
	f("abcde fgh", 5, "abcde", "fgh")
	f("a b c d e f", 5, "a b c", "d e f")
	f("日本語日本語", 5, "日本", "語日", "本語")
	f(" abcdefg", 5, " abcd", "efg")
}

func TestTableShapes(t *testing.T) {
	tb := &table{header: []string{"odd", "x"}, title: "a long title", fancy: true}
	tb.add("1", "日本")
	if got, want := tb.boxed(), ""+
		"╭──────────────╮\n"+
		"│ a long title │\n"+
		"├─────┬────────┤\n"+
		"│ odd │    x   │\n"+
		"├─────┼────────┤\n"+
		"│ 1   │ 日本   │\n"+
		"╰─────┴────────╯\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := tb.light(), ""+
		"──────────────\n"+
		" a long title \n"+
		"──────────────\n"+
		" odd  x       \n"+
		"──────────────\n"+
		" 1    日本    \n"+
		"──────────────\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// FuzzTable lays out hostile cells: every line has the same width and nothing
// in it that a terminal acts upon.
func FuzzTable(f *testing.F) {
	f.Add("Ip:1.2.3.4", "\x1b[2J", "a\nb")
	f.Add(strings.Repeat("word ", 40), "日本語", "\xff\u202e")
	f.Add(strings.Repeat("x", 200), "é", "🚫✔️")
	f.Fuzz(func(t *testing.T, a, b, title string) {
		tb := &table{header: []string{"one", "two"}, title: title}
		tb.add(a, b)
		tb.add(b, a)
		for _, text := range []string{tb.boxed(), tb.light()} {
			width := -1
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if strings.IndexFunc(line, unsafeRune) >= 0 || !utf8.ValidString(line) {
					t.Fatalf("unsafe line %q", line)
				}
				if n := columns(line); width >= 0 && n != width {
					t.Fatalf("a line has %d columns, another %d:\n%s", n, width, text)
				} else {
					width = n
				}
			}
		}
		// Nothing is lost but blanks at the ends of lines.
		squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if got := strings.Join(wrap(plain(a), wrapAt), ""); squeeze(got) != squeeze(plain(a)) {
			t.Fatalf("%q became %q", plain(a), got)
		}
	})
}

// FuzzJSON wants that escaping changes the spelling only.
func FuzzJSON(f *testing.F) {
	f.Add("\u009b\u007f\U000e0041\u202e \n\x00")
	f.Add(`\u0041"`)
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		if err := (&printer{out: &out}).json([]string{s}, " "); err != nil {
			t.Fatal(err)
		}
		if strings.IndexFunc(strings.ReplaceAll(out.String(), "\n", ""), unsafeRune) >= 0 {
			t.Fatalf("unsafe: %q", out.String())
		}
		var back []string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back[0] != want {
			t.Fatalf("%q came back as %q", want, back[0])
		}
	})
}

// FuzzImport reads what somebody downloaded somewhere.
func FuzzImport(f *testing.F) {
	f.Add("csv", "value,duration\n1.2.3.4,1h\n")
	f.Add("json", `[{"value":"1.2.3.4"}]`)
	f.Add("values", "1.2.3.4\n\n5.6.7.8")
	f.Fuzz(func(t *testing.T, format, text string) {
		list, err := parseDecisions(format, []byte(text))
		if err != nil {
			return
		}
		list, err = (&DecisionsImport{Duration: "4h", Scope: "Ip", Reason: "r", Type: "ban"}).complete(list)
		for _, d := range list {
			if err == nil && (d.Value == "" || d.Duration == "" || d.Scope == "" || d.Reason == "" || d.Type == "") {
				t.Fatalf("incomplete: %+v", d)
			}
		}
	})
}

func TestVersion(t *testing.T) {
	r := run(t, t.TempDir(), "", "version", "-c", "/does/not/exist")
	for _, want := range []string{
		"version: v0.1\n", "Codename: ", "BuildDate:", "GoVersion: 1.", "Platform: ", "libre2: ", "User-Agent: crowdsec",
		"Constraint_parser: >= 1.0, <= 3.0\n", "Constraint_scenario: >= 1.0, <= 3.0\n", "Constraint_api: v1\n", "Constraint_acquis: >= 1.0, < 2.0\n", "datasource_docker, datasource_file, ",
	} {
		if !strings.Contains(r.stdout, want) || r.code != 0 || r.stderr != "" {
			t.Errorf("no %q in %+v", want, r)
		}
	}
}
