package cli

import (
	"crypto/sha512"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"cs/platform"
	"cs/roles/config"
	"cs/storage"
	"cs/storage/bolt"
)

// withStore opens the store that commands have left behind.
func withStore(t *testing.T, dir string, f func(storage.Store)) {
	t.Helper()
	s, err := bolt.Open(t.Context(), filepath.Join(dir, config.StoreName))
	if err != nil {
		t.Fatal(err)
	}
	f(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWithoutLAPI lets the commands about accounts work on the store itself.
func TestWithoutLAPI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	f := func(command string, want result) {
		t.Helper()
		if r := run(t, dir, "", strings.Fields(command)...); r != want {
			t.Errorf("%s: got %+v, want %+v", command, r, want)
		}
	}
	creds := filepath.Join(dir, "local_api_credentials.yaml")
	f("machines add agent1 --password pass1", result{"", "level=info msg=\"Machine 'agent1' successfully added to the local API.\"\n" +
		"level=info msg=\"API credentials written to '" + creds + "'.\"\n", 0})
	f("bouncers add fw -o raw --key abc", result{"abc", "", 0})
	withStore(t, dir, func(s storage.Store) {
		m, err := s.Machine(t.Context(), "agent1")
		if err != nil || !m.Validated || m.AuthType != "password" || !m.Created.Equal(testNow) {
			t.Errorf("got %+v, %v", m, err)
		}
		if err := bcrypt.CompareHashAndPassword([]byte(m.PasswordHash), []byte("pass1")); err != nil || !strings.HasPrefix(m.PasswordHash, "$2a$10$") {
			t.Errorf("hash %s: %v", m.PasswordHash, err)
		}
		b, err := s.Bouncer(t.Context(), "fw")
		sum := sha512.Sum512([]byte("abc"))
		if err != nil || b.KeyHash != hex.EncodeToString(sum[:]) || b.AuthType != "api-key" {
			t.Errorf("got %+v, %v", b, err)
		}
		for _, m := range []storage.Machine{{ID: "pending", AuthType: "password", Created: testNow, Updated: testNow, OSName: "debian", OSVersion: "13"}} {
			if err := s.AddMachine(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"fw@192.0.2.1", "fw@192.0.2.2", "fw2@192.0.2.1"} {
			if err := s.AddBouncer(t.Context(), storage.Bouncer{Name: name, KeyHash: "x", AutoCreated: true, AuthType: "api-key"}); err != nil {
				t.Fatal(err)
			}
		}
	})
	f("machines list -o raw", result{"machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os\n" +
		"agent1,,2026-11-22T11:38:44Z,true,,password,-,/\npending,,2026-11-22T11:38:44Z,false,,password,-,debian/13\n", "", 0})
	f("machines validate pending", result{"", "level=info msg=\"machine 'pending' validated successfully\"\n", 0})
	f("machines validate nobody", result{"", "Error: cscli machines validate: unable to validate machine 'nobody': machine not found\n", 1})
	f("machines delete agent1 nobody", result{"", "level=info msg=\"machine 'agent1' deleted successfully\"\nlevel=error msg=\"unable to delete machine: 'nobody' does not exist\"\n", 0})
	f("machines list -o raw", result{"machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os\n" +
		"pending,,2026-11-22T11:38:44Z,true,,password,-,debian/13\n", "", 0})
	f("machines add pending -p two --force -f -", result{"", "level=info msg=\"Machine 'pending' successfully added to the local API.\"\n" +
		"url: http://127.0.0.1:8080/\nlogin: pending\npassword: two\n\n", 0})
	withStore(t, dir, func(s storage.Store) {
		m, err := s.Machine(t.Context(), "pending")
		if err != nil || bcrypt.CompareHashAndPassword([]byte(m.PasswordHash), []byte("two")) != nil {
			t.Errorf("after --force: %+v, %v", m, err)
		}
	})
	f("machines add pending -p three -f -", result{"", "Error: cscli machines add: unable to create machine: user 'pending': user already exist\n", 1})
	f("bouncers add fw", result{"", "Error: cscli bouncers add: unable to create bouncer: bouncer fw already exists\n", 1})
	f("bouncers delete fw@192.0.2.1", result{"", "level=warning msg=\"bouncer 'fw@192.0.2.1' is auto-created and cannot be deleted, delete parent bouncer 'fw' instead\"\n", 0})
	f("bouncers delete fw", result{"", "level=info msg=\"bouncer 'fw' deleted successfully\"\n", 0})
	f("bouncers list -o raw", result{"name,ip,revoked,last_pull,type,version,auth_type\nfw2@192.0.2.1,,validated,,,,api-key\n", "", 0})
	f("bouncers delete fw", result{"", "Error: cscli bouncers delete: unable to delete bouncer fw: ent: bouncer not found\n", 1})

	key := run(t, dir, "", "bouncers", "add", "made", "-o", "raw").stdout
	if !regexp.MustCompile(`^[A-Za-z0-9+/]{43}$`).MatchString(key) {
		t.Errorf("the key made is %q", key)
	}
}

// TestStoreHeld wants no second writer beside a LAPI that holds the store but
// can't be talked to.
func TestStoreHeld(t *testing.T) {
	dir := t.TempDir()
	withStore(t, dir, func(storage.Store) {
		r := run(t, dir, "", "bouncers", "add", "x")
		want := "in use by another process, but its socket " + filepath.Join(dir, "cs.sock") + " does not answer\n"
		if r.code != 1 || !strings.HasSuffix(r.stderr, want) {
			t.Errorf("got %+v, want %q", r, want)
		}
	})
}

// TestSocketBeforeStore wants a running LAPI to be asked and its store left alone.
func TestSocketBeforeStore(t *testing.T) {
	server := fixed(t)
	dir := server.serve(t)
	if r := run(t, dir, "", "machines", "add", "new", "-p", "x", "-f", "-"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, config.StoreName)); err == nil {
		t.Error("the store was opened although a LAPI runs")
	}
	if got := string(server.posted); got != `{"name":"new","password":"x"}` {
		t.Errorf("posted %s", got)
	}
}

func TestMachinesAddFile(t *testing.T) {
	server := &fake{}
	dir := server.serve(t)
	creds := filepath.Join(dir, "local_api_credentials.yaml")
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	add := func(code int, args ...string) result {
		t.Helper()
		r := run(t, dir, "typed in\n", append([]string{"machines", "add"}, args...)...)
		if r.code != code {
			t.Fatalf("%v: %+v", args, r)
		}
		return r
	}
	add(0, "-a")
	made := regexp.MustCompile(`^url: http://127\.0\.0\.1:8080\nlogin: "?([a-z0-9]{32}[A-Za-z0-9]{16})"?\npassword: "?([A-Za-z0-9]{64})"?\n$`)
	first := made.FindStringSubmatch(read(creds))
	if first == nil {
		t.Fatalf("credentials are %s", read(creds))
	}
	if fi, err := os.Stat(creds); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", fi.Mode(), err)
	}
	asked := len(server.asks())
	r := add(1, "-a")
	if want := "Error: cscli machines add: credentials file '" + creds + "' already exists: please remove it, use \"--force\" or specify a different file with \"-f\" (\"-f -\" for standard output)\n"; r.stderr != want {
		t.Errorf("got %s, want %s", r.stderr, want)
	}
	if len(server.asks()) != asked {
		t.Error("an account was touched although the file is there")
	}
	add(0, "-a", "--force", "-u", "http://lapi:1/")
	second := read(creds)
	if !strings.HasPrefix(second, "url: http://lapi:1/\n") || strings.Contains(second, first[1]) || strings.Contains(second, first[2]) {
		t.Errorf("credentials are not new: %s", second)
	}
	// A device is written to, not replaced by a file.
	null := filepath.Join(dir, "null")
	if err := os.Symlink(os.DevNull, null); err != nil {
		t.Fatal(err)
	}
	add(0, "m", "-p", "x", "-f", null, "--force")
	if fi, err := os.Stat(os.DevNull); err != nil || fi.Mode().IsRegular() {
		t.Fatalf("%s was replaced", os.DevNull)
	}
	other := filepath.Join(dir, "other.yaml")
	if r := add(0, "m2", "-i", "-f", other); r.stderr != "Please provide a password for the machine: \n"+
		"level=info msg=\"Machine 'm2' successfully added to the local API.\"\nlevel=info msg=\"API credentials written to '"+other+"'.\"\n" {
		t.Errorf("got %q", r.stderr)
	}
	if got := read(other); got != "url: http://lapi:1/\nlogin: m2\npassword: typed in\n" {
		t.Errorf("got %s", got)
	}
	if r := run(t, dir, "", "machines", "add", "m3", "-i", "-f", "-"); r.code != 1 || !strings.Contains(r.stderr, "cannot read the password: it is empty") {
		t.Errorf("got %+v", r)
	}
	// What is hard to write in YAML comes back as it was.
	for _, password := range []string{"0123", "yes", "a: b", "#x", "'", `"`, " lead", "é\tñ", "*a", "{", "~", "1e3", "\u00a0", "\\", "%", "| x", "> x", "- x", "? x", ",", "]", "&a", "!t", "null", "$HOME1"} {
		add(0, "m", "-p", password, "-f", other)
		if c, err := config.ReadCredentials(other, os.LookupEnv); err != nil || c.Password != password {
			t.Errorf("%q came back as %q, %v", password, c.Password, err)
		}
	}
}

func TestLAPIURL(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		dir := t.TempDir()
		conf := filepath.Join(dir, "config.yaml")
		writeTestFile(t, conf, text)
		g := Globals{Flags: config.Flags{Config: conf, DataDir: dir}}
		s, err := open(&platform.Env{LookupEnv: os.LookupEnv}, &g)
		if err != nil {
			t.Fatal(err)
		}
		got := s.lapiURL()
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	t.Setenv("CS_TEST_PORT", "9090")
	f("", "http://127.0.0.1:8080")
	f("api: {server: {listen_uri: '192.0.2.1:8081'}}", "http://192.0.2.1:8081")
	f("api: {server: {listen_uri: '0.0.0.0:8081'}}", "http://127.0.0.1:8081")
	f("api: {server: {listen_uri: '[::]:8081'}}", "http://127.0.0.1:8081")
	f("api: {server: {listen_uri: ':8081'}}", "http://127.0.0.1:8081")
	f("api: {server: {listen_uri: '${CS_TEST_PORT}x$CS_TEST_NONE'}}", "http://9090x$CS_TEST_NONE")
	f("api: {server: {listen_uri: 'h:1', listen_socket: /run/cs.sock}}", "/run/cs.sock")
}
