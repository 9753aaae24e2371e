package container

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/platform"
	"cs/roles/config"
)

// A fake is this program's command line: it notes what it is asked, and fails as told.
type fake struct {
	calls    []string
	refuse   func(line string) bool
	machines []string
	bouncers []string
}

func (f *fake) execute(_ context.Context, args []string, env *platform.Env) int {
	line := strings.TrimSpace(env.Program + " " + strings.Join(args[2:], " ")) // without -c FILE
	f.calls = append(f.calls, line)
	list := func(key string, names []string) {
		var objects []string
		for _, n := range names {
			objects = append(objects, fmt.Sprintf(`{%q: %q}`, key, n))
		}
		fmt.Fprintf(env.Stdout, "[%s]", strings.Join(objects, ","))
	}
	switch {
	case f.refuse != nil && f.refuse(line):
		return 1
	case strings.HasPrefix(line, "cscli machines list"):
		list("machineId", f.machines)
	case strings.HasPrefix(line, "cscli bouncers list"):
		list("name", f.bouncers)
	case strings.HasPrefix(line, "cscli bouncers add"):
		fmt.Fprintln(env.Stdout, "the key is", args[len(args)-1])
	}
	return 0
}

// world is the root of a container, and who starts it.
type world struct {
	fake
	root, etc, data string
	out             bytes.Buffer
	volume          bool
}

func newWorld(t *testing.T) *world {
	root := t.TempDir()
	return &world{root: root, etc: filepath.Join(root, "etc", "crowdsec"), data: filepath.Join(root, "data"), volume: true}
}

// put writes a file below the root.
func (w *world) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "ROOT", w.root)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(w.root, name)) // "" if there is none
	return strings.ReplaceAll(string(text), w.root, "ROOT")
}

// start runs with variables and returns the commands, our own check apart.
func (w *world) start(t *testing.T, variables ...string) ([]string, error) {
	t.Helper()
	w.calls = nil
	level := new(slog.LevelVar)
	env := &platform.Env{Program: "cs", Stdout: &w.out, Stderr: &w.out, LookupEnv: func(string) (string, bool) { return "", false },
		Log: slog.New(slog.NewTextHandler(&w.out, &slog.HandlerOptions{Level: level})), LogLevel: level}
	s := &starter{Env: env, vars: newEnvironment(variables), execute: w.execute, path: filepath.Join(w.etc, "config.yaml"),
		root: w.root, volume: func(string) bool { return w.volume }}
	err := s.run(t.Context())
	return w.calls, err
}

const someConfig = `
config_paths: {data_dir: ROOT/data}
crowdsec_service: {acquisition_dir: ROOT/etc/crowdsec/acquis.d}
db_config: {db_path: ROOT/data/crowdsec.db}
api:
  client: {credentials_path: ROOT/etc/crowdsec/local_api_credentials.yaml}
  server:
    online_client: {credentials_path: x}
`

// expect compares commands; "…" stands for a password.
func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range got {
		if before, after, ok := strings.Cut(got[i], " --password "); ok {
			_, rest, _ := strings.Cut(after, " ")
			got[i] = before + " --password … " + rest
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFirstStart(t *testing.T) {
	w := newWorld(t)
	w.put(t, "staging/etc/crowdsec/notifications/http.yaml", "type: http\n")
	calls, err := w.start(t, "COLLECTIONS=acme/web acme/db", "DISABLE_SCENARIOS=acme/x", "LEVEL_DEBUG=TRUE")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls,
		"cscli machines add localhost --error --password … -f /dev/null --force",
		"cscli hub update",
		"cscli hub upgrade",
		"cscli collections install acme/web acme/db crowdsecurity/linux",
		"cscli parsers install crowdsecurity/whitelists crowdsecurity/docker-logs crowdsecurity/cri-logs",
		"cscli scenarios remove --force acme/x",
		"crowdsec -debug")
	for name, want := range map[string]string{
		"etc/crowdsec/config.yaml":               "acquisition_dir: ROOT/etc/crowdsec/acquis.d",
		"etc/crowdsec/profiles.yaml":             "duration: 4h",
		"etc/crowdsec/notifications/http.yaml":   "type: http",
		"etc/crowdsec/" + config.CredentialsName: "url: http://0.0.0.0:8080",
	} {
		if got := w.read(name); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q in it", name, got, want)
		}
	}
}

