package expr

import (
	"slices"
	"strconv"

	"cs/pipeline/expr/syntax"
)

// node compiles one node of the syntax tree.
func (u *unit) node(n syntax.Node) (value, error) {
	switch n := n.(type) {
	case *syntax.Nil:
		return constant(nil), nil
	case *syntax.Bool:
		return constant(n.Value), nil
	case *syntax.Integer:
		return constant(n.Value), nil
	case *syntax.Float:
		return constant(n.Value), nil
	case *syntax.String:
		return constant(n.Value), nil
	case *syntax.Bytes:
		v := dynamic(typ{kind: listKind, elem: &intType}, func(*Ctx) any { return n.Value })
		v.konst = true
		return v, nil
	case *syntax.Identifier:
		return u.identifier(n)
	case *syntax.Pointer:
		return u.pointer(n)
	case *syntax.Unary:
		return u.unary(n)
	case *syntax.Binary:
		return u.binary(n)
	case *syntax.Conditional:
		return u.conditional(n)
	case *syntax.Chain:
		return u.chain(n)
	case *syntax.Member:
		return u.member(n)
	case *syntax.Slice:
		return u.slice(n)
	case *syntax.Call:
		return u.call(n)
	case *syntax.Builtin:
		return u.builtin(n)
	case *syntax.Array:
		return u.array(n)
	case *syntax.Map:
		return u.mapping(n)
	case *syntax.Let:
		return u.let(n)
	case *syntax.Sequence:
		return u.sequence(n)
	}
	return value{}, u.errorf(n, "%s can't be used here", u.written(n))
}

