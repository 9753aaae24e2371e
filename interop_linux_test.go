package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cs/bench/lab"
	"cs/platform/sharedtest"
	"cs/roles/lapi/auth/authtest"
)

// The stories in this file are played by strangers: Debian's crowdsec, cscli
// and firewall bouncer talk to our roles, and ours to them.

const lapiURL = "http://127.0.0.1:8080"

// debian is an installation of Debian's crowdsec on a host: the paths of its
// programs and of its configuration, with the parser and the scenarios of sshd.
type debian struct {
	*host
	usr string
	etc string
}

func (h *host) debian() *debian {
	h.t.Helper()
	peers := sharedtest.Peers(h.t)
	d := &debian{h, filepath.Join(peers, "usr"), h.path("debian")}
	hub := filepath.Join(d.usr, "share/crowdsec/hub")
	copies := map[string]string{}
	for item, at := range map[string]string{
		"syslog-logs": "parsers/s00-raw", "sshd-logs": "parsers/s01-parse", "dateparse-enrich": "parsers/s02-enrich", "ssh-bf": "scenarios",
	} {
		copies[filepath.Join(at, item+".yaml")] = filepath.Join(hub, at, "crowdsecurity", item+".yaml")
	}
	for _, name := range []string{"profiles.yaml", "simulation.yaml"} {
		copies[name] = filepath.Join(peers, "etc/crowdsec", name)
	}
	d.write("config.yaml", `
common: {daemonize: false, log_media: stdout, log_level: info, log_dir: ETC, working_dir: .}
config_paths: {config_dir: ETC, data_dir: ETC/data, simulation_path: ETC/simulation.yaml, hub_dir: ETC/hub, index_path: ETC/hub/.index.json, notification_dir: ETC/notifications, plugin_dir: ETC/plugins}
crowdsec_service: {acquisition_path: ETC/acquis.yaml, parser_routines: 1}
cscli: {output: human}
db_config: {log_level: info, type: sqlite, db_path: ETC/data/crowdsec.db, use_wal: true}
api:
  client: {credentials_path: ETC/credentials.yaml}
  server: {log_level: info, listen_uri: "127.0.0.1:8080", profiles_path: ETC/profiles.yaml, console_path: ETC/console.yaml}
prometheus: {enabled: false}
`)
	d.write("acquis.yaml", "filenames: ["+h.path("auth.log")+"]\nlabels: {type: syslog}\n")
	d.write("credentials.yaml", "url: "+lapiURL+"\n")
	d.write("console.yaml", "share_manual_decisions: false\n")
	d.write("hub/.index.json", `{"parsers": {}, "scenarios": {}, "collections": {}, "postoverflows": {}}`)
	d.write("data/.keep", "")
	for to, from := range copies {
		text, err := os.ReadFile(from)
		if err != nil {
			h.t.Fatal(err)
		}
		d.write(to, string(text))
	}
	err := os.CopyFS(filepath.Join(d.etc, "patterns"), os.DirFS(filepath.Join(peers, "etc/crowdsec/patterns")))
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// write makes a file below etc, where ETC stands for that directory.
func (d *debian) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.etc, name)
	text = strings.ReplaceAll(text, "ETC", d.etc)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		d.t.Fatal(err)
	}
}

// cscli runs Debian's cscli in the namespace and returns all it printed.
func (d *debian) cscli(args ...string) string {
	d.t.Helper()
	out, err := d.Sh(d.ctx, fmt.Sprintf("%s/bin/cscli -c %s/config.yaml %s", d.usr, d.etc, strings.Join(args, " ")))
	if err != nil {
		d.t.Fatalf("cscli %v: %v\n%s", args, err, out)
	}
	return out
}

