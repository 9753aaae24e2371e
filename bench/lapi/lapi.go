//go:build linux

// Package lapi measures a Local API from outside, as its agents and bouncers
// meet it: over loopback, with 100,000 decisions in force and with a million. It
// measures CrowdSec's own (Debian's package) beside it, in the same run.
package lapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cs/bench/lab"
	"cs/roles/api"
)

const (
	many     = 100_000 // decisions in force when a LAPI is measured
	tooMany  = 1_000_000
	few      = 10_000
	pollers  = 16 // connections that poll or ask
	agents   = 50 // connections that report
	waiting  = 1000
	loadTime = 3 * time.Second
	settling = 3 * time.Second
	startups = 5
	turns    = 3
	password = "bench-password-of-some-length"
)

// Measure starts "cs lapi" of a binary, and Debian's LAPI if peers names the
// directory where its package is unpacked, and hands each figure to row. The
// load comes from this process, on the same processors. dir is for the stores.
// What one of them can't do is a row; it doesn't keep the others from theirs.
func Measure(ctx context.Context, binary, peers, dir string, row func(what, value, note string)) error {
	m := &measuring{row: row}
	m.try("cs lapi", func() error { return m.ours(ctx, binary, filepath.Join(dir, "ours")) })
	m.try("cs lapi: growth", func() error { return m.growth(ctx, binary, dir) })
	if peers != "" {
		m.try("Debian's LAPI", func() error { return m.debian(ctx, peers, filepath.Join(dir, "debian")) })
	}
	return ctx.Err()
}

// try makes a row of an error.
func (m *measuring) try(what string, measure func() error) {
	if err := measure(); err != nil {
		m.row(what, "not measured", err.Error())
	}
}

