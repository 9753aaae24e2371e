package expr

import (
	"slices"
	"strings"

	"cs/pipeline/event"
	"cs/pipeline/match"
)

// clue is something that must hold for a condition to be true: a text is one of
// some values, or none of them, or one of some literals occurs in a text. If a
// clue of a condition does not hold, evaluating it gives false, without failing
// and without an effect; so an index may leave it out.
type clue struct {
	subject *subject // what must be one of the values; nil: nothing
	values  []string
	but     bool // it must be none of them

	needles []needle  // one of them must be there; nil: not known
	room    *[]needle // of which needles is the start, or all; nil: there is none for more
	quick   bool      // the condition looks at the ends of a text only
}

// needle is a literal that occurs in a subject.
type needle struct {
	subject *subject
	text    string // not empty
	fold    bool   // in either case: letters of foreign may stand for its own
}

// subject is a text that clues are about.
type subject struct {
	key  string      // names the expression: equal keys, equal texts
	slot *event.Slot // the field that it is; nil: something else
	str  func(*Ctx) string
}

func (s *subject) text(x *Ctx) string {
	if s.slot != nil {
		return x.Event.Get(*s.slot)
	}
	return s.str(x)
}

// isPlain tells whether getting the text is no work.
func (s *subject) isPlain() bool { return !strings.Contains(s.key, "(") }

// subjectOf returns the subject that a text is, nil if it has no name.
func subjectOf(v value) *subject {
	if v.key == "" {
		return nil
	}
	s := &subject{key: v.key, slot: v.slot, str: v.str}
	if v.source != nil {
		s.str = v.source
	}
	return s
}

// conjunct is one of the conditions that must all be true.
type conjunct struct {
	test func(*Ctx) bool

	// exact holds if and only if test is true, and asking it out of turn does no
	// harm. Nil: there is none.
	exact *clue
}

// conjuncts returns the conditions that a condition is made of by &&.
func (v value) conjuncts() []conjunct {
	if v.and != nil {
		return v.and
	}
	c := conjunct{test: v.bool}
	if v.exact {
		c.exact = &v.clues[0]
	}
	return []conjunct{c}
}

// all makes the condition that conjuncts are.
func all(and []conjunct) func(*Ctx) bool {
	switch len(and) {
	case 0:
		return func(*Ctx) bool { return true }
	case 1:
		return and[0].test
	case 2:
		f, g := and[0].test, and[1].test
		return func(x *Ctx) bool { return f(x) && g(x) }
	case 3:
		f, g, h := and[0].test, and[1].test, and[2].test
		return func(x *Ctx) bool { return f(x) && g(x) && h(x) }
	}
	tests := make([]func(*Ctx) bool, len(and))
	for i := range and {
		tests[i] = and[i].test
	}
	return func(x *Ctx) bool {
		for _, f := range tests {
			if !f(x) {
				return false
			}
		}
		return true
	}
}

// both makes a && b.
func both(a, b value) value {
	and := slices.Clone(a.conjuncts())
	for _, c := range b.conjuncts() {
		if a.risky {
			c.exact = nil // a may fail, or change what b looks at
		}
		and = append(and, c)
	}
	v := boolean(all(and))
	v.and, v.clues, v.anyOf = and, bothClues(a, b), bothEach(a, b)
	return v
}

// maxNeedles bounds the literals of one clue, and maxValues its values.
const (
	maxNeedles = 4096
	maxValues  = 4096
)

// needlesIn makes the needles for texts one of which occurs in v. What Upper
// and Lower made of a text has the same literals as the text, but for the case.
func needlesIn(v value, texts ...string) []needle {
	fold := false
	for v.folds != nil {
		v, fold = *v.folds, true
	}
	s := subjectOf(v)
	if s == nil || len(texts) == 0 || len(texts) > maxNeedles {
		return nil
	}
	needles := make([]needle, len(texts))
	for i, t := range texts {
		if fold {
			t = longestASCII(t) // the other letters looked different before
		}
		if t == "" {
			return nil
		}
		needles[i] = needle{subject: s, text: t, fold: fold}
	}
	return needles
}

// longestASCII returns the longest part of a text that is ASCII.
func longestASCII(s string) string {
	best, from := "", 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] < 0x80 {
			continue
		}
		if i-from > len(best) {
			best = s[from:i]
		}
		from = i + 1
	}
	return best
}

