package match

import (
	"math/bits"
	"slices"
	"sync"
)

// Literals finds which of many fixed texts occur in a text, in one pass over
// it whatever their number (Aho and Corasick 1975). Its tables are made when it is
// used first: most of a large set of filters are never asked. It is safe for
// concurrent use.
type Literals struct {
	count int
	once  sync.Once // build sets what follows from texts
	texts []string  // until then
	fold  bool
	dense int

	class  [256]uint16 // classes of bytes: the letters of the literals, 0 for all others
	width  uint32      // number of classes
	next   []uint32    // dense transitions: state + class -> state | hit; states are multiples of width
	out    []outputs   // by state/width
	ids    []int32
	always []int32 // empty literals
	front  front

	// nodes replace next where a dense table would be too large; root is the
	// one dense row they have.
	nodes []edges
	root  []uint32
}

// hit marks a transition to a state where literals end.
const hit = 1 << 31

// outputs are the literals that end at a state: ids[from:to], then those of
// the longest proper suffix that is the end of some literal, 0 for none.
type outputs struct {
	from, to int32
	suffix   uint32
}

// edges is a state of the automaton with failure links.
type edges struct {
	class []uint16
	to    []uint32
	fail  uint32
}

// maxDense bounds the dense table of a Literals, in entries of four bytes.
// Larger sets, some ten thousand literals, take the form with failure links,
// whose memory is linear in the length of the literals and which is slower.
const maxDense = 1 << 20

// NewLiterals makes a matcher; the number of a literal is its index. It keeps the
// list. With fold, ASCII letters match in either case.
func NewLiterals(literals []string, fold bool) *Literals {
	return newLiterals(literals, fold, maxDense)
}

func newLiterals(literals []string, fold bool, dense int) *Literals {
	return &Literals{count: len(literals), texts: literals, fold: fold, dense: dense}
}

// build makes the tables.
func (l *Literals) build() {
	literals := l.texts
	l.texts = nil
	l.classify(literals, l.fold)
	l.front = newFront(literals)

	// The trie, in the form with edges.
	nodes := []edges{{}}
	ends := [][]int32{nil}
	for id, lit := range literals {
		if lit == "" {
			l.always = append(l.always, int32(id))
			continue
		}
		at := uint32(0)
		for i := range len(lit) {
			c := l.class[lit[i]]
			to, ok := nodes[at].find(c)
			if !ok {
				to = uint32(len(nodes))
				nodes = append(nodes, edges{})
				ends = append(ends, nil)
				nodes[at].class = append(nodes[at].class, c)
				nodes[at].to = append(nodes[at].to, to)
			}
			at = to
		}
		ends[at] = append(ends[at], int32(id))
	}

	l.out = make([]outputs, len(nodes))
	for at, ids := range ends {
		l.out[at].from = int32(len(l.ids))
		l.ids = append(l.ids, ids...)
		l.out[at].to = int32(len(l.ids))
	}

	// Failure links breadth first, so that a suffix is done before its owner.
	queue := append(make([]uint32, 0, len(nodes)), 0)
	for head := 0; head < len(queue); head++ {
		at := queue[head]
		for i, to := range nodes[at].to {
			queue = append(queue, to)
			if at == 0 {
				continue
			}
			fail := step(nodes, nodes[at].fail, nodes[at].class[i])
			nodes[to].fail = fail
			if o := l.out[fail]; o.from < o.to {
				l.out[to].suffix = fail
			} else {
				l.out[to].suffix = o.suffix
			}
		}
	}

	if len(nodes)*int(l.width) > l.dense {
		l.nodes = nodes
		l.root = make([]uint32, l.width)
		for i, c := range nodes[0].class {
			l.root[c] = nodes[0].to[i]
		}
		return
	}
	l.next = make([]uint32, len(nodes)*int(l.width))
	for _, at := range queue {
		row := l.next[at*l.width:][:l.width]
		if at != 0 {
			copy(row, l.next[nodes[at].fail*l.width:])
		}
		for i, c := range nodes[at].class {
			to := nodes[at].to[i]
			row[c] = to * l.width
			if o := l.out[to]; o.from < o.to || o.suffix != 0 {
				row[c] |= hit
			}
		}
	}
}

