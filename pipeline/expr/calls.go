package expr

import (
	"time"

	"cs/pipeline/event"
	"cs/pipeline/expr/syntax"
)

// function is a helper that expressions may call.
type function struct {
	params   []param
	optional int  // how many of the last params may be left out
	variadic bool // the last param may repeat, or be left out
	risky    bool // may fail or has an effect
	varying  bool // not the same result for the same arguments: never folded
	build    func(u *unit, a []value) value
}

// param is a type that a function takes.
type param uint8

const (
	anything param = iota
	aString
	anInt
	aFloat
	aBool
	someTexts // a list of strings
	aList
	aMap
	aTime
	aDuration
)

var paramNames = [...]string{"anything", "a string", "an int", "a number", "a bool", "a list of strings", "a list", "a map", "a time", "a duration"}

func (u *unit) call(n *syntax.Call) (value, error) {
	switch callee := n.Callee.(type) {
	case *syntax.Identifier:
		return u.callFunction(n, callee.Value, n.Arguments)
	case *syntax.Member:
		if name, ok := callee.Property.(*syntax.String); ok {
			return u.callMethod(n, callee, name.Value)
		}
	}
	return value{}, u.errorf(n, "%s can't be called", u.written(n.Callee))
}

func (u *unit) callFunction(n syntax.Node, name string, args []syntax.Node) (value, error) {
	if u.Env != nil {
		if f, ok := u.Env.funcs[name]; ok {
			return u.apply(n, name, f, args)
		}
	}
	if f, ok := functions()[name]; ok {
		return u.apply(n, name, f, args)
	}
	names := append(mapKeys(functions()), builtinNames()...)
	if u.Env != nil {
		names = append(names, mapKeys(u.Env.funcs)...)
	}
	return value{}, u.errorf(n, "unknown function %s%s", name, suggest(name, names))
}

// applyMethod is apply for a function whose first argument is what it is called
// on.
func (u *unit) applyMethod(n syntax.Node, name string, f *function, on value, nodes []syntax.Node) (value, error) {
	bound := *f
	bound.build = func(u *unit, a []value) value {
		v := f.build(u, append([]value{on}, a...))
		v.risky = v.risky || on.risky
		return v
	}
	bound.varying = true // on may be
	return u.apply(n, name, &bound, nodes)
}

// apply checks the arguments of a call and builds it. A pure function of
// constants is called now.
func (u *unit) apply(n syntax.Node, name string, f *function, nodes []syntax.Node) (value, error) {
	least, most := len(f.params)-f.optional, len(f.params)
	if f.variadic {
		least, most = least-1, len(nodes)
	}
	if len(nodes) < least || len(nodes) > most {
		return value{}, u.errorf(n, "%s takes %s, not %d", name, counted(least, len(f.params), f.variadic), len(nodes))
	}
	args, err := u.nodes(nodes)
	if err != nil {
		return value{}, err
	}
	konst, risky := !f.varying, f.risky
	for i := range args {
		p := f.params[min(i, len(f.params)-1)]
		if args[i], err = u.argument(nodes[i], args[i], name, p); err != nil {
			return value{}, err
		}
		konst = konst && args[i].konst
		risky = risky || args[i].risky
	}
	v := f.build(u, args)
	if v.refused != "" {
		return v, u.errorf(n, "%s", v.refused)
	}
	v.risky = v.risky || risky
	if konst {
		return v.folded(), nil
	}
	v.konst = false
	if f.varying || f.risky {
		return v, nil
	}
	if v = tabulated(v, args, func(a []value) (value, error) { return f.build(u, a), nil }); name == "IpInRange" {
		v.anyOf = comparesEach("range", nodes[0], args[0], args[1])
	}
	return v, nil
}

func counted(least, most int, variadic bool) string {
	switch {
	case variadic:
		return "at least " + plural(least)
	case least != most:
		return plural(least) + " or up to " + plural(most)
	}
	return plural(most)
}

func plural(n int) string {
	names := [...]string{"no arguments", "1 argument", "2 arguments", "3 arguments", "4 arguments", "5 arguments"}
	return names[min(n, len(names)-1)]
}

