package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"cs/bench/lab"
	"cs/roles/bouncer"
)

// TestStandsInForUpstreamsBouncer: under upstream's name, with its file, our
// program has its tables, chains and sets; a test of the configuration beside it
// changes nothing; it survives SIGKILL without a gap and with one copy of each
// rule; operators are told the truth; a trial ends.
func TestStandsInForUpstreamsBouncer(t *testing.T) {
	h := newHost(t)
	h.start("lapi", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080")
	key := strings.TrimSpace(h.cs("bouncers", "add", "fw", "-o", "raw"))
	conf, name := h.path("crowdsec-firewall-bouncer.yaml"), h.path(bouncer.UpstreamName)
	for _, err := range []error{
		os.Symlink(h.bin, name),
		os.WriteFile(conf, []byte("mode: nftables\nupdate_frequency: 1s\napi_url: "+lapiURL+"/\napi_key: ${FW_KEY}\nnftables:\n"+
			"  ipv4: {enabled: true, set-only: false, table: crowdsec, chain: crowdsec-chain, priority: -10}\n"+
			"  ipv6: {enabled: true, set-only: false, table: crowdsec6, chain: crowdsec6-chain, priority: -10}\n"+
			"nftables_hooks: [input, forward]\n"), 0o600),
		os.WriteFile(conf+".local", []byte("blacklists_ipv4: crowdsec-blacklists\ndeny_log: true\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sh := func(script string) string {
		t.Helper()
		out, err := h.Sh(h.ctx, "FW_KEY="+key+" CS_DATA_DIR="+h.path("fw")+" "+script)
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return out
	}
	start := func() *lab.Proc {
		t.Helper()
		p, err := h.Start(nil, "env", "FW_KEY="+key, "CS_DATA_DIR="+h.path("fw"), name, "-c", conf)
		if err != nil {
			t.Fatal(err)
		}
		h.waits(p, "bouncer is ready")
		return p
	}
	p := start()
	h.cs("decisions", "add", "--ip", lab.Attacker.String(), "--duration", "1h")
	h.cs("decisions", "add", "--range", "203.0.113.0/24", "--duration", "1h")
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)

	rules := sh("nft list ruleset")
	h.mentions(rules, "table ip crowdsec {", "table ip6 crowdsec6 {", "set crowdsec-blacklists-cscli {", "set crowdsec-blacklists-cscli-24 {",
		"chain crowdsec-chain-input {", "chain crowdsec-chain-forward {", "hook input priority filter - 10", lab.Attacker.String(),
		"ip saddr @crowdsec-blacklists-cscli counter name \"crowdsec-blacklists-cscli\" goto crowdsec-chain-deny", "limit rate 10/second", `log prefix "crowdsec drop: "`)

	// -t while the service runs.
	before := sh("nft -n -s list ruleset")
	if out := sh(name + " -c " + conf + " -t 2>&1"); !strings.Contains(out, "config is valid") {
		t.Errorf("-t said %q", out)
	}
	if after := sh("nft -n -s list ruleset"); after != before {
		t.Errorf("-t changed the rules from\n%s\nto\n%s", before, after)
	}
	if h.probe.Passing(lab.Attacker) {
		t.Error("-t opened the door")
	}

	// SIGKILL and a new start.
	p.Kill()
	if h.probe.Passing(lab.Attacker) {
		t.Error("SIGKILL opened the door")
	}
	p = start()
	time.Sleep(300 * time.Millisecond)
	if h.probe.Passing(lab.Attacker) {
		t.Error("the restart opened the door")
	}
	rules = sh("nft -s list table ip crowdsec")
	for what, want := range map[string]int{
		"set crowdsec-blacklists-cscli {": 1, "@crowdsec-blacklists-cscli counter": 2, "@crowdsec-blacklists-cscli-24 counter": 2, `counter name "processed"`: 2,
	} {
		if n := strings.Count(rules, what); n != want {
			t.Errorf("%q is there %d times, want %d:\n%s", what, n, want, rules)
		}
	}

	// Operators ask.
	dir := " --data-dir " + h.path("fw")
	h.mentions(sh(h.bin+" bouncer-firewall status"+dir), "nftables, healthy", "enforced       2 of 2 prefixes (ratio 1)", "own address", "cscli")
	h.mentions(sh(h.bin+" bouncer-firewall status -o json"+dir), `"enforced_ratio": 1`, `"unenforced": {}`)
	h.mentions(sh(h.bin+" bouncer-firewall verify"+dir), "0 differences")
	h.mentions(sh(h.bin+" bouncer-firewall explain 203.0.113.77"+dir), "203.0.113.77 is blocked", "ban 203.0.113.0/24 by cscli", "crowdsec-blacklists-cscli-24")
	h.mentions(sh(h.bin+" bouncer-firewall explain "+lab.Victim.String()+dir), "is not blocked", "own address")

	// Everything is taken back, if that is asked for.
	if _, err := p.Stop(h.ctx); err != nil {
		t.Error(err)
	}
	h.drops(lab.Attacker)
	sh("sh -c 'echo on_stop: clean >> " + conf + ".local'")
	p = start()
	if _, err := p.Stop(h.ctx); err != nil {
		t.Error(err)
	}
	h.passes(lab.Attacker)
	if rules := sh("nft list ruleset"); strings.Contains(rules, "crowdsec") {
		t.Errorf("something was left:\n%s", rules)
	}

	// A trial.
	trial, err := h.Start(nil, h.bin, "bouncer-firewall", "try", "--for", "4s", "--lapi-url", lapiURL, "--api-key", key, "--data-dir", h.path("trial"))
	if err != nil {
		t.Fatal(err)
	}
	h.waits(trial, "blocking until")
	h.drops(lab.Attacker)
	h.waits(trial, "everything is taken back")
	h.passes(lab.Attacker)
}
