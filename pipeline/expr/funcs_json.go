package expr

import (
	"encoding/json"
	"strings"

	"cs/pipeline/event"
)

func jsonFuncs() map[string]*function {
	return map[string]*function{
		"JsonExtract": {params: []param{aString, aString}, build: func(_ *unit, a []value) value {
			f, path := a[0].str, pathOf(a[1])
			return text(func(x *Ctx) string {
				s := f(x)
				raw, ok := findJSON(s, path(x))
				if !ok {
					return ""
				}
				if raw[0] == '"' {
					return raw[1 : len(raw)-1]
				}
				return raw
			})
		}},
		"JsonExtractUnescape": {params: []param{aString, aString}, variadic: true, build: func(_ *unit, a []value) value {
			if len(a) < 2 {
				return refuse("JsonExtractUnescape needs a key")
			}
			f, key := a[0].str, a[1].str
			return text(func(x *Ctx) string {
				s := f(x)
				start := len(x.strs)
				x.strs = append(x.strs, key(x))
				raw, ok := findJSON(s, x.strs[start:])
				if !ok || raw[0] != '"' {
					return ""
				}
				raw = raw[1 : len(raw)-1]
				if strings.IndexByte(raw, '\\') < 0 {
					return raw
				}
				b, ok := appendUnescaped(x.arena.Build(), raw)
				if !ok {
					return ""
				}
				return x.arena.Built(b)
			})
		}},
		"JsonExtractLib": {params: []param{aString, aString}, variadic: true, risky: true, varying: true, build: func(u *unit, _ []value) value {
			u.warn("JsonExtractLib always fails, as upstream's does: use JsonExtract or JsonExtractUnescape")
			return text(func(x *Ctx) string {
				x.fail("JsonExtractLib can't be called from an expression")
				return ""
			})
		}},
		"JsonExtractSlice": {params: []param{aString, aString}, build: func(_ *unit, a []value) value {
			f, path := a[0].str, pathOf(a[1])
			return dynamic(anysType, func(x *Ctx) any {
				s := f(x)
				raw, _ := findJSON(s, path(x))
				var l []any
				if raw == "" || raw[0] != '[' || json.Unmarshal([]byte(raw), &l) != nil {
					return nil
				}
				return l
			})
		}},
		"JsonExtractObject": {params: []param{aString, aString}, build: func(_ *unit, a []value) value {
			f, path := a[0].str, pathOf(a[1])
			return dynamic(anyMapType, func(x *Ctx) any {
				s := f(x)
				raw, _ := findJSON(s, path(x))
				var m map[string]any
				if raw == "" || raw[0] != '{' || json.Unmarshal([]byte(raw), &m) != nil {
					return nil
				}
				return m
			})
		}},
		"ToJsonString": {params: []param{anything}, build: func(_ *unit, a []value) value {
			f := a[0].boxed()
			return text(func(x *Ctx) string {
				b, err := json.Marshal(f(x))
				if err != nil {
					return ""
				}
				return x.arena.Keep(b)
			})
		}},
		"UnmarshalJSON": {params: []param{aString, anything, aString}, risky: true, varying: true, build: func(u *unit, a []value) value {
			f := a[0].str
			put, _, ok := u.document(a[1], a[2])
			if !ok {
				return refuse("the second argument of UnmarshalJSON is evt.Unmarshaled, this is %s", a[1].typ)
			}
			return dynamic(typ{kind: nilKind}, func(x *Ctx) any {
				s := f(x)
				if x.failed() {
					return nil
				}
				var doc any
				if err := json.Unmarshal([]byte(s), &doc); err != nil {
					x.fail("cannot decode JSON: %w", err)
					return nil
				}
				put(x, doc)
				return nil
			})
		}},
	}
}

// pathOf prepares the path of JsonExtract, now if it is a constant.
func pathOf(v value) func(*Ctx) []string {
	if k, ok := v.constText(); ok {
		path := jsonPath(nil, k)
		return func(*Ctx) []string { return path }
	}
	f := v.str
	return func(x *Ctx) []string {
		path := f(x)
		start := len(x.strs)
		x.strs = jsonPath(x.strs, path)
		return x.strs[start:]
	}
}

// document resolves where a function leaves what it decoded: a key of
// evt.Unmarshaled, or of a map inside it.
func (u *unit) document(into, key value) (put func(*Ctx, any), get func(*Ctx) any, ok bool) {
	u.acts = true
	name := key.str
	switch {
	case into.typ.kind == fieldsKind && into.typ.space == event.Unmarshaled:
		if k, ok := key.constText(); ok {
			slot, err := u.Schema.Intern(event.Unmarshaled, k)
			if err != nil {
				return nil, nil, false
			}
			return func(x *Ctx, doc any) { x.Event.SetDoc(slot, doc) },
				func(x *Ctx) any { return x.Event.Doc(slot) }, true
		}
		return func(x *Ctx, doc any) { x.Event.SetDocNamed(name(x), doc) },
			func(x *Ctx) any { return x.Event.DocNamed(name(x)) }, true
	case into.typ.kind == anyKind:
		f := into.any
		return func(x *Ctx, doc any) {
				m, ok := f(x).(map[string]any)
				if !ok {
					x.fail("cannot put a document into what is no map")
					return
				}
				m[strings.Clone(name(x))] = doc
			}, func(x *Ctx) any {
				m, _ := f(x).(map[string]any)
				return m[name(x)]
			}, true
	}
	return nil, nil, false
}
