package expr

import (
	"os"
	"time"
)

func otherFuncs() map[string]*function {
	return map[string]*function{
		"B64Decode": b64Decode,
		"Hostname": {varying: true, risky: true, build: func(*unit, []value) value {
			name, err := os.Hostname()
			return text(func(x *Ctx) string {
				if err != nil {
					x.fail("cannot tell the host name: %w", err)
				}
				return name
			})
		}},
		"GetFromStash": {params: []param{aString, aString}, varying: true, build: func(_ *unit, a []value) value {
			f, g := a[0].str, a[1].str
			return text(func(x *Ctx) string {
				cache := f(x)
				key := g(x)
				if x.Stash == nil {
					return ""
				}
				return x.Stash.Get(cache, key)
			})
		}},
		"SetInStash": {params: []param{aString, aString, aString, aDuration}, risky: true, varying: true, build: func(u *unit, a []value) value {
			f, g, h, t := a[0].str, a[1].str, a[2].str, a[3].int
			u.acts = true
			return dynamic(typ{kind: nilKind}, func(x *Ctx) any {
				cache := f(x)
				key := g(x)
				val := h(x)
				keep := t(x)
				if !x.failed() && x.Stash != nil {
					x.Stash.Set(cache, key, val, time.Duration(keep))
				}
				return nil
			})
		}},
		"LogInfo": {params: []param{aString, anything}, variadic: true, varying: true, build: func(_ *unit, a []value) value {
			sprintf := stringFuncs()["Sprintf"].build(nil, a).str
			return boolean(func(x *Ctx) bool {
				if x.Log != nil {
					x.Log(sprintf(x))
				}
				return true
			})
		}},
	}
}

// historyFuncs ask what was decided before. That is known where decisions are
// kept, to the profiles, whose Env has functions of these names. Elsewhere the
// answer is 0.
func historyFuncs() map[string]*function {
	return map[string]*function{
		"GetDecisionsCount":          noHistory("GetDecisionsCount", intType, aString),
		"GetDecisionsSinceCount":     noHistory("GetDecisionsSinceCount", intType, aString, aString),
		"GetActiveDecisionsCount":    noHistory("GetActiveDecisionsCount", intType, aString),
		"GetActiveDecisionsTimeLeft": noHistory("GetActiveDecisionsTimeLeft", typ{kind: durationKind}, aString),
	}
}

func noHistory(name string, t typ, params ...param) *function {
	return &function{params: params, varying: true, build: func(u *unit, _ []value) value {
		u.warn(name + " gives 0: decisions are not known here")
		v := integer(func(*Ctx) int64 { return 0 })
		v.typ = t
		return v
	}}
}
