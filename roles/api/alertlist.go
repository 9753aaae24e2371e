package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxPiece bounds one alert without its decisions, and one decision, in bytes.
const maxPiece = 16 << 20

// EachAlert hands over the alerts that the query selects (limit 100 unless it
// says so) while the answer comes in: first each decision of an alert, then the
// alert without them: its list is nil if it has none, else empty. So a list of any length takes the memory of its longest
// alert. It ends with the first error of alert.
func (c *Client) EachAlert(ctx context.Context, query url.Values, decision func(*Decision), alert func(*Alert) error) error {
	var stopped error
	err := c.exchange(ctx, asMachine, "GET", PathAlerts, query, nil, func(r *http.Response) error {
		return eachAlert(r.Body, decision, func(a *Alert) error {
			stopped = alert(a)
			return stopped
		})
	})
	if err != nil && stopped == nil {
		return fmt.Errorf("cannot list alerts: %w", err)
	}
	return err
}

// eachAlert reads an array of alerts, or null.
func eachAlert(body io.Reader, decision func(*Decision), alert func(*Alert) error) error {
	p := pieces{r: bufio.NewReaderSize(body, 64<<10)}
	if p.peek() == 'n' {
		return p.err
	}
	var about, piece []byte
	p.mark('[')
	for p.more(']') {
		p.mark('{')
		about = about[:0]
		var a Alert
		for p.more('}') {
			start := len(about)
			about = append(p.value(append(about, ',')), ':')
			name := string(about[start+1 : len(about)-1])
			p.mark(':')
			if name != `"decisions"` || p.peek() != '[' {
				about = p.value(about)
				continue
			}
			about = about[:start]
			a.Decisions = []Decision{}
			p.mark('[')
			for p.more(']') {
				piece = p.value(piece[:0])
				var d Decision
				if p.err == nil {
					p.err = readPiece(piece, &decisionShape, &d)
				}
				if p.err == nil {
					decision(&d)
				}
			}
		}
		if len(about) == 0 {
			about = append(about, ' ')
		}
		about[0] = '{'
		about = append(about, '}')
		if p.err == nil {
			list := a.Decisions
			p.err = readPiece(about, &alertShape, &a)
			a.Decisions = list
		}
		if p.err == nil {
			p.err = alert(&a)
		}
	}
	return p.err
}

// readPiece reads one object. Its texts are parts of a copy of the text.
func readPiece[T any](text []byte, sh *shape[T], v *T) error {
	s := scanner{text: string(text), answer: true}
	if object(&s, sh, v); !s.lost && s.at == len(s.text) {
		return nil
	}
	*v = *new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	return nil
}

// pieces cuts JSON into values without looking into them: what is no JSON is
// noticed when a piece is read.
type pieces struct {
	r   *bufio.Reader
	err error
}

// peek returns the next character that is no space, 0 after an error.
func (p *pieces) peek() byte {
	for p.err == nil {
		c, err := p.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			p.err = fmt.Errorf("cannot read the answer: %w", io.ErrUnexpectedEOF)
		case err != nil:
			p.err = fmt.Errorf("cannot read the answer: %w", err)
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			p.r.UnreadByte()
			return c
		}
	}
	return 0
}

// mark steps over a character that must come next.
func (p *pieces) mark(want byte) {
	if got := p.peek(); p.err == nil && got != want {
		p.err = fmt.Errorf("cannot read the answer: %q where %q should be", got, want)
	} else if p.err == nil {
		p.r.ReadByte()
	}
}

// more tells whether another member follows, and steps over what stands before
// it, or over the end.
func (p *pieces) more(end byte) bool {
	c := p.peek()
	if c == ',' {
		p.r.ReadByte()
		c = p.peek()
	}
	if c == end {
		p.r.ReadByte()
		return false
	}
	return p.err == nil
}

// value appends the next value.
func (p *pieces) value(dst []byte) []byte {
	p.peek()
	start, depth, text := len(dst), 0, false
	for p.err == nil {
		c, err := p.r.ReadByte()
		switch {
		case err != nil:
			p.err = fmt.Errorf("cannot read the answer: %w", io.ErrUnexpectedEOF)
			return dst
		case len(dst)-start > maxPiece:
			p.err = fmt.Errorf("cannot read the answer: a value in it is longer than %d bytes", maxPiece)
			return dst
		case text && c == '\\':
			dst = append(dst, c)
			c, _ = p.r.ReadByte()
			dst = append(dst, c)
			continue
		case text:
			text = c != '"'
		case c == '"':
			text = true
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == ':' || c == '}' || c == ']' || c == ' ' || c == '\n'): // after a number or a word
			p.r.UnreadByte()
			return dst
		case c == '}' || c == ']':
			depth--
		}
		dst = append(dst, c)
		if depth == 0 && !text && (c == '"' || c == '}' || c == ']') {
			return dst
		}
	}
	return dst
}
