package remediate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Ports is a range of ports to which nobody is blocked.
type Ports struct {
	First, Last uint16
	Proto       string // "tcp", "udp", or empty for both
}

// String returns "443", "53/udp" or "1000-2000/tcp".
func (p Ports) String() string {
	s := strconv.Itoa(int(p.First))
	if p.Last != p.First {
		s += "-" + strconv.Itoa(int(p.Last))
	}
	if p.Proto != "" {
		s += "/" + p.Proto
	}
	return s
}

// Protos returns the protocols that p is about.
func (p Ports) Protos() []string {
	if p.Proto == "" {
		return []string{"tcp", "udp"}
	}
	return []string{p.Proto}
}

// SetIgnore replaces what is never blocked. A kernel that can let packets pass
// before it looks at entries does; for others what covers such an address is
// left out, and counted. Call it after Open.
func (r *Reconciler) SetIgnore(ctx context.Context, list []netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wake()
	if slices.Equal(r.ignored, list) {
		return nil
	}
	before := r.ignored
	r.ignored = slices.Clone(list)
	if k, ok := r.kernel.(Ignoring); ok {
		const why = "what is never blocked has changed"
		err := k.Ignore(ctx, r.ignored)
		if errors.Is(err, ErrReload) {
			r.broken, r.why = true, why
			return nil
		}
		if err != nil {
			r.ignored = before // so that it is tried again
			r.fail(why)
			return fmt.Errorf("cannot change what %s never blocks: %w", r.kernel.Name(), err)
		}
		return nil
	}
	c := collector{ctx: ctx, r: r, diff: new(Diff)}
	now := r.tenth()
	var again []netip.Prefix // settling may change what is gone through
	for p, first := range r.bans.eachItem() {
		it, _ := r.bans.item(p, first)
		switch ignored := r.ignores(p); {
		case ignored && it.out != outIgnored:
			c.remove(p, it)
			it.applied = 0
			r.mark(&it, outIgnored)
			r.bans.setItem(p, first, it)
		case !ignored && it.out == outIgnored:
			r.mark(&it, outNot)
			r.bans.setItem(p, first, it)
			again = append(again, p)
		}
	}
	for _, p := range again {
		c.settle(p, now, nil)
	}
	c.flush()
	return c.err
}

// ignores tells whether an entry is left out because it covers an address that
// is never blocked, and the kernel can't let that pass.
func (r *Reconciler) ignores(p netip.Prefix) bool {
	if len(r.ignored) == 0 {
		return false
	}
	if _, ok := r.kernel.(Ignoring); ok {
		return false
	}
	return slices.ContainsFunc(r.ignored, p.Overlaps)
}
