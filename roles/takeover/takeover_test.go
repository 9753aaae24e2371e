//go:build unix

package takeover

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cs/platform"
	"cs/roles/config"
	"cs/storage"
	"cs/storage/bolt"
)

// site is a host with upstream's files, and a systemctl that notes what it is
// told, and fails when it shall.
type site struct {
	t   *testing.T
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t, t.TempDir()}
	db, err := os.ReadFile("../../storage/migrate/testdata/lapi.db")
	if err != nil {
		t.Fatal(err)
	}
	s.write("data/crowdsec.db", string(db), 0o600)
	s.write("etc/config.yaml", `
config_paths: {config_dir: DIR/etc, data_dir: DIR/data, plugin_dir: DIR/plugins}
db_config: {type: sqlite, db_path: DIR/data/crowdsec.db}
api:
  client: {credentials_path: DIR/etc/local_api_credentials.yaml}
  server: {listen_uri: 127.0.0.1:0, profiles_path: DIR/etc/profiles.yaml}
`, 0o600)
	s.write("etc/bouncers/crowdsec-firewall-bouncer.yaml", "mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: k\n", 0o600)
	s.write("etc/online_api_credentials.yaml", "login: x\n", 0o600)
	s.write("plugins/notification-http", "", 0o700)
	s.write("plugins/notification-own", "", 0o700)
	s.write("bin/systemctl", `#!/bin/sh
case "$1 $2 $3" in
"cat crowdsec.service "|"cat crowdsec-firewall-bouncer.service ") exit 0;;
"is-active --quiet crowdsec.service") exit 0;;
is-active*|cat*) exit 1;;
esac
echo "$@" >>DIR/told
if [ "$1" = "$(cat DIR/fails 2>/dev/null)" ]; then rm DIR/fails; echo no; exit 1; fi
`, 0o700)
	t.Setenv("PATH", filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"))
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string, mode fs.FileMode) {
	s.t.Helper()
	path := s.path(name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", s.dir)), mode))
	if err != nil {
		s.t.Fatal(err)
	}
}

// read returns a file, "" if there is none.
func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), s.dir, "DIR")
}

func (s *site) run(c Command) (string, error) {
	s.t.Helper()
	c.From, c.Units, c.Links = s.path("etc"), s.path("units"), s.path("links")
	var out bytes.Buffer
	err := c.Run(s.t.Context(), &platform.Env{Program: "cs", Stdout: &out, Stderr: &out, LookupEnv: os.LookupEnv}, &config.Flags{})
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), s.dir, "DIR"))
	}
	return strings.ReplaceAll(out.String(), s.dir, "DIR"), err
}

// files lists what there is but for upstream's.
func (s *site) files() (names []string) {
	for _, dir := range []string{"data", "units", "links"} {
		filepath.WalkDir(s.path(dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != "crowdsec.db" {
				name, _ := filepath.Rel(s.dir, path)
				names = append(names, name)
			}
			return nil
		})
	}
	return names
}

const plan = `Carries over:
  DIR/etc/config.yaml, and the files that it names
  DIR/data/crowdsec.db: 2 machines and 3 bouncers, with their passwords and keys
    2 allowlists with 3 items, 3 alerts with 7 decisions, of which 0 in force
  DIR/etc/bouncers/crowdsec-firewall-bouncer.yaml
  crowdsec.service: it will start this program
  crowdsec-firewall-bouncer.service: it will start this program
Does not:
  bouncer "odd": its key is not kept as SHA-512
  allowlist item "nonsense": it is no address
  decision 16: "not an address" is no address
  reports of usage, and the places of bouncers in the stream: each is sent everything once
  DIR/etc/online_api_credentials.yaml: the central API: community blocklist, sharing of signals
  DIR/plugins/notification-own: notification programs of others are not run

Nothing has been changed. Do it with: cs takeover --from DIR/etc --apply
`

