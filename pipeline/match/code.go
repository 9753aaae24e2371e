package match

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// code is a compiled expression over classes of runes: all runes that every
// instruction treats alike are one class, so that an automaton has few columns.
// A byte that is not part of valid UTF-8 counts as U+FFFD of width one, as in
// Go's regexp.
type code struct {
	insts []inst
	start uint32
	slots int // capture slots: two for each kept group, without the whole match
	runes int // number of instructions that take a rune; see inst.arg

	sets    []classSet // what instructions accept
	classes int        // numbers in use, none being 0
	byByte  [256]uint8 // class of an ASCII byte; nonASCII for others
	bounds  []rune     // the intervals above ASCII: first rune
	byBound []uint8    // and class
	low     []uint8    // class of a rune below twoBytes, from RuneSelf on; nil if there are few bounds
	kind    []kind     // by class
	asserts []bool     // by instruction: whether an assertion lies between it and the next rune
	ends    []bool     // by instruction: whether a match lies there, with no assertion before
}

// Columns of the automata behind those of the classes; 0 is for the state itself.
func (c *code) endOfText() uint32 { return uint32(c.classes) }
func (c *code) nonASCII() uint8   { return uint8(c.classes + 1) }
func (c *code) columns() uint32   { return uint32(c.classes + 2) }

const (
	twoBytes  = 0x800 // the first rune whose UTF-8 has three bytes
	fewBounds = 8     // quick to search
)

// maxClasses leaves room for two more columns in a byte.
const maxClasses = 254

type inst struct {
	op  op
	set uint16 // opRune: index in sets
	out uint32
	arg uint32 // second way, capture slot, syntax.EmptyOp, or number among the opRune
}

type op uint8

const (
	opFail op = iota
	opAlt
	opCapture
	opAssert
	opRune
	opMatch
)

// classSet is a set of classes.
type classSet [4]uint64

func (s *classSet) add(class int)      { s[class>>6] |= 1 << (class & 63) }
func (s *classSet) has(class int) bool { return s[class>>6&3]&(1<<(class&63)) != 0 }

// kind is what an assertion wants to know about a neighbouring rune.
type kind uint8

const (
	edge    kind = iota // begin or end of the text
	other               // any other rune
	word                // ASCII letter, digit, underscore
	newline             // \n
	kinds
)

func kindOf(r rune) kind {
	switch {
	case r == '\n':
		return newline
	case syntax.IsWordChar(r):
		return word
	}
	return other
}

// holding returns the assertions that are true between two runes.
func holding(before, after kind) syntax.EmptyOp {
	var f syntax.EmptyOp
	switch before {
	case edge:
		f |= syntax.EmptyBeginText | syntax.EmptyBeginLine
	case newline:
		f |= syntax.EmptyBeginLine
	}
	switch after {
	case edge:
		f |= syntax.EmptyEndText | syntax.EmptyEndLine
	case newline:
		f |= syntax.EmptyEndLine
	}
	if (before == word) != (after == word) {
		return f | syntax.EmptyWordBoundary
	}
	return f | syntax.EmptyNoWordBoundary
}

// keepOnly removes the capture groups that nobody asks for and numbers the
// others by their place in keep, from 1.
func keepOnly(re *syntax.Regexp, keep []int) *syntax.Regexp {
	for i, sub := range re.Sub {
		re.Sub[i] = keepOnly(sub, keep)
	}
	if re.Op == syntax.OpCapture {
		i := slices.Index(keep, re.Cap)
		if i < 0 {
			return re.Sub[0]
		}
		re.Cap = i + 1
	}
	return re
}