// foreign are the letters beyond ASCII that Upper, Lower or (?i) take for ASCII
// ones.
var foreign = [...]string{"\u0130", "\u0131", "\u017f", "\u212a"}

// hasForeign tells whether a text has such a letter.
func hasForeign(s string) bool {
	if isASCII(s) {
		return false
	}
	for _, letter := range foreign {
		if strings.Contains(s, letter) {
			return true
		}
	}
	return false
}

// equalTo makes v, a condition, know that it is: of equals one of the texts.
func (v value) equalTo(of value, texts ...string) value {
	c := clue{needles: needlesIn(of, texts...)}
	if s := subjectOf(of); s != nil && s.isPlain() && len(texts) <= maxValues {
		c.subject, c.values = s, texts
		v.exact = true
	}
	if v.exact || c.needles != nil {
		v.clues = []clue{c}
	}
	return v
}

// negated makes !v.
func (v value) negated() value {
	f := v.bool
	out := boolean(func(x *Ctx) bool { return !f(x) })
	out.risky = v.risky
	if v.exact {
		c := v.clues[0]
		out.clues, out.exact = []clue{{subject: c.subject, values: c.values, but: !c.but}}, true
	}
	return out
}

// contain makes the clues of: one of the texts occurs in v.
func contain(v value, texts ...string) []clue {
	if needles := needlesIn(v, texts...); needles != nil {
		return []clue{{needles: needles}}
	}
	return nil
}

// border makes the clues of: v begins, or ends, with one of the texts.
func border(v value, texts ...string) []clue {
	clues := contain(v, texts...)
	for i := range clues {
		clues[i].quick = true
	}
	return clues
}

// matching makes the clues of: one of the regular expressions matches v.
func matching(v value, exprs ...string) []clue {
	var texts []string
	for _, e := range exprs {
		some := match.Needles(e)
		if some == nil {
			return nil
		}
		texts = append(texts, some...)
	}
	clues := contain(v, texts...)
	for i := range clues {
		for k := range clues[i].needles {
			clues[i].needles[k].fold = true
		}
	}
	return clues
}

// bothClues are the clues of a && b. If a may fail, what b needs says nothing:
// a would fail first.
func bothClues(a, b value) []clue {
	if a.risky {
		return a.clues
	}
	return slices.Concat(a.clues, b.clues)
}

// eitherClues are the clues of a || b: one from each side. exact tells that the
// only one holds if and only if the condition is true.
func eitherClues(a, b value) (out []clue, exact bool) {
	var values []clue
	for _, c := range a.clues {
		for _, d := range b.clues {
			if c.subject != nil && d.subject != nil && c.subject.key == d.subject.key && !c.but && !d.but && len(c.values)+len(d.values) <= maxValues {
				values = append(values, clue{subject: c.subject, values: slices.Concat(c.values, d.values)})
			}
		}
	}
	var either clue
	c, ok := bestClue(a.clues)
	d, ok2 := bestClue(b.clues)
	if ok && ok2 && len(c.needles)+len(d.needles) <= maxNeedles {
		either = c.withNeedles(d.needles)
	}
	if a.exact && b.exact && len(values) == 1 {
		values[0].needles, values[0].room = either.needles, either.room
		return values, true
	}
	if either.needles != nil {
		values = append(values, either)
	}
	return values, false
}

// withNeedles returns the clue that the needles of c or others are there. A
// condition may be hundreds of them, added one by one: the first that comes to add
// to c may use the room behind its needles.
func (c clue) withNeedles(others []needle) clue {
	if c.room == nil || len(*c.room) != len(c.needles) {
		all := slices.Concat(c.needles, others)
		return clue{needles: all, room: &all}
	}
	*c.room = append(*c.room, others...)
	return clue{needles: *c.room, room: c.room}
}

// bestClue is the clue whose needles are found least often: the longest.
func bestClue(clues []clue) (best clue, ok bool) {
	most := 0
	for _, c := range clues {
		if c.needles == nil {
			continue
		}
		shortest := len(c.needles[0].text)
		for _, n := range c.needles {
			shortest = min(shortest, len(n.text))
		}
		if shortest > most {
			best, most = c, shortest
		}
	}
	return best, best.needles != nil
}
