package nft

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"cs/decisions"
	"cs/remediate"
	"cs/remediate/remediatetest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func entry(prefix, origin string, left time.Duration) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: time.Now().Add(left)}
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// open opens a Kernel of one table.
func open(t testing.TB, n *remediatetest.Namespace, cfg Config) *table {
	t.Helper()
	return openAny(t, n, cfg).(*table)
}

func openAny(t testing.TB, n *remediatetest.Namespace, cfg Config) remediate.Kernel {
	t.Helper()
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Do(func() { _, err = k.Open(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close(context.Background(), false) })
	return k
}

func load(t testing.TB, k remediate.Kernel, list ...remediate.Entry) {
	t.Helper()
	if err := k.Load(t.Context(), slices.Values(list)); err != nil {
		t.Fatal(err)
	}
}

func blocked(t *testing.T, lab *remediatetest.Lab, addr string, want bool) {
	t.Helper()
	if got := lab.Blocked(netip.MustParseAddr(addr)); got != want {
		t.Errorf("%s is blocked: %v, want %v", addr, got, want)
	}
}

func TestConforms(t *testing.T) {
	f := func(name string, cfg Config, flush []string) {
		if testing.Short() && !strings.HasPrefix(name, "plain") {
			return
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
				lab := remediatetest.NewLab(t)
				b := remediatetest.Backend{
					New: func() remediate.Kernel {
						k, err := New(cfg)
						if err != nil {
							t.Fatal(err)
						}
						return k
					},
					In:      lab.Host.Do,
					Blocked: lab.Blocked,
				}
				if cfg.IPv4.SetOnly {
					ruleset(t, lab.Host, operators("interval,timeout"))
					b.Step = unit
				}
				if flush != nil {
					b.Flush = func() { lab.Host.Run("nft", flush...) }
				}
				return b
			})
		})
	}
	f("owner", Config{}, nil) // others can't
	f("plain", Config{Plain: true}, []string{"flush", "ruleset"})
	f("before Linux 6.3", Config{Plain: true, noDestroy: true}, []string{"flush", "ruleset"})
	f("three hooks", Config{Plain: true, Hooks: []string{"prerouting", "input", "forward"}}, []string{"delete", "table", "inet", "crowdsec"})
	f("input", Config{Hooks: []string{"input"}, Action: Reject}, nil)
	f("ingress", Config{Hooks: []string{"ingress"}, Interfaces: []string{"csf-host"}, Log: true, LogPrefix: "dropped "}, nil)
	f("new connections", Config{Conntrack: NewOnly}, nil)
	sets := Config{Layout: LayoutSets, Plain: true}
	f("sets", Config{Layout: LayoutSets}, nil)
	f("plain sets", sets, []string{"flush", "ruleset"})
	sets.noDestroy, sets.Hooks = true, []string{"input", "forward"}
	f("plain set-only", setOnlyConfig(), nil)
	f("sets before Linux 6.3", sets, []string{"delete", "table", "ip", "crowdsec"})
}

