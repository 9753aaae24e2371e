package ipset

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"cs/decisions"
	"cs/remediate"
	"cs/remediate/netlink"
	"cs/remediate/remediatetest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// A world is a host with iptables of one kind.
type world struct {
	*remediatetest.Lab
	t    *testing.T
	kind string // "legacy" or "nft"
}

// newWorld skips the test where the programs, or the kernel's part, are missing.
func newWorld(t *testing.T, kind string) *world {
	t.Helper()
	for _, name := range []string{"iptables-" + kind, "ip6tables-" + kind, "ipset"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("no %s: install iptables and ipset", name)
		}
	}
	w := &world{Lab: remediatetest.NewLab(t), t: t, kind: kind}
	if out, err := w.Host.Try("ipset", "create", "probe", "hash:net"); err != nil {
		t.Skipf("this kernel has no ipset: %s", out)
	}
	w.Host.Run("ipset", "destroy", "probe")
	return w
}

// run is run in the host's namespace, with iptables of the world's kind.
func (w *world) run(ctx context.Context, stdin, name string, args ...string) (out string, err error) {
	family, rest, _ := strings.Cut(name, "tables")
	w.Host.Do(func() { out, err = run(ctx, stdin, family+"tables-"+w.kind+rest, args...) })
	return out, err
}

func (w *world) filter(cfg Config) *Filter {
	w.t.Helper()
	f, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	f.run = w.run
	return f
}

func (w *world) open(cfg Config) *Filter {
	w.t.Helper()
	f := w.filter(cfg)
	var err error
	w.Host.Do(func() { _, err = f.Open(w.t.Context()) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close(context.Background(), false) })
	return f
}

func (w *world) load(f *Filter, list ...remediate.Entry) {
	w.t.Helper()
	if err := f.Load(w.t.Context(), slices.Values(list)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(f *Filter, list ...remediate.Change) {
	w.t.Helper()
	if err := f.Apply(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) checks(f *Filter, want bool) {
	w.t.Helper()
	if ok, err := f.Check(w.t.Context()); ok != want || err != nil {
		w.t.Errorf("in order: %v, %v; want %v", ok, err, want)
	}
}

func (w *world) blocks(addr string, want bool) {
	w.t.Helper()
	if got := w.Blocked(netip.MustParseAddr(addr)); got != want {
		w.t.Errorf("%s is blocked: %v, want %v", addr, got, want)
	}
}

func (w *world) shell(script string) string {
	w.t.Helper()
	script = "iptables() { iptables-" + w.kind + ` "$@"; }; ip6tables() { ip6tables-` + w.kind + ` "$@"; }; ` + script
	return w.Host.Run("sh", "-ec", script)
}

func entry(prefix, origin string, left time.Duration) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: time.Now().Add(left)}
}

func add(prefix, origin string, left time.Duration) remediate.Change {
	return remediate.Change{Entry: entry(prefix, origin, left)}
}

func TestConforms(t *testing.T) {
	f := func(name, kind string, cfg Config, b remediatetest.Backend, before, flush string) {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "legacy" {
				t.Skip("another kind was tested")
			}
			t.Parallel()
			remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
				w := newWorld(t, kind)
				if before != "" {
					w.shell(before)
				}
				b := b
				b.New = func() remediate.Kernel { return w.filter(cfg) }
				b.In, b.Blocked = w.Host.Do, w.Blocked
				b.Flush = func() { w.shell(flush) }
				return b
			})
		})
	}
	seconds := remediatetest.Backend{Step: time.Second}
	f("legacy", "legacy", Config{}, seconds, "", "iptables -F; iptables -X; ip6tables -F; ip6tables -X")
	f("nft", "nft", Config{}, seconds, "", "nft flush ruleset")
	f("no timeouts", "legacy", Config{NoTimeouts: true, DenyLog: true, Action: Reject}, remediatetest.Backend{Lasting: true}, "", "ipset flush crowdsec-blacklists-0")
	const own = `
		ipset create crowdsec-blacklists hash:net maxelem 10
		ipset create crowdsec6-blacklists hash:net family inet6 timeout 60
		iptables -I INPUT -m set --match-set crowdsec-blacklists src -j DROP
		ip6tables -I INPUT -m set --match-set crowdsec6-blacklists src -j DROP`
	f("sets only", "legacy", Config{SetOnly: true}, seconds, own, "ipset flush")
}

