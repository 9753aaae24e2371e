package bouncer

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"cs/decisions"
)

// guardEvery is how often is looked again for what must not be locked out:
// addresses come and go, and so do operators.
const guardEvery = 10 * time.Second

// Guard is an address that is never blocked, and why.
type Guard struct {
	Prefix netip.Prefix `json:"prefix"`
	Why    string       `json:"why"`
}

// loopback is never blocked: programs on this host talk through it.
var loopback = []Guard{
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
}

// guards finds what must not be locked out: this host's own addresses, its
// gateways, and who is logged in, also through session, the value of
// SSH_CONNECTION of the session that started us.
func guards(session string) []Guard {
	list := slices.Clone(loopback)
	add := func(why string, addrs ...netip.Addr) {
		for _, a := range addrs {
			if a = a.Unmap().WithZone(""); a.IsValid() && !a.IsUnspecified() {
				list = append(list, Guard{netip.PrefixFrom(a, a.BitLen()), why})
			}
		}
	}
	own, _ := net.InterfaceAddrs() // without them the others count
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok && !addr.IsLoopback() {
				add("own address", addr)
			}
		}
	}
	add("gateway", gateways()...)
	add("logged in", sessionPeer(session))
	add("logged in", loggedIn("")...)
	sort.SliceStable(list, func(i, j int) bool { return list[i].Prefix.Compare(list[j].Prefix) < 0 })
	n := 0
	for _, g := range list {
		if n == 0 || list[n-1].Prefix != g.Prefix {
			list[n] = g
			n++
		}
	}
	return list[:n]
}

// sessionPeer returns the client in the value of SSH_CONNECTION ("client port
// server port") or SSH_CLIENT; invalid if there is none.
func sessionPeer(text string) netip.Addr {
	if i := strings.IndexAny(text, " %"); i >= 0 { // without a zone
		text = text[:i]
	}
	a, _ := decisions.ParseAddr(text)
	return a
}

// guard keeps what is never blocked, and what is told of us, up to date until ctx ends.
func (b *Bouncer) guard(ctx context.Context) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.setIgnore(ctx)
			b.tellState()
		}
	}
}

// setIgnore tells the kernel what is never blocked.
func (b *Bouncer) setIgnore(ctx context.Context) {
	var found []Guard
	if b.cfg.Guards != nil {
		found = b.cfg.Guards()
	}
	b.mu.Lock()
	b.guarded = found
	b.mu.Unlock()
	list := slices.Clone(b.cfg.Ignore)
	for _, g := range found {
		list = append(list, g.Prefix)
	}
	if err := b.r.SetIgnore(ctx, list); err != nil && ctx.Err() == nil {
		b.log.Error("cannot guard against a lock-out, trying again", "err", err)
	}
}
