package expr

import (
	"math"
	"slices"
	"strings"
	"time"

	"cs/pipeline/expr/syntax"
	"cs/pipeline/match"
)

func (u *unit) unary(n *syntax.Unary) (value, error) {
	switch n.Operator {
	case "!", "not":
		v, err := u.truth(n.Node)
		if err != nil {
			return v, err
		}
		if v.konst {
			return v.negated().folded(), nil
		}
		return v.negated(), nil
	}
	v, err := u.node(n.Node)
	if err != nil {
		return v, err
	}
	minus := n.Operator == "-"
	if !minus && (v.typ.isNumber() || v.typ.isAny()) {
		return v, nil
	}
	var out value
	switch v.typ.kind {
	case intKind:
		f := v.int
		out = integer(func(x *Ctx) int64 { return -f(x) })
	case floatKind:
		f := v.float
		out = number(func(x *Ctx) float64 { return -f(x) })
	case anyKind:
		f := v.any
		return dynamic(typ{}, func(x *Ctx) any {
			a := f(x)
			if i, ok := toInt(a); ok && isWhole(a) {
				return boxInt(-i)
			}
			if n, ok := toFloat(a); ok {
				return -n
			}
			x.fail("cannot negate %s", typeName(a))
			return nil
		}).asRisky(), nil
	default:
		return v, u.errorf(n, "invalid operation: %s%s", n.Operator, v.typ)
	}
	out.risky = v.risky
	if v.konst {
		return out.folded(), nil
	}
	return out, nil
}

func (u *unit) binary(n *syntax.Binary) (value, error) {
	if isLogic(n) {
		return u.logic(n)
	}
	a, err := u.node(n.Left)
	if err != nil {
		return a, err
	}
	b, err := u.node(n.Right)
	if err != nil {
		return b, err
	}
	whole := func(v value) bool { return v.typ.kind == evtKind || v.typ.kind == fieldsKind }
	if unequal := n.Operator == "!="; (unequal || n.Operator == "==") && (whole(a) && b.typ.kind == nilKind || whole(b) && a.typ.kind == nilKind) {
		return boolean(func(*Ctx) bool { return unequal }), nil // they are always there
	}
	if whole(a) {
		return a, u.mismatch(n, a, b)
	}
	if whole(b) && (b.typ.kind == evtKind || n.Operator != "in") {
		return a, u.mismatch(n, a, b)
	}
	v, err := u.operate(n, a, b)
	if err != nil {
		return v, err
	}
	if v.risky = v.risky || a.risky || b.risky; v.risky {
		v.clues, v.exact = nil, false // it must be evaluated, because it may fail
	}
	if a.konst && b.konst && !v.konst {
		return v.folded(), nil
	}
	switch n.Operator {
	case "contains", "startsWith", "endsWith", "matches":
		v.anyOf = comparesEach(n.Operator, n.Left, a, b)
	case "==":
		if v.anyOf = comparesEach(n.Operator, n.Left, a, b); v.anyOf == nil {
			v.anyOf = comparesEach(n.Operator, n.Right, b, a)
		}
	}
	if v.anyOf == nil && !v.risky {
		v = tabulated(v, []value{a, b}, func(p []value) (value, error) { return u.operate(n, p[0], p[1]) })
	}
	return v, nil
}

// operate compiles an operation on two values.
func (u *unit) operate(n *syntax.Binary, a, b value) (v value, err error) {
	switch n.Operator {
	case "==":
		v, err = u.equals(n, a, b)
	case "!=":
		if v, err = u.equals(n, a, b); err == nil {
			v = v.negated()
		}
	case "<", "<=", ">", ">=":
		v, err = u.order(n, a, b)
	case "in":
		v, err = u.in(n, a, b)
	case "contains", "startsWith", "endsWith":
		v, err = u.search(n, a, b)
	case "matches":
		v, err = u.matches(n, a, b)
	case "+", "-", "*", "/", "%", "**", "^":
		v, err = u.arithmetic(n, a, b)
	case "..":
		v, err = u.span(n, a, b)
	case "??":
		v, err = u.coalesce(n, a, b)
	default:
		return v, u.errorf(n, "unknown operator %s", n.Operator)
	}
	return v, err
}

