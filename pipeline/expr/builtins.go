package expr

import (
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"cs/pipeline/expr/syntax"
)

// runes counts as len does.
func runes(s string) int { return utf8.RuneCountInString(s) }

// builtinNames are expr-lang's own functions, for suggestions.
func builtinNames() []string {
	return append(mapKeys(builtins()), "len", "get", "any", "all", "none", "one", "filter", "map", "count", "find",
		"findIndex", "findLast", "findLastIndex", "sum", "reduce", "groupBy", "sortBy")
}

// builtin compiles a call of one of expr-lang's own functions.
func (u *unit) builtin(n *syntax.Builtin) (value, error) {
	switch n.Name {
	case "any", "all", "none", "one", "count", "find", "findLast", "findIndex", "findLastIndex", "filter", "map", "sum", "reduce",
		"groupBy", "sortBy":
		return u.walk(n)
	case "len":
		return u.len(n)
	case "get":
		return u.get(n)
	}
	f := builtins()[n.Name]
	if f == nil {
		return value{}, u.errorf(n, "function %s is not supported yet", n.Name)
	}
	return u.apply(n, n.Name, f, n.Arguments)
}

func (u *unit) len(n *syntax.Builtin) (value, error) {
	if len(n.Arguments) != 1 {
		return value{}, u.errorf(n, "len takes 1 argument, not %d", len(n.Arguments))
	}
	v, err := u.node(n.Arguments[0])
	if err != nil {
		return v, err
	}
	var out value
	switch {
	case v.str != nil:
		f := v.str
		out = integer(func(x *Ctx) int64 { return int64(runes(f(x))) })
	case v.list != nil:
		f := v.list
		out = integer(func(x *Ctx) int64 { return int64(len(f(x))) })
	case v.anys != nil:
		f := v.anys
		out = integer(func(x *Ctx) int64 { return int64(len(f(x))) }).asRisky()
	case v.typ.kind == anyKind, v.typ.kind == listKind, v.typ.kind == mapKind, v.typ.kind == fieldsKind:
		f := v.any
		out = integer(func(x *Ctx) int64 {
			a := f(x)
			k := length(a)
			if k < 0 {
				if isNil(a) && a != nil {
					return 0
				}
				x.fail("len of %s", typeName(a))
				return 0
			}
			return int64(k)
		}).asRisky()
	default:
		return v, u.errorf(n, "len of %s", v.typ)
	}
	out.risky = out.risky || v.risky
	if v.konst {
		return out.folded(), nil
	}
	if v.each != nil && v.str != nil {
		out = tabulated(out, []value{v}, func(p []value) (value, error) {
			return constant(runes(p[0].str(nil))), nil
		})
	}
	return out, nil
}

// get is a[b] that gives nil where there is nothing.
func (u *unit) get(n *syntax.Builtin) (value, error) {
	if len(n.Arguments) != 2 {
		return value{}, u.errorf(n, "get takes 2 arguments, not %d", len(n.Arguments))
	}
	vs, err := u.nodes(n.Arguments)
	if err != nil {
		return value{}, err
	}
	switch vs[0].typ.kind {
	case fieldsKind:
		if k, ok := vs[1].constText(); ok {
			v, err := u.field(n, vs[0].typ.space, k)
			if err != nil || v.str == nil {
				return v, err
			}
			has := u.hasField(vs[0].typ.space, vs[1]).bool
			f := v.str
			return dynamic(typ{}, func(x *Ctx) any {
				if !has(x) {
					return nil
				}
				return f(x)
			}), nil
		}
	case anyKind, listKind, mapKind:
	default:
		return value{}, u.errorf(n.Arguments[0], "get takes a list or a map, this is %s", vs[0].typ)
	}
	f, g := vs[0].boxed(), vs[1].boxed()
	v := dynamic(typ{}, func(x *Ctx) any {
		a := f(x)
		k := g(x)
		switch m := a.(type) {
		case map[string]any:
			s, ok := k.(string)
			if !ok && k != nil {
				x.fail("a key of a map must be a string, not %s", typeName(k))
			}
			return m[s]
		case map[string]string:
			s, ok := k.(string)
			if !ok && k != nil {
				x.fail("a key of a map must be a string, not %s", typeName(k))
			}
			if v, ok := m[s]; ok {
				return v
			}
			return nil
		}
		if v := reflect.ValueOf(a); v.Kind() == reflect.Map {
			return x.lookup(v, k)
		}
		size := listLen(a)
		if s, ok := a.(string); ok {
			size = len(s)
		}
		if size < 0 {
			return nil
		}
		i, ok := toInt(k)
		if !ok {
			x.fail("an index must be an int, not %s", typeName(k))
			return nil
		}
		if i < 0 {
			i += int64(size)
		}
		if i < 0 || i >= int64(size) {
			return nil
		}
		if s, ok := a.(string); ok {
			return s[i]
		}
		return element(a, int(i))
	})
	return v.asRisky(), nil
}

