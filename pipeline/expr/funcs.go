package expr

import (
	"fmt"
	"maps"
	"sync"
)

// functions are the helpers of content by name (spec: engine §4.2), one file
// a theme. Commands that compile nothing do without.
var functions = sync.OnceValue(func() map[string]*function {
	return joined(stringFuncs(), numberFuncs(), timeFuncs(), netFuncs(), lookupFuncs(), urlFuncs(), jsonFuncs(), xmlFuncs(), kvFuncs(), fileFuncs(),
		listFuncs(), injectionFuncs(), botFuncs(), webFuncs(), requestFuncs(), historyFuncs(), otherFuncs())
})

// builtins are expr-lang's own functions without a predicate.
var builtins = sync.OnceValue(func() map[string]*function {
	return joined(convertBuiltins(), textBuiltins(), mathBuiltins(), listBuiltins(), timeBuiltins())
})

func joined(themes ...map[string]*function) map[string]*function {
	all := make(map[string]*function)
	for _, theme := range themes {
		maps.Copy(all, theme)
	}
	return all
}

// refuse makes the value that stands for a load error.
func refuse(format string, args ...any) value {
	return value{refused: fmt.Sprintf(format, args...)}
}

// The following make functions of common shapes. The Go functions they wrap
// must be pure: calls with constants are folded.

// textTest makes a function of a verdict on a text.
func textTest(test func(string) bool) *function {
	return &function{params: []param{aString}, build: func(_ *unit, a []value) value {
		f := a[0].str
		return boolean(func(x *Ctx) bool { return test(f(x)) })
	}}
}

// twoTexts makes a function of a verdict on two texts.
func twoTexts(test func(a, b string) bool) *function {
	return &function{params: []param{aString, aString}, build: func(_ *unit, a []value) value {
		f, g := a[0].str, a[1].str
		return boolean(func(x *Ctx) bool { s := f(x); return test(s, g(x)) })
	}}
}

// textIndex makes a function of a position in a text.
func textIndex(find func(a, b string) int) *function {
	return &function{params: []param{aString, aString}, build: func(_ *unit, a []value) value {
		f, g := a[0].str, a[1].str
		return integer(func(x *Ctx) int64 { s := f(x); return int64(find(s, g(x))) })
	}}
}

// textFrom makes a function of a text that gives a text.
func textFrom(do func(x *Ctx, s string) string) *function {
	return &function{params: []param{aString}, build: func(_ *unit, a []value) value {
		f := a[0].str
		return text(func(x *Ctx) string { return do(x, f(x)) })
	}}
}

// textFrom2 makes a function of two texts that gives a text.
func textFrom2(do func(x *Ctx, s, t string) string) *function {
	return &function{params: []param{aString, aString}, build: func(_ *unit, a []value) value {
		f, g := a[0].str, a[1].str
		return text(func(x *Ctx) string { s := f(x); return do(x, s, g(x)) })
	}}
}

// memoFrom is textFrom for what costs more than a comparison.
func memoFrom(name string, do func(x *Ctx, s string) string) *function {
	return &function{params: []param{aString}, build: func(u *unit, a []value) value { return u.memoised(name, a[0], do) }}
}

// caseFrom is memoFrom for Upper and Lower.
func caseFrom(name string, do func(x *Ctx, s string) string) *function {
	f := memoFrom(name, do)
	memo := f.build
	f.build = func(u *unit, a []value) value {
		v := memo(u, a)
		v.folds = &a[0]
		return v
	}
	return f
}

// failing marks a function as one that may fail.
func failing(f *function) *function { f.risky = true; return f }

// withDefault lets the last argument of a function be left out, which then
// stands for a constant text.
func withDefault(f *function, last string) *function {
	build := f.build
	f.optional = 1
	f.build = func(u *unit, a []value) value {
		if len(a) < len(f.params) {
			a = append(a[:len(a):len(a)], constant(last))
		}
		return build(u, a)
	}
	return f
}