func (u *unit) mismatch(n *syntax.Binary, a, b value) error {
	return u.errorf(n, "invalid operation: %s %s %s", a.typ, n.Operator, b.typ)
}

// logic compiles a chain of conditions. It leans to the left, and may have
// hundreds of them: a recursion would need megabytes of stack.
func (u *unit) logic(n *syntax.Binary) (value, error) {
	var chain []*syntax.Binary // from the last condition to the first
	first := syntax.Node(n)
	for {
		pair, ok := first.(*syntax.Binary)
		if !ok || !isLogic(pair) {
			break
		}
		chain = append(chain, pair)
		first = pair.Left
	}
	v, err := u.node(first)
	for _, pair := range slices.Backward(chain) {
		if err != nil {
			break
		}
		if v, err = u.condition(pair.Left, v); err == nil {
			v, err = u.join(pair, v)
		}
	}
	return v, err
}

func isLogic(n *syntax.Binary) bool {
	switch n.Operator {
	case "&&", "and", "||", "or":
		return true
	}
	return false
}

// join compiles the right side of a pair of conditions, and both together.
func (u *unit) join(n *syntax.Binary, a value) (value, error) {
	b, err := u.truth(n.Right)
	if err != nil {
		return b, err
	}
	and := n.Operator == "&&" || n.Operator == "and"
	if lit, ok := n.Right.(*syntax.Bool); ok {
		// expr-lang takes the pair away, and with it the check or the run of
		// the left side
		if lit.Value == and {
			return u.node(n.Left)
		}
		return b, nil
	}
	if a.konst {
		if a.bool(nil) == and {
			return b, nil
		}
		return a, nil
	}
	var v value
	if and {
		v = both(a, b)
	} else {
		f, g := a.bool, b.bool
		v = boolean(func(x *Ctx) bool { return f(x) || g(x) })
		v.clues, v.exact = eitherClues(a, b)
	}
	v.risky = a.risky || b.risky
	return v, nil
}

func (u *unit) equals(n *syntax.Binary, a, b value) (value, error) {
	ka, kb := a.typ.kind, b.typ.kind
	switch {
	case ka == stringKind && kb == stringKind:
		if _, ok := a.constText(); ok {
			a, b = b, a
		}
		f, g := a.str, b.str
		if k, ok := b.constText(); ok {
			v := boolean(func(x *Ctx) bool { return f(x) == k })
			if a.slot != nil {
				slot := *a.slot
				v = boolean(func(x *Ctx) bool { return x.Event.Get(slot) == k })
			}
			return v.equalTo(a, k), nil
		}
		return boolean(func(x *Ctx) bool { return f(x) == g(x) }), nil
	case ka == boolKind && kb == boolKind:
		f, g := a.bool, b.bool
		return boolean(func(x *Ctx) bool { return f(x) == g(x) }), nil
	case ka == intKind && kb == intKind, ka == durationKind && kb == durationKind:
		f, g := a.int, b.int
		return boolean(func(x *Ctx) bool { return f(x) == g(x) }), nil
	case a.typ.isNumber() && b.typ.isNumber():
		a, _ := u.asFloat(n.Left, a, "")
		b, _ := u.asFloat(n.Right, b, "")
		f, g := a.float, b.float
		return boolean(func(x *Ctx) bool { return f(x) == g(x) }), nil
	case ka == stringKind && kb == anyKind:
		return equalsText(b.any, a), nil
	case ka == anyKind && kb == stringKind:
		return equalsText(a.any, b), nil
	case ka == anyKind, kb == anyKind, ka == nilKind, kb == nilKind,
		ka == timeKind && kb == timeKind,
		ka == listKind && kb == listKind,
		ka == mapKind && kb == mapKind,
		ka == objectKind && kb == objectKind && a.typ.obj == b.typ.obj:
		if neverNil(a) && kb == nilKind || neverNil(b) && ka == nilKind {
			f, g := a.run(), b.run()
			return boolean(func(x *Ctx) bool { f(x); g(x); return false }), nil
		}
		f, g := a.boxed(), b.boxed()
		return boolean(func(x *Ctx) bool { a := f(x); return equal(a, g(x)) }), nil
	}
	return a, u.mismatch(n, a, b)
}

