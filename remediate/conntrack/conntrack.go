//go:build linux

// Package conntrack ends tracked connections, for the backends that speak netfilter's netlink.
package conntrack

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
	msgGet    = 1
	msgDelete = 2

	attrTupleOrig = 1
	attrID        = 12
	attrZone      = 18
	attrTupleIP   = 1
	attrIPv4Src   = 1
	attrIPv6Src   = 3
)

// Request sends one request of a type, which build writes, and calls each for the attributes
// of every reply. Its errors are, with errors.Is, the kernel's numbers.
type Request func(typ, flags int, family uint8, build func(*netlink.Encoder), each func(netlink.Attrs)) error

// End deletes the connections of a family that addresses in the prefixes have begun from the
// connection tracking, and returns how many. What was offloaded or accepted as established
// has to pass the rules again.
func End(ctx context.Context, request Request, v6 bool, prefixes []netip.Prefix) (ended int, err error) {
	banned, lengths := map[netip.Prefix]bool{}, [129]bool{}
	for _, p := range prefixes {
		if p.Addr().Is6() == v6 {
			banned[p], lengths[p.Bits()] = true, true
		}
	}
	if len(banned) == 0 {
		return 0, nil
	}
	isBanned := func(a netip.Addr) bool {
		for bits := range a.BitLen() + 1 {
			if p, _ := a.Prefix(bits); lengths[bits] && banned[p] {
				return true
			}
		}
		return false
	}
	family, source := uint8(unix.AF_INET), attrIPv4Src
	if v6 {
		family, source = unix.AF_INET6, attrIPv6Src
	}
	type connection struct{ tuple, id, zone []byte }
	var found []connection
	const subsys = unix.NFNL_SUBSYS_CTNETLINK << 8
	err = request(subsys|msgGet, unix.NLM_F_DUMP, family, nil, func(a netlink.Attrs) {
		tuple := a.Find(attrTupleOrig)
		if from, ok := netip.AddrFromSlice(tuple.Find(attrTupleIP).Find(source)); ok && isBanned(from) {
			found = append(found, connection{clone(tuple), clone(a.Find(attrID)), clone(a.Find(attrZone))})
		}
	})
	switch {
	case errors.Is(err, unix.EINTR): // it changed on the way; what was told counts
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return 0, nil // the kernel tracks nothing
	case err != nil:
		return 0, fmt.Errorf("cannot list the tracked connections: %w", err)
	}
	for _, one := range found {
		if err := ctx.Err(); err != nil {
			return ended, err
		}
		err := request(subsys|msgDelete, unix.NLM_F_ACK, family, func(e *netlink.Encoder) {
			e.Bytes(attrTupleOrig|unix.NLA_F_NESTED, one.tuple)
			if one.id != nil {
				e.Bytes(attrID, one.id)
			}
			if one.zone != nil {
				e.Bytes(attrZone, one.zone)
			}
		}, nil)
		switch {
		case err == nil:
			ended++
		case !errors.Is(err, unix.ENOENT): // it may have ended by itself
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
