// Package match runs regular expressions with Go's semantics
// (leftmost-first, RE2 syntax) over log lines without allocating.
package match

import "regexp"

// Program is a compiled expression, shared by all workers.
type Program struct {
	re   *regexp.Regexp
	keep []int
}

// Machine is the scratch memory of one worker. The zero value is ready.
type Machine struct {
	caps []int32
	bits Bits
}

// Caps returns room for the offsets of n groups, the whole match being one of
// them. It is valid until the next call on m.
func (m *Machine) Caps(n int) []int32 {
	if cap(m.caps) < 2*n {
		m.caps = make([]int32, 2*n)
	}
	return m.caps[:2*n]
}

// Compile compiles an expression. keep lists the capture groups whose
// positions Match reports, in that order; nil asks for none.
func Compile(expr string, keep []int) (*Program, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	return &Program{re: re, keep: keep}, nil
}

// Match searches s for the leftmost match. caps gets a pair of offsets for
// the whole match and for each kept group, -1 where a group took no part; it
// must hold 2*(1+len(keep)) values, or be nil when only the verdict counts.
func (p *Program) Match(m *Machine, s string, caps []int32) bool {
	loc := p.re.FindStringSubmatchIndex(s)
	if loc == nil {
		return false
	}
	if caps != nil {
		caps[0], caps[1] = int32(loc[0]), int32(loc[1])
		for i, g := range p.keep {
			caps[2+2*i], caps[3+2*i] = int32(loc[2*g]), int32(loc[2*g+1])
		}
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