// neverNil is true for the kinds that have no nil.
func neverNil(v value) bool {
	switch v.typ.kind {
	case boolKind, stringKind, intKind, floatKind, durationKind, timeKind:
		return true
	}
	return false
}

// equalsText compares without boxing the text.
func equalsText(f func(*Ctx) any, v value) value {
	g := v.str
	return boolean(func(x *Ctx) bool {
		a := f(x)
		t := g(x)
		s, ok := a.(string)
		return ok && s == t
	})
}

func (u *unit) order(n *syntax.Binary, a, b value) (value, error) {
	less, orEqual := n.Operator[0] == '<', len(n.Operator) == 2
	verdict := func(c int) bool { return c == 0 && orEqual || c < 0 && less || c > 0 && !less }
	ka, kb := a.typ.kind, b.typ.kind
	switch {
	case ka == intKind && kb == intKind, ka == durationKind && kb == durationKind:
		f, g := a.int, b.int
		switch n.Operator {
		case "<":
			return boolean(func(x *Ctx) bool { return f(x) < g(x) }), nil
		case "<=":
			return boolean(func(x *Ctx) bool { return f(x) <= g(x) }), nil
		case ">":
			return boolean(func(x *Ctx) bool { return f(x) > g(x) }), nil
		}
		return boolean(func(x *Ctx) bool { return f(x) >= g(x) }), nil
	case a.typ.isNumber() && b.typ.isNumber():
		a, _ := u.asFloat(n.Left, a, "")
		b, _ := u.asFloat(n.Right, b, "")
		f, g := a.float, b.float
		switch n.Operator {
		case "<":
			return boolean(func(x *Ctx) bool { return f(x) < g(x) }), nil
		case "<=":
			return boolean(func(x *Ctx) bool { return f(x) <= g(x) }), nil
		case ">":
			return boolean(func(x *Ctx) bool { return f(x) > g(x) }), nil
		}
		return boolean(func(x *Ctx) bool { return f(x) >= g(x) }), nil
	case ka == stringKind && kb == stringKind:
		f, g := a.str, b.str
		return boolean(func(x *Ctx) bool { s := f(x); return verdict(strings.Compare(s, g(x))) }), nil
	case ka == timeKind && kb == timeKind,
		ka == anyKind && (kb == anyKind || comparable(kb)),
		kb == anyKind && comparable(ka):
		f, g := a.boxed(), b.boxed()
		return boolean(func(x *Ctx) bool {
			a := f(x)
			b := g(x)
			c, ordered, ok := compare(a, b)
			if !ok {
				x.fail("invalid operation: %s %s %s", typeName(a), n.Operator, typeName(b))
			}
			return ok && ordered && verdict(c)
		}).asRisky(), nil
	}
	return a, u.mismatch(n, a, b)
}

// comparable is true for the kinds that < and the like take.
func comparable(k kind) bool {
	switch k {
	case stringKind, intKind, floatKind, durationKind, timeKind:
		return true
	}
	return false
}

