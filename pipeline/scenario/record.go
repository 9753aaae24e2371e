package scenario

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cs/decisions"
	"cs/pipeline/event"
)

// maxKeptText bounds a text that is kept with a bucket, in bytes. Longer ones
// are cut: a line of a megabyte must not fill an alert.
const maxKeptText = 8 << 10

// codec turns an event into the record that a bucket keeps and the record
// into what an alert needs.
//
// A record is a sequence of number, length and bytes. Numbers are slots plus
// firstSlot; the smaller ones are below.
type codec struct {
	schema  *event.Schema
	fields  []field      // of the source, outside the metas
	details []event.Slot // outside the metas, kept for contexts

	kept event.Slots // the metas, fields and details

	sourceIP, sourceRange event.Slot
}

const (
	isTimestamp = iota
	isScopeValue
	isTime
	isGroup
	isOverflow // an empty text: the event is one
	isKey      // begins a source of the overflow; the following belong to it
	isLatitude
	isLongitude
	isSourceText
	firstSlot = isSourceText + len(sourceTexts)

	// firstContext is above all slots: values of the details of contexts.
	firstContext = 1 << 17

	// firstPart is above these: parts of the event outside its fields, see parts.
	firstPart = 1 << 18
)

// sourceTexts are the parts of a source, by number above isSourceText.
var sourceTexts = [7]func(*decisions.Source) *string{
	func(s *decisions.Source) *string { return &s.Scope },
	func(s *decisions.Source) *string { return &s.Value },
	func(s *decisions.Source) *string { return &s.IP },
	func(s *decisions.Source) *string { return &s.Range },
	func(s *decisions.Source) *string { return &s.ASNumber },
	func(s *decisions.Source) *string { return &s.ASName },
	func(s *decisions.Source) *string { return &s.Country },
}

// field is a part of decisions.Source that an enrichment found.
type field struct {
	slot event.Slot
	set  func(*decisions.Source, string)
}

func newCodec(s *event.Schema) (codec, error) {
	c := codec{schema: s}
	for name, set := range map[string]func(*decisions.Source, string){
		"ASNumber":  func(s *decisions.Source, v string) { s.ASNumber = v },
		"ASNNumber": func(s *decisions.Source, v string) { s.ASNumber = v },
		"ASNOrg":    func(s *decisions.Source, v string) { s.ASName = v },
		"IsoCode":   func(s *decisions.Source, v string) { s.Country = v },
		"Latitude":  func(s *decisions.Source, v string) { s.Latitude = degrees(v) },
		"Longitude": func(s *decisions.Source, v string) { s.Longitude = degrees(v) },
	} {
		slot, err := s.Intern(event.Enriched, name)
		if err != nil {
			return c, err
		}
		c.fields = append(c.fields, field{slot, set})
	}
	var err error
	if c.sourceIP, err = s.Intern(event.Meta, "source_ip"); err != nil {
		return c, err
	}
	if c.sourceRange, err = s.Intern(event.Meta, "SourceRange"); err != nil {
		return c, err
	}
	return c, nil
}

// seal takes note of all fields once the schema is complete.
func (c *codec) seal() {
	c.kept = c.schema.Of(event.Meta)
	for i := range c.fields {
		c.kept.Add(c.fields[i].slot)
	}
	for _, s := range c.details {
		c.kept.Add(s)
	}
}

func (c *codec) appendEvent(b []byte, e *event.Event) []byte {
	if e.MarshaledTime != "" {
		b = appendText(b, isTimestamp, e.MarshaledTime)
	} else {
		b = appendNumber(b, isTimestamp)
		n := len(b)
		b = append(b, 0) // the length fits one byte
		b = e.Time.UTC().AppendFormat(b, timestampLayout)
		b[n] = byte(len(b) - n - 1)
	}
	for s := range e.Among(c.kept) {
		b = appendText(b, uint64(firstSlot)+uint64(s), e.Get(s))
	}
	return b
}

const timestampLayout = "2006-01-02T15:04:05.999999999Z07:00"

func (c *codec) appendScopeValue(b []byte, v string) []byte { return appendText(b, isScopeValue, v) }

