package expr

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"cs/platform/order"
)

func listFuncs() map[string]*function {
	return map[string]*function{
		"Flatten": {params: []param{anything}, variadic: true, build: func(_ *unit, a []value) value {
			fs := boxes(a)
			return dynamic(anysType, func(x *Ctx) any { return x.flatten(fs) })
		}},
		"Distinct": {params: []param{anything}, risky: true, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			return dynamic(anysType, func(x *Ctx) any { return x.distinct(f(x)) })
		}},
		"FlattenDistinct": {params: []param{anything}, variadic: true, risky: true, build: func(_ *unit, a []value) value {
			fs := boxes(a)
			return dynamic(anysType, func(x *Ctx) any { return x.distinct(x.flatten(fs)) })
		}},
		"KeyExists": {params: []param{aString, anything}, risky: true, build: func(_ *unit, a []value) value {
			f, g := a[0].str, a[1].boxed()
			return boolean(func(x *Ctx) bool {
				k := f(x)
				switch m := g(x).(type) {
				case map[string]any:
					_, ok := m[k]
					return ok
				case map[string]string:
					_, ok := m[k]
					return ok
				default:
					x.fail("KeyExists of %s", typeName(m))
				}
				return false
			})
		}},
	}
}

func (x *Ctx) flatten(fs []func(*Ctx) any) []any {
	out := []any{}
	for _, f := range fs {
		out = flatten(out, f(x), 0)
	}
	return out
}

// maxDepth bounds the recursion into nested lists; what is deeper stays nested.
const maxDepth = 1000

func flatten(out []any, a any, depth int) []any {
	n := listLen(a)
	if n < 0 || depth > maxDepth {
		return append(out, a)
	}
	for i := range n {
		out = flatten(out, element(a, i), depth+1)
	}
	return out
}

// distinct returns the elements of a list without repetitions, nil for what is
// no list.
func (x *Ctx) distinct(a any) any {
	n := listLen(a)
	if n < 0 {
		return nil
	}
	seen := make(map[any]struct{}, n)
	out := make([]any, 0, n)
	for i := range n {
		e := element(a, i)
		if e != nil && !reflect.TypeOf(e).Comparable() {
			x.fail("Distinct of a list with %s", typeName(e))
			return nil
		}
		if _, ok := seen[e]; !ok {
			seen[e] = struct{}{}
			out = append(out, e)
		}
	}
	return out
}

// maxUniq bounds uniq of what is not all texts: it compares each element with all
// others.
const maxUniq = 3_000

// uniqTexts is uniq of texts. ok is false when there are others.
func uniqTexts(l any, n int) (out []any, ok bool) {
	seen := make(map[string]struct{})
	out = []any{}
	for i := range n {
		s, ok := element(l, i).(string)
		if !ok {
			return nil, false
		}
		if _, ok := seen[s]; !ok {
			seen[s] = struct{}{}
			out = append(out, s)
		}
	}
	return out, true
}

// listBuiltin makes a function of a list; n is its length.
func listBuiltin(name string, t typ, do func(x *Ctx, l any, n int) any) *function {
	return &function{params: []param{aList}, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].boxed()
		return dynamic(t, func(x *Ctx) any {
			l := f(x)
			n := listLen(l)
			if n < 0 {
				x.fail("%s of %s", name, typeName(l))
				return nil
			}
			return do(x, l, n)
		})
	}}
}

// end makes first and last, which give nil where there is nothing.
func end(at func(n int) int) *function {
	return &function{params: []param{aList}, build: func(_ *unit, a []value) value {
		f := a[0].boxed()
		return dynamic(typ{}, func(x *Ctx) any {
			l := f(x)
			if n := listLen(l); n > 0 {
				return element(l, at(n))
			}
			return nil
		})
	}}
}

