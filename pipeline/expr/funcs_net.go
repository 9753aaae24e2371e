package expr

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"cs/decisions"
)

func netFuncs() map[string]*function {
	return map[string]*function{
		"IsIP":   addressTest(netip.Addr.IsValid),
		"IsIPV4": addressTest(netip.Addr.Is4),
		"IsIPV6": addressTest(netip.Addr.Is6),
		"IpInRange": {params: []param{aString, aString}, build: func(_ *unit, a []value) value {
			f, g := a[0].str, a[1].str
			if k, ok := a[1].constText(); ok {
				p, ok := prefix(k)
				return boolean(func(x *Ctx) bool {
					ip, valid := x.address(f(x))
					return ok && valid && p.Contains(ip)
				})
			}
			return boolean(func(x *Ctx) bool {
				s := f(x)
				p, ok := prefix(g(x))
				ip, valid := x.address(s)
				return ok && valid && p.Contains(ip)
			})
		}},
		"IpToRange": textFrom2(func(x *Ctx, ip, mask string) string {
			addr, ok := address(ip)
			n, err := strconv.ParseUint(strings.TrimPrefix(mask, "/"), 10, 8)
			if !ok || err != nil || int(n) > addr.BitLen() {
				return ""
			}
			return x.arena.Built(netip.PrefixFrom(addr, int(n)).Masked().AppendTo(x.arena.Build()))
		}),
	}
}

// addressTest makes a function of a verdict on an address; other texts are none.
func addressTest(test func(netip.Addr) bool) *function {
	return &function{params: []param{aString}, build: func(_ *unit, a []value) value {
		f := a[0].str
		return boolean(func(x *Ctx) bool {
			ip, ok := x.address(f(x))
			return ok && test(ip)
		})
	}}
}

// addressType is an address in a list of them.
func addressType() typ { return known().typeOf(reflect.TypeFor[netip.Addr]()) }

func addressMembers() []Member {
	return []Member{
		Method("String", netip.Addr.String),
		Method("IsPrivate", netip.Addr.IsPrivate),
		Method("IsLoopback", netip.Addr.IsLoopback),
		Method("IsGlobalUnicast", netip.Addr.IsGlobalUnicast),
		Method("IsLinkLocalUnicast", netip.Addr.IsLinkLocalUnicast),
		Method("IsMulticast", netip.Addr.IsMulticast),
		Method("IsUnspecified", netip.Addr.IsUnspecified),
	}
}

// address reads an address; an IPv4 one that is mapped into IPv6 is IPv4. What
// can't be one is refused before the parser makes an error of it, which
// allocates: host names are asked about, too.
func address(s string) (netip.Addr, bool) {
	if len(s) > 45 || len(s) < 2 {
		return netip.Addr{}, false
	}
	if a, ok := dotted(s); ok {
		return a, true
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c-'0' <= 9, c|0x20 >= 'a' && c|0x20 <= 'f', c == '.', c == ':':
		default:
			return netip.Addr{}, false
		}
	}
	a, err := decisions.ParseAddr(s)
	return a, err == nil
}

// dotted reads an IPv4 address of four numbers in decimal, which most are. What
// it doesn't take is left to the parser.
func dotted(s string) (netip.Addr, bool) {
	var b [4]byte
	k, n, digits := 0, uint(0), 0
	for i := range len(s) {
		switch c := s[i] - '0'; {
		case c <= 9 && digits < 3 && (digits == 0 || n > 0):
			n, digits = n*10+uint(c), digits+1
		case s[i] == '.' && digits > 0 && n < 256 && k < 3:
			b[k] = byte(n)
			k, n, digits = k+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	b[3] = byte(n)
	return netip.AddrFrom4(b), k == 3 && digits > 0 && n < 256
}

// prefix reads a range, which needs its slash.
func prefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		return netip.Prefix{}, false
	}
	p, err := decisions.ParsePrefix(s)
	return p, err == nil
}
