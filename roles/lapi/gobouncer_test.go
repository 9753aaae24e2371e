package lapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/roles/api"
	"cs/roles/lapi/auth/authtest"
)

// goBouncer builds the bouncer of testdata/gobouncer, which is made with
// upstream's library for bouncers, and returns what starts it.
func goBouncer(t *testing.T) func(args ...string) *told {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a minute to build upstream's library")
	}
	dir, bin := filepath.Join("testdata", "gobouncer"), filepath.Join(t.TempDir(), "gobouncer")
	fetch := exec.CommandContext(t.Context(), "go", "mod", "download")
	fetch.Dir = dir
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Skipf("upstream's library can't be had: %v: %s", err, out)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return func(args ...string) *told {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, bin, args...)
		p := &told{t: t}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = &p.log
		p.in, p.lines = in, bufio.NewScanner(out)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cancel(); cmd.Wait() })
		return p
	}
}

// told is a running bouncer, and what it says it is told.
type told struct {
	t     *testing.T
	in    io.Writer
	lines *bufio.Scanner
	log   strings.Builder
}

// hears waits for the next lines, in this order.
func (p *told) hears(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if !p.lines.Scan() {
			p.t.Fatalf("it has ended: %s", p.log.String())
		}
		if got := p.lines.Text(); got != w {
			p.t.Fatalf("it was told %q, want %q", got, w)
		}
	}
}

// TestUpstreamsGoLibrary: a bouncer made with upstream's library follows the
// stream by key and by certificate, for all scopes and for some, restarts, asks
// for single addresses, and reports its usage.
func TestUpstreamsGoLibrary(t *testing.T) {
	start := goBouncer(t)
	s, url, _ := running(t, nil)
	m := machine(t, s, "m")
	key, err := s.addBouncer(t.Context(), "fw", "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.addBouncer(t.Context(), "countries", "")
	if err != nil {
		t.Fatal(err)
	}
	ban := func(scope, value, origin string) {
		t.Helper()
		manual(t, m, time.Now(), decisionJSON(scope, value, "ban", origin, "4h"))
	}
	ban("ip", "192.0.2.1", "cscli")
	ban("country", "FR", "cscli")
	all := start("-url", url+"/", "-key", key, "-agent", "crowdsec-caddy-bouncer/v0.9.2")
	all.hears("+ 1 ban Ip 192.0.2.1 cscli")
	some := start("-url", url+"/", "-key", other, "-scopes", "country,ip", "-origins", "cscli")
	some.hears("+ 1 ban Ip 192.0.2.1 cscli", "+ 2 ban Country FR cscli")
	ban("range", "198.51.100.0/24", "crowdsec")
	all.hears("+ 3 ban Range 198.51.100.0/24 crowdsec")
	ban("ip", "2001:db8::7", "cscli")
	all.hears("+ 4 ban Ip 2001:db8::7 cscli")
	some.hears("+ 4 ban Ip 2001:db8::7 cscli")
	m.want("DELETE", "/v1/decisions?ip=192.0.2.1", "", 200, `{"nbDeleted":"1"}`)
	all.hears("- 1 ban Ip 192.0.2.1 cscli")
	some.hears("- 1 ban Ip 192.0.2.1 cscli")
	again := start("-url", url+"/", "-key", other) // starts: what is over is told, too
	again.hears("- 1 ban Ip 192.0.2.1 cscli", "+ 3 ban Range 198.51.100.0/24 crowdsec", "+ 4 ban Ip 2001:db8::7 cscli")

	one := start("-live", "-url", url+"/", "-key", key)
	for address, want := range map[string]string{"192.0.2.1": "", "198.51.100.77": " 3", "2001:db8::7": " 4"} {
		fmt.Fprintln(one.in, address)
		one.hears("= " + address + want)
	}
	dropped := func(u api.Usage) bool {
		return u.Bouncer == "fw" && slices.ContainsFunc(u.Items, func(i api.UsageItem) bool { return i.Name == "dropped" && i.Unit == "packet" })
	}
	for range 1000 {
		if slices.ContainsFunc(s.usage.list(s.now()), dropped) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if all := s.usage.list(s.now()); !slices.ContainsFunc(all, dropped) {
		t.Errorf("its usage is not known: %+v", all)
	}

	wrong := start("-url", url+"/", "-key", "wrong")
	for wrong.lines.Scan() {
		t.Errorf("a wrong key is told %q", wrong.lines.Text())
	}

	ca := authtest.NewCA(t, "test")
	safe, url := encrypted(t, ca, nil)
	pair := ca.Issue(t, authtest.Leaf{Name: "caddy", OU: []string{"bouncer-ou"}})
	m = machine(t, safe, "m")
	certified := start("-url", url+"/", "-ca", ca.File, "-cert", pair.CertFile, "-cert-key", pair.KeyFile)
	ban("ip", "192.0.2.9", "cscli")
	certified.hears("+ 1 ban Ip 192.0.2.9 cscli")
}