// crowdsec starts Debian's daemon.
func (d *debian) crowdsec(ready string, args ...string) *lab.Proc {
	d.t.Helper()
	p, err := d.Start(nil, d.usr+"/bin/crowdsec", append([]string{"-c", d.etc + "/config.yaml"}, args...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	d.waits(p, ready)
	return p
}

// bouncer starts Debian's firewall bouncer with a key.
func (d *debian) bouncer(key string) *lab.Proc {
	d.t.Helper()
	return d.bouncerTo("api_url: " + lapiURL + "/\napi_key: " + key + "\n")
}

// bouncerTo starts it with lines that say how it reaches the LAPI.
func (d *debian) bouncerTo(lines string) *lab.Proc {
	d.t.Helper()
	d.write("bouncer.yaml", `
mode: nftables
pid_dir: ETC
update_frequency: 1s
daemonize: false
log_mode: stdout
log_dir: ETC
log_level: info
`+lines+`disable_ipv6: false
deny_action: DROP
nftables: {ipv4: {enabled: true, set-only: false, table: crowdsec, chain: crowdsec-chain}, ipv6: {enabled: true, set-only: false, table: crowdsec6, chain: crowdsec6-chain}}
blacklists_ipv4: crowdsec-blacklists
blacklists_ipv6: crowdsec6-blacklists
`)
	p, err := d.Start(nil, d.usr+"/bin/crowdsec-firewall-bouncer", "-c", d.etc+"/bouncer.yaml")
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

// mentions fails the test unless a text has all of some words.
func (h *host) mentions(text string, words ...string) {
	h.t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			h.t.Errorf("there is no %q in:\n%s", w, text)
		}
	}
}

// TestDebianWithOurLAPI: Debian's agent registers, is validated and sends an
// alert from an ssh log; Debian's bouncer enforces the ban; Debian's cscli sees
// it and lifts it.
func TestDebianWithOurLAPI(t *testing.T) {
	h := newHost(t)
	d := h.debian()
	h.start("lapi", "--data-dir", h.path("lapi"), "--listen", "127.0.0.1:8080")
	d.cscli("lapi", "register", "--machine", "debian", "-u", lapiURL)
	h.mentions(h.cs("machines", "list", "-o", "raw"), "debian")
	h.cs("machines", "validate", "debian")
	h.mentions(d.cscli("lapi", "status"), "You can successfully interact with Local API")
	d.bouncer(strings.TrimSpace(h.cs("bouncers", "add", "debian-fw", "-o", "raw")))
	agent := d.crowdsec("Adding file", "-no-api")

	h.bruteForceUntil(lab.Attacker, agent)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	h.mentions(h.cs("alerts", "list", "-m", "-o", "raw"), "crowdsecurity/ssh-bf", lab.Attacker.String(), "debian")
	h.mentions(d.cscli("decisions", "list"), lab.Attacker.String(), "crowdsecurity/ssh-bf", "ban")
	h.mentions(d.cscli("alerts", "list"), lab.Attacker.String(), "crowdsecurity/ssh-bf")
	h.mentions(h.cs("bouncers", "list", "-o", "raw"), "debian-fw", "crowdsec-firewall-bouncer")

	h.mentions(d.cscli("decisions", "delete", "--ip", lab.Attacker.String()), "decision(s) deleted")
	h.passes(lab.Attacker)
	d.cscli("decisions", "add", "--ip", lab.Innocent.String(), "--duration", "10m", "--reason", "by-hand")
	h.drops(lab.Innocent)
	h.mentions(h.cs("decisions", "list", "-o", "raw"), lab.Innocent.String(), "by-hand")
}

// TestDebianWithOurLAPIOverTLS: Debian's cscli, agent and firewall bouncer come
// in by certificate, without accounts made for them; one of another unit
// doesn't.
func TestDebianWithOurLAPIOverTLS(t *testing.T) {
	h := newHost(t)
	d := h.debian()
	ca := authtest.NewCA(t, "test")
	server := ca.Issue(t, authtest.Leaf{Name: "lapi", Server: true})
	identity := func(p authtest.Pair) string {
		return "ca_cert_path: " + ca.File + "\ncert_path: " + p.CertFile + "\nkey_path: " + p.KeyFile + "\n"
	}
	d.write("ours.yaml", "api: {server: {listen_uri: 127.0.0.1:8080, tls: {cert_file: "+server.CertFile+", key_file: "+server.KeyFile+
		", ca_cert_path: "+ca.File+", client_verification: VerifyClientCertIfGiven, agents_allowed_ou: [agents], bouncers_allowed_ou: [bouncers]}}}\n")
	h.start("lapi", "-c", d.etc+"/ours.yaml", "--data-dir", h.path("lapi"))
	const url = "https://127.0.0.1:8080/"
	d.write("credentials.yaml", "url: "+url+"\n"+identity(ca.Issue(t, authtest.Leaf{Name: "stranger", OU: []string{"bouncers"}})))
	if out, err := h.Sh(h.ctx, d.usr+"/bin/cscli -c "+d.etc+"/config.yaml lapi status 2>&1"); err == nil {
		t.Errorf("a bouncer's certificate logs in: %s", out)
	}
	d.write("credentials.yaml", "url: "+url+"\n"+identity(ca.Issue(t, authtest.Leaf{Name: "debian-agent", OU: []string{"agents"}})))
	h.mentions(d.cscli("lapi", "status"), "You can successfully interact with Local API")
	agent := d.crowdsec("Adding file", "-no-api")
	d.bouncerTo("api_url: " + url + "\n" + identity(ca.Issue(t, authtest.Leaf{Name: "debian-fw", OU: []string{"bouncers"}})))

	h.bruteForceUntil(lab.Attacker, agent)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	h.mentions(h.cs("machines", "list", "-o", "raw"), "debian-agent@127.0.0.1", ",tls,")
	h.mentions(h.cs("bouncers", "list", "-o", "raw"), "debian-fw@127.0.0.1", ",tls")
	h.mentions(d.cscli("alerts", "list"), lab.Attacker.String(), "crowdsecurity/ssh-bf")
	d.cscli("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)
}

// TestDebiansLAPIWithOurs: our agent and our bouncer work with Debian's LAPI.
func TestDebiansLAPIWithOurs(t *testing.T) {
	h := newHost(t)
	d := h.debian()
	d.cscli("machines", "add", "debian-cscli", "--password", "a-password-for-cscli", "-f", d.etc+"/credentials.yaml")
	d.crowdsec("CrowdSec Local API listening on", "-no-cs")
	if out, err := h.Sh(h.ctx, h.bin+" register --machine ours --lapi-url "+lapiURL+" --data-dir "+h.path("agent")); err != nil {
		t.Fatalf("cs register: %v: %s", err, out)
	}
	d.cscli("machines", "validate", "ours")
	key := strings.TrimSpace(d.cscli("bouncers", "add", "our-fw", "-o", "raw"))
	h.start("bouncer-firewall", "--data-dir", h.path("bouncer"), "--lapi-url", lapiURL, "--api-key", key, "--update-frequency", "1s")
	h.start("agent", "--data-dir", h.path("agent"), "--lapi-url", lapiURL, "--log", h.path("auth.log"), "--type", "syslog")

	h.bruteForce(lab.Attacker)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	h.mentions(d.cscli("alerts", "list", "-m"), lab.Attacker.String(), "ours")
	h.mentions(d.cscli("bouncers", "list"), "our-fw")
	d.cscli("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)

	// A range, which its own bouncer takes for one address, a ban in it that goes
	// on when the range is lifted, and one that is extended.
	d.cscli("decisions", "add", "--range", "198.51.100.0/25", "--duration", "1h")
	h.drops(lab.Attacker)
	h.drops(lab.Innocent)
	d.cscli("decisions", "add", "--ip", lab.Innocent.String(), "--duration", "4s")
	d.cscli("decisions", "add", "--ip", lab.Innocent.String(), "--duration", "2h")
	d.cscli("decisions", "delete", "--range", "198.51.100.0/25")
	h.passes(lab.Attacker)
	time.Sleep(4 * time.Second)
	if h.probe.Passing(lab.Innocent) {
		t.Error("a ban that was extended ended at its old time")
	}
	status, err := h.Sh(h.ctx, h.bin+" bouncer-firewall verify --data-dir "+h.path("bouncer"))
	if err != nil {
		t.Errorf("verify: %v: %s", err, status)
	}
	h.mentions(status, "0 differences")
}

// TestDebiansLAPIWithOursOverTLS: our agent and our bouncer come in to Debian's
// LAPI by certificate; with each other's they don't.
func TestDebiansLAPIWithOursOverTLS(t *testing.T) {
	h := newHost(t)
	d := h.debian()
	ca := authtest.NewCA(t, "test")
	server := ca.Issue(t, authtest.Leaf{Name: "lapi", Server: true})
	const url = "https://127.0.0.1:8080/"
	identity := func(name, unit string) string {
		p := ca.Issue(t, authtest.Leaf{Name: name, OU: []string{unit}})
		return "ca_cert_path: " + ca.File + "\ncert_path: " + p.CertFile + "\nkey_path: " + p.KeyFile + "\n"
	}
	conf, err := os.ReadFile(d.etc + "/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const key = `listen_uri: "127.0.0.1:8080"`
	d.write("config.yaml", strings.Replace(string(conf), key, key+", tls: {cert_file: "+server.CertFile+", key_file: "+server.KeyFile+
		", ca_cert_path: "+ca.File+", client_verification: VerifyClientCertIfGiven, agents_allowed_ou: [agents], bouncers_allowed_ou: [bouncers]}", 1))
	d.write("credentials.yaml", "url: "+url+"\n"+identity("debian-cscli", "agents"))
	d.crowdsec("CrowdSec Local API listening on", "-no-cs")
	bouncer := func(unit string) string {
		file := "ours-" + unit + ".yaml"
		d.write(file, "bouncer:\n  api_url: "+url+"\n  update_frequency: 1s\n  "+strings.ReplaceAll(strings.TrimSpace(identity("our-fw", unit)), "\n", "\n  ")+"\n")
		return filepath.Join(d.etc, file)
	}
	d.write("ours.yaml", "api: {client: {credentials_path: ETC/ours-credentials.yaml}}\n")
	d.write("ours-credentials.yaml", "url: "+url+"\n"+identity("our-agent", "bouncers"))
	agent := []string{"agent", "-c", d.etc + "/ours.yaml", "--data-dir", h.path("agent"), "--log", h.path("auth.log"), "--type", "syslog"}
	refused, err := h.Start(nil, h.bin, agent...)
	if err != nil {
		t.Fatal(err)
	}
	h.waits(refused, "401")
	refused.Kill()
	refused, err = h.Start(nil, h.bin, "bouncer-firewall", "-c", bouncer("agents"), "--data-dir", h.path("refused"))
	if err != nil {
		t.Fatal(err)
	}
	h.waits(refused, "403")
	refused.Kill()

	d.write("ours-credentials.yaml", "url: "+url+"\n"+identity("our-agent", "agents"))
	h.start(agent...)
	h.start("bouncer-firewall", "-c", bouncer("bouncers"), "--data-dir", h.path("bouncer"))
	h.bruteForce(lab.Attacker)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	h.mentions(d.cscli("alerts", "list", "-m"), lab.Attacker.String(), "our-agent@127.0.0.1")
	h.mentions(d.cscli("bouncers", "list"), "our-fw@127.0.0.1")
	d.cscli("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)
}

// TestTakeover: a host of Debian's crowdsec, with a machine, a bouncer, an alert
// and bans in its database, is ours after one command: the old credentials and
// the old key work, and the same is banned.
func TestTakeover(t *testing.T) {
	h := newHost(t)
	d := h.debian()
	d.cscli("machines", "add", "debian", "--password", "a-password-for-cscli", "-f", d.etc+"/credentials.yaml")
	key := strings.TrimSpace(d.cscli("bouncers", "add", "debian-fw", "-o", "raw"))
	old := d.crowdsec("Adding file")
	h.bruteForceUntil(lab.Attacker, old)
	d.cscli("decisions", "add", "--range", "198.51.100.0/24", "--duration", "10h", "--reason", "by-hand")
	d.cscli("decisions", "add", "--ip", "192.0.2.99", "--duration", "1h", "--type", "captcha")
	seen := func(cscli func(...string) string) string {
		remaining := regexp.MustCompile(`,(\d+h)?(\d+m)?\d+(\.\d+)?s,`)
		return remaining.ReplaceAllString(cscli("decisions", "list", "-o", "raw"), ",T,")
	}
	before := seen(d.cscli)
	h.mentions(before, lab.Attacker.String(), "198.51.100.0/24", "by-hand", "192.0.2.99")
	old.Kill() // so that a part of it is in the log of its database only

	takeover := func(args ...string) string {
		return h.run(h.bin, append([]string{"takeover", "--from", d.etc}, args...)...)
	}
	h.mentions(takeover(), "1 machine and 1 bouncer", "3 decisions, of which 3 in force")
	h.mentions(takeover("--apply", "--units", h.path("units")), "The way back")

	// From here on the host calls what it always called. Without systemd nobody
	// but this test puts our program in the old ones' place.
	for _, name := range []string{"crowdsec", "cscli"} {
		if err := os.Symlink(h.bin, h.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	h.run(h.path("crowdsec"), "-c", d.etc+"/config.yaml", "-t")
	p, err := h.Start(nil, h.path("crowdsec"), "-c", d.etc+"/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h.waits(p, lab.Ready("run"))
	cscli := func(args ...string) string {
		return h.run(h.path("cscli"), append([]string{"-c", d.etc + "/config.yaml"}, args...)...)
	}
	for whose, cscli := range map[string]func(...string) string{"Debian's": d.cscli, "our": cscli} {
		h.mentions(cscli("lapi", "status"), "You can successfully interact with Local API")
		if after := seen(cscli); after != before {
			t.Errorf("before:\n%s\nafter, by %s cscli:\n%s", before, whose, after)
		}
		h.mentions(cscli("alerts", "list"), "crowdsecurity/ssh-bf")
		h.mentions(cscli("machines", "list"), "debian")
		h.mentions(cscli("bouncers", "list"), "debian-fw")
	}
	d.bouncer(key)
	h.drops(lab.Attacker)
	h.passes(lab.Innocent)
	cscli("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)
	h.bruteForceUntil(lab.Attacker, p) // the old agent's machine, log and scenario
	h.drops(lab.Attacker)
	d.cscli("decisions", "delete", "--ip", lab.Attacker.String())
	h.passes(lab.Attacker)
}

// bruteForceUntil writes failed logins until the program has seen enough: it
// tells that it reads a log a moment before it does.
func (h *host) bruteForceUntil(from netip.Addr, p *lab.Proc) {
	h.t.Helper()
	for !strings.Contains(p.Output(), "Ip "+from.String()+" performed") {
		h.bruteForce(from)
		select {
		case <-time.After(time.Second):
		case <-h.ctx.Done():
			h.t.Fatalf("the program saw no attack; it printed:\n%s", p.Output())
		}
	}
}
