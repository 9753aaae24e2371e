package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"cs/remediate"
)

// upstreamNames are what upstream calls things when nothing else is said.
var upstreamNames = [len(families)]Family{
	{Table: "crowdsec", Chain: "crowdsec-chain", Set: "crowdsec-blacklists"},
	{Table: "crowdsec6", Chain: "crowdsec6-chain", Set: "crowdsec6-blacklists"},
}

// New returns a Kernel that has not touched anything yet.
func New(cfg Config) (remediate.Kernel, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	var parts []part
	var inTables []uint8
	for i := range uint8(len(families)) {
		f := cfg.family(i)
		def := &upstreamNames[i]
		for p, d := range map[*string]string{&f.Table: def.Table, &f.Chain: def.Chain, &f.Set: def.Set} {
			if *p == "" {
				*p = d
			}
		}
		switch {
		case f.Off:
		case f.SetOnly:
			parts = append(parts, newSetOnly(cfg, i))
		case cfg.Layout == LayoutSets:
			t, err := newTable(cfg, changed, i)
			if err != nil {
				return nil, err
			}
			parts = append(parts, t)
		default:
			inTables = append(inTables, i)
		}
	}
	if len(inTables) > 0 {
		t, err := newTable(cfg, changed, inTables...)
		if err != nil {
			return nil, err
		}
		parts = append(parts, t)
	}
	switch len(parts) {
	case 0:
		return nil, errors.New("cannot block: IPv4 and IPv6 are both off")
	case 1:
		return parts[0], nil
	}
	return &both{parts: parts, changed: changed}, nil
}

func (c *Config) check() error {
	for _, h := range slices.Concat(c.Hooks, c.IPv4.Hooks, c.IPv6.Hooks) {
		if _, ok := hooks[h]; !ok {
			return fmt.Errorf("cannot use hook %q: known are %s", h, strings.Join(slices.Sorted(maps.Keys(hooks)), ", "))
		}
		if h == "ingress" && (len(c.Interfaces) == 0 || c.Layout == LayoutSets) {
			return errors.New("cannot use hook ingress: it needs interfaces, and layout map")
		}
	}
	if len(c.IgnorePorts) > 0 && (c.IPv4.SetOnly || c.IPv6.SetOnly) {
		return errors.New("cannot ignore ports: in set-only mode the rules are yours")
	}
	f := func(what, have string, known ...string) error {
		if have != "" && !slices.Contains(known, have) {
			return fmt.Errorf("cannot use %s %q: known are %s", what, have, strings.Join(known, ", "))
		}
		return nil
	}
	return errors.Join(
		f("action", c.Action, Drop, Reject),
		f("layout", c.Layout, LayoutMap, LayoutSets),
		f("conntrack", c.Conntrack, All, NewOnly, Original),
	)
}

// part is a Kernel for one family, or more.
type part interface {
	remediate.Kernel
	remediate.Counting
	remediate.Probing
	remediate.Ignoring
	remediate.Ending
	has(netip.Prefix) bool
}

// both is a Kernel made of one for each family.
type both struct {
	parts   []part
	changed chan struct{}
}

// Name returns "nftables".
func (b *both) Name() string { return "nftables" }

// Changed delivers a value after somebody else changed a table; nil if not all
// parts can tell.
func (b *both) Changed() <-chan struct{} {
	for _, p := range b.parts {
		if p.Changed() == nil {
			return nil
		}
	}
	return b.changed
}

// Open opens all parts, or none.
func (b *both) Open(ctx context.Context) (live bool, err error) {
	for i, p := range b.parts {
		one, err := p.Open(ctx)
		if err != nil {
			for _, open := range b.parts[:i] {
				err = errors.Join(err, open.Close(ctx, false))
			}
			return false, err
		}
		live = live || one
	}
	return live, nil
}

// Load loads each part with the entries of its family.
func (b *both) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	for _, p := range b.parts {
		err := p.Load(ctx, func(yield func(remediate.Entry) bool) {
			for e := range entries {
				if p.has(e.Prefix) && !yield(e) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Apply makes the changes of each family.
func (b *both) Apply(ctx context.Context, changes []remediate.Change) error {
	for _, p := range b.parts {
		var own []remediate.Change
		for i := range changes {
			if p.has(changes[i].Prefix) {
				own = append(own, changes[i])
			}
		}
		if len(own) == 0 {
			continue
		}
		if err := p.Apply(ctx, own); err != nil {
			return err
		}
	}
	return nil
}

// Check tells whether all parts are in order.
func (b *both) Check(ctx context.Context) (bool, error) {
	for _, p := range b.parts {
		if ok, err := p.Check(ctx); !ok || err != nil {
			return ok, err
		}
	}
	return true, nil
}

// Counters returns those of all parts.
func (b *both) Counters(ctx context.Context) (out []remediate.Counter, err error) {
	for _, p := range b.parts {
		list, err := p.Counters(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// Probe asks the part of each entry's family.
func (b *both) Probe(ctx context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	out := make([]remediate.Found, len(entries))
	for i := range entries {
		for _, p := range b.parts {
			if !p.has(entries[i].Prefix) {
				continue
			}
			found, err := p.Probe(ctx, entries[i:i+1])
			if err != nil {
				return nil, err
			}
			out[i] = found[0]
		}
	}
	return out, nil
}

// Audited implements remediate.Audited.
func (b *both) Audited() {}

// Ignore tells all parts what is never blocked.
func (b *both) Ignore(ctx context.Context, list []netip.Prefix) error {
	var errs []error
	for _, p := range b.parts {
		errs = append(errs, p.Ignore(ctx, list))
	}
	return errors.Join(errs...)
}

// Unenforced counts what the parts leave out.
func (b *both) Unenforced() map[string]int {
	out := map[string]int{}
	for _, p := range b.parts {
		if l, ok := p.(remediate.Limited); ok {
			for reason, n := range l.Unenforced() {
				out[reason] += n
			}
		}
	}
	return out
}

// LeavesOut tells whether a part leaves out an entry.
func (b *both) LeavesOut(prefix netip.Prefix) bool {
	for _, p := range b.parts {
		if l, ok := p.(remediate.Limited); ok && p.has(prefix) && l.LeavesOut(prefix) {
			return true
		}
	}
	return false
}

// End ends connections of both families.
func (b *both) End(ctx context.Context, prefixes []netip.Prefix) (ended int, err error) {
	for _, p := range b.parts {
		n, one := p.End(ctx, prefixes)
		ended, err = ended+n, errors.Join(err, one)
	}
	return ended, err
}

// Close closes all parts.
func (b *both) Close(ctx context.Context, remove bool) (err error) {
	for _, p := range b.parts {
		err = errors.Join(err, p.Close(ctx, remove))
	}
	return err
}