// mapBuiltin makes a function of a map that is given as its keys, sorted by
// their text, and the values in the same order.
func mapBuiltin(name string, do func(keys, vals []any) any) *function {
	return &function{params: []param{aMap}, risky: true, build: func(_ *unit, a []value) value {
		f := a[0].boxed()
		return dynamic(anysType, func(x *Ctx) any {
			a := f(x)
			m := reflect.ValueOf(a)
			if a == nil || m.Kind() != reflect.Map {
				x.fail("%s of %s", name, typeName(a))
				return nil
			}
			keys := make([]any, 0, m.Len())
			for _, k := range m.MapKeys() {
				keys = append(keys, k.Interface())
			}
			order.Sort(keys, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			vals := make([]any, len(keys))
			for i, k := range keys {
				key := reflect.ValueOf(k)
				if k == nil {
					key = reflect.Zero(m.Type().Key())
				}
				vals[i] = m.MapIndex(key).Interface()
			}
			return do(keys, vals)
		})
	}}
}

func listBuiltins() map[string]*function {
	return map[string]*function{
		"first": end(func(int) int { return 0 }),
		"last":  end(func(n int) int { return n - 1 }),
		"take": {params: []param{aList, anInt}, risky: true, build: func(_ *unit, a []value) value {
			f, g := a[0].boxed(), a[1].int
			return dynamic(a[0].typ, func(x *Ctx) any {
				l := f(x)
				n := g(x)
				if n < 0 || listLen(l) < 0 {
					x.fail("take %d of %s", n, typeName(l))
					return nil
				}
				return x.cutList(l, 0, n)
			})
		}},
		"reverse": listBuiltin("reverse", anysType, func(_ *Ctx, l any, n int) any {
			out := make([]any, n)
			for i := range out {
				out[i] = element(l, n-1-i)
			}
			return out
		}),
		"uniq": listBuiltin("uniq", anysType, func(x *Ctx, l any, n int) any {
			if out, ok := uniqTexts(l, n); ok {
				return out
			}
			if n > maxUniq {
				x.fail("uniq of more than %d elements", maxUniq)
				return nil
			}
			out := []any{}
			for i := range n {
				e := element(l, i)
				if found, _ := within(e, out); !found {
					out = append(out, e)
				}
			}
			return out
		}),
		"flatten": listBuiltin("flatten", anysType, func(_ *Ctx, l any, _ int) any { return flatten([]any{}, l, 0) }),
		"concat": {params: []param{aList}, variadic: true, risky: true, build: func(_ *unit, a []value) value {
			if len(a) == 0 {
				return refuse("concat takes at least 1 argument")
			}
			fs := boxes(a)
			return dynamic(anysType, func(x *Ctx) any {
				var out []any
				for _, f := range fs {
					l := f(x)
					n := listLen(l)
					if n < 0 {
						x.fail("concat of %s", typeName(l))
						return nil
					}
					for i := range n {
						out = append(out, element(l, i))
					}
				}
				return out
			})
		}},
		"sort": {params: []param{aList, aString}, optional: 1, risky: true, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			direction := func(*Ctx) string { return "asc" }
			if len(a) > 1 {
				direction = a[1].str
			}
			return dynamic(anysType, func(x *Ctx) any {
				l := f(x)
				n := listLen(l)
				sign, ok := map[string]int{"asc": 1, "desc": -1}[direction(x)]
				if n < 0 || !ok {
					x.fail("sort takes a list, and asc or desc")
					return nil
				}
				out := make([]any, n)
				for i := range out {
					out[i] = element(l, i)
				}
				order.Stable(out, func(a, b any) int {
					c, _, ok := compare(a, b)
					if !ok {
						x.fail("cannot sort %s and %s", typeName(a), typeName(b))
					}
					return sign * c
				})
				return out
			})
		}},
		"keys":   mapBuiltin("keys", func(keys, _ []any) any { return keys }),
		"values": mapBuiltin("values", func(_, vals []any) any { return vals }),
		"toPairs": mapBuiltin("toPairs", func(keys, vals []any) any {
			out := make([][2]any, len(keys))
			for i, k := range keys {
				out[i] = [2]any{k, vals[i]}
			}
			return out
		}),
		"fromPairs": {params: []param{aList}, risky: true, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			return dynamic(typ{}, func(x *Ctx) any {
				l := f(x)
				out := make(map[any]any)
				for i := range max(0, listLen(l)) {
					pair := element(l, i)
					if listLen(pair) != 2 {
						x.fail("fromPairs of %s, which is no pair", typeName(pair))
						return nil
					}
					k := element(pair, 0)
					if k != nil && !reflect.TypeOf(k).Comparable() {
						x.fail("%s can't be a key", typeName(k))
						return nil
					}
					out[k] = element(pair, 1)
				}
				if listLen(l) < 0 {
					x.fail("fromPairs of %s", typeName(l))
					return nil
				}
				return out
			})
		}},
		"toJSON": {params: []param{anything}, risky: true, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			return text(func(x *Ctx) string {
				b, err := json.MarshalIndent(f(x), "", "  ")
				if err != nil {
					x.fail("cannot encode JSON: %w", err)
				}
				return x.arena.Keep(b)
			})
		}},
		"fromJSON": {params: []param{aString}, risky: true, build: func(_ *unit, a []value) value {
			f := a[0].str
			return dynamic(typ{}, func(x *Ctx) any {
				var v any
				if err := json.Unmarshal([]byte(f(x)), &v); err != nil {
					x.fail("cannot decode JSON: %w", err)
				}
				return v
			})
		}},
		"toBase64":   textFrom(func(_ *Ctx, s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"fromBase64": b64Decode,
	}
}

