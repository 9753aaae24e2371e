package transform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// lines is a source of one batch.
type lines []string

func (lines) Name() string { return "test" }

func (l lines) Run(ctx context.Context, out source.Sink) error {
	var batch []event.Line
	for _, text := range l {
		batch = append(batch, event.Line{Raw: text, Src: "src", Module: "file", Labels: map[string]string{"type": "x"}, Mode: event.Replay})
	}
	done := 0
	err := out(ctx, batch, func() { done++ })
	if err == nil && done != 1 {
		err = fmt.Errorf("done was called %d times", done)
	}
	return err
}

func TestTransform(t *testing.T) {
	f := func(expression string, in []string, want []string, reported ...string) {
		t.Helper()
		var told []string
		s, err := New(lines(in), strict.Text{Value: expression}, func(err error) { told = append(told, err.Error()) })
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = s.Run(t.Context(), func(_ context.Context, batch []event.Line, done func()) error {
			for _, l := range batch {
				got = append(got, l.Raw)
				if l.Src != "src" || l.Module != "file" || l.Labels["type"] != "x" || l.Mode != event.Replay {
					t.Errorf("%s: a line changed: %+v", expression, l)
				}
			}
			done()
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, got %q, want %q", expression, err, got, want)
		}
		if len(told) != len(reported) {
			t.Fatalf("%s: reported %q", expression, told)
		}
		for i := range told {
			if !strings.Contains(told[i], reported[i]) {
				t.Errorf("%s: reported %q, want %q", expression, told[i], reported[i])
			}
		}
	}
	f(`evt.Line.Raw + "!"`, []string{"a", "b"}, []string{"a!", "b!"})
	f(`Split(evt.Line.Raw, ",")`, []string{"a,b", "c"}, []string{"a", "b", "c"})
	f(`["x", 7, "y"]`, []string{"a"}, []string{"x", "a", "y"})
	f(`nil`, []string{"a"}, []string{"a"})
	f(`7`, []string{"a"}, []string{"a"})
	f(`len(evt.Line.Raw) > 1 ? Upper(evt.Line.Raw) : nil`, []string{"a", "bc"}, []string{"a", "BC"})
	f(`[]`, []string{"a"}, nil)
	f(`int(evt.Line.Raw) == 1 ? "one" : "other"`, []string{"1", "x", "2", "y", "z"}, []string{"one", "x", "other", "y", "z"},
		"(failures so far: 1)", "(failures so far: 2)")
	many := Split(strings.Repeat("x,", maxLines))
	f(`Split(evt.Line.Raw, ",")`, []string{strings.Repeat("x,", maxLines)}, many[:maxLines], "more than 10000")
}

// Split is that of the language.
func Split(s string) []string { return strings.Split(s, ",") }

func TestFaultyTransform(t *testing.T) {
	_, err := New(lines(nil), strict.Text{Value: "evt.Lime.Raw", Place: strict.Place{File: "acquis.yaml", Line: 3, Key: "transform"}}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "acquis.yaml:3: transform: ") || !strings.Contains(err.Error(), "Line") {
		t.Errorf("got %v; want the place and a suggestion", err)
	}
	if _, err := New(lines(nil), strict.Text{Value: "evt."}, nil); err == nil || !strings.HasPrefix(err.Error(), "cannot use the transform: ") {
		t.Errorf("got %v", err)
	}
}

func TestSinkFails(t *testing.T) {
	s, err := New(lines{"a"}, strict.Text{Value: `"b"`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	if err := s.Run(t.Context(), func(context.Context, []event.Line, func()) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}
