package remediate

import "net/netip"

// Subtract appends to list the prefixes that are left of p when holes are cut
// out of it. Backends use it that have no rule for what is never blocked.
func Subtract(list []netip.Prefix, p netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	hit := false
	for _, h := range holes {
		if h.Bits() <= p.Bits() && h.Contains(p.Addr()) {
			return list
		}
		hit = hit || p.Overlaps(h)
	}
	if !hit {
		return append(list, p)
	}
	low, high := Halves(p)
	return Subtract(Subtract(list, low, holes), high, holes)
}

// Halves returns the two halves of a prefix that is no single address.
func Halves(p netip.Prefix) (low, high netip.Prefix) {
	a := p.Addr().AsSlice()
	a[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	h, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(h, p.Bits()+1)
}