// argument turns a value into what a parameter wants.
func (u *unit) argument(n syntax.Node, v value, name string, p param) (value, error) {
	what := "an argument of " + name
	switch p {
	case aString:
		return u.asText(n, v, what)
	case anInt:
		return u.asInt(n, v, what)
	case aFloat:
		return u.asFloat(n, v, what)
	case someTexts:
		return u.asTexts(n, v, what)
	case aBool:
		if v.typ.kind == boolKind {
			return v, nil
		}
		if v.typ.kind == anyKind {
			return u.truth(n)
		}
	case aList:
		if v.typ.kind == listKind || v.typ.kind == anyKind {
			return v, nil
		}
	case aMap:
		if v.typ.kind == mapKind || v.typ.kind == fieldsKind || v.typ.kind == anyKind {
			return v, nil
		}
	case aTime:
		if v.typ.kind == timeKind {
			return v, nil
		}
		if v.typ.kind == anyKind {
			f := v.any
			return dynamic(timeType, func(x *Ctx) any {
				a := f(x)
				if _, ok := a.(time.Time); !ok {
					x.fail("%s must be a time, not %s", what, typeName(a))
				}
				return a
			}).asRisky(), nil
		}
	case aDuration:
		if v.typ.kind == durationKind {
			return v, nil
		}
		if v.typ.kind == anyKind {
			f := v.any
			return lasting(func(x *Ctx) int64 {
				a := f(x)
				d, ok := a.(time.Duration)
				if !ok {
					x.fail("%s must be a duration, not %s", what, typeName(a))
				}
				return int64(d)
			}).asRisky(), nil
		}
	default:
		if v.typ.kind != evtKind {
			return v, nil
		}
	}
	return v, u.errorf(n, "%s must be %s, this is %s", what, paramNames[p], v.typ)
}

// asTexts turns a value into a list of strings, or says what wants one.
func (u *unit) asTexts(n syntax.Node, v value, what string) (value, error) {
	if v.list != nil {
		v.typ = stringsType
		return v, nil
	}
	if v.typ.kind != anyKind && v.typ.kind != listKind {
		return v, u.errorf(n, "%s must be a list of strings, this is %s", what, v.typ)
	}
	f, written := v.any, u.written(n)
	return texts(func(x *Ctx) []string {
		switch l := f(x).(type) {
		case []string:
			return l
		case []any:
			start := len(x.strs)
			for _, e := range l {
				s, ok := e.(string)
				if !ok {
					x.fail("%s must be a list of strings, one is %s", what, typeName(e))
					return nil
				}
				x.strs = append(x.strs, s)
			}
			return x.strs[start:len(x.strs):len(x.strs)]
		default:
			x.fail("%s must be a list of strings, %s gives %s", what, written, typeName(l))
		}
		return nil
	}).asRisky(), nil
}

func (u *unit) callMethod(n *syntax.Call, callee *syntax.Member, name string) (value, error) {
	base, err := u.node(callee.Node)
	if err != nil {
		return base, err
	}
	switch base.typ.kind {
	case evtKind:
		f := evtMethods[name]
		if f == nil {
			return base, u.errorf(n, "unknown method evt.%s%s", name, suggest(name, mapKeys(evtMethods)))
		}
		return u.apply(n, "evt."+name, f, n.Arguments)
	case timeKind:
		f := timeMethods[name]
		if f == nil {
			return base, u.errorf(n, "unknown method %s of a time%s", name, suggest(name, mapKeys(timeMethods)))
		}
		return u.applyMethod(n, name, f, base, n.Arguments)
	case durationKind:
		f := durationMethods[name]
		if f == nil {
			return base, u.errorf(n, "unknown method %s of a duration%s", name, suggest(name, mapKeys(durationMethods)))
		}
		return u.applyMethod(n, name, f, base, n.Arguments)
	case anyKind:
		args, err := u.nodes(n.Arguments)
		if err != nil {
			return base, err
		}
		return u.dynamicCall(base, name, args, callee.Optional), nil
	}
	if base.typ.obj == nil {
		return base, u.errorf(n, "%s has no methods", base.typ)
	}
	m, ok := base.typ.obj.members[name]
	if !ok || !m.method {
		return base, u.errorf(n, "%s has no method %s%s", base.typ, name, suggest(name, mapKeys(base.typ.obj.members)))
	}
	if len(m.takes) != len(n.Arguments) {
		return base, u.errorf(n, "%s takes %s, not %d", name, plural(len(m.takes)), len(n.Arguments))
	}
	args, err := u.nodes(n.Arguments)
	if err != nil {
		return base, err
	}
	for i := range args {
		want := u.Env.typeOf(m.takes[i])
		if args[i], err = u.argument(n.Arguments[i], args[i], name, paramOf(want)); err != nil {
			return base, err
		}
	}
	return u.access(base, m, args, callee.Optional), nil
}

