package event

import (
	"strings"
	"testing"
)

func newTestEvent(t *testing.T) (*Event, []Slot) {
	s := NewSchema()
	var slots []Slot
	for _, name := range []string{"a", "b", "c"} {
		slot, err := s.Intern(Unmarshaled, name)
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
	}
	return New(s), slots
}

func TestCase(t *testing.T) {
	e, _ := newTestEvent(t)
	for _, s := range []string{"", "abc", "ABC", "aBc 1-2_z{Z[@`", "é", "aé", "Aé", "ſ", "\x80a", "straße", "ıI", strings.Repeat("xY", 5000)} {
		before := e.Keep([]byte("before"))
		if got, want := e.Upper(s), strings.ToUpper(s); got != want {
			t.Errorf("Upper(%q) = %q, want %q", s, got, want)
		}
		if got, want := e.Lower(s), strings.ToLower(s); got != want {
			t.Errorf("Lower(%q) = %q, want %q", s, got, want)
		}
		if after := e.Keep([]byte("after")); before != "before" || after != "after" {
			t.Errorf("%q: the arena now says %q and %q", s, before, after)
		}
	}
}

func FuzzCase(f *testing.F) {
	f.Add("aé\x80Z")
	f.Fuzz(func(t *testing.T, s string) {
		e := New(NewSchema())
		if e.Upper(s) != strings.ToUpper(s) || e.Lower(s) != strings.ToLower(s) {
			t.Fatalf("%q: %q %q", s, e.Upper(s), e.Lower(s))
		}
	})
}

func TestDocs(t *testing.T) {
	e, slots := newTestEvent(t)
	e.SetDoc(slots[1], "x")
	e.SetDoc(slots[1], "y")
	e.SetDoc(slots[2], nil)
	if e.Doc(slots[1]) != "y" || e.Doc(slots[0]) != nil {
		t.Fatal("documents got lost")
	}
	e.Reset(Line{})
	if e.Doc(slots[1]) != nil {
		t.Fatal("a document outlived its line")
	}
	e.SetDoc(slots[1], "z")
	if n := testing.AllocsPerRun(100, func() { e.SetDoc(slots[1], "z"); e.Reset(Line{}) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestArena(t *testing.T) {
	e, _ := newTestEvent(t)
	if e.Concat("", "b") != "b" || e.Concat("a", "") != "a" || e.Concat("a", "b") != "ab" {
		t.Fatal("Concat")
	}
	kept := e.Keep([]byte("kept"))
	small := e.Built(append(e.Build(), "small"...))
	big := e.Built(append(e.Build(), strings.Repeat("big", 10_000)...)) // moves out of the arena
	none := e.Built(e.Build())
	foreign := e.Built([]byte("foreign"))
	if kept != "kept" || small != "small" || len(big) != 30_000 || none != "" || foreign != "foreign" {
		t.Fatal(kept, small, len(big), none, foreign)
	}
	lines := e.Lines()
	e.Reset(Line{Raw: "next"})
	if e.Lines() == lines {
		t.Fatal("Lines must change with the line")
	}
}

func TestDocsByName(t *testing.T) {
	s := NewSchema()
	known, err := s.Intern(Unmarshaled, "known")
	if err != nil {
		t.Fatal(err)
	}
	e := New(s)
	e.SetDocNamed("known", 1.5)
	e.SetDocNamed("other", "x")
	if e.Doc(known) != 1.5 || e.DocNamed("known") != 1.5 || e.DocNamed("other") != "x" || e.DocNamed("no") != nil || len(e.Docs()) != 2 {
		t.Errorf("got %v", e.Docs())
	}
	e.Reset(Line{})
	if e.DocNamed("known") != nil || e.DocNamed("other") != nil || len(e.Docs()) != 0 {
		t.Errorf("after a reset there is still %v", e.Docs())
	}
}
