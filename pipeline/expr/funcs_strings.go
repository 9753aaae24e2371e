package expr

import "strings"

// functions are the helpers of content by name (spec: engine §4.2).
var functions = map[string]*function{}

func init() {
	for _, theme := range []map[string]*function{stringFuncs, fileFuncs} {
		for name, f := range theme {
			functions[name] = f
		}
	}
}

// stringFuncs are thin wrappers over package strings.
var stringFuncs = map[string]*function{
	"Upper": {params: []param{aString}, build: upper},
	"Lower": {params: []param{aString}, build: lower},
	"TrimSpace": {params: []param{aString}, build: func(_ *unit, a []value) value {
		f := a[0].str
		return text(func(x *Ctx) string { return strings.TrimSpace(f(x)) })
	}},
}

func upper(u *unit, a []value) value {
	return u.memoised("upper", a[0], func(x *Ctx, s string) string { return x.arena.Upper(s) })
}

func lower(u *unit, a []value) value {
	return u.memoised("lower", a[0], func(x *Ctx, s string) string { return x.arena.Lower(s) })
}