// paramOf gives the parameter type for a static type.
func paramOf(t typ) param {
	switch {
	case t.kind == stringKind:
		return aString
	case t.kind == intKind:
		return anInt
	case t.kind == floatKind:
		return aFloat
	case t.kind == boolKind:
		return aBool
	case t.isStrings():
		return someTexts
	case t.kind == timeKind:
		return aTime
	case t.kind == durationKind:
		return aDuration
	}
	return anything
}

// evtMethods are the methods of the event.
var evtMethods = map[string]*function{
	"GetType": {varying: true, build: func(*unit, []value) value {
		return text(func(x *Ctx) string {
			return [...]string{"log", "overflow", "unknown"}[x.eventType()]
		})
	}},
	"GetMeta": {params: []param{aString}, varying: true, build: func(u *unit, a []value) value {
		f := a[0].str
		fromLog := fieldByName(event.Meta, a[0]).str
		if k, ok := a[0].constText(); ok {
			if slot, err := u.Schema.Intern(event.Meta, k); err == nil {
				fromLog = func(x *Ctx) string { return x.Event.Get(slot) }
			}
		}
		return text(func(x *Ctx) string {
			if x.Alert == nil {
				return fromLog(x)
			}
			k := f(x)
			for i := range x.Alert.Events {
				for _, kv := range x.Alert.Events[i].Meta {
					if kv.Key == k && kv.Value != "" {
						return kv.Value
					}
				}
			}
			return ""
		})
	}},
	"ParseIPSources": {varying: true, build: func(u *unit, _ []value) value {
		slot, err := u.Schema.Intern(event.Meta, "source_ip")
		if err != nil {
			return refuse("%v", err)
		}
		elem := addressType()
		t := typ{kind: listKind, elem: &elem}
		return dynamic(t, func(x *Ctx) any {
			list := []any{}
			add := func(s string) {
				if ip, ok := address(s); ok {
					list = append(list, ip)
				}
			}
			if x.Alert == nil {
				add(x.Event.Get(slot))
				return list
			}
			for _, s := range x.Sources {
				add(s)
			}
			return list
		})
	}},
	"SetMeta":   {params: []param{aString, aString}, risky: true, varying: true, build: setter(event.Meta)},
	"SetParsed": {params: []param{aString, aString}, risky: true, varying: true, build: setter(event.Parsed)},
}

// setter builds evt.SetMeta and evt.SetParsed.
func setter(space event.Space) func(*unit, []value) value {
	return func(u *unit, a []value) value {
		u.acts = true
		key, val := a[0].str, a[1].str
		find := func(x *Ctx, name string) (event.Slot, bool) { return x.Event.Schema().Adopt(space, name) }
		if k, ok := a[0].constText(); ok {
			if slot, err := u.Schema.Intern(space, k); err == nil {
				find = func(*Ctx, string) (event.Slot, bool) { return slot, true }
			}
		} else {
			u.Schema.Reserve(space) // without room for more names they are dropped
		}
		return boolean(func(x *Ctx) bool {
			k := key(x)
			v := val(x)
			if x.failed() {
				return true
			}
			if slot, ok := find(x, k); ok {
				x.Event.Set(slot, v)
			}
			return true
		})
	}
}
