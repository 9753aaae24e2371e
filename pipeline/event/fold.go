package event

import "strings"

// Upper returns s in upper case. The result is s itself or valid until the
// next Reset.
func (e *Event) Upper(s string) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 {
			return strings.ToUpper(s)
		}
		if c-'a' < 26 {
			return e.recase(s, i, 'a', strings.ToUpper)
		}
	}
	return s
}

// Lower returns s in lower case. The result is s itself or valid until the
// next Reset.
func (e *Event) Lower(s string) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 {
			return strings.ToLower(s)
		}
		if c-'A' < 26 {
			return e.recase(s, i, 'A', strings.ToLower)
		}
	}
	return s
}

// recase copies s into the arena and swaps the case of the letters from first
// to first+25, beginning at byte i. Text beyond ASCII is left to slow, which
// allocates.
func (e *Event) recase(s string, i int, first byte, slow func(string) string) string {
	n := len(e.arena)
	e.arena = append(e.arena, s...)
	b := e.arena[n:]
	for ; i < len(b); i++ {
		c := b[i]
		if c >= 0x80 {
			e.arena = e.arena[:n]
			return slow(s)
		}
		if c-first < 26 {
			b[i] = c ^ 0x20
		}
	}
	return view(b)
}
