package injection

import "strings"

// next reads the next token into t. It returns false at the end of the text.
func (r *reading) next(t *token) bool {
	t.kind, t.open, t.close, t.n = 0, 0, 0, 0
	if r.pos == 0 && r.quote != 0 {
		r.quoted(t, 0, r.quote)
		t.open = 0
	}
	for t.kind == 0 && r.pos < len(r.text) {
		r.scan(t)
	}
	if t.kind == 0 {
		r.ended = true
		return false
	}
	r.seen++
	return true
}

// take makes the next n bytes a token.
func (r *reading) take(t *token, k kind, n int) {
	t.set(k, r.text[r.pos:r.pos+n])
	r.pos += n
}

// at returns the byte i bytes from here, 0 behind the end.
func (r *reading) at(i int) byte {
	if i += r.pos; i < len(r.text) {
		return r.text[i]
	}
	return 0
}

// scan reads what begins here: a token, or something that is none.
func (r *reading) scan(t *token) {
	switch c := r.text[r.pos]; {
	case c <= ' ' || c == 0x7f || c == nbsp:
		r.pos++
	case c >= '0' && c <= '9' || c == '.':
		r.number(t)
	default:
		switch c {
		case '\'', '"':
			r.quoted(t, 1, c)
		case '`':
			r.backquoted(t)
		case '#':
			r.hash(t)
		case '-':
			r.dash(t)
		case '/':
			r.slash(t)
		case '$':
			r.dollar(t)
		case '@':
			r.variable(t)
		case '[':
			r.bracketed(t)
		case '\\':
			r.backslash(t)
		case '(', ')', '{', '}', ',', ';':
			r.take(t, letterKind(c), 1)
		case '%', '+', '^', '~':
			r.take(t, operator, 1)
		case '!', '&', '*', ':', '<', '=', '>', '|':
			r.operator(t)
		case '?', ']':
			r.take(t, unknown, 1)
		case 'B', 'b':
			r.digitString(t, "01")
		case 'X', 'x':
			r.digitString(t, hexDigits)
		case 'E', 'e', 'N', 'n', 'Q', 'q', 'U', 'u':
			r.prefixed(t, upper(c))
		default:
			r.word(t)
		}
	}
}

const nbsp = 0xa0 // in Latin-1

// Bytes that end a word, and a name after an '@'.
var (
	endsWord = [256]bool{
		0: true, '\t': true, '\n': true, '\v': true, '\f': true, '\r': true, ' ': true, nbsp: true,
		'!': true, '"': true, '#': true, '%': true, '&': true, '\'': true, '(': true, ')': true, '*': true, '+': true,
		',': true, '-': true, '/': true, ':': true, ';': true, '<': true, '=': true, '>': true, '?': true, '@': true,
		'[': true, '\\': true, ']': true, '^': true, '{': true, '|': true, '}': true, '~': true,
	}
	endsVariable = [256]bool{
		'\t': true, '\n': true, '\v': true, '\f': true, '\r': true, ' ': true,
		'!': true, '"': true, '#': true, '%': true, '&': true, '\'': true, '(': true, ')': true, '*': true, '+': true,
		',': true, '-': true, '/': true, ':': true, ';': true, '<': true, '=': true, '>': true, '?': true, '@': true,
		'\\': true, '^': true, '`': true, '|': true, '~': true,
	}
)

// before returns how many bytes a text has before one that ends it.
func before(text string, ends *[256]bool) int {
	n := 0
	for n < len(text) && !ends[text[n]] {
		n++
	}
	return n
}

// span returns how many bytes of a set a text begins with.
func span(text, set string) int { return len(text) - len(strings.TrimLeft(text, set)) }

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0 || c == nbsp }

// word reads a name or keyword. A keyword may end at a '.' or '`'.
func (r *reading) word(t *token) {
	n := before(r.text[r.pos:], &endsWord)
	t.set(bareword, r.text[r.pos:r.pos+n])
	for i, c := range t.text[:t.n] {
		if c != '.' && c != '`' {
			continue
		}
		if k := wordKind(t.text[:i]); k != 0 && k != bareword {
			t.kind, t.n = k, uint8(i)
			r.pos += i
			return
		}
	}
	if n <= maxText {
		if k := wordKind(t.text[:n]); k != 0 {
			t.kind = k
		}
	}
	r.pos += n
}

// variable reads @name, @@name, and names in quotes after one or two '@'.
func (r *reading) variable(t *token) {
	r.pos++
	if r.at(0) == '@' {
		r.pos++
	}
	switch c := r.at(0); c {
	case '`':
		r.backquoted(t)
		t.kind = variable
	case '\'', '"':
		r.quoted(t, 1, c)
		t.kind = variable
	default:
		r.take(t, variable, before(r.text[r.pos:], &endsVariable))
	}
}

// operator reads an operator of one, two or three signs.
func (r *reading) operator(t *token) {
	rest := r.text[r.pos:]
	if strings.HasPrefix(rest, "<=>") {
		r.take(t, operator, 3)
		return
	}
	if len(rest) > 1 {
		switch rest[:2] {
		case "&&", "||":
			r.take(t, logic, 2)
			return
		case "!!", "!<", "!=", "!>", "&=", "*=", "::", ":=", "<<", "<=", "<>", "<@", ">=", ">>", "|/", "|=":
			r.take(t, operator, 2)
			return
		}
		if rest[0] == ':' {
			r.take(t, colon, 1)
			return
		}
	}
	r.take(t, operator, 1)
}

// backslash reads \N, MySQL's other name for NULL, or a lone backslash.
func (r *reading) backslash(t *token) {
	if r.at(1) == 'N' {
		r.take(t, number, 2)
		return
	}
	r.take(t, backslash, 1)
}

// bracketed reads SQL Server's [name].
func (r *reading) bracketed(t *token) {
	rest := r.text[r.pos:]
	n := strings.IndexByte(rest, ']') + 1
	if n == 0 {
		n = len(rest)
	}
	r.take(t, bareword, n)
}
