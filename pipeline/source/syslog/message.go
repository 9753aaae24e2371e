package syslog

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// Formats of messages, as they are counted.
const (
	rfc3164 = "rfc3164"
	rfc5424 = "rfc5424"
	other   = "other"
)

// appendMessage appends the line that a message stands for, "Jan 2 15:04:05
// host tag[pid]: text", and returns the format it was in. What is in none of the known
// ones is appended as it is, without its priority.
//
// The formats are those of RFC 3164 as programs write it, and of RFC 5424; the
// line and its limits are upstream's (spec engine §7). Time zones are not
// converted: the line says what the sender said. It allocates nothing but what dst
// grows by.
func appendMessage(dst, msg []byte, parse bool, now time.Time) ([]byte, string) {
	msg = trimEnd(msg)
	rest, ok := priority(msg)
	if !parse || !ok {
		return append(dst, rest...), other
	}
	n := len(dst)
	if dst, ok := append3164(dst, rest); ok {
		return dst, rfc3164
	}
	if dst, ok := append5424(dst[:n], rest, now); ok {
		return dst, rfc5424
	}
	return append(dst[:n], rest...), other
}

// trimEnd cuts what ends a message in some framing: newlines, NULs.
func trimEnd(msg []byte) []byte {
	for len(msg) > 0 {
		if c := msg[len(msg)-1]; c != '\n' && c != '\r' && c != 0 {
			break
		}
		msg = msg[:len(msg)-1]
	}
	return msg
}

// priority returns what follows "<N>", N having up to three digits.
func priority(msg []byte) (rest []byte, ok bool) {
	if len(msg) < 3 || msg[0] != '<' {
		return msg, false
	}
	for i := 1; i < len(msg) && i <= 4; i++ {
		switch c := msg[i]; {
		case c == '>' && i > 1:
			return msg[i+1:], true
		case c < '0' || c > '9':
			return msg, false
		}
	}
	return msg, false
}

func append3164(dst, s []byte) ([]byte, bool) {
	dst, n := appendStamp(dst, s)
	if n == 0 || len(s) <= n {
		return dst, false
	}
	s = s[n+1:] // one character, a blank as a rule
	// Some leave the host out: what ends in a colon is the tag.
	host, rest, ok := bytes.Cut(s, space)
	if len(host) == 0 || !ok {
		return dst, false
	}
	dst = append(dst, ' ')
	if host[len(host)-1] == ':' && bytes.Count(host, colon) == 1 {
		dst = append(dst, "unknownhost"...)
		rest = s
	} else {
		dst = append(dst, host...)
	}
	tag, pid, text, ok := tagged(rest)
	if !ok {
		return dst, false
	}
	return appendText(dst, tag, pid, text), true
}

var (
	space = []byte{' '}
	colon = []byte{':'}
)

// tagged splits "tag[pid]: text", of which tag and text must be there.
func tagged(s []byte) (tag, pid, text []byte, ok bool) {
	n := 0
	for n < len(s) && s[n] > ' ' && s[n] != '[' && s[n] != ':' && s[n] < 0x7f {
		n++
	}
	tag, s = s[:n], s[n:]
	if len(tag) == 0 {
		return nil, nil, nil, false
	}
	if len(s) > 0 && s[0] == '[' {
		for n = 1; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		}
		if n > 1 && n < len(s) && s[n] == ']' {
			pid, s = s[1:n], s[n+1:]
		}
	}
	if len(s) > 0 && s[0] == ':' {
		s = s[1:]
	}
	s = bytes.TrimLeft(s, " ")
	return tag, pid, s, len(s) > 0
}

func appendText(dst, tag, pid, text []byte) []byte {
	if len(tag) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, tag...)
	}
	if len(pid) > 0 {
		dst = append(dst, '[')
		dst = append(dst, pid...)
		dst = append(dst, ']')
	}
	dst = append(dst, ": "...)
	return append(dst, text...)
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// appendStamp appends the time that s begins with, as "Jan 2 15:04:05", and
// returns how long it is in s; 0 if there is none. It may be one of RFC 3339,
// or "Jan _2 15:04:05" or "Jan 02 15:04:05", with a year behind it or none.
func appendStamp(dst, s []byte) ([]byte, int) {
	if dst, n := append3339(dst, s); n > 0 {
		return dst, n
	}
	if len(s) < len("Jan _2 15:04:05") {
		return dst, 0
	}
	m := bytes.Index(monthNames, s[:3])
	if m < 0 || m%3 != 0 || s[3] != ' ' || s[6] != ' ' {
		return dst, 0
	}
	day := digit(s[5])
	if s[4] != ' ' {
		day += 10 * digit(s[4])
	}
	if day < 1 || day > 31 || !isClock(s[7:15]) {
		return dst, 0
	}
	n := 15
	if len(s) >= 20 && s[15] == ' ' && digits(s[16:20]) && (len(s) == 20 || s[20] == ' ') {
		n = 20
	}
	return appendTime(dst, m/3, day, s[7:15]), n
}

