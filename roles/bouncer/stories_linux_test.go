package bouncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/remediate"
	"cs/remediate/nft"
	"cs/remediate/remediatetest"
	"cs/roles/api"
	"cs/roles/config"
)

// The stories in this file are told with a real nftables and real packets.

// live is a bouncer in a lab.
type live struct {
	*testing.T
	lab  *remediatetest.Lab
	feed *feed
	b    *Bouncer
	dir  string
	end  func() error
}

func newLive(t *testing.T, lab *remediatetest.Lab, dir string, conf nft.Config, change func(*Config)) *live {
	t.Helper()
	k, err := nft.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	l := &live{T: t, lab: lab, feed: newFeed(), dir: dir}
	cfg := Config{
		Feed: l.feed, Kernel: k, SavedPath: filepath.Join(dir, savedName), ControlPath: filepath.Join(dir, config.BouncerSocketName),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	if l.b, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	started := make(chan struct{})
	go lab.Host.Do(func() { // Run opens the kernel's sockets on this thread
		close(started)
		done <- l.b.Run(ctx)
	})
	<-started
	l.end = func() error {
		stop()
		return <-done
	}
	t.Cleanup(func() { stop() })
	return l
}

func (l *live) tell(d decisions.Delta) {
	l.Helper()
	select {
	case l.feed.next <- d:
	case <-time.After(20 * time.Second):
		l.Fatal("the bouncer does not ask")
	}
}

// blocks waits until packets of an address are dropped, or pass.
func (l *live) blocks(addr string, want bool) {
	l.Helper()
	for deadline := time.Now().Add(20 * time.Second); l.lab.Blocked(netip.MustParseAddr(addr)) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("%s is blocked: %v", addr, !want)
		}
	}
}

func by(origin string, d decisions.Decision) decisions.Decision {
	d.Origin = origin
	return d
}

// TestBansAreTrue tells the short stories of a ban in both layouts.
func TestBansAreTrue(t *testing.T) {
	for _, layout := range []string{nft.LayoutMap, nft.LayoutSets} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, remediatetest.NewLab(t), t.TempDir(), nft.Config{Layout: layout}, nil)
			const short = 1500 * time.Millisecond
			began := time.Now()
			l.tell(decisions.Delta{Full: true, New: []decisions.Decision{
				by("CAPI", ban(1, "203.0.113.1", time.Hour)), by("crowdsec", ban(2, "203.0.113.1", 2*time.Hour)), // two origins
				ban(3, "::ffff:203.0.113.3", time.Hour),
				ban(4, "203.0.113.64/26", time.Hour), ban(5, "203.0.113.77", 2*time.Hour), // the inner ban outlives the range
				ban(6, "203.0.114.0/24", 2*time.Hour), ban(7, "203.0.114.7", time.Hour), // and the reverse
				ban(8, "203.0.115.8", 3650*24*time.Hour),
				ban(9, "203.0.115.9", short), ban(10, "203.0.115.10", time.Hour),
				by("lists", ban(11, "2001:db8:1::/48", time.Hour)),
			}})
			for _, a := range []string{"203.0.113.1", "203.0.113.3", "203.0.113.65", "203.0.113.77", "203.0.114.7", "203.0.115.8", "2001:db8:1:2::3"} {
				l.blocks(a, true)
			}
			for _, a := range []string{"203.0.113.2", "203.0.113.63", "203.0.113.128", "203.0.115.7", "2001:db8:2::"} {
				l.blocks(a, false)
			}
			// The first of both origins ends, then the other.
			l.tell(decisions.Delta{Deleted: []decisions.Decision{ban(2, "203.0.113.1", 0), ban(4, "203.0.113.64/26", 0), ban(7, "203.0.114.7", 0)}})
			l.blocks("203.0.113.65", false)
			l.blocks("203.0.113.1", true)
			l.blocks("203.0.113.77", true)
			l.blocks("203.0.114.7", true)
			l.tell(decisions.Delta{Deleted: []decisions.Decision{ban(1, "203.0.113.1", 0), ban(6, "203.0.114.0/24", 0)}})
			l.blocks("203.0.113.1", false)
			l.blocks("203.0.114.7", false)
			// One is extended before it ends, one is shortened.
			l.tell(decisions.Delta{New: []decisions.Decision{ban(9, "203.0.115.9", time.Hour), ban(10, "203.0.115.10", 500*time.Millisecond)}})
			l.blocks("203.0.115.10", false)
			time.Sleep(time.Until(began.Add(short + time.Second))) // its first time is over
			l.blocks("203.0.115.9", true)
			v, err := l.b.r.Verify(t.Context(), 100)
			if err != nil || !v.Structure || len(v.Differences) > 0 || v.Asked < 5 {
				t.Errorf("verified %+v, %v", v, err)
			}
			if err := l.end(); err != nil {
				t.Error(err)
			}
			l.blocks("203.0.115.9", true) // kept
		})
	}
}