// lookup returns what a map has under a key, nil when it has nothing.
func (x *Ctx) lookup(m reflect.Value, key any) any {
	k := reflect.ValueOf(key)
	if key == nil {
		k = reflect.Zero(m.Type().Key())
	}
	if !k.Comparable() || !k.Type().AssignableTo(m.Type().Key()) {
		x.fail("%s can't be a key of a map of %s", typeName(key), m.Type().Key())
		return nil
	}
	if e := m.MapIndex(k); e.IsValid() {
		return e.Interface()
	}
	return nil
}

// loop is a walk through a list in which a predicate is compiled.
type loop struct {
	k    int // the local with the element and the index
	elem value

	index bool // map and reduce: #index is there
	acc   bool // reduce: #acc is there
}

// begin compiles the start of a walk: size computes the list and tells its
// length, load makes element i current.
func (u *unit) begin(n syntax.Node, list value) (l *loop, size func(*Ctx) int, load func(*Ctx, int), err error) {
	k := u.local()
	l = &loop{k: k}
	if list.list != nil {
		f := list.list
		l.elem = text(func(x *Ctx) string { return x.locals[k].s })
		if vals, ok := constTexts(list); ok {
			l.elem.each = &each{l, vals}
		}
		size = func(x *Ctx) int {
			all := f(x)
			x.locals[k].l = all
			return len(all)
		}
		load = func(x *Ctx, i int) {
			v := &x.locals[k]
			v.i, v.s = int64(i), v.l[i]
		}
		return l, size, load, nil
	}
	if list.typ.kind != anyKind && list.typ.kind != listKind {
		return nil, nil, nil, u.errorf(n, "a list is needed, this is %s", list.typ)
	}
	f, anys := list.any, list.anys
	l.elem = unboxed(list.typ.elemType(), func(x *Ctx) any { return x.locals[k].a })
	size = func(x *Ctx) int {
		if anys != nil {
			l := anys(x)
			x.locals[k].list, x.locals[k].src = l, nil
			return len(l)
		}
		a := f(x)
		if l, ok := a.([]any); ok {
			x.locals[k].list, x.locals[k].src = l, nil
			return len(l)
		}
		if s, ok := a.(string); ok {
			a = []byte(s) // as expr-lang walks a text whose type it does not know
		}
		x.locals[k].src = a
		n := listLen(a)
		if n < 0 {
			if !x.failed() {
				x.fail("a list is needed, not %s", typeName(a))
			}
			return 0
		}
		return n
	}
	load = func(x *Ctx, i int) {
		v := &x.locals[k]
		if v.i = int64(i); v.src == nil {
			v.a = v.list[i]
			return
		}
		v.a = element(v.src, i)
	}
	return l, size, load, nil
}