// Each way in which a neighbour disarms us is noticed by the next look, and repaired.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"legacy", "nft"} {
		if testing.Short() && kind != "legacy" {
			continue
		}
		w := newWorld(t, kind)
		f := w.filter(Config{})
		r := remediate.New(remediate.Config{Kernel: f})
		var err error
		w.Host.Do(func() { _, err = r.Open(t.Context()) })
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close(context.Background(), true)
		if _, err := r.Apply(t.Context(), decisions.Delta{Full: true, New: []decisions.Decision{
			{ID: 1, Type: "ban", Scope: "Ip", Value: "203.0.113.4", Origin: "crowdsec", Until: time.Now().Add(time.Hour)},
			{ID: 2, Type: "ban", Scope: "Ip", Value: "2001:db8::4", Origin: "crowdsec", Until: time.Now().Add(time.Hour)},
		}}); err != nil {
			t.Fatal(err)
		}
		for i, script := range []string{
			"iptables -F INPUT",
			"ip6tables -D INPUT -j CROWDSEC_CHAIN",
			"iptables -F CROWDSEC_CHAIN",
			"iptables -I CROWDSEC_CHAIN -j RETURN",
			"ip6tables -F; ip6tables -X",
			"ipset flush",
			"iptables -F; iptables -X; ip6tables -F; ip6tables -X; ipset destroy",
			"iptables -N DOCKER-USER", // Docker starts after us
		} {
			w.shell(script)
			r.Tick(t.Context())
			w.blocks("203.0.113.4", true)
			w.blocks("2001:db8::4", true)
			if got := r.Stats().Repairs; got != uint64(i+1) {
				t.Errorf("%s: after %q %d repairs, want %d", kind, script, got, i+1)
			}
		}
		r.Tick(t.Context())
		w.shell("iptables -A INPUT -s 192.0.2.1 -j ACCEPT; iptables -N other; ipset create other hash:ip") // not our business
		r.Tick(t.Context())
		if s := r.Stats(); s.Repairs != 8 || s.Errors != 0 {
			t.Errorf("%s: %+v", kind, s)
		}
		if out := w.shell("iptables -S"); strings.Count(out, "-A INPUT -j CROWDSEC_CHAIN") != 1 || !strings.Contains(out, "-A DOCKER-USER -j CROWDSEC_CHAIN") {
			t.Errorf("%s:\n%s", kind, out)
		}
	}
}

// What upstream's bouncer, or an earlier process that was killed, left is taken over.
func TestTakesOver(t *testing.T) {
	w := newWorld(t, "legacy")
	w.shell(`
		iptables -N CROWDSEC_CHAIN
		for i in 0 1 5; do
			ipset create crowdsec-blacklists-$i hash:net timeout 300 maxelem 1000
			iptables -I CROWDSEC_CHAIN -m set --match-set crowdsec-blacklists-$i src -j DROP
		done
		ipset add crowdsec-blacklists-5 203.0.113.9
		ipset create crowdsec-blacklists-mine hash:net
		ipset create crowdsec-blacklists hash:net
		iptables -I INPUT -j CROWDSEC_CHAIN`)
	w.blocks("203.0.113.9", true)
	f := w.filter(Config{})
	var live bool
	var err error
	w.Host.Do(func() { live, err = f.Open(t.Context()) })
	if err != nil || !live {
		t.Fatalf("live: %v, %v", live, err)
	}
	w.load(f, entry("203.0.113.4/32", "crowdsec", time.Hour), entry("203.0.113.5/32", "CAPI", time.Hour))
	w.blocks("203.0.113.9", false)
	w.blocks("203.0.113.4", true)
	names := strings.Fields(w.shell("ipset list -n"))
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "crowdsec-blacklists crowdsec-blacklists-2 crowdsec-blacklists-3 crowdsec-blacklists-mine" {
		t.Errorf("sets: %s", got)
	}
	if out := w.shell("iptables -S INPUT"); strings.Count(out, "CROWDSEC_CHAIN") != 1 {
		t.Errorf("jumps:\n%s", out)
	}
	if err := f.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	names = strings.Fields(w.shell("ipset list -n"))
	slices.Sort(names)
	if got := strings.Join(names, " ") + w.shell("iptables -S | grep -v ^-P || true"); got != "crowdsec-blacklists crowdsec-blacklists-mine" {
		t.Errorf("left: %s", got)
	}
}