// A neighbour's reload of the firewall must not disarm us.
func TestForeignFlush(t *testing.T) {
	f := func(name string, cfg Config, allowed bool, foreign ...string) {
		t.Run(name, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			k, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := remediate.New(remediate.Config{Kernel: k})
			lab.Host.Do(func() { _, err = r.Open(t.Context()) })
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { r.Run(ctx); close(done) }()
			defer func() { stop(); <-done; r.Close(context.Background(), true) }()
			now := time.Now()
			if _, err := r.Apply(ctx, decisions.Delta{Full: true, New: []decisions.Decision{
				{ID: 1, Type: "ban", Scope: "Ip", Value: "203.0.113.4", Origin: "crowdsec", Until: now.Add(time.Hour)},
				{ID: 2, Type: "ban", Scope: "Range", Value: "203.0.114.0/24", Origin: "CAPI", Until: now.Add(time.Hour)},
			}}); err != nil {
				t.Fatal(err)
			}
			blocked(t, lab, "203.0.113.4", true)

			for try := 1; ; try++ { // a machine that does much else is given a second chance
				if _, err := lab.Host.Try("nft", foreign...); (err == nil) != allowed {
					t.Fatalf("nft %s: %v, want success: %v", strings.Join(foreign, " "), err, allowed)
				}
				began := time.Now()
				for !lab.Blocked(netip.MustParseAddr("203.0.113.4")) || !lab.Blocked(netip.MustParseAddr("203.0.114.4")) {
					if time.Since(began) > 20*time.Second {
						t.Fatalf("not repaired; %+v", r.Stats())
					}
				}
				took := time.Since(began)
				t.Logf("blocked again after %v, %d repairs", took, r.Stats().Repairs)
				if took < time.Second {
					break
				}
				if try == 5 {
					t.Fatalf("not repaired within a second, five times; %+v", r.Stats())
				}
			}
			blocked(t, lab, "203.0.113.5", false)
			if out := lab.Host.Run("nft", "list", "ruleset"); strings.Count(out, "map @v4_32") != 1 {
				t.Errorf("want one rule for hosts:\n%s", out)
			}
		})
	}
	plain := Config{Plain: true}
	f("owner, flush ruleset", Config{}, true, "flush", "ruleset")
	f("owner, delete table", Config{}, false, "delete", "table", "inet", "crowdsec")
	f("plain, flush ruleset", plain, true, "flush", "ruleset")
	f("plain, delete table", plain, true, "delete", "table", "inet", "crowdsec")
	f("plain, flush chain", plain, true, "flush", "chain", "inet", "crowdsec", "ipv4")
	f("plain, delete chain", plain, true, "delete", "chain", "inet", "crowdsec", "prerouting")
	f("plain, one element", plain, true, "delete", "element", "inet", "crowdsec", "v4_32", "{ 203.0.113.4 }")
	f("plain, all elements", plain, true, "flush", "map", "inet", "crowdsec", "v4_24")
	f("plain, a rule in front", plain, true, "insert", "rule", "inet", "crowdsec", "ipv4", "accept")
}

// flood sends datagrams from an address until stop is called, which returns
// how many there were, and how many came through. Some are out before flood
// returns, and some more go out after stop is called.
func flood(t *testing.T, lab *remediatetest.Lab, from string) (stop func() (sent, passed int)) {
	t.Helper()
	host := netip.AddrPortFrom(remediatetest.Host4, 10)
	var in, out *net.UDPConn
	var err error
	lab.Host.Do(func() { in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(host)) })
	if err == nil {
		lab.Peer.Do(func() {
			out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), net.UDPAddrFromAddrPort(host))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	quit := make(chan struct{})
	counts := make(chan int)
	var sent atomic.Int64
	go func() {
		for {
			select {
			case <-quit:
				counts <- int(sent.Load())
				return
			default:
				out.Write([]byte("x")) // a full queue only slows it down
				sent.Add(1)
				time.Sleep(20 * time.Microsecond)
			}
		}
	}()
	passed := make(chan int)
	go func() {
		n := 0
		for buf := make([]byte, 16); ; n++ {
			if _, err := in.Read(buf); err != nil {
				passed <- n
				return
			}
		}
	}()
	more := func() { // waits until 20 more are out, however slow the machine is
		for until := sent.Load() + 20; sent.Load() < until; time.Sleep(time.Millisecond) {
		}
	}
	more()
	return func() (int, int) {
		more()
		close(quit)
		sent := <-counts
		in.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n := <-passed
		in.Close()
		out.Close()
		return sent, n
	}
}

// seq yields n hosts in 198.0.0.0/8, and after them the entries of more.
func seq(n int, left time.Duration, more ...remediate.Entry) iter.Seq[remediate.Entry] {
	until := time.Now().Add(left)
	return func(yield func(remediate.Entry) bool) {
		for i := range n {
			a := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
			if !yield(remediate.Entry{Prefix: netip.PrefixFrom(a, 32), Origin: "CAPI", Until: until}) {
				return
			}
		}
		for _, e := range more {
			if !yield(e) {
				return
			}
		}
	}
}

const helperEnv = "CS_NFT_TEST_HELPER"

// TestMain lets the test binary play the process that is killed.
func TestMain(m *testing.M) {
	if mode := os.Getenv(helperEnv); mode != "" {
		k, err := New(Config{Plain: mode == "plain"})
		if err == nil {
			_, err = k.Open(context.Background())
		}
		if err == nil {
			err = k.Load(context.Background(), seq(5000, time.Hour, entry("203.0.113.4/32", "crowdsec", time.Hour)))
		}
		fmt.Println("loaded", err)
		select {} // until killed
	}
	os.Exit(m.Run())
}

