package syntax

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endToken tokenKind = iota
	nameToken
	numberToken
	textToken
	bytesToken
	pointerToken  // #, with the name that follows it immediately
	operatorToken // brackets and words like "in", too
)

// token is a word of the language.
type token struct {
	kind tokenKind
	text string // as it is written, but for texts and bytes: what they stand for; for #name: name
	pos  int    // in bytes
	end  int
}

// lexer cuts the source into tokens. The first error ends the source: from
// then on there are only endTokens.
type lexer struct {
	src string
	pos int
	err *Error
}

// fail records the first error and goes to the end.
func (l *lexer) fail(pos int, format string, args ...any) {
	if l.err == nil {
		l.err = ErrorAt(l.src, pos, format, args...)
	}
	l.pos = len(l.src)
}

// symbols are the operators that are no words, longer ones before their
// beginnings.
var symbols = [...]string{
	"&&", "||", "==", "!=", "<=", ">=", "**", "..", "?.", "??", "::",
	"+", "-", "*", "/", "%", "^", "<", ">", "!", "?", ":", "|", ".", ",", ";", "=", "(", ")", "[", "]", "{", "}",
}

// isKeyword is true for the words that are operators.
func isKeyword(s string) bool {
	switch s {
	case "not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else":
		return true
	}
	return false
}

// next reads a token.
func (l *lexer) next() token {
	l.skipBlanks()
	t := token{pos: l.pos}
	rest := l.src[l.pos:]
	switch {
	case rest == "":
	case rest[0] == '"' || rest[0] == '\'':
		t.kind, t.text = textToken, l.quoted(false)
	case rest[0] == '`':
		t.kind, t.text = textToken, l.raw()
	case len(rest) > 1 && rest[0]|0x20 == 'b' && (rest[1] == '"' || rest[1] == '\''):
		l.pos++
		t.kind, t.text = bytesToken, l.quoted(true)
	case isDigit(rest[0]) || len(rest) > 1 && rest[0] == '.' && isDigit(rest[1]):
		t.kind, t.text = numberToken, l.number()
	case rest[0] == '#':
		t.kind, t.text = pointerToken, rest[1:1+wordLen(rest[1:])]
		l.pos += 1 + len(t.text)
	default:
		t.kind, t.text = l.wordOrSymbol(rest)
		l.pos += len(t.text)
	}
	if l.err != nil {
		return token{pos: len(l.src), end: len(l.src)}
	}
	t.end = l.pos
	return t
}

// skipBlanks skips blanks and comments: // to the end of the line, and /* */.
func (l *lexer) skipBlanks() {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch r, size := utf8.DecodeRuneInString(rest); {
		case unicode.IsSpace(r):
			l.pos += size
		case strings.HasPrefix(rest, "//"):
			line, _, _ := strings.Cut(rest, "\n")
			l.pos += len(line)
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				l.fail(l.pos, "the comment is not closed")
				return
			}
			l.pos += 2 + i + 2
		default:
			return
		}
	}
}

// wordOrSymbol finds the name or the operator that s begins with.
func (l *lexer) wordOrSymbol(s string) (tokenKind, string) {
	if n := wordLen(s); n > 0 {
		if isKeyword(s[:n]) {
			return operatorToken, s[:n]
		}
		return nameToken, s[:n]
	}
	for _, op := range symbols {
		if strings.HasPrefix(s, op) {
			return operatorToken, op
		}
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == '&':
		l.fail(l.pos, `unexpected "&" (did you mean &&?)`)
	case r == utf8.RuneError && size == 1:
		l.fail(l.pos, "the text is not UTF-8: byte %#x", s[0])
	default:
		l.fail(l.pos, "unexpected character %#U", r)
	}
	return endToken, ""
}

// wordLen counts the bytes of letters, digits, _ and $ at the start.
func wordLen(s string) int {
	for i, r := range s {
		if r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return i
		}
	}
	return len(s)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads what looks like a number: as the key of a map .5.5 and 0x are