func TestTakeover(t *testing.T) {
	s := newSite(t)
	if out, err := s.run(Command{}); err != nil || out != plan {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := s.files(); len(got) != 0 {
		t.Fatal("only looked, but there is ", got)
	}
	if out, err := s.run(Command{Undo: true}); err == nil {
		t.Fatal("there was nothing to take back: ", out)
	}
	out, err := s.run(Command{Apply: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "2 machines, 3 bouncers, 3 alerts and 7 decisions are in DIR/data/cs.db.\n") {
		t.Error(out)
	}
	if got, want := s.read("told"), "stop crowdsec.service\ndaemon-reload\nstart crowdsec.service\n"; got != want {
		t.Errorf("systemctl was told %q", got)
	}
	if got, want := s.read("units/crowdsec.service.d/cs-takeover.conf"), `# Made by "cs takeover"; "cs takeover --undo" removes it.
[Service]
ExecStartPre=
ExecStartPost=
ExecStart=
ExecStartPre=DIR/links/crowdsec -c DIR/etc/config.yaml -t
ExecStart=DIR/links/crowdsec -c DIR/etc/config.yaml
`; got != want {
		t.Error(got)
	}
	if got, want := s.read("units/crowdsec-firewall-bouncer.service.d/cs-takeover.conf"), "\nExecStart=DIR/links/cs bouncer-firewall -c DIR/etc/bouncers/crowdsec-firewall-bouncer.yaml\n"; !strings.HasSuffix(got, want) {
		t.Error(got)
	}
	store, err := bolt.Open(t.Context(), s.path("data/cs.db"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := store.Bouncer(t.Context(), "fw"); err != nil || b.KeyHash != storage.HashKey("k") {
		t.Error(b, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(Command{Apply: true}); err == nil {
		t.Error("taken over twice")
	}

	if store, err = bolt.Open(t.Context(), s.path("data/cs.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.run(Command{Undo: true}); err == nil || !strings.Contains(err.Error(), "stop the program first") {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err = s.run(Command{Undo: true}); err != nil || out != "Upstream's programs are back, with what they had then.\nOur store is kept as DIR/data/cs.db.undone\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if got := fmt.Sprint(s.files()); got != "[data/cs.db.undone]" {
		t.Error("left: ", got)
	}
	if got := s.read("told"); !strings.HasSuffix(got, "start crowdsec.service\nstop crowdsec.service\ndaemon-reload\nstart crowdsec.service\n") {
		t.Errorf("systemctl was told %q", got)
	}
	if out, err = s.run(Command{Apply: true}); err != nil {
		t.Errorf("not again: %v\n%s", err, out)
	}
}

// TestFailedTakeover: whatever goes wrong, upstream runs afterwards as before.
func TestFailedTakeover(t *testing.T) {
	for _, verb := range []string{"stop", "daemon-reload", "start"} {
		s := newSite(t)
		s.write("fails", verb, 0o600)
		if out, err := s.run(Command{Apply: true}); err == nil || !strings.Contains(err.Error(), "cannot "+verb) {
			t.Errorf("%s: %v\n%s", verb, err, out)
		}
		if got := fmt.Sprint(s.files()); got != "[]" && got != "[data/cs.db.undone]" {
			t.Errorf("%s: left: %s", verb, got)
		}
		if !strings.HasSuffix(s.read("told"), "start crowdsec.service\n") {
			t.Errorf("%s: systemctl was told %q", verb, s.read("told"))
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSite(t)
	s.write("etc/config.yaml.local", "api: {server: {listen_uri: \""+l.Addr().String()+"\"}}\n", 0o600)
	if _, err := s.run(Command{Apply: true}); err == nil || !strings.Contains(err.Error(), "something still listens") {
		t.Error(err)
	}
	if got := s.read("told"); got != "stop crowdsec.service\nstart crowdsec.service\n" {
		t.Errorf("systemctl was told %q", got)
	}
	s = newSite(t)
	s.write("links/cscli", "something else", 0o700)
	if _, err := s.run(Command{Apply: true}); err == nil || !strings.Contains(err.Error(), "DIR/links/cscli: there is something else") {
		t.Error(err)
	}
	if got := s.read("links/cscli"); got != "something else" {
		t.Errorf("it is %q now", got)
	}
}

func TestObstacles(t *testing.T) {
	f := func(want string, change func(*site)) {
		t.Helper()
		s := newSite(t)
		change(s)
		out, err := s.run(Command{Apply: true})
		if err == nil || !strings.Contains(out+err.Error(), want) {
			t.Errorf("%v\n%s", err, out)
		}
		if told := s.read("told"); told != "" {
			t.Errorf("systemctl was told %q", told)
		}
	}
	f("there is a store already", func(s *site) { s.write("data/cs.db", "", 0o600) })
	f("not a SQLite 3 database", func(s *site) { s.write("data/crowdsec.db", strings.Repeat("x", 1000), 0o600) })
	f("etc/config.yaml:1", func(s *site) { s.write("etc/config.yaml", "nonsense: 1\n", 0o600) })
	f("mode", func(s *site) { s.write("etc/bouncers/crowdsec-firewall-bouncer.yaml", "mode: magic\n", 0o600) })
	f("name upstream's directory", func(s *site) { os.Remove(s.path("etc/config.yaml")) })
}

// TestFirewallThatNobodyRuns wants a file that no service reads to be in nobody's way.
func TestFirewallThatNobodyRuns(t *testing.T) {
	s := newSite(t)
	s.write("etc/bouncers/crowdsec-firewall-bouncer.yaml", "mode: ${BACKEND}\n", 0o600)
	s.write("bin/systemctl", "#!/bin/sh\nexit 1\n", 0o700)
	out, err := s.run(Command{})
	if err != nil || !strings.Contains(out, "Does not:") || !strings.Contains(out, "BACKEND") || strings.Contains(out, "In the way") {
		t.Errorf("%v\n%s", err, out)
	}
}
