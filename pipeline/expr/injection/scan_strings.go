package injection

import "strings"

const hexDigits = "0123456789ABCDEFabcdef"

// quoted reads a string whose text begins skip bytes from here and ends at a
// quote that is neither doubled nor behind a backslash, or with the text.
func (r *reading) quoted(t *token, skip int, quote byte) {
	start := r.pos + skip
	for from := start; ; {
		i := strings.IndexByte(r.text[from:], quote)
		if i < 0 {
			r.literal(t, start, len(r.text), len(r.text))
			break
		}
		end := from + i
		if isEscaped(r.text[start:end]) {
			from = end + 1
		} else if end+1 < len(r.text) && r.text[end+1] == quote {
			from = end + 2
		} else {
			r.literal(t, start, end, end+1)
			t.close = quote
			break
		}
	}
	t.open = quote
}

// isEscaped is true if what follows a text has an odd number of backslashes
// before it.
func isEscaped(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 != 0
}

// literal makes text[start:end] a string, and goes on at next.
func (r *reading) literal(t *token, start, end, next int) {
	t.set(str, r.text[start:end])
	r.pos = next
}

// until reads a string that begins at start and ends before a mark, or with
// the text. sign stands for its quotes.
func (r *reading) until(t *token, start int, mark string, sign byte) {
	t.open = sign
	i := strings.Index(r.text[start:], mark)
	if i < 0 {
		r.literal(t, start, len(r.text), len(r.text))
		return
	}
	r.literal(t, start, start+i, start+i+len(mark))
	t.close = sign
}

// backquoted reads a name in MySQL's backquotes.
func (r *reading) backquoted(t *token) {
	r.quoted(t, 1, '`')
	if t.kind = bareword; wordKind(t.text[:t.n]) == function {
		t.kind = function
	}
}

// prefixed reads what may be a string with a letter before it: PostgreSQL's
// E'…' and U&'…', MySQL's N'…', Oracle's q'…' and nq'…'; else it is a word.
func (r *reading) prefixed(t *token, prefix byte) {
	more := r.pos+2 < len(r.text)
	switch {
	case more && (prefix == 'E' || prefix == 'N') && r.at(1) == '\'':
		r.quoted(t, 2, '\'')
	case more && prefix == 'U' && r.at(1) == '&' && r.at(2) == '\'':
		r.quoted(t, 3, '\'')
		t.open = 'u'
		if t.close != 0 {
			t.close = 'u'
		}
	case prefix == 'Q' && r.ownQuoted(t, 0),
		prefix == 'N' && r.ownQuoted(t, 1):
	default:
		r.word(t)
	}
}

// ownQuoted reads Oracle's q'(…)', with any sign for the parentheses, whose q
// is skip bytes from here. It returns false if there is none.
func (r *reading) ownQuoted(t *token, skip int) bool {
	start := r.pos + skip + 3
	if start > len(r.text) || upper(r.at(skip)) != 'Q' || r.at(skip+1) != '\'' {
		return false
	}
	sign := r.at(skip + 2)
	switch {
	case sign <= ' ' || sign > 0x7f:
		return false
	case sign == '(':
		sign = ')'
	case sign == '[' || sign == '{' || sign == '<':
		sign += 2
	}
	mark := [2]byte{sign, '\''}
	r.until(t, start, string(mark[:]), 'q')
	return true
}

// digitString reads the numbers x'1F' and b'10'; else it is a word.
func (r *reading) digitString(t *token, digits string) {
	if r.at(1) == '\'' {
		if n := 2 + span(r.text[r.pos+2:], digits); r.at(n) == '\'' {
			r.take(t, number, n+1)
			return
		}
	}
	r.word(t)
}
