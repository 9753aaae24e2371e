package config

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/platform"
	"cs/platform/strict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// vars are environment variables.
type vars map[string]string

func (v vars) lookup(name string) (string, bool) { s, ok := v[name]; return s, ok }

var none = vars{}.lookup

// golden compares lines of text with a file.
func golden[T any](t *testing.T, file string, list []T) {
	t.Helper()
	var b strings.Builder
	for _, v := range list {
		fmt.Fprintln(&b, v)
	}
	got := strings.ReplaceAll(b.String(), `testdata\`, "testdata/")
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "\r", ""), got); diff != "" {
		t.Errorf("%s, want -, got +:\n%s", file, diff)
	}
}

// write makes files in a new directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestNoFileRunsAllRolesOnDefaults(t *testing.T) {
	got, errs := (&File{}).Resolve(none)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	data := platform.DataDir()
	want := Resolved{
		DataDir:  data,
		LogLevel: slog.LevelInfo,
		LAPI: LAPI{
			Enabled: true, Listen: "127.0.0.1:8080", AdminSocket: filepath.Join(data, "cs.sock"),
			Policy: Policy{MaxAlerts: 5000, MaxAlertAge: 7 * 24 * time.Hour, MaxMetricsAge: 7 * 24 * time.Hour}, MaxDecisions: 2_000_000,
		},
		Agent:   Agent{Enabled: true, CredentialsPath: filepath.Join(data, CredentialsName), MaxBuckets: 262144, SpoolBytes: 16 << 20, CatchUp: 10 * time.Minute},
		Bouncer: usualBouncer(func(b *Bouncer) { b.Enabled = true }),
	}
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestPackagedFile(t *testing.T) {
	f, err := Load("testdata/packaged.yaml", none)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := f.Resolve(none)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	want := Resolved{
		Path:      "testdata/packaged.yaml",
		ConfigDir: "/etc/crowdsec/",
		DataDir:   "/var/lib/crowdsec/data/",
		Log:       Log{File: LogFile{Path: "/var/log/crowdsec.log", MaxSize: 20 << 20, MaxFiles: 10, MaxAge: 28 * 24 * time.Hour, Compress: true}},
		Metrics:   Metrics{Listen: "127.0.0.1:6060", Level: "full"},
		LAPI: LAPI{
			Enabled: true, Listen: "127.0.0.1:8080", AdminSocket: filepath.Join("/var/lib/crowdsec/data", "cs.sock"),
			ProfilesPath: "/etc/crowdsec/profiles.yaml", NotificationDir: "/etc/crowdsec/notifications/",
			Policy: Policy{
				TrustedIPs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")},
				MaxAlerts:  5000, MaxAlertAge: 7 * 24 * time.Hour, MaxMetricsAge: 7 * 24 * time.Hour,
			},
			MaxDecisions: 2_000_000,
		},
		Agent: Agent{
			Enabled: true, AcquisitionPath: "/etc/crowdsec/acquis.yaml", AcquisitionDir: "/etc/crowdsec/acquis.d",
			CredentialsPath: "/etc/crowdsec/local_api_credentials.yaml", CredentialsNamed: true, MaxBuckets: 262144, SpoolBytes: 16 << 20, CatchUp: 10 * time.Minute,
			HubDir: "/etc/crowdsec/hub/", HubIndexPath: "/etc/crowdsec/hub/.index.json", SimulationPath: "/etc/crowdsec/simulation.yaml",
			ParserRoutines: 1,
		},
		// Upstream's bouncer is a program of its own: not enabled.
		Bouncer: usualBouncer(func(*Bouncer) {}),
	}
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// usualBouncer is a bouncer of which nothing was said but what change does.
func usualBouncer(change func(*Bouncer)) Bouncer {
	b := Bouncer{
		UpdateFrequency: 10 * time.Second, Backend: "auto", DenyAction: "drop", DenyLogPrefix: "crowdsec drop: ", LockoutGuard: true,
		OnStop: "keep", Resync: 6 * time.Hour, MaxDecisions: 2_000_000, MaxEntries: AutoEntries, Layout: "map", Conntrack: "all",
		IPv4:  BouncerFamily{Set: "crowdsec-blacklists", Table: "crowdsec", Chain: "crowdsec-chain"},
		IPv6:  BouncerFamily{Set: "crowdsec6-blacklists", Table: "crowdsec6", Chain: "crowdsec6-chain"},
		Ipset: Ipset{Comments: true},
		Exec:  Exec{Timeout: 30 * time.Second},
		File:  BouncerFile{Format: "plain", Every: time.Second}, Windows: Windows{Lifetime: "persistent"},
	}
	change(&b)
	return b
}

func TestEveryKey(t *testing.T) {
	f, err := Load("testdata/everything.yaml", none)
	if err != nil {
		t.Fatal(err)
	}
	// The file must really have every key, so that none is refused.
	var missing func(prefix string, v reflect.Value)
	missing = func(prefix string, v reflect.Value) {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			key := prefix + field.Tag.Get("yaml")
			switch key {
			case "", "common.force_color_logs", "cscli.hub_with_content",
				"bouncer.cert_path", "bouncer.key_path", "bouncer.disable_ipv4", "db_config.flush.agents_autodelete.api_key", "db_config.flush.bouncers_autodelete.login_password":
				continue // given as false; or refused together with others
			}
			value := v.Field(i)
			if value.IsZero() {
				t.Errorf("%s is not in the file, or not read", key)
			} else if kind := reflect.Indirect(value); kind.Kind() == reflect.Struct && kind.Type() != reflect.TypeFor[strict.Text]() {
				missing(key+".", value)
			}
		}
	}
	missing("", reflect.ValueOf(f))

	got, errs := f.Resolve(vars{"CS_LAPI_SECRET": strings.Repeat("s", 64)}.lookup)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	p := netip.MustParsePrefix
	want := Resolved{
		Path: "testdata/everything.yaml", ConfigDir: "/c", DataDir: "/d", LogLevel: slog.LevelDebug, MemoryLimit: 64 << 20,
		Log:     Log{JSON: true, File: LogFile{Path: "/l/crowdsec.log", MaxSize: 7 << 20, MaxFiles: 2, MaxAge: 14 * 24 * time.Hour}},
		Metrics: Metrics{Listen: "127.0.0.1:6060", Level: "full"},
		LAPI: LAPI{
			Enabled: true, Listen: "[::]:9090", AdminSocket: filepath.Join("/d", "cs.sock"), Socket: "/run/lapi.sock", ProfilesPath: "/profiles", NotificationDir: "/n", ServedHub: "/h",
			Policy: Policy{
				Token: "0123456789abcdef0123456789abcdef", TokenRanges: []netip.Prefix{p("10.0.0.0/8"), p("::1/128")},
				BouncerRegistration: true, LocalRegistrationOnly: true,
				TrustedIPs:     []netip.Prefix{p("198.51.100.7/32"), p("2001:db8::/32")},
				TrustedProxies: []netip.Prefix{p("192.0.2.0/24")},
				MaxAlerts:      100, MaxAlertAge: 60 * time.Hour, MaxMetricsAge: 7 * 24 * time.Hour,
				IdleMachines: 48 * time.Hour, IdleCertMachines: 24 * time.Hour, IdleBouncers: 96 * time.Hour, IdleCertBouncers: 72 * time.Hour,
			},
			TLS: TLS{
				CertFile: "c", KeyFile: "k", ClientAuth: tls.RequireAnyClientCert, CACertPath: "y", CRLPath: "z", AgentsAllowedOU: []string{"a"}, BouncersAllowedOU: []string{"b"},
				CacheExpiration: time.Hour,
			},
			Secret: []byte(strings.Repeat("s", 64)), MaxDecisions: 1000,
		},
		Agent: Agent{
			Enabled: true, AcquisitionPath: "/a", AcquisitionDir: "/a.d", CredentialsPath: "/cred", CredentialsNamed: true, Unregister: true, InsecureSkipVerify: true,
			MaxBuckets: 2000, SpoolBytes: 65536, CatchUp: 2 * time.Minute, Fallbacks: []string{"/fb1", "/fb2"}, Additional: []string{"/add1"},
			HubDir: "/h", HubIndexPath: "/i", SimulationPath: "/s", ConsoleContextPath: "/c", PatternDir: "/pt",
			ContextLength: 4000, ParserRoutines: 1, DNSTTL: time.Minute, DNSNegativeTTL: 10 * time.Second, DNSSize: 100,
			CTIKey: "k", CTITTL: 10 * time.Minute, CTISize: 100,
		},
		Bouncer: usualBouncer(func(b *Bouncer) {
			b.IgnorePorts = []Ports{{443, 443, ""}, {53, 53, "udp"}, {1000, 2000, "tcp"}}
			b.Enabled, b.APIURL, b.APIKey, b.CACertPath, b.InsecureSkipVerify = true, "http://lapi.example:8080/", "secret", "/ca", true
			b.UpdateFrequency, b.Types = 5*time.Second, []string{"ban"}
			b.Scopes, b.Origins = []string{"ip"}, []string{"cscli", "crowdsec"}
			b.ScenariosContaining, b.ScenariosNotContaining = []string{"ssh"}, []string{"web"}
			b.Backend, b.DenyAction, b.DenyLog, b.DenyLogPrefix = "dry-run", "reject", true, "drop "
			b.Ignore, b.LockoutGuard, b.OnStop = []netip.Prefix{p("192.0.2.1/32"), p("10.0.0.0/8")}, false, "clean"
			b.Resync, b.TrustResync, b.EndConnections, b.GiveUp = time.Hour, true, true, true
			b.Plain, b.Layout, b.Table, b.Hooks, b.Interfaces, b.Conntrack = true, "sets", "t", []string{"input", "forward"}, []string{"wan"}, "new"
			priority := -5
			b.IPv4 = BouncerFamily{
				Set: "b4", Table: "t4", Chain: "c4", Priority: &priority, SetOnly: true,
				SetPerOrigin: map[string]string{"CAPI": "capi", "*": "rest"}, Chains: []string{"FORWARD", "INPUT"},
			}
			b.IPv6 = BouncerFamily{
				Off: true, Set: "b6", Table: "t6", Chain: "c6", Priority: new(int), SetOnly: true,
				SetPerOrigin: map[string]string{"CAPI": "six"}, Chains: []string{"FORWARD6", "INPUT"},
			}
			b.Ipset = Ipset{NoTimeouts: true, Force: true}
			b.PF = PF{Anchor: "a"}
			b.Exec = Exec{Program: "/p", Args: []string{"x"}, Timeout: 5 * time.Second}
			b.File = BouncerFile{Path: "/f", Format: "nft", Set4: "s4", Set6: "s6", Command: []string{"c", "d"}, Every: time.Minute}
			b.Windows = Windows{Lifetime: "until-reboot", Outbound: true}
			b.MaxDecisions, b.MaxEntries = 1000, 500
		}),
	}
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestWrongFiles(t *testing.T) {
	_, err := Load("testdata/wrong.yaml", none)
	golden(t, "wrong.txt", each(err))

	f, err := Load("testdata/unresolvable.yaml", none)
	if err != nil {
		t.Fatal(err)
	}
	_, errs := f.Resolve(vars{"CS_LAPI_SECRET": "short"}.lookup)
	golden(t, "unresolvable.txt", errs)
}

func TestLoadRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		path := filepath.Join(write(t, map[string]string{"config.yaml": text}), "config.yaml")
		_, err := Load(path, none)
		if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	f("common: [", "cannot parse YAML")
	f("a: 1\n---\nb: 2\n", "second document")
	f("limits: {max_buckets: 1, max_buckets: 2}\n", "limits.max_buckets: key is there twice")
	f("- a\n", "want a mapping, this is a list")
	f(strings.Repeat("[", 5000), "brackets are open at once")

	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), none)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	big := filepath.Join(write(t, map[string]string{"big.yaml": strings.Repeat("#\n", maxFile)}), "big.yaml")
	if _, err := Load(big, none); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestEmptyFile(t *testing.T) {
	dir := write(t, map[string]string{"config.yaml": "# nothing\n", "config.yaml.local": "limits: {max_entries: 7}\n"})
	f, err := Load(filepath.Join(dir, "config.yaml"), none)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := f.Resolve(none)
	if len(errs) > 0 || got.Bouncer.MaxEntries != 7 || got.ConfigDir != dir || !got.Agent.Enabled || !got.Bouncer.Enabled {
		t.Errorf("%+v, %v", got, errs)
	}
}

func TestOverlay(t *testing.T) {
	base := `
common: {log_level: debug, log_dir: /base}
api:
  server:
    listen_uri: 127.0.0.1:1111
    trusted_ips: [10.0.0.1, 10.0.0.2]
    auto_registration: {enabled: false, token: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, allowed_ranges: [10.0.0.0/8]}
`
	load := func(local string) (*File, error) {
		dir := write(t, map[string]string{"config.yaml": base, "config.yaml.local": local})
		return Load(filepath.Join(dir, "config.yaml"), none)
	}
	f, err := load(`
common: {log_dir: /local}
api: {server: {trusted_ips: [192.0.2.1], auto_registration: {enabled: true}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := f.Resolve(none)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	// Sections are merged, values and lists replaced.
	if got.LogLevel != slog.LevelDebug || f.Common.LogDir != "/local" || got.LAPI.Listen != "127.0.0.1:1111" ||
		fmt.Sprint(got.LAPI.Policy.TrustedIPs) != "[192.0.2.1/32]" || fmt.Sprint(got.LAPI.Policy.TokenRanges) != "[10.0.0.0/8]" ||
		got.LAPI.Policy.Token == "" {
		t.Errorf("%+v", got)
	}
	if _, err := load("common: [1]\n"); err == nil || !strings.Contains(err.Error(), "config.yaml.local:1:9: common: want a mapping") {
		t.Errorf("another kind of value: %v", err)
	}
	if _, err := load("api: {server: {trusted_ips: {a: 1}}}\n"); err == nil || !strings.Contains(err.Error(), "want a list") {
		t.Errorf("another kind of value: %v", err)
	}
}

func TestRolesOfAFile(t *testing.T) {
	f := func(text string, lapi, agent, bouncer bool) {
		t.Helper()
		file, err := Load(filepath.Join(write(t, map[string]string{"c.yaml": text}), "c.yaml"), none)
		if err != nil {
			t.Fatal(err)
		}
		if file.Bouncer == nil { // a section that flags make doesn't count
			file.Bouncer = &BouncerSection{APIKey: "flag"}
		}
		got, errs := file.Resolve(none)
		if len(errs) > 0 || got.LAPI.Enabled != lapi || got.Agent.Enabled != agent || got.Bouncer.Enabled != bouncer {
			t.Errorf("%q: lapi %v, agent %v, bouncer %v, %v", text, got.LAPI.Enabled, got.Agent.Enabled, got.Bouncer.Enabled, errs)
		}
	}
	f("limits: {}", true, true, true)
	f("api: {client: {insecure_skip_verify: false}}", true, true, true)
	f("api: {server: {listen_uri: ':8080'}}", true, false, false)
	f("crowdsec_service: {acquisition_path: /x}", false, true, false)
	f("bouncer: {api_key: x}", false, false, true)
	f("bouncer: {enable: false, api_key: x}", false, false, false)
	f("api: {server: {enable: no}}\ncrowdsec_service: {enable: yes}", false, true, false)
}

func TestExpand(t *testing.T) {
	env := vars{"NAME": "value", "A_1": "x", "EMPTY": ""}.lookup
	f := func(in, want string) {
		t.Helper()
		if got := string(strict.Expand([]byte(in), env)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("a: $NAME", "a: value")
	f("a: ${NAME}b", "a: valueb")
	f("a: $NAMEb ${A_1}$A_1", "a: $NAMEb xx")
	f("a: ${EMPTY}.", "a: .")
	f("P@ssw0rd$ $3cureP@ssw0rd $UNKNOWN ${UNKNOWN} $ $$ ${} ${NAME", "P@ssw0rd$ $3cureP@ssw0rd $UNKNOWN ${UNKNOWN} $ $$ ${} ${NAME")
	f("$2a$10$abc", "$2a$10$abc")
	f("$$NAME", "$value")
}

func TestDefaults(t *testing.T) {
	keys := map[string]bool{}
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[strict.Text]() {
			keys[strings.TrimSuffix(prefix, ".")] = true
			return
		}
		for i := range typ.NumField() {
			if tag := typ.Field(i).Tag.Get("yaml"); tag != "" {
				walk(prefix+tag+".", typ.Field(i).Type)
			}
		}
	}
	walk("", reflect.TypeFor[File]())
	for _, d := range defaults {
		if !keys[d.key] || d.why == "" {
			t.Errorf("default %+v: no such key, or no reason", d)
		}
	}
}

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local_api_credentials.yaml")
	want := Credentials{URL: "http://127.0.0.1:8080/", Login: "web: 1", Password: `p"$a's#s: 'w`}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := ReadCredentials(path, none)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := ReadCredentials(path+"x", none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}

	f := func(text, local, want string) {
		t.Helper()
		files := map[string]string{"c.yaml": text}
		if local != "" {
			files["c.yaml.local"] = local
		}
		path := filepath.Join(write(t, files), "c.yaml")
		got, err := ReadCredentials(path, vars{"PASSWORD": "from-env"}.lookup)
		text = fmt.Sprintf("%s %s %s", got.URL, got.Login, got.Password)
		if err != nil {
			text = err.Error()
			if !strings.Contains(text, path) {
				t.Errorf("the error doesn't name the file: %v", err)
			}
		}
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %s", text, want)
		}
	}
	f("url: http://a:8080\nlogin: l\npassword: ${PASSWORD}\n", "", "http://a:8080/ l from-env")
	f("url: http://a:8080\nlogin: l\npassword: p\n", "url: https://b/x\n", "https://b/x/ l p")
	f("url: /run/cs.sock\nlogin: l\npassword: 0123\n", "", "/run/cs.sock l 0123")
	f("login: l\n", "", "url is missing")
	f("url: http://a\n", "", "neither a login nor a certificate")
	f("url: http://a\nlogin: l\ncert_path: c\nkey_path: k\n", "", "mutually exclusive")
	f("url: http://a\ncert_path: c\n", "", "go together")
	f("url: /run/cs.sock\ncert_path: c\nkey_path: k\n", "", "cannot use TLS with a unix socket")
	f("url: http://a\nlogn: l\n", "", "c.yaml:2:1: logn: unknown key (did you mean login?)")
}

func TestCredentialsThroughALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	c := Credentials{URL: "http://a/", Login: "l", Password: "p"}
	if err := c.Write(link); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadCredentials(target, none); err != nil || got != c {
		t.Errorf("the target holds %+v, %v", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

func TestNormalURL(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := normalURL(in)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s (%v), want %s", in, got, err, want)
		}
	}
	f("http://127.0.0.1:8080", "http://127.0.0.1:8080/")
	f("https://lapi.example/crowdsec", "https://lapi.example/crowdsec/")
	f("https://lapi.example/", "https://lapi.example/")
	f("lapi.example:8080", "http://lapi.example:8080/")
	f("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/")
	f("/run/cs.sock", "/run/cs.sock")
	f("ftp://x", "error")
	f("http://", "error")
	f("http://:8080", "error")
	f("http://a b", "error")
	f("http://x/?q", "error")
	f("", "error")
}

func TestAcquisition(t *testing.T) {
	list, errs := ReadAcquisition("testdata/acquis.yaml", vars{"LOGS": "/logs"}.lookup)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var got []string
	for _, a := range list {
		a.Doc = strict.Doc{} // the keys of the sources are their own affair
		got = append(got, fmt.Sprintf("%+v", a))
	}
	golden(t, "acquis.txt", got)

	list, errs = ReadAcquisition("testdata/acquis-wrong.yaml", none)
	if len(list) != 2 || list[0].Source != "file" || list[1].Source != "wherever" {
		t.Errorf("of the wrong file, these are left: %+v", list)
	}
	golden(t, "acquis-wrong.txt", errs)
}

func TestAcquisitionFiles(t *testing.T) {
	dir := write(t, map[string]string{"b.yaml": "", "a.yml": "", "a.yaml": "", "c.txt": "", "d.yaml.bak": "", "main": ""})
	if err := os.Mkdir(filepath.Join(dir, "e.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := AcquisitionFiles(filepath.Join(dir, "main"), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"main", "a.yaml", "b.yaml", "a.yml"}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if got, err := AcquisitionFiles(filepath.Join(dir, "none"), filepath.Join(dir, "none.d")); err != nil || got != nil {
		t.Errorf("missing ones: %v, %v", got, err)
	}
	if got, err := AcquisitionFiles("", ""); err != nil || got != nil {
		t.Errorf("none given: %v, %v", got, err)
	}
}

func TestFirewallBouncer(t *testing.T) {
	got, warnings, errs := ReadFirewallBouncer("testdata/firewall.yaml", vars{"API_KEY": "k3y"}.lookup, nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	priority, level := -10, slog.LevelInfo
	want := usualBouncer(func(b *Bouncer) {
		b.Enabled, b.APIURL, b.APIKey, b.Types = true, "http://127.0.0.1:8080/", "k3y", []string{"ban"}
		b.Backend, b.Layout, b.Level = "iptables", "sets", &level
		b.LogFile = LogFile{Path: filepath.Join("/var/log", "crowdsec-firewall-bouncer.log"), MaxSize: 100 << 20, MaxFiles: 3, MaxAge: 30 * 24 * time.Hour, Compress: true}
		for _, f := range []*BouncerFamily{&b.IPv4, &b.IPv6} {
			f.Priority, f.Chains = &priority, []string{"INPUT"}
		}
	})
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if len(warnings) != 0 {
		t.Errorf("warned %v", warnings)
	}
	// A key that is unknown is the first thing to be told; then what they say.
	_, _, unknown := ReadFirewallBouncer("testdata/firewall-wrong.yaml", none, nil)
	f := File{path: "testdata/firewall-wrong.yaml", Bouncer: new(BouncerSection)}
	_ = load(f.path, none, f.Bouncer)
	_, warnings, errs = f.firewallBouncer()
	for i := range warnings {
		warnings[i] = fmt.Errorf("warning: %w", warnings[i])
	}
	golden(t, "firewall.txt", append(unknown, append(warnings, errs...)...))

	if _, _, errs := ReadFirewallBouncer(filepath.Join(t.TempDir(), "none"), none, nil); len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("a missing file: %v", errs)
	}
}

// FuzzRead gives any text to every reader; whatever it is, they return.
func FuzzRead(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, seed := range seeds {
		text, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("url: $X\nlogin: ${X}\n")
	env := vars{"X": "a: [", "API_KEY": "k"}.lookup
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := strict.Parse("file", strict.Expand([]byte(text), env))
		if err != nil {
			return
		}
		var file File
		if decode(docs, &file) == nil {
			decode(docs, &file) // laid over itself
			file.Resolve(env)
		}
		var c Credentials
		if decode(docs, &c) == nil {
			if credentials := Credentials(c); credentials.check() == nil && credentials.URL == "" {
				t.Error("credentials without a URL")
			}
		}
		list, _ := readDocuments(docs)
		for _, a := range list {
			if a.Source == "" || a.Labels == nil {
				t.Errorf("%+v", a)
			}
		}
		fw := File{path: "file", Bouncer: new(BouncerSection)}
		if decode(docs, fw.Bouncer) == nil {
			fw.firewallBouncer()
		}
	})
}

// TestFirewallBouncerOverlay: what lies over the file wins, variables are
// replaced where they are known, and nothing is lost in what -T shows.
func TestFirewallBouncerOverlay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crowdsec-firewall-bouncer.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "mode: NFTables\napi_url: http://a/\napi_key: $KEY$none\nnftables: {ipv4: {table: one, chain: c}}\nnftables_hooks: [input]\n")
	write(path+".local", "api_url: http://b/\nnftables: {ipv4: {table: two}}\nnftables_hooks: [forward, prerouting]\nprometheus: {enabled: true}\nretry_initial_connect: false\n")
	b, warnings, errs := ReadFirewallBouncer(path, vars{"KEY": "k"}.lookup, func(f *File) { Set(&f.Bouncer.OnStop, "clean") })
	if len(warnings)+len(errs) > 0 {
		t.Fatal(warnings, errs)
	}
	if b.Backend != "nft" || b.APIURL != "http://b/" || b.APIKey != "k$none" || b.IPv4.Table != "two" || b.IPv4.Chain != "c" || b.OnStop != "clean" ||
		!b.GiveUp || !slices.Equal(b.Hooks, []string{"forward", "prerouting"}) || b.Metrics.Listen != "127.0.0.1:60601" {
		t.Errorf("got %+v", b)
	}
	text, err := Merged(path)
	want := "api_key: \"$KEY$none\"\napi_url: http://b/\nmode: NFTables\nnftables:\n  ipv4:\n    chain: c\n    table: two\nnftables_hooks:\n- forward\n- prerouting\nprometheus:\n  enabled: true\nretry_initial_connect: false\n"
	if err != nil || string(text) != want {
		t.Errorf("merged to\n%s, %v; want\n%s", text, err, want)
	}
}