func (u *unit) in(n *syntax.Binary, a, b value) (value, error) {
	if a.typ.kind == stringKind && b.konst && b.typ.kind == listKind && (b.typ.elem == nil || b.typ.isStrings()) {
		set := newSet(b)
		f := a.str
		v := boolean(func(x *Ctx) bool { return set.has(f(x)) })
		if a.slot != nil {
			slot := *a.slot
			v = boolean(func(x *Ctx) bool { return set.has(x.Event.Get(slot)) })
		}
		return v.equalTo(a, set.few...), nil
	}
	if (a.typ.kind == anyKind || a.typ.kind == nilKind) && b.konst && b.typ.loose && allLiterals(n.Right) {
		// expr-lang makes a map of a list of literal texts, which is seen in what
		// happens to a needle that is no text
		set := newSet(b)
		f := a.any
		return boolean(func(x *Ctx) bool {
			switch needle := f(x).(type) {
			case string:
				return set.has(needle)
			case nil:
				return set.has("")
			default:
				x.fail("invalid operation: %s in a list of strings", typeName(needle))
			}
			return false
		}).asRisky(), nil
	}
	switch b.typ.kind {
	case fieldsKind:
		k, err := u.asKey(n.Left, a)
		if err != nil {
			return a, err
		}
		return u.hasField(b.typ.space, k), nil
	case mapKind:
		if a.typ.kind != stringKind && a.typ.kind != anyKind && a.typ.kind != nilKind {
			return a, u.mismatch(n, a, b)
		}
	case listKind:
		if e := b.typ.elem; e != nil && !a.typ.isAny() && e.kind != anyKind && a.typ.kind != nilKind &&
			e.kind != a.typ.kind && !(e.isNumber() && a.typ.isNumber()) {
			return a, u.mismatch(n, a, b)
		}
		if b.list != nil && a.str != nil {
			f, g := a.str, b.list
			return boolean(func(x *Ctx) bool {
				s := f(x)
				for _, e := range g(x) {
					if e == s {
						return true
					}
				}
				return false
			}), nil
		}
	case anyKind, nilKind:
	case objectKind:
		return u.hasMember(n, a, b)
	default:
		return a, u.mismatch(n, a, b)
	}
	f, g := a.boxed(), b.boxed()
	v := boolean(func(x *Ctx) bool {
		a := f(x)
		b := g(x)
		found, ok := within(a, b)
		if !ok {
			x.fail("invalid operation: %s in %s", typeName(a), typeName(b))
		}
		return found
	})
	v.risky = b.typ.kind == anyKind || b.typ.kind == mapKind
	return v, nil
}

// allLiterals is true for a list of literal texts.
func allLiterals(n syntax.Node) bool {
	l, ok := n.(*syntax.Array)
	if !ok || len(l.Nodes) == 0 {
		return false
	}
	for _, e := range l.Nodes {
		if _, ok := e.(*syntax.String); !ok {
			return false
		}
	}
	return true
}

// set is a fixed set of texts.
type set struct {
	few  []string
	many *lexicon // nil: there are few, which are quicker to compare
}

// newSet makes a set of the texts in a constant list; other elements can't be
// equal to a text.
func newSet(list value) set {
	var few []string
	switch l := list.boxed()(nil).(type) {
	case []string:
		few = l
	case []any:
		for _, e := range l {
			if s, ok := e.(string); ok {
				few = append(few, s)
			}
		}
	}
	s := set{few: few}
	if len(few) > 4 {
		s.many = newTextSet(few)
	}
	return s
}

func (s *set) has(t string) bool {
	if s.many != nil {
		return s.many.has(t)
	}
	for _, e := range s.few {
		if e == t {
			return true
		}
	}
	return false
}

func (u *unit) search(n *syntax.Binary, a, b value) (value, error) {
	test := strings.Contains
	switch n.Operator {
	case "startsWith":
		test = strings.HasPrefix
	case "endsWith":
		test = strings.HasSuffix
	}
	ka, kb := a.typ.kind, b.typ.kind
	switch {
	case ka == stringKind && kb == stringKind:
		f, g := a.str, b.str
		if k, ok := b.constText(); ok {
			var v value
			switch n.Operator {
			case "contains":
				v = boolean(func(x *Ctx) bool { return strings.Contains(f(x), k) })
			case "startsWith":
				v = boolean(func(x *Ctx) bool { return strings.HasPrefix(f(x), k) })
			default:
				v = boolean(func(x *Ctx) bool { return strings.HasSuffix(f(x), k) })
			}
			if v.clues = border(a, k); n.Operator == "contains" {
				v.clues = contain(a, k)
			}
			return v, nil
		}
		return boolean(func(x *Ctx) bool { s := f(x); return test(s, g(x)) }), nil
	case (ka == anyKind || ka == nilKind || ka == stringKind) && (kb == anyKind || kb == nilKind || kb == stringKind):
		f, g := textOrNil(a), textOrNil(b)
		return boolean(func(x *Ctx) bool {
			s, ok, badA := f(x)
			t, ok2, badB := g(x)
			if !ok || !ok2 {
				return false
			}
			if badA != nil || badB != nil {
				x.fail("invalid operation: %s %s %s", typeName(orText(badA)), n.Operator, typeName(orText(badB)))
				return false
			}
			return test(s, t)
		}).asRisky(), nil
	}
	return a, u.mismatch(n, a, b)
}

