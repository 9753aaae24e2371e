package strict

import (
	"math"
	"reflect"
	"testing"

	"github.com/goccy/go-yaml"
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

type inner2 struct{ A, B string }

// TestAppendReadsBack writes texts that look like something else and reads
// them with the YAML library.
func TestAppendReadsBack(t *testing.T) {
	for _, s := range []string{"", "plain", "a: b", "? x", "- x", "0.4", "1e3", "null", "~", "yes", "\ttab", "x\ny\n", "#c", "http://h:1/", "http://h:", "é", "\x1b[0m", "'", `"`, "2026-11-22T10:00:00Z", "_1", "0x1F", "{}", "@a", "/p/q"} {
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
	want := "f: 2.25\ndeep:\n- a: a\n  b: \"b c\"\n- a: \"\"\n  b: d\n"
	if got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
}
