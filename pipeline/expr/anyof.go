package expr

import (
	"strings"

	"github.com/gaissmai/bart"

	"cs/pipeline/expr/syntax"
	"cs/pipeline/match"
)

// any(File(f), {evt.Meta.http_path contains #}) asks one question of many
// fixed texts. What follows recognises that while compiling and answers it with
// one pass, one look-up or one walk through a trie.

// each is what an expression gives for every element of a fixed list: Upper(#)
// over a data file is worked out once.
type each struct {
	loop *loop
	vals []value // constants
}

// anyOf is a condition on # that compares a subject, which has nothing to do
// with #, with a text for every element.
type anyOf struct {
	loop    *loop
	op      string     // contains, startsWith, endsWith, ==, matches or, for addresses, range
	res     *match.Any // of matches
	subject value
	texts   []string
	rest    bool // there are more conditions: this one is necessary, not sufficient
}

// maxEach bounds the lists that are worked out while compiling.
const maxEach = 1 << 18

// tabulated works out v for every element if its parts are constants but for
// what depends on # of one fixed list; rebuild makes v of other parts.
func tabulated(v value, parts []value, rebuild func([]value) (value, error)) value {
	var l *loop
	n := 0
	for _, p := range parts {
		switch {
		case p.each != nil && (l == nil || l == p.each.loop):
			l, n = p.each.loop, len(p.each.vals)
		case !p.konst:
			return v
		}
	}
	if l == nil || n > maxEach {
		return v
	}
	vals := make([]value, n)
	args := make([]value, len(parts))
	for i := range vals {
		for k, p := range parts {
			if args[k] = p; p.each != nil {
				args[k] = p.each.vals[i]
			}
		}
		one, err := rebuild(args)
		if err != nil {
			return v
		}
		if one = one.folded(); !one.konst || one.typ.kind != v.typ.kind {
			return v // it fails, or its type differs from element to element
		}
		vals[i] = one
	}
	k := l.k
	switch v.typ.kind {
	case stringKind:
		texts := make([]string, n)
		for i, c := range vals {
			texts[i] = c.str(nil)
		}
		v = text(func(x *Ctx) string { return texts[x.locals[k].i] })
	case boolKind:
		verdicts := make([]bool, n)
		for i, c := range vals {
			verdicts[i] = c.bool(nil)
		}
		v = boolean(func(x *Ctx) bool { return verdicts[x.locals[k].i] })
	case intKind:
		ints := make([]int64, n)
		for i, c := range vals {
			ints[i] = c.int(nil)
		}
		v = integer(func(x *Ctx) int64 { return ints[x.locals[k].i] })
	default:
		return v
	}
	v.each = &each{l, vals}
	return v
}

// comparesEach recognises: subject op f(#).
func comparesEach(op string, subjectNode syntax.Node, subject, element value) *anyOf {
	if element.each == nil || element.typ.kind != stringKind || subject.str == nil || subject.konst || mentionsElement(subjectNode) {
		return nil
	}
	a := &anyOf{loop: element.each.loop, op: op, subject: subject, texts: make([]string, len(element.each.vals))}
	for i, c := range element.each.vals {
		a.texts[i] = c.str(nil)
	}
	if op == "matches" {
		var err error
		if a.res, err = match.NewAny(a.texts); err != nil {
			return nil // it fails at run time, when the walk comes to the bad one
		}
	}
	return a
}

// mentionsElement is true if an expression has a # in it.
func mentionsElement(n syntax.Node) bool {
	found := false
	syntax.Walk(n, func(n syntax.Node) {
		if _, ok := n.(*syntax.Pointer); ok {
			found = true
		}
	})
	return found
}

// bothEach gives a && b its anyOf: one side compares, the other selects
// elements or is a further condition.
func bothEach(a, b value) *anyOf {
	switch {
	case a.anyOf != nil && b.each != nil && a.anyOf.loop == b.each.loop:
		return a.anyOf.among(b.each)
	case b.anyOf != nil && a.each != nil && b.anyOf.loop == a.each.loop:
		return b.anyOf.among(a.each)
	case a.anyOf != nil:
		return a.anyOf.needed()
	case b.anyOf != nil && !a.risky:
		return b.anyOf.needed()
	}
	return nil
}

