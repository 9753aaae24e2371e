package event

import (
	"strings"
	"time"
)

// Copy is an event that was put aside, with its texts. The zero value is ready;
// it keeps its memory from one event to the next.
type Copy struct {
	line        Line
	time        time.Time
	texts       [numPlain]string // of the fields outside the spaces
	whitelisted bool

	slots  []Slot
	values []string
	held   []Slot // the slots of docs
	docs   []any
	others map[string]any
	arena  []byte
}

// maxCopy is what a Copy keeps of its texts from one event to the next.
const maxCopy = 64 << 10

const numPlain = 7

// plain returns the texts that are in no space.
func (e *Event) plain() [numPlain]*string {
	l := &e.Line
	return [...]*string{&l.Raw, &l.Src, &l.Module, &e.StrTime, &e.StrTimeFormat, &e.MarshaledTime, &e.WhitelistReason}
}

// Take makes c a copy of an event.
func (c *Copy) Take(e *Event) {
	c.line, c.time, c.whitelisted = e.Line, e.Time, e.Whitelisted
	if c.arena = c.arena[:0]; cap(c.arena) > maxCopy {
		c.arena = nil
	}
	for i, text := range e.plain() {
		c.texts[i] = c.keep(*text)
	}
	c.slots, c.values = c.slots[:0], c.values[:0]
	for slot := range e.Among(e.set) {
		c.slots, c.values = append(c.slots, slot), append(c.values, c.keep(e.vals[slot]))
	}
	c.held = append(c.held[:0], e.held...)
	clear(c.docs)
	c.docs = c.docs[:0]
	for _, slot := range e.held {
		c.docs = append(c.docs, cloneDoc(e.docs[slot]))
	}
	c.others = nil
	if len(e.others) > 0 {
		c.others, _ = cloneDoc(e.others).(map[string]any)
	}
}

func (c *Copy) keep(s string) string {
	n := len(c.arena)
	c.arena = append(c.arena, s...)
	return view(c.arena[n:])
}

// Restore makes an event what was put aside. It uses the texts of c, so they
// must not change before the event's next Reset.
func (c *Copy) Restore(e *Event) {
	e.Reset(c.line)
	e.Time, e.Whitelisted = c.time, c.whitelisted
	for i, text := range e.plain() {
		*text = c.texts[i]
	}
	for i, slot := range c.slots {
		e.Set(slot, c.values[i])
	}
	for i, slot := range c.held {
		e.SetDoc(slot, c.docs[i])
	}
	e.others = c.others
}

// cloneDoc copies a document, whose texts may be views of the line.
func cloneDoc(doc any) any {
	switch d := doc.(type) {
	case string:
		return strings.Clone(d)
	case map[string]string:
		out := make(map[string]string, len(d))
		for k, v := range d {
			out[strings.Clone(k)] = strings.Clone(v)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(d))
		for k, v := range d {
			out[strings.Clone(k)] = cloneDoc(v)
		}
		return out
	case []any:
		out := make([]any, len(d))
		for i, v := range d {
			out[i] = cloneDoc(v)
		}
		return out
	}
	return doc // nil, a number, a boolean
}