var monthNames = []byte(months)

func appendTime(dst []byte, month, day int, clock []byte) []byte {
	dst = append(dst, months[3*month:3*month+3]...)
	dst = append(dst, ' ')
	if day >= 10 {
		dst = append(dst, '0'+byte(day/10))
	}
	dst = append(dst, '0'+byte(day%10), ' ')
	return append(dst, clock...)
}

// append3339 appends a time like 2006-01-02T15:04:05.999999+07:00.
func append3339(dst, s []byte) ([]byte, int) {
	const plain = len("2006-01-02T15:04:05")
	if len(s) <= plain || s[4] != '-' || s[7] != '-' || s[10] != 'T' && s[10] != 't' ||
		!digits(s[:4]) || !digits(s[5:7]) || !digits(s[8:10]) || !isClock(s[11:19]) {
		return dst, 0
	}
	month, day := 10*digit(s[5])+digit(s[6]), 10*digit(s[8])+digit(s[9])
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return dst, 0
	}
	n := plain
	if s[n] == '.' {
		for n++; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		}
	}
	switch {
	case n == len(s):
		return dst, 0
	case s[n] == 'Z' || s[n] == 'z':
		n++
	case (s[n] == '+' || s[n] == '-') && len(s) >= n+6 && digits(s[n+1:n+3]) && s[n+3] == ':' && digits(s[n+4:n+6]):
		n += 6
	default:
		return dst, 0
	}
	return appendTime(dst, month-1, day, s[11:19]), n
}

// digit returns the value of a digit; one that isn't makes any sum too large.
func digit(c byte) int {
	if c < '0' || c > '9' {
		return 1000
	}
	return int(c - '0')
}

func digits(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isClock(s []byte) bool {
	return s[2] == ':' && s[5] == ':' && 10*digit(s[0])+digit(s[1]) < 24 &&
		10*digit(s[3])+digit(s[4]) < 60 && 10*digit(s[6])+digit(s[7]) < 61
}

func append5424(dst, s []byte, now time.Time) ([]byte, bool) {
	if len(s) < 2 || s[0] != '1' || s[1] != ' ' {
		return dst, false
	}
	stamp, s, ok := field(s[2:], 64)
	if !ok {
		return dst, false
	}
	if len(stamp) == 0 {
		dst = now.AppendFormat(dst, "Jan 2 15:04:05")
	} else {
		var n int
		if dst, n = append3339(dst, stamp); n == 0 || n != len(stamp) {
			return dst, false
		}
	}
	host, s, ok1 := field(s, 255)
	app, s, ok2 := field(s, 48)
	pid, s, ok3 := field(s, 128)
	_, s, ok4 := field(s, 32)
	if !(ok1 && ok2 && ok3 && ok4) {
		return dst, false
	}
	text, ok := structured(s)
	if !ok {
		return dst, false
	}
	dst = append(dst, ' ')
	if len(host) == 0 {
		dst = append(dst, "unknownhost"...)
	}
	dst = append(dst, host...)
	return appendText(dst, app, pid, text), true
}

// field takes a word and the blank behind it; the word "-" is empty.
func field(s []byte, most int) (word, rest []byte, ok bool) {
	n := 0
	for n < len(s) && s[n] > ' ' {
		n++
	}
	if n == 0 || n > most || n == len(s) || s[n] != ' ' {
		return nil, s, false
	}
	word, rest = s[:n], s[n+1:]
	if n == 1 && word[0] == '-' {
		word = nil
	}
	return word, rest, true
}

// structured skips structured data and returns the text behind it.
func structured(s []byte) (text []byte, ok bool) {
	n := 0
	switch {
	case len(s) == 0:
		return nil, false
	case s[0] == '-':
		n = 1
	case s[0] == '[':
		quoted := false
		for ; n < len(s); n++ {
			c := s[n]
			switch {
			case c == '\\' && quoted:
				n++
			case c == '"':
				quoted = !quoted
			case c == ']' && !quoted && (n+1 == len(s) || s[n+1] != '['):
				n++
				goto end
			}
		}
		return nil, false
	default:
		return nil, false
	}
end:
	switch {
	case n > len(s):
		return nil, false
	case n == len(s):
		return nil, true
	case s[n] != ' ':
		return nil, false
	}
	return bytes.TrimPrefix(s[n+1:], bom), true
}

var bom = utf8.AppendRune(nil, '\ufeff')
