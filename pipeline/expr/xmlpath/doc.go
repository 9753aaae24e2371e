// Package xmlpath finds a text in a small XML document by a path, as content
// does with the events of Windows: /Event/EventData[1]/Data[@Name='Image'].
//
// A Doc is read in one pass into tables that the next document uses again, and
// texts are views of the document, so that reading an event allocates nothing.
// Documents come from the network: their size, depth and number of elements
// are bounded, and a document with a declaration of types (where entities are
// declared) is refused. It is not a validating reader, and namespaces are
// prefixes, nothing more. Only pipeline/expr uses it.
package xmlpath

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a document. What exceeds them is refused as a whole.
const (
	MaxSize     = 1 << 20 // bytes
	MaxElements = 1 << 13
	MaxAttrs    = 1 << 13
	MaxDepth    = 256
)

// Element is a place in a Doc. The zero Element is the document itself, whose
// children are the elements without a parent.
type Element int32

// Doc is a document. The zero value is empty and ready for Parse. It is not
// safe for concurrent use.
type Doc struct {
	elements []element
	attrs    []attr
	steps    []step // of a search
	found    []Element
	scratch  []byte
	cost     int // of a search so far
}

type element struct {
	name         name
	text         Value
	parent       Element
	child, next  Element // the first child, the next sibling: 0 for none
	last         Element // child
	attrs, nattr int32
}

type attr struct {
	name  name
	value Value
}

// name is a qualified name. Without a prefix it stands for any when it is
// looked for.
type name struct{ space, local string }

func (n name) is(want name) bool {
	return n.local == want.local && (want.space == "" || want.space == n.space)
}

// qualified takes a prefix off. ok is false for what has two colons.
func qualified(s string) (n name, ok bool) {
	space, local, found := strings.Cut(s, ":")
	if !found || space == "" || local == "" {
		return name{"", s}, strings.Count(s, ":") < 2
	}
	return name{space, local}, strings.IndexByte(local, ':') < 0
}

// Value is a text as the document has it.
type Value struct {
	raw     string
	encoded bool // there is something to decode
}

// Plain returns the text if it stands in the document as it is.
func (v Value) Plain() (text string, ok bool) { return v.raw, !v.encoded }

// AppendTo appends the text.
func (v Value) AppendTo(b []byte) []byte {
	if !v.encoded {
		return append(b, v.raw...)
	}
	for s := v.raw; s != ""; {
		i := strings.IndexAny(s, "&\r<")
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		s = s[i:]
		switch {
		case s[0] == '\r':
			b = append(b, '\n')
			s = strings.TrimPrefix(s[1:], "\n")
		case s[0] == '&':
			r, n, _ := entity(s)
			b = utf8.AppendRune(b, r)
			s = s[n:]
		case strings.HasPrefix(s, cdata):
			s = s[len(cdata):]
			end := strings.Index(s, "]]>")
			b = appendLines(b, s[:end])
			s = s[end+len("]]>"):]
		default: // a comment
			s = s[strings.Index(s, "-->")+len("-->"):]
		}
	}
	return b
}

// appendLines appends a text whose only mark-up is the end of its lines.
func appendLines(b []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, '\r')
		if i < 0 {
			return append(b, s...)
		}
		b = append(append(b, s[:i]...), '\n')
		s = strings.TrimPrefix(s[i+1:], "\n")
	}
}

const cdata = "<![CDATA["

// Text returns the character data right behind the start of an element, up to
// the first element inside it.
func (d *Doc) Text(e Element) Value { return d.elements[e].text }

// Attr returns an attribute of an element. A name without a prefix finds it
// with any.
func (d *Doc) Attr(e Element, key string) (v Value, ok bool) {
	n, _ := qualified(key)
	return d.attr(e, n)
}

func (d *Doc) attr(e Element, n name) (v Value, ok bool) {
	el := &d.elements[e]
	for _, a := range d.attrs[el.attrs : el.attrs+el.nattr] {
		if a.name.is(n) {
			return a.value, true
		}
	}
	return Value{}, false
}

var (
	errTooLarge = errors.New("the document is too large")
	errTooDeep  = errors.New("the elements are nested too deep")
	errTooMany  = errors.New("there are too many elements or attributes")
)