func appendNumber(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func appendText(b []byte, number uint64, text string) []byte {
	if len(text) > maxKeptText {
		text = text[:maxKeptText]
		for i := 0; i < utf8.UTFMax-1 && !utf8.RuneStart(text[len(text)-1]); i++ {
			text = text[:len(text)-1]
		}
		text = text[:len(text)-1]
	}
	if n := len(text); n < 1<<7 && number >= 1<<7 && number < 1<<14 { // as nearly all
		b = append(b, byte(number)|0x80, byte(number>>7), byte(n))
	} else {
		b = appendNumber(b, number)
		b = appendNumber(b, uint64(n))
	}
	return append(b, text...)
}

// kept is a record read back, beside its metas.
type kept struct {
	timestamp  string
	source     decisions.Source // IP and Range as the metas say, scope and value empty
	scopeValue string
	hasValue   bool // the scope expression gave a value
	overflow   bool // the event was an overflow, of
	sources    []keyed
}

func (k *kept) reset() { *k = kept{sources: k.sources[:0]} }

// keyed is a source of an overflow with what tells it from the others.
type keyed struct {
	key    string
	source decisions.Source
}

// appendOverflow appends what an overflow that became an event is about.
func (c *codec) appendOverflow(b []byte, o *Overflow) []byte {
	b = appendText(b, isOverflow, "")
	for i := range o.Alerts {
		src := &o.Alerts[i].Source
		b = appendText(b, isKey, o.Keys[i])
		for j, text := range sourceTexts {
			b = appendText(b, isSourceText+uint64(j), *text(src))
		}
		b = appendText(b, isLatitude, strconv.FormatFloat(float64(src.Latitude), 'g', -1, 32))
		b = appendText(b, isLongitude, strconv.FormatFloat(float64(src.Longitude), 'g', -1, 32))
	}
	return b
}

// readSource takes what appendOverflow wrote.
func (k *kept) readSource(number uint64, text string) {
	if number == isKey {
		k.sources = append(k.sources, keyed{key: text})
		return
	}
	src := &k.sources[len(k.sources)-1].source
	switch number {
	case isLatitude:
		src.Latitude = degrees(text)
	case isLongitude:
		src.Longitude = degrees(text)
	default:
		*sourceTexts[number-isSourceText](src) = text
	}
}

// read reads a record for an alert and appends its metas by their names. k is empty.
func (c *codec) read(k *kept, record string, metas []decisions.KeyValue) []decisions.KeyValue {
	from := len(metas)
	for rest := record; len(rest) > 0; {
		var number, n uint64
		number, rest = uvarint(rest)
		n, rest = uvarint(rest)
		text := rest[:n]
		rest = rest[n:]
		switch number {
		case isTimestamp:
			k.timestamp = clean(text) // content may take any text for it
			continue
		case isScopeValue:
			k.scopeValue, k.hasValue = text, true
			continue
		case isTime, isGroup:
			continue
		case isOverflow:
			k.overflow = true
			continue
		}
		if number < uint64(firstSlot) {
			k.readSource(number, text)
			continue
		}
		if number >= firstContext {
			continue
		}
		slot := event.Slot(number - uint64(firstSlot))
		if space, name := c.schema.Name(slot); space == event.Meta {
			metas = append(metas, decisions.KeyValue{Key: name, Value: clean(text)})
			switch slot {
			case c.sourceIP:
				k.source.IP = text
			case c.sourceRange:
				k.source.Range = text
			}
			continue
		}
		for i := range c.fields {
			if c.fields[i].slot == slot {
				c.fields[i].set(&k.source, text)
			}
		}
	}
	slices.SortFunc(metas[from:], func(a, b decisions.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return metas
}

// each takes a record apart.
func (c *codec) each(record string, f func(number uint64, text string)) {
	for rest := record; len(rest) > 0; {
		var number, n uint64
		number, rest = uvarint(rest)
		n, rest = uvarint(rest)
		f(number, rest[:n])
		rest = rest[n:]
	}
}

// uvarint reads a number from the front of s, which appendNumber wrote.
func uvarint(s string) (uint64, string) {
	var n uint64
	for i := 0; ; i++ {
		n |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return n, s[i+1:]
		}
	}
}

// clean makes a text from a log fit for JSON and databases: other bytes than
// UTF-8 become U+FFFD, and NULs go, which some databases refuse.
func clean(s string) string {
	for i := range len(s) {
		if s[i]-1 >= utf8.RuneSelf-1 {
			return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
		}
	}
	return s
}