func TestCounters(t *testing.T) {
	w := newWorld(t, "legacy")
	f := w.open(Config{IgnorePorts: []remediate.Ports{{First: 10, Last: 11}, {First: 9, Last: 9, Proto: "tcp"}}})
	if err := f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("203.0.113.128/25")}); err != nil {
		t.Fatal(err)
	}
	w.load(f, entry("203.0.113.0/24", "CAPI", time.Hour))
	packets := func() string {
		t.Helper()
		list, err := f.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, c := range list {
			if !c.IPv6 {
				s = append(s, fmt.Sprint(c.Origin, " ", c.Packets, " ", c.Bytes > 0))
			}
		}
		slices.Sort(s)
		return strings.Join(s, ", ")
	}
	w.blocks("203.0.113.1", true) // two datagrams: one from there, one that passes
	w.blocks("203.0.113.200", false)
	if got, want := packets(), " 4 true, CAPI 1 true"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// New rules count on where the old ones were.
	w.apply(f, add("203.0.114.1/32", `lists:"a b"`, time.Hour))
	w.blocks("203.0.114.1", true)
	w.load(f, entry("203.0.113.0/24", "CAPI", time.Hour))
	w.blocks("203.0.113.1", true)
	if got, want := packets(), ` 8 true, CAPI 2 true, lists:"a b" 1 true`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What banned addresses have open is ended in the connection tracking, and nothing else.
func TestEndsConnections(t *testing.T) {
	w := newWorld(t, "legacy")
	f := w.open(Config{})
	w.load(f)
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} { // has connections tracked
		w.Host.Run(program, "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
	}
	for _, a := range []string{"203.0.113.1", "203.0.113.2", "203.0.114.1", "2001:db8:1::1", "2001:db8:2::1"} {
		w.blocks(a, false) // a datagram each
	}
	ends := func(want int, texts ...string) {
		t.Helper()
		var list []netip.Prefix
		for _, s := range texts {
			list = append(list, netip.MustParsePrefix(s))
		}
		if n, err := f.End(t.Context(), list); n != want || err != nil {
			t.Errorf("%q: ended %d, %v; want %d", texts, n, err, want)
		}
	}
	ends(0, "203.0.115.0/24", "2001:db8:3::/48", "203.0.113.3/32")
	ends(3, "203.0.113.0/24", "203.0.112.0/23", "2001:db8:1::1/128")
	ends(0, "203.0.113.0/24", "2001:db8:1::1/128")
	ends(2, "203.0.114.1/32", "2001:db8:2::/48")
}

func TestIgnoredPorts(t *testing.T) {
	for _, variant := range []string{"legacy", "nft"} {
		w := newWorld(t, variant)
		f := w.open(Config{IgnorePorts: []remediate.Ports{{First: 22, Last: 22}, {First: 8, Last: 9, Proto: "udp"}}}) // the lab's port is 9
		w.load(f, entry("203.0.113.0/24", "CAPI", time.Hour), entry("2001:db8::4/128", "CAPI", time.Hour))
		w.blocks("203.0.113.1", false)
		w.blocks("2001:db8::4", false)
		g := w.open(Config{IgnorePorts: []remediate.Ports{{First: 9, Last: 9, Proto: "tcp"}}})
		w.load(g, entry("203.0.113.0/24", "CAPI", time.Hour))
		w.blocks("203.0.113.1", true)
	}
}

// A packet from a blocked address never gets through while a load replaces
// everything, or while a ban goes from one origin to another.
func TestNoGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "legacy")
	f := w.open(Config{})
	w.load(f, entry("203.0.113.4/32", "CAPI", time.Hour))
	done := make(chan struct{})
	var tried atomic.Int32
	changes := int32(10)
	if testing.Short() {
		changes = 4
	}
	go func() {
		defer close(done)
		for i := int32(0); i < changes || tried.Load() < changes; i++ {
			w.load(f, entry("203.0.113.4/32", fmt.Sprint("origin", i), time.Hour))
			w.apply(f, remediate.Change{Op: remediate.Replace, Was: fmt.Sprint("origin", i), Entry: entry("203.0.113.4/32", fmt.Sprint("another", i), time.Hour)})
		}
	}()
	for ; ; tried.Add(1) {
		w.blocks("203.0.113.4", true)
		select {
		case <-done:
			return
		default:
		}
	}
}

