package expr

import (
	"fmt"
	"strings"
)

var (
	upperFunc = caseFrom("upper", func(x *Ctx, s string) string { return x.arena.Upper(s) })
	lowerFunc = caseFrom("lower", func(x *Ctx, s string) string { return x.arena.Lower(s) })

	trimPrefix = textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimPrefix(s, t) })
	trimSuffix = textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimSuffix(s, t) })
)

// stringFuncs are thin wrappers over package strings.
func stringFuncs() map[string]*function {
	return map[string]*function{
		"Upper": upperFunc,
		"Lower": lowerFunc,
		"Fields": {params: []param{aString}, build: func(_ *unit, a []value) value {
			f := a[0].str
			return texts(func(x *Ctx) []string {
				s, start := f(x), len(x.strs)
				for field := range strings.FieldsSeq(s) {
					x.strs = append(x.strs, field)
				}
				return x.strs[start:len(x.strs):len(x.strs)]
			})
		}},
		"Index":       textIndex(strings.Index),
		"IndexAny":    textIndex(strings.IndexAny),
		"Join":        joinFunc,
		"Split":       splitFunc(0, false),
		"SplitAfter":  splitFunc(1, false),
		"SplitAfterN": splitFunc(1, true),
		"SplitN":      splitFunc(0, true),
		"Replace": {params: []param{aString, aString, aString, anInt}, build: func(_ *unit, a []value) value {
			return replace(a[0].str, a[1].str, a[2].str, a[3].int)
		}},
		"ReplaceAll": {params: []param{aString, aString, aString}, build: func(_ *unit, a []value) value {
			return replace(a[0].str, a[1].str, a[2].str, func(*Ctx) int64 { return -1 })
		}},
		"Trim":       textFrom2(func(_ *Ctx, s, t string) string { return strings.Trim(s, t) }),
		"TrimLeft":   textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimLeft(s, t) }),
		"TrimRight":  textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimRight(s, t) }),
		"TrimPrefix": textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimPrefix(s, t) }),
		"TrimSuffix": textFrom2(func(_ *Ctx, s, t string) string { return strings.TrimSuffix(s, t) }),
		"TrimSpace":  textFrom(func(_ *Ctx, s string) string { return strings.TrimSpace(s) }),
		"Sprintf": {params: []param{aString, anything}, variadic: true, build: func(_ *unit, a []value) value {
			f := a[0].str
			args, written := boxes(a[1:]), a[0].konst
			return text(func(x *Ctx) string {
				format := f(x)
				if !written && !modest(format) {
					x.fail("a format asks for more than %d characters", maxMade)
					return ""
				}
				vals := make([]any, len(args))
				for i, g := range args {
					vals[i] = g(x)
				}
				return x.arena.Built(fmt.Appendf(x.arena.Build(), format, vals...))
			})
		}},
		"ToString": {params: []param{anything}, build: func(_ *unit, a []value) value {
			if a[0].str != nil {
				return a[0]
			}
			f := a[0].boxed()
			return text(func(x *Ctx) string { s, _ := f(x).(string); return s })
		}},
		"Get": {params: []param{someTexts, anInt}, risky: true, build: func(_ *unit, a []value) value {
			f, g := a[0].list, a[1].int
			return text(func(x *Ctx) string {
				l := f(x)
				i := g(x)
				switch {
				case i >= int64(len(l)):
					return ""
				case i < 0:
					x.fail("index out of range: %d", i)
					return ""
				}
				return l[i]
			})
		}},
		"Match": twoTexts(glob),
	}
}

// maxMade bounds a text that is larger than what it is made of, in bytes: fields
// come from attackers, and a line with a million commas that is joined by itself
// would not fit any memory.
const maxMade = 64 << 20

// modest adds up the widths in a format which a log line may have had a hand in.
func modest(format string) bool {
	sum, n := 0, 0
	for _, c := range []byte(format) {
		switch {
		case c-'0' <= 9:
			n = min(n*10+int(c-'0'), maxMade)
			continue
		case c == '*':
			n = 1_000_000 // more is refused by fmt
		}
		sum, n = sum+n, 0
		if sum > maxMade {
			return false
		}
	}
	return true
}

