package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cs/pipeline/hub/catalog"
	"cs/platform/sharedtest"
)

// TestDebiansHubtest has Debian's cscli run tests of the public hub with our
// program as its daemon, and judge the dump files. It runs some, all if
// CS_ALL_HUB_TESTS=1 (four minutes).
//
// Its version, 1.4.6, is older than the hub. Assertions that its language can't
// express are left out: those with the function basename, and those about
// Unmarshaled, which its events don't have. It fetches data files on every run,
// so a server on the loopback has them.
func TestDebiansHubtest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a program its own /etc")
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	shared, peers, dir := filepath.Join(sharedtest.Dir(t), "hub"), sharedtest.Peers(t), t.TempDir()
	data := httptest.NewServer(http.FileServerFS(os.DirFS(filepath.Join(shared, "data"))))
	defer data.Close()
	hub := filepath.Join(dir, "hub")
	for _, typ := range []string{"parsers", "scenarios", "postoverflows", "collections"} {
		copyTree(t, filepath.Join(hub, typ), filepath.Join(shared, typ), func(text []byte) []byte {
			return sourceURL.ReplaceAll(text, []byte("source_url: "+data.URL+"/$1"))
		})
	}
	writeIndex(t, hub)

	// What Debian's tool finds in the hub of its time.
	tests := filepath.Join(hub, ".tests")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(tests, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(tests, 0o755); err != nil {
		t.Fatal(err)
	}
	profiles, err := os.ReadFile(filepath.Join(peers, "etc/crowdsec/profiles.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write("template_profiles.yaml", string(profiles))
	write("template_simulation.yaml", "simulation: false\n")
	write("template_config.yaml", `
common: {daemonize: false, log_media: stdout, log_level: info, log_dir: runtime, working_dir: .}
config_paths: {config_dir: runtime/, data_dir: runtime/data/, simulation_path: runtime/simulation.yaml, hub_dir: runtime/hub/, index_path: runtime/hub/.index.json}
crowdsec_service: {acquisition_path: runtime/acquis.yaml, parser_routines: 1}
db_config: {type: sqlite, db_path: runtime/data/crowdsec.db}
api:
  client: {credentials_path: runtime/local_api_credentials.yaml}
  server: {listen_uri: "127.0.0.1:8097", profiles_path: runtime/profiles.yaml}
prometheus: {enabled: false}
`)
	entries, err := os.ReadDir(filepath.Join(shared, ".tests"))
	if err != nil {
		t.Fatal(err)
	}
	step := map[bool]int{true: 70, false: 17}[testing.Short()]
	if os.Getenv("CS_ALL_HUB_TESTS") == "1" {
		step = 1
	}
	var names []string
	for i := 0; i < len(entries); i += step {
		name := entries[i].Name()
		names = append(names, name)
		copyTree(t, filepath.Join(tests, name), filepath.Join(shared, ".tests", name), nil)
		for _, file := range []string{"parser.assert", "scenario.assert"} {
			at := filepath.Join(tests, name, file)
			text, err := os.ReadFile(at)
			if err != nil {
				continue
			}
			if err := os.WriteFile(at, withoutNewer(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"crowdsec", "cscli"} {
		if err := os.Symlink(bin, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	// It looks for patterns in /etc/crowdsec and nowhere else.
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-ec", `
mount -t tmpfs tmpfs /mnt
cp -a /etc/. /mnt
mkdir -p /mnt/crowdsec
ln -sfn "$PEERS/etc/crowdsec/patterns" /mnt/crowdsec/patterns
mount --bind /mnt /etc
exec "$PEERS/usr/bin/cscli" -c "$PEERS/etc/config.yaml" --branch master hubtest --hub hub --crowdsec "$PWD/crowdsec" --cscli "$PWD/cscli" run --clean "$@"`, "sh"}, names...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PEERS="+peers)
	out, err := cmd.CombinedOutput()
	passed := bytes.Count(out, []byte("✅"))
	if err != nil || passed != len(names) || bytes.Contains(out, []byte("❌")) {
		t.Fatalf("%d of %d pass, %v:\n%s", passed, len(names), err, out)
	}
	t.Logf("%d tests pass", passed)
}

// sourceURL is where an item gets a data file; $1 is the last part.
var sourceURL = regexp.MustCompile(`source_url: *["']?https?://[^ "'\n]*/([^/ "'\n]+)["']?`)

// withoutNewer leaves out the assertions that version 1.4.6 can't evaluate.
func withoutNewer(asserts []byte) (out []byte) {
	for line := range bytes.Lines(asserts) {
		if !bytes.Contains(line, []byte("basename(")) && !bytes.Contains(line, []byte(".Unmarshaled")) {
			out = append(out, line...)
		}
	}
	return out
}

// copyTree copies files; change, which may be nil, gives their text.
func copyTree(t *testing.T, to, from string, change func([]byte) []byte) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if change == nil {
		return
	}
	err := filepath.WalkDir(to, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if changed := change(text); !bytes.Equal(changed, text) {
			return os.WriteFile(name, changed, 0o600)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// writeIndex makes the index of a hub as it was at Debian's time.
func writeIndex(t *testing.T, dir string) {
	t.Helper()
	x, warnings, err := catalog.ReadFolder(dir, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	for typ, entries := range x {
		if len(entries) == 0 && typ != catalog.Collections {
			delete(x, typ)
		}
		for _, e := range entries {
			e.Content, e.Labels = nil, nil
		}
	}
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, catalog.IndexName), []byte(strings.TrimSpace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}
