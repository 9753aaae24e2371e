package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/api"
	server "cs/roles/lapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// grammar is the part of the program's grammar that this package makes.
type grammar struct {
	Globals
	Alerts     Alerts     `cmd:"" aliases:"alert"`
	Allowlists Allowlists `cmd:"" aliases:"allowlist"`
	Bouncers   Bouncers   `cmd:"" aliases:"bouncer"`
	Decisions  Decisions  `cmd:"" aliases:"decision"`
	Explain    Explain    `cmd:""`
	Hubtest    Hubtest    `cmd:""`
	LAPI       struct {
		Status LAPIStatus `cmd:""`
		Repair LAPIRepair `cmd:""`
	} `cmd:"" name:"lapi"`
	Machines Machines `cmd:"" aliases:"machine"`
	Version  Version  `cmd:""`
}

var testNow = time.Date(2026, 11, 22, 11, 38, 44, 500e6, time.UTC)

// result is what a command line did.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command line as main does, with its data in dir.
func run(t *testing.T, dir, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	g := grammar{Globals: Globals{Now: func() time.Time { return testNow }}}
	env := &platform.Env{Program: "cs", Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, LookupEnv: os.LookupEnv, Version: "v0.1"}
	path, command, err := parse(t, &g, append([]string{"--data-dir=" + dir}, args...))
	g.Offline = server.Offline // not before: the two parsers are compared
	if err == nil {
		switch c := command.(type) {
		case interface {
			Run(context.Context, *platform.Env, *Globals) error
		}:
			err = c.Run(t.Context(), env, &g.Globals)
		case interface {
			Run(context.Context, *platform.Env, *Globals, *Hubtest) error
		}:
			err = c.Run(t.Context(), env, &g.Globals, &g.Hubtest)
		default:
			t.Fatalf("%v can't be run", args)
		}
	}
	if err != nil {
		fmt.Fprintln(&stderr, FormatError("cscli", path, err))
		return result{stdout.String(), stderr.String(), 1}
	}
	return result{stdout.String(), stderr.String(), 0}
}

// parseFlagset reads a command line as the edge build does. The path is empty
// if it has an error.
func parseFlagset(g *grammar, args []string) (path string, command any, err error) {
	c, err := flagset.New("cscli", "", g).Parse(args, os.LookupEnv)
	if err != nil {
		return "", nil, err
	}
	return c.Path(), c.Target, nil
}

// fake is a LAPI with fixed answers that notes what it is asked.
type fake struct {
	mu       sync.Mutex
	machines []api.Machine
	bouncers []api.Bouncer
	usage    []api.Usage
	alerts   []api.Alert
	allowed  map[string]string // value -> reason
	password string
	demands  bool // a token on the socket, as earlier versions did
	drops    bool // alerts, silently
	posted   []byte
	asked    []string
	refuse   map[string]api.Error // "GET /v1/alerts" -> answer
}