// textOrNil reads a text that may be nil (ok is false) or something else (bad).
func textOrNil(v value) func(*Ctx) (s string, ok bool, bad any) {
	if v.str != nil {
		f := v.str
		return func(x *Ctx) (string, bool, any) { return f(x), true, nil }
	}
	f := v.any
	return func(x *Ctx) (string, bool, any) {
		a := f(x)
		if s, ok := a.(string); ok {
			return s, true, nil
		}
		return "", !isNil(a), a
	}
}

func orText(bad any) any {
	if bad == nil {
		return ""
	}
	return bad
}

func (u *unit) matches(n *syntax.Binary, a, b value) (value, error) {
	ka, kb := a.typ.kind, b.typ.kind
	if ka != stringKind && ka != anyKind && ka != nilKind || kb != stringKind && kb != anyKind && kb != nilKind {
		return a, u.mismatch(n, a, b)
	}
	f := textOrNil(a)
	if k, ok := b.constText(); ok {
		re, err := u.regexp(k)
		if err != nil {
			return a, u.errorf(n.Right, "cannot compile regular expression: %v", err)
		}
		if ka == stringKind {
			f := a.str
			v := boolean(func(x *Ctx) bool { return re.Match(x.Machine, f(x), nil) })
			v.clues = matching(a, k)
			return v, nil
		}
		return boolean(func(x *Ctx) bool {
			s, ok, bad := f(x)
			if bad != nil && ok {
				x.fail("invalid operation: %s matches string", typeName(bad))
			}
			return ok && bad == nil && re.Match(x.Machine, s, nil)
		}).asRisky(), nil
	}
	g := textOrNil(b)
	return boolean(func(x *Ctx) bool {
		s, ok, badA := f(x)
		k, ok2, badB := g(x)
		if !ok || !ok2 {
			return false
		}
		if badA != nil || badB != nil {
			x.fail("invalid operation: %s matches %s", typeName(orText(badA)), typeName(orText(badB)))
			return false
		}
		re, err := x.regexp(k)
		if err != nil {
			x.fail("cannot compile regular expression: %v", err)
			return false
		}
		return re.Match(x.Machine, s, nil)
	}).asRisky(), nil
}

// regexp compiles a constant regular expression once.
func (c *Compiler) regexp(src string) (*match.Program, error) {
	if re := c.regexps[src]; re != nil {
		return re, nil
	}
	re, err := match.Compile(src, nil)
	if err != nil {
		return nil, err
	}
	if c.regexps == nil {
		c.regexps = make(map[string]*match.Program)
	}
	c.regexps[src] = re
	return re, nil
}

// maxRegexps bounds the regular expressions that a worker keeps which were
// made at run time. At the bound all are forgotten.
const maxRegexps = 64

// regexp compiles a regular expression that is known at run time only.
func (x *Ctx) regexp(src string) (*match.Program, error) {
	if re := x.res[src]; re != nil {
		return re, nil
	}
	src = strings.Clone(src)
	re, err := match.Compile(src, nil)
	if err != nil {
		return nil, err
	}
	if x.res == nil || len(x.res) >= maxRegexps {
		x.res = make(map[string]*match.Program)
	}
	x.res[src] = re
	return re, nil
}