func (u *unit) pointer(n *syntax.Pointer) (value, error) {
	if len(u.loops) == 0 {
		return value{}, u.errorf(n, "# is the current element of any, all, filter and the like")
	}
	l := u.loops[len(u.loops)-1]
	k := l.k
	has := func(what func(*loop) bool) bool { return slices.ContainsFunc(u.loops, what) }
	switch {
	case n.Name == "":
		return l.elem, nil
	case n.Name == "index" && has(func(l *loop) bool { return l.index }): // of any loop around, but it is the innermost's
		return integer(func(x *Ctx) int64 { return x.locals[k].i }), nil
	case n.Name == "acc" && l.acc:
		return dynamic(typ{}, func(x *Ctx) any { return x.locals[k].acc }), nil
	}
	return value{}, u.errorf(n, "unknown name #%s", n.Name)
}

// walk compiles the functions that take a predicate.
func (u *unit) walk(n *syntax.Builtin) (value, error) {
	if len(n.Arguments) == 0 {
		return value{}, u.errorf(n, "%s needs a list", n.Name)
	}
	list, err := u.node(n.Arguments[0])
	if err != nil {
		return list, err
	}
	l, size, load, err := u.begin(n.Arguments[0], list)
	if err != nil {
		return list, err
	}
	defer u.release()
	l.acc = n.Name == "reduce"
	l.index = l.acc || n.Name == "map"

	body := l.elem // count(list) and sum(list) need no predicate
	boolBody := true
	switch n.Name {
	case "map", "sum", "reduce", "groupBy", "sortBy":
		boolBody = false
	}
	if len(n.Arguments) > 1 {
		p, ok := n.Arguments[1].(*syntax.Predicate)
		if !ok {
			return value{}, u.errorf(n, "%s needs a predicate", n.Name)
		}
		u.loops = append(u.loops, l)
		if boolBody {
			body, err = u.truth(p.Node)
		} else {
			body, err = u.node(p.Node)
		}
		u.loops = u.loops[:len(u.loops)-1]
		if err != nil {
			return value{}, err
		}
		if k := body.typ.kind; k == evtKind || k == fieldsKind {
			return value{}, u.errorf(p, "%s is no value", body.typ)
		}
	} else if boolBody {
		if body.typ.kind != boolKind && body.typ.kind != anyKind {
			return value{}, u.errorf(n, "%s needs a predicate", n.Name)
		}
		elem := body.boxed()
		body = boolean(func(x *Ctx) bool {
			a := elem(x)
			b, ok := a.(bool)
			if !ok {
				x.fail("a condition gives a bool, not %s", typeName(a))
			}
			return b
		}).asRisky()
	}

	var v value
	switch n.Name {
	case "any", "all", "none":
		until := n.Name != "all" // the verdict that ends the walk
		found := n.Name == "any" // what the walk gives then
		test := body.bool
		v = boolean(func(x *Ctx) bool {
			for i, n := 0, size(x); i < n && !x.failed(); i++ {
				load(x, i)
				if test(x) == until {
					return found
				}
			}
			return !found
		})
		if n.Name == "any" && body.anyOf != nil && body.anyOf.loop == l {
			v = anyWalk(v.bool, body.anyOf)
		}
	case "one":
		test := body.bool
		v = boolean(func(x *Ctx) bool {
			c := 0
			for i, n := 0, size(x); i < n && !x.failed(); i++ {
				load(x, i)
				if test(x) {
					c++
				}
			}
			return c == 1
		})
	case "count":
		test := body.bool
		v = integer(func(x *Ctx) int64 {
			c := int64(0)
			for i, n := 0, size(x); i < n && !x.failed(); i++ {
				load(x, i)
				if test(x) {
					c++
				}
			}
			return c
		})
	case "find", "findLast", "findIndex", "findLastIndex", "filter[0]":
		test, elem := body.bool, l.elem.boxed()
		backwards := strings.HasPrefix(n.Name, "findLast")
		search := func(x *Ctx) int {
			n := size(x)
			for i := 0; i < n && !x.failed(); i++ {
				at := i
				if backwards {
					at = n - 1 - i
				}
				load(x, at)
				if test(x) {
					return at
				}
			}
			return -1
		}
		if strings.HasSuffix(n.Name, "Index") {
			v = dynamic(typ{}, func(x *Ctx) any {
				if i := search(x); i >= 0 {
					return i
				}
				return nil
			})
			break
		}
		v = dynamic(typ{}, func(x *Ctx) any {
			if search(x) < 0 {
				if n.Name == "filter[0]" {
					x.fail("index out of range: 0 of 0")
				}
				return nil
			}
			return elem(x)
		})
	case "filter", "filter[-k:]":
		test, elem := body.bool, l.elem.boxed()
		t := anysType
		t.elem = list.typ.elem
		if list.list != nil {
			one := l.elem.str
			v = texts(func(x *Ctx) []string {
				var out []string
				for i, n := 0, size(x); i < n && !x.failed(); i++ {
					load(x, i)
					if test(x) {
						out = append(out, one(x))
					}
				}
				return out
			})
			v.typ = looseType
			break
		}
		if n.Name == "filter[-k:]" {
			k := n.Arguments[2].(*syntax.Integer).Value
			v = listed(t, func(x *Ctx) []any {
				out := x.list(k)
				at := k
				for i := size(x) - 1; i >= 0 && at > 0 && !x.failed(); i-- {
					load(x, i)
					if test(x) {
						at--
						out[at] = elem(x)
					}
				}
				return out[at:]
			})
			break
		}
		v = listed(t, func(x *Ctx) []any {
			n := size(x)
			out := x.list(n)[:0]
			for i := 0; i < n && !x.failed(); i++ {
				load(x, i)
				if test(x) {
					out = append(out, elem(x))
				}
			}
			return out
		})
	case "map":
		give := body.boxed()
		t := anysType
		if body.typ.kind != anyKind && body.typ.kind != nilKind && body.typ.kind != stringKind {
			e := body.typ
			t.elem = &e
		}
		if body.str != nil {
			one := body.str
			v = texts(func(x *Ctx) []string {
				var out []string
				for i, n := 0, size(x); i < n && !x.failed(); i++ {
					load(x, i)
					out = append(out, one(x))
				}
				return out
			})
			v.typ = looseType
			break
		}
		v = listed(t, func(x *Ctx) []any {
			n := size(x)
			out := x.list(n)[:0]
			for i := 0; i < n && !x.failed(); i++ {
				load(x, i)
				out = append(out, give(x))
			}
			return out
		})
		if one := body.time; one != nil {
			v.times = func(x *Ctx) []time.Time {
				n := size(x)
				out := x.moments(n)[:0]
				for i := 0; i < n && !x.failed(); i++ {
					load(x, i)
					out = append(out, one(x))
				}
				return out
			}
		}
	case "sum":
		if !body.typ.isAny() && !body.typ.isNumber() && body.typ.kind != durationKind {
			return value{}, u.errorf(n, "cannot sum up %s", body.typ)
		}
		give := body.boxed()
		t := body.typ
		if t.kind == floatKind {
			t = typ{} // nothing sums up to an int
		}
		v = unboxed(t, func(x *Ctx) any {
			var sum any = 0
			for i, n := 0, size(x); i < n && !x.failed(); i++ {
				load(x, i)
				a := give(x)
				if i == 0 {
					sum = a
					if _, ok := calculate("+", 0, a); ok || t.kind == durationKind {
						continue
					}
					x.fail("cannot sum up %s", typeName(a))
					return nil
				}
				r, ok := calculate("+", sum, a)
				if !ok {
					x.fail("invalid operation: %s + %s", typeName(sum), typeName(a))
				}
				sum = r
			}
			return sum
		})
		v.risky = true
	case "groupBy":
		give, elem := body.boxed(), l.elem.boxed()
		v = dynamic(typ{}, func(x *Ctx) any {
			groups := make(map[any][]any)
			for i, n := 0, size(x); i < n && !x.failed(); i++ {
				load(x, i)
				key := give(x)
				if key != nil && !reflect.TypeOf(key).Comparable() {
					x.fail("groupBy by %s", typeName(key))
					break
				}
				groups[key] = append(groups[key], elem(x))
			}
			return groups
		}).asRisky()
	case "sortBy":
		order := constant("asc")
		if len(n.Arguments) > 2 {
			if order, err = u.node(n.Arguments[2]); err != nil {
				return order, err
			}
			if order, err = u.asText(n.Arguments[2], order, "the order of sortBy"); err != nil {
				return order, err
			}
		}
		give, elem, direction := body.boxed(), l.elem.boxed(), order.str
		t := typ{} // of a list that is known at run time only, expr-lang says no more
		if list.typ.kind == listKind {
			t = typ{kind: listKind, elem: list.typ.elem}
		}
		v = dynamic(t, func(x *Ctx) any {
			n := size(x)
			out, by := make([]any, 0, n), make([]any, 0, n)
			for i := 0; i < n && !x.failed(); i++ {
				load(x, i)
				out, by = append(out, elem(x)), append(by, give(x))
			}
			desc := direction(x)
			if desc != "asc" && desc != "desc" {
				x.fail("sortBy takes asc or desc, not %s", desc)
			}
			if x.failed() {
				return nil
			}
			sort.Stable(&sorted{x, out, by, desc == "desc"})
			return out
		}).asRisky()
		if list.list != nil { // the elements of a []any can be told to be texts
			give := v.any
			v = texts(func(x *Ctx) []string {
				l, _ := give(x).([]any)
				start := len(x.strs)
				for _, e := range l {
					s, _ := e.(string)
					x.strs = append(x.strs, s)
				}
				return x.strs[start:len(x.strs):len(x.strs)]
			}).asRisky()
			v.typ = looseType
		}
	case "reduce":
		give := body.boxed()
		var first func(*Ctx) any
		if len(n.Arguments) > 2 {
			start, err := u.node(n.Arguments[2])
			if err != nil {
				return start, err
			}
			first = start.boxed()
		}
		elem, k := l.elem.boxed(), l.k
		v = dynamic(typ{}, func(x *Ctx) any {
			n := size(x)
			i := 0
			if first != nil {
				x.locals[k].acc = first(x)
			} else if n > 0 {
				load(x, 0)
				x.locals[k].acc = elem(x)
				i = 1
			} else {
				x.fail("reduce of an empty list needs an initial value")
				return nil
			}
			for ; i < n && !x.failed(); i++ {
				load(x, i)
				acc := give(x)
				x.locals[k].acc = acc
			}
			return x.locals[k].acc
		}).asRisky()
	}
	v.risky = v.risky || body.risky || list.risky || list.list == nil
	return v, nil
}

