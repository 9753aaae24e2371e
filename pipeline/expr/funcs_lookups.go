package expr

import (
	"net/netip"
	"reflect"
)

// lookupFuncs ask Lookups. Their results are not the same for ever.
func lookupFuncs() map[string]*function {
	return map[string]*function{
		"LookupHost": {params: []param{aString}, varying: true, build: func(u *unit, a []value) value {
			f, look := a[0].str, u.Lookups
			return texts(func(x *Ctx) []string {
				s := f(x)
				if look == nil || x.failed() {
					return nil
				}
				return look.Hosts(s)
			})
		}},
		"GeoIPEnrich":    lookup(func(l Lookups, ip netip.Addr) *City { return l.City(ip) }),
		"GeoIPASNEnrich": lookup(func(l Lookups, ip netip.Addr) *ASN { return l.ASN(ip) }),
		"GeoIPRangeEnrich": lookup(func(l Lookups, ip netip.Addr) *netip.Prefix {
			if p, ok := l.Range(ip); ok {
				return &p
			}
			return nil
		}),
		"IPToCountry": {params: []param{aString}, varying: true, build: func(u *unit, a []value) value {
			f, look := a[0].str, u.Lookups
			return text(func(x *Ctx) string {
				ip, ok := address(f(x))
				if look == nil || !ok {
					return ""
				}
				if c := look.City(ip); c != nil {
					return c.Where().IsoCode
				}
				return ""
			})
		}},
	}
}

// lookup makes a function that gives a record about an address.
func lookup[T any](ask func(Lookups, netip.Addr) *T) *function {
	return &function{params: []param{aString}, varying: true, build: func(u *unit, a []value) value {
		f, look := a[0].str, u.Lookups
		return dynamic(u.Env.typeOf(reflect.TypeFor[*T]()), func(x *Ctx) any {
			ip, ok := address(f(x))
			if look == nil || !ok {
				return nil
			}
			if r := ask(look, ip); r != nil {
				return r
			}
			return nil
		})
	}}
}