// needed is the comparison as a necessary condition.
func (a *anyOf) needed() *anyOf {
	more := *a
	more.rest = true
	return &more
}

// among keeps the texts of the elements for which a verdict is true.
func (a *anyOf) among(verdicts *each) *anyOf {
	if len(a.texts) != len(verdicts.vals) {
		return nil
	}
	if a.op == "matches" {
		return a.needed()
	}
	some := *a
	some.texts = nil
	for i, t := range a.texts {
		if verdicts.vals[i].bool(nil) {
			some.texts = append(some.texts, t)
		}
	}
	return &some
}

// test makes the closure that asks about all texts at once.
func (a *anyOf) test() func(*Ctx) bool {
	f := a.subject.str
	if len(a.texts) == 0 {
		return func(*Ctx) bool { return false }
	}
	switch a.op {
	case "contains":
		literals := match.NewLiterals(a.texts, false)
		return func(x *Ctx) bool { return literals.Any(f(x)) }
	case "matches":
		return func(x *Ctx) bool { return a.res.Match(x.Machine, f(x)) }
	case "==":
		s := newSet(constant(a.texts))
		return func(x *Ctx) bool { return s.has(f(x)) }
	case "startsWith", "endsWith":
		t := newEnds(a.texts, a.op == "endsWith")
		return func(x *Ctx) bool { return t.has(f(x)) }
	}
	ranges := new(bart.Table[uint32]) // as others have, so that there is one copy of its code
	for _, t := range a.texts {
		if p, ok := prefix(t); ok {
			ranges.Insert(p, 0)
		}
	}
	return func(x *Ctx) bool {
		ip, ok := x.address(f(x))
		return ok && ranges.Contains(ip)
	}
}

// ends are texts that others begin or end with, by their length.
type ends struct {
	behind  bool
	lengths []int
	texts   *lexicon

	// tips has a bit for the hash of the last bytes of each of the texts, as many
	// as the shortest has: hardly any other text ends like one of them.
	tips [64]uint64
	tip  int
}

func newEnds(texts []string, behind bool) *ends {
	e := &ends{behind: behind, texts: newTextSet(texts), tip: 8}
	seen := make(map[int]bool)
	for _, t := range texts {
		if !seen[len(t)] {
			seen[len(t)] = true
			e.lengths = append(e.lengths, len(t))
		}
		e.tip = min(e.tip, len(t))
	}
	for _, t := range texts {
		bit := hashEnds(e.end(t, e.tip)) % (64 * 64)
		e.tips[bit>>6] |= 1 << (bit & 63)
	}
	return e
}

// end returns the first or last n bytes of a text.
func (e *ends) end(s string, n int) string {
	if e.behind {
		return s[len(s)-n:]
	}
	return s[:n]
}

func (e *ends) has(s string) bool {
	if len(s) < e.tip {
		return false
	}
	bit := hashEnds(e.end(s, e.tip)) % (64 * 64)
	if e.tips[bit>>6]&(1<<(bit&63)) == 0 {
		return false
	}
	for _, n := range e.lengths {
		if n <= len(s) && e.texts.has(e.end(s, n)) {
			return true
		}
	}
	return false
}

// anyWalk puts the quick test before the walk of any(list, {…}), or in its
// place.
func anyWalk(walk func(*Ctx) bool, a *anyOf) value {
	test := a.test()
	v := boolean(test)
	if a.rest {
		v = boolean(func(x *Ctx) bool { return test(x) && walk(x) })
	}
	switch a.op {
	case "==":
		v = v.equalTo(a.subject, a.texts...)
		v.exact = v.exact && !a.rest
	case "contains":
		v.clues = contain(a.subject, a.texts...)
	case "startsWith", "endsWith":
		v.clues = border(a.subject, a.texts...)
	case "matches":
		v.clues = matching(a.subject, a.texts...)
	}
	return v
}

// constTexts returns the elements of a list of texts that is known now.
func constTexts(list value) ([]value, bool) {
	if !list.konst || list.list == nil {
		return nil, false
	}
	texts := list.list(nil)
	vals := make([]value, len(texts))
	for i, t := range texts {
		vals[i] = constant(strings.Clone(t))
	}
	return vals, true
}