// TestManyLengths: with more lengths of prefixes than the kernel gets, what is in each is blocked and
// what is beside it isn't, in both layouts.
func TestManyLengths(t *testing.T) {
	for _, layout := range []string{nft.LayoutMap, nft.LayoutSets} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			lab := remediatetest.NewLab(t)
			l := newLive(t, lab, t.TempDir(), nft.Config{Layout: layout}, func(c *Config) { c.MaxLengths = 12 })
			var list []decisions.Decision
			var in, beside []string
			add := func(p netip.Prefix) {
				list = append(list, ban(int64(len(list)+1), p.String(), time.Hour))
				b := p.Addr().AsSlice() // the last address
				for i := p.Bits(); i < 8*len(b); i++ {
					b[i/8] |= 0x80 >> (i % 8)
				}
				last, _ := netip.AddrFromSlice(b)
				in = append(in, p.Addr().String(), last.String())
				beside = append(beside, p.Addr().Prev().String(), last.Next().String())
			}
			for bits := 32; bits > 16; bits-- { // 16 lengths, each in a /16 of its own
				add(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(bits), 128, 0}), bits))
			}
			for bits := 128; bits > 56; bits -= 5 { // 15
				add(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(bits), 0, 1}), bits))
			}
			l.tell(decisions.Delta{Full: true, New: list})
			l.blocks(in[0], true)
			for _, a := range in {
				l.blocks(a, true)
			}
			for _, a := range beside {
				l.blocks(a, false)
			}
			if v, err := l.b.r.Verify(t.Context(), 100_000); err != nil || !v.Structure || len(v.Differences) > 0 || v.Asked <= len(list) {
				t.Errorf("verified %+v, %v", v, err)
			}
			if n := strings.Count(lab.Host.Run("nft", "-t", "list", "ruleset"), " timeout\n"); n < 12 || n > 30 {
				t.Errorf("%d sets", n)
			}
			l.tell(decisions.Delta{Deleted: list})
			for i := 0; i < len(in); i += 2 {
				l.blocks(in[i], false)
			}
			if err := l.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOneFamily: what is about a family that is left alone is not missing.
func TestOneFamily(t *testing.T) {
	for _, layout := range []string{nft.LayoutMap, nft.LayoutSets} {
		lab := remediatetest.NewLab(t)
		l := newLive(t, lab, t.TempDir(), nft.Config{Layout: layout, IPv6: nft.Family{Off: true}}, func(c *Config) { c.NoIPv6 = true })
		l.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour), ban(2, "2001:db8::1", time.Hour), ban(3, "::ffff:203.0.113.3", time.Hour)}})
		l.blocks("203.0.113.1", true)
		l.blocks("203.0.113.3", true)
		l.blocks("2001:db8::1", false)
		v, err := l.b.r.Verify(t.Context(), 10)
		if err != nil || v.Asked != 2 || len(v.Differences) > 0 {
			t.Errorf("%s: verified %+v, %v", layout, v, err)
		}
		if s := l.b.Status(t.Context()); s.Desired != 2 || s.Enforced != 2 || s.EnforcedRatio != 1 {
			t.Errorf("%s: %+v", layout, s)
		}
		if err := l.end(); err != nil {
			t.Error(err)
		}
	}
}

