package wfp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"cs/remediate"
	"cs/remediate/remediatetest"
)

// fakeBFE is the Base Filtering Engine in memory, with its errors: what one
// session does, the next one finds.
type fakeBFE struct {
	provider, sublayer bool
	filters            map[uint64]*filter
	session            int // number of the one that works
	room               int // for conditions; 0 means no limit
	fail               []error
	transactions       int
	largest            int // filters added in one transaction
	gap                func()
}

func newBFE() *fakeBFE { return &fakeBFE{filters: map[uint64]*filter{}} }

func (b *fakeBFE) open(Config) (engine, error) {
	return &fakeSession{b: b, number: b.session}, nil
}

// stop is a restart of the service: sessions end, persistent objects stay.
func (b *fakeBFE) stop() { b.session++ }

// blocked tells what becomes of a connection: in our sublayer the filter of the largest weight that
// matches decides.
func (b *fakeBFE) blocked(l layer, a netip.Addr) bool {
	blocks := false
	for _, f := range b.filters {
		if f.layer == l && slices.ContainsFunc(f.remotes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			if f.permit {
				return false
			}
			blocks = true
		}
	}
	return blocks
}

func (b *fakeBFE) in(a netip.Addr) bool {
	if a.Is6() {
		return b.blocked(inbound6, a)
	}
	return b.blocked(inbound4, a)
}

type fakeSession struct {
	b        *fakeBFE
	number   int
	closed   bool
	saved    *fakeBFE // what abort goes back to
	added    int
	calls    int
	maxConds int
}

func (s *fakeSession) limit(bool) int {
	if s.maxConds > 0 {
		return s.maxConds
	}
	return 1024
}
func (s *fakeSession) pace() time.Duration      { return 0 }
func (s *fakeSession) ignores() bool            { return true }
func (s *fakeSession) setIgnore([]netip.Prefix) {}

func (s *fakeSession) usable() error {
	switch {
	case s.closed:
		return errInvalidHandle
	case s.number != s.b.session:
		return errServerGone
	}
	if len(s.b.fail) > 0 {
		err := s.b.fail[0]
		s.b.fail = s.b.fail[1:]
		return err
	}
	return nil
}

func (s *fakeSession) begin() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.saved != nil {
		return errInTransaction
	}
	saved := *s.b
	saved.filters = maps.Clone(s.b.filters)
	s.saved, s.added = &saved, 0
	s.b.transactions++
	return nil
}

func (s *fakeSession) commit() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.saved == nil {
		return errNoTransaction
	}
	s.saved = nil
	s.b.largest = max(s.b.largest, s.added)
	if s.b.gap != nil {
		s.b.gap()
	}
	return nil
}

func (s *fakeSession) abort() error {
	if s.saved == nil {
		return errNoTransaction
	}
	s.b.provider, s.b.sublayer, s.b.filters = s.saved.provider, s.saved.sublayer, s.saved.filters
	s.saved = nil
	return nil
}

func (s *fakeSession) addProvider() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.b.provider {
		return errExists
	}
	s.b.provider = true
	return nil
}

func (s *fakeSession) deleteProvider() error {
	switch err := s.usable(); {
	case err != nil:
		return err
	case !s.b.provider:
		return errNoProvider
	case s.b.sublayer || len(s.b.filters) > 0:
		return errInUse
	}
	s.b.provider = false
	return nil
}

func (s *fakeSession) addSublayer() error {
	switch err := s.usable(); {
	case err != nil:
		return err
	case !s.b.provider:
		return errNoProvider
	case s.b.sublayer:
		return errExists
	}
	s.b.sublayer = true
	return nil
}

func (s *fakeSession) deleteSublayer() error {
	switch err := s.usable(); {
	case err != nil:
		return err
	case !s.b.sublayer:
		return errNoSublayer
	case len(s.b.filters) > 0:
		return errInUse
	}
	s.b.sublayer = false
	return nil
}