func TestKillAndRestart(t *testing.T) {
	f := func(mode string) {
		t.Run(mode, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			var cmd *exec.Cmd
			lab.Host.Do(func() {
				cmd = exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), helperEnv+"="+mode)
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { cmd.Process.Kill() })
				line := make([]byte, 64)
				n, _ := out.Read(line)
				if got := string(line[:n]); got != "loaded <nil>\n" {
					t.Errorf("the other process says %q", got)
				}
			})
			if t.Failed() {
				return
			}
			blocked(t, lab, "203.0.113.4", true)
			stop := flood(t, lab, "203.0.113.4")
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			cfg := Config{Plain: mode == "plain"}
			k := open(t, lab.Host, cfg)
			if err := k.Load(t.Context(), seq(20000, time.Hour, entry("203.0.113.4/32", "crowdsec", time.Hour))); err != nil {
				t.Fatal(err)
			}
			// And once more, as a repair does.
			if err := k.Load(t.Context(), seq(20000, time.Hour, entry("203.0.113.4/32", "crowdsec", time.Hour))); err != nil {
				t.Fatal(err)
			}
			sent, passed := stop()
			t.Logf("%d of %d packets passed", passed, sent)
			if passed != 0 {
				t.Errorf("%d of %d packets passed during kill and restart", passed, sent)
			}
			out := lab.Host.Run("nft", "-t", "list", "ruleset")
			for what, want := range map[string]int{"map v4_32": 1, "map @v4_32": 1, "map v6_128": 1, "hook prerouting": 1, "goto ipv4": 1, "counter crowdsec-ipv4": 1} {
				if got := strings.Count(out, what); got != want {
					t.Errorf("%q is there %d times, want %d:\n%s", what, got, want, out)
				}
			}
			if ok, err := k.Check(t.Context()); !ok || err != nil {
				t.Errorf("check: %v, %v", ok, err)
			}
		})
	}
	f("owner")
	f("plain")
}

