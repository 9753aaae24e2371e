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
// read-only afterwards, when several workers share it.
type Schema struct {
	ids   [numSpaces]map[string]Slot
	names []name
}

type name struct {
	space Space
	text  string
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
	s.names = append(s.names, name{space, text})
	return id, nil
}

// Lookup finds the slot of a field that content may or may not mention.
func (s *Schema) Lookup(space Space, text string) (Slot, bool) {
	id, ok := s.ids[space][text]
	return id, ok
}

// Name returns the space and the name of a slot.
func (s *Schema) Name(id Slot) (Space, string) { return s.names[id].space, s.names[id].text }

// Len returns the number of slots.
func (s *Schema) Len() int { return len(s.names) }

// Sorted returns the slots of a space in the order of their names: the order
// in which alerts list their metas.
func (s *Schema) Sorted(space Space) []Slot {
	out := make([]Slot, 0, len(s.ids[space]))
	for _, id := range s.ids[space] {
		out = append(out, id)
	}
	sort.Slice(out, func(i, j int) bool { return s.names[out[i]].text < s.names[out[j]].text })
	return out
}