func (s *fakeSession) addFilter(f *filter) error {
	conditions := len(f.remotes)
	for _, other := range s.b.filters {
		conditions += len(other.remotes)
	}
	switch err := s.usable(); {
	case err != nil:
		return err
	case !s.b.provider:
		return errNoProvider
	case !s.b.sublayer:
		return errNoSublayer
	case s.b.filters[f.key] != nil:
		return errExists
	case len(f.remotes) == 0 || len(f.remotes) > s.limit(f.layer.v6()):
		return status(0x80320035) // FWP_E_INVALID_PARAMETER
	case s.b.room > 0 && conditions > s.b.room:
		return errNoMemory
	}
	for _, p := range f.remotes {
		if p != p.Masked() || p.Addr().Is6() != f.layer.v6() {
			return status(0x80320035)
		}
	}
	g := *f
	g.remotes = slices.Clone(f.remotes) // the engine has its own copy
	s.b.filters[f.key] = &g
	s.added++
	return nil
}

func (s *fakeSession) deleteFilter(key uint64) error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.b.filters[key] == nil {
		return errFilterNotFound
	}
	delete(s.b.filters, key)
	return nil
}

func (s *fakeSession) written(p netip.Prefix) []netip.Prefix { return []netip.Prefix{p} }

func (s *fakeSession) remotes(key uint64) ([]netip.Prefix, bool, error) {
	s.calls++
	if f := s.b.filters[key]; f != nil {
		return f.remotes, true, s.usable()
	}
	return nil, false, s.usable()
}

func (s *fakeSession) filters() ([]uint64, error) {
	return slices.Collect(maps.Keys(s.b.filters)), s.usable()
}

func (s *fakeSession) close() error {
	s.closed = true
	if s.saved != nil {
		return s.abort()
	}
	return nil
}

func newFilter(t *testing.T, b *fakeBFE, cfg Config) *Filter {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.open = b.open
	return f
}

func open(t *testing.T, b *fakeBFE, cfg Config) *Filter {
	t.Helper()
	f := newFilter(t, b, cfg)
	if _, err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(context.Background(), false) })
	return f
}

func entry(prefix string) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Until: time.Now().Add(time.Hour)}
}

func load(t *testing.T, f *Filter, list ...string) {
	t.Helper()
	var entries []remediate.Entry
	for _, p := range list {
		entries = append(entries, entry(p))
	}
	if err := f.Load(t.Context(), slices.Values(entries)); err != nil {
		t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	f := func(name string, cfg Config) {
		t.Run(name, func(t *testing.T) {
			remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
				b := newBFE()
				return remediatetest.Backend{
					New: func() remediate.Kernel { return newFilter(t, b, cfg) },
					Blocked: func(a netip.Addr) bool {
						if cfg.Outbound && b.in(a) != b.blocked(outbound4+layer(a.BitLen()/128), a) {
							t.Errorf("%v is blocked in one direction", a)
						}
						return b.in(a)
					},
					Flush:   func() { clear(b.filters) },
					Lasting: true,
				}
			})
		})
	}
	f("inbound", Config{})
	f("both ways", Config{Outbound: true, Lifetime: UntilReboot})
}

func TestRulesConform(t *testing.T) {
	remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
		w := &fakeNetsh{rules: map[string]string{"Core Networking - DNS (UDP-Out)": "any", "crowdsec-blocklist{1-2}": "198.51.100.1/32"}}
		return remediatetest.Backend{
			New: func() remediate.Kernel {
				now := time.Now().Add(-10000 * time.Hour)
				f, err := New(Config{Rules: true, Now: func() time.Time { now = now.Add(time.Minute); return now }})
				if err != nil {
					t.Fatal(err)
				}
				f.open = func(Config) (engine, error) { return &rules{netsh: w.run}, nil }
				return f
			},
			Blocked: w.blocked,
			Flush:   func() { w.run("advfirewall", "reset") },
			Lasting: true,
		}
	})
}

