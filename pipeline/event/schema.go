// Package event is one log line on its way through the pipeline: the raw
// text, and the fields that parsers found in it.
//
// Fields are slots, not map keys: a Schema turns every field name that
// content mentions into a number while it loads, and at run time a field is
// an index. Values are views of the line buffer, of constants or of the
// event's own arena, so parsing a line allocates nothing. An Event belongs to
// one worker and is reused for every line.
package event

import (
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Space is one of the name spaces of an event's fields.
type Space uint8

const (
	Parsed      Space = iota // what grok found
	Meta                     // what reaches the alert
	Enriched                 // what enrichment methods returned
	Unmarshaled              // decoded documents (JSON, XML, key=value)
	numSpaces
)

// String returns the name that expressions use after "evt.".
func (s Space) String() string {
	return [...]string{"Parsed", "Meta", "Enriched", "Unmarshaled"}[s]
}

// Slot is the number of a field, unique over all spaces of one Schema.
type Slot uint16

// maxSlots bounds the memory of an event (16 bytes a slot). The whole public
// hub needs about 2,500.
const maxSlots = 1 << 14

// Schema gives field names their slots. It grows while content loads and is
// read-only afterwards, when several workers share it, but for the names that
// expressions make up at run time: they get slots that were reserved.
type Schema struct {
	ids   [numSpaces]map[string]Slot
	names []name

	late struct {
		mu    sync.RWMutex
		spare [numSpaces][]Slot
		ids   [numSpaces]map[string]Slot
		names map[Slot]string
	}
	reserved [numSpaces]bool
}

// maxLate bounds the names of a space that are made up at run time.
const maxLate = 32

type name struct {
	space Space
	text  string
	late  bool // the text is in Schema.late
}

// NewSchema returns an empty schema.
func NewSchema() *Schema {
	s := &Schema{}
	for i := range s.ids {
		s.ids[i] = make(map[string]Slot)
	}
	return s
}

// Intern returns the slot of a field, making it when the name is new.
func (s *Schema) Intern(space Space, text string) (Slot, error) {
	if id, ok := s.ids[space][text]; ok {
		return id, nil
	}
	if len(s.names) >= maxSlots {
		return 0, fmt.Errorf("cannot add field evt.%s.%s: content uses more than %d fields", space, text, maxSlots)
	}
	id := Slot(len(s.names))
	s.ids[space][text] = id
	s.names = append(s.names, name{space: space, text: text})
	return id, nil
}

// Reserve makes room for names of a space that only come up at run time.
func (s *Schema) Reserve(space Space) error {
	if s.reserved[space] {
		return nil
	}
	if len(s.names)+maxLate > maxSlots {
		return fmt.Errorf("cannot reserve fields evt.%s: content uses more than %d fields", space, maxSlots)
	}
	s.reserved[space] = true
	s.late.ids[space], s.late.names = make(map[string]Slot), make(map[Slot]string)
	for range maxLate {
		s.late.spare[space] = append(s.late.spare[space], Slot(len(s.names)))
		s.names = append(s.names, name{space: space, late: true})
	}
	return nil
}

// Adopt is Lookup for a field that is set: a name that is new gets a slot if the
// space has one left that was reserved.
func (s *Schema) Adopt(space Space, text string) (Slot, bool) {
	if id, ok := s.Lookup(space, text); ok || !s.reserved[space] {
		return id, ok
	}
	l := &s.late
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, ok := l.ids[space][text]; ok {
		return id, true
	}
	if len(l.spare[space]) == 0 {
		return 0, false
	}
	id := l.spare[space][0]
	l.spare[space] = l.spare[space][1:]
	text = strings.Clone(text)
	l.ids[space][text], l.names[id] = id, text
	return id, true
}

// Lookup finds the slot of a field that content may or may not mention.
func (s *Schema) Lookup(space Space, text string) (Slot, bool) {
	id, ok := s.ids[space][text]
	if !ok && s.reserved[space] {
		s.late.mu.RLock()
		defer s.late.mu.RUnlock()
		id, ok = s.late.ids[space][text]
	}
	return id, ok
}

// Name returns the space and the name of a slot.
func (s *Schema) Name(id Slot) (Space, string) {
	n := &s.names[id]
	if !n.late {
		return n.space, n.text
	}
	s.late.mu.RLock()
	defer s.late.mu.RUnlock()
	return n.space, s.late.names[id]
}

// Len returns the number of slots.
func (s *Schema) Len() int { return len(s.names) }

// Sorted returns the slots of a space in the order of their names: the order
// in which alerts list their metas.
func (s *Schema) Sorted(space Space) []Slot {
	type named struct {
		id   Slot
		text string
	}
	all := make([]named, 0, len(s.ids[space]))
	for text, id := range s.ids[space] {
		all = append(all, named{id, text})
	}
	if s.reserved[space] {
		s.late.mu.RLock()
		for text, id := range s.late.ids[space] {
			all = append(all, named{id, text})
		}
		s.late.mu.RUnlock()
	}
	sort.Slice(all, func(i, j int) bool { return all[i].text < all[j].text })
	out := make([]Slot, len(all))
	for i, n := range all {
		out[i] = n.id
	}
	return out
}
