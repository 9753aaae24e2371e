package api

import (
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// scanner reads the JSON that programs write, in a fraction of encoding/json's
// time: keys spelt as they should be and each once, texts without escapes, all
// that is required. At anything else it gives up, and encoding/json has the word:
// it knows what is an error and how upstream puts it. FuzzScanAlerts proves
// that both read the same where the scanner does not give up.
type scanner struct {
	text     string // the body; the texts that are read are parts of it
	at       int
	elements int  // objects, arrays and further array elements so far
	lost     bool // it has given up
	misled   bool // an array was much shorter than the rest of the text
	answer   bool // it is a server's, which may say null of events; nobody may send that
}

// field is a member of an object that becomes a T.
type field[T any] struct {
	name string
	read func(*scanner, *T)
}

// shape is the members of an object, the required ones first.
type shape[T any] struct {
	required int
	fields   []field[T]
}

// scanAlerts reads an array of alerts, unless it has to give up. They share the
// memory of the body: a copy of 50 MiB would be one too many.
func scanAlerts(body []byte) ([]Alert, bool) {
	s := scanner{text: unsafe.String(unsafe.SliceData(body), len(body))}
	out := array(&s, &alertShape)
	return out, !s.lost && s.elements <= maxElements && len(out) <= maxAlerts
}

var alertShape = shape[Alert]{12, []field[Alert]{
	{"capacity", func(s *scanner, a *Alert) { a.Capacity = int32(s.number(32)) }},
	{"events", func(s *scanner, a *Alert) {
		if !s.answer || !s.word("null") {
			a.Events = someOf(array(s, &eventShape))
		}
	}},
	{"events_count", func(s *scanner, a *Alert) { a.EventsCount = int32(s.number(32)) }},
	{"leakspeed", func(s *scanner, a *Alert) { a.Leakspeed = s.string() }},
	{"message", func(s *scanner, a *Alert) { a.Message = s.string() }},
	{"scenario", func(s *scanner, a *Alert) { a.Scenario = s.string() }},
	{"scenario_hash", func(s *scanner, a *Alert) { a.ScenarioHash = s.string() }},
	{"scenario_version", func(s *scanner, a *Alert) { a.ScenarioVersion = s.string() }},
	{"simulated", func(s *scanner, a *Alert) { a.Simulated = s.bool() }},
	{"source", func(s *scanner, a *Alert) { object(s, &sourceShape, &a.Source) }},
	{"start_at", func(s *scanner, a *Alert) { a.StartAt = s.string() }},
	{"stop_at", func(s *scanner, a *Alert) { a.StopAt = s.string() }},
	{"created_at", func(s *scanner, a *Alert) { a.CreatedAt = s.string() }},
	{"decisions", func(s *scanner, a *Alert) {
		if !s.word("null") {
			a.Decisions = someOf(array(s, &decisionShape))
		}
	}},
	{"id", func(s *scanner, a *Alert) { a.ID = s.number(64) }},
	{"kind", func(s *scanner, a *Alert) { a.Kind = s.string() }},
	{"labels", func(s *scanner, _ *Alert) { s.lost = !s.word("null") || s.lost }},
	{"machine_id", func(s *scanner, a *Alert) { a.MachineID = s.string() }},
	{"meta", func(s *scanner, a *Alert) {
		if !s.word("null") {
			a.Meta = array(s, &metaShape)
		}
	}},
	{"remediation", func(s *scanner, a *Alert) { a.Remediation = s.bool() }},
	{"uuid", func(s *scanner, a *Alert) { a.UUID = s.string() }},
}}

var sourceShape = shape[Source]{2, []field[Source]{
	{"scope", func(s *scanner, v *Source) { v.Scope = s.string() }},
	{"value", func(s *scanner, v *Source) { v.Value = s.string() }},
	{"as_name", func(s *scanner, v *Source) { v.ASName = s.string() }},
	{"as_number", func(s *scanner, v *Source) { v.ASNumber = s.string() }},
	{"cn", func(s *scanner, v *Source) { v.Country = s.string() }},
	{"ip", func(s *scanner, v *Source) { v.IP = s.string() }},
	{"latitude", func(s *scanner, v *Source) { v.Latitude = s.float() }},
	{"longitude", func(s *scanner, v *Source) { v.Longitude = s.float() }},
	{"range", func(s *scanner, v *Source) { v.Range = s.string() }},
}}

var eventShape = shape[Event]{2, []field[Event]{
	{"meta", func(s *scanner, e *Event) { e.Meta = array(s, &metaShape) }},
	{"timestamp", func(s *scanner, e *Event) { e.Timestamp = s.string() }},
}}

var metaShape = shape[Meta]{0, []field[Meta]{
	{"key", func(s *scanner, m *Meta) { m.Key = s.string() }},
	{"value", func(s *scanner, m *Meta) { m.Value = s.string() }},
}}

var decisionShape = shape[Decision]{6, []field[Decision]{
	{"duration", func(s *scanner, d *Decision) { d.Duration = s.string() }},
	{"origin", func(s *scanner, d *Decision) { d.Origin = s.string() }},
	{"scenario", func(s *scanner, d *Decision) { d.Scenario = s.string() }},
	{"scope", func(s *scanner, d *Decision) { d.Scope = s.string() }},
	{"type", func(s *scanner, d *Decision) { d.Type = s.string() }},
	{"value", func(s *scanner, d *Decision) { d.Value = s.string() }},
	{"id", func(s *scanner, d *Decision) { d.ID = s.number(64) }},
	{"simulated", func(s *scanner, d *Decision) { d.Simulated = s.bool() }},
	{"until", func(s *scanner, d *Decision) { d.Until = s.string() }},
	{"uuid", func(s *scanner, d *Decision) { d.UUID = s.string() }},
}}

// someOf returns nil for an empty list, as DecodeAlerts does.
func someOf[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// array reads an array of objects; it is empty, not nil, when it holds none.
func array[T any](s *scanner, sh *shape[T]) []T {
	out := []T{}
	s.elements++
	if !s.mark('[') || s.next() == ']' {
		s.mark(']')
		return out
	}
	for start := s.at; ; {
		if len(out) == cap(out) {
			out = slices.Grow(out, s.further(len(out), start))
		}
		out = append(out, *new(T))
		if object(s, sh, &out[len(out)-1]); s.lost || s.elements > maxElements {
			return out
		}
		if s.next() != ',' {
			s.mark(']')
			return fitted(s, out)
		}
		s.at++
		s.elements++
	}
}

// fitted returns an array without the room that it has for far more elements. One such
// array is a wrong guess; thousands of them, the events of one large alert, would take
// all memory there is.
func fitted[T any](s *scanner, out []T) []T {
	const little = 64
	if cap(out) <= little || len(out) >= cap(out)/4 {
		return out
	}
	s.misled = true
	return slices.Clone(out)
}

// further is for how many more elements an array needs room of which n have
// been read since start: a few, or as many as there can be in the rest of the
// text if they are as long as those. Where that has been wrong, it is as many again.
func (s *scanner) further(n, start int) int {
	const few = 8
	switch {
	case n < few:
		return few
	case s.misled:
		return n
	}
	return max(n, min((len(s.text)-s.at)*n/(s.at-start), maxElements-s.elements)) + 1
}

// object reads an object.
func object[T any](s *scanner, sh *shape[T], v *T) {
	s.elements++
	s.mark('{')
	var seen uint32
	for i := 0; !s.lost; s.at++ {
		if seen == 0 && s.next() == '}' {
			break
		}
		name := s.string()
		if i++; i >= len(sh.fields) || sh.fields[i].name != name { // mostly they come in our order
			i = 0
			for i < len(sh.fields) && sh.fields[i].name != name {
				i++
			}
		}
		if i == len(sh.fields) || seen&(1<<i) != 0 || !s.mark(':') {
			s.lost = true
			return
		}
		seen |= 1 << i
		sh.fields[i].read(s, v)
		if s.next() != ',' {
			break
		}
	}
	s.mark('}')
	if all := uint32(1)<<sh.required - 1; seen&all != all {
		s.lost = true
	}
}

// next returns the next character that is no space, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
	}
	return 0
}

