// Package match runs regular expressions with Go's syntax and semantics
// (leftmost-first) over log lines, without allocating and in time linear in
// the length of the line. It also finds many literals, or any of many
// expressions, in one pass. It knows nothing of grok or events: cs/pipeline/grok
// and cs/pipeline/expr are its callers.
//
// A text goes through a cascade, the cheapest first. Each stage decides it or
// hands it on:
//
//	literals    one that every match contains is missing: no match
//	forward     a tagged automaton tries where a match may begin and finds the
//	            groups in the same pass
//	reverse     an automaton that reads backward finds where the first match
//	            begins, if the tries have cost too much
//	backtracker runs the program itself, where an automaton is full
//	regexp      of the standard library, for what is too large for all of these
//
// The automata are built while they are used, shared by all workers, and
// bounded. Machine.Counts tells how often each stage was needed.
package match

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Program is an expression, shared by all workers. It is compiled when it is used
// first: most expressions of a large set never are.
type Program struct {
	source func() (expr string, keep []int)
	limit  limits
	std    func() *regexp.Regexp

	once    sync.Once // build sets what follows
	keep    []int
	code    *code // nil: only the standard library can run it
	quick   *forward
	forward *forward
	reverse *reverse

	must     string    // longest literal that every match contains, "" if none
	sequence []string  // literals that it contains in that order
	anchored bool      // a match begins at 0
	prefix   string    // a match begins with it
	first    [256]bool // unless there is a prefix: bytes it may begin with
	anywhere bool      // it may be empty

	streak atomic.Uint32 // texts that matched, one after the other; not beyond trusted
}

// Machine is the scratch memory of one worker. The zero value is ready.
type Machine struct {
	Counts Counts

	regs  [registers]int32
	back  backtracker
	caps  []int32
	bits  Bits
	steps int // runes passed by the automata; for tests
}

// Counts tells which stage decided how many calls of Match.
type Counts struct {
	Refused   uint64 // a needed literal or first byte is missing
	Forward   uint64
	Reverse   uint64 // reverse, and forward where it said
	Backtrack uint64
	Stdlib    uint64 // these allocate
}

// Caps returns room for the offsets of n groups, the whole match being one of
// them. It is valid until the next call of Caps.
func (m *Machine) Caps(n int) []int32 {
	if cap(m.caps) < 2*n {
		m.caps = make([]int32, 2*n)
	}
	return m.caps[:2*n]
}

// Compile checks an expression. keep lists the capture groups whose
// positions Match reports, in that order and each once; nil asks for none.
func Compile(expr string, keep []int) (*Program, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return newProgram(expr, re, keep, defaultLimits)
}

func newProgram(expr string, re *syntax.Regexp, keep []int, limit limits) (*Program, error) {
	for i, g := range keep {
		if g < 1 || g > re.MaxCap() || slices.Contains(keep[:i], g) {
			return nil, fmt.Errorf("cannot keep group %d: not there or kept already", g)
		}
	}
	keep = slices.Clone(keep)
	return programOf(func() (string, []int) { return expr, keep }, limit), nil
}

// Later is Compile for an expression that is known to be valid, and named
// groups that it is known to have. It asks for both when the program is used
// first, and again for String: large expressions need not be kept.
func Later(source func() (expr string, groups []string)) *Program {
	return programOf(func() (string, []int) {
		expr, groups := source()
		names := parsed(expr).CapNames()
		keep := make([]int, len(groups))
		for i, name := range groups {
			if keep[i] = slices.Index(names, name); keep[i] < 0 {
				panic(fmt.Sprintf("BUG: there is no group %s in %s", name, expr))
			}
		}
		return expr, keep
	}, defaultLimits)
}

func programOf(source func() (string, []int), limit limits) *Program {
	return &Program{source: source, limit: limit, std: sync.OnceValue(func() *regexp.Regexp {
		expr, _ := source()
		return regexp.MustCompile(expr)
	})}
}

// parsed is the tree of an expression that has been found valid. It is not kept
// since it takes more memory than all the rest.
func parsed(expr string) *syntax.Regexp {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		panic(fmt.Sprintf("BUG: %s was found valid before: %v", expr, err))
	}
	return re
}