func (u *unit) arithmetic(n *syntax.Binary, a, b value) (value, error) {
	op := n.Operator
	ka, kb := a.typ.kind, b.typ.kind
	switch {
	case op == "+" && ka == stringKind && kb == stringKind:
		f, g := a.str, b.str
		return text(func(x *Ctx) string { s := f(x); return x.arena.Concat(s, g(x)) }), nil
	case op == "%" && ka == intKind && kb == intKind:
		f, g := a.int, b.int
		return integer(func(x *Ctx) int64 {
			i := f(x)
			j := g(x)
			if j == 0 {
				x.fail("division by zero")
				return 0
			}
			return i % j
		}).asRisky(), nil
	case op == "%" && (ka == floatKind || kb == floatKind):
	case (op == "+" || op == "-" || op == "*") && ka == intKind && kb == intKind,
		(op == "+" || op == "-" || op == "*") && ka == durationKind && kb == durationKind,
		op == "*" && (ka == durationKind && kb == intKind):
		f, g := a.int, b.int
		v := integer(func(x *Ctx) int64 { return f(x) + g(x) })
		switch op {
		case "-":
			v = integer(func(x *Ctx) int64 { return f(x) - g(x) })
		case "*":
			v = integer(func(x *Ctx) int64 { return f(x) * g(x) })
		}
		v.typ = a.typ
		return v, nil
	case a.typ.isNumber() && b.typ.isNumber():
		a, _ := u.asFloat(n.Left, a, "")
		b, _ := u.asFloat(n.Right, b, "")
		f, g := a.float, b.float
		switch op {
		case "+":
			return number(func(x *Ctx) float64 { return f(x) + g(x) }), nil
		case "-":
			return number(func(x *Ctx) float64 { return f(x) - g(x) }), nil
		case "*":
			return number(func(x *Ctx) float64 { return f(x) * g(x) }), nil
		case "/":
			return number(func(x *Ctx) float64 { return f(x) / g(x) }), nil
		case "**", "^":
			return number(func(x *Ctx) float64 { return math.Pow(f(x), g(x)) }), nil
		}
	case ka == anyKind || kb == anyKind || ka == timeKind || kb == timeKind || ka == durationKind || kb == durationKind:
		t, ok := u.arithmeticType(op, a.typ, b.typ)
		if !ok {
			break
		}
		f, g := a.boxed(), b.boxed()
		return unboxed(t, func(x *Ctx) any {
			a := f(x)
			b := g(x)
			r, ok := calculate(op, a, b)
			if !ok {
				x.fail("invalid operation: %s %s %s", typeName(a), op, typeName(b))
			}
			return r
		}).asRisky(), nil
	}
	return a, u.mismatch(n, a, b)
}

// arithmeticType gives the static type of an operation that is not on two
// plain numbers or texts.
func (u *unit) arithmeticType(op string, a, b typ) (typ, bool) {
	is := func(x, y kind) bool { return a.kind == x && b.kind == y }
	dur := typ{kind: durationKind}
	switch op {
	case "+":
		if is(timeKind, durationKind) || is(durationKind, timeKind) {
			return timeType, true
		}
	case "-":
		if is(timeKind, timeKind) {
			return dur, true
		}
		if is(timeKind, durationKind) {
			return timeType, true
		}
	case "*":
		if is(intKind, durationKind) {
			return dur, true
		}
		if is(floatKind, durationKind) || is(durationKind, floatKind) {
			return typ{kind: floatKind}, true
		}
	}
	if a.kind != anyKind && b.kind != anyKind {
		return typ{}, false
	}
	other := a
	if a.kind == anyKind {
		other = b
	}
	ok := other.kind == anyKind || other.isNumber()
	switch op {
	case "+":
		ok = ok || comparable(other.kind)
	case "-":
		ok = ok || other.kind == timeKind || other.kind == durationKind
	case "*":
		ok = ok || other.kind == durationKind
	case "/", "**", "^":
		return typ{kind: floatKind}, ok
	case "%":
		return intType, ok && other.kind != floatKind
	}
	return typ{}, ok
}