// A load that failed half-way leaves maps behind; the next one removes them.
func TestFailedLoadLeavesNothing(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{})
	load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := k.Load(ctx, func(yield func(remediate.Entry) bool) {
		for e := range seq(10000, time.Hour) {
			if n++; n == 5000 {
				cancel()
			}
			if !yield(e) {
				return
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	blocked(t, lab, "203.0.113.4", true)
	load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour), entry("203.0.113.5/32", "crowdsec", time.Hour))
	if out := lab.Host.Run("nft", "-t", "list", "ruleset"); strings.Count(out, "map v4_32") != 1 {
		t.Errorf("maps were left:\n%s", out)
	}
	blocked(t, lab, "203.0.113.5", true)
}

func TestTwoProcesses(t *testing.T) {
	lab := remediatetest.NewLab(t)
	load(t, open(t, lab.Host, Config{}), entry("203.0.113.4/32", "crowdsec", time.Hour))
	err := open(t, lab.Host, Config{}).Load(t.Context(), seq(0, 0))
	if !errors.Is(err, remediate.ErrForeign) {
		t.Errorf("a second process took the table: %v", err)
	}
	blocked(t, lab, "203.0.113.4", true)
}

func TestListing(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{
		Plain: true, Hooks: []string{"prerouting", "forward"}, Action: Reject,
		Ignore: prefixes("198.51.100.7/32", "198.51.100.0/24", "192.0.2.1/32", "255.255.255.0/24", "2001:db8:ffff::/48"),
	})
	load(t, k,
		entry("203.0.113.4/32", "crowdsec", time.Hour),
		entry("203.0.113.5/32", "CAPI", 2*time.Hour),
		entry("203.0.114.0/24", "lists:tor-exit", 3*time.Hour),
		entry("203.64.0.0/10", "bad\nname\"", 3*time.Hour),
		entry("2001:db8::5/128", "cscli", 24*time.Hour),
		entry("2001:db8:1::/49", "cscli", 24*time.Hour),
	)
	got := lab.Host.Run("nft", "-s", "list", "table", "inet", "crowdsec")
	got = regexp.MustCompile(`timeout \S+`).ReplaceAllString(got, "timeout T")
	golden := filepath.Join("testdata", "listing.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	// nft is free to list a map's elements in any order.
	if sorted(got) != sorted(string(want)) {
		t.Errorf("nft lists\n%s\nwant\n%s", got, want)
	}
	// What nft lists, nft accepts, but for the name of a counter with a colon.
	lab.Host.Run("sh", "-c", "nft list table inet crowdsec | sed 's/lists:tor-exit/lists-tor/g; s/^table inet crowdsec/table inet copy/' | nft -c -f -")
}

// sorted sorts the words, so that only the order is lost.
func sorted(s string) string {
	words := strings.Fields(strings.NewReplacer(",", " ").Replace(s))
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestCountersCountPackets(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{})
	load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour), entry("203.0.114.0/24", "lists:tor-exit", time.Hour))
	for range 5 {
		lab.Blocked(netip.MustParseAddr("203.0.113.4"))
	}
	for range 3 {
		lab.Blocked(netip.MustParseAddr("203.0.114.9"))
	}
	// The end of one ban hands the address to the other's counter.
	if err := k.Apply(t.Context(), []remediate.Change{{Op: remediate.Replace, Entry: entry("203.0.113.4/32", "CAPI", time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	lab.Blocked(netip.MustParseAddr("203.0.113.4"))
	list, err := k.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, c := range list {
		if c.IPv6 {
			continue
		}
		got[c.Origin] = c.Packets
		if c.Packets > 0 && c.Bytes < 28*c.Packets {
			t.Errorf("%s: %d packets of %d bytes", c.Origin, c.Packets, c.Bytes)
		}
	}
	for name, want := range map[string]uint64{"crowdsec": 5, "lists:tor-exit": 3, "CAPI": 1} {
		if got[name] != want {
			t.Errorf("%s counted %d packets, want %d", name, got[name], want)
		}
	}
	if got[""] < 18 {
		t.Errorf("only %d packets were looked at", got[""])
	}
}

// TestCountersGoOn: new rules go on from what the old ones have counted, of each family.
func TestCountersGoOn(t *testing.T) {
	for _, layout := range []string{LayoutMap, LayoutSets} {
		lab := remediatetest.NewLab(t)
		cfg := Config{Layout: layout, Hooks: []string{"prerouting", "input"}}
		k := openAny(t, lab.Host, cfg)
		passed := func() (n [2]uint64) {
			t.Helper()
			if ok, err := k.Check(t.Context()); !ok || err != nil {
				t.Errorf("check: %v, %v", ok, err)
			}
			list, err := k.(remediate.Counting).Counters(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if c.Origin == "" && !c.IPv6 {
					n[0] = c.Packets
				} else if c.Origin == "" {
					n[1] = c.Packets
				}
			}
			return n
		}
		load(t, k, entry("203.0.113.4/32", "CAPI", time.Hour))
		least := [2]uint64{}
		for _, change := range []func(){
			func() {},
			func() { // a length of its own
				if err := k.Apply(t.Context(), []remediate.Change{{Op: remediate.Add, Entry: entry("203.16.0.0/12", "CAPI", time.Hour)}}); err != nil {
					t.Fatal(err)
				}
			},
			func() { load(t, k, entry("203.0.113.4/32", "CAPI", time.Hour)) },
			func() {
				if err := k.Close(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				k = openAny(t, lab.Host, cfg)
				load(t, k, entry("203.0.113.4/32", "CAPI", time.Hour))
			},
		} {
			change()
			for range 7 {
				lab.Blocked(netip.MustParseAddr("203.77.0.1"))
			}
			for range 3 {
				lab.Blocked(netip.MustParseAddr("2001:db8::1"))
			}
			n := passed()
			if least[0] += 2 * 7; n[0] < least[0] {
				t.Errorf("%s: %d packets of IPv4 were counted, want %d", layout, n[0], least[0])
			}
			if least[1] += 2 * 3; n[1] < least[1] {
				t.Errorf("%s: %d packets of IPv6 were counted, want %d", layout, n[1], least[1])
			}
			least = [2]uint64{max(least[0], n[0]), max(least[1], n[1])}
		}
	}
}

func TestIgnored(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{Ignore: prefixes("203.0.113.7/32", "203.0.114.0/25", "2001:db8:7::/48")})
	load(t, k, entry("203.0.0.0/8", "CAPI", time.Hour), entry("203.0.113.7/32", "cscli", time.Hour), entry("2001:db8::/32", "CAPI", time.Hour))
	for addr, want := range map[string]bool{
		"203.0.113.7": false, "203.0.113.6": true, "203.0.113.8": true, "203.0.114.0": false,
		"203.0.114.127": false, "203.0.114.128": true, "2001:db8:7::1": false, "2001:db8:8::1": true,
	} {
		blocked(t, lab, addr, want)
	}
}

// A host may have many addresses of its own.
func TestManyIgnored(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := openAny(t, lab.Host, Config{})
	load(t, k, entry("203.0.0.0/8", "CAPI", time.Hour), entry("2001:db8::/32", "CAPI", time.Hour))
	blocked(t, lab, "203.1.19.136", true)
	var list []netip.Prefix
	for i := range maxIgnore {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 1, byte(i >> 7), byte(i << 1)}), 32),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 8), 14: byte(i), 15: 1}), 128))
	}
	for range 2 { // into the table that there is, and into a new one
		if err := k.(remediate.Ignoring).Ignore(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for i, p := range list {
			if a := p.Addr(); i%997 < 2 || i >= len(list)-2 {
				blocked(t, lab, a.String(), false)
				blocked(t, lab, a.Next().String(), true)
			}
		}
		load(t, k, entry("203.0.0.0/8", "CAPI", time.Hour), entry("2001:db8::/32", "CAPI", time.Hour))
	}
	if err := k.(remediate.Ignoring).Ignore(t.Context(), append(list, prefixes("203.200.0.1/32")...)); err == nil {
		t.Error("one more was taken")
	}
}

