//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cs/bench/lab"
	"cs/remediate"
	"cs/remediate/nft"
)

const (
	fewBans  = 10_000
	bans     = 100_000
	moreBans = 1_000_000
	lapiAddr = "127.0.0.1:8080"
	fwKey    = "key-of-the-firewall-bench"
)

// firewall measures the bouncer with many bans, beside Debian's and nft, each in
// a network of its own. A LAPI that answers from memory stands in, so that the
// figures are the bouncers'.
func (b *bench) firewall(ctx context.Context) error {
	return withMany(ctx, b.bouncer)
}

// filter measures what the packet filter itself needs.
func (b *bench) filter(ctx context.Context) error {
	return withMany(ctx, b.kernel)
}

// latency measures how long one more ban takes, with many present.
func (b *bench) latency(ctx context.Context) error {
	return withMany(ctx, b.newBan)
}

func withMany(ctx context.Context, measure func(ctx context.Context, n int) error) error {
	if err := lab.Usable(); err != nil {
		return err
	}
	for _, n := range []int{bans, moreBans} {
		if err := measure(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// firewallPeers measures what Debian's bouncer and nft need. What fails of them is a row.
func (b *bench) firewallPeers(ctx context.Context) error {
	if err := lab.Usable(); err != nil {
		return err
	}
	for _, n := range []int{bans, moreBans} {
		if err := b.nftFile(ctx, n); err != nil {
			b.row(fmt.Sprintf("nft -f, %d bans", n), "failed", err.Error())
		}
	}
	if b.peers == "" {
		return nil
	}
	for _, n := range []int{fewBans, bans} {
		if err := b.debianBouncer(ctx, n); err != nil {
			b.row(fmt.Sprintf("Debian's bouncer, %d bans", n), "failed", err.Error())
		}
	}
	return nil
}

// address returns the i-th of a million banned addresses.
func address(i int) netip.Addr {
	x := uint32(i)*2654435761%(1<<24) + 11<<24 // spread over 11.0.0.0/8
	return netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
}

// standIn is a LAPI of upstream's kind that knows n bans, the attacker's last.
type standIn struct {
	all    []byte
	mu     sync.Mutex
	news   string // told once
	server *http.Server
}

func oneBan(id int, a netip.Addr, origin string) string {
	return fmt.Sprintf(`{"duration":"167h30m0s","id":%d,"origin":%q,"scenario":"crowdsecurity/ssh-bf","scope":"Ip","type":"ban","value":"%s"}`, id, origin, a)
}

func serveBans(l *lab.Lab, n int) (*standIn, error) {
	var body bytes.Buffer
	body.WriteString(`{"deleted":[],"new":[`)
	for i := range n - 1 {
		body.WriteString(oneBan(i+1, address(i), "CAPI") + ",")
	}
	body.WriteString(oneBan(n, lab.Attacker, "CAPI") + "]}")
	s := &standIn{all: body.Bytes()}
	s.server = &http.Server{Handler: s}
	var listener net.Listener
	if err := l.Inside(func() (err error) {
		listener, err = net.Listen("tcp", lapiAddr)
		return err
	}); err != nil {
		return nil, err
	}
	go s.server.Serve(listener)
	return s, nil
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/v1/decisions/stream" {
		http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("startup") == "true" {
		w.Write(s.all)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(w, `{"deleted":[],"new":[%s]}`, s.news)
	s.news = ""
}

// tell has the stand-in tell of one more ban.
func (s *standIn) tell(ban string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = ban
}

// bouncer measures our bouncer with n bans.
func (b *bench) bouncer(ctx context.Context, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	dir := filepath.Join(b.dir, fmt.Sprintf("firewall-%d", n))
	args := []string{"bouncer-firewall", "--lapi-url", "http://" + lapiAddr, "--api-key", fwKey, "--update-frequency", "1s", "--data-dir", dir}
	run := func(what, target string, withLAPI bool, then func(*lab.Lab, *lab.Proc) error) error {
		l, err := lab.New(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		if withLAPI {
			s, err := serveBans(l, n)
			if err != nil {
				return err
			}
			defer s.server.Close()
		}
		probe, err := l.Probe(ctx)
		if err != nil {
			return err
		}
		defer probe.Stop()
		if _, err := probe.Await(ctx, lab.Attacker, true); err != nil {
			return err
		}
		began := time.Now()
		p, err := l.Start(nil, b.binary, args...)
		if err != nil {
			return err
		}
		last, err := probe.Await(ctx, lab.Attacker, false)
		if err != nil {
			return fmt.Errorf("%w; it printed:\n%s", err, p.Output())
		}
		used, err := cpuTime(p.Pid()) // tells more than the time where others work, too
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("%s, %d bans", what, n), round(last.Sub(began)), strings.TrimPrefix(fmt.Sprintf("%s; CPU time %v", target, used), "; "))
		if then == nil {
			return nil
		}
		return then(l, p)
	}
	first, saved, memory := "target 0.6 s", "target 0.3 s", "target 25 MB"
	if n > bans {
		first, saved, memory = "target 4 s", "", "target 120 MB"
	}
	err = run("cs bouncer: process start to last ban enforced", first, true, func(_ *lab.Lab, p *lab.Proc) error {
		time.Sleep(4 * time.Second)
		kib, err := lab.Memory(p.Pid())
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("cs bouncer: memory, %d bans", n), fmt.Sprintf("%.1f MB", float64(kib)*1024/1e6), memory+"; VmRSS, the pages of the program's file in it")
		if err := b.idle(p, n, "polled each second"); err != nil {
			return err
		}
		_, err = p.Stop(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := run("cs bouncer: from the saved set, LAPI away", saved, false, nil); err != nil || n > bans {
		return err
	}
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--update-frequency" || arg == "1s" })
	return run("cs bouncer: process start with a saved set", "", true, func(_ *lab.Lab, p *lab.Proc) error {
		return b.idle(p, n, "polled each 10 s, as by default")
	})
}

// idle measures what a bouncer without news needs.
func (b *bench) idle(p *lab.Proc, n int, how string) error {
	const settle, rest = 10 * time.Second, 20 * time.Second
	time.Sleep(settle) // the set is saved, and memory given back
	before, err := exactTime(p.Pid())
	if err != nil {
		return err
	}
	time.Sleep(rest)
	after, err := exactTime(p.Pid())
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("cs bouncer: idle CPU, %d bans, %s", n, how), fmt.Sprintf("%.3f %%", 100*(after-before).Seconds()/rest.Seconds()),
		"target 0.1 % of a core; an upstream LAPI")
	return nil
}

// kernel measures single changes and clean packets with n elements in the kernel.
func (b *bench) kernel(ctx context.Context, n int) (err error) {
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	k, err := nft.New(nft.Config{})
	if err == nil {
		err = l.Inside(func() error { _, err := k.Open(ctx); return err })
	}
	if err != nil {
		return err
	}
	defer k.Close(context.Background(), true)
	until := time.Now().Add(time.Hour)
	var list []netip.Prefix
	for i := range n {
		p := netip.PrefixFrom(address(i), 32)
		if i%10 == 0 { // a tenth are ranges
			p = netip.PrefixFrom(p.Addr(), 24).Masked()
		}
		list = append(list, p)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	list = slices.Compact(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	var elements, all []int64
	var fastest time.Duration
	for round := range 3 { // others take and give memory meanwhile, too
		before, beforeAll := kernelMemory()
		began := time.Now()
		err := k.Load(ctx, func(yield func(remediate.Entry) bool) {
			for _, p := range list {
				if !yield(remediate.Entry{Prefix: p, Origin: "CAPI", Until: until}) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
		if took := time.Since(began); round == 0 || took < fastest {
			fastest = took
		}
		after, afterAll := kernelMemory()
		elements, all = append(elements, after-before), append(all, afterAll-beforeAll)
		if round == 2 {
			break
		}
		if err := k.Load(ctx, func(func(remediate.Entry) bool) {}); err != nil {
			return err
		}
		time.Sleep(time.Second) // the kernel frees in its own time
	}
	b.row(fmt.Sprintf("kernel: load %d", n), round(fastest), "our netlink writer alone; fastest of 3")
	b.row(fmt.Sprintf("kernel: memory of a ban, %d bans", n), fmt.Sprintf("%.0f B", float64(slices.Max(elements))/float64(len(list))),
		fmt.Sprintf("target 110 B; slabs of elements; with the hash tables, which double as they fill up, and what belongs to both, %.0f B (SUnreclaim, VmallocUsed)", float64(slices.Max(all))/float64(len(list))))
	var times []time.Duration
	for i := range 300 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)
		began := time.Now()
		if err := k.Apply(ctx, []remediate.Change{{Op: remediate.Add, Entry: remediate.Entry{Prefix: p, Origin: "CAPI", Until: until}}}); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.row(fmt.Sprintf("kernel: one new ban, %d present", n), fmt.Sprintf("%v, p99 %v", times[len(times)/2], times[len(times)*99/100]), "target under 1 ms, not growing; median")
	return b.cleanPackets(ctx, l, n)
}

// cleanPackets measures what a packet from nobody banned costs more in a lab than in
// one without rules, the two in turn.
func (b *bench) cleanPackets(ctx context.Context, loaded *lab.Lab, n int) (err error) {
	bare, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Close()) }()
	for _, kind := range []struct {
		sources     int
		what, notes string
	}{
		{1 << 24, "a clean packet more", "target 0.5 µs; %v without; random sources, so that nothing is in a cache; hosts and /24s"},
		{1000, "a clean packet of 1000 clients more", "%v without"},
	} {
		var with, without time.Duration
		for range 10 {
			for lab, least := range map[*lab.Lab]*time.Duration{bare: &without, loaded: &with} {
				each, err := lab.Flood(100, kind.sources)
				if err != nil {
					return err
				}
				if *least == 0 || each < *least {
					*least = each
				}
			}
		}
		b.row(fmt.Sprintf("%s, %d bans", kind.what, n), fmt.Sprintf("%.2f µs", (with-without).Seconds()*1e6), fmt.Sprintf(kind.notes, without))
	}
	return nil
}

// nftFile measures nft with a file of n elements.
func (b *bench) nftFile(ctx context.Context, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	path := filepath.Join(b.dir, "bans.nft")
	var text strings.Builder
	text.WriteString("table ip t { set s { type ipv4_addr; flags timeout; elements = {\n")
	for i := range n {
		fmt.Fprintf(&text, "%s timeout 1h,\n", address(i))
	}
	text.WriteString("}\n}\n}\n")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return err
	}
	began := time.Now()
	if out, err := l.Sh(ctx, "nft -f "+path); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	b.row(fmt.Sprintf("nft -f, %d bans", n), round(time.Since(began)), "a set of addresses; no ranges, no counters")
	return nil
}

// newBan measures from the moment in which a machine begins to tell our LAPI of a
// ban to the last packet that came through, with n others present.
func (b *bench) newBan(ctx context.Context, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir := filepath.Join(b.dir, fmt.Sprintf("firewall-new-%d", n))
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	server, err := l.Start(nil, b.binary, "lapi", "--data-dir", dir, "--listen", lapiAddr)
	if err == nil {
		_, err = server.Wait(ctx, lab.Ready("lapi"))
	}
	if err != nil {
		return err
	}
	for _, command := range []string{
		"bouncers add fw --key " + fwKey,
		"machines add agent --password " + fwKey + " -f " + filepath.Join(b.dir, "agent.yaml"),
	} {
		if out, err := l.Sh(ctx, b.binary+" "+command+" --data-dir "+dir); err != nil {
			return fmt.Errorf("cs %s: %w: %s", command, err, out)
		}
	}
	list := filepath.Join(b.dir, "bans.csv")
	for first := 0; first < n; first += bans { // more would be refused
		text := []byte("value,duration\n")
		for i := range bans {
			text = fmt.Appendf(text, "%s,24h\n", address(first+i))
		}
		if err := os.WriteFile(list, text, 0o600); err != nil {
			return err
		}
		if out, err := l.Sh(ctx, b.binary+" decisions import -i "+list+" --format csv --data-dir "+dir); err != nil {
			return fmt.Errorf("cs decisions import: %w: %s", err, out)
		}
	}
	p, err := l.Start(nil, b.binary, "bouncer-firewall", "--lapi-url", "http://"+lapiAddr, "--api-key", fwKey, "--data-dir", dir+"-fw")
	if err == nil {
		_, err = p.Wait(ctx, fmt.Sprint("added=", n))
	}
	if err != nil {
		return err
	}
	probe, err := l.Probe(ctx)
	if err != nil {
		return err
	}
	defer probe.Stop()
	a := &agent{client: &http.Client{Transport: &http.Transport{DialContext: func(_ context.Context, _, addr string) (c net.Conn, err error) {
		err = l.Inside(func() error { c, err = net.Dial("tcp", addr); return err })
		return c, err
	}}}}
	defer a.client.CloseIdleConnections()
	if err := a.login(ctx); err != nil {
		return fmt.Errorf("%w; the LAPI printed:\n%s", err, server.Output())
	}
	const rounds = 100
	var times []time.Duration
	for range rounds {
		if _, err := probe.Await(ctx, lab.Attacker, true); err != nil {
			return err
		}
		began := time.Now()
		if err := a.ban(ctx, lab.Attacker); err != nil {
			return err
		}
		last, err := probe.Await(ctx, lab.Attacker, false)
		if err != nil {
			return fmt.Errorf("the ban %d is not enforced: %w; the bouncer printed:\n%s", len(times)+1, err, p.Output())
		}
		times = append(times, last.Sub(began))
		if err := a.call(ctx, http.MethodDelete, "/v1/decisions?ip="+lab.Attacker.String(), nil, nil); err != nil {
			return err
		}
	}
	slices.Sort(times)
	b.row(fmt.Sprintf("one new ban, %d present: POST to drop", n), fmt.Sprintf("%v, p99 %v", round(times[rounds/2]), round(times[rounds*99/100-1])),
		"target p99 100 ms; median of 100; our LAPI, long poll")
	return nil
}

// agent is a machine of the LAPI.
type agent struct {
	client *http.Client
	token  string
}

func (a *agent) login(ctx context.Context) error {
	var reply struct {
		Token string `json:"token"`
	}
	err := a.call(ctx, http.MethodPost, "/v1/watchers/login", map[string]any{"machine_id": "agent", "password": fwKey}, &reply)
	a.token = reply.Token
	return err
}

func (a *agent) ban(ctx context.Context, who netip.Addr) error {
	now := time.Now().UTC().Format(time.RFC3339)
	return a.call(ctx, http.MethodPost, "/v1/alerts", []any{map[string]any{
		"capacity": 5, "events": []any{}, "events_count": 6, "leakspeed": "10s", "message": "bench", "scenario": "bench/ssh-bf",
		"scenario_hash": "", "scenario_version": "", "simulated": false, "start_at": now, "stop_at": now,
		"source":    map[string]any{"scope": "Ip", "value": who.String()},
		"decisions": []any{map[string]any{"duration": "4h", "origin": "crowdsec", "scenario": "bench/ssh-bf", "scope": "Ip", "type": "ban", "value": who.String()}},
	}}, nil)
}

// call asks the LAPI.
func (a *agent) call(ctx context.Context, method, path string, body, reply any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+lapiAddr+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "crowdsec/v1.7.0")
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(answer, reply)
}

// debianPatience is how long Debian's bouncer may take for its first bans. With
// 100,000 it was busy for more than five minutes.
const debianPatience = 40 * time.Second

// debianBouncer measures Debian's bouncer with n bans.
func (b *bench) debianBouncer(ctx context.Context, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := serveBans(l, n)
	if err != nil {
		return err
	}
	defer s.server.Close()
	conf := filepath.Join(b.dir, "bouncer.yaml")
	err = os.WriteFile(conf, fmt.Appendf(nil, `mode: nftables
update_frequency: 1s
log_mode: stdout
log_level: info
pid_dir: %[1]s
log_dir: %[1]s
api_url: http://%[2]s/
api_key: %[3]s
deny_action: DROP
nftables: {ipv4: {enabled: true, set-only: false, table: crowdsec, chain: crowdsec-chain}, ipv6: {enabled: true, set-only: false, table: crowdsec6, chain: crowdsec6-chain}}
blacklists_ipv4: crowdsec-blacklists
blacklists_ipv6: crowdsec6-blacklists
`, b.dir, lapiAddr, fwKey), 0o600)
	if err != nil {
		return err
	}
	probe, err := l.Probe(ctx)
	if err != nil {
		return err
	}
	defer probe.Stop()
	if _, err := probe.Await(ctx, lab.Attacker, true); err != nil {
		return err
	}
	began := time.Now()
	p, err := l.Start(nil, filepath.Join(b.peers, "usr/bin/crowdsec-firewall-bouncer"), "-c", conf)
	if err != nil {
		return err
	}
	// It blocks the last ones of a list first: what it says tells when it is done.
	loading, stop := context.WithTimeout(ctx, debianPatience)
	defer stop()
	if _, err := p.Wait(loading, fmt.Sprint(n, " decisions added")); err != nil {
		if loading.Err() == nil || ctx.Err() != nil {
			return err
		}
		used, err := cpuTime(p.Pid())
		if err != nil {
			return err
		}
		b.row(fmt.Sprintf("Debian's bouncer: process start to all bans added, %d bans", n), fmt.Sprintf("not in %v", debianPatience),
			fmt.Sprintf("0.0.25, nftables; CPU time so far %v, and no new ban is enforced meanwhile", used))
		return nil
	}
	b.row(fmt.Sprintf("Debian's bouncer: process start to all bans added, %d bans", n), round(time.Since(began)), "0.0.25, nftables")
	time.Sleep(4 * time.Second)
	kib, err := lab.Memory(p.Pid())
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("Debian's bouncer: memory, %d bans", n), fmt.Sprintf("%.1f MB", float64(kib)*1024/1e6), "VmRSS")
	began = time.Now()
	s.tell(oneBan(n+1, lab.Innocent, "cscli"))
	last, err := probe.Await(ctx, lab.Innocent, false)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("Debian's bouncer: one new ban, %d present", n), round(last.Sub(began)), "polls each second")
	return nil
}

// kernelMemory returns what the kernel has taken for small objects that are
// accounted to somebody, such as elements of sets, and for all that it can't take
// back, in bytes.
func kernelMemory() (elements, all int64) {
	text, _ := os.ReadFile("/proc/slabinfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 14 && strings.HasPrefix(f[0], "kmalloc-cg-") {
			pages, _ := strconv.ParseInt(f[5], 10, 64) // a slab
			slabs, _ := strconv.ParseInt(f[14], 10, 64)
			elements += slabs * pages * int64(os.Getpagesize())
		}
	}
	text, _ = os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		var kib int64
		if _, err := fmt.Sscanf(rest, "%d kB", &kib); err == nil && (name == "SUnreclaim" || name == "VmallocUsed") {
			all += kib << 10
		}
	}
	return elements, all
}

// cpuTime returns what a process has used of the processors.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read %q", text)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * (time.Second / 100), nil // USER_HZ
}

// exactTime is cpuTime in nanoseconds instead of hundredths of a second, of a process
// whose threads don't end meanwhile.
func exactTime(pid int) (sum time.Duration, err error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("cannot read the time of process %d: it has ended", pid)
	}
	for _, path := range paths {
		text, rerr := os.ReadFile(path)
		var ns int64
		if _, serr := fmt.Sscan(string(text), &ns); err == nil {
			err = errors.Join(rerr, serr)
		}
		sum += time.Duration(ns)
	}
	return sum, err
}

func round(d time.Duration) string { return d.Round(time.Millisecond / 10).String() }