// Parse reads a document, whose text must stay valid while the Doc is used.
// Text around the elements is tolerated. After an error the Doc is empty.
func (d *Doc) Parse(s string) error {
	d.reset()
	if len(s) > MaxSize {
		return fmt.Errorf("cannot read XML: %w", errTooLarge)
	}
	r := reader{doc: d, s: s}
	if err := r.run(); err != nil {
		d.reset()
		return fmt.Errorf("cannot read XML: %w at byte %d", err, r.i)
	}
	return nil
}

func (d *Doc) reset() {
	if cap(d.elements) > maxKept || cap(d.attrs) > maxKept || cap(d.steps) > maxKept || cap(d.found) > maxKept || cap(d.scratch) > 64*maxKept {
		*d = Doc{} // one huge document must not pin its size for ever
	}
	d.elements = append(d.elements[:0], element{})
	d.attrs = d.attrs[:0]
}

// maxKept bounds each table from one document to the next.
const maxKept = 1 << 10

// reader is the position of Parse.
type reader struct {
	doc   *Doc
	s     string
	i     int
	top   Element
	depth int
	text  bool // what comes belongs to the text of top
}

var (
	errEnd      = errors.New("unexpected end")
	errMarkup   = errors.New("bad mark-up")
	errName     = errors.New("bad name")
	errMismatch = errors.New("end of an element that is not open")
	errChar     = errors.New("bad character")
	errEntity   = errors.New("unknown entity")
	errDTD      = errors.New("declarations are not supported")
)

func (r *reader) run() error {
	for r.i < len(r.s) {
		rest := r.s[r.i:]
		var err error
		start := r.i
		switch {
		case rest[0] != '<':
			end := strings.IndexByte(rest, '<')
			if end < 0 {
				end = len(rest)
			}
			r.i += end
			var encoded bool
			if encoded, err = check(rest[:end], true); err == nil {
				r.grow(start, encoded)
			}
		case strings.HasPrefix(rest, cdata):
			end := strings.Index(rest[len(cdata):], "]]>")
			if end < 0 {
				return errEnd
			}
			r.i += len(cdata) + end + len("]]>")
			if err = checkRunes(rest[len(cdata) : len(cdata)+end]); err == nil {
				r.grow(start, true)
			}
		case strings.HasPrefix(rest, "<!--"):
			end := strings.Index(rest[len("<!--"):], "--")
			if end < 0 {
				return errEnd
			}
			r.i += len("<!--") + end + len("-->")
			if r.i > len(r.s) || r.s[r.i-1] != '>' {
				return errMarkup
			}
			r.grow(start, true)
		case strings.HasPrefix(rest, "<!"):
			return errDTD
		case strings.HasPrefix(rest, "<?"):
			err = r.instruction()
			r.text = false
		case strings.HasPrefix(rest, "</"):
			err = r.end()
		default:
			err = r.start()
		}
		if err != nil {
			return err
		}
	}
	if r.top != 0 {
		return errEnd
	}
	return nil
}

// grow adds what was read since start to the text of the open element.
func (r *reader) grow(start int, encoded bool) {
	if !r.text {
		return
	}
	t := &r.doc.elements[r.top].text
	t.raw = r.s[start-len(t.raw) : r.i] // all of it is side by side
	t.encoded = t.encoded || encoded
}

func (r *reader) instruction() error {
	r.i += len("<?")
	if _, err := r.name(); err != nil {
		return err
	}
	end := strings.Index(r.s[r.i:], "?>")
	if end < 0 {
		return errEnd
	}
	r.i += end + len("?>")
	return nil
}

func (r *reader) start() error {
	r.i++
	n, err := r.name()
	if err != nil {
		return err
	}
	d := r.doc
	if len(d.elements) > MaxElements {
		return errTooMany
	}
	if r.depth++; r.depth > MaxDepth {
		return errTooDeep
	}
	e := Element(len(d.elements))
	d.elements = append(d.elements, element{name: n, parent: r.top, attrs: int32(len(d.attrs))})
	if up := &d.elements[r.top]; up.child == 0 {
		up.child, up.last = e, e
	} else {
		d.elements[up.last].next = e
		up.last = e
	}
	r.top, r.text = e, true
	for {
		r.blanks()
		if r.i >= len(r.s) {
			return errEnd
		}
		switch r.s[r.i] {
		case '>':
			r.i++
			return nil
		case '/':
			if r.i++; r.i >= len(r.s) || r.s[r.i] != '>' {
				return errMarkup
			}
			r.i++
			r.close()
			return nil
		}
		if err := r.attr(e); err != nil {
			return err
		}
	}
}

