package lapi

import (
	"net/http"
	"strings"
)

// A coding compresses long answers. It works on pieces that know nothing of
// each other, so that each can be kept for the next client; head, pieces and
// tail together are one body in that coding.
type coding struct {
	name string // as in Accept-Encoding
	head []byte
	// pack appends a piece, compressed, to dst; nil: there is nothing to do.
	pack func(dst, raw []byte) []byte
	// tail ends a body with a checksum (CRC-32, IEEE) and a length; nil: none is needed.
	tail func(sum uint32, length int64) []byte
}

// plain is no coding.
var plain = &coding{}

// acceptedCoding returns the best coding that a client has asked for, plain
// if it has asked for none that we know. No client is sent what it hasn't named:
// upstream never compresses, and some bouncers could not make sense of it.
func acceptedCoding(h http.Header) *coding {
	asked := h["Accept-Encoding"]
	if len(asked) == 0 {
		return plain
	}
	for _, c := range codings {
		for word := range strings.SplitSeq(strings.Join(asked, ","), ",") {
			name, quality, _ := strings.Cut(word, ";")
			if strings.EqualFold(strings.TrimSpace(name), c.name) && !isZero(quality) {
				return c
			}
		}
	}
	return plain
}

// isZero tells whether a quality ("q=0.0") forbids what it stands behind.
func isZero(quality string) bool {
	_, value, ok := strings.Cut(strings.ReplaceAll(quality, " ", ""), "=")
	return ok && strings.Trim(value, "0.") == ""
}

// joinSums returns the CRC-32 of two pieces behind each other, of which the
// second has so many bytes: the first one's is moved on by as many zeros, which
// is a multiplication of polynomials, by repeated squaring (as zlib's crc32_combine).
func joinSums(first, second uint32, length int64) uint32 {
	const poly = 0xedb88320
	times := func(a, b uint32) (p uint32) {
		for m := uint32(1 << 31); m != 0; m >>= 1 {
			if a&m != 0 {
				p ^= b
			}
			if b&1 != 0 {
				b = b>>1 ^ poly
			} else {
				b >>= 1
			}
		}
		return p
	}
	shift, square := uint32(1<<31), uint32(1<<23) // x^0, x^8: one byte
	for ; length > 0; length >>= 1 {
		if length&1 != 0 {
			shift = times(square, shift)
		}
		square = times(square, square)
	}
	return times(shift, first) ^ second
}
