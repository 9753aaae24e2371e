package remediate

import "net/netip"

// maxFoldBits bounds how many longer prefixes one folded prefix becomes: 2^12.
const maxFoldBits = 12

// folds decides which prefix lengths the kernel has. The first max lengths of
// a family are kept; a further one is folded into the next longer length that
// is kept, if that costs at most 2^12 prefixes each, and kept otherwise.
// A choice is never taken back while the process runs.
type folds struct {
	max    int // 0 means that every length is kept
	family [2]familyFolds
}

type familyFolds struct {
	kept    int
	folding bool       // some length is folded
	into    [129]uint8 // length -> kept length + 1; 0 means that it was not seen yet
}

func (f *folds) of(p netip.Prefix) *familyFolds {
	if p.Addr().Is4() {
		return &f.family[0]
	}
	return &f.family[1]
}

// expand appends the prefixes of kept lengths that p becomes.
func (f *folds) expand(list []netip.Prefix, p netip.Prefix) []netip.Prefix {
	if f.max == 0 {
		return append(list, p)
	}
	ff := f.of(p)
	if ff.into[p.Bits()] == 0 {
		ff.into[p.Bits()] = uint8(ff.choose(p.Bits(), f.max)) + 1
	}
	to := int(ff.into[p.Bits()]) - 1
	if to == p.Bits() {
		return append(list, p)
	}
	q := netip.PrefixFrom(p.Addr(), to)
	for range 1 << (to - p.Bits()) {
		list = append(list, q)
		q = netip.PrefixFrom(nextPrefix(q), to)
	}
	return list
}

// choose returns the length that prefixes of a new length are kept as.
func (ff *familyFolds) choose(bits, max int) int {
	if ff.kept >= max {
		for to := bits + 1; to <= bits+maxFoldBits && to < len(ff.into); to++ {
			if int(ff.into[to]) == to+1 {
				ff.folding = true
				return to
			}
		}
	}
	ff.kept++
	return bits
}

// sources calls f for the shorter prefixes that would have become p.
func (f *folds) sources(p netip.Prefix, visit func(netip.Prefix)) {
	ff := f.of(p)
	if !ff.folding {
		return
	}
	for bits := max(p.Bits()-maxFoldBits, 0); bits < p.Bits(); bits++ {
		if int(ff.into[bits]) == p.Bits()+1 {
			visit(netip.PrefixFrom(p.Addr(), bits).Masked())
		}
	}
}

// nextPrefix returns the address after the last one of p.
func nextPrefix(p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for bit := p.Bits() - 1; bit >= 0; bit-- { // add one at the last bit of the prefix
		m := byte(0x80 >> (bit % 8))
		a[bit/8] ^= m
		if a[bit/8]&m != 0 {
			break
		}
	}
	next, _ := netip.AddrFromSlice(a)
	return next
}
