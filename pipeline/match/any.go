package match

import (
	"fmt"
	"regexp/syntax"
)

// Any tells whether at least one of many expressions matches a text. One pass
// for the literals that the expressions need leaves few of them to be run.
type Any struct {
	programs []*Program
	literals *Literals
	needing  []int32 // by literal: the program that needs it
	always   Bits    // programs without a needed literal
}

// NewAny compiles the expressions. The first that is invalid is an error that
// tells its index and text.
func NewAny(exprs []string) (*Any, error) {
	a := &Any{always: NewBits(len(exprs))}
	var literals []string
	for i, expr := range exprs {
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("cannot compile expression %d of %d: %w", i+1, len(exprs), err)
		}
		p, err := newProgram(expr, re, nil, defaultLimits)
		if err != nil {
			return nil, fmt.Errorf("cannot compile expression %d of %d: %w", i+1, len(exprs), err)
		}
		a.programs = append(a.programs, p)
		needed := oneOf(re)
		if len(needed) == 0 {
			a.always.Add(i)
		}
		for _, lit := range needed {
			literals = append(literals, lit)
			a.needing = append(a.needing, int32(i))
		}
	}
	a.literals = NewLiterals(literals, true)
	return a, nil
}

// Len is the number of expressions.
func (a *Any) Len() int { return len(a.programs) }

// Match tells whether an expression matches s.
func (a *Any) Match(m *Machine, s string) bool {
	found, run := m.sets(a.literals.Len(), len(a.programs))
	copy(run, a.always)
	if Folds(s) {
		for i := range a.programs {
			run.Add(i)
		}
	} else {
		a.literals.Find(s, found)
		for id := range found.All {
			run.Add(int(a.needing[id]))
		}
	}
	for i := range run.All {
		if a.programs[i].Match(m, s, nil) {
			return true
		}
	}
	return false
}
