package event

import (
	"unicode"
	"unicode/utf8"
)

// Upper returns s in upper case. The result is s itself or valid until the
// next Reset.
func (e *Event) Upper(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c-'a' < 26 {
			return e.recase(s, i, 'a', unicode.ToUpper)
		}
	}
	return s
}

// Lower returns s in lower case. The result is s itself or valid until the
// next Reset.
func (e *Event) Lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c-'A' < 26 {
			return e.recase(s, i, 'A', unicode.ToLower)
		}
	}
	return s
}

// recase copies s into the arena and swaps the case of the letters from first
// to first+25, beginning at byte i. Runes beyond ASCII become what other makes
// of them, and bytes that are no UTF-8 become U+FFFD, as in package strings.
func (e *Event) recase(s string, i int, first byte, other func(rune) rune) string {
	n := len(e.arena)
	b := append(e.arena, s...)
	for ; i < len(s) && s[i] < utf8.RuneSelf; i++ {
		if c := s[i]; c-first < 26 {
			b[n+i] = c ^ 0x20
		}
	}
	if i < len(s) {
		b = b[:n+i]
		for _, r := range s[i:] {
			b = utf8.AppendRune(b, other(r))
		}
	}
	e.arena = b
	return view(b[n:])
}