func textBuiltins() map[string]*function {
	return map[string]*function{
		"upper": upperFunc,
		"lower": lowerFunc,
		"trim": {params: []param{aString, aString}, optional: 1, build: func(_ *unit, a []value) value {
			f := a[0].str
			if len(a) == 1 {
				return text(func(x *Ctx) string { return strings.TrimSpace(f(x)) })
			}
			g := a[1].str
			return text(func(x *Ctx) string { s := f(x); return strings.Trim(s, g(x)) })
		}},
		"trimPrefix":  withDefault(trimPrefix, " "),
		"trimSuffix":  withDefault(trimSuffix, " "),
		"hasPrefix":   twoTexts(strings.HasPrefix),
		"hasSuffix":   twoTexts(strings.HasSuffix),
		"indexOf":     textIndex(strings.Index),
		"lastIndexOf": textIndex(strings.LastIndex),
		"split":       splitBuiltin(0),
		"splitAfter":  splitBuiltin(1),
		"replace": {params: []param{aString, aString, aString, anInt}, optional: 1, build: func(_ *unit, a []value) value {
			n := func(*Ctx) int64 { return -1 }
			if len(a) == 4 {
				n = a[3].int
			}
			return replace(a[0].str, a[1].str, a[2].str, n)
		}},
		"repeat": {params: []param{aString, anInt}, risky: true, build: func(_ *unit, a []value) value {
			f, g := a[0].str, a[1].int
			return text(func(x *Ctx) string {
				s := f(x)
				n := g(x)
				if n < 0 || n > maxRepeat || n*int64(len(s)) > maxRepeat {
					x.fail("cannot repeat %d bytes %d times", len(s), n)
					return ""
				}
				return strings.Repeat(s, int(n))
			})
		}},
		"join": withDefault(&function{params: []param{someTexts, aString}, build: join}, ""),
	}
}

// maxRepeat bounds what repeat makes, in bytes.
const maxRepeat = 1_000_000

var joinFunc = &function{params: []param{someTexts, aString}, build: join}

func join(_ *unit, a []value) value {
	f, g := a[0].list, a[1].str
	return text(func(x *Ctx) string {
		l := f(x)
		sep := g(x)
		switch len(l) {
		case 0:
			return ""
		case 1:
			return l[0]
		}
		size := len(sep) * (len(l) - 1)
		for _, s := range l {
			size += len(s)
		}
		if size > maxMade {
			x.fail("cannot join %d texts: they have more than %d bytes", len(l), maxMade)
			return ""
		}
		b := x.arena.Build()
		for i, s := range l {
			if i > 0 {
				b = append(b, sep...)
			}
			b = append(b, s...)
		}
		return x.arena.Built(b)
	})
}

// splitFunc makes Split and its kin: keep tells whether the separator stays at
// the end of each piece.
func splitFunc(keep int, counted bool) *function {
	f := &function{params: []param{aString, aString}}
	if counted {
		f.params = append(f.params, anInt)
	}
	f.build = func(_ *unit, a []value) value {
		n := func(*Ctx) int64 { return -1 }
		if counted {
			n = a[2].int
		}
		return split(a[0].str, a[1].str, n, keep)
	}
	return f
}

// splitBuiltin makes expr-lang's split, whose count may be left out.
func splitBuiltin(keep int) *function {
	return &function{params: []param{aString, aString, anInt}, optional: 1, build: func(_ *unit, a []value) value {
		n := func(*Ctx) int64 { return -1 }
		if len(a) == 3 {
			n = a[2].int
		}
		return split(a[0].str, a[1].str, n, keep)
	}}
}

// split cuts a text into at most n pieces (any number if n < 0) without
// allocating. The list is valid until the end of the evaluation.
func split(f, g func(*Ctx) string, count func(*Ctx) int64, keep int) value {
	return texts(func(x *Ctx) []string {
		s := f(x)
		sep := g(x)
		n := count(x)
		if n == 0 {
			return nil
		}
		if sep == "" {
			if keep > 0 {
				return strings.SplitAfterN(s, sep, int(n))
			}
			return strings.SplitN(s, sep, int(n))
		}
		start := len(x.strs)
		for n < 0 || n > 1 {
			i := strings.Index(s, sep)
			if i < 0 {
				break
			}
			x.strs = append(x.strs, s[:i+keep*len(sep)])
			s = s[i+len(sep):]
			n--
		}
		x.strs = append(x.strs, s)
		return x.strs[start:len(x.strs):len(x.strs)]
	})
}

// replace is strings.Replace into the arena.
func replace(f, from, to func(*Ctx) string, count func(*Ctx) int64) value {
	return text(func(x *Ctx) string {
		s := f(x)
		old := from(x)
		new := to(x)
		n := count(x)
		if n == 0 || old == new || old != "" && !strings.Contains(s, old) {
			return s
		}
		if len(s)/max(1, len(old))*len(new) > maxMade && strings.Count(s, old)*len(new) > maxMade {
			x.fail("cannot replace: there are more than %d bytes", maxMade)
			return ""
		}
		if old == "" {
			return strings.Replace(s, old, new, int(n))
		}
		b := x.arena.Build()
		for ; n != 0; n-- {
			i := strings.Index(s, old)
			if i < 0 {
				break
			}
			b = append(append(b, s[:i]...), new...)
			s = s[i+len(old):]
		}
		return x.arena.Built(append(b, s...))
	})
}

// glob matches a whole text with a pattern of * (any run of bytes) and ? (one
// byte). The empty text is matched by "" and "*" only, as upstream does it.
//
// It is the usual greedy match with one point to come back to: after a second
// * the first need not be tried again, so the time is bounded by the product
// of the lengths.
func glob(pattern, s string) bool {
	if s == "" {
		return pattern == "" || pattern == "*"
	}
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}

func boxes(vs []value) []func(*Ctx) any {
	fs := make([]func(*Ctx) any, len(vs))
	for i, v := range vs {
		fs[i] = v.boxed()
	}
	return fs
}