// TestOperatorsSeeTheTruth: status, verify and explain tell what is, also after
// somebody has taken an element out of the kernel.
func TestOperatorsSeeTheTruth(t *testing.T) {
	lab := remediatetest.NewLab(t)
	guard := Guard{netip.MustParsePrefix("203.0.113.200/32"), "gateway"}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := free.Addr().String()
	free.Close()
	l := newLive(t, lab, t.TempDir(), nft.Config{Plain: true}, func(c *Config) {
		c.Guards = func() []Guard { return []Guard{guard} }
		c.MaxEntries, c.Metrics = 64, page
		c.IgnorePorts = []remediate.Ports{{First: 443, Last: 443}, {First: 1000, Last: 2000, Proto: "udp"}}
	})
	l.tell(decisions.Delta{Full: true, New: []decisions.Decision{
		ban(1, "203.0.113.1", time.Hour), by("CAPI", ban(2, "203.0.113.0/24", time.Hour)), by("lists", ban(3, "2001:db8::1", time.Hour)),
	}})
	l.blocks("203.0.113.1", true)
	l.blocks("203.0.113.200", false) // inside the range, and guarded
	for range 4 {
		lab.Blocked(netip.MustParseAddr("203.0.113.9"))
	}
	env := &platform.Env{LookupEnv: func(string) (string, bool) { return "", false }}
	run := func(output string, c interface {
		Run(context.Context, *platform.Env, *config.Flags, string) error
	}) (string, error) {
		var out bytes.Buffer
		env.Stdout = &out
		err := c.Run(t.Context(), env, &config.Flags{DataDir: l.dir}, output)
		return out.String(), err
	}
	has := func(text string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("there is no %q in:\n%s", w, text)
			}
		}
	}
	out, err := run("", &StatusCommand{})
	if err != nil {
		t.Fatal(err)
	}
	has(out, "nftables, healthy", "enforced       3 of 3 prefixes (ratio 1), from 3 decisions", "never blocked  203.0.113.200 (gateway)", "CAPI", "lists:crowdsecurity/ssh-bf")
	out, err = run("json", &StatusCommand{})
	if err != nil {
		t.Fatal(err)
	}
	has(out, `"enforced_ratio": 1`, `"desired": 3`, `"dropped_packets": 4`)
	out, err = run("json", &VerifyCommand{Sample: 10})
	if err != nil || out != "{\n  \"asked\": 3,\n  \"asked_absent\": 2,\n  \"structure\": true,\n  \"vouched\": false,\n  \"differences\": []\n}\n" {
		t.Errorf("%v: %s", err, out)
	}
	out, err = run("json", &ExplainCommand{Address: "203.0.113.1"})
	if err != nil {
		t.Fatal(err)
	}
	has(out, `"blocked": true`, `"value": "203.0.113.0/24"`, `"where": "table inet crowdsec v4_24"`, `"present": true`)
	if out, err = run("", &VerifyCommand{Sample: 10}); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	has(out, "asked for 3 entries and 2 neighbours: 0 differences")
	out, _ = run("", &ExplainCommand{Address: "203.0.113.1"})
	has(out, "203.0.113.1 is blocked", "never blocked  what goes to ports 443, 1000-2000/udp", "decision       1: ban 203.0.113.1 by crowdsec, crowdsecurity/ssh-bf", "decision       2: ban 203.0.113.0/24 by CAPI",
		"element        203.0.113.1 (crowdsec) in table inet crowdsec v4_32", "element        203.0.113.0/24 (CAPI) in table inet crowdsec v4_24")
	out, _ = run("", &ExplainCommand{Address: "203.0.113.200"})
	has(out, "203.0.113.200 is not blocked", "never blocked  203.0.113.200 (gateway)")
	out, _ = run("", &ExplainCommand{Address: "203.0.114.1"})
	has(out, "203.0.114.1 is not blocked")
	if _, err := run("", &ExplainCommand{Address: "nonsense"}); err == nil {
		t.Error("nonsense was explained")
	}

	text := get(page, "/metrics")
	has(text, "fw_bouncer_enforced_ratio 1\n", `fw_bouncer_banned_ips{ip_type="ipv4",origin="CAPI"} 1`, `fw_bouncer_dropped_packets{ip_type="ipv4",origin="CAPI"} 4`,
		`fw_bouncer_processed_packets{ip_type="ipv6"} `, "lapi_requests_total 1\n",
		`fw_bouncer_entries{ip_type="ipv4",length="24"} 1`, `fw_bouncer_entries{ip_type="ipv6",length="128"} 1`, "fw_bouncer_apply_seconds_count 1\n")

	// The counters go on over a rebuild.
	lab.Host.Run("nft", "flush", "ruleset")
	for deadline := time.Now().Add(10 * time.Second); l.b.r.Stats().Repairs == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no repair")
		}
	}
	lab.Blocked(netip.MustParseAddr("203.0.113.9"))
	text = get(page, "/metrics")
	has(text, `fw_bouncer_dropped_packets{ip_type="ipv4",origin="CAPI"} 5`, "fw_bouncer_ruleset_repairs_total 1\n")

	// Somebody takes one element away where nobody looks.
	lab.Host.Run("nft", "delete", "element", "inet", "crowdsec", "v4_32", "{ 203.0.113.1 }")
	out, err = run("", &VerifyCommand{Sample: 10})
	if err == nil { // the watch was faster: it is in order again
		has(out, "0 differences")
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
	if _, err := run("", &StatusCommand{}); err == nil || !strings.Contains(err.Error(), "no firewall bouncer runs") {
		t.Errorf("a stopped bouncer answers: %v", err)
	}
}