// fakeNetsh is netsh on a system whose language we don't know.
type fakeNetsh struct {
	rules   map[string]string // name -> remoteip of all rules of the name
	longest int
}

func (w *fakeNetsh) run(args ...string) (string, error) {
	line := strings.Join(args, " ")
	w.longest = max(w.longest, len(line))
	said := func(no string) (string, error) {
		return no, exec.Command(exitProgram(), exitArgs()...).Run()
	}
	arg := func(key string) string {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, key+"="); ok {
				return v
			}
		}
		return ""
	}
	rule := arg("name")
	switch {
	case line == "advfirewall reset":
		clear(w.rules)
	case strings.HasPrefix(line, "advfirewall firewall add rule"):
		for _, ip := range strings.Split(arg("remoteip"), ",") {
			p, err := netip.ParsePrefix(ip)
			if err != nil || p.Addr().IsMulticast() || p.Addr().IsLoopback() {
				return said("Eine angegebene Adresse ist ungültig.")
			}
		}
		w.rules[rule] = strings.TrimPrefix(w.rules[rule]+","+arg("remoteip"), ",")
	case strings.HasPrefix(line, "advfirewall firewall delete rule"):
		if _, ok := w.rules[rule]; !ok {
			return said("Es stimmen keine Regeln mit den angegebenen Kriterien überein.")
		}
		delete(w.rules, rule)
	case strings.HasPrefix(line, "advfirewall firewall show rule"):
		var b strings.Builder
		for name, ips := range w.rules {
			if rule == "all" || rule == name {
				fmt.Fprintf(&b, "\r\nRegelname:          %s\r\n-------\r\nRemote-IP:          %s\r\n", name, ips)
			}
		}
		if b.Len() == 0 {
			return said("Es stimmen keine Regeln mit den angegebenen Kriterien überein.")
		}
		// As some versions write a mask.
		return strings.ReplaceAll(b.String(), "/24", "/255.255.255.0"), nil
	default:
		return said("?")
	}
	return "OK.", nil
}

// exitProgram and exitArgs end with 1, which is how netsh says no.
func exitProgram() string {
	if runtime.GOOS == "windows" {
		return "cmd"
	}
	return "false"
}

func exitArgs() []string {
	if runtime.GOOS == "windows" {
		return []string{"/c", "exit 1"}
	}
	return nil
}

func (w *fakeNetsh) blocked(a netip.Addr) bool {
	for name, ips := range w.rules {
		if !strings.HasPrefix(name, "crowdsec-") {
			continue
		}
		for _, ip := range strings.Split(ips, ",") {
			if netip.MustParsePrefix(ip).Contains(a) {
				return true
			}
		}
	}
	return false
}

func TestRules(t *testing.T) {
	w := &fakeNetsh{rules: map[string]string{}}
	f, err := New(Config{Rules: true})
	if err == nil {
		err = f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("10.0.0.0/8")})
	}
	if err != nil {
		t.Fatal(err)
	}
	f.open = func(Config) (engine, error) { return &rules{netsh: w.run}, nil }
	if _, err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := []string{"203.0.113.0/24", "10.1.2.3/32", "224.0.0.1/32", "127.0.0.1/32", "ff02::1/128", "::1/128", "0.0.0.0/0"}
	for i := range 1000 {
		list = append(list, fmt.Sprintf("255.255.%d.%d/32", 100+i/200, 55+i%200), fmt.Sprintf("ffff:ffff:ffff:ffff:ffff:ffff:%x:ffff/128", 0xf000+i))
	}
	list = slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, "ffff:") })
	load(t, f, list...)
	for addr, want := range map[string]bool{"203.0.113.6": true, "203.0.113.7": false, "10.1.2.3": false, "9.9.9.9": true, "255.255.104.254": true} {
		if got := w.blocked(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is blocked: %v", addr, got)
		}
	}
	if w.longest > 8191-300 {
		t.Errorf("a command of %d characters", w.longest)
	}
	if ok, err := f.Check(t.Context()); !ok || err != nil {
		t.Errorf("check: %v, %v", ok, err)
	}
	if err := f.Close(t.Context(), true); err != nil || len(w.rules) > 0 {
		t.Errorf("left %d rules, %v", len(w.rules), err)
	}
}