// What goes to a port that is ignored passes, also from who is banned.
func TestIgnoredPorts(t *testing.T) {
	f := func(name string, cfg Config, want bool, ports ...remediate.Ports) {
		t.Run(name, func(t *testing.T) {
			lab := remediatetest.NewLab(t) // its datagrams go to port 9
			cfg.IgnorePorts = ports
			k := openAny(t, lab.Host, cfg)
			load(t, k, entry("203.0.113.4/32", "CAPI", time.Hour), entry("203.0.114.0/24", "CAPI", time.Hour), entry("2001:db8::4/128", "CAPI", time.Hour))
			for _, a := range []string{"203.0.113.4", "203.0.114.1", "2001:db8::4"} {
				blocked(t, lab, a, want)
			}
			if ok, err := k.Check(t.Context()); !ok || err != nil {
				t.Errorf("check: %v, %v", ok, err)
			}
		})
	}
	f("it", Config{}, false, remediate.Ports{First: 9, Last: 9, Proto: "udp"})
	f("in a range", Config{Hooks: []string{"input"}, Layout: LayoutSets}, false, remediate.Ports{First: 22, Last: 22}, remediate.Ports{First: 8, Last: 10})
	f("other protocol", Config{}, true, remediate.Ports{First: 9, Last: 9, Proto: "tcp"})
	f("others", Config{}, true, remediate.Ports{First: 1, Last: 8}, remediate.Ports{First: 10, Last: 65535})
	if _, err := New(Config{IPv4: Family{SetOnly: true}, IgnorePorts: []remediate.Ports{{First: 9, Last: 9}}}); err == nil {
		t.Error("in other people's rules ports are ignored")
	}
}