// get fetches a page by hand.
func get(addr, path string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
	var b bytes.Buffer
	_, _ = b.ReadFrom(conn)
	return b.String()
}

// TestVerifyFindsDifferences: what the kernel lacks or has too much is named.
func TestVerifyFindsDifferences(t *testing.T) {
	k := remediatetest.NewFake(time.Now)
	b, err := New(Config{Feed: newFeed(), Kernel: k, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.r.Apply(t.Context(), decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour), ban(2, "203.0.114.0/24", time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	verify := func(want ...string) {
		t.Helper()
		a := b.answer(t.Context(), &question{Ask: "verify", Sample: 100})
		if a.Error != "" {
			t.Fatal(a.Error)
		}
		var got []string
		for _, d := range a.Verdict.Differences {
			got = append(got, d.Prefix.String()+" "+d.What)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	verify()
	k.Meddle(func(m map[netip.Prefix]time.Time) {
		delete(m, netip.MustParsePrefix("203.0.113.1/32"))
		m[netip.MustParsePrefix("203.0.115.0/24")] = time.Now().Add(time.Hour)
	})
	verify("203.0.113.1/32 it is not blocked", "203.0.115.0/24 it is blocked, and nothing says that it should be")
	k.Meddle(func(m map[netip.Prefix]time.Time) {
		m[netip.MustParsePrefix("203.0.113.1/32")] = time.Now().Add(3 * time.Hour)
		delete(m, netip.MustParsePrefix("203.0.115.0/24"))
	})
	verify("203.0.113.1/32 it ends in 3h0m0s instead of 1h0m0s")
}

// TestNoLockOut: a ban on everybody leaves those in who must get in, whatever
// the layout, and a list that is found later counts as well.
func TestNoLockOut(t *testing.T) {
	lab := remediatetest.NewLab(t)
	l := newLive(t, lab, t.TempDir(), nft.Config{}, func(c *Config) {
		c.Ignore = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		c.Guards = func() []Guard {
			return guards("203.7.7.7 50000 10.99.0.1 22", newPeer("https://203.8.8.8:8080/").known(), new(sessions).peers(time.Now()))
		}
	})
	l.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "0.0.0.0/0", time.Hour), ban(2, "::/1", time.Hour)}})
	l2 := func(addr string, want bool) {
		t.Helper()
		// The address that nobody blocks, with which the lab compares, is blocked now.
		if got := l.b.answer(t.Context(), &question{Ask: "explain", Address: addr}); got.Explanation == nil || got.Explanation.Blocked != want {
			t.Errorf("%s: %+v", addr, got.Explanation)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); l.b.r.Stats().Applied < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not applied")
		}
	}
	l2("203.0.114.1", true)
	l2("203.0.113.1", false)
	l2("203.7.7.7", false) // the session that started us
	l2("203.8.8.8", false) // the LAPI
	l2("127.0.0.1", false)
	out := lab.Host.Run("nft", "list", "set", "inet", "crowdsec", "ignore4")
	for _, want := range []string{"127.0.0.0/8", "203.0.113.0/24", "203.7.7.7", "203.8.8.8"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not let in:\n%s", want, out)
		}
	}
	if err := l.b.r.SetIgnore(t.Context(), []netip.Prefix{netip.MustParsePrefix("203.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}); err != nil {
		t.Fatal(err)
	}
	l.blocks("203.0.114.1", false)
	if err := l.end(); err != nil {
		t.Error(err)
	}
}

// TestTrialEndsInTheKernel: the entries of a trial end there by themselves.
func TestTrialEndsInTheKernel(t *testing.T) {
	lab := remediatetest.NewLab(t)
	l := newLive(t, lab, t.TempDir(), nft.Config{}, func(c *Config) { c.Deadline = time.Now().Add(3 * time.Second) })
	l.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}})
	l.blocks("203.0.113.1", true)
	if out := lab.Host.Run("nft", "list", "map", "inet", "crowdsec", "v4_32"); strings.Contains(out, "h") && strings.Contains(out, "expires 5") {
		t.Errorf("it ends too late:\n%s", out)
	}
	// The process is gone: nobody takes anything back.
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	l.blocks("203.0.113.1", false)
}