// TestLogLevel: the configuration decides on the level of the log where no
// flag has.
func TestLogLevel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("common:\n  log_level: warning\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var level slog.LevelVar
	flags := Flags{Config: path}
	for _, env := range []*platform.Env{{LogLevel: &level, LookupEnv: none}, {LookupEnv: none}} {
		r, err := flags.Resolve(env, func(f *File) { f.Bouncer = &BouncerSection{OnStop: strict.Text{Value: "clean"}} })
		if err != nil || r.Bouncer.OnStop != "clean" {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if level.Level() != slog.LevelWarn {
		t.Fatalf("level %v", level.Level())
	}
}

// TestPlaces: where operators' commands look is where the roles are.
func TestPlaces(t *testing.T) {
	f := func(text, socket, credentials, url string, serves bool) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte("config_paths:\n  data_dir: /d\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Load(path, none)
		if err != nil {
			t.Fatal(err)
		}
		if file.DataDir() != "/d" || file.SocketPath() != socket || file.CredentialsPath() != credentials || file.LAPIURL() != url || file.ServesLAPI() != serves {
			t.Errorf("%q: %s, %s, %s, %v", text, file.SocketPath(), file.CredentialsPath(), file.LAPIURL(), file.ServesLAPI())
		}
		r, errs := file.Resolve(none)
		if len(errs) > 0 || r.DataDir != "/d" || r.LAPI.AdminSocket != socket || r.Agent.CredentialsPath != credentials || r.LAPI.Enabled != serves {
			t.Errorf("%q: resolved to %+v, %v", text, r, errs)
		}
	}
	socket, credentials := filepath.Join("/d", SocketName), filepath.Join("/d", CredentialsName)
	f("", socket, credentials, "http://127.0.0.1:8080", true)
	f("crowdsec_service: {}\n", socket, credentials, "http://127.0.0.1:8080", false)
	f("api:\n  client:\n    credentials_path: /c\n  server:\n    listen_uri: :9090\n", socket, "/c", "http://127.0.0.1:9090", true)
	f("api:\n  server:\n    listen_uri: '[::]:9090'\n    enable: false\n", socket, credentials, "http://127.0.0.1:9090", false)
	f("api:\n  server:\n    listen_uri: 192.0.2.1:9090\n", socket, credentials, "http://192.0.2.1:9090", true)
	f("api:\n  server:\n    listen_socket: /s\n", socket, credentials, "/s", true)
}

func TestMachineNames(t *testing.T) {
	for _, make := range []func() string{NewMachineName, NewMachineID, NewPassword} {
		a, b := make(), make()
		if a == b || strings.ContainsFunc(a, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._", r) }) {
			t.Errorf("got %q and %q", a, b)
		}
	}
	if n := len(NewMachineID()); n != 48 {
		t.Errorf("a machine ID has %d characters", n)
	}
	if n := len(NewPassword()); n != 64 {
		t.Errorf("a password has %d characters", n)
	}
}

func TestWarnings(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Load(path, none)
		if err != nil {
			t.Fatal(err)
		}
		got := file.Warnings()
		if len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for i := range got {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("got %q, want %q", got[i], want[i])
			}
		}
	}
	f("config_paths: {data_dir: /d}\nprometheus: {enabled: true, listen_addr: '::1', listen_port: 1}\n")
	f("config_paths: {data_dir: ./d}\ndb_config: {db_path: x.db}\n", "Using a relative path for './d' is deprecated", "for 'x.db'")
	f("prometheus: {enabled: false}\n")
	f("prometheus: {enabled: true}\n", "using '127.0.0.1'", "using '6060'")
	f("api: {server: {capi_whitelists_path: /x}}\n", "allowlists")
}
