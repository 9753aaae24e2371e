package scenario

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"cs/pipeline/event"
)

// Save writes the live buckets, for Load in an engine that may have other content.
// Others may pour meanwhile.
func (s *Set) Save(w io.Writer) error {
	return s.table.Save(w, s.codec.appendNumbers(nil, s.details), s.identities())
}

// Load puts what Save wrote into a set that has not seen an event yet. The buckets
// of scenarios that are gone, or whose definition has changed, are left out, and so
// are those whose time was over before now. On an error, what was read before stays.
func (s *Set) Load(r io.Reader, now time.Time) error {
	return s.table.Load(r, s.identities(), now, func(preface []byte) (func([]byte) []byte, error) {
		m, err := s.codec.readNumbers(preface, s.details)
		if err != nil {
			return nil, err
		}
		return m.translate, nil
	})
}

// identities tell the documents from each other and from what they were before
// they were changed.
func (s *Set) identities() []string {
	ids := make([]string, len(s.scenarios))
	for i, sc := range s.scenarios {
		ids[i] = sc.digest
	}
	return ids
}

// digest is a hash of the name and of all in a definition that decides which
// events a bucket holds and what becomes of them.
func (d *document) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q %d %d %d %d %d %q %q %q %q %g %g",
		d.Name.Value, d.Type.Value, d.Filter.Value, d.GroupBy.Value, d.Distinct.Value, d.CancelOn.Value,
		d.Capacity, d.Leakspeed, d.Duration, d.Blackhole, d.CacheSize,
		d.Scope.Type.Value, d.Scope.Expression.Value, d.OverflowFilter.Value, d.Condition.Value, d.Prior, d.Threshold)
	for i := range d.Conditions {
		c := &d.Conditions[i]
		fmt.Fprintf(h, " %q %g %g %t", c.Condition.Value, c.Evil, c.Benign, c.Guillotine)
	}
	return string(h.Sum(nil)[:16])
}

// Numbers in records are those of one engine. recordVersion stands for those that
// have a fixed meaning; the others are saved with what they stand for:
//
//	number   recordVersion
//	number   of slots, and for each the number of its space and its name
//	number   of details, and for each its name and its expression
const recordVersion = 1

func (c *codec) appendNumbers(b []byte, details []detail) []byte {
	b = appendNumber(b, recordVersion)
	b = appendNumber(b, uint64(c.schema.Len()))
	for i := range c.schema.Len() {
		space, name := c.schema.Name(event.Slot(i))
		b = appendWhole(appendNumber(b, uint64(space)), name)
	}
	b = appendNumber(b, uint64(len(details)))
	for i := range details {
		b = appendWhole(appendWhole(b, details[i].name), details[i].text)
	}
	return b
}

func appendWhole(b []byte, text string) []byte {
	return append(appendNumber(b, uint64(len(text))), text...)
}

// wholeLen is how many bytes appendWhole appends.
func wholeLen(text string) int {
	n := 1 + len(text)
	for k := len(text); k >= 0x80; k >>= 7 {
		n++
	}
	return n
}

// cutWhole takes what appendWhole wrote off the front of s; nothing is left of what
// is damaged.
func cutWhole(s string) (text, rest string) {
	n := uint64(0)
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		n |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] >= 0x80 {
			continue
		}
		if s = s[i+1:]; n > uint64(len(s)) {
			break
		}
		return s[:n], s[n:]
	}
	return "", ""
}

// numbers leads from numbers of saved records to today's, by what they stand
// for; unknown is what nothing here has.
type numbers struct {
	slots, details []uint64
	buf            []byte
}

const unknown = ^uint64(0)

var errNumbers = errors.New("its events are written in a way that is unknown here")

func (c *codec) readNumbers(b []byte, details []detail) (*numbers, error) {
	p := reader{b}
	m := &numbers{}
	if version, ok := p.number(); !ok || version != recordVersion {
		return nil, errNumbers
	}
	n, ok := p.number()
	for ; ok && n > 0; n-- {
		var space uint64
		var name []byte
		if space, ok = p.number(); ok {
			name, ok = p.text()
		}
		to := unknown
		if space <= uint64(event.Unmarshaled) {
			if slot, known := c.schema.Adopt(event.Space(space), string(name)); known {
				to = uint64(firstSlot) + uint64(slot)
			}
		}
		m.slots = append(m.slots, to)
	}
	byText := map[[2]string]uint64{}
	for i := range details {
		byText[[2]string{details[i].name, details[i].text}] = firstContext + uint64(i)
	}
	if ok {
		n, ok = p.number()
	}
	for ; ok && n > 0; n-- {
		var name, text []byte
		if name, ok = p.text(); ok {
			text, ok = p.text()
		}
		to, known := byText[[2]string{string(name), string(text)}]
		if !known {
			to = unknown
		}
		m.details = append(m.details, to)
	}
	if !ok || len(p.rest) > 0 {
		return nil, errNumbers
	}
	return m, nil
}

// translate makes a saved record one of today's; nil if it is none. The result is
// valid until the next call.
func (m *numbers) translate(rec []byte) []byte {
	p := reader{rec}
	b := m.buf[:0]
	sources := false
	for len(p.rest) > 0 {
		number, ok := p.number()
		if !ok {
			return nil
		}
		text, ok := p.text()
		if !ok {
			return nil
		}
		switch {
		case number == isTime:
			if !isTimeText(text) {
				return nil
			}
		case number == isKey:
			sources = true
		case number > isKey && number < uint64(firstSlot):
			if !sources {
				return nil
			}
		case number >= firstPart:
			if number == isRead && !isTimeText(text) {
				return nil
			}
		case number >= firstContext && number-firstContext < uint64(len(m.details)):
			number = m.details[number-firstContext]
		case number >= uint64(firstSlot) && number-uint64(firstSlot) < uint64(len(m.slots)):
			number = m.slots[number-uint64(firstSlot)]
		case number >= uint64(firstSlot):
			return nil
		}
		if number != unknown {
			b = append(appendNumber(appendNumber(b, number), uint64(len(text))), text...)
		}
	}
	m.buf = b
	return b
}

// isTimeText tells whether a text is what appendTime makes.
func isTimeText(text []byte) bool {
	_, n := binary.Uvarint(text)
	if n <= 0 || n == len(text) {
		return n > 0
	}
	_, k := binary.Varint(text[n:])
	return n+k == len(text) && k > 0
}

// reader takes bytes apart that may be damaged.
type reader struct{ rest []byte }

func (p *reader) number() (uint64, bool) {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 {
		return 0, false
	}
	p.rest = p.rest[n:]
	return v, true
}

func (p *reader) text() ([]byte, bool) {
	n, ok := p.number()
	if !ok || n > uint64(len(p.rest)) {
		return nil, false
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text, true
}