// TestGivesUpWhenAsked: with retry_initial_connect false the first error ends it.
func TestGivesUpWhenAsked(t *testing.T) {
	k := remediatetest.NewFake(time.Now)
	f := newFeed()
	b, err := New(Config{Feed: f, Kernel: k, GiveUp: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context()) }()
	f.next <- errors.New("refused")
	if err := <-done; err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("ended with %v", err)
	}
}

// TestConversationsAreBounded: who sends garbage to the socket gets nothing, and
// others are answered.
func TestConversationsAreBounded(t *testing.T) {
	dir := t.TempDir()
	b, err := New(Config{Feed: newFeed(), Kernel: remediatetest.NewFake(time.Now), ControlPath: filepath.Join(dir, config.BouncerSocketName), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	ask := func() (a answer, err error) {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if a, err = askRunning(t.Context(), dir, question{Ask: "status"}); err == nil {
				return a, nil
			}
		}
		return a, err
	}
	if _, err := ask(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(dir, config.BouncerSocketName)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", fi.Mode(), err)
	}
	for _, garbage := range []string{"\n", "{", strings.Repeat("x", 1<<20), `{"ask":"nothing"}` + "\n", "\x00\xff\n"} {
		c, err := net.Dial("unix", filepath.Join(dir, config.BouncerSocketName))
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(garbage))
		c.Close()
	}
	if a, err := ask(); err != nil || a.Status == nil || a.Status.Backend != "fake" {
		t.Errorf("answered %+v, %v", a, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// inside is a Kernel that opens its sockets in a namespace.
type inside struct {
	remediate.Kernel
	ns *remediatetest.Namespace
}

func (k inside) Open(ctx context.Context) (live bool, err error) {
	k.ns.Do(func() { live, err = k.Kernel.Open(ctx) })
	return live, err
}

// TestConfiguredAnew: at SIGHUP a bouncer with the new configuration takes over;
// a wrong one changes nothing, and one for other tables removes the old ones.
func TestConfiguredAnew(t *testing.T) {
	lab := remediatetest.NewLab(t)
	f := newFeed()
	var log output
	var fail error
	conf, place := nft.Config{}, "one"
	load := func() (Config, error) {
		k, err := nft.New(conf)
		return Config{Feed: f, Kernel: inside{k, lab.Host}, Places: []string{place}, Log: slog.New(slog.NewTextHandler(&log, nil))}, errors.Join(err, fail)
	}
	hangup := make(chan os.Signal)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, slog.New(slog.NewTextHandler(&log, nil)), load, hangup) }()
	l := &live{T: t, lab: lab, feed: f}
	bans := decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}}
	l.tell(bans)
	l.blocks("203.0.113.1", true)

	logged := func(text string, n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); strings.Count(log.String(), text) < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("there is no %q in:\n%s", text, log.String())
			}
		}
	}
	fail = errors.New("a typo")
	hangup <- os.Interrupt
	logged("a typo", 1)
	fail = nil
	l.blocks("203.0.113.1", true)

	anew := func(n int) {
		t.Helper()
		hangup <- os.Interrupt
		logged("configured anew", n)
		l.tell(bans)
	}
	conf.Action = nft.Reject
	anew(1)
	l.blocks("203.0.113.1", true)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // the old rules block until the new ones do
		out := lab.Host.Run("nft", "list", "ruleset")
		if strings.Contains(out, "reject") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the old rules are in force:\n%s", out)
		}
	}
	l.blocks("203.0.113.1", true)

	// SIGUSR1 asks for everything again with the next question, and changes nothing else.
	hangup <- syscall.SIGUSR1
	logged("asking the LAPI for everything again", 1)
	for deadline := time.Now().Add(20 * time.Second); f.resyncs.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not ask for everything")
		}
		l.tell(decisions.Delta{})
	}
	l.blocks("203.0.113.1", true)
	if n := strings.Count(log.String(), "configured anew"); n != 1 {
		t.Errorf("it was configured anew %d times", n)
	}

	conf.Name, place = "other", "two"
	renamed, watched := make(chan struct{}), make(chan int)
	go func() {
		passed := 0
		for {
			select {
			case <-renamed:
				watched <- passed
				return
			default:
				if !lab.Blocked(netip.MustParseAddr("203.0.113.1")) {
					passed++
				}
			}
		}
	}()
	anew(2)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out := lab.Host.Run("nft", "list", "tables")
		if out == "table inet other\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %s", out)
		}
	}
	close(renamed)
	if passed := <-watched; passed > 0 {
		t.Errorf("%d packets passed while the table got another name", passed)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWherePacketsAreLookedAt: the hooks, or the chains that upstream's file names for
// iptables, say whether what goes to the host, through it, and to what a container publishes
// is dropped.
func TestWherePacketsAreLookedAt(t *testing.T) {
	f := func(name, mode string, host, forwarded bool, warning string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), UpstreamName+".yaml")
			text := "api_url: http://127.0.0.1:1/\napi_key: k\nlockout_guard: false\n" + mode
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log output
			env := &platform.Env{Log: slog.New(slog.NewTextHandler(&log, nil)), LookupEnv: func(string) (string, bool) { return "", false }}
			b, err := readUpstream(env, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			kernels, err := newKernels(env, &b)
			if err != nil {
				t.Fatal(err)
			}
			if got := log.String(); (warning == "") == strings.Contains(got, "level=WARN") || !strings.Contains(got, warning) {
				t.Errorf("logged %s", got)
			}
			lab := remediatetest.NewLab(t)
			inner := lab.NewContainer()
			k := inside{kernels[0], lab.Host}
			if _, err := k.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			banned := netip.MustParseAddr("203.0.113.1")
			for _, load := range []bool{false, true} {
				if load {
					err := k.Load(t.Context(), slices.Values([]remediate.Entry{{Prefix: netip.PrefixFrom(banned, 32), Origin: "crowdsec", Until: time.Now().Add(time.Hour)}}))
					if err != nil {
						t.Fatal(err)
					}
				}
				if got := lab.Blocked(banned); got != (host && load) {
					t.Errorf("loaded %v: to the host it is blocked: %v", load, got)
				}
				for _, published := range []bool{false, true} {
					if got := inner.Blocked(banned, published); got != (forwarded && load) {
						t.Errorf("loaded %v: to a container (published %v) it is blocked: %v", load, published, got)
					}
				}
			}
			if err := k.Close(t.Context(), true); err != nil {
				t.Error(err)
			}
		})
	}
	f("default", "mode: nftables\n", true, true, "")
	f("hooks", "mode: nftables\nnftables_hooks: [input]\niptables_chains: [FORWARD]\n", true, false, "")
	f("no chains", "mode: iptables\n", true, true, "")
	f("INPUT", "mode: iptables\niptables_chains: [INPUT]\nnftables_hooks: [forward]\n", true, false, "")
	f("FORWARD", "mode: iptables\niptables_v4_chains: [FORWARD]\n", false, true, "")
	f("DOCKER-USER", "mode: iptables\niptables_chains: [DOCKER-USER]\nnftables: {ipv4: {enabled: false, set-only: true}}\n", false, true, "")
	f("a chain of one's own", "mode: iptables\niptables_chains: [INPUT, ufw-user-input]\n", true, false, "chain=ufw-user-input")
	f("only such", "mode: iptables\niptables_chains: [ufw-user-input]\n", true, true, "chain=ufw-user-input")
	f("a hook of one's own", "mode: iptables\niptables_chains: [INPUT]\nhooks: [prerouting]\n", true, true, "")
}