// classify gives each byte that occurs in a literal a class of its own.
func (l *Literals) classify(literals []string, fold bool) {
	l.width = 1
	for _, lit := range literals {
		for i := range len(lit) {
			b := lit[i]
			if l.class[b] != 0 {
				continue
			}
			l.class[b] = uint16(l.width)
			if fold {
				l.class[flipCase(b)] = uint16(l.width)
			}
			l.width++
		}
	}
}

func flipCase(b byte) byte {
	if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' {
		return b ^ 0x20
	}
	return b
}

func (e *edges) find(class uint16) (to uint32, ok bool) {
	i := slices.Index(e.class, class)
	if i < 0 {
		return 0, false
	}
	return e.to[i], true
}

// step follows failure links until a state has an edge for the class.
func step(nodes []edges, at uint32, class uint16) uint32 {
	for {
		if to, ok := nodes[at].find(class); ok || at == 0 {
			return to
		}
		at = nodes[at].fail
	}
}

// Len is the number of literals.
func (l *Literals) Len() int { return l.count }

// Find adds to found the numbers of the literals that occur in text.
func (l *Literals) Find(text string, found Bits) {
	l.once.Do(l.build)
	for _, id := range l.always {
		found.Add(int(id))
	}
	l.scan(text, found)
}

// Any tells whether at least one literal occurs in text.
func (l *Literals) Any(text string) bool {
	l.once.Do(l.build)
	return len(l.always) > 0 || l.scan(text, nil)
}

// scan adds what it finds; with no set to add to it stops at the first.
func (l *Literals) scan(text string, found Bits) bool {
	if l.nodes != nil {
		return l.scanNodes(text, found)
	}
	next := l.next
	if len(next) <= 1 {
		return false // no literals, no table
	}
	at := uint32(0)
	for i := 0; i < len(text); i++ {
		if at == 0 {
			if i = l.front.seek(text, i); i == len(text) {
				return false
			}
		}
		at = next[at+uint32(l.class[text[i]])]
		if at&hit != 0 {
			at &^= hit
			if found == nil {
				return true
			}
			l.collect(at/l.width, found)
		}
	}
	return false
}

func (l *Literals) scanNodes(text string, found Bits) bool {
	at := uint32(0)
	for i := 0; i < len(text); i++ {
		if at == 0 {
			if i = l.front.seek(text, i); i == len(text) {
				return false
			}
		}
		c := l.class[text[i]]
		to, ok := uint32(0), false
		for at != 0 && !ok {
			if to, ok = l.nodes[at].find(c); !ok {
				at = l.nodes[at].fail
			}
		}
		if !ok {
			to = l.root[c]
		}
		at = to
		if o := l.out[at]; o.from < o.to || o.suffix != 0 {
			if found == nil {
				return true
			}
			l.collect(at, found)
		}
	}
	return false
}

// collect adds the literals that end at a state.
func (l *Literals) collect(at uint32, found Bits) {
	for {
		o := &l.out[at]
		for _, id := range l.ids[o.from:o.to] {
			found.Add(int(id))
		}
		if o.suffix == 0 {
			return
		}
		at = o.suffix
	}
}

// Bits is a set of small numbers.
type Bits []uint64

// NewBits returns an empty set for the numbers below n.
func NewBits(n int) Bits { return make(Bits, (n+63)/64) }

// Add puts i in the set.
func (b Bits) Add(i int) { b[i>>6] |= 1 << (i & 63) }

// Has tells whether i is in the set.
func (b Bits) Has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }

// Clear empties the set.
func (b Bits) Clear() { clear(b) }

// All yields the members in ascending order.
func (b Bits) All(yield func(int) bool) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			if !yield(w<<6 | bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}
