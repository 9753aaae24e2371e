package nft

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"cs/remediate"
	"cs/remediate/remediatetest"
)

// What an address has open goes on where only new connections are looked at,
// until it is ended.
func TestEndsConnections(t *testing.T) {
	for _, f := range []struct {
		name, from, ban string
		host            netip.Addr
	}{
		{"IPv4", "203.0.113.4", "203.0.113.4/32", remediatetest.Host4}, {"IPv6", "2001:db8::4", "2001:db8::4/128", remediatetest.Host6},
		{"IPv4 range", "203.0.113.4", "203.0.112.0/20", remediatetest.Host4}, {"IPv6 range", "2001:db8:0:9::4", "2001:db8:0:9::/64", remediatetest.Host6},
	} {
		t.Run(f.name, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			k := openAny(t, lab.Host, Config{Conntrack: NewOnly})
			load(t, k)
			from := netip.MustParseAddr(f.from)
			var in, out *net.UDPConn
			var err error
			at := netip.AddrPortFrom(f.host, 12)
			lab.Host.Do(func() { in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
			if err == nil {
				lab.Peer.Do(func() {
					out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 5555)), net.UDPAddrFromAddrPort(at))
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer out.Close()
			buf := make([]byte, 16)
			// exchange sends a packet, and answers it if it comes.
			exchange := func() bool {
				t.Helper()
				if _, err := out.Write([]byte("ping")); err != nil {
					t.Fatal(err)
				}
				in.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				_, back, err := in.ReadFromUDPAddrPort(buf)
				if err != nil {
					return false
				}
				if _, err := in.WriteToUDPAddrPort([]byte("pong"), back); err != nil {
					t.Fatal(err)
				}
				out.SetReadDeadline(time.Now().Add(5 * time.Second))
				if _, err := out.Read(buf); err != nil {
					t.Fatal(err)
				}
				return true
			}
			for range 2 { // there and back, then known as established
				if !exchange() {
					t.Fatal("nothing comes through before the ban")
				}
			}
			p, others := netip.MustParsePrefix(f.ban), []netip.Prefix{
				netip.MustParsePrefix("203.99.0.0/16"), netip.MustParsePrefix("203.0.113.5/32"), netip.MustParsePrefix("2001:db8:0:a::/64"), netip.MustParsePrefix("2001:db8::5/128"),
			}
			if err := k.Apply(t.Context(), []remediate.Change{{Op: remediate.Add, Entry: entry(p.String(), "crowdsec", time.Hour)}}); err != nil {
				t.Fatal(err)
			}
			if !exchange() {
				t.Error("an established connection was ended by a rule for new ones")
			}
			blocked(t, lab, f.from, true) // a new one
			if n, err := k.(remediate.Ending).End(t.Context(), others); n != 0 || err != nil {
				t.Errorf("ended %d of somebody else's, %v", n, err)
			}
			if n, err := k.(remediate.Ending).End(t.Context(), append(others, p)); n != 1 || err != nil {
				t.Errorf("ended %d, %v; want 1", n, err)
			}
			if exchange() {
				t.Error("the connection goes on")
			}
		})
	}
}