// An entry of a longer time than a set can say is added again before it is dropped.
func TestLongTimes(t *testing.T) {
	w := newWorld(t, "legacy")
	now := time.Now()
	f := w.open(Config{Now: func() time.Time { return now }})
	w.load(f, entry("203.0.113.4/32", "CAPI", 3650*24*time.Hour), entry("203.0.113.5/32", "CAPI", 40*24*time.Hour))
	left := func() string {
		return w.shell(`ipset save crowdsec-blacklists-0 | sed -n 's/^add.* \(203[^ ]*\) timeout \(.*\)..$/\1 \2xx/p' | sort`)
	}
	const full = "203.0.113.4 21474xx\n203.0.113.5 21474xx\n"
	if got := left(); got != full {
		t.Errorf("at first:\n%s", got)
	}
	now = now.Add(maxTimeout*time.Second - 2*time.Hour)
	w.checks(f, true)
	w.shell("ipset -exist add crowdsec-blacklists-0 203.0.113.4 timeout 700099; ipset -exist add crowdsec-blacklists-0 203.0.113.5 timeout 700099")
	w.checks(f, true)
	if got := left(); !strings.HasPrefix(got, "203.0.113.4 7000xx") {
		t.Errorf("too early:\n%s", got)
	}
	now = now.Add(2 * time.Hour)
	w.checks(f, true)
	if got := left(); !strings.HasPrefix(got, "203.0.113.4 21474xx\n203.0.113.5 13") {
		t.Errorf("not armed again:\n%s", got)
	}
	// What was lifted is not put back.
	w.apply(f, remediate.Change{Op: remediate.Remove, Entry: entry("203.0.113.4/32", "CAPI", time.Hour)})
	now = now.Add(maxTimeout * time.Second)
	w.checks(f, true)
	if got := left(); strings.Contains(got, "203.0.113.4") {
		t.Errorf("back again:\n%s", got)
	}
}

func TestEverything(t *testing.T) {
	w := newWorld(t, "legacy")
	f := w.open(Config{})
	w.load(f, entry("0.0.0.0/0", "CAPI", time.Hour), entry("::/0", "CAPI", time.Hour))
	probe := func(want string) {
		t.Helper()
		found, err := f.Probe(t.Context(), []remediate.Entry{entry("0.0.0.0/0", "CAPI", 0), entry("::/0", "CAPI", 0), entry("::/0", "x", 0)})
		if got := fmt.Sprint(found); got != want || err != nil {
			t.Errorf("found %s, %v", got, err)
		}
	}
	probe("[{true 0s set crowdsec-blacklists-0} {true 0s set crowdsec6-blacklists-0} {false 0s no set}]")
	for _, a := range []string{"0.0.0.0/0", "::/0"} {
		w.apply(f, remediate.Change{Op: remediate.Remove, Entry: entry(a, "CAPI", time.Hour)})
	}
	w.blocks("203.0.113.4", false)
	probe("[{false 0s set crowdsec-blacklists-0} {false 0s set crowdsec6-blacklists-0} {false 0s no set}]")
}

// 70,000 entries are more than ipset's own default of 65536, and more than a
// set of the operator's was made for.
func TestNeverFull(t *testing.T) {
	w := newWorld(t, "legacy")
	w.shell("ipset create crowdsec-blacklists hash:net maxelem 100 timeout 0; iptables -I INPUT -m set --match-set crowdsec-blacklists src -j DROP")
	f := w.open(Config{SetOnly: true, NoIPv6: true})
	entries := func(yield func(remediate.Entry) bool) {
		for i := range 70_000 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			if !yield(remediate.Entry{Prefix: p, Origin: "CAPI", Until: time.Now().Add(time.Hour)}) {
				return
			}
		}
	}
	if err := f.Load(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	w.blocks("203.0.0.1", true)
	w.blocks("203.1.17.111", true)
	w.blocks("203.1.17.112", false)
}

func TestRefuses(t *testing.T) {
	w := newWorld(t, "legacy")
	w.shell("ipset create crowdsec-blacklists hash:ip")
	f := w.open(Config{SetOnly: true, NoIPv6: true})
	err := f.Load(t.Context(), slices.Values([]remediate.Entry{}))
	if err == nil || !strings.Contains(err.Error(), `make it with "ipset create crowdsec-blacklists hash:net timeout 0"`) {
		t.Errorf("got %v", err)
	}

	bad := func(cfg Config) {
		t.Helper()
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	bad(Config{Set4: "a b"})
	bad(Config{Set4: strings.Repeat("a", 28)})
	bad(Config{Set4: "a", Set6: "a"})
	bad(Config{Action: "explode"})
	bad(Config{NoIPv4: true, NoIPv6: true})
	bad(Config{Chains4: []string{"-F"}})
	bad(Config{LogPrefix: "a\n-A INPUT"})
	if err := f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}); err == nil {
		t.Error("an address with a length was taken")
	}
}

