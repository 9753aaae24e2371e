package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cs/remediate/netlink"
)

// Messages and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctMsgGet    = 1
	ctMsgDelete = 2

	ctaTupleOrig = 1
	ctaID        = 12
	ctaZone      = 18
	ctaTupleIP   = 1
	ctaIPv4Src   = 1
	ctaIPv6Src   = 3
)

// endConnections deletes the connections of a family that addresses in the
// prefixes have begun from the connection tracking, and returns how many. What
// was offloaded or accepted as established has to pass the rules again.
func endConnections(ctx context.Context, c *conn, family uint8, prefixes []netip.Prefix) (int, error) {
	single := map[netip.Addr]bool{}
	var wide []netip.Prefix
	for _, p := range prefixes {
		switch {
		case familyOf(p) != int(family):
		case p.IsSingleIP():
			single[p.Addr()] = true
		default:
			wide = append(wide, p)
		}
	}
	if len(single) == 0 && len(wide) == 0 {
		return 0, nil
	}
	wide = disjoint(wide)
	before := c.sub
	c.sub = unix.NFNL_SUBSYS_CTNETLINK << 8
	defer func() { c.sub = before }()
	type connection struct{ tuple, id, zone []byte }
	var found []connection
	proto := uint8(unix.AF_INET)
	source := ctaIPv4Src
	if family == 1 {
		proto, source = unix.AF_INET6, ctaIPv6Src
	}
	err := c.dumpOnce(ctMsgGet, unix.NLM_F_DUMP, proto, nil, func(m netlink.Message) {
		a := m.Attrs()
		tuple := a.Find(ctaTupleOrig)
		from, ok := netip.AddrFromSlice(tuple.Find(ctaTupleIP).Find(source))
		if ok && (single[from] || covers(wide, from)) {
			found = append(found, connection{clone(tuple), clone(a.Find(ctaID)), clone(a.Find(ctaZone))})
		}
	})
	switch {
	case errors.Is(err, unix.EINTR): // it changed on the way; what was told counts
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return 0, nil // the kernel tracks nothing
	case err != nil:
		return 0, fmt.Errorf("cannot list the tracked connections: %w", err)
	}
	ended := 0
	for _, one := range found {
		if err := ctx.Err(); err != nil {
			return ended, err
		}
		err := c.dumpOnce(ctMsgDelete, 0, proto, func(e *encoder) {
			e.Bytes(ctaTupleOrig|unix.NLA_F_NESTED, one.tuple)
			for typ, v := range map[int][]byte{ctaID: one.id, ctaZone: one.zone} {
				if v != nil {
					e.Bytes(typ, v)
				}
			}
		}, func(netlink.Message) {})
		switch {
		case err == nil:
			ended++
		case !isGone(err): // it may have ended by itself
			return ended, fmt.Errorf("cannot end a tracked connection: %w", err)
		}
	}
	return ended, nil
}

func clone(b netlink.Attrs) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// covers tells whether one of the disjoint sorted prefixes contains an address.
func covers(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// End ends the connections that addresses in the prefixes have begun.
func (t *table) End(ctx context.Context, prefixes []netip.Prefix) (ended int, err error) {
	for _, i := range t.fams {
		n, one := endConnections(ctx, t.conn, i, prefixes)
		ended, err = ended+n, errors.Join(err, one)
	}
	return ended, err
}

// End ends the connections that addresses in the prefixes have begun.
func (s *setOnly) End(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	return endConnections(ctx, s.conn, s.family, prefixes)
}