func TestIgnores(t *testing.T) {
	b := newBFE()
	f := open(t, b, Config{})
	load(t, f, "203.0.113.0/24", "203.0.113.5/32", "2001:db8::/32")
	if err := f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8::/64")}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"203.0.113.5": false, "203.0.113.16": true, "2001:db8::1": false, "2001:db8:1::1": true} {
		if got := b.in(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is blocked: %v", addr, got)
		}
	}
	if err := f.Ignore(t.Context(), nil); err != nil || !b.in(netip.MustParseAddr("203.0.113.5")) || len(b.filters) != 2 {
		t.Errorf("ignored for ever: %v, %d filters", err, len(b.filters))
	}
}

// Random changes, with filters of few addresses, give what a plain set says; there
// is no moment between two transactions at which something that stays is let through.
func TestAgainstSlow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	b := newBFE()
	f := newFilter(t, b, Config{})
	f.open = func(Config) (engine, error) { return &fakeSession{b: b, maxConds: 5}, nil }
	if _, err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	load(t, f)
	want := map[string]bool{}
	pick := func() string { return fmt.Sprintf("203.0.%d.%d/32", rnd.IntN(2), rnd.IntN(100)) }
	for step := range 1000 {
		staying := maps.Clone(want)
		var changes []remediate.Change
		for range 1 + rnd.IntN(8) {
			p := pick()
			c := remediate.Change{Entry: entry(p), Op: remediate.Op(rnd.IntN(3))}
			if c.Op == remediate.Remove {
				delete(want, p)
				delete(staying, p)
			} else {
				want[p] = true
			}
			changes = append(changes, c)
		}
		b.gap = func() {
			for p := range staying {
				if !b.in(netip.MustParsePrefix(p).Addr()) {
					t.Fatalf("step %d: %s was let through", step, p)
				}
			}
		}
		if step%100 == 99 {
			load(t, f, slices.Collect(maps.Keys(want))...)
		} else if err := f.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		} else if step%7 == 0 {
			if ok, err := f.Check(t.Context()); !ok || err != nil {
				t.Fatalf("step %d: check: %v, %v", step, ok, err)
			}
		}
		if step%100 == 99 {
			continue
		}
		var got []string
		for _, fl := range b.filters {
			for _, p := range fl.remotes {
				got = append(got, p.String())
			}
		}
		slices.Sort(got)
		list := slices.Sorted(maps.Keys(want))
		if !slices.Equal(got, list) {
			t.Fatalf("step %d: got %v, want %v", step, got, list)
		}
		if n := len(b.filters); n > 2+len(want) {
			t.Fatalf("%d filters for %d addresses", n, len(want))
		}
	}
}

func TestManyAreFewTransactions(t *testing.T) {
	b := newBFE()
	f := open(t, b, Config{})
	entries := func(yield func(remediate.Entry) bool) {
		for i := range 200_000 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			if !yield(remediate.Entry{Prefix: p, Until: time.Now().Add(time.Hour)}) {
				return
			}
		}
	}
	if err := f.Load(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if len(b.filters) != 196 || b.transactions != 4 || b.largest > txFilters {
		t.Errorf("%d filters in %d transactions, up to %d in one", len(b.filters), b.transactions, b.largest)
	}
}

