package node

import (
	"sync"

	"cs/pipeline/event"
	"cs/pipeline/match"
)

// siblings are children of a node, one behind the other in its list, that do nothing
// but match a grok with the same field: most texts need few of them to be tried. One
// pass over the text finds out which.
type siblings struct {
	from    event.Slot
	members []bool // by number of the child

	once     sync.Once
	literals *match.Literals
	needs    []int // by number of the child: the literal that its text must have; -1 for none
}

// Sets of siblings have so many members: fewer are quicker to try, and no document has
// more.
const (
	minSiblings   = 5
	siblingWords  = 4
	mostLiterals  = 64 * siblingWords
	siblingsTried = 1 // before it is looked which ones are worth it: the first may be it
)

// siblingsOf returns the siblings among children, nil if there are too few.
func siblingsOf(children []*Node) *siblings {
	s := &siblings{members: make([]bool, len(children))}
	n := 0
	for i, c := range children {
		g := c.grok
		if g == nil || g.raw || g.expr != nil || c.filter != nil || c.whitelist != nil || c.children != nil || n > 0 && g.from != s.from {
			continue
		}
		s.from, s.members[i] = g.from, true
		n++
	}
	if n < minSiblings || n > mostLiterals {
		return nil
	}
	return s
}

// find adds to found the literals in a text.
func (s *siblings) find(children []*Node, text string, found match.Bits) {
	s.once.Do(func() {
		var literals []string
		for i, c := range children {
			need := -1
			if s.members[i] {
				if l := c.grok.pattern.Literal(); l != "" {
					need = len(literals)
					literals = append(literals, l)
				}
			}
			s.needs = append(s.needs, need)
		}
		s.literals = match.NewLiterals(literals, false)
	})
	s.literals.Find(text, found)
}

// refuses tells whether the i-th child can't match a text with the literals found.
func (s *siblings) refuses(i int, found match.Bits) bool {
	return s.needs[i] >= 0 && !found.Has(s.needs[i])
}
