package expr

import "math/bits"

// lexicon maps a fixed set of texts to small numbers. Its hash looks at the length
// and at no more than eight bytes of either end, so a look-up costs about as much
// as comparing two texts, where a map of Go costs several times that.
type lexicon struct {
	keys  []string
	ids   []int32
	slots []int32 // by hash: index of a key plus one, 0 for none
	long  map[string]int32
}

// maxProbes bounds how many texts a look-up may have to compare. Sets that need
// more, whose texts differ in their middles only, are kept in a map.
const maxProbes = 8

// newLexicon maps each text to the id at its place. No text may be there twice.
func newLexicon(texts []string, ids []int32) *lexicon {
	l := &lexicon{keys: texts, ids: ids}
	if len(texts) == 0 {
		return l
	}
	l.slots = make([]int32, 2<<bits.Len(uint(len(texts))))
	for i, t := range texts {
		at, probes := l.slot(t), 1
		for l.slots[at] != 0 {
			at = (at + 1) & (len(l.slots) - 1)
			probes++
		}
		if probes > maxProbes {
			return newLongLexicon(texts, ids)
		}
		l.slots[at] = int32(i) + 1
	}
	return l
}

func newLongLexicon(texts []string, ids []int32) *lexicon {
	l := &lexicon{long: make(map[string]int32, len(texts))}
	for i, t := range texts {
		l.long[t] = ids[i]
	}
	return l
}

// newTextSet maps texts, which may be there twice, to 0.
func newTextSet(texts []string) *lexicon {
	seen := make(map[string]bool, len(texts))
	var keys []string
	for _, t := range texts {
		if !seen[t] {
			seen[t] = true
			keys = append(keys, t)
		}
	}
	return newLexicon(keys, make([]int32, len(keys)))
}

// find returns the number of a text, -1 if it has none.
func (l *lexicon) find(s string) int32 {
	if len(l.slots) == 0 {
		if id, ok := l.long[s]; ok {
			return id
		}
		return -1
	}
	for at := l.slot(s); ; at = (at + 1) & (len(l.slots) - 1) {
		i := l.slots[at]
		if i == 0 {
			return -1
		}
		if l.keys[i-1] == s {
			return l.ids[i-1]
		}
	}
}

func (l *lexicon) has(s string) bool { return l.find(s) >= 0 }

func (l *lexicon) slot(s string) int { return int(hashEnds(s)) & (len(l.slots) - 1) }

// hashEnds hashes the length and the ends of a text.
func hashEnds(s string) uint32 {
	n := len(s)
	var a, b uint64
	switch {
	case n >= 8:
		a, b = load8(s), load8(s[n-8:])
	case n >= 4:
		a, b = load4(s), load4(s[n-4:])
	case n > 0:
		a = uint64(s[0]) | uint64(s[n>>1])<<8 | uint64(s[n-1])<<16
	}
	const odd = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
	h := (a ^ bits.RotateLeft64(b, 23) ^ uint64(n)) * odd
	return uint32((h ^ h>>29) * odd >> 32)
}

func load8(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func load4(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}