// What must never be blocked changes while bans are in force: somebody logs in.
func TestIgnore(t *testing.T) {
	for _, cfg := range []Config{{}, {SetOnly: true}} {
		w := newWorld(t, "legacy")
		if cfg.SetOnly {
			w.shell("ipset create crowdsec-blacklists hash:net; iptables -I INPUT -m set --match-set crowdsec-blacklists src -j DROP")
		}
		f := w.filter(cfg)
		r := remediate.New(remediate.Config{Kernel: f})
		var err error
		w.Host.Do(func() { _, err = r.Open(t.Context()) })
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close(context.Background(), true)
		if _, err := r.Apply(t.Context(), decisions.Delta{Full: true, New: []decisions.Decision{
			{ID: 1, Type: "ban", Scope: "Range", Value: "203.0.113.0/24", Origin: "CAPI", Until: time.Now().Add(time.Hour)},
			{ID: 2, Type: "ban", Scope: "Ip", Value: "203.0.113.4", Origin: "crowdsec", Until: time.Now().Add(time.Hour)},
		}}); err != nil {
			t.Fatal(err)
		}
		ignore := func(list ...string) {
			t.Helper()
			var prefixes []netip.Prefix
			for _, p := range list {
				prefixes = append(prefixes, netip.MustParsePrefix(p))
			}
			if err := r.SetIgnore(t.Context(), prefixes); err != nil {
				t.Fatal(err)
			}
			r.Tick(t.Context())
		}
		w.blocks("203.0.113.4", true)
		ignore("203.0.113.4/32", "2001:db8::/32", "203.0.113.16/28")
		w.blocks("203.0.113.4", false)
		w.blocks("203.0.113.20", false)
		w.blocks("203.0.113.5", true)
		ignore("203.0.113.16/28")
		w.blocks("203.0.113.4", true)
		w.blocks("203.0.113.20", false)
		if s := r.Stats(); s.Errors != 0 || s.Repairs != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Names come from lists on the network; rules are text.
func TestChains(t *testing.T) {
	sets := []originSet{{"CAPI", "crowdsec-blacklists-0"}, {"lists:x\"\n-A INPUT -j ACCEPT $(id) `id` \\", "crowdsec-blacklists-1"}}
	f := func(name string, cfg Config) {
		t.Helper()
		got := cfg.chains([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, sets)
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v; got\n%s", name, err, got)
		}
	}
	f("drop", Config{IgnorePorts: []remediate.Ports{{First: 443, Last: 443}, {First: 1000, Last: 2000, Proto: "udp"}}})
	f("log", Config{DenyLog: true, Action: Reject, LogPrefix: "cs: "})
	f("logonly", Config{Action: Log, NoComments: true})
}

func TestVersion(t *testing.T) {
	f := func(text string, a, b, c int) {
		t.Helper()
		if x, y, z := version(text); x != a || y != b || z != c {
			t.Errorf("%q is %d.%d.%d", text, x, y, z)
		}
	}
	f("iptables v1.8.9 (nf_tables)\n", 1, 8, 9)
	f("iptables v1.4.21\n", 1, 4, 21)
	f("ip6tables v1.8", 1, 8, 0)
	f("nonsense", 0, 0, 0)
	f("", 0, 0, 0)
}

func TestLayout(t *testing.T) {
	if got := unsafe.Sizeof(tableInfo{}); got != 84 {
		t.Errorf("struct ipt_getinfo has %d bytes", got)
	}
}

func TestErrors(t *testing.T) {
	if !errors.Is(errHashFull, remediate.ErrFull) || errors.Is(errExist, remediate.ErrFull) || errHashFull.Error() != "the hash is full" {
		t.Error("the kernel's numbers are not known")
	}
	if refusal(4300).Error() != "ipset error 4300" {
		t.Error(refusal(4300))
	}
}

// FuzzReplies feeds answers that are cut short or made up.
func FuzzReplies(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{28, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 2, 0, 'a', 'b', 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &conn{}
		_, _ = c.replies(b, func(a netlink.Attrs) { a.Str(attrName); a.U8(attrFamily) })
		parseCounters(string(b))
	})
}