// newCode translates a simplified tree.
func newCode(re *syntax.Regexp, groups int) (*code, error) {
	prog, err := syntax.Compile(re)
	if err != nil {
		return nil, err
	}
	c := &code{slots: 2 * groups, insts: make([]inst, len(prog.Inst))}
	through := func(pc uint32) uint32 {
		for prog.Inst[pc].Op == syntax.InstNop {
			pc = prog.Inst[pc].Out
		}
		return pc
	}
	c.start = through(uint32(prog.Start))
	var ranges [][]rune
	var key []byte
	known := map[string]uint16{}
	var asserted syntax.EmptyOp
	for pc := range prog.Inst {
		in, to := &prog.Inst[pc], &c.insts[pc]
		to.out = through(in.Out)
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			to.op, to.arg = opAlt, through(in.Arg)
		case syntax.InstCapture:
			to.op, to.arg = opCapture, in.Arg-2
			if in.Arg < 2 {
				return nil, fmt.Errorf("BUG: whole match as a group at instruction %d", pc)
			}
		case syntax.InstEmptyWidth:
			to.op, to.arg = opAssert, in.Arg
			asserted |= syntax.EmptyOp(in.Arg)
		case syntax.InstMatch:
			to.op = opMatch
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			r := accepted(in)
			key = key[:0]
			for _, end := range r {
				key = binary.AppendUvarint(key, uint64(end))
			}
			set, ok := known[string(key)]
			if !ok {
				set = uint16(len(ranges))
				known[string(key)] = set
				ranges = append(ranges, r)
			}
			to.op, to.set, to.arg = opRune, set, uint32(c.runes)
			c.runes++
		}
	}
	if asserted != 0 {
		c.asserts = c.reaching(func(o op) bool { return o == opAssert })
	}
	c.ends = c.reaching(func(o op) bool { return o == opMatch })
	return c, c.classify(ranges, asserted)
}

// reaching tells for each instruction whether some way leads from it to one of
// a kind, past alternatives and captures only.
func (c *code) reaching(goal func(op) bool) []bool {
	there := make([]bool, len(c.insts))
	for changed := true; changed; {
		changed = false
		for pc := len(c.insts) - 1; pc >= 0; pc-- { // mostly a way leads to a higher number
			if there[pc] {
				continue
			}
			in := &c.insts[pc]
			there[pc] = goal(in.op) ||
				in.op == opAlt && (there[in.out] || there[in.arg]) ||
				in.op == opCapture && there[in.out]
			changed = changed || there[pc]
		}
	}
	return there
}

// certain returns for each instruction the least number of runes before it on
// any way that could hardly have been others: those of literals.
func (c *code) certain() []int {
	least := make([]int, len(c.insts))
	for pc := range least {
		least[pc] = math.MaxInt32
	}
	least[c.start] = 0
	for changed := true; changed; {
		changed = false
		reach := func(pc uint32, n int) {
			if n < least[pc] {
				least[pc], changed = n, true
			}
		}
		for pc := range c.insts { // mostly a way leads to a higher number
			n := least[pc]
			if n == math.MaxInt32 {
				continue
			}
			switch in := &c.insts[pc]; in.op {
			case opAlt:
				reach(in.out, n)
				reach(in.arg, n)
			case opCapture, opAssert:
				reach(in.out, n)
			case opRune:
				if c.literal(in) {
					n++
				}
				reach(in.out, n)
			}
		}
	}
	return least
}

// literal tells whether an instruction takes one rune only, in either case.
func (c *code) literal(in *inst) bool {
	n := 0
	for b := range utf8.RuneSelf {
		if c.sets[in.set].has(int(c.byByte[b])) {
			n++
		}
	}
	return n == 1 || n == 2
}

// accepted returns the runes that an instruction takes, as pairs of first and
// last.
func accepted(in *syntax.Inst) []rune {
	switch in.Op {
	case syntax.InstRuneAny:
		return []rune{0, unicode.MaxRune}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	first := in.Rune[0]
	pairs := []rune{first, first}
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for r := unicode.SimpleFold(first); r != first; r = unicode.SimpleFold(r) {
			pairs = append(pairs, r, r)
		}
	}
	return pairs
}