// TestTroubleInTheKernel tells the stories of a LAPI that is away, of a damaged
// saved set and of a list that is cut short, with real packets.
func TestTroubleInTheKernel(t *testing.T) {
	lab, dir := remediatetest.NewLab(t), t.TempDir()
	away := errors.New("connection refused")
	var log output
	// begin starts a bouncer on a host that has just booted: nothing of ours is in the kernel.
	begin := func() *live {
		ready := make(chan struct{})
		l := newLive(t, lab, dir, nft.Config{}, func(c *Config) {
			c.OnStop, c.Log = Clean, slog.New(slog.NewTextHandler(&log, nil))
			c.Ready = func() { close(ready) }
		})
		l.feed.next <- away
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not become ready without the LAPI")
		}
		return l
	}
	stop := func(l *live) {
		t.Helper()
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
		l.blocks("203.0.113.1", false)
	}

	l := begin() // neither a LAPI nor a saved set
	l.blocks("203.0.113.1", false)
	l.tell(decisions.Delta{Full: true, New: []decisions.Decision{ban(1, "203.0.113.1", time.Hour)}})
	l.blocks("203.0.113.1", true)
	stop(l)

	l = begin() // the saved set
	l.blocks("203.0.113.1", true)
	l.blocks("203.0.113.2", false)
	stop(l)

	saved := filepath.Join(dir, savedName)
	text, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 0x40
	if err := os.WriteFile(saved, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l = begin() // a damaged one
	l.blocks("203.0.113.1", false)
	if !strings.Contains(log.String(), "starting without the saved set") {
		t.Errorf("of the damaged saved set nothing is said:\n%s", log.String())
	}
	var many []decisions.Decision
	for i := range 2500 {
		many = append(many, ban(int64(i+1), netip.AddrFrom4([4]byte{203, 0, byte(112 + i>>8), byte(i)}).String(), time.Hour))
	}
	l.tell(decisions.Delta{Full: true, New: many})
	l.blocks("203.0.114.7", true)
	l.tell(decisions.Delta{Full: true, New: many[:300]}) // cut short: not believed
	l.tell(decisions.Delta{New: []decisions.Decision{ban(9000, "203.0.200.1", time.Hour)}})
	l.blocks("203.0.200.1", true)
	l.blocks("203.0.114.7", true)
	l.tell(decisions.Delta{Full: true, New: many[:300]}) // the second one agrees
	l.blocks("203.0.114.7", false)
	l.blocks("203.0.112.7", true)
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
}

