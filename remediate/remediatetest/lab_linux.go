package remediatetest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the lab. The guarded host has Host4 and Host6; any source
// address inside Net4 and Net6 can send to it.
var (
	Host4 = netip.MustParseAddr("10.99.0.1")
	Host6 = netip.MustParseAddr("fd99::1")
	Net4  = netip.MustParsePrefix("203.0.0.0/8")
	Net6  = netip.MustParsePrefix("2001:db8::/32")
)

// A Lab is a guarded host and a neighbour that can send from many addresses,
// each in a network namespace of its own.
type Lab struct {
	Host, Peer *Namespace
	t          testing.TB
	in         [2]*net.UDPConn // where the host listens, by family
	seq        atomic.Uint32
	cpu        int
}

// NewLab makes a lab, or skips the test where it can't.
func NewLab(t testing.TB) *Lab {
	t.Helper()
	l := &Lab{Host: Netns(t), Peer: Netns(t), t: t}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
	for !cpus.IsSet(l.cpu) {
		l.cpu++
	}
	set := func(n *Namespace, name, value string) {
		var err error
		n.Do(func() { err = os.WriteFile("/proc/sys/net/ipv6/"+name, []byte(value), 0o600) })
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []*Namespace{l.Host, l.Peer} { // IPv6 addresses are usable at once
		set(n, "conf/default/accept_dad", "0")
	}
	set(l.Peer, "ip_nonlocal_bind", "1")
	Join(l.Host, "csf-host", l.Peer, "csf-peer")
	// The peer owns every address of the nets, and the host routes them to it.
	l.Peer.IP("addr add 10.99.0.2/24 dev csf-peer", "addr add fd99::2/64 dev csf-peer nodad",
		"route add local "+Net4.String()+" dev lo", "route add local "+Net6.String()+" dev lo")
	l.Host.IP("addr add "+Host4.String()+"/24 dev csf-host", "addr add "+Host6.String()+"/64 dev csf-host nodad",
		"route add "+Net4.String()+" via 10.99.0.2", "route add "+Net6.String()+" via fd99::2")
	l.Host.Do(func() {
		for i, a := range []netip.Addr{Host4, Host6} {
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
			if err != nil {
				t.Errorf("cannot listen in the lab: %v", err)
				return
			}
			l.in[i] = c
			t.Cleanup(func() { c.Close() })
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// Blocked tells whether the host drops a datagram from an address. It has when
// a second one, from an address that nobody blocks, arrives first: they go
// through one processor's queue and can't overtake each other.
func (l *Lab) Blocked(from netip.Addr) bool {
	l.t.Helper()
	if from.Is6() {
		return l.lost(from, Host6, l.in[1])
	}
	return l.lost(from, Host4, l.in[0])
}

// lost is Blocked for what arrives at in.
func (l *Lab) lost(from, to netip.Addr, in *net.UDPConn) bool {
	l.t.Helper()
	clean := netip.MustParseAddr("10.99.0.2")
	if from.Is6() {
		clean = netip.MustParseAddr("fd99::2")
	}
	n := l.seq.Add(1)
	probe, end := fmt.Sprintf("probe %d", n), fmt.Sprintf("end %d", n)
	l.Peer.Do(func() {
		var one unix.CPUSet
		one.Set(l.cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			l.t.Errorf("cannot stay on one processor: %v", err)
		}
		l.send(from, to, probe)
		l.send(clean, to, end)
	})
	in.SetReadDeadline(time.Now().Add(2 * time.Second))
	blocked := true
	for buf := make([]byte, 64); ; {
		n, err := in.Read(buf)
		switch {
		case err != nil:
			l.t.Fatalf("the datagram from %v did not arrive either: %v", clean, err)
		case string(buf[:n]) == probe:
			blocked = false
		case string(buf[:n]) == end:
			return blocked
		}
	}
}

// Container is a host behind the guarded one, as Docker makes them. Packets to its own
// address are forwarded, those to Published are sent on to it (DNAT).
type Container struct {
	l  *Lab
	in *net.UDPConn
}

// Addresses of a container, and one of the guarded host that stands for it.
var (
	contained = netip.MustParseAddr("10.98.0.2")
	Published = netip.MustParseAddr("10.99.0.3")
)

// NewContainer adds one to the lab, IPv4 only.
func (l *Lab) NewContainer() *Container {
	l.t.Helper()
	c, inner := &Container{l: l}, Netns(l.t)
	Join(l.Host, "csf-in", inner, "csf-eth")
	l.Host.IP("addr add 10.98.0.1/24 dev csf-in", "addr add "+Published.String()+"/24 dev csf-host")
	inner.IP("addr add "+contained.String()+"/24 dev csf-eth", "route add default via 10.98.0.1")
	l.Peer.IP("route add 10.98.0.0/24 via " + Host4.String())
	l.Host.Run("nft", "add table ip docker; add chain ip docker pre { type nat hook prerouting priority dstnat; }; "+
		"add rule ip docker pre ip daddr "+Published.String()+" dnat to "+contained.String())
	l.Host.Do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
			l.t.Error(err)
		}
	})
	inner.Do(func() {
		var err error
		if c.in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(contained, 9))); err != nil {
			l.t.Error(err)
		}
	})
	if l.t.Failed() {
		l.t.FailNow()
	}
	l.t.Cleanup(func() { c.in.Close() })
	return c
}

// Blocked tells whether the host drops a datagram from an address to the container, or
// to what is published of it.
func (c *Container) Blocked(from netip.Addr, published bool) bool {
	c.l.t.Helper()
	to := contained
	if published {
		to = Published
	}
	return c.l.lost(from, to, c.in)
}

// send sends one datagram. It runs in the peer's namespace.
func (l *Lab) send(from, to netip.Addr, text string) {
	c, err := net.DialUDP("udp",
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		l.t.Errorf("cannot send from %v: %v", from, err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		l.t.Errorf("cannot send from %v: %v", from, err)
	}
}