// build compiles the program.
func (p *Program) build() {
	expr, keep := p.source()
	p.keep = keep
	re := keepOnly(parsed(expr), p.keep).Simplify()
	code, err := newCode(re, len(p.keep))
	if err != nil {
		return // too many classes of characters
	}
	p.quick = newForward(code, p.limit, true)
	p.forward = newForward(code, p.limit, false)
	p.reverse = newReverse(code, p.limit)
	p.code = code
	p.prepare(re)
}

// String returns the expression.
func (p *Program) String() string {
	expr, _ := p.source()
	return expr
}

// Groups returns the numbers of the kept groups.
func (p *Program) Groups() []int {
	p.once.Do(p.build)
	return p.keep
}

// Tables returns how many states the automata have, and an estimate of the bytes
// they take. Both are bounded.
func (p *Program) Tables() (states, bytes int) {
	p.once.Do(p.build)
	if p.code == nil {
		return 0, 0
	}
	qs, qb := p.quick.size()
	fs, fb := p.forward.size()
	rs, rb := p.reverse.size()
	return qs + fs + rs, qb + fb + rb
}

// Required returns literals in lower case of which every match contains at least
// one, ASCII letters in either case, or nil if none are known. They don't help
// with texts in which folding meets ASCII: see Folds.
func (p *Program) Required() []string { return oneOf(parsed(p.String())) }

// Folds tells whether s has one of the two characters beyond ASCII, U+212A and U+017F,
// that a case-blind expression takes for ASCII letters. They hide literals from
// a search that folds ASCII letters only.
func Folds(s string) bool {
	return strings.Contains(s, "\u212a") || strings.Contains(s, "\u017f")
}

// prepare finds out what can be told without an automaton.
func (p *Program) prepare(re *syntax.Regexp) {
	p.sequence = sequence(re)
	p.must = longest(p.sequence)
	p.prefix, p.anchored = beginning(re)
	if p.prefix == "" {
		p.anywhere = p.firstBytes(p.code.start, make([]bool, len(p.code.insts)))
	}
}

// Literal returns a literal that every match contains, "" if none is known. It does
// not compile the program.
func (p *Program) Literal() string { return longest(sequence(parsed(p.String()).Simplify())) }

// longest returns the literal to look for before all others.
func longest(literals []string) (must string) {
	for _, l := range literals {
		if len(l) > len(must) {
			must = l
		}
	}
	if m := strings.TrimLeft(must, " "); len(m) > 2 {
		return m // blanks occur everywhere: the search would stop at each
	}
	return must
}

// firstBytes adds the bytes that can be taken next, and tells whether a match
// can be reached without any.
func (p *Program) firstBytes(pc uint32, seen []bool) bool {
	if seen[pc] {
		return false
	}
	seen[pc] = true
	c := p.code
	switch in := &c.insts[pc]; in.op {
	case opMatch:
		return true
	case opAlt:
		a, b := p.firstBytes(in.out, seen), p.firstBytes(in.arg, seen)
		return a || b
	case opCapture, opAssert:
		return p.firstBytes(in.out, seen)
	case opRune:
		for b := range utf8.RuneSelf {
			if c.sets[in.set].has(int(c.byByte[b])) {
				p.first[b] = true
			}
		}
		if slices.ContainsFunc(c.byBound, func(class uint8) bool { return c.sets[in.set].has(int(class)) }) {
			for b := utf8.RuneSelf; b < 256; b++ {
				p.first[b] = true
			}
		}
	}
	return false
}

// Match searches s for the leftmost match. caps gets a pair of offsets for
// the whole match and for each kept group, -1 where a group took no part; it
// must hold 2*(1+len(keep)) values, or be nil when only the verdict counts.
// Without a match its contents are undefined.
func (p *Program) Match(m *Machine, s string, caps []int32) bool {
	p.once.Do(p.build)
	if p.code == nil {
		return p.stdlib(m, s, caps)
	}
	if p.must == "" {
		return p.try(m, s, caps)
	}
	streak := p.streak.Load()
	if streak == trusted {
		ok := p.try(m, s, caps)
		if !ok {
			p.streak.Store(0)
		}
		return ok
	}
	if !strings.Contains(s, p.must) {
		m.Counts.Refused++
		if streak > 0 {
			p.streak.Store(0)
		}
		return false
	}
	ok := p.try(m, s, caps)
	if ok {
		p.streak.Store(streak + 1)
	} else if streak > 0 {
		p.streak.Store(0)
	}
	return ok
}

