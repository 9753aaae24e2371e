package api

import (
	"strconv"
	"time"
	"unicode/utf8"

	"cs/decisions"
)

// AppendDecision appends a decision as bouncers are told it: byte for byte
// what encoding/json makes of a struct with these keys, but without a single
// allocation. In streams the UUID is told too, if there is one.
func AppendDecision(dst []byte, d *decisions.Decision, now time.Time, withUUID bool) []byte {
	dst = append(dst, `{"duration":"`...)
	dst = appendDuration(dst, d.Until.Sub(now))
	dst = append(dst, `","id":`...)
	dst = strconv.AppendInt(dst, d.ID, 10)
	dst = appendKind(dst, d.Origin, d.Scenario, d.Scope, d.Type)
	if withUUID && d.UUID != "" {
		dst = append(dst, `,"uuid":`...)
		dst = appendString(dst, d.UUID)
	}
	dst = append(dst, `,"value":`...)
	dst = appendString(dst, d.Value)
	return append(dst, '}')
}

// appendString appends a JSON string as encoding/json writes it, with its
// escapes for HTML.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\ufffd`...)
				start = i + size
			case r == '\u2028' || r == '\u2029': // line ends in JavaScript
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\u202`...)
				dst = append(dst, hex[r&0xf])
				start = i + size
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
