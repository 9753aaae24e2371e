package expr

import (
	"reflect"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/expr/syntax"
)

// evtFields are the plain fields of the event.
var evtFields = map[string]value{
	"StrTime":         text(func(x *Ctx) string { return x.Event.StrTime }),
	"StrTimeFormat":   text(func(x *Ctx) string { return x.Event.StrTimeFormat }),
	"MarshaledTime":   text(func(x *Ctx) string { return x.Event.MarshaledTime }),
	"Stage":           text(func(x *Ctx) string { return x.Stage }),
	"WhitelistReason": text(func(x *Ctx) string { return x.Event.WhitelistReason }),
	"Whitelisted":     boolean(func(x *Ctx) bool { return x.Event.Whitelisted }),
	"Process":         boolean(func(*Ctx) bool { return true }),
	"Time":            moment(func(x *Ctx) time.Time { return x.Event.Time }),
	"ExpectMode": integer(func(x *Ctx) int64 {
		if x.Event.Line.Mode == event.Replay {
			return 1
		}
		return 0
	}),
	"Type": integer((*Ctx).eventType),
}

// eventType is evt.Type: 0 for a line, 1 for an overflow, 2 for the alert of a
// WAF.
func (x *Ctx) eventType() int64 {
	switch {
	case x.Alert == nil:
		return 0
	case x.Alert.Kind == "waf":
		return 2
	}
	return 1
}

// lineFields are the fields of evt.Line.
var lineFields = map[string]value{
	"Raw":     text(func(x *Ctx) string { return x.Event.Line.Raw }),
	"Src":     text(func(x *Ctx) string { return x.Event.Line.Src }),
	"Module":  text(func(x *Ctx) string { return x.Event.Line.Module }),
	"Time":    moment(func(x *Ctx) time.Time { return x.Event.Line.Time.UTC() }),
	"Process": boolean(func(*Ctx) bool { return true }),
	"Labels":  dynamic(textMapType, func(x *Ctx) any { return x.Event.Line.Labels }),
}

// lineType is the type of evt.Line; it has no value of its own.
var lineType = &object{name: "evt.Line"}

func evtNames() []string {
	return append(mapKeys(evtFields), "Line", "Parsed", "Meta", "Enriched", "Unmarshaled", "Overflow", "Appsec",
		"GetType", "GetMeta", "SetMeta", "SetParsed", "ParseIPSources")
}

func mapKeys[V any](m map[string]V) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	return names
}