// Connections and pings end too, not only datagrams.
func TestProtocols(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{})
	load(t, k)
	var listener net.Listener
	lab.Host.Do(func() {
		var err error
		if listener, err = net.Listen("tcp", netip.AddrPortFrom(remediatetest.Host4, 11).String()); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	defer listener.Close()
	from := net.IPv4(203, 0, 113, 4)
	tcp := func() (err error) {
		lab.Peer.Do(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 300 * time.Millisecond}
			var c net.Conn
			if c, err = d.Dial("tcp", listener.Addr().String()); err == nil {
				c.Close()
			}
		})
		return err
	}
	ping := func() (err error) {
		lab.Peer.Do(func() {
			var c *net.IPConn
			c, err = net.DialIP("ip4:icmp", &net.IPAddr{IP: from}, &net.IPAddr{IP: remediatetest.Host4.AsSlice()})
			if err != nil {
				return
			}
			defer c.Close()
			echo := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0} // an echo request, with its checksum
			if _, err = c.Write(echo); err == nil {
				c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				_, err = c.Read(make([]byte, 64))
			}
		})
		return err
	}
	if err := errors.Join(tcp(), ping()); err != nil {
		t.Fatal("before the ban:", err)
	}
	if err := k.Apply(t.Context(), []remediate.Change{{Op: remediate.Add, Entry: entry("203.0.113.4/32", "crowdsec", time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if tcp() == nil {
		t.Error("a connection was accepted")
	}
	if ping() == nil {
		t.Error("a ping was answered")
	}
}

func TestLoadsMany(t *testing.T) {
	const n = 100_000
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{})
	began := time.Now()
	if err := k.Load(t.Context(), seq(n, time.Hour, entry("203.0.113.4/32", "crowdsec", time.Hour))); err != nil {
		t.Fatal(err)
	}
	t.Logf("loaded %d in %v", n, time.Since(began))
	blocked(t, lab, "203.0.113.4", true)
	blocked(t, lab, "203.0.113.5", false)

	began = time.Now()
	if err := k.Apply(t.Context(), []remediate.Change{{Op: remediate.Add, Entry: entry("203.0.113.5/32", "crowdsec", time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("one more in %v", time.Since(began))
	began = time.Now()
	if ok, err := k.Check(t.Context()); !ok || err != nil {
		t.Errorf("check: %v, %v", ok, err)
	}
	t.Logf("structure checked in %v", time.Since(began))
	blocked(t, lab, "203.0.113.5", true)
	began = time.Now()
	if err := k.Load(t.Context(), seq(n, time.Hour)); err != nil {
		t.Fatal(err)
	}
	t.Logf("loaded again beside and swapped in %v", time.Since(began))
	blocked(t, lab, "203.0.113.5", false)
}

// Another implementation of the protocol reads what ours has written: no
// element is lost between messages and transactions.
func TestElementsReadBack(t *testing.T) {
	const n = 7777
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{})
	if err := k.Load(t.Context(), seq(n, time.Hour)); err != nil {
		t.Fatal(err)
	}
	// The kernel grows a hash in the background, and a dump that meets it on the way misses
	// elements or tells them twice, with no mark in the reply. Rest comes by itself.
	var elements []nftables.SetElement
	var got map[[4]byte]bool
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if elements, err = readBack(lab.Host, "v4_32"); err != nil {
			t.Fatal(err)
		}
		got = map[[4]byte]bool{}
		for _, e := range elements {
			got[[4]byte(e.Key)] = true
		}
		if len(elements) == n && len(got) == n || time.Now().After(deadline) {
			break
		}
	}
	for _, e := range elements {
		if e.Timeout < 59*time.Minute || e.Timeout > time.Hour {
			t.Fatalf("%v times out after %v", e.Key, e.Timeout)
		}
	}
	if len(got) != n || len(elements) != n {
		t.Errorf("%d elements, %d different ones, want %d", len(elements), len(got), n)
	}
	for e := range seq(n, time.Hour) {
		if !got[e.Prefix.Addr().As4()] {
			t.Fatalf("%v is missing", e.Prefix)
		}
	}
}

// readBack dumps a set of our table by the library's reader.
func readBack(host *remediatetest.Namespace, name string) (elements []nftables.SetElement, err error) {
	host.Do(func() {
		var c *nftables.Conn
		if c, err = nftables.New(); err != nil {
			return
		}
		var set *nftables.Set
		if set, err = c.GetSetByName(&nftables.Table{Name: defaultTable, Family: nftables.TableFamilyINet}, name); err == nil {
			elements, err = c.GetSetElements(set)
		}
	})
	return elements, err
}

func TestRefusals(t *testing.T) {
	for _, cfg := range []Config{
		{Hooks: []string{"postroting"}}, {Hooks: []string{"ingress"}}, {Action: "tarpit"}, {Ignore: prefixes("192.0.2.1/24")}, {Layout: "heap"}, {Conntrack: "old"},
		{IPv4: Family{Off: true}, IPv6: Family{Off: true}}, {Hooks: []string{"ingress"}, Interfaces: []string{"eth0"}, Layout: LayoutSets},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// A kernel that lacks a part of nftables is told from one that is in trouble now.
func TestKernelLacksAPart(t *testing.T) {
	k := open(t, remediatetest.Netns(t), Config{Plain: true})
	k.proto, k.tx.proto = 99, 99 // such tables there are nowhere
	if err := k.Load(t.Context(), seq(1, time.Hour)); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "lacks a part") {
		t.Errorf("got %v", err)
	}
}

// The kernel's words come with its numbers.
func TestErrorsAreReadable(t *testing.T) {
	n := remediatetest.Netns(t)
	k := open(t, n, Config{})
	load(t, k)
	k.begin()
	k.tx.delSet(k.name, "no-such-map")
	err := k.conn.commit(&k.tx)
	if !errors.Is(err, unix.ENOENT) || errors.Is(err, remediate.ErrFull) || errors.Is(err, remediate.ErrForeign) {
		t.Errorf("got %v", err)
	}
	for errno, want := range map[syscall.Errno]error{unix.ENOMEM: remediate.ErrFull, unix.ENFILE: remediate.ErrFull, unix.EPERM: remediate.ErrForeign} {
		if err := fmt.Errorf("cannot load: %w", &kernelError{errno: errno, text: "words"}); !errors.Is(err, want) || !strings.Contains(err.Error(), "(words)") {
			t.Errorf("%v: got %v, want %v", errno, err, want)
		}
	}
	// The socket is in order after a failure.
	load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour))
}
