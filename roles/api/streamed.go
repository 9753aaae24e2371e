package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"cs/decisions"
)

const (
	// partSize is how many decisions of the whole set are handed out at a time.
	partSize = 4096
	// firstBlock and then streamBlock are how much of an answer is in memory at a
	// time, unless one value takes more, which maxValue bounds.
	firstBlock  = 1 << 10
	streamBlock = 64 << 10
	maxValue    = 1 << 20
)

// streamed is one decision as a bouncer is told it.
type streamed struct {
	Duration string `json:"duration"`
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Scenario string `json:"scenario"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	UUID     string `json:"uuid"`
	Value    string `json:"value"`
}

var streamedShape = shape[streamed]{0, []field[streamed]{
	{"duration", func(s *scanner, d *streamed) { d.Duration = s.string() }},
	{"id", func(s *scanner, d *streamed) { d.ID = s.number(64) }},
	{"origin", func(s *scanner, d *streamed) { d.Origin = s.string() }},
	{"scenario", func(s *scanner, d *streamed) { d.Scenario = s.string() }},
	{"scope", func(s *scanner, d *streamed) { d.Scope = s.string() }},
	{"type", func(s *scanner, d *streamed) { d.Type = s.string() }},
	{"uuid", func(s *scanner, d *streamed) { d.UUID = s.string() }},
	{"value", func(s *scanner, d *streamed) { d.Value = s.string() }},
}}

// streamReader reads {"new": […], "deleted": […]} as it arrives; either may be
// null or absent. Anything else, an end too early above all, is an error. The
// texts of the decisions are parts of the block of the answer they came in.
type streamReader struct {
	r       io.Reader
	now     time.Time // what durations count from
	byValue bool      // IDs are made of what the decisions are about

	block []byte
	text  string // the block as far as it is filled, never changed
	at    int
	left  int // how many decisions there may still be

	began bool
	list  byte // of what list elements come next: 'n', 'd', or 0 for none
	first bool // no element of it was read yet

	texts    interner
	scan     scanner  // here, and so are raw texts, since they would escape
	raw      streamed // of the decision
	last     streamed // of the one before
	shared   decisions.Decision
	duration time.Duration
}

func newStreamReader(r io.Reader, now time.Time, byValue bool) *streamReader {
	return &streamReader{r: r, now: now, byValue: byValue, left: maxStreamed, texts: make(interner)}
}

// read appends what comes next to the delta, until its New has length limit
// (then more is true) or the answer is over.
func (s *streamReader) read(delta *decisions.Delta, limit int) (more bool, err error) {
	if !s.began {
		if err := s.expect('{'); err != nil {
			return false, err
		}
		s.began, s.first = true, true
	}
	for {
		if s.list == 0 {
			if over, err := s.key(); over || err != nil {
				return false, err
			}
			continue
		}
		if len(delta.New) >= limit {
			return true, nil
		}
		c, err := s.peek()
		switch {
		case err != nil:
			return false, err
		case c == ']':
			s.at++
			s.list, s.first = 0, false
			continue
		case s.first:
			s.first = false
		case c == ',':
			s.at++
		default:
			return false, unexpectedByte(c)
		}
		d, err := s.decision()
		if err != nil {
			return false, err
		}
		if s.list == 'n' {
			delta.New = append(delta.New, d)
		} else {
			delta.Deleted = append(delta.Deleted, d)
		}
	}
}

// key reads the name of the next member up to its list, or the end of all.
func (s *streamReader) key() (over bool, err error) {
	c, err := s.peek()
	if err != nil {
		return false, err
	}
	switch {
	case c == '}':
		s.at++
		return true, nil
	case s.first:
	case c == ',':
		s.at++
	default:
		return false, unexpectedByte(c)
	}
	s.first = false
	raw, err := s.value()
	if err != nil {
		return false, err
	}
	var name string
	if err := json.Unmarshal([]byte(raw), &name); err != nil {
		return false, err
	}
	if err := s.expect(':'); err != nil {
		return false, err
	}
	if c, err = s.peek(); err != nil {
		return false, err
	}
	if name != "new" && name != "deleted" || c != '[' {
		raw, err := s.value()
		if err != nil {
			return false, err
		}
		if (name == "new" || name == "deleted") && raw != "null" {
			return false, fmt.Errorf("unexpected %.20s where an array should be", raw)
		}
		if !json.Valid([]byte(raw)) {
			return false, errors.New("invalid JSON in the answer")
		}
		return false, nil
	}
	s.at++
	s.list, s.first = name[0], true
	return false, nil
}

// decision reads one element.
func (s *streamReader) decision() (d decisions.Decision, err error) {
	if err := s.element(); err != nil {
		return d, err
	}
	w := &s.raw
	if s.left--; s.left < 0 {
		return d, fmt.Errorf("more than %d decisions in one answer", maxStreamed)
	}
	if w.Duration != s.last.Duration || w.Duration == "" {
		if s.duration, err = ParseDuration(w.Duration); err != nil {
			return d, err
		}
	}
	// Most have these texts in common with the one before.
	if w.Origin != s.last.Origin {
		s.shared.Origin = s.texts.get(w.Origin)
	}
	if w.Scenario != s.last.Scenario {
		s.shared.Scenario = s.texts.get(w.Scenario)
	}
	if w.Scope != s.last.Scope {
		s.shared.Scope = s.texts.get(decisions.NormalScope(w.Scope))
	}
	if w.Type != s.last.Type {
		s.shared.Type = s.texts.get(w.Type)
	}
	s.last = *w
	d = s.shared
	d.ID, d.UUID, d.Value, d.Until = w.ID, w.UUID, w.Value, s.now.Add(s.duration)
	if s.byValue {
		d.ID = valueID(&d)
	}
	return d, nil
}

// element reads an object into raw, fast if it is as programs write it.
func (s *streamReader) element() error {
	if end := strings.IndexByte(s.text[s.at:], '}') + 1; end > 0 && s.object(s.text[s.at:s.at+end]) {
		s.at += end
		return nil
	}
	text, err := s.value()
	if err != nil {
		return err
	}
	if s.object(text) {
		return nil
	}
	s.raw = streamed{}
	return json.Unmarshal([]byte(text), &s.raw)
}

// object reads an object that is all of text.
func (s *streamReader) object(text string) bool {
	s.scan, s.raw = scanner{text: text}, streamed{}
	object(&s.scan, &streamedShape, &s.raw)
	return !s.scan.lost && s.scan.at == len(text)
}

// value returns the text of the value that comes next, which may still be no
// JSON: up to where its brackets and quotes are closed.
func (s *streamReader) value() (string, error) {
	if _, err := s.peek(); err != nil {
		return "", err
	}
	depth, quoted := 0, false
	for n := 0; ; n++ {
		if s.at+n == len(s.text) {
			if err := s.fill(); err != nil {
				return "", err
			}
		}
		switch c := s.text[s.at+n]; {
		case quoted:
			if c == '\\' {
				n++ // whatever it is
				if s.at+n == len(s.text) {
					if err := s.fill(); err != nil {
						return "", err
					}
				}
				continue
			}
			if c != '"' {
				continue
			}
			quoted = false
		case c == '"':
			quoted = true
			continue
		case c == '{' || c == '[':
			depth++
			continue
		case c == '}' || c == ']':
			if depth--; depth < 0 { // of what is around; a bare word ends here
				return s.take(n), nil
			}
		case depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t'):
			return s.take(n), nil
		default:
			continue
		}
		if depth == 0 {
			return s.take(n + 1), nil
		}
	}
}

// take steps over n bytes and returns them.
func (s *streamReader) take(n int) string {
	raw := s.text[s.at : s.at+n]
	s.at += n
	return raw
}

// peek returns the next character that is no space.
func (s *streamReader) peek() (byte, error) {
	for {
		for ; s.at < len(s.text); s.at++ {
			if c := s.text[s.at]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				return c, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
}

func (s *streamReader) expect(c byte) error {
	got, err := s.peek()
	if err != nil {
		return err
	}
	if got != c {
		return unexpectedByte(got)
	}
	s.at++
	return nil
}

func unexpectedByte(c byte) error { return fmt.Errorf("unexpected %q in the answer", c) }

// fill reads more of the answer. What was handed out of a block stays as it is.
func (s *streamReader) fill() error {
	if len(s.block) == cap(s.block) {
		rest := s.block[s.at:]
		if len(rest) > maxValue {
			return fmt.Errorf("a value of more than %d bytes", maxValue)
		}
		size := streamBlock
		if s.block == nil { // most answers have no news
			size = firstBlock
		}
		fresh := make([]byte, len(rest), max(size, 2*len(rest)))
		copy(fresh, rest)
		s.block, s.at = fresh, 0
	}
	for {
		n, err := s.r.Read(s.block[len(s.block):cap(s.block)])
		if n > 0 {
			s.block = s.block[:len(s.block)+n]
			s.text = unsafe.String(unsafe.SliceData(s.block), len(s.block))
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// valueID makes an ID of what a decision is about.
func valueID(d *decisions.Decision) int64 {
	b := make([]byte, 0, 96)
	for _, s := range [...]string{d.Scope, d.Type, d.Value} {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ':'), s...)
	}
	return max(1, int64(xxhash.Sum64(b)&math.MaxInt64))
}

// interner keeps one copy of the texts that a hundred thousand decisions share.
type interner map[string]string

func (m interner) get(s string) string {
	if known, ok := m[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(m) < 4096 {
		m[s] = s
	}
	return s
}