// calculate is arithmetic on what has no static type.
func calculate(op string, a, b any) (any, bool) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok && op == "+" {
			return x + y, true
		}
		return nil, false
	case time.Time:
		switch y := b.(type) {
		case time.Duration:
			switch op {
			case "+":
				return x.Add(y), true
			case "-":
				return x.Add(-y), true
			}
		case time.Time:
			if op == "-" {
				return x.Sub(y), true
			}
		}
		return nil, false
	case time.Duration:
		switch y := b.(type) {
		case time.Time:
			if op == "+" {
				return y.Add(x), true
			}
			return nil, false
		case time.Duration:
			switch op {
			case "+":
				return x + y, true
			case "-":
				return x - y, true
			case "*":
				return x * y, true
			}
			return nil, false
		}
		if op != "*" {
			return nil, false
		}
		if y, ok := toInt(b); ok && isWhole(b) {
			return x * time.Duration(y), true
		}
		y, ok := toFloat(b)
		return float64(x) * y, ok
	}
	if y, ok := b.(time.Duration); ok {
		if op != "*" {
			return nil, false
		}
		if x, ok := toInt(a); ok && isWhole(a) {
			return time.Duration(x) * y, true
		}
		x, ok := toFloat(a)
		return x * float64(y), ok
	}
	x, okx := toFloat(a)
	y, oky := toFloat(b)
	if !okx || !oky {
		return nil, false
	}
	whole := isWhole(a) && isWhole(b)
	switch op {
	case "/":
		return x / y, true
	case "**", "^":
		return math.Pow(x, y), true
	case "%":
		i, _ := toInt(a)
		j, _ := toInt(b)
		if !whole || j == 0 {
			return nil, false
		}
		return boxInt(i % j), true
	}
	if whole {
		i, _ := toInt(a)
		j, _ := toInt(b)
		switch op {
		case "+":
			return boxInt(i + j), true
		case "-":
			return boxInt(i - j), true
		}
		return boxInt(i * j), true
	}
	switch op {
	case "+":
		return x + y, true
	case "-":
		return x - y, true
	}
	return x * y, true
}

// maxSpan bounds the list that a..b makes.
const maxSpan = 1_000_000

func (u *unit) span(n *syntax.Binary, a, b value) (value, error) {
	a, err := u.asInt(n.Left, a, "the start of a range")
	if err != nil {
		return a, err
	}
	b, err = u.asInt(n.Right, b, "the end of a range")
	if err != nil {
		return b, err
	}
	f, g := a.int, b.int
	return dynamic(intsType, func(x *Ctx) any {
		from := f(x)
		to := g(x)
		if to < from {
			return []int{}
		}
		if uint64(to)-uint64(from) >= maxSpan {
			x.fail("a range may have %d elements", maxSpan)
			return []int{}
		}
		l := make([]int, to-from+1)
		for i := range l {
			l[i] = int(from) + i
		}
		return l
	}).asRisky(), nil
}

func (u *unit) coalesce(n *syntax.Binary, a, b value) (value, error) {
	if neverNil(a) {
		if a.typ.same(b.typ) || b.typ.kind == nilKind {
			return a, nil
		}
		v := dynamic(typ{}, a.boxed()) // expr-lang takes it for something that may be b
		v.risky = a.risky
		return v, nil
	}
	if a.typ.kind == nilKind {
		return b, nil
	}
	f, g := a.boxed(), b.boxed()
	t := typ{}
	if b.typ.kind == nilKind || b.typ.kind == a.typ.kind && a.typ.kind != listKind && a.typ.kind != mapKind {
		t = a.typ
	}
	v := dynamic(t, func(x *Ctx) any {
		if a := f(x); !isNil(a) {
			return a
		}
		return g(x)
	})
	gt := textOf(b)
	v.text = func(x *Ctx) (string, bool) {
		if a := f(x); !isNil(a) {
			return x.staticText(a)
		}
		return gt(x)
	}
	return v, nil
}