// asks returns what the fake was asked, without the logins.
func (f *fake) asks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	path := r.URL.EscapedPath()
	answer := func(v any) { json.NewEncoder(w).Encode(v) }
	fail := func(status int, message string) {
		w.WriteHeader(status)
		answer(api.ErrorResponse{Message: message})
	}
	expire := testNow.Add(100 * 365 * 24 * time.Hour).Format(time.RFC3339)
	switch path {
	case api.PathAdminLogin:
		answer(api.LoginResponse{Token: "t", Expire: expire})
		return
	case api.PathLogin:
		var in api.LoginRequest
		if json.Unmarshal(body, &in); in.Password != f.password {
			fail(401, "incorrect Username or Password")
			return
		}
		answer(api.LoginResponse{Token: "t", Expire: expire})
		return
	}
	ask := r.Method + " " + path
	if r.URL.RawQuery != "" {
		ask += "?" + r.URL.RawQuery
	}
	f.asked = append(f.asked, ask)
	if e, ok := f.refuse[r.Method+" "+path]; ok {
		fail(e.Status, e.Message)
		return
	}
	open := f.password == "" && !f.demands // the socket
	if token := r.Header.Get("Authorization"); strings.HasPrefix(path, "/v1/") && token != "Bearer t" && (token != "" || !open) {
		fail(401, "no token")
		return
	}
	name := func(prefix string) (string, bool) { return strings.CutPrefix(path, prefix+"/") }
	if value, ok := name(api.PathAllowlistCheck); ok {
		if reason := f.allowed[strings.ReplaceAll(value, "%2F", "/")]; reason != "" {
			answer(map[string]any{"allowlisted": true, "reason": reason})
		} else {
			answer(struct{}{})
		}
		return
	}
	if id, ok := name(api.PathAlerts); ok && r.Method == "GET" {
		for _, a := range f.alerts {
			if strconv.FormatInt(a.ID, 10) == id {
				answer(a)
				return
			}
		}
		fail(404, "object not found")
		return
	}
	if m, ok := name(api.PathAdminMachines); ok {
		m, _ = strings.CutSuffix(m, "/validate")
		if !slices.ContainsFunc(f.machines, func(x api.Machine) bool { return x.Name == m }) {
			fail(404, "object not found")
		}
		return
	}
	if b, ok := name(api.PathAdminBouncers); ok {
		if !slices.ContainsFunc(f.bouncers, func(x api.Bouncer) bool { return x.Name == b }) {
			fail(404, "object not found")
		}
		return
	}
	switch r.Method + " " + path {
	case "GET " + api.PathAdminUsage:
		answer(f.usage)
	case "GET " + api.PathAdminMachines:
		answer(f.machines)
	case "POST " + api.PathAdminMachines:
		var in api.AddMachineRequest
		json.Unmarshal(body, &in)
		if !in.Force && slices.ContainsFunc(f.machines, func(x api.Machine) bool { return x.Name == in.Name }) {
			fail(409, "taken")
			return
		}
		f.posted = body
	case "GET " + api.PathAdminBouncers:
		answer(f.bouncers)
	case "POST " + api.PathAdminBouncers:
		var in api.AddBouncerRequest
		json.Unmarshal(body, &in)
		if slices.ContainsFunc(f.bouncers, func(x api.Bouncer) bool { return x.Name == in.Name }) {
			fail(409, "taken")
			return
		}
		answer(api.BouncerResponse{Key: first(in.Key, "made/by+the/server")})
	case "GET " + api.PathAlerts:
		answer(f.alerts)
	case "POST " + api.PathAlerts:
		f.posted = body
		w.WriteHeader(201)
		if f.drops {
			answer([]string{})
			return
		}
		answer([]string{"12"})
	case "POST " + api.PathAllowlistCheck:
		var in struct{ Targets []string }
		json.Unmarshal(body, &in)
		out := []api.AllowlistMatch{}
		for _, v := range in.Targets {
			if reason := f.allowed[v]; reason != "" {
				out = append(out, api.AllowlistMatch{Target: v, Allowlists: []string{reason}})
			}
		}
		answer(map[string]any{"results": out})
	default:
		if r.Method == "DELETE" {
			answer(api.DeletedResponse{Deleted: "3"})
			return
		}
		fail(404, "object not found")
	}
}

// serve lets the fake listen on the socket of a new data directory, which it returns.
func (f *fake) serve(t *testing.T) (dir string) {
	t.Helper()
	// Not t.TempDir: a socket's path may have no more than 103 bytes on some systems.
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "cs.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return dir
}

// serveTCP lets the fake listen on a port, with credentials for it in a new data directory.
func (f *fake) serveTCP(t *testing.T) (dir, url string) {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	dir = t.TempDir()
	f.password = "secret"
	writeTestFile(t, filepath.Join(dir, "local_api_credentials.yaml"), "url: "+s.URL+"\nlogin: agent1\npassword: secret\n")
	return dir, s.URL
}

func writeTestFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func date(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

// fixed is the data that the golden files show: all that can be odd about accounts and alerts.
func fixed(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		machines: []api.Machine{
			{Name: "localhost", AuthType: "password", Validated: true, Created: date("2026-11-22T11:35:50.132557283Z"),
				Updated: date("2026-11-22T11:35:50.2Z"), LastPush: date("2026-11-22T11:35:51Z")},
			{Name: "agent1", IP: "192.0.2.7", AuthType: "password", Validated: true, Version: "v1.7.8-linux", OSName: "debian", OSVersion: "12.11",
				FeatureFlags: []string{"re2_grok_support"}, Datasources: map[string]int64{"syslog": 2, "file": 1},
				HubItems: api.HubItems{
					"scenarios":   {{Name: "crowdsecurity/ssh-bf", Version: "0.3", Status: "official"}, {Name: "mine", Status: "custom"}},
					"collections": {{Name: "crowdsecurity/sshd", Version: "0.7", Status: "tainted"}},
					"parsers":     {},
				},
				Created: date("2026-11-22T11:36:23Z"), Updated: date("2026-11-22T11:38:34Z"), LastHeartbeat: date("2026-11-22T11:37:31.1Z")},
			{Name: "silent", AuthType: "tls", Validated: true, Created: date("2026-11-20T11:36:23Z"), Updated: date("2026-11-20T11:36:23Z"),
				LastHeartbeat: date("2026-11-20T12:00:00Z")},
			{Name: "pending\x1b[2J", IP: "2001:db8::1", AuthType: "password", Created: date("2026-11-22T11:38:44Z"), Updated: date("2026-11-22T11:38:44Z")},
		},
		bouncers: []api.Bouncer{
			{Name: "fw", AuthType: "api-key", Created: date("2026-11-22T11:35:50.164071981Z"), Updated: date("2026-11-22T11:35:50.164072522Z")},
			{Name: "lua", IP: "127.0.0.1", AuthType: "api-key", Type: "crowdsec-lua-bouncer", Version: "v1.0", OSName: "alpine", OSVersion: "3.20",
				FeatureFlags: []string{"a", "b"}, Created: date("2026-11-22T11:38:25Z"), Updated: date("2026-11-22T11:38:43Z"), LastPull: date("2026-11-22T11:38:43.9Z")},
			{Name: "lua@192.0.2.9", IP: "192.0.2.9", AuthType: "api-key", Type: "x,\"y\"\n", Version: "\u202eevil", AutoCreated: true,
				Created: date("2026-11-22T11:38:25Z"), Updated: date("2026-11-22T11:38:43Z")},
		},
		usage: []api.Usage{{Machine: "agent1", Items: []api.UsageItem{
			{Name: "global_parsed", Value: 9, Unit: "event"},
			{Name: "parsed", Value: 7, Unit: "line", Labels: map[string]string{"source": "/var/log/auth.log", "datasource_type": "file"}},
			{Name: "parsed", Value: 7, Unit: "line", Labels: map[string]string{"source": "/var/log/auth.log", "parser": "crowdsecurity/sshd-logs", "stage": "s01-parse"}},
			{Name: "read", Value: 12, Unit: "line", Labels: map[string]string{"source": "/var/log/auth.log", "datasource_type": "file"}},
			{Name: "unparsed", Value: 5, Unit: "line", Labels: map[string]string{"source": "/var/log/auth.log", "datasource_type": "file"}},
		}}, {Machine: "silent", Items: []api.UsageItem{{Name: "read", Value: 1, Labels: map[string]string{"source": "x"}}}}},
		allowed: map[string]string{"192.0.2.7": "192.0.2.0/24 from l1 (com)", "203.0.113.0/24": "203.0.113.9 from vip"},
	}
	text, err := os.ReadFile("testdata/alerts.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &f.alerts); err != nil {
		t.Fatal(err)
	}
	return f
}

// golden compares what was printed with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		writeTestFile(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestGolden runs every command that shows something, in all formats.
func TestGolden(t *testing.T) {
	for _, args := range []string{
		"machines list", "machines inspect agent1", "machines inspect agent1 -H", "machines inspect silent -H",
		"bouncers list", "bouncers inspect lua", "bouncers add new -k chosen<key>",
		"decisions list", "decisions list -m", "alerts list", "alerts list -m",
		"alerts inspect 10", "alerts inspect 10 -d", "alerts inspect 5 8",
		"lapi status",
	} {
		for _, format := range []string{human, jsonText, raw} {
			name := strings.NewReplacer(" ", "_", "<", "", ">", "").Replace(args) + "." + format
			t.Run(name, func(t *testing.T) {
				dir := fixed(t).serve(t)
				r := run(t, dir, "", append(strings.Fields(args), "-o", format)...)
				text := strings.ReplaceAll(r.stdout, dir, "DIR")
				if r.stderr != "" || r.code != 0 {
					text += fmt.Sprintf("--- stderr, exit code %d\n%s", r.code, r.stderr)
				}
				golden(t, name, text)
				if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), unsafeRune); i >= 0 {
					t.Errorf("the terminal gets a control character at byte %d", i)
				}
			})
		}
	}
}

func TestEmptyLists(t *testing.T) {
	dir := (&fake{}).serve(t)
	f := func(want string, args ...string) {
		t.Helper()
		if r := run(t, dir, "", args...); r.stdout != want || r.stderr != "" || r.code != 0 {
			t.Errorf("%v: got %+v, want %q", args, r, want)
		}
	}
	f("No active decisions\n", "decisions", "list")
	f("[]\n", "decisions", "list", "-o", "json")
	f("id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n", "decisions", "list", "-o", "raw")
	f("No active alerts\n", "alerts", "list")
	f("[]\n", "alerts", "list", "-o", "json")
	f("id,scope,value,reason,country,as,decisions,created_at,kind,machine\n", "alerts", "list", "-m", "-o", "raw")
	f("[]\n", "machines", "list", "-o", "json")
	f("[]\n", "bouncers", "list", "-o", "json")
	f("name,ip,revoked,last_pull,type,version,auth_type\n", "bouncers", "list", "-o", "raw")
	f("machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os\n", "-o", "raw", "machine", "list")
	rule := strings.Repeat("-", 66) + "\n"
	f(rule+" Name  IP Address  Valid  Last API pull  Type  Version  Auth Type \n"+rule+rule, "bouncers", "list")
}