// spaceOf returns the name space that evt.name is.
func spaceOf(name string) (event.Space, bool) {
	for _, s := range [...]event.Space{event.Parsed, event.Meta, event.Enriched, event.Unmarshaled} {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}

func (u *unit) member(n *syntax.Member) (value, error) {
	if f, ok := n.Node.(*syntax.Builtin); ok && f.Name == "filter" {
		if i, ok := n.Property.(*syntax.Integer); ok && i.Value == 0 {
			// stop at the first element, as expr-lang does
			return u.walk(&syntax.Builtin{Place: n.Place, Name: "filter[0]", Arguments: f.Arguments})
		}
	}
	name, isName := n.Property.(*syntax.String)
	if id, ok := n.Node.(*syntax.Identifier); ok && id.Value == "$env" && isName {
		return u.identifier(&syntax.Identifier{Place: n.Place, Value: name.Value})
	}
	base, err := u.node(n.Node)
	if err != nil {
		return base, err
	}
	if isName {
		switch base.typ.kind {
		case evtKind:
			return u.evtMember(n, name.Value)
		case fieldsKind:
			return u.field(n, base.typ.space, name.Value)
		case objectKind:
			return u.objectMember(n, base, name.Value)
		case listKind:
			if base.typ.obj != nil {
				return u.objectMember(n, base, name.Value)
			}
		}
	}
	key, err := u.node(n.Property)
	if err != nil {
		return key, err
	}
	if isName && base.key == labelsKey {
		return u.label(name.Value), nil
	}
	if isName && base.typ.kind == mapKind && base.typ.elem != nil && base.typ.elem.kind == stringKind {
		f, k := base.any, name.Value
		v := text(func(x *Ctx) string { m, _ := f(x).(map[string]string); return m[k] })
		if base.entry != nil {
			v = text(base.entry(k))
		}
		v.risky = base.risky
		return v, nil
	}
	var v value
	switch base.typ.kind {
	case fieldsKind:
		k, err := u.asKey(n.Property, key)
		if err != nil {
			return k, err
		}
		v = fieldByName(base.typ.space, k)
		v.risky = k.risky
		return v, nil
	case listKind:
		i, err := u.asInt(n.Property, key, "an index")
		if err != nil {
			return i, err
		}
		v = elementOf(base, i)
	case mapKind:
		k, err := u.asKey(n.Property, key)
		if err != nil {
			return k, err
		}
		f, g := base.any, k.str
		v = unboxed(base.typ.elemType(), func(x *Ctx) any {
			m := f(x)
			if x.cut {
				return nil
			}
			return x.fetch(m, g(x))
		})
		v.risky = base.risky || k.risky
		return v, nil
	case anyKind:
		f, g, optional := base.any, key.boxed(), n.Optional && u.chains > 0
		if isName {
			k := name.Value
			v = dynamic(typ{}, func(x *Ctx) any {
				a := f(x)
				if m, ok := a.(map[string]any); ok {
					return m[k]
				}
				if x.cut {
					return nil
				}
				if optional && isNil(a) {
					x.cut = true
					return nil
				}
				return x.fetch(a, k)
			})
			break
		}
		v = dynamic(typ{}, func(x *Ctx) any {
			a := f(x)
			if x.cut {
				return nil
			}
			if optional && isNil(a) {
				x.cut = true
				return nil
			}
			return x.fetch(a, g(x))
		})
	case nilKind:
		return v, u.errorf(n, "nil has no members")
	default:
		return v, u.errorf(n, "%s has no members", base.typ)
	}
	return v.asRisky(), nil
}

// elementOf is list[i].
func elementOf(list, i value) value {
	g := i.int
	if list.list != nil {
		f := list.list
		return text(func(x *Ctx) string {
			l := f(x)
			k, ok := x.place(g(x), len(l))
			if !ok {
				return ""
			}
			return l[k]
		})
	}
	if f := list.anys; f != nil {
		return unboxed(list.typ.elemType(), func(x *Ctx) any {
			l := f(x)
			k, ok := x.place(g(x), len(l))
			if !ok {
				return nil
			}
			return l[k]
		})
	}
	f := list.any
	return unboxed(list.typ.elemType(), func(x *Ctx) any {
		l := f(x)
		if x.cut {
			return nil
		}
		k, ok := x.place(g(x), max(0, listLen(l)))
		if !ok {
			return nil
		}
		return element(l, k)
	})
}

func (u *unit) evtMember(n *syntax.Member, name string) (value, error) {
	if v, ok := u.Env.variable("evt." + name); ok {
		return v, nil
	}
	if v, ok := evtFields[name]; ok {
		v.key = "evt." + name
		return v, nil
	}
	if s, ok := spaceOf(name); ok {
		return value{typ: typ{kind: fieldsKind, space: s}, any: allFields(s)}, nil
	}
	switch name {
	case "Line":
		return value{typ: typ{kind: objectKind, obj: lineType}, any: func(*Ctx) any { return nil }}, nil
	case "Overflow":
		return overflow, nil
	case "Appsec":
		return dynamic(u.Env.typeOf(reflect.TypeFor[*Appsec]()), func(x *Ctx) any { return appsec(x) }), nil
	}
	return value{}, u.errorf(n, "unknown field evt.%s%s", name, suggest(name, evtNames()))
}

// field is evt.Parsed.x and the like.
func (u *unit) field(n syntax.Node, space event.Space, name string) (value, error) {
	slot, err := u.Schema.Intern(space, name)
	if err != nil {
		return value{}, u.errorf(n, "%v", err)
	}
	if space == event.Unmarshaled {
		return dynamic(typ{}, func(x *Ctx) any { return x.Event.Doc(slot) }), nil
	}
	v := text(func(x *Ctx) string { return x.Event.Get(slot) })
	v.key, v.slot = "evt."+space.String()+"."+name, &slot
	return v, nil
}

// fieldByName is a field whose name is known at run time only. A name that no
// content mentions has no slot and no value.
func fieldByName(space event.Space, name value) value {
	f := name.str
	if space == event.Unmarshaled {
		return dynamic(typ{}, func(x *Ctx) any { return x.Event.DocNamed(f(x)) })
	}
	return text(func(x *Ctx) string {
		if slot, ok := x.Event.Schema().Lookup(space, f(x)); ok {
			return x.Event.Get(slot)
		}
		return ""
	})
}

// hasField is name in evt.Parsed and the like.
func (u *unit) hasField(space event.Space, name value) value {
	has := func(x *Ctx, slot event.Slot) bool {
		return x.Event.Has(slot) || space == event.Unmarshaled && x.Event.Doc(slot) != nil
	}
	if k, ok := name.constText(); ok {
		if slot, err := u.Schema.Intern(space, k); err == nil {
			return boolean(func(x *Ctx) bool { return has(x, slot) })
		}
	}
	f := name.str
	v := boolean(func(x *Ctx) bool {
		k := f(x)
		slot, ok := x.Event.Schema().Lookup(space, k)
		return ok && has(x, slot) || space == event.Unmarshaled && x.Event.DocNamed(k) != nil
	})
	v.risky = name.risky
	return v
}

// allFields gives the fields of a space as a map.
func allFields(space event.Space) func(*Ctx) any {
	return func(x *Ctx) any {
		s := x.Event.Schema()
		if space == event.Unmarshaled {
			return x.Event.Docs()
		}
		m := make(map[string]string)
		for _, slot := range s.Sorted(space) {
			if x.Event.Has(slot) {
				_, name := s.Name(slot)
				m[name] = strings.Clone(x.Event.Get(slot))
			}
		}
		return m
	}
}

func (u *unit) chain(n *syntax.Chain) (value, error) {
	u.chains++
	v, err := u.node(n.Node)
	u.chains--
	if err != nil || v.any == nil {
		return v, err
	}
	f := v.any
	v.generally()
	v.any = func(x *Ctx) any {
		a := f(x)
		x.cut = false
		if isNil(a) {
			return nil // whatever it is nil of
		}
		return a
	}
	return v, nil
}

func (u *unit) slice(n *syntax.Slice) (value, error) {
	v, err := u.node(n.Node)
	if err != nil {
		return v, err
	}
	from, to := constant(0), constant(int64(1<<62))
	if n.From != nil {
		if from, err = u.node(n.From); err != nil {
			return from, err
		}
		if from, err = u.asInt(n.From, from, "the start of a slice"); err != nil {
			return from, err
		}
	}
	if n.To != nil {
		if to, err = u.node(n.To); err != nil {
			return to, err
		}
		if to, err = u.asInt(n.To, to, "the end of a slice"); err != nil {
			return to, err
		}
	}
	i, j := from.int, to.int
	var out value
	switch {
	case v.str != nil:
		f := v.str
		out = text(func(x *Ctx) string {
			s := f(x)
			a := i(x)
			from, to := clip(a, j(x), len(s))
			return s[from:to]
		})
	case v.list != nil:
		f := v.list
		out = texts(func(x *Ctx) []string {
			l := f(x)
			a := i(x)
			from, to := clip(a, j(x), len(l))
			return l[from:to]
		})
		out.typ = v.typ
	case v.typ.kind == listKind, v.typ.kind == anyKind:
		f := v.any
		out = dynamic(v.typ, func(x *Ctx) any {
			a := f(x)
			if x.cut {
				return nil
			}
			first := i(x)
			return x.cutList(a, first, j(x))
		}).asRisky()
		if f := v.anys; f != nil {
			out.anys = func(x *Ctx) []any {
				l := f(x)
				first := i(x)
				from, to := clip(first, j(x), len(l))
				return l[from:to]
			}
		}
	default:
		return v, u.errorf(n, "cannot slice %s", v.typ)
	}
	out.risky = out.risky || v.risky || from.risky || to.risky
	if v.konst && from.konst && to.konst {
		return out.folded(), nil
	}
	return out, nil
}