// trusted is for how many texts in a row a program must match until it is believed
// to match the next ones, too: then nothing is looked for before.
const trusted = 32

// try is Match without looking for the needed literal first.
func (p *Program) try(m *Machine, s string, caps []int32) bool {
	// Tries from one candidate to the next would be quadratic for some texts.
	// They may take as many steps as one more pass over the text; what is
	// undecided by then is the reverse automaton's.
	for pos, steps, tries := 0, 0, 0; ; tries++ {
		if pos = p.candidate(s, pos); pos < 0 {
			if tries == 0 {
				m.Counts.Refused++
			} else {
				m.Counts.Forward++
			}
			return false
		}
		v, end := p.quick.match(m, s, pos, caps)
		m.steps += end - pos
		if v == matched || v == failed && p.anchored {
			m.Counts.Forward++
			return v == matched
		}
		if tries == 0 && !contains(s, p.sequence) {
			m.Counts.Refused++
			return false
		}
		steps += end - pos + 1
		if v == lost {
			v, end = p.forward.match(m, s, pos, caps)
			m.steps += end - pos
			if v == matched || v == failed && p.anchored {
				m.Counts.Forward++
				return v == matched
			}
			steps += end - pos
		}
		if v == undecided {
			return p.backtrack(m, s, pos, caps)
		}
		if steps > len(s) {
			return p.search(m, s, pos, caps)
		}
		if pos == len(s) {
			m.Counts.Forward++
			return false
		}
		_, width := p.code.decode(s[pos:])
		pos += width
	}
}

// candidate returns the first position from pos on where a match may begin, -1
// if there is none. Both positions are borders of runes.
func (p *Program) candidate(s string, pos int) int {
	switch {
	case p.anchored:
		return pos
	case p.prefix != "":
		i := strings.Index(s[pos:], p.prefix)
		if i < 0 {
			return -1
		}
		return pos + i
	case p.anywhere:
		return pos
	}
	for ; pos < len(s); pos++ {
		if p.first[s[pos]] {
			return pos
		}
	}
	return -1
}

// contains tells whether literals occur in s in that order without overlap.
func contains(s string, literals []string) bool {
	for _, l := range literals {
		i := strings.Index(s, l)
		if i < 0 {
			return false
		}
		s = s[i+len(l):]
	}
	return true
}

// search finds the first match that begins at pos or later, without trying.
func (p *Program) search(m *Machine, s string, pos int, caps []int32) bool {
	start, v := p.reverse.search(s, pos)
	m.steps += len(s) - pos
	switch v {
	case failed:
		m.Counts.Reverse++
		return false
	case undecided:
		return p.backtrack(m, s, pos, caps)
	}
	v, end := p.quick.match(m, s, start, caps)
	m.steps += end - start
	if v == lost {
		v, end = p.forward.match(m, s, start, caps)
		m.steps += end - start
	}
	switch v {
	case undecided:
		return p.backtrack(m, s, start, caps)
	case failed:
		panic(fmt.Sprintf("BUG: %s matches %q at %d backward, but not forward", p, s, start))
	}
	m.Counts.Reverse++
	return true
}

// backtrack does without automata.
func (p *Program) backtrack(m *Machine, s string, pos int, caps []int32) bool {
	if !m.back.fits(p.code, len(s)-pos) {
		return p.stdlib(m, s, caps)
	}
	m.Counts.Backtrack++
	return m.back.find(p.code, s, pos, p.anchored, caps)
}

func (p *Program) stdlib(m *Machine, s string, caps []int32) bool {
	m.Counts.Stdlib++
	if caps == nil {
		return p.std().MatchString(s)
	}
	loc := p.std().FindStringSubmatchIndex(s)
	if loc == nil {
		return false
	}
	caps[0], caps[1] = int32(loc[0]), int32(loc[1])
	for i, g := range p.keep {
		caps[2+2*i], caps[3+2*i] = int32(loc[2*g]), int32(loc[2*g+1])
	}
	return true
}

// sets returns two empty sets for the numbers below n and k.
func (m *Machine) sets(n, k int) (Bits, Bits) {
	a, b := (n+63)/64, (k+63)/64
	if cap(m.bits) < a+b {
		m.bits = make(Bits, a+b)
	}
	s := m.bits[:a+b]
	s.Clear()
	return s[:a:a], s[a:]
}
