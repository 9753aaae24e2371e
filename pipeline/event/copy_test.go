package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCopy(t *testing.T) {
	s := NewSchema()
	slots := map[string]Slot{}
	for _, name := range []string{"a", "b", "c", "d"} {
		for _, space := range []Space{Parsed, Meta, Enriched, Unmarshaled} {
			slot, err := s.Intern(space, name)
			if err != nil {
				t.Fatal(err)
			}
			slots[space.String()+"."+name] = slot
		}
	}
	at := time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)
	buf := []byte("raw src one two key val")
	text := func(i int) string { return view(buf[4*i : 4*i+3]) }
	fill := func(e *Event) {
		e.Reset(Line{Raw: text(0), Src: text(1), Module: "file", Labels: map[string]string{"type": "x"}, Time: at, Mode: Replay})
		e.Time, e.StrTime, e.StrTimeFormat, e.MarshaledTime = at.Add(1), text(2), "layout", text(3)
		e.Whitelisted, e.WhitelistReason = true, text(2)
		e.Set(slots["Parsed.a"], text(2))
		e.Set(slots["Meta.b"], text(3))
		e.Set(slots["Enriched.d"], "")
		e.SetDoc(slots["Unmarshaled.a"], map[string]string{text(4): text(5)})
		e.SetDoc(slots["Unmarshaled.b"], map[string]any{text(4): []any{text(5), 1.5, nil, map[string]string{text(4): text(5)}}})
		e.SetDocNamed(text(4), text(5)) // nobody has heard of it
	}
	type all struct {
		Line           Line
		Time           time.Time
		Texts          [numPlain]string
		Whitelisted    bool
		Fields         map[string]string
		DocA, DocB, No any
		Docs           map[string]any
	}
	look := func(e *Event) all {
		a := all{Line: e.Line, Time: e.Time, Whitelisted: e.Whitelisted, Fields: map[string]string{}}
		for i, p := range e.plain() {
			a.Texts[i] = *p
		}
		for name, slot := range slots {
			if e.Has(slot) {
				a.Fields[name] = e.Get(slot)
			}
		}
		a.DocA, a.DocB, a.No = e.Doc(slots["Unmarshaled.a"]), e.Doc(slots["Unmarshaled.b"]), e.Doc(slots["Unmarshaled.c"])
		a.Docs = e.Docs()
		return a
	}
	e, other := New(s), New(s)
	other.Set(slots["Parsed.c"], "left over")
	other.SetDoc(slots["Unmarshaled.c"], "left over")
	other.SetDocNamed("e", "left over")
	var c Copy
	fill(e)
	c.Take(e)
	copy(buf, "the line buffer holds another line")
	e.Reset(Line{})
	c.Take(e) // which a copy forgets like an event
	copy(buf, "raw src one two key val")
	fill(e)
	c.Take(e)
	copy(buf, "the line buffer holds another line")
	e.Reset(Line{Raw: "another"})
	c.Restore(other)
	got := look(other)
	copy(buf, "raw src one two key val")
	fill(e)
	if diff := cmp.Diff(look(e), got); diff != "" {
		t.Error(diff)
	}
}
