package bouncer

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
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
// gateways, the LAPI, which could lift nothing any more, and who is logged in, also
// through session, the value of SSH_CONNECTION of the session that started us.
func guards(session string, lapi, loggedIn []netip.Addr) []Guard {
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
	add("LAPI", lapi...)
	add("logged in", sessionPeer(session))
	add("logged in", loggedIn...)
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

const (
	// resolveEvery is how often the LAPI's name is looked up, and resolveTime how long that may take.
	resolveEvery = 5 * time.Minute
	resolveTime  = 30 * time.Second
)

// peer knows the addresses of a server by its URL. A name is looked up beside what
// else is done: where there is no name server yet, bans can't wait for it.
type peer struct {
	host   string
	lookup func(context.Context, string) ([]netip.Addr, error)
	now    func() time.Time

	mu    sync.Mutex
	asked time.Time // when it was looked up last
	addrs []netip.Addr
}

// newPeer returns the server of a URL; that of a socket's path has no addresses.
func newPeer(text string) *peer {
	p := &peer{now: time.Now, lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
	if u, err := url.Parse(text); err == nil {
		p.host = u.Hostname()
	}
	return p
}

// known returns the addresses as far as they are known by now.
func (p *peer) known() []netip.Addr {
	if a, err := netip.ParseAddr(p.host); err == nil {
		return []netip.Addr{a}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now(); p.host != "" && (p.asked.IsZero() || now.Sub(p.asked) >= resolveEvery) {
		p.asked = now
		go p.resolve()
	}
	return p.addrs
}

func (p *peer) resolve() {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTime)
	defer cancel()
	list, err := p.lookup(ctx, p.host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.asked = p.asked.Add(-resolveEvery) // with the next tick; what is known stays
		return
	}
	p.addrs = list
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
