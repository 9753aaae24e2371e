package event

import (
	"maps"
	"math/bits"
	"strings"
	"time"
	"unsafe"
)

// Mode tells which clock buckets use for an event.
type Mode uint8

const (
	Live   Mode = iota // the wall clock: logs are followed as they grow
	Replay             // the time found in the log: a finished file is read
	// CatchUp is a line of a live log that was written while nobody read it. It goes
	// into the buckets of live events, at the time found in the log: what
	// took hours does not look like a burst because it is read in one go.
	CatchUp
)

// Line is what a source delivers. Raw and Src are valid until the next Reset
// of the event that carries them.
type Line struct {
	Raw    string
	Src    string            // path, unit, container: what the operator knows it by
	Module string            // kind of source: "file", "journalctl", …
	Labels map[string]string // of the acquisition, shared by all its lines; never written
	Time   time.Time         // when it was read; of CatchUp, when it was written at the latest
	Mode   Mode
}

// Event is a line and its fields. The zero value is not usable; see New.
// Not safe for concurrent use.
type Event struct {
	Line Line

	Time          time.Time
	StrTime       string // date text as found
	StrTimeFormat string // its Go layout, when content knows it
	MarshaledTime string // RFC 3339

	Whitelisted     bool
	WhitelistReason string

	schema *Schema
	vals   []string       // "" where there is none
	set    Slots          // those that hold a value of this line
	docs   []any          // Unmarshaled documents, by slot; nil until the first SetDoc
	held   []Slot         // the slots of docs that may hold one
	others map[string]any // documents under names that content doesn't mention
	lines  uint32
	arena  []byte
}

// New returns an event with room for every slot of the schema, which must not
// grow afterwards.
func New(s *Schema) *Event {
	n := s.Len()
	return &Event{
		schema: s,
		vals:   make([]string, n),
		set:    newSlots(n),
		arena:  make([]byte, 0, 4<<10),
	}
}

// Reset makes the event ready for another line. All values, and everything
// that was kept in the arena, become invalid.
func (e *Event) Reset(line Line) {
	e.lines++
	for w, word := range e.set { // not all of vals: there are thousands, and few are set
		for ; word != 0; word &= word - 1 {
			e.vals[w<<6|bits.TrailingZeros64(word)] = ""
		}
		e.set[w] = 0
	}
	if cap(e.arena) > maxArena {
		e.arena = make([]byte, 0, 4<<10) // one huge line must not pin its size for ever
	}
	e.arena = e.arena[:0]
	for _, i := range e.held { // not all of docs: there are thousands of slots
		e.docs[i] = nil
	}
	e.held = e.held[:0]
	if len(e.others) > 0 {
		e.others = nil
	}
	e.Line = line
	e.Time = time.Time{}
	e.StrTime, e.StrTimeFormat, e.MarshaledTime = "", "", ""
	e.Whitelisted, e.WhitelistReason = false, ""
}

// Release resets the event and lets go of the buffers that its old values are
// views of, so that an idle event keeps none of them alive.
func (e *Event) Release() {
	e.Reset(Line{})
}

// maxArena is what an arena may keep from one line to the next.
const maxArena = 1 << 20

// Schema returns the names of the event's slots.
func (e *Event) Schema() *Schema { return e.schema }

// Get returns the value of a slot, "" when it has none.
func (e *Event) Get(i Slot) string { return e.vals[i] }

// Lines counts the lines that the event has carried: while it stays the same,
// no value has become invalid.
func (e *Event) Lines() uint32 { return e.lines }

// Has tells whether a slot holds a value, which may be "".
func (e *Event) Has(i Slot) bool { return e.set.Has(i) }

// Set gives a slot a value. The text must live as long as the line: a view of
// it, a constant, or something kept with Keep.
func (e *Event) Set(i Slot, v string) {
	e.vals[i] = v
	e.set.Add(i)
}

// Among yields those of some slots that hold a value, in ascending order.
func (e *Event) Among(some Slots) func(yield func(Slot) bool) {
	return func(yield func(Slot) bool) {
		for w, word := range some {
			for word &= e.set[w]; word != 0; word &= word - 1 {
				if !yield(Slot(w<<6 | bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// Doc returns the document in a slot of the Unmarshaled space, nil when there
// is none.
func (e *Event) Doc(i Slot) any {
	if e.docs == nil {
		return nil
	}
	return e.docs[i]
}

// SetDoc puts a decoded document into a slot of the Unmarshaled space.
func (e *Event) SetDoc(i Slot, doc any) {
	if e.docs == nil {
		e.docs = make([]any, e.schema.Len())
	}
	if e.docs[i] == nil {
		e.held = append(e.held, i)
	}
	e.docs[i] = doc
}

// DocNamed is Doc for a name that is known at run time only. Content may not
// mention it.
func (e *Event) DocNamed(name string) any {
	if slot, ok := e.schema.Lookup(Unmarshaled, name); ok {
		return e.Doc(slot)
	}
	return e.others[name]
}

// SetDocNamed is SetDoc for a name that is known at run time only. What content
// doesn't mention is there for those who look at all documents.
func (e *Event) SetDocNamed(name string, doc any) {
	if slot, ok := e.schema.Lookup(Unmarshaled, name); ok {
		e.SetDoc(slot, doc)
		return
	}
	if e.others == nil {
		e.others = map[string]any{}
	}
	e.others[strings.Clone(name)] = doc
}

// Docs returns all decoded documents by name, in a map of its own; nil if there
// are none.
func (e *Event) Docs() map[string]any {
	if len(e.held)+len(e.others) == 0 {
		return nil
	}
	docs := make(map[string]any, len(e.held)+len(e.others))
	maps.Copy(docs, e.others)
	for _, i := range e.held {
		if doc := e.docs[i]; doc != nil {
			_, name := e.schema.Name(i)
			docs[name] = doc
		}
	}
	return docs
}

// Keep copies bytes into the event's arena and returns them as text that is
// valid until the next Reset.
func (e *Event) Keep(b []byte) string {
	n := len(e.arena)
	e.arena = append(e.arena, b...)
	return view(e.arena[n:])
}

// Concat joins texts in the arena. One non-empty part is returned as it is.
func (e *Event) Concat(a, b string) string {
	if a == "" {
		return b
	}
	if b == "" {
		return a
	}
	n := len(e.arena)
	e.arena = append(append(e.arena, a...), b...)
	return view(e.arena[n:])
}

// Build lends the free end of the arena: append to the slice it returns and
// give the result to Built. No other arena call may come between the two.
func (e *Event) Build() []byte { return e.arena[len(e.arena):] }

// Built takes back what Build lent and returns it as text that is valid until
// the next Reset.
func (e *Event) Built(b []byte) string {
	n := len(e.arena)
	if cap(b) > 0 && n < cap(e.arena) && &b[:1][0] == &e.arena[:n+1][n] {
		e.arena = e.arena[:n+len(b)] // still in place
		return view(b)
	}
	return e.Keep(b)
}

// view returns b as text without copying. An append that moves the arena
// leaves the old block to the views into it, so they stay valid.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
