package nft

import (
	"context"
	"errors"
	"net/netip"

	"cs/remediate/conntrack"
	"cs/remediate/netlink"
)

// request is a conntrack.Request.
func (c *conn) request(typ, flags int, family uint8, build func(*netlink.Encoder), each func(netlink.Attrs)) error {
	before := c.sub
	c.sub = 0 // it is in typ
	defer func() { c.sub = before }()
	return c.dumpOnce(typ, flags, family, func(e *encoder) {
		if build != nil {
			build(&e.Encoder)
		}
	}, func(m netlink.Message) {
		if each != nil {
			each(m.Attrs())
		}
	})
}

// End ends the connections that addresses in the prefixes have begun.
func (t *table) End(ctx context.Context, prefixes []netip.Prefix) (ended int, err error) {
	for _, i := range t.fams {
		n, one := conntrack.End(ctx, t.conn.request, i == 1, prefixes)
		ended, err = ended+n, errors.Join(err, one)
	}
	return ended, err
}

// End ends the connections that addresses in the prefixes have begun.
func (s *setOnly) End(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	return conntrack.End(ctx, s.conn.request, s.family == 1, prefixes)
}