func (r *reader) attr(e Element) error {
	n, err := r.name()
	if err != nil {
		return err
	}
	r.blanks()
	if r.i >= len(r.s) || r.s[r.i] != '=' {
		return errMarkup
	}
	r.i++
	r.blanks()
	if r.i >= len(r.s) || r.s[r.i] != '"' && r.s[r.i] != '\'' {
		return errMarkup
	}
	quote := r.s[r.i]
	r.i++
	size := strings.IndexByte(r.s[r.i:], quote)
	if size < 0 {
		return errEnd
	}
	raw := r.s[r.i : r.i+size]
	r.i += size + 1
	if strings.IndexByte(raw, '<') >= 0 {
		return errMarkup
	}
	encoded, err := check(raw, false)
	if err != nil {
		return err
	}
	d := r.doc
	if len(d.attrs) >= MaxAttrs {
		return errTooMany
	}
	d.attrs = append(d.attrs, attr{n, Value{raw: raw, encoded: encoded}})
	d.elements[e].nattr++
	return nil
}

func (r *reader) end() error {
	r.i += len("</")
	n, err := r.name()
	if err != nil {
		return err
	}
	r.blanks()
	if r.i >= len(r.s) || r.s[r.i] != '>' {
		return errMarkup
	}
	r.i++
	if r.top == 0 || r.doc.elements[r.top].name != n {
		return errMismatch
	}
	r.close()
	return nil
}

func (r *reader) close() {
	r.top = r.doc.elements[r.top].parent
	r.depth--
	r.text = false
}

func (r *reader) blanks() {
	for r.i < len(r.s) && (r.s[r.i] == ' ' || r.s[r.i] == '\t' || r.s[r.i] == '\n' || r.s[r.i] == '\r') {
		r.i++
	}
}

// name reads a name. Of characters beyond ASCII it is not asked whether they
// may be part of one.
func (r *reader) name() (name, error) {
	start := r.i
	for r.i < len(r.s) && isNameByte(r.s[r.i]) {
		r.i++
	}
	s := r.s[start:r.i]
	if s == "" || s[0]-'0' <= 9 || s[0] == '-' || s[0] == '.' || !utf8.ValidString(s) {
		return name{}, errName
	}
	n, ok := qualified(s)
	if !ok {
		return n, errName
	}
	return n, nil
}

func isNameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c-'0' <= 9 || c == '_' || c == ':' || c == '.' || c == '-' || c >= utf8.RuneSelf
}

// check tells whether a text has something to decode, and refuses what may not
// stand in one. Outside of quotes ]]> may not.
func check(s string, outside bool) (encoded bool, err error) {
	if outside && strings.Contains(s, "]]>") {
		return false, errMarkup
	}
	if err := checkRunes(s); err != nil {
		return false, err
	}
	encoded = strings.IndexByte(s, '\r') >= 0
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			return encoded, nil
		}
		encoded = true
		_, n, ok := entity(s[i:])
		if !ok {
			return false, errEntity
		}
		s = s[i+n:]
	}
}

func checkRunes(s string) error {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return checkWide(s[i:])
		}
	}
	return nil
}

func checkWide(s string) error {
	for i, r := range s {
		if !isChar(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return errChar
		}
	}
	return nil
}

// isChar is the production Char of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

var named = [...]struct {
	text string
	r    rune
}{{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}}

// entity decodes the entity that s begins with; n is its length.
func entity(s string) (r rune, n int, ok bool) {
	if !strings.HasPrefix(s, "&#") {
		for _, e := range named {
			if strings.HasPrefix(s, e.text) {
				return e.r, len(e.text), true
			}
		}
		return 0, 0, false
	}
	i, base := 2, rune(10)
	if i < len(s) && s[i] == 'x' {
		i, base = 3, 16
	}
	first := i
	for ; i < len(s); i++ {
		digit := rune(99)
		switch c := s[i]; {
		case c-'0' <= 9:
			digit = rune(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			digit = rune(c|0x20-'a') + 10
		}
		if digit >= base {
			break
		}
		if r = r*base + digit; r > utf8.MaxRune {
			return 0, 0, false
		}
	}
	if i == first || i >= len(s) || s[i] != ';' {
		return 0, 0, false
	}
	if r >= 0xD800 && r <= 0xDFFF {
		r = utf8.RuneError // half of a pair
	}
	return r, i + 1, isChar(r)
}
