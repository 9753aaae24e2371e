package strict_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/platform/sharedtest"
	"cs/platform/strict"
)

type item struct {
	Name   string         `yaml:"name"`
	Filter strict.Text    `yaml:"filter"`
	Debug  bool           `yaml:"debug"`
	Size   int            `yaml:"size"`
	Prior  float64        `yaml:"prior"`
	Leak   time.Duration  `yaml:"leakspeed"`
	Syntax strict.Map     `yaml:"pattern_syntax"`
	Labels map[string]any `yaml:"labels"`
	Refs   []string       `yaml:"references"`
	Nodes  []item         `yaml:"nodes"`
	Inner  *item          `yaml:"inner"`
}

func decode(t *testing.T, text string) ([]item, error) {
	t.Helper()
	docs, err := strict.Parse("a.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	var out []item
	for _, d := range docs {
		var it item
		if err := d.Decode(&it); err != nil {
			return nil, err
		}
		out = append(out, it)
	}
	return out, nil
}

func TestDecode(t *testing.T) {
	got, err := decode(t, `# a comment
name: 1.50
filter: "evt.Meta.x == 'y'"
debug: yes
size: 0x10
prior: 2
leakspeed: 1m30s
pattern_syntax:
  B: '\d+'
  A: 12
labels: {remediation: true, text: "true", n: 3, l: [a, 1.5], on: off}
references:
 - http://x
 - 2021-01-02
nodes:
  - name: true
    filter: |
      one
      two
  - name: ~
inner: &here
  size: 3
---
---
name: second
filter: x
inner:
  name: >-
    a
    b
`)
	if err != nil {
		t.Fatal(err)
	}
	place := func(line int, key string) strict.Place { return strict.Place{File: "a.yaml", Line: line, Key: key} }
	want := []item{{
		Name:   "1.50",
		Filter: strict.Text{Value: "evt.Meta.x == 'y'", Place: place(3, "filter")},
		Debug:  true,
		Size:   16,
		Prior:  2,
		Leak:   90 * time.Second,
		Syntax: strict.Map{
			{Key: "B", Value: strict.Text{Value: `\d+`, Place: place(9, "pattern_syntax.B")}},
			{Key: "A", Value: strict.Text{Value: "12", Place: place(10, "pattern_syntax.A")}},
		},
		Labels: map[string]any{"remediation": true, "text": "true", "n": 3, "l": []any{"a", 1.5}, "on": false},
		Refs:   []string{"http://x", "2021-01-02"},
		Nodes: []item{
			{Name: "true", Filter: strict.Text{Value: "one\ntwo\n", Place: place(17, "nodes[0].filter")}},
			{},
		},
		Inner: &item{Size: 3},
	}, {Name: "second", Filter: strict.Text{Value: "x", Place: place(26, "filter")}, Inner: &item{Name: "a b"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// What the parser beneath gets wrong, or refuses.
func TestTexts(t *testing.T) {
	for text, want := range map[string]string{
		"filter: 'a\n  '' b''\n  c\n\n\n  d\n  '\n": "a ' b' c\n\nd ", // blanks behind a quote that begins a line
		"filter: 'it''s'\n":                         "it's",
		"filter: >\r\n  a\r\n  b\r\nname: x\r\n":    "a b\n",
		"filter: |\r\n  a\r\n  b\r\n":               "a\nb\n",
		"filter: 'a\r\n  b\r\n\r\n  c'\r\n":         "a b\nc",
		"filter: \"a\r\n  b\"\r\n":                  "a b",
		"\ufefffilter: a\n":                         "a", // a byte order mark
	} {
		got, err := decode(t, text)
		if err != nil || len(got) != 1 || got[0].Filter.Value != want {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
	got, err := decode(t, "prior: 1e-3\n")
	if err != nil || got[0].Prior != 0.001 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestMapsOfLists(t *testing.T) {
	docs, err := strict.Parse("a.yaml", []byte("x: [a, 1]\ny:\n - b\nz:\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string][]strict.Text
	if err := docs[0].Decode(&got); err != nil {
		t.Fatal(err)
	}
	at := func(line int, key string) strict.Place { return strict.Place{File: "a.yaml", Line: line, Key: key} }
	want := map[string][]strict.Text{
		"x": {{Value: "a", Place: at(1, "x[0]")}, {Value: "1", Place: at(1, "x[1]")}},
		"y": {{Value: "b", Place: at(3, "y[0]")}},
		"z": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAliases(t *testing.T) {
	got, err := decode(t, "nodes:\n - &a {name: x, size: 1}\n - *a\n - {<<: *a, size: 2}\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []item{{Nodes: []item{{Name: "x", Size: 1}, {Name: "x", Size: 1}, {Name: "x", Size: 2}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := decode(t, text)
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	f("name: a\nfliter: x\n", "a.yaml:2: fliter: unknown key (did you mean filter?)")
	f("nodes:\n - name: a\n   zzzzzz: 1\n", "a.yaml:3: nodes[0].zzzzzz: unknown key")
	f("size: many\n", `a.yaml:1: size: want a whole number, this is the text "many"`)
	f("size: \"5\"\n", `a.yaml:1: size: want a whole number, this is the text "5"`)
	f("\n\ndebug: 'true'\n", `a.yaml:3: debug: want true or false, this is the text "true"`)
	f("leakspeed: 10\n", `a.yaml:1: leakspeed: "10" is no duration like 10s or 1m30s`)
	f("references: x\n", `a.yaml:1: references: want a list, this is the text "x"`)
	f("name: [a]\n", "a.yaml:1: name: want a text, this is a list")
	f("- a\n", "a.yaml:1: want a mapping, this is a list")
	f("siez: 1\nname: {}\n", "a.yaml:1: siez: unknown key (did you mean size?)\na.yaml:2: name: want a text, this is a mapping")
	f("inner: *nope\n", "a.yaml:1: cannot parse YAML: unknown anchor 'nope' referenced")
	f("name: a\ninner:\n  size: 1\n  name: x\n   size: 2\n", "a.yaml:5: cannot parse YAML: mapping values are not allowed in this context")
	f("\ninner:\n  size: 1\n  name: x\n  - a\nsize: 2\n", "a.yaml:5: cannot parse YAML: did not find expected key")
	f("\nnodes:\n- size: 1\n- name: x\n  size: 1\n name: x\n# the end\n", "a.yaml:6: cannot parse YAML: did not find expected key")
	f("\n\nname: [a,\nsize: 1\n\ndebug: on\n", "a.yaml:4: cannot parse YAML: did not find expected ',' or ']'")
	f("\n\nname: 'a\nsize: 1\n\ndebug: on\n", "a.yaml:3: cannot parse YAML: found unexpected end of stream")
	f("\n\nname: a\nsize: \x01\n\ndebug: on\n", "a.yaml:4: cannot parse YAML: control characters are not allowed")
	f("\n\nname: a\nfilter: caf\xe9 noir\n\ndebug: on\n", "a.yaml:4: cannot parse YAML: invalid trailing UTF-8 octet")
	f("---\nname: a\n---\n\nfilter: \"\\q\"\n\ndebug: on\n", "a.yaml:5: cannot parse YAML: found unknown escape character")
	f("name: a\n---\n\ninner: *a\nsize: 1\n", "a.yaml:4: cannot parse YAML: unknown anchor 'a' referenced")
	f(strings.Repeat("[", 2000), "a.yaml:1: 2000 brackets are open at once, more than 1024")
	for _, text := range []string{"name: a\nname: b\n", "name: 'a\n", "a: b: c\n", "\tname: x\n"} {
		if got, err := decode(t, text); err == nil || !strings.HasPrefix(err.Error(), "a.yaml:") {
			t.Errorf("%q: got %v, %v; want an error with a place", text, got, err)
		}
	}
}

// Aliases of aliases must not make a small file large.
func TestManyErrors(t *testing.T) {
	docs, err := strict.Parse("f.yaml", []byte(strings.Repeat("bad: 1\n", 5000)))
	if err != nil {
		t.Fatal(err)
	}
	var v struct{}
	text := docs[0].Decode(&v).Error()
	if n := strings.Count(text, "\n") + 1; n != 101 || !strings.HasSuffix(text, "there are more errors from here on") {
		t.Errorf("%d errors:\n%s", n, text)
	}
}

func TestLaughs(t *testing.T) {
	text := "labels:\n a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		ref := "*a" + string(rune('0'+i))
		text += " a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat(ref+",", 9) + ref + "]\n"
	}
	for _, text := range []string{text, "nodes: &a [{nodes: *a}" + strings.Repeat(", {nodes: *a}", 10_000) + "]"} {
		if _, err := decode(t, text); err == nil || !strings.HasSuffix(err.Error(), "too large or nested too deep") || len(err.Error()) > 1000 {
			t.Fatalf("got %.1000v, want one error", err)
		}
	}
}

// The public hub was written for another YAML library: all of it must parse.
func TestHub(t *testing.T) {
	hub := filepath.Join(sharedtest.Dir(t), "hub")
	n := 0
	for _, dir := range []string{"parsers", "scenarios", "postoverflows"} {
		err := filepath.WalkDir(filepath.Join(hub, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".yaml" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			docs, err := strict.Parse(path, data)
			if err != nil {
				t.Error(err)
			}
			for _, d := range docs {
				var m map[string]any
				if err := d.Decode(&m); err != nil {
					t.Error(err)
				}
				if m["name"] == nil {
					t.Errorf("%s: no name in %v", path, m)
				}
			}
			n++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 100 {
		t.Fatalf("only %d files", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("name: a\nnodes:\n - {filter: x}\n")
	f.Add("a: &b [*b]\n---\n? x\n: y\n")
	f.Add("labels: {a: !!binary x, <<: {b: c}}\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := strict.Parse("a.yaml", []byte(text))
		if err != nil {
			return
		}
		for _, d := range docs {
			var it item
			_ = d.Decode(&it)
			var m map[string]any
			_ = d.Decode(&m)
		}
	})
}

func TestUnknownKeysCanBeToldApart(t *testing.T) {
	docs, err := strict.Parse("f", []byte("nmae: x\nsize: big\n"))
	if err != nil {
		t.Fatal(err)
	}
	joined, ok := docs[0].Decode(new(item)).(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatal("want two errors joined")
	}
	for i, want := range []bool{true, false} {
		if err := joined.Unwrap()[i]; errors.Is(err, strict.ErrUnknownKey) != want {
			t.Errorf("%v: unknown key is %v", err, !want)
		}
	}
}

func TestASecondDocumentIsLaidOverTheFirst(t *testing.T) {
	docs, err := strict.Parse("f", []byte("name: a\nreferences: [x, y]\ninner: {name: b, size: 1}\n---\nreferences: [z]\ninner: {size: 2}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got item
	for _, doc := range docs {
		if err := doc.Decode(&got); err != nil {
			t.Fatal(err)
		}
	}
	want := item{Name: "a", Refs: []string{"z"}, Inner: &item{Name: "b", Size: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// TestSpread: the keys of one document may be those of two structs.
func TestSpread(t *testing.T) {
	docs, err := strict.Parse("a.yaml", []byte("# first\nkind: x\nsize: 3\ninner:\n  depth: 4\nsiz: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	var common struct {
		Kind string `yaml:"kind"`
	}
	var own struct {
		Size  int `yaml:"size"`
		Inner struct {
			Depth int `yaml:"depth"`
		} `yaml:"inner"`
	}
	err = docs[0].Decode(&common, &own)
	if err == nil || err.Error() != "a.yaml:6: siz: unknown key (did you mean size?)" {
		t.Errorf("got %v", err)
	}
	if common.Kind != "x" || own.Size != 3 || own.Inner.Depth != 4 {
		t.Errorf("got %+v, %+v", common, own)
	}
	f := func(key string, line int, there bool) {
		t.Helper()
		if at, ok := docs[0].PlaceOf(key); ok != there || at.Line != line || at.Key != key {
			t.Errorf("%s: %+v, %v", key, at, ok)
		}
	}
	f("size", 3, true)
	f("inner.depth", 5, true)
	f("inner.x", 2, false)
	f("none", 2, false)
	f("kind.x", 2, false)
}

// Regular expressions have brackets without a partner.
func TestBracketsInTexts(t *testing.T) {
	docs, err := strict.Parse("a.yaml", []byte("text: |\n"+strings.Repeat("  \\[%{WORD:a} {\n", 300)))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text strict.Text `yaml:"text"`
	}
	if err := docs[0].Decode(&got); err != nil || strings.Count(got.Text.Value, "[") != 300 {
		t.Errorf("%v, %q", err, got.Text.Value)
	}
}