// A failure half-way leaves what was in force, and the next load works.
func TestFailures(t *testing.T) {
	for n := range 12 {
		for _, failure := range []status{errNoMemory, errLockTimeout, errServerGone} {
			b := newBFE()
			f := open(t, b, Config{})
			load(t, f, "203.0.113.1/32", "2001:db8::1/128")
			b.fail = append(make([]error, n), failure)
			apply := n%2 == 0
			var err error
			if apply {
				err = f.Apply(t.Context(), []remediate.Change{{Entry: entry("203.0.113.2/32")}, {Entry: entry("2001:db8::2/128")}})
			} else {
				err = f.Load(t.Context(), slices.Values([]remediate.Entry{entry("203.0.113.1/32"), entry("203.0.113.2/32")}))
			}
			if len(b.fail) > 0 { // fewer calls were made
				b.fail = nil
			} else if !errors.Is(err, failure) {
				t.Errorf("%d, %v: got %v", n, failure, err)
			}
			if !b.in(netip.MustParseAddr("203.0.113.1")) {
				t.Errorf("%d, %v: what was in force is gone", n, failure)
			}
			load(t, f, "203.0.113.3/32")
			if b.in(netip.MustParseAddr("203.0.113.1")) || !b.in(netip.MustParseAddr("203.0.113.3")) {
				t.Errorf("%d, %v: the next load did not work", n, failure)
			}
		}
	}
	b := newBFE()
	b.room = 10
	f := open(t, b, Config{})
	var many []remediate.Entry
	for i := range 11 {
		many = append(many, entry(fmt.Sprintf("203.0.113.%d/32", i)))
	}
	if err := f.Load(t.Context(), slices.Values(many)); !errors.Is(err, remediate.ErrFull) {
		t.Errorf("full: %v", err)
	}
}

// The service is restarted under us.
func TestEngineRestarts(t *testing.T) {
	b := newBFE()
	f := open(t, b, Config{})
	load(t, f, "203.0.113.1/32")
	b.stop()
	if _, err := f.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "(service BFE) does not run") {
		t.Errorf("check: %v", err)
	}
	if err := f.Load(t.Context(), slices.Values([]remediate.Entry{})); err == nil {
		t.Error("a load in a session that ended worked")
	}
	load(t, f, "203.0.113.2/32")
	if !b.in(netip.MustParseAddr("203.0.113.2")) || b.in(netip.MustParseAddr("203.0.113.1")) {
		t.Error("the load did nothing")
	}
}