func (m *measuring) ours(ctx context.Context, binary, dir string) error {
	s, err := startOurs(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := m.all(ctx, "cs lapi", s); err != nil {
		return err
	}
	what := fmt.Sprintf("cs lapi: a new ban to %d long polls", waiting)
	m.try(what, func() error {
		woken, err := s.wake(ctx)
		if err == nil {
			m.row(what, round(woken).String(), "target 250 ms; POST begun to last answer read")
		}
		return err
	})
	return nil
}

func (m *measuring) debian(ctx context.Context, peers, dir string) error {
	d, err := startDebian(ctx, peers, dir)
	if err != nil {
		return err
	}
	defer d.kill()
	return m.all(ctx, "Debian's LAPI", d)
}

type measuring struct {
	row func(what, value, note string)
}

// growth measures what must not grow with the set. The two are polled in turns,
// and the cheapest round of each counts: what else the machine does would be
// more than the difference.
func (m *measuring) growth(ctx context.Context, binary, dir string) error {
	sizes := [...]int{few, tooMany}
	var servers [len(sizes)]*server
	for i, n := range sizes {
		s, err := startOurs(ctx, binary, filepath.Join(dir, fmt.Sprint("ours-", n)))
		if err != nil {
			return err
		}
		defer s.kill()
		servers[i] = s
		took, err := s.fill(ctx, n)
		if err != nil {
			return err
		}
		time.Sleep(settling)
		memory, err := s.memory()
		if err != nil {
			return err
		}
		m.row(fmt.Sprintf("cs lapi: import of %d", n), round(took).String(), fmt.Sprintf("%d a request", many))
		m.row(fmt.Sprintf("cs lapi: memory at %d decisions", n), memory, "target 250 MB at 1 million; "+memoryNote)
		if _, _, err := s.startup(ctx, ""); err != nil { // the deltas follow it
			return err
		}
	}
	var best [len(sizes)]load
	for range turns {
		for i, s := range servers {
			l, err := s.deltas(ctx)
			if err != nil {
				return err
			}
			if best[i].done == 0 || l.each() < best[i].each() {
				best[i] = l
			}
		}
	}
	for i, n := range sizes {
		m.row(fmt.Sprintf("cs lapi: delta polls at %d decisions", n), best[i].String(), fmt.Sprintf("cheapest of %d rounds", turns))
	}
	m.row("cs lapi: cost of a delta, 1 million over 10,000", fmt.Sprintf("%.2f", float64(best[1].each())/float64(best[0].each())), "target 1.2 at most; by the processor time")
	return nil
}

// server is a LAPI under measurement.
type server struct {
	cmd   *exec.Cmd
	addr  string
	key   string // header line of a bouncer
	token string // header line of a machine
	kill  func()
}

// all takes the figures that both have to show, among 100,000 decisions.
func (m *measuring) all(ctx context.Context, name string, s *server) error {
	row := func(what string, value any, note string) { m.row(name+": "+what, fmt.Sprint(value), note) }
	took, err := s.fill(ctx, many)
	if err != nil {
		return err
	}
	row("import of 100,000", round(took), "target 0.5 s")
	time.Sleep(settling)
	memory, err := s.memory()
	if err != nil {
		return err
	}
	row("memory at 100,000 decisions", memory, "target 40 MB; "+memoryNote)
	for _, coding := range []string{"", "gzip", "zstd"} {
		what := strings.TrimSpace("start-up stream, first byte / whole " + coding)
		m.try(name+": "+what, func() error {
			first, best, err := s.startup(ctx, coding)
			if err == nil {
				row(what, fmt.Sprintf("%v / %v", round(best.first), round(best.whole)), fmt.Sprintf("target 1 ms / 30 ms; %.1f MB; best of %d, the first of them %v / %v",
					float64(best.size)/1e6, startups, round(first.first), round(first.whole)))
			}
			return err
		})
	}
	if memory, err = s.memory(); err != nil {
		return err
	}
	row("memory at 100,000 decisions, while bouncers start", memory, "target 40 MB; "+memoryNote)
	for _, l := range []struct {
		what, note string
		drive      func(context.Context) (load, error)
	}{
		{fmt.Sprintf("delta polls, %d connections", pollers), "target 30,000/s, p99 < 5 ms", s.deltas},
		{fmt.Sprintf("live look-ups, %d connections", pollers), "target 30,000/s; one in ten is banned", s.lookups},
		{fmt.Sprintf("alerts of %d agents", agents), "target 5,000/s; each on disk when acknowledged", s.alerts},
	} {
		m.try(name+": "+l.what, func() error {
			got, err := l.drive(ctx)
			if err == nil {
				row(l.what, got, l.note)
			}
			return err
		})
	}
	return nil
}

// fill imports n decisions as cscli does, in requests of 100,000.
func (s *server) fill(ctx context.Context, n int) (time.Duration, error) {
	c, err := dial(ctx, s.addr)
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	var took time.Duration
	for from := 0; from < n; from += many {
		a, err := c.do(request("POST", api.PathAlerts, s.token, importBody(from, min(many, n-from))), nil)
		if err != nil {
			return 0, fmt.Errorf("cannot import: %w", err)
		}
		took += a.whole
	}
	return took, nil
}

// startup returns the first and the best of some answers with the whole set.
func (s *server) startup(ctx context.Context, coding string) (first, best answer, err error) {
	header := s.key
	if coding != "" {
		header += "Accept-Encoding: " + coding + "\r\n"
	}
	for i := range startups {
		c, err := dial(ctx, s.addr)
		if err != nil {
			return answer{}, answer{}, err
		}
		a, err := c.do(request("GET", api.PathStream+"?startup=true", header, nil), nil)
		c.conn.Close()
		if err != nil {
			return answer{}, answer{}, err
		}
		if i == 0 {
			first = a
		}
		if i == 0 || a.whole < best.whole {
			best = a
		}
	}
	return first, best, nil
}

func (s *server) deltas(ctx context.Context) (load, error) {
	req := request("GET", api.PathStream, s.key, nil)
	return s.hammer(ctx, pollers, loadTime, func(int, int) []byte { return req })
}

func (s *server) lookups(ctx context.Context) (load, error) {
	reqs := make([][]byte, 1000)
	for i := range reqs {
		addr := banned(i * 97)
		if i%10 > 0 {
			addr = netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		}
		reqs[i] = request("GET", api.PathDecisions+"?ip="+addr.String(), s.key, nil)
	}
	return s.hammer(ctx, pollers, loadTime, func(conn, i int) []byte { return reqs[(conn*61+i)%len(reqs)] })
}

// alerts has agents report one attack a request; the profiles ban each.
func (s *server) alerts(ctx context.Context) (load, error) {
	return s.hammer(ctx, agents, loadTime, func(conn, i int) []byte {
		addr := netip.AddrFrom4([4]byte{198, byte(conn), byte(i >> 8), byte(i)})
		return request("POST", api.PathAlerts, s.token, alertBody(addr))
	})
}

// wake returns how long a new ban takes to reach the last of many bouncers that
// wait for news.
func (s *server) wake(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conns := make([]*wire, waiting)
	for i := range conns {
		c, err := dial(ctx, s.addr)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		conns[i] = c
	}
	// Everybody has everything before the ban.
	var at http.Header
	if err := s.call(ctx, "GET", api.PathStream+"?startup=true", s.key, nil, &at, nil); err != nil {
		return 0, err
	}
	req := request("GET", api.PathStream+"?wait=20s&cursor="+at.Get(api.HeaderCursor), s.key, nil)
	var answered sync.WaitGroup
	var mu sync.Mutex
	var failed error
	var last time.Time
	for _, c := range conns {
		answered.Go(func() {
			var body bytes.Buffer
			_, err := c.do(req, &body)
			if err == nil && !bytes.Contains(body.Bytes(), []byte("192.0.2.77")) {
				err = fmt.Errorf("the ban is not in %q", body.String())
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			last = time.Now()
		})
	}
	time.Sleep(time.Second)
	agent, err := dial(ctx, s.addr)
	if err != nil {
		return 0, err
	}
	defer agent.conn.Close()
	began := time.Now()
	if _, err := agent.do(request("POST", api.PathAlerts, s.token, alertBody(netip.MustParseAddr("192.0.2.77"))), nil); err != nil {
		return 0, err
	}
	answered.Wait()
	return last.Sub(began), failed
}

const memoryNote = "VmRSS, seconds after the import"

func (s *server) memory() (string, error) {
	kib, err := lab.Memory(s.cmd.Process.Pid)
	return fmt.Sprintf("%.1f MB", float64(kib)*1024/1e6), err
}

// banned is the i-th address of the import.
func banned(i int) netip.Addr {
	v := uint32(i+1) * 2654435761 // scattered, and all different
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// importBody is the alert that cscli sends for a list of n addresses.
func importBody(from, n int) []byte {
	now := time.Now().UTC().Format(time.RFC3339)
	var b bytes.Buffer
	fmt.Fprintf(&b, `[{"capacity":0,"decisions":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"duration":"%dh%dm","origin":"cscli-import","scenario":"list %d","scope":"Ip","type":"ban","value":"%v"}`, 24+i%100, i%60, i%20, banned(from+i))
	}
	fmt.Fprintf(&b, `],"events":[],"events_count":1,"leakspeed":"","message":"","scenario":"import bench: %d IPs","scenario_hash":"","scenario_version":"",`+
		`"simulated":false,"source":{"scope":"","value":""},"start_at":%[2]q,"stop_at":%[2]q}]`, n, now)
	return b.Bytes()
}

// alertBody is what an agent reports of one attacker.
func alertBody(addr netip.Addr) []byte {
	now := time.Now().UTC().Format(time.RFC3339)
	event := fmt.Sprintf(`{"timestamp":%q,"meta":[{"key":"log_type","value":"ssh_failed-auth"},{"key":"service","value":"ssh"},{"key":"source_ip","value":"%v"},{"key":"target_user","value":"root"}]}`, now, addr)
	return fmt.Appendf(nil, `[{"capacity":5,"events":[%[1]s,%[1]s,%[1]s,%[1]s,%[1]s,%[1]s],"events_count":6,"leakspeed":"10s","message":"Ip %[2]v performed 'crowdsecurity/ssh-bf'",`+
		`"remediation":true,"scenario":"crowdsecurity/ssh-bf","scenario_hash":"4441dcff07020f6690d998b7101e642359ba405c2abb83565bbbdcee36de280f","scenario_version":"0.3",`+
		`"simulated":false,"source":{"scope":"Ip","value":"%[2]v","ip":"%[2]v"},"start_at":%[3]q,"stop_at":%[3]q}]`, event, addr, now)
}

// startOurs starts "cs lapi" with one machine and one bouncer.
func startOurs(ctx context.Context, binary, dir string) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{key: "X-Api-Key: " + password + "\r\n"}
	var err error
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if err := s.start(ctx, nil, binary, "lapi", "--data-dir", dir, "--listen", s.addr); err != nil {
		return nil, err
	}
	admin := api.NewAdmin(filepath.Join(dir, "cs.sock"))
	_, err = admin.AddBouncer(ctx, "bench", password)
	if err == nil {
		err = admin.AddMachine(ctx, "bench", password, true)
	}
	if err == nil {
		err = s.login(ctx)
	}
	if err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// startDebian starts upstream's LAPI as its package sets it up, on SQLite with
// WAL, with one machine and one bouncer.
func startDebian(ctx context.Context, peers, dir string) (*server, error) {
	for _, sub := range []string{"data", "hub", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	s := &server{key: "X-Api-Key: " + password + "\r\n"}
	var err error
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	files := map[string]string{
		"config.yaml": strings.NewReplacer("DIR", dir, "PEERS", peers, "ADDR", s.addr).Replace(`
common: {daemonize: false, log_media: stdout, log_level: error, log_dir: DIR/log, working_dir: .}
config_paths: {config_dir: DIR/, data_dir: DIR/data/, simulation_path: DIR/simulation.yaml, hub_dir: DIR/hub/, index_path: DIR/hub/.index.json, notification_dir: DIR/notifications/, plugin_dir: DIR/plugins/}
crowdsec_service: {acquisition_path: DIR/acquis.yaml, parser_routines: 1}
cscli: {output: human}
db_config: {log_level: error, type: sqlite, db_path: DIR/data/crowdsec.db, use_wal: true}
api:
  client: {insecure_skip_verify: false, credentials_path: DIR/local_api_credentials.yaml}
  server: {log_level: error, listen_uri: "ADDR", profiles_path: PEERS/etc/profiles.yaml, console_path: DIR/console.yaml}
prometheus: {enabled: false}
`),
		"simulation.yaml":            "simulation: off\n",
		"console.yaml":               "share_manual_decisions: false\nshare_custom: false\nshare_tainted: false\nshare_context: false\n",
		"acquis.yaml":                "",
		"local_api_credentials.yaml": "url: http://" + s.addr + "\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	conf, cscli := filepath.Join(dir, "config.yaml"), filepath.Join(peers, "usr/bin/cscli")
	for _, args := range [][]string{
		{"machines", "add", "bench", "--password", password, "-f", filepath.Join(dir, "local_api_credentials.yaml"), "--force"},
		{"bouncers", "add", "bench", "--key", password},
	} {
		if out, err := exec.CommandContext(ctx, cscli, append([]string{"-c", conf}, args...)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot set up Debian's LAPI: %w: %s", err, out)
		}
	}
	if err := s.start(ctx, []string{"GIN_MODE=release"}, filepath.Join(peers, "usr/bin/crowdsec"), "-c", conf, "-no-cs"); err != nil {
		return nil, err
	}
	if err := s.login(ctx); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// start starts a server and waits until it answers.
func (s *server) start(ctx context.Context, env []string, name string, args ...string) error {
	var out bytes.Buffer
	s.cmd = exec.CommandContext(ctx, name, args...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	s.kill = sync.OnceFunc(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	for range 200 {
		if c, err := dial(ctx, s.addr); err == nil {
			c.conn.Close()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.kill()
	return fmt.Errorf("%s does not listen: %s", name, out.String())
}

func (s *server) login(ctx context.Context) error {
	var out api.LoginResponse
	if err := s.call(ctx, "POST", api.PathLogin, "", api.LoginRequest{MachineID: "bench", Password: password}, nil, &out); err != nil {
		return err
	}
	s.token = "Authorization: Bearer " + out.Token + "\r\n"
	return nil
}

// call does one request with a client that is comfortable instead of fast.
func (s *server) call(ctx context.Context, method, path, header string, in any, head *http.Header, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "bench/v1")
	if name, value, ok := strings.Cut(strings.TrimSpace(header), ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if head != nil {
		*head = resp.Header
	}
	if out != nil {
		return json.Unmarshal(text, out)
	}
	return nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
