package strict

import (
	"regexp"
	"testing"
)

func TestSame(t *testing.T) {
	type settings struct {
		Name  Text
		Rx    []*regexp.Regexp
		Pairs Map
		More  map[string]*int
		Any   any
		n     int
	}
	one, uno, two := 1, 1, 2
	make1 := func(line int) settings {
		return settings{
			Name: Text{"x", Place{File: "f", Line: line, Key: "name"}}, Rx: []*regexp.Regexp{regexp.MustCompile("a+")},
			Pairs: Map{{"k", Text{Value: "v", Place: Place{Line: line}}}}, More: map[string]*int{"a": &one, "b": nil}, Any: 7, n: 3,
		}
	}
	f := func(want bool, change func(*settings)) {
		t.Helper()
		a, b := make1(1), make1(2)
		change(&b)
		if got := Same(a, b); got != want {
			t.Errorf("got %v", got)
		}
	}
	f(true, func(*settings) {})
	f(true, func(s *settings) { s.More["a"] = &uno })
	f(false, func(s *settings) { s.More["a"] = &two })
	f(false, func(s *settings) { s.More["b"] = &one })
	f(false, func(s *settings) { delete(s.More, "b"); s.More["c"] = nil })
	f(false, func(s *settings) { delete(s.More, "b") })
	f(false, func(s *settings) { s.Name.Value = "y" })
	f(false, func(s *settings) { s.Rx[0] = regexp.MustCompile("a*") })
	f(false, func(s *settings) { s.Rx = nil })
	f(false, func(s *settings) { s.Pairs[0].Value.Value = "w" })
	f(false, func(s *settings) { s.Any = "7" })
	f(false, func(s *settings) { s.Any = nil })
	f(false, func(s *settings) { s.n = 4 })
}

func TestSameDoc(t *testing.T) {
	doc := func(text string) Doc {
		docs, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return docs[0]
	}
	f := func(want bool, a, b string) {
		t.Helper()
		if got := Same(struct{ D Doc }{doc(a)}, struct{ D Doc }{doc(b)}); got != want {
			t.Errorf("%q and %q: %v", a, b, got)
		}
	}
	f(true, "a: 1\nb: [x, y]\n", "# moved\n\nb:\n- x\n- y\na: 1\n")
	f(false, "a: 1\nb: [x, y]\n", "a: 1\nb: [y, x]\n")
	f(false, "a: 1\n", "a: 2\n")
	f(false, "a: 1\n", "a: 1\nb: 1\n")
	if !Same(Doc{}, Doc{}) || Same(Doc{}, doc("a: 1")) {
		t.Error("no document")
	}
}