// Nothing of ours is left.
func TestRemoves(t *testing.T) {
	b := newBFE()
	f := open(t, b, Config{Outbound: true})
	if err := f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); err != nil {
		t.Fatal(err)
	}
	load(t, f, "203.0.113.1/32", "2001:db8::/32")
	f.Close(t.Context(), false)
	// Another process does, which has loaded nothing.
	f = open(t, b, Config{})
	if err := f.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if b.provider || b.sublayer || len(b.filters) > 0 {
		t.Errorf("left %+v", b)
	}
	// Twice is fine.
	f = open(t, b, Config{})
	if err := f.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestRefuses(t *testing.T) {
	f := func(cfg Config) {
		t.Helper()
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	f(Config{Lifetime: "forever"})
	f(Config{Rules: true, Lifetime: WithProcess})
	f(Config{NoIPv4: true, NoIPv6: true})
}

func TestStatus(t *testing.T) {
	f := func(s status, target error, want bool) {
		t.Helper()
		if errors.Is(s, target) != want {
			t.Errorf("%v is %v: %v", s, target, !want)
		}
	}
	f(errNoMemory, remediate.ErrFull, true)
	f(errAccessDenied, fs.ErrPermission, true)
	f(errServerGone, errSession, true)
	f(errExists, errSession, false)
	f(errUnsupportedInRPC, errors.ErrUnsupported, true)
	f(errExists, errExists, true)
	if got := status(0x80320099).Error(); got != "error 0x80320099" {
		t.Error(got)
	}
	if code(0) != nil || code(5) != error(errAccessDenied) {
		t.Error("numbers are not taken as they are")
	}
}

// Sizes and offsets on 64-bit Windows, as fwpmtypes.h and fwptypes.h have
// them there.
func TestLayout(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("offsets are of 64-bit systems")
	}
	f := func(name string, got, want uintptr) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	f("GUID", unsafe.Sizeof(guid{}), 16)
	f("FWPM_DISPLAY_DATA0", unsafe.Sizeof(displayData0{}), 16)
	f("FWP_BYTE_BLOB", unsafe.Sizeof(byteBlob{}), 16)
	f("FWP_VALUE0", unsafe.Sizeof(value0{}), 16)
	f("FWP_VALUE0.value", unsafe.Offsetof(value0{}.value), 8)
	f("FWP_V4_ADDR_AND_MASK", unsafe.Sizeof(v4AddrMask{}), 8)
	f("FWP_V6_ADDR_AND_MASK", unsafe.Sizeof(v6AddrMask{}), 17)

	var s session0
	f("FWPM_SESSION0", unsafe.Sizeof(s), 72)
	f("FWPM_SESSION0.flags", unsafe.Offsetof(s.flags), 32)
	f("FWPM_SESSION0.txnWaitTimeoutInMSec", unsafe.Offsetof(s.txnWait), 36)
	f("FWPM_SESSION0.sid", unsafe.Offsetof(s.sid), 48)
	f("FWPM_SESSION0.username", unsafe.Offsetof(s.username), 56)
	f("FWPM_SESSION0.kernelMode", unsafe.Offsetof(s.kernelMode), 64)

	var p provider0
	f("FWPM_PROVIDER0", unsafe.Sizeof(p), 64)
	f("FWPM_PROVIDER0.flags", unsafe.Offsetof(p.flags), 32)
	f("FWPM_PROVIDER0.providerData", unsafe.Offsetof(p.data), 40)
	f("FWPM_PROVIDER0.serviceName", unsafe.Offsetof(p.service), 56)

	var l sublayer0
	f("FWPM_SUBLAYER0", unsafe.Sizeof(l), 72)
	f("FWPM_SUBLAYER0.flags", unsafe.Offsetof(l.flags), 32)
	f("FWPM_SUBLAYER0.providerKey", unsafe.Offsetof(l.provider), 40)
	f("FWPM_SUBLAYER0.providerData", unsafe.Offsetof(l.data), 48)
	f("FWPM_SUBLAYER0.weight", unsafe.Offsetof(l.weight), 64)

	var c condition0
	f("FWPM_FILTER_CONDITION0", unsafe.Sizeof(c), 40)
	f("FWPM_FILTER_CONDITION0.matchType", unsafe.Offsetof(c.match), 16)
	f("FWPM_FILTER_CONDITION0.conditionValue", unsafe.Offsetof(c.value), 24)

	f("FWPM_ACTION0", unsafe.Sizeof(action0{}), 20)

	var x filter0
	f("FWPM_FILTER0", unsafe.Sizeof(x), 200)
	f("FWPM_FILTER0.displayData", unsafe.Offsetof(x.display), 16)
	f("FWPM_FILTER0.flags", unsafe.Offsetof(x.flags), 32)
	f("FWPM_FILTER0.providerKey", unsafe.Offsetof(x.provider), 40)
	f("FWPM_FILTER0.providerData", unsafe.Offsetof(x.data), 48)
	f("FWPM_FILTER0.layerKey", unsafe.Offsetof(x.layer), 64)
	f("FWPM_FILTER0.subLayerKey", unsafe.Offsetof(x.sublayer), 80)
	f("FWPM_FILTER0.weight", unsafe.Offsetof(x.weight), 96)
	f("FWPM_FILTER0.numFilterConditions", unsafe.Offsetof(x.nConditions), 112)
	f("FWPM_FILTER0.filterCondition", unsafe.Offsetof(x.conditions), 120)
	f("FWPM_FILTER0.action", unsafe.Offsetof(x.action), 128)
	f("FWPM_FILTER0.rawContext", unsafe.Offsetof(x.context), 152)
	f("FWPM_FILTER0.reserved", unsafe.Offsetof(x.reserved), 168)
	f("FWPM_FILTER0.filterId", unsafe.Offsetof(x.id), 176)
	f("FWPM_FILTER0.effectiveWeight", unsafe.Offsetof(x.effectiveWeight), 184)

	var e enumTemplate0
	f("FWPM_FILTER_ENUM_TEMPLATE0", unsafe.Sizeof(e), 72)
	f("FWPM_FILTER_ENUM_TEMPLATE0.layerKey", unsafe.Offsetof(e.layer), 8)
	f("FWPM_FILTER_ENUM_TEMPLATE0.enumType", unsafe.Offsetof(e.enumType), 24)
	f("FWPM_FILTER_ENUM_TEMPLATE0.providerContextTemplate", unsafe.Offsetof(e.contextTemplate), 32)
	f("FWPM_FILTER_ENUM_TEMPLATE0.filterCondition", unsafe.Offsetof(e.conditions), 48)
	f("FWPM_FILTER_ENUM_TEMPLATE0.actionMask", unsafe.Offsetof(e.actionMask), 56)
	f("FWPM_FILTER_ENUM_TEMPLATE0.calloutKey", unsafe.Offsetof(e.callout), 64)
}

