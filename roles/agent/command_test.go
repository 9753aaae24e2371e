package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/platform"
	"cs/roles/config"
	"cs/roles/engine"
)

func testEnv() (*platform.Env, *bytes.Buffer) {
	var out bytes.Buffer
	return &platform.Env{
		Program: "cs", Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Version: "v1",
		LookupEnv: func(string) (string, bool) { return "", false },
		Log:       slog.New(slog.NewTextHandler(&out, nil)),
	}, &out
}

func TestInputs(t *testing.T) {
	dir := t.TempDir()
	acquis := filepath.Join(dir, "acquis.yaml")
	if err := os.WriteFile(acquis, []byte("filename: /var/log/x.log\nlabels: {type: nginx}\n---\nfilename: /y\nlabel: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, r Reading) {
		t.Helper()
		env, out := testEnv()
		file := new(config.File)
		r.Overlay(file)
		resolved, errs := file.Resolve(env.LookupEnv)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		list, faults, err := r.inputs(env, resolved.Agent)
		got := ""
		for _, acq := range list {
			got += acq.Labels["type"] + "=" + engine.What(acq) + ";"
		}
		if err = errors.Join(append(faults, err)...); err != nil {
			got += err.Error()
		}
		got += out.String()
		if !strings.Contains(got, want) {
			t.Errorf("%+v: got %q, want %q", r, got, want)
		}
	}
	f("syslog=/a;nginx=/b*;", Reading{Logs: []string{"/a", "/b*"}, Types: []string{"syslog", "nginx"}})
	f("nginx=/a;nginx=/b;", Reading{Logs: []string{"/a", "/b"}, Types: []string{"nginx"}})
	f("each --log FILE needs its --type TYPE", Reading{Logs: []string{"/a"}})
	f("each --log FILE needs its --type TYPE", Reading{Logs: []string{"/a", "/b", "/c"}, Types: []string{"x", "y"}})
	f("must not be empty", Reading{Logs: []string{""}, Types: []string{"x"}})
	f("--type needs a --log", Reading{Types: []string{"x"}})
	f("nginx=/var/log/x.log;", Reading{Acquis: acquis})
	f("acquis.yaml:5:1: label", Reading{Acquis: acquis})
	f("cannot read the acquisition file", Reading{Acquis: filepath.Join(dir, "missing")})
	f("syslog=/a;", Reading{Acquis: acquis, Logs: []string{"/a"}, Types: []string{"syslog"}})
}

func TestNoCredentials(t *testing.T) {
	env, _ := testEnv()
	c := Command{LAPIURL: "http://127.0.0.1:1", Reading: Reading{Logs: []string{"/a"}, Types: []string{"x"}}}
	err := c.Run(context.Background(), env, &config.Flags{DataDir: t.TempDir()})
	if !errors.Is(err, errNoCredentials) {
		t.Fatalf("got %v", err)
	}
}

// wireLAPI is a LAPI over HTTP: accounts, tokens, alerts.
type wireLAPI struct {
	mu        sync.Mutex
	accounts  map[string]string // password by name
	validated bool              // new accounts are let in
	calls     []string
	scenarios []string
	alerts    int
}

func (l *wireLAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, r.Method+" "+r.URL.Path)
	var in struct {
		MachineID string   `json:"machine_id"`
		Password  string   `json:"password"`
		Token     string   `json:"registration_token"`
		Scenarios []string `json:"scenarios"`
	}
	refuse := func(status int, message string) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"code": status, "message": message})
	}
	switch r.URL.Path {
	case "/v1/watchers":
		json.NewDecoder(r.Body).Decode(&in)
		if _, ok := l.accounts[in.MachineID]; ok {
			refuse(403, "user '"+in.MachineID+"': user already exist")
			return
		}
		if in.Token != "good" {
			refuse(401, "invalid token for auto registration")
			return
		}
		l.accounts[in.MachineID] = in.Password
		w.WriteHeader(201 + map[bool]int{true: 1}[l.validated])
	case "/v1/watchers/login":
		json.NewDecoder(r.Body).Decode(&in)
		switch password, ok := l.accounts[in.MachineID]; {
		case !ok:
			refuse(401, "ent: machine not found")
		case password != in.Password:
			refuse(401, "incorrect Username or Password")
		case !l.validated:
			refuse(401, "machine "+in.MachineID+" not validated")
		default:
			l.scenarios = in.Scenarios
			json.NewEncoder(w).Encode(map[string]any{"code": 200, "expire": time.Now().Add(time.Hour).Format(time.RFC3339), "token": "t"})
		}
	case "/v1/alerts":
		l.alerts++
		w.WriteHeader(201)
		w.Write([]byte(`["1"]`))
	}
}

// TestJoin starts the command on a fresh machine, and again.
func TestJoin(t *testing.T) {
	lapi := &wireLAPI{accounts: map[string]string{}, validated: true}
	server := httptest.NewServer(lapi)
	defer server.Close()
	data := t.TempDir()
	log := filepath.Join(data, "log")
	run := func(c Command, until string) string {
		t.Helper()
		env, _ := testEnv()
		var mu sync.Mutex
		var out bytes.Buffer
		env.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, nil))
		c.Reading = Reading{Logs: []string{log}, Types: []string{"syslog"}}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, env, &config.Flags{DataDir: data}) }()
		text := func() string { mu.Lock(); defer mu.Unlock(); return out.String() }
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(text(), until); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q never comes:\n%s", until, text())
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text(), "good") {
			t.Errorf("the token is in the log:\n%s", text())
		}
		return text()
	}
	run(Command{LAPIURL: server.URL, Token: "good", Machine: "web1"}, "the LAPI lets us in")
	if want := []string{"POST /v1/watchers", "POST /v1/watchers/login"}; !slices.Equal(lapi.calls[:2], want) {
		t.Fatalf("got %q", lapi.calls)
	}
	password := lapi.accounts["web1"]
	if len(password) != 64 || !slices.Contains(lapi.scenarios, "cs/ssh-bf") {
		t.Fatalf("password of %d characters, scenarios %q", len(password), lapi.scenarios)
	}
	credentials, err := config.ReadCredentials(filepath.Join(data, config.CredentialsName), os.LookupEnv)
	if err != nil || credentials.Login != "web1" || credentials.Password != password || credentials.URL != server.URL+"/" {
		t.Fatalf("got %+v, %v", credentials, err)
	}
	run(Command{}, "the LAPI lets us in") // by the file alone

	delete(lapi.accounts, "web1") // the LAPI was installed anew
	run(Command{Token: "good"}, "the LAPI lets us in")
	if lapi.accounts["web1"] != password {
		t.Fatal("not the same account again")
	}
	lapi.accounts["web1"] = "another"
	run(Command{Token: "good"}, "incorrect Username or Password")
	delete(lapi.accounts, "web1")
	run(Command{Token: "bad"}, "invalid token for auto registration")
	lapi.validated = false
	run(Command{Token: "good"}, "cs machines validate web1")
	run(Command{Token: "good"}, "machine web1 not validated")
}
