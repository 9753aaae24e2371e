package decisions

import (
	"crypto/rand"
	"encoding/hex"
)

// NewUUID returns a random UUID (RFC 9562, version 4) in its usual form:
// "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".
func NewUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return uuidText(b)
}

// IsUUID tells whether a text is a UUID of version 4 in its usual form, in
// letters of either case.
func IsUUID(s string) bool {
	b, ok := parseUUID(s)
	return ok && b[6]>>4 == 4 && b[8]>>6 == 0b10
}

func uuidText(b [16]byte) string {
	var room [36]byte
	return string(appendUUID(room[:0], b))
}

// appendUUID appends the usual form, in small letters.
func appendUUID(dst []byte, b [16]byte) []byte {
	dst = append(hex.AppendEncode(dst, b[:4]), '-')
	dst = append(hex.AppendEncode(dst, b[4:6]), '-')
	dst = append(hex.AppendEncode(dst, b[6:8]), '-')
	dst = append(hex.AppendEncode(dst, b[8:10]), '-')
	return hex.AppendEncode(dst, b[10:])
}

// parseUUID reads a UUID of any version in its usual form.
func parseUUID(s string) (b [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return b, false
	}
	var digits [32]byte
	n := copy(digits[:], s[:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:])
	_, err := hex.Decode(b[:], digits[:])
	return b, err == nil
}
