package event

import "testing"

func TestReleaseKeepsNothing(t *testing.T) {
	s := NewSchema()
	slot, err := s.Intern(Parsed, "x")
	if err != nil {
		t.Fatal(err)
	}
	e := New(s)
	e.Reset(Line{Raw: "a line", Src: "a path"})
	e.Set(slot, "a value")
	e.Release()
	if e.Has(slot) || e.vals[slot] != "" || e.Line.Raw != "" || e.Line.Src != "" {
		t.Errorf("an idle event still holds %q and %+v", e.vals[slot], e.Line)
	}
}
