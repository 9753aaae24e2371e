package expr

import (
	"errors"
	"reflect"
)

// webFuncs ask services in the network. A line waits for the answer.
func webFuncs() map[string]*function {
	return map[string]*function{
		"HTTPGet":  fetching([]param{aString}, func(a []any) request { return request{method: "GET", url: a[0]} }),
		"HTTPHead": fetching([]param{aString}, func(a []any) request { return request{method: "HEAD", url: a[0]} }),
		"HTTPPost": fetching([]param{aString, aString, aString}, func(a []any) request {
			return request{method: "POST", url: a[0], header: map[string]any{"Content-Type": a[1]}, body: a[2]}
		}),
		"HTTPRequest": fetching([]param{aString, aString, anything, aString}, func(a []any) request {
			return request{method: a[0], url: a[1], header: a[2], body: a[3]}
		}),
		"CrowdsecCTI": {params: []param{aString}, risky: true, varying: true, build: func(u *unit, a []value) value {
			f, look := a[0].str, u.Lookups
			return dynamic(u.Env.typeOf(reflect.TypeFor[*CTI]()), func(x *Ctx) any {
				s := f(x)
				if x.failed() {
					return nil
				}
				ip, ok := address(s)
				err := errors.New("it is not enabled")
				var c *CTI
				switch {
				case !ok:
					x.fail("cannot ask CTI: %q is no address", s)
					return nil
				case look != nil:
					c, err = look.CTI(ip)
				}
				if err != nil {
					x.fail("cannot ask CTI: %w", err)
					return nil
				}
				return c
			})
		}},
	}
}

// request is what a function is to ask for; all but header, a map, are texts.
type request struct{ method, url, header, body any }

// fetching makes a function that makes a web request of its arguments.
func fetching(params []param, of func(args []any) request) *function {
	return &function{params: params, risky: true, varying: true, build: func(u *unit, a []value) value {
		for i, p := range params {
			if k := a[i].typ.kind; p == anything && k != mapKind && k != anyKind && k != nilKind {
				return refuse("the header of a request must be a map, this is %s", a[i].typ)
			}
		}
		fs, look := boxes(a), u.Lookups
		return dynamic(u.Env.typeOf(reflect.TypeFor[*Response]()), func(x *Ctx) any {
			args := make([]any, len(fs))
			for i, f := range fs {
				args[i] = f(x)
			}
			if x.failed() {
				return nil
			}
			r := of(args)
			header, ok := textMap(r.header)
			if !ok {
				x.fail("a header of a request must be a map of texts")
				return nil
			}
			if look == nil {
				x.fail("cannot make a web request: there is no network here")
				return nil
			}
			method, _ := r.method.(string)
			url, _ := r.url.(string)
			body, _ := r.body.(string)
			res, err := look.Fetch(method, url, header, body)
			if err != nil {
				x.fail("%w", err)
				return nil
			}
			return res
		})
	}}
}

// textMap reads a map of texts. nil is an empty one.
func textMap(a any) (m map[string]string, ok bool) {
	switch a := a.(type) {
	case nil:
		return nil, true
	case map[string]string:
		return a, true
	case map[string]any:
		m = make(map[string]string, len(a))
		for k, v := range a {
			if m[k], ok = v.(string); !ok {
				return nil, false
			}
		}
		return m, true
	}
	return nil, false
}