// nodes compiles several nodes.
func (u *unit) nodes(ns []syntax.Node) ([]value, error) {
	vs := make([]value, len(ns))
	for i, n := range ns {
		v, err := u.node(n)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

// truth compiles a condition. What has no static type is looked at when it
// runs.
func (u *unit) truth(n syntax.Node) (value, error) {
	v, err := u.node(n)
	if err != nil {
		return v, err
	}
	return u.condition(n, v)
}

// condition makes a condition of the value of n.
func (u *unit) condition(n syntax.Node, v value) (value, error) {
	switch v.typ.kind {
	case boolKind:
		return v, nil
	case anyKind:
		f, written := v.any, u.written(n)
		return boolean(func(x *Ctx) bool {
			a := f(x)
			b, ok := a.(bool)
			if !ok {
				x.fail("a condition gives a bool, %s gives %s", written, typeName(a))
			}
			return b
		}).asRisky(), nil
	}
	return v, u.errorf(n, "a condition gives a bool, this gives %s", v.typ)
}

func (u *unit) identifier(n *syntax.Identifier) (value, error) {
	for i := len(u.lets) - 1; i >= 0; i-- {
		if u.lets[i].name == n.Value {
			return u.lets[i].val, nil
		}
	}
	if n.Value == "evt" && u.Schema != nil {
		return value{typ: typ{kind: evtKind}}, nil
	}
	if v, ok := u.Env.variable(n.Value); ok {
		return v, nil
	}
	return value{}, u.errorf(n, "unknown name %s%s", n.Value, suggest(n.Value, u.names()))
}

// names lists what an identifier may be.
func (u *unit) names() []string {
	names := u.Env.names()
	if u.Schema != nil {
		names = append(names, "evt")
	}
	for _, l := range u.lets {
		names = append(names, l.name)
	}
	return names
}

func (u *unit) let(n *syntax.Let) (value, error) {
	for _, name := range u.names() {
		if name == n.Name {
			return value{}, u.errorf(n, "cannot declare %s again", n.Name)
		}
	}
	if _, ok := functions()[n.Name]; ok {
		return value{}, u.errorf(n, "cannot declare %s again: it is a function", n.Name)
	}
	var v value
	var err error
	if k, ok := lastOfFilter(n); ok {
		f := n.Value.(*syntax.Builtin)
		v, err = u.walk(&syntax.Builtin{Place: f.Place, Name: "filter[-k:]", Arguments: append(slices.Clone(f.Arguments), &syntax.Integer{Place: f.Place, Value: k})})
	} else {
		v, err = u.node(n.Value)
	}
	if err != nil {
		return v, err
	}
	var set func(*Ctx)
	named := v
	if !v.konst && v.typ.kind != evtKind && v.typ.kind != fieldsKind {
		k := u.local()
		defer u.release()
		set, named = storeLocal(v, k)
		if !v.risky {
			named.key, named.folds, named.source = v.key, v.folds, v.str
		}
	}
	u.lets = append(u.lets, let{n.Name, named})
	body, err := u.node(n.Expr)
	u.lets = u.lets[:len(u.lets)-1]
	if err != nil || set == nil {
		return body, err
	}
	clues := body.clues
	body = body.after(set)
	if !v.risky {
		body.clues = clues
	}
	body.risky = body.risky || v.risky
	return body, nil
}

// storeLocal returns a closure that computes v into a local, and a value that
// reads it.
func storeLocal(v value, k int) (set func(*Ctx), get value) {
	switch {
	case v.bool != nil:
		f := v.bool
		set = func(x *Ctx) { x.locals[k].b = f(x) }
		get = boolean(func(x *Ctx) bool { return x.locals[k].b })
	case v.str != nil:
		f := v.str
		set = func(x *Ctx) { x.locals[k].s = f(x) }
		get = text(func(x *Ctx) string { return x.locals[k].s })
	case v.int != nil:
		f := v.int
		set = func(x *Ctx) { x.locals[k].i = f(x) }
		get = integer(func(x *Ctx) int64 { return x.locals[k].i })
	case v.float != nil:
		f := v.float
		set = func(x *Ctx) { x.locals[k].f = f(x) }
		get = number(func(x *Ctx) float64 { return x.locals[k].f })
	case v.list != nil:
		f := v.list
		set = func(x *Ctx) { x.locals[k].l = f(x) }
		get = texts(func(x *Ctx) []string { return x.locals[k].l })
	default:
		f := v.any
		set = func(x *Ctx) { x.locals[k].a = f(x) }
		get = dynamic(v.typ, func(x *Ctx) any { return x.locals[k].a })
		if g := v.anys; g != nil {
			set = func(x *Ctx) { x.locals[k].list = g(x) }
			get = listed(v.typ, func(x *Ctx) []any { return x.locals[k].list })
		}
	}
	get.typ = v.typ
	return set, get
}

func (u *unit) sequence(n *syntax.Sequence) (value, error) {
	vs, err := u.nodes(n.Nodes)
	if err != nil {
		return value{}, err
	}
	last := vs[len(vs)-1]
	for i := len(vs) - 2; i >= 0; i-- {
		if vs[i].konst {
			continue
		}
		last = last.after(vs[i].run())
		last.risky = last.risky || vs[i].risky
	}
	return last, nil
}

func (u *unit) conditional(n *syntax.Conditional) (value, error) {
	cond, err := u.truth(n.Cond)
	if err != nil {
		return cond, err
	}
	a, err := u.node(n.Exp1)
	if err != nil {
		return a, err
	}
	b, err := u.node(n.Exp2)
	if err != nil {
		return b, err
	}
	if cond.konst && a.typ.same(b.typ) {
		if cond.bool(nil) {
			return a, nil
		}
		return b, nil
	}
	q := cond.bool
	var v value
	switch ka, kb := a.typ.kind, b.typ.kind; {
	case ka == boolKind && kb == boolKind:
		if b.konst && !b.bool(nil) {
			v = both(cond, a)
			break
		}
		f, g := a.bool, b.bool
		v = boolean(func(x *Ctx) bool {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
	case ka == stringKind && kb == stringKind:
		f, g := a.str, b.str
		v = text(func(x *Ctx) string {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
	case ka == intKind && kb == intKind, ka == durationKind && kb == durationKind:
		f, g := a.int, b.int
		v = integer(func(x *Ctx) int64 {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
		v.typ = a.typ
	case ka == floatKind && kb == floatKind:
		f, g := a.float, b.float
		v = number(func(x *Ctx) float64 {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
	case a.list != nil && b.list != nil && a.typ.loose == b.typ.loose:
		f, g := a.list, b.list
		v = texts(func(x *Ctx) []string {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
		v.typ = a.typ
	default:
		t := typ{}
		if a.typ.same(b.typ) {
			t = a.typ
		}
		if ka == fieldsKind || kb == fieldsKind || ka == evtKind || kb == evtKind {
			return v, u.errorf(n, "the branches of a condition can't be %s and %s", a.typ, b.typ)
		}
		f, g := a.boxed(), b.boxed()
		v = dynamic(t, func(x *Ctx) any {
			if q(x) {
				return f(x)
			}
			return g(x)
		})
		// cond ? evt.Parsed.x : nil is common in statics: no boxing there
		ft, gt := textOf(a), textOf(b)
		v.text = func(x *Ctx) (string, bool) {
			if q(x) {
				return ft(x)
			}
			return gt(x)
		}
	}
	v.risky = cond.risky || a.risky || b.risky
	return v, nil
}

func (u *unit) array(n *syntax.Array) (value, error) {
	vs, err := u.nodes(n.Nodes)
	if err != nil {
		return value{}, err
	}
	allTexts, konst, risky := len(vs) > 0, true, false
	for i, v := range vs {
		if v.typ.kind == evtKind || v.typ.kind == fieldsKind {
			return value{}, u.errorf(n.Nodes[i], "a list can't hold %s", v.typ)
		}
		allTexts = allTexts && v.typ.kind == stringKind
		konst = konst && v.konst
		risky = risky || v.risky
	}
	var out value
	if allTexts {
		fs, room := make([]func(*Ctx) string, len(vs)), make([]string, len(vs))
		for i, v := range vs {
			fs[i] = v.str
		}
		if konst {
			l := make([]string, len(fs))
			for i, f := range fs {
				l[i] = f(nil)
			}
			out = constant(l)
			out.typ = looseType
			return out, nil
		}
		out = texts(func(x *Ctx) []string {
			start, n := len(x.strs), len(fs)
			x.strs = append(x.strs, room...)
			for i, f := range fs {
				s := f(x) // may make a list of its own, behind the room for this one
				x.strs[start+i] = s
			}
			return x.strs[start : start+n : start+n]
		})
		out.typ = looseType
	} else {
		fs := make([]func(*Ctx) any, len(vs))
		for i, v := range vs {
			fs[i] = v.boxed()
		}
		t := anysType
		if len(vs) > 0 {
			same := vs[0].typ
			for _, v := range vs {
				if v.typ.kind != same.kind {
					same = typ{}
				}
			}
			if same.isNumber() || same.kind == boolKind || same.kind == timeKind || same.kind == durationKind {
				t.elem = &same
			}
		}
		build := func(x *Ctx) any {
			l := make([]any, len(fs))
			for i, f := range fs {
				l[i] = f(x)
			}
			return l
		}
		out = dynamic(t, build)
		if konst {
			fixed := build(nil)
			out = dynamic(t, func(*Ctx) any { return fixed })
			out.konst = true
		}
	}
	out.risky = risky
	return out, nil
}

func (u *unit) mapping(n *syntax.Map) (value, error) {
	type pair struct {
		key func(*Ctx) string
		val func(*Ctx) any
	}
	pairs := make([]pair, len(n.Pairs))
	risky := false
	for i, p := range n.Pairs {
		k, err := u.node(p.Key)
		if err != nil {
			return k, err
		}
		k, err = u.asText(p.Key, k, "a key of a map")
		if err != nil {
			return k, err
		}
		v, err := u.node(p.Value)
		if err != nil {
			return v, err
		}
		pairs[i] = pair{k.str, v.boxed()}
		risky = risky || k.risky || v.risky
	}
	v := dynamic(anyMapType, func(x *Ctx) any {
		m := make(map[string]any, len(pairs))
		for _, p := range pairs {
			k := p.key(x)
			m[k] = p.val(x)
		}
		return m
	})
	v.risky = risky
	return v, nil
}

// asText turns a value into a string value, or says what wants one.
func (u *unit) asText(n syntax.Node, v value, what string) (value, error) {
	switch v.typ.kind {
	case stringKind:
		return v, nil
	case anyKind:
		f, written := v.any, u.written(n)
		return text(func(x *Ctx) string {
			a := f(x)
			s, ok := a.(string)
			if !ok {
				x.fail("%s must be a string, %s gives %s", what, written, typeName(a))
			}
			return s
		}).asRisky(), nil
	}
	return v, u.errorf(n, "%s must be a string, this is %s", what, v.typ)
}

// asKey is asText for the key of a map, where nil stands for "".
func (u *unit) asKey(n syntax.Node, v value) (value, error) {
	if v.typ.kind != anyKind {
		return u.asText(n, v, "a key of a map")
	}
	f, written := v.any, u.written(n)
	return text(func(x *Ctx) string {
		a := f(x)
		s, ok := a.(string)
		if !ok && a != nil {
			x.fail("a key of a map must be a string, %s gives %s", written, typeName(a))
		}
		return s
	}).asRisky(), nil
}

// asInt turns a value into an int value, or says what wants one.
func (u *unit) asInt(n syntax.Node, v value, what string) (value, error) {
	switch v.typ.kind {
	case intKind:
		return v, nil
	case anyKind:
		f, written := v.any, u.written(n)
		return integer(func(x *Ctx) int64 {
			a := f(x)
			i, ok := toInt(a)
			if !ok {
				x.fail("%s must be an int, %s gives %s", what, written, typeName(a))
			}
			return i
		}).asRisky(), nil
	}
	return v, u.errorf(n, "%s must be an int, this is %s", what, v.typ)
}

// asFloat turns a number into a float value, or says what wants one.
func (u *unit) asFloat(n syntax.Node, v value, what string) (value, error) {
	switch v.typ.kind {
	case floatKind:
		return v, nil
	case intKind:
		f := v.int
		out := number(func(x *Ctx) float64 { return float64(f(x)) })
		out.konst, out.risky = v.konst, v.risky
		return out, nil
	case anyKind:
		f, written := v.any, u.written(n)
		return number(func(x *Ctx) float64 {
			a := f(x)
			i, ok := toFloat(a)
			if !ok {
				x.fail("%s must be a number, %s gives %s", what, written, typeName(a))
			}
			return i
		}).asRisky(), nil
	}
	return v, u.errorf(n, "%s must be a number, this is %s", what, v.typ)
}

// textOf returns the closure of Program.Text for a value (spec: engine §2.5).
func textOf(v value) func(*Ctx) (string, bool) {
	switch {
	case v.text != nil:
		return v.text
	case v.str != nil:
		f := v.str
		return func(x *Ctx) (string, bool) { return f(x), true }
	case v.typ.kind == intKind:
		f := v.int
		return func(x *Ctx) (string, bool) {
			i := f(x)
			if x.failed() {
				return "", false
			}
			return x.arena.Built(strconv.AppendInt(x.arena.Build(), i, 10)), true
		}
	case v.float != nil:
		f := v.float
		return func(x *Ctx) (string, bool) {
			n := f(x)
			if x.failed() {
				return "", false
			}
			return x.arena.Built(strconv.AppendFloat(x.arena.Build(), n, 'f', 6, 64)), true
		}
	}
	f := v.boxed()
	return func(x *Ctx) (string, bool) { return x.staticText(f(x)) }
}

// staticText gives the text of a result that has no static type.
func (x *Ctx) staticText(a any) (string, bool) {
	if x.failed() {
		return "", false
	}
	switch a := a.(type) {
	case string:
		return a, true
	case int:
		return x.arena.Built(strconv.AppendInt(x.arena.Build(), int64(a), 10)), true
	case float64:
		return x.arena.Built(strconv.AppendFloat(x.arena.Build(), a, 'f', 6, 64)), true
	case float32:
		return x.arena.Built(strconv.AppendFloat(x.arena.Build(), float64(a), 'f', 6, 64)), true
	case nil, map[string]any, []any:
		return "", false
	}
	x.err = &StaticError{Type: typeName(a)}
	return "", false
}

// StaticError is the error of Text when the result is of a type that must end
// the parsing of the event (spec: engine §2.5).
type StaticError struct{ Type string }

// Error names the type.
func (e *StaticError) Error() string { return "a static can't be a " + e.Type }