// mark steps over a character, and gives up if another one is there.
func (s *scanner) mark(c byte) bool {
	if s.lost || s.next() != c {
		s.lost = true
		return false
	}
	s.at++
	return true
}

// word steps over a literal if it is there.
func (s *scanner) word(w string) bool {
	if s.next(); len(s.text)-s.at < len(w) || s.text[s.at:s.at+len(w)] != w {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) bool() bool {
	if s.word("true") {
		return true
	}
	s.lost = s.lost || !s.word("false")
	return false
}

// string reads a text without escapes.
func (s *scanner) string() string {
	if !s.mark('"') {
		return ""
	}
	start, ascii := s.at, true
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			text := s.text[start:s.at]
			s.at++
			s.lost = !ascii && !utf8.ValidString(text) || s.lost
			return text
		case c == '\\' || c < ' ':
			s.lost = true
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.lost = true
	return ""
}

// digits returns the number that is next, as a text that JSON allows.
func (s *scanner) digits() string {
	s.next()
	start := s.at
	for s.at < len(s.text) {
		if c := s.text[s.at]; (c < '0' || c > '9') && c != '-' && c != '.' {
			break // an exponent too: encoding/json may have that
		}
		s.at++
	}
	text := s.text[start:s.at]
	whole := text
	if len(whole) > 0 && whole[0] == '-' {
		whole = whole[1:]
	}
	if len(whole) == 0 || whole[0] == '.' || whole[len(whole)-1] == '.' || len(whole) > 1 && whole[0] == '0' && whole[1] != '.' {
		s.lost = true
	}
	return text
}

func (s *scanner) number(bits int) int64 {
	n, err := strconv.ParseInt(s.digits(), 10, bits)
	s.lost = err != nil || s.lost
	return n
}

func (s *scanner) float() float32 {
	f, err := strconv.ParseFloat(s.digits(), 32)
	s.lost = err != nil || s.lost
	return float32(f)
}
