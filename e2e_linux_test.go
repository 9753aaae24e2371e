package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cs/bench/lab"
)

// The stories in this file run the built program in a network namespace of
// their own, with real log files, a real nftables and real packets.

// host is a lab with the log files and the state of one host.
type host struct {
	*lab.Lab
	t     *testing.T
	ctx   context.Context
	bin   string
	dir   string
	probe *lab.Probe
}

func newHost(t *testing.T) *host {
	t.Helper()
	if testing.Short() {
		t.Skip("the built program has no race detector; the long run has had this")
	}
	if err := lab.Usable(); err != nil {
		if os.Getenv("CS_REQUIRE_SHARED") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	probe, err := l.Probe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(probe.Stop)
	h := &host{l, t, ctx, bin, t.TempDir(), probe}
	for _, f := range []string{"auth.log", "access.log"} {
		if err := os.WriteFile(h.path(f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h.passes(lab.Attacker)
	h.passes(lab.Innocent)
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

// start runs a role and waits until it is ready.
func (h *host) start(args ...string) *lab.Proc {
	h.t.Helper()
	p, err := h.Start(nil, h.bin, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.waits(p, lab.Ready(args[0]))
	return p
}

func (h *host) waits(p *lab.Proc, text string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, 45*time.Second)
	defer cancel()
	if _, err := p.Wait(ctx, text); err != nil {
		h.t.Fatal(err)
	}
}

// cs runs an operator's command in the namespace.
func (h *host) cs(args ...string) string {
	h.t.Helper()
	return h.run(h.bin, append(args, "--data-dir", h.path("lapi"))...)
}

// run runs a program in the namespace and returns all it printed.
func (h *host) run(program string, args ...string) string {
	h.t.Helper()
	out, err := h.Sh(h.ctx, program+" "+strings.Join(args, " "))
	if err != nil {
		h.t.Fatalf("%s %v: %v\n%s", filepath.Base(program), args, err, out)
	}
	return out
}

// bruteForce writes failed ssh logins, enough for one alert, and returns when
// the last was written.
func (h *host) bruteForce(from netip.Addr) time.Time {
	h.t.Helper()
	f, err := os.OpenFile(h.path("auth.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	for i := range 6 {
		if _, err := fmt.Fprintf(f, "%s host sshd[%d]: Failed password for root from %s port %d ssh2\n",
			time.Now().Format("Jan _2 15:04:05"), 100+i, from, 40000+i); err != nil {
			h.t.Fatal(err)
		}
	}
	return time.Now()
}

func (h *host) drops(a netip.Addr) time.Time { h.t.Helper(); return h.await(a, false) }
func (h *host) passes(a netip.Addr)          { h.t.Helper(); h.await(a, true) }

func (h *host) await(a netip.Addr, passing bool) time.Time {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, 45*time.Second)
	defer cancel()
	at, err := h.probe.Await(ctx, a, passing)
	if err != nil {
		h.t.Fatal(err)
	}
	return at
}

// alerts returns how many alerts the LAPI holds for an address.
func (h *host) alerts(a netip.Addr) (n int) {
	h.t.Helper()
	var list []struct {
		Source struct{ Value string }
	}
	if err := json.Unmarshal([]byte(h.cs("alerts", "list", "-a", "-l", "0", "-o", "json")), &list); err != nil {
		h.t.Fatal(err)
	}
	for _, x := range list {
		if x.Source.Value == a.String() {
			n++
		}
	}
	return n
}

// content writes a directory of content with the starter set, a scenario with
// a misspelt key, and makes a log that is none.
func (h *host) content() {
	h.t.Helper()
	for _, err := range []error{
		os.CopyFS(h.path("content"), os.DirFS("pipeline/hub/base")),
		os.WriteFile(h.path("content/scenarios/wrong.yaml"), []byte("type: leaky\nname: test/wrong\ndescription: wrong\ncapcity: 5\nfilter: \"true\"\nleakspeed: 10s\n"), 0o644),
		os.Mkdir(h.path("directory.log"), 0o755),
	} {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

const clusterToken = "token-of-the-end-to-end-test-0123456789"

// TestOneProcess: cs run bans, spares the neighbour, repairs a foreign flush,
// survives SIGKILL, lifts a ban, and stops at once.
func TestOneProcess(t *testing.T) {
	h := newHost(t)
	args := []string{"run", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080",
		"--log", h.path("auth.log"), "--type", "syslog", "--log", h.path("access.log"), "--type", "nginx"}
	p := h.start(args...)

	time.Sleep(time.Second)
	kib, err := lab.Memory(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("idle memory: %d KiB", kib)
	if kib > 20000 { // 9 to 12 MB are usual
		t.Error("that is over 20 MB")
	}

	wrote := h.bruteForce(lab.Attacker)
	t.Logf("detection to drop: %v", h.drops(lab.Attacker).Sub(wrote))
	h.passes(lab.Innocent)

	if out, err := h.Sh(h.ctx, "nft flush ruleset"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	time.Sleep(time.Second)
	if h.probe.Passing(lab.Attacker) {
		t.Error("a foreign flush was not repaired within a second")
	}
	if out, err := h.Sh(h.ctx, "nft delete table inet crowdsec"); err == nil {
		time.Sleep(time.Second)
		if h.probe.Passing(lab.Attacker) {
			t.Errorf("a foreign delete of the table was not repaired within a second: %s", out)
		}
	}

	p.Kill()
	if h.probe.Passing(lab.Attacker) {
		t.Error("SIGKILL opened the door")
	}
	p = h.start(args...)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	rules, err := h.Sh(h.ctx, "nft list ruleset")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(rules, lab.Attacker.String()); n != 1 {
		t.Errorf("after the restart the address is %d times in the rules:\n%s", n, rules)
	}

	h.cs("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)
	h.cs("decisions", "add", "--ip", lab.Attacker.String(), "--duration", "1m")
	h.drops(lab.Attacker)

	took, err := p.Stop(h.ctx)
	if err != nil || took > 5*time.Second { // a second, where nothing else runs
		t.Errorf("stop took %v: %v", took, err)
	}
}

// TestThreeProcesses: the roles apart, joined by a token. While the LAPI is
// away the agent spools and the bouncer enforces, even over its own restart;
// then every alert arrives, each once.
func TestThreeProcesses(t *testing.T) {
	h := newHost(t)
	lapi := func() *lab.Proc {
		return h.start("lapi", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080", "--token", clusterToken)
	}
	url := []string{"--lapi-url", "http://127.0.0.1:8080", "--token", clusterToken}
	bouncer := func() *lab.Proc {
		return h.start(append([]string{"bouncer-firewall", "--data-dir", h.path("bouncer")}, url...)...)
	}
	agent := func() *lab.Proc {
		return h.start(append([]string{"agent", "--data-dir", h.path("agent"), "--log", h.path("auth.log"), "--type", "syslog"}, url...)...)
	}
	server, fw, reader := lapi(), bouncer(), agent()
	for _, f := range []string{"agent/local_api_credentials.yaml", "bouncer/bouncer.key"} {
		fi, err := os.Stat(h.path(f))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, fi.Mode())
		}
	}
	wrote := h.bruteForce(lab.Attacker)
	t.Logf("detection to drop over the wire: %v", h.drops(lab.Attacker).Sub(wrote))
	h.passes(lab.Innocent)

	// The LAPI dies. The agent goes on detecting, and dies as well.
	server.Kill()
	h.bruteForce(lab.Innocent)
	h.waits(reader, "Ip "+lab.Innocent.String()) // the alert is reported, hence spooled
	reader.Kill()

	// The bouncer dies, somebody empties the ruleset, the bouncer comes back
	// while the LAPI still is away.
	fw.Kill()
	if out, err := h.Sh(h.ctx, "nft flush ruleset"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.passes(lab.Attacker)
	fw = bouncer()
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)

	server, reader = lapi(), agent()
	h.drops(lab.Innocent)
	for _, a := range []netip.Addr{lab.Attacker, lab.Innocent} {
		if n := h.alerts(a); n != 1 {
			t.Errorf("%d alerts for %s, want 1", n, a)
		}
	}
	for name, p := range map[string]*lab.Proc{"agent": reader, "bouncer": fw, "lapi": server} {
		if took, err := p.Stop(h.ctx); err != nil || took > 5*time.Second { // a second, where nothing else runs
			t.Errorf("stop of the %s took %v: %v", name, took, err)
		}
	}
}

// TestKilledLAPILosesNothing adds decisions while the LAPI is killed again and
// again: what was acknowledged is there in the end.
func TestKilledLAPILosesNothing(t *testing.T) {
	h := newHost(t)
	var acknowledged []string
	for round := range 4 {
		p := h.start("lapi", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080")
		done := make(chan struct{})
		var killed atomic.Bool
		go func() {
			defer close(done)
			for i, more := 0, 5; more > 0; i++ { // some by the store alone
				if killed.Load() {
					more--
				}
				ip := fmt.Sprintf("203.0.113.%d", round*50+i%50)
				if _, err := h.Sh(h.ctx, h.bin+" decisions add --data-dir "+h.path("lapi")+" --ip "+ip); err != nil {
					return
				}
				acknowledged = append(acknowledged, ip)
			}
		}()
		time.Sleep(time.Duration(300+150*round) * time.Millisecond)
		p.Kill()
		killed.Store(true)
		<-done
	}
	h.start("lapi", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080")
	list := h.cs("decisions", "list", "-l", "0", "-o", "raw")
	for _, ip := range acknowledged {
		if !strings.Contains(list, "Ip:"+ip+",") {
			t.Errorf("%s was acknowledged and is lost", ip)
		}
	}
	t.Logf("%d decisions acknowledged", len(acknowledged))
	if len(acknowledged) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// TestTroubleLeavesTheRest: the port is taken, one log can't be read, and one
// item of the content is wrong. Each is told once, with names, and everything
// else goes on.
func TestTroubleLeavesTheRest(t *testing.T) {
	h := newHost(t)
	h.start("lapi", "--data-dir", h.path("other"), "--listen", "127.0.0.1:8080")
	h.content()
	p := h.start("run", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080", "--content", h.path("content"),
		"--log", h.path("auth.log"), "--type", "syslog", "--log", h.path("directory.log"), "--type", "nginx")
	h.waits(p, "cannot listen on 127.0.0.1:8080: bind: address already in use (by cs, pid ")
	h.waits(p, "wrong.yaml:4: capcity: unknown key")
	h.waits(p, "cannot read log "+h.path("directory.log"))
	if strings.Contains(p.Output(), "cannot load data file") {
		t.Errorf("the content's own data files were not found:\n%s", p.Output())
	}
	h.bruteForce(lab.Attacker)
	h.drops(lab.Attacker)

	alone, err := h.Start(nil, h.bin, "lapi", "--data-dir", h.path("third"), "--listen", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	h.waits(alone, "127.0.0.1:8080")
}