var b64Decode = failing(textFrom(func(x *Ctx, s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		x.fail("cannot decode base64: %w", err)
	}
	return x.arena.Keep(b)
}))

// numbers collects the numbers among arguments and in lists among them.
func (x *Ctx) numbers(name string, fs []func(*Ctx) any) (ns []any, ok bool) {
	for _, f := range fs {
		for _, a := range flatten(nil, f(x), 0) {
			if _, ok := toFloat(a); !ok {
				x.fail("invalid argument for %s: %s", name, typeName(a))
				return nil, false
			}
			ns = append(ns, a)
		}
	}
	return ns, true
}

// extreme makes max (sign 1) and min (sign -1).
func extreme(sign int) *function {
	return &function{params: []param{anything}, variadic: true, risky: true, build: func(_ *unit, a []value) value {
		if len(a) == 0 {
			return refuse("at least one number is needed")
		}
		fs := boxes(a)
		return dynamic(typ{}, func(x *Ctx) any {
			ns, _ := x.numbers(map[int]string{1: "max", -1: "min"}[sign], fs)
			var best any
			for _, n := range ns {
				if c, _, _ := compare(n, best); best == nil || c*sign > 0 {
					best = n
				}
			}
			return best
		})
	}}
}

// average makes mean and median; sum gets sorted numbers, at least one.
func average(sum func([]float64) float64) *function {
	return &function{params: []param{anything}, variadic: true, risky: true, build: func(_ *unit, a []value) value {
		if len(a) == 0 {
			return refuse("at least one number is needed")
		}
		fs := boxes(a)
		return dynamic(typ{}, func(x *Ctx) any {
			ns, ok := x.numbers("an average", fs)
			if !ok || len(ns) == 0 {
				return 0.0
			}
			floats := make([]float64, len(ns))
			for i, n := range ns {
				floats[i], _ = toFloat(n)
			}
			order.Sort(floats, cmp.Compare)
			return sum(floats)
		})
	}}
}

// exprType names a type as expr-lang's type() does.
func exprType(a any) string {
	if a == nil {
		return "nil"
	}
	t := reflect.TypeOf(a)
	if t.Name() != "" && t.PkgPath() != "" {
		return fmt.Sprintf("%s.%s", t.PkgPath(), t.Name())
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Map, reflect.Func, reflect.Struct:
		return t.Kind().String()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "uint"
	case reflect.Float32, reflect.Float64:
		return "float"
	case reflect.Array, reflect.Slice:
		return "array"
	}
	return "unknown"
}
