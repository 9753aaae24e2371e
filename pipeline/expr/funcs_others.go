package expr

import "os"

var otherFuncs = map[string]*function{
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
	"LogInfo": {params: []param{aString, anything}, variadic: true, varying: true, build: func(_ *unit, a []value) value {
		sprintf := stringFuncs["Sprintf"].build(nil, a).str
		return boolean(func(x *Ctx) bool {
			if x.Log != nil {
				x.Log(sprintf(x))
			}
			return true
		})
	}},
}