// What the system reads through the pointers of a filter is what was meant.
func TestCFilter(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	c := newCFilter(&filter{key: 7, layer: inbound4, remotes: prefixes("203.0.113.4/32", "203.0.112.0/22", "0.0.0.0/0")}, flagPersistent)
	if c.flags != flagPersistent|flagClearActionRight || c.action.typ != actionBlock || c.nConditions != 4 || *c.provider != providerKey || c.layer != layerKeys[inbound4] {
		t.Errorf("%+v", c.filter0)
	}
	list := unsafe.Slice(c.conditions, c.nConditions)
	if v := list[0].value; v.typ != typeUint32 || v.value != 0xcb007104 {
		t.Errorf("an address: %+v", v)
	}
	if got := remotesOf(&c.filter0); !slices.Equal(got, prefixes("203.0.113.4/32", "203.0.112.0/22", "0.0.0.0/1", "128.0.0.0/1")) {
		t.Errorf("read back: %v", got)
	}
	masks := []v4AddrMask{{}, {0xcb007000, 0xfffffc00}, {0, 0x80000000}, {0x80000000, 0x80000000}}
	for i := 1; i < 4; i++ {
		if v := list[i].value; v.typ != typeV4AddrMask || v.value != uintptr(unsafe.Pointer(&c.mask4[i])) || c.mask4[i] != masks[i] {
			t.Errorf("a range: %+v, %+v", v, c.mask4[i])
		}
	}
	c = newCFilter(&filter{key: 8, layer: outbound6, permit: true, remotes: prefixes("2001:db8::/32")}, 0)
	if c.flags != 0 || c.action.typ != actionPermit || c.weight.value <= 8 || c.mask6[0].length != 32 || c.mask6[0].addr[1] != 0x01 || c.layer != layerKeys[outbound6] {
		t.Errorf("%+v, %+v", c.filter0, c.mask6)
	}
	if got := remotesOf(&c.filter0); !slices.Equal(got, prefixes("2001:db8::/32")) {
		t.Errorf("read back: %v", got)
	}
	if key, ok := keyOf(c.key); !ok || key != 8 {
		t.Errorf("the key is %d, %v", key, ok)
	}
	if _, ok := keyOf(providerKey); ok {
		t.Error("the provider is a filter")
	}
	if got := layerKeys[inbound4].String(); got != "{e1cd9fe7-f4b5-4273-96c0-592e487b8650}" {
		t.Error(got)
	}
	if got := fmt.Sprint(utf16("cs")); got != "[99 115 0]" {
		t.Error(got)
	}
}