// classify divides the runes into intervals at every border of some range, and
// joins intervals that lie in the same ranges to classes.
func (c *code) classify(ranges [][]rune, asserted syntax.EmptyOp) error {
	words := asserted&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
	lines := asserted&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0
	cuts := []rune{0, utf8.RuneSelf}
	for _, pairs := range ranges {
		for i := 0; i < len(pairs); i += 2 {
			cuts = append(cuts, pairs[i], pairs[i+1]+1)
		}
	}
	if words {
		cuts = append(cuts, '0', '9'+1, 'A', 'Z'+1, '_', '_'+1, 'a', 'z'+1)
	}
	if lines {
		cuts = append(cuts, '\n', '\n'+1)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	c.sets = make([]classSet, len(ranges))
	c.classes, c.kind = 1, []kind{edge}
	known := map[string]uint8{}
	signature := make([]byte, len(ranges)+1)
	for i, first := range cuts {
		if first > unicode.MaxRune {
			break
		}
		k := kindOf(first)
		if k == word && !words || k == newline && !lines {
			k = other
		}
		signature[len(ranges)] = byte(k)
		for j, pairs := range ranges {
			signature[j] = 0
			if within(pairs, first) {
				signature[j] = 1
			}
		}
		class, ok := known[string(signature)]
		if !ok {
			if c.classes == maxClasses {
				return fmt.Errorf("expression tells more than %d classes of characters apart", maxClasses)
			}
			class = uint8(c.classes)
			c.classes++
			known[string(signature)] = class
			c.kind = append(c.kind, k)
			for j := range ranges {
				if signature[j] == 1 {
					c.sets[j].add(int(class))
				}
			}
		}
		if first < utf8.RuneSelf {
			for b := first; b < utf8.RuneSelf && (i+1 == len(cuts) || b < cuts[i+1]); b++ {
				c.byByte[b] = class
			}
		} else {
			c.bounds = append(c.bounds, first)
			c.byBound = append(c.byBound, class)
		}
	}
	for b := utf8.RuneSelf; b < 256; b++ {
		c.byByte[b] = c.nonASCII()
	}
	if len(c.bounds) > fewBounds {
		low := make([]uint8, twoBytes-utf8.RuneSelf)
		for i := range low {
			low[i] = c.class(rune(utf8.RuneSelf + i))
		}
		c.low = low
	}
	return nil
}

func within(pairs []rune, r rune) bool {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] <= r && r <= pairs[i+1] {
			return true
		}
	}
	return false
}

// class returns the class of a rune.
func (c *code) class(r rune) uint8 {
	if r < utf8.RuneSelf {
		return c.byByte[r]
	}
	if r < twoBytes && c.low != nil {
		return c.low[r-utf8.RuneSelf]
	}
	i, n := 0, len(c.bounds)
	for n > 1 { // the last bound that is not above r is among the n from i on
		if half := n / 2; c.bounds[i+half] <= r {
			i, n = i+half, n-half
		} else {
			n = half
		}
	}
	return c.byBound[i]
}

// decode returns the class and width of the first rune of s.
func (c *code) decode(s string) (class uint32, width int) {
	if s[0] < utf8.RuneSelf {
		return uint32(c.byByte[s[0]]), 1
	}
	r, width := utf8.DecodeRuneInString(s)
	return uint32(c.class(r)), width
}

// decodeLast is decode for the last rune of s. Reading a text backward gives
// the same runes as reading it forward, since the first byte of a valid rune
// can't occur within another one and every other byte is a rune of its own.
func (c *code) decodeLast(s string) (class uint32, width int) {
	if b := s[len(s)-1]; b < utf8.RuneSelf {
		return uint32(c.byByte[b]), 1
	}
	r, width := utf8.DecodeLastRuneInString(s)
	return uint32(c.class(r)), width
}

// kindBefore returns the kind of the rune that ends at pos.
func (c *code) kindBefore(s string, pos int) kind {
	if pos == 0 {
		return edge
	}
	if b := s[pos-1]; b < utf8.RuneSelf {
		return c.kind[c.byByte[b]]
	}
	return other
}