func TestNextStart(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.put(t, "etc/crowdsec/"+config.CredentialsName, "url: http://127.0.0.1:8080\nlogin: me\npassword: secret\n")
	w.put(t, "etc/crowdsec/hub/.index.json", "{}")
	w.put(t, "etc/crowdsec/parsers/s01-parse/own.yaml", "")
	w.put(t, "data/"+config.StoreName, "")
	w.put(t, "run/secrets/bouncer_key_my_proxy", "key-of-a-file\n")
	w.machines, w.bouncers = []string{"me"}, []string{"known"}
	calls, err := w.start(t, "DEBUG=true", "BOUNCER_KEY_known=other", "BOUNCER_KEY_new=key-of-a-variable", "AGENT_USERNAME=a", "AGENT_PASSWORD=b",
		"LOCAL_API_URL=http://lapi:8080", "DISABLE_ONLINE_API=true", "METRICS_PORT=6061")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls,
		"cscli machines list -o json",
		"cscli machines add a --error --password … -f /dev/null --force",
		"cscli hub upgrade",
		"cscli parsers install crowdsecurity/docker-logs crowdsecurity/cri-logs",
		"cscli bouncers list -o json",
		"cscli bouncers add my_proxy -k key-of-a-file",
		"cscli bouncers add new -k key-of-a-variable",
		"crowdsec -no-capi")
	if got, want := w.read("etc/crowdsec/"+config.CredentialsName), "url: http://lapi:8080/\nlogin: me\npassword: secret\n"; got != strings.Replace(want, "/\n", "\n", 1) && got != want {
		t.Errorf("credentials are %q", got)
	}
	if got := w.read("etc/crowdsec/config.yaml"); strings.Contains(got, "online_client") || !strings.Contains(got, "listen_port: 6061") {
		t.Errorf("the configuration is\n%s", got)
	}
	if !strings.Contains(w.out.String(), `command="bouncers add"`) || !strings.Contains(w.out.String(), "known already") {
		t.Errorf("the log doesn't tell what was done:\n%s", &w.out)
	}
	if strings.Contains(w.out.String(), "key-of") || strings.Contains(w.out.String(), "secret") {
		t.Errorf("the log tells keys:\n%s", &w.out)
	}

	if err := os.RemoveAll(filepath.Join(w.root, "run")); err != nil {
		t.Fatal(err)
	}

	// An old index is got anew, unless nothing may change.
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.etc, "hub", ".index.json"), old, old); err != nil {
		t.Fatal(err)
	}
	calls, err = w.start(t)
	if err != nil || !slices.Contains(calls, "cscli hub update") {
		t.Errorf("%v, %v", calls, err)
	}
	calls, err = w.start(t, "NO_HUB_UPGRADE=true", "DISABLE_AGENT=true")
	expect(t, calls, "cscli machines list -o json", "crowdsec -no-cs")
	if err != nil {
		t.Error(err)
	}

	// A machine that the store doesn't know is made anew.
	w.machines = nil
	calls, _ = w.start(t, "DISABLE_AGENT=true", "NO_HUB_UPGRADE=true", "CUSTOM_HOSTNAME=box")
	expect(t, calls, "cscli machines list -o json", "cscli machines add box --error --password … -f /dev/null --force", "crowdsec -no-cs")
	if got := w.read("etc/crowdsec/" + config.CredentialsName); !strings.Contains(got, "login: box\n") {
		t.Errorf("credentials are %q", got)
	}
}

// TestStarterSet wants two parsers alone never to take the place of what is built in.
func TestStarterSet(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.put(t, "etc/crowdsec/hub/.index.json", "{}")
	calls, err := w.start(t, "NO_HUB_UPGRADE=true")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "cscli machines add localhost --error --password … -f /dev/null --force", "crowdsec")
	calls, err = w.start(t)
	if err != nil || !slices.Contains(calls, "cscli collections install crowdsecurity/linux") {
		t.Errorf("%v, %v", calls, err)
	}
}

func TestAgentAlone(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.volume = false // nothing would be lost
	if _, err := w.start(t, "DISABLE_LOCAL_API=true"); err == nil || !strings.Contains(err.Error(), "set LOCAL_API_URL, AGENT_USERNAME and AGENT_PASSWORD") {
		t.Error(err)
	}
	w.refuse = func(line string) bool { return strings.HasPrefix(line, "cscli hub") }
	calls, err := w.start(t, "DISABLE_LOCAL_API=true", "LOCAL_API_URL=https://lapi:8080", "AGENT_USERNAME=me", "AGENT_PASSWORD=pass", "USE_TLS=true", "CACERT_FILE=/ca.pem",
		"BOUNCER_KEY_x=y", "COLLECTIONS=a/b")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "cscli hub update", "crowdsec -no-api") // without a hub nothing can be installed
	want := "url: https://lapi:8080\nlogin: me\npassword: pass\nca_cert_path: /ca.pem\n"
	if got := w.read("etc/crowdsec/" + config.CredentialsName); got != want {
		t.Errorf("credentials are %q, want %q", got, want)
	}
	if got := w.read("etc/crowdsec/config.yaml"); !strings.Contains(got, "enable: false") || strings.Contains(got, "tls") {
		t.Errorf("the configuration is\n%s", got)
	}
	if !strings.Contains(w.out.String(), "keys of bouncers have no effect") {
		t.Errorf("no warning in\n%s", &w.out)
	}
	_, err = w.start(t, "DISABLE_LOCAL_API=true", "USE_TLS=true", "CACERT_FILE=/ca.pem", "CLIENT_CERT_FILE=/c.pem", "CLIENT_KEY_FILE=/k.pem")
	want = "url: https://lapi:8080/\nca_cert_path: /ca.pem\ncert_path: /c.pem\nkey_path: /k.pem\n"
	if got := w.read("etc/crowdsec/" + config.CredentialsName); got != want || err != nil {
		t.Errorf("credentials are %q, want %q; %v", got, want, err)
	}
}