// allowed. The parser looks at its value.
func (l *lexer) number() string {
	start, digits := l.pos, "0123456789_"
	l.skipOne(".")
	switch strings.ToLower(l.src[l.pos:min(l.pos+2, len(l.src))]) {
	case "0x":
		digits = "0123456789abcdefABCDEF_"
		l.pos += 2
	case "0o":
		digits = "01234567_"
		l.pos += 2
	case "0b":
		digits = "01_"
		l.pos += 2
	}
	l.skipAny(digits)
	if strings.HasPrefix(l.src[l.pos:], "..") {
		return l.src[start:l.pos] // 1..2 is a range
	}
	if l.skipOne(".") {
		l.skipAny(digits)
	}
	if l.skipOne("eE") {
		l.skipOne("+-")
		l.skipAny(digits)
	}
	if n := wordLen(l.src[l.pos:]); n > 0 {
		l.fail(start, "%s is no number", l.src[start:l.pos+n])
		return ""
	}
	return l.src[start:l.pos]
}

func (l *lexer) skipAny(of string) {
	for l.skipOne(of) {
	}
}

func (l *lexer) skipOne(of string) bool {
	if l.pos == len(l.src) || strings.IndexByte(of, l.src[l.pos]) < 0 {
		return false
	}
	l.pos++
	return true
}

// raw reads a text in backquotes, in which only a doubled backquote stands for
// something else.
func (l *lexer) raw() string {
	start, doubled := l.pos, false
	for i := start + 1; i < len(l.src); i++ {
		if l.src[i] != '`' {
			continue
		}
		if i+1 < len(l.src) && l.src[i+1] == '`' {
			doubled = true
			i++
			continue
		}
		l.pos = i + 1
		s := l.src[start+1 : i]
		if doubled {
			// the runes: expr-lang mends bytes that are not UTF-8 here, but not
			// in texts without a doubled backquote
			s = strings.ReplaceAll(string([]rune(s)), "``", "`")
		}
		return s
	}
	l.fail(start, "the text is not closed: a ` is missing")
	return ""
}

// quoted reads a text between " or ', which has escapes and ends on its line.
// What is not UTF-8 becomes U+FFFD. In bytes, \x and octal escapes are bytes
// and not characters.
func (l *lexer) quoted(bytes bool) string {
	start, quote := l.pos, l.src[l.pos]
	if i := 1 + strings.IndexByte(l.src[start+1:], quote); i > 0 {
		if s := l.src[start+1 : start+i]; !strings.ContainsAny(s, "\\\r\n") && utf8.ValidString(s) {
			l.pos += i + 1
			return s
		}
	}
	var out []byte
	for l.pos++; l.pos < len(l.src); {
		switch r, size := utf8.DecodeRuneInString(l.src[l.pos:]); r {
		case rune(quote):
			l.pos++
			return string(out)
		case '\n':
			l.fail(start, "the text is not closed: a %c is missing on this line", quote)
			return ""
		case '\r':
			out = append(out, '\n')
			l.pos++
		case '\\':
			out = l.escape(out, quote, bytes)
		default:
			out = utf8.AppendRune(out, r)
			l.pos += size
		}
	}
	l.fail(start, "the text is not closed: a %c is missing", quote)
	return ""
}

// escape reads a backslash and what follows, and appends what it stands for.
func (l *lexer) escape(out []byte, quote byte, bytes bool) []byte {
	rest := l.src[l.pos+1:]
	if rest == "" {
		l.pos++
		return out // the text is not closed
	}
	c := rest[0]
	if i := strings.IndexByte(`abfnrtv\`, c); i >= 0 {
		l.pos += 2
		return append(out, "\a\b\f\n\r\t\v\\"[i])
	}
	if c == quote {
		l.pos += 2
		return append(out, c)
	}
	digits, base, n, closing := rest[1:], 16, 0, 0
	switch {
	case c >= '0' && c <= '3':
		digits, base, n = rest, 8, 3
	case c == 'x':
		n = 2
	case c == 'u' && !bytes && strings.HasPrefix(digits, "{"):
		digits, closing = digits[1:], 1
		if n = strings.IndexByte(digits, '}'); n > 6 {
			n = -1
		}
	case c == 'u' && !bytes:
		n = 4
	case c == 'U' && !bytes:
		n = 8
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		l.fail(l.pos, `unknown escape \%c (a backslash is written \\, or as it is in a text between backquotes)`, r)
		return nil
	}
	if n < 1 || n > len(digits) {
		l.fail(l.pos, `bad escape \%c`, c)
		return nil
	}
	v, err := strconv.ParseUint(digits[:n], base, 32)
	if err != nil || v > unicode.MaxRune {
		l.fail(l.pos, `bad escape \%c`, c)
		return nil
	}
	l.pos = len(l.src) - len(digits) + n + closing
	if bytes {
		return append(out, byte(v))
	}
	return utf8.AppendRune(out, rune(v))
}
