package injection

import "strings"

// attribute is what an attribute's value may do.
type attribute uint8

const (
	plain    attribute = iota
	script             // it is one
	url                // it runs one, if it is the right URL
	style              // it may run one
	indirect           // it names an attribute
)

// attributeOf returns what a name stands for.
func attributeOf(name string) attribute {
	var b [maxName]byte
	n, all := normalize(b[:], name)
	if !all || n < 2 {
		return plain
	}
	if n >= 5 && string(b[:2]) == "ON" && htmlEvents.mark(b[2:n]) != 0 {
		return script
	}
	switch string(b[:n]) {
	case "XMLNS", "XLINK", "DATAFORMATAS", "DATASRC":
		return script
	case "ACTION", "BY", "BACKGROUND", "DYNSRC", "FORMACTION", "FOLDER", "FROM", "HANDLER", "HREF", "LOWSRC",
		"POSTER", "SRC", "TO", "VALUES", "XLINK:HREF":
		return url
	case "FILTER", "STYLE":
		return style
	case "ATTRIBUTENAME":
		return indirect
	}
	return plain
}

// runs reports whether a value of the attribute runs a script.
func (a attribute) runs(value string) bool {
	switch a {
	case script, style:
		return true
	case url:
		return isScriptURL(value)
	case indirect:
		return attributeOf(value) == script
	}
	return false
}

// isScriptURL is true for URLs with a scheme that runs what follows. Browsers
// skip what isn't ASCII and blanks before it, line feeds and NULs in it, and
// decode its entities.
func isScriptURL(text string) bool {
	start := 0
	for start < len(text) && (text[start] <= ' ' || text[start] >= 0x7f) {
		start++
	}
	text = text[start:]

	var b [len("VIEW-SOURCE")]byte
	n := 0
	for len(text) > 0 && n < len(b) {
		c, size := decodeEntity(text)
		text = text[size:]
		if n == 0 && c <= ' ' || c == 0 || c == '\n' {
			continue
		}
		b[n] = byte(c)
		if c < 0x80 {
			b[n] = upper(b[n])
		}
		n++
	}
	scheme := string(b[:n])
	return strings.HasPrefix(scheme, "DATA") || scheme == "VIEW-SOURCE" ||
		strings.HasPrefix(scheme, "VBSCRIPT") || strings.HasPrefix(scheme, "JAVA") // JAVASCRIPT, too
}

// maxCharacter is the last character that an entity may stand for.
const maxCharacter = 0x1000ff

// decodeEntity returns the character that a text begins with, a byte or an
// entity &#65; or &#x41; with or without the semicolon, and its size in bytes.
func decodeEntity(text string) (c, size int) {
	if !strings.HasPrefix(text, "&#") {
		return int(text[0]), 1
	}
	base, start := 10, 2
	if len(text) > 2 && upper(text[2]) == 'X' {
		base, start = 16, 3
	}
	at := start
	for ; at < len(text); at++ {
		d := digit(text[at])
		if d >= base {
			break
		}
		if c = c*base + d; c > maxCharacter {
			return '&', 1
		}
	}
	if at == start {
		return '&', 1
	}
	if at < len(text) && text[at] == ';' {
		at++
	}
	return c, at
}

// digit returns the value of a hexadecimal digit, 16 for any other byte.
func digit(c byte) int {
	switch c = upper(c); {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return 16
}