// TestHangingLAPIInTheKernel: a LAPI that accepts and never answers opens nothing.
func TestHangingLAPIInTheKernel(t *testing.T) {
	var hanging atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case hanging.Load():
			<-r.Context().Done()
		default:
			io.WriteString(w, `{"new":[{"id":1,"duration":"4h","origin":"CAPI","scenario":"s","scope":"Ip","type":"ban","value":"203.0.113.1"}],"deleted":null}`)
		}
	}))
	defer server.Close()
	lab, dir := remediatetest.NewLab(t), t.TempDir()
	begin := func() *live {
		return newLive(t, lab, dir, nft.Config{}, func(c *Config) {
			c.OnStop = Clean
			c.Feed = &remote{Client: api.ClientConfig{URL: server.URL, APIKey: "k"}, Stream: api.StreamConfig{Interval: time.Millisecond}}
		})
	}
	l := begin()
	l.blocks("203.0.113.1", true)
	hanging.Store(true)
	time.Sleep(50 * time.Millisecond) // the next question hangs
	l.blocks("203.0.113.1", true)
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	l.blocks("203.0.113.1", false)
	l = begin() // after a boot
	l.blocks("203.0.113.1", true)
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
}

// TestUsageOverARebuild: the LAPI is told of each dropped packet once, though the
// kernel's counters begin anew.
func TestUsageOverARebuild(t *testing.T) {
	lab := remediatetest.NewLab(t)
	var dropped float64
	l := newLive(t, lab, t.TempDir(), nft.Config{Plain: true}, func(c *Config) {
		c.Usage.Report = func(_ context.Context, c api.ComponentMetrics) error {
			dropped = 0
			for _, item := range c.Metrics[0].Items {
				if item.Name == "dropped" && item.Unit == "packet" && item.Labels["origin"] == "CAPI" {
					dropped += item.Value
				}
			}
			return nil
		}
	})
	l.tell(decisions.Delta{Full: true, New: []decisions.Decision{by("CAPI", ban(1, "203.0.113.1", time.Hour))}})
	l.blocks("203.0.113.1", true)
	report := func(want float64) {
		t.Helper()
		if err := l.b.reportUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if dropped != want {
			t.Errorf("%v dropped packets were reported, want %v", dropped, want)
		}
	}
	send := func(n int) {
		for range n {
			lab.Blocked(netip.MustParseAddr("203.0.113.1"))
		}
	}
	if err := l.b.reportUsage(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(7)
	report(7)
	lab.Host.Run("nft", "flush", "ruleset")
	for deadline := time.Now().Add(20 * time.Second); l.b.Stats().Repairs == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not repaired")
		}
	}
	send(3)
	report(3)
	report(0)
	send(5)
	report(5)
	if err := l.end(); err != nil {
		t.Error(err)
	}
}