// sorted is a list that is being sorted by other values.
type sorted struct {
	x    *Ctx
	list []any
	by   []any
	desc bool
}

func (s *sorted) Len() int { return len(s.list) }

func (s *sorted) Swap(i, j int) {
	s.list[i], s.list[j] = s.list[j], s.list[i]
	s.by[i], s.by[j] = s.by[j], s.by[i]
}

func (s *sorted) Less(i, j int) bool {
	if s.desc {
		i, j = j, i
	}
	order, _, ok := compare(s.by[i], s.by[j])
	if !ok {
		s.x.fail("cannot sort %s and %s", typeName(s.by[i]), typeName(s.by[j]))
	}
	return order < 0
}

// cutList is a slice of what has no static type.
func (x *Ctx) cutList(a any, from, to int64) any {
	switch l := a.(type) {
	case string:
		i, j := clip(from, to, len(l))
		return l[i:j]
	case []string:
		i, j := clip(from, to, len(l))
		return l[i:j]
	case []any:
		i, j := clip(from, to, len(l))
		return l[i:j]
	}
	n := listLen(a)
	if n < 0 {
		x.fail("cannot slice %s", typeName(a))
		return nil
	}
	i, j := clip(from, to, n)
	l := make([]any, 0, j-i)
	for ; i < j; i++ {
		l = append(l, element(a, i))
	}
	return l
}
