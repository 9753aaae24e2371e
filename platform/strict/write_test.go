package strict

import (
	"math"
	"reflect"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

type written struct {
	Text   string   `yaml:"text"`
	Empty  []string `yaml:"empty"`
	List   []string `yaml:"list"`
	Inner  inner    `yaml:"inner"`
	Inners []inner  `yaml:"inners"`
	Yes    bool     `yaml:"yes"`
	Number int64    `yaml:"number"`
}

type inner struct {
	F    float32 `yaml:"f"`
	Deep []inner2
}

type tree struct {
	Omitted string            `yaml:"omitted,omitempty"`
	None    map[string]string `yaml:"none,omitempty"`
	At      time.Time         `yaml:"at,omitempty"`
	Later   time.Time         `yaml:"later,omitempty"`
	Maps    map[string]any    `yaml:"maps"`
	Empty   map[string]any    `yaml:"empty"`
	Below   *inner2           `yaml:"below"`
	Nil     *inner2           `yaml:"nil"`
	Lists   [][]string        `yaml:"lists"`
	Nothing struct {
		A string `yaml:"a,omitempty"`
	} `yaml:"nothing"`
}

func TestAppendTrees(t *testing.T) {
	got := string(Append(nil, tree{
		At: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		Maps: map[string]any{
			"z": nil, "a": map[string]any{"n": 1, "443": 443.0, "f": 1.65e9, "d": 1.5}, "l": []any{"x", []any{}, map[string]any{"k": true}},
			"bad": "a\xff", "e": map[string]string{}, "inf": math.Inf(-1), "del": "\x7f\ufeff",
		},
		Below: &inner2{"x", "1"},
		Lists: [][]string{{"a", "b"}, {"c"}},
	}))
	want := `at: 2026-01-02T03:04:05.000000678Z
maps:
  a:
    "443": 443
    d: 1.5
    f: 1.65e+09
    "n": 1
  bad: !!binary Yf8=
  del: "\u007f\ufeff"
  e: {}
  inf: -.inf
  l:
  - x
  - []
  - k: true
  z: null
empty: {}
below:
  a: x
  b: "1"
nil: null
lists:
- - a
  - b
- - c
nothing:
  {}
`
	if got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	var back map[string]any
	if err := yaml.Unmarshal([]byte(got), &back); err != nil {
		t.Fatal(err)
	}
}

type inner2 struct{ A, B string }

// TestAppendReadsBack writes texts that look like something else and reads
// them with the YAML library.
func TestAppendReadsBack(t *testing.T) {
	for _, s := range []string{"", "plain", "a: b", "? x", "- x", "0.4", "1e3", "null", "~", "yes", "\ttab", "x\ny\n", "#c", "http://h:1/", "http://h:", "é", "\x1b[0m", "'", `"`, "2026-11-22T10:00:00Z", "_1", "0x1F", "{}", "@a", "/p/q", "\x7f", "\u0085\ufeff", "\U0010ffff"} {
		in := written{
			Text: s, Empty: []string{}, List: []string{s, "b"}, Inner: inner{F: 48.5, Deep: []inner2{{s, "1"}, {"2", s}}},
			Inners: []inner{{F: 1, Deep: []inner2{}}, {F: 2.25, Deep: []inner2{{s, s}}}}, Yes: true, Number: math.MinInt64,
		}
		text := Append(nil, in)
		var out written
		if err := yaml.Unmarshal(text, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%q: %+v, %v from\n%s", s, out, err, text)
		}
	}
}

func TestAppend(t *testing.T) {
	got := string(Append(nil, inner{F: 2.25, Deep: []inner2{{"a", "b c"}, {"", "d"}}}))
	want := "f: 2.25\ndeep:\n- a: a\n  b: b c\n- a: \"\"\n  b: d\n"
	if got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
}

func TestAppendIndented(t *testing.T) {
	v := map[string]any{"a": []any{"x", map[string]any{"b": []string{"y"}}}, "c": map[string]any{"d": []int{1}}}
	const want = "a:\n  - x\n  - b:\n      - \"y\"\nc:\n  d:\n    - 1\n"
	if got := string(AppendIndented(nil, v)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var back any
	if err := yaml.Unmarshal([]byte(want), &back); err != nil {
		t.Error(err)
	}
}
