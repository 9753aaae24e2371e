package match

// front finds where in a text a literal may begin, several times faster than
// the automaton of Literals walks: most texts have hardly such a place. It
// looks at every second place only, for two or three bytes that stand at the
// beginning of a literal or behind its first byte, as a bit by their hash.
// Letters are folded, since some literals may be.
type front struct {
	mask uint32 // of the bytes looked at
	bits *[1 << frontBits / 64]uint64
}

const (
	// frontBits is the number of bits, as a power of two: 2 KiB, a small part of
	// the nearest cache.
	frontBits = 14
	// maxFront is the number of literals from which on too many bits are set.
	maxFront = 1 << frontBits / 16
)

// newFront returns a front without bits where it would not help: all places
// count then.
func newFront(literals []string) front {
	n, shortest := 0, 4
	for _, lit := range literals {
		if lit != "" { // that one needs no search
			shortest = min(shortest, len(lit))
			n++
		}
	}
	if shortest < 3 || n > maxFront {
		return front{} // single bytes refuse too little
	}
	f := front{mask: 1<<(8*(shortest-1)) - 1, bits: new([1 << frontBits / 64]uint64)}
	for _, lit := range literals {
		if lit == "" {
			continue
		}
		for i := range 2 {
			window := uint32(0)
			for k, b := range []byte(lit[i : i+shortest-1]) {
				window |= uint32(b) << (8 * k)
			}
			bit := frontBit(window, f.mask)
			f.bits[bit>>6] |= 1 << (bit & 63)
		}
	}
	return f
}

// frontBit returns the number of the bit for some bytes of a text, the first
// one being the lowest. Setting 0x20 folds letters, and takes some other
// characters for each other, which only costs a walk of the automaton.
func frontBit(window, mask uint32) uint32 {
	return (window | 0x20202020) & mask * 0x9E3779B1 >> (32 - frontBits)
}

// seek returns the first position from i on where a literal may begin, and
// len(text) if there is none.
func (f *front) seek(text string, i int) int {
	if f.bits == nil {
		return i
	}
	bits, mask, from := f.bits, f.mask, i
	for ; i+4 <= len(text); i += 2 {
		s := text[i : i+4]
		window := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		if bit := frontBit(window, mask); bits[bit>>6]&(1<<(bit&63)) != 0 {
			break
		}
	}
	return max(i-1, from) // the last bytes are left to the automaton, too
}
