package register

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cs/platform"
	"cs/roles/config"
)

func TestRegister(t *testing.T) {
	status := http.StatusAccepted
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/watchers" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		if status == http.StatusUnauthorized {
			w.Write([]byte(`{"message":"invalid token for auto registration"}`))
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	run := func(c Command) (stdout, stderr string, err error) {
		t.Helper()
		var out, msg bytes.Buffer
		env := &platform.Env{Stdout: &out, Stderr: &msg, LookupEnv: func(string) (string, bool) { return "", false }, Log: slog.New(slog.DiscardHandler)}
		c.LAPIURL = strings.TrimPrefix(server.URL, "http://")
		err = c.Run(context.Background(), env, &config.Flags{DataDir: filepath.Join(dir, "data")})
		return out.String(), msg.String(), err
	}
	path := filepath.Join(dir, "data", config.CredentialsName)

	stdout, stderr, err := run(Command{Machine: "web1", Token: "t"})
	want := "Successfully registered to Local API (LAPI)\nLocal API credentials written to '" + path + "'\n" +
		"Reload the agent for the new credentials to be effective: 'sudo systemctl reload crowdsec', or whatever runs it.\n"
	if err != nil || stdout != "" || stderr != want {
		t.Fatalf("got %q, %q, %v; want %q", stdout, stderr, err, want)
	}
	c, err := config.ReadCredentials(path, os.LookupEnv)
	if err != nil || c.Login != "web1" || c.URL != server.URL+"/" || !regexp.MustCompile(`^[A-Za-z0-9]{64}$`).MatchString(c.Password) {
		t.Fatalf("got %+v, %v", c, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm()&0o077 != 0 {
		t.Fatalf("got %v, %v", fi.Mode(), err)
	}

	status = http.StatusCreated
	stdout, stderr, err = run(Command{Machine: "web2", File: "-"})
	if err != nil || !strings.Contains(stdout, "login: web2\n") || !strings.Contains(stderr, "run 'cscli machines validate web2'") {
		t.Fatalf("got %q, %q, %v", stdout, stderr, err)
	}
	if c, err = config.ReadCredentials(path, os.LookupEnv); err != nil || c.Login != "web1" {
		t.Fatalf("the file has changed: %+v, %v", c, err)
	}

	status = http.StatusUnauthorized
	if _, _, err = run(Command{Token: "bad"}); err == nil || !strings.Contains(err.Error(), "401 Unauthorized: API error: invalid token for auto registration") {
		t.Fatalf("got %v", err)
	}
}

func TestMachineName(t *testing.T) {
	a, b := config.NewMachineName(), config.NewMachineName()
	if a == b || !regexp.MustCompile(`^[A-Za-z0-9._-]+-[A-Za-z0-9]{16}$`).MatchString(a) {
		t.Fatalf("got %q and %q", a, b)
	}
}
