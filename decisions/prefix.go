package decisions

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParsePrefix turns the text of an address or a prefix into a masked prefix.
// It is the only place where text becomes an address: IPv4 mapped into IPv6
// becomes plain IPv4, host bits are cleared, and a zone is refused, because a
// packet filter can't hold one.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("cannot parse range %q: %w", s, err)
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("cannot parse range %q: it covers more than the mapped IPv4 addresses", s)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// ParseAddr turns the text of one address into its unmapped form.
func ParseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot parse address %q: %w", s, err)
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("cannot parse address %q: it has a zone", s)
	}
	return a.Unmap(), nil
}