func TestServerWithTLS(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	_, err := w.start(t, "USE_TLS=true", "CERT_FILE=/old.pem", "LAPI_CERT_FILE=/l.pem", "KEY_FILE=/lk.pem", "CACERT_FILE=/ca.pem",
		"AGENTS_ALLOWED_OU=one, two", "INSECURE_SKIP_VERIFY=True", "DISABLE_AGENT=true", "PLUGIN_DIR=/p", "USE_WAL=false")
	if err != nil {
		t.Fatal(err)
	}
	f, err := config.Load(filepath.Join(w.etc, "config.yaml"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	tls := f.API.Server.TLS
	if tls.CertFile.Value != "/l.pem" || tls.KeyFile.Value != "/lk.pem" || len(tls.AgentsAllowedOU) != 2 || tls.BouncersAllowedOU[0].Value != "bouncer-ou" ||
		!f.API.Client.InsecureSkipVerify || f.ConfigPaths.PluginDir != "/p" || f.DB.UseWAL == nil || *f.DB.UseWAL {
		t.Errorf("the configuration is\n%s", w.read("etc/crowdsec/config.yaml"))
	}
	if got := w.read("etc/crowdsec/" + config.CredentialsName); !strings.Contains(got, "url: https://0.0.0.0:8080\n") {
		t.Errorf("credentials are %q", got)
	}
}

func TestWithoutVolume(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.volume = false
	calls, err := w.start(t)
	if err != nil || len(calls) > 0 || !strings.Contains(w.out.String(), "data is not on a volume") {
		t.Errorf("%v, %v\n%s", calls, err, &w.out)
	}
	calls, err = w.start(t, "CROWDSEC_BYPASS_DB_VOLUME_CHECK=TRUE")
	if err != nil || len(calls) == 0 || slices.Contains(calls, "cscli hub upgrade") {
		t.Errorf("%v, %v", calls, err)
	}
}

func TestOldDatabase(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.put(t, "data/crowdsec.db", "")
	w.put(t, "staging/var/lib/crowdsec/data/GeoLite2-City.mmdb", "")
	w.put(t, "staging/var/lib/crowdsec/data/crowdsec.db", "")
	calls, err := w.start(t, "DISABLE_AGENT=true")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "cscli takeover --apply --from "+w.etc, "cscli machines add localhost --error --password … -f /dev/null --force", "crowdsec -no-cs")
	if target, err := os.Readlink(filepath.Join(w.data, "GeoLite2-City.mmdb")); err != nil || !strings.Contains(target, "/staging/") {
		t.Error(target, err)
	}
	w.refuse = func(line string) bool { return strings.HasPrefix(line, "cscli takeover") }
	if calls, err = w.start(t); err == nil {
		t.Errorf("started without what was kept: %v", calls)
	}
}

// TestInstallAgain wants one new try with a new index, that goes on without what there
// isn't.
func TestInstallAgain(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.put(t, "etc/crowdsec/hub/.index.json", "{}")
	w.refuse = func(line string) bool {
		return strings.Contains(line, "install") && !strings.Contains(line, "--ignore")
	}
	calls, err := w.start(t, "COLLECTIONS=a/b", "SCENARIOS=c/d", "DISABLE_AGENT=true", "NO_HUB_UPGRADE=true", "TYPE=nginx", "DSN=file:///x", "TEST_MODE=true")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, calls, "cscli machines add localhost --error --password … -f /dev/null --force",
		"cscli collections install a/b", "cscli hub update", "cscli collections install a/b --ignore",
		"cscli scenarios install c/d", "cscli scenarios install c/d --ignore",
		"crowdsec -no-cs -t -dsn file:///x -type nginx")
}

func TestDaemonThatFails(t *testing.T) {
	w := newWorld(t)
	w.put(t, "etc/crowdsec/config.yaml", someConfig)
	w.refuse = func(line string) bool { return strings.HasPrefix(line, "crowdsec") }
	if _, err := w.start(t); err == nil || !strings.Contains(err.Error(), "exit code 1") {
		t.Error(err)
	}
	w.put(t, "etc/crowdsec/config.yaml", "api: [1]\n")
	if _, err := w.start(t, "DISABLE_ONLINE_API=true"); err == nil || !strings.Contains(err.Error(), "config.yaml:1: api.server.online_client: what it is to stand in is a list") {
		t.Error(err)
	}
}
