package bouncer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

const testToken = "a-registration-token-of-32-characters"

// server is a LAPI that knows one ban, as upstream's would tell it.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	keys  map[string]bool
	names []string
	agent string
}

func newServer(t *testing.T) *server {
	s := &server{keys: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathBouncers, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var in api.BouncerRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.RegistrationToken != testToken {
			http.Error(w, `{"message":"access forbidden"}`, http.StatusForbidden)
			return
		}
		for _, n := range s.names {
			if n == in.Name {
				http.Error(w, `{"message":"already exists"}`, http.StatusConflict)
				return
			}
		}
		key := fmt.Sprintf("key-%d", len(s.names))
		s.names, s.keys[key] = append(s.names, in.Name), true
		json.NewEncoder(w).Encode(api.BouncerResponse{Key: key})
	})
	mux.HandleFunc("GET "+api.PathStream, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.agent = r.UserAgent()
		if !s.keys[r.Header.Get(api.HeaderKey)] {
			http.Error(w, `{"message":"access forbidden"}`, http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"new":[{"id":1,"origin":"cscli","type":"ban","scope":"Ip","value":"203.0.113.4","duration":"1h","scenario":"manual"}],"deleted":[]}`)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
}

func TestKeyByToken(t *testing.T) {
	s := newServer(t)
	path := filepath.Join(t.TempDir(), "state", keyName)
	with := func(token string) *remote {
		return &remote{Client: api.ClientConfig{URL: s.URL}, Token: token, KeyPath: path, Stream: api.StreamConfig{Interval: time.Millisecond}}
	}
	next := func(f *remote) {
		t.Helper()
		d, err := f.Next(t.Context())
		if err != nil || !d.Full || len(d.New) != 1 {
			t.Fatalf("got %+v, %v", d, err)
		}
	}
	if err := with("").checkKey(); !errors.Is(err, errNoKey) {
		t.Errorf("without key and token: %v", err)
	}
	if _, err := with("wrong").Next(t.Context()); !errors.Is(err, api.ErrDenied) {
		t.Errorf("with the wrong token: %v", err)
	}
	next(with(testToken))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	// The next start needs no token, and registers nothing.
	if err := with("").checkKey(); err != nil {
		t.Error(err)
	}
	next(with(""))
	if len(s.names) != 1 || s.names[0] != defaultName() {
		t.Errorf("registered are %q", s.names)
	}
	// The LAPI was installed anew and doesn't know the key; its name is taken.
	s.forget()
	f := with(testToken)
	if _, err := f.Next(t.Context()); !errors.Is(err, api.ErrDenied) {
		t.Errorf("with a forgotten key: %v", err)
	}
	next(f)
	if len(s.names) != 2 || !strings.HasPrefix(s.names[1], defaultName()+"-") {
		t.Errorf("registered are %q", s.names)
	}
	// A key that was given is never replaced.
	f = with(testToken)
	f.Client.APIKey = "given"
	for range 2 {
		if _, err := f.Next(t.Context()); !errors.Is(err, api.ErrDenied) {
			t.Errorf("with a wrong key: %v", err)
		}
	}
	if len(s.names) != 2 {
		t.Errorf("registered are %q", s.names)
	}
}

// output is a buffer that a program may still write to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestCommand(t *testing.T) {
	s := newServer(t)
	s.keys["given-key-of-the-test"] = true
	upstream := filepath.Join(t.TempDir(), "crowdsec-firewall-bouncer.yaml")
	logDir := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(upstream, []byte("mode: dry-run\napi_url: "+s.URL+"\napi_key: given-key-of-the-test\nupdate_frequency: 10s\nlog_mode: file\nlog_dir: "+logDir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(name string, c Command, flags config.Flags) {
		t.Run(name, func(t *testing.T) {
			var out, log output
			env := &platform.Env{
				Program: "cs", Stdout: &out, Stderr: &log, Version: "1.2/3",
				LookupEnv: func(string) (string, bool) { return "", false },
				Log:       slog.New(slog.NewTextHandler(&log, nil)),
			}
			logged := log.String
			if flags.Config != "" {
				logged = func() string {
					text, _ := os.ReadFile(filepath.Join(logDir, "crowdsec-firewall-bouncer.log"))
					return string(text)
				}
			}
			flags.DataDir = t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- c.Run(ctx, env, &flags) }()
			for end := time.Now().Add(5 * time.Second); !strings.Contains(logged(), "bouncer is ready"); time.Sleep(time.Millisecond) {
				select {
				case err := <-done:
					t.Fatalf("ended: %v", err)
				default:
				}
				if time.Now().After(end) {
					t.Fatalf("not ready:\n%s", logged())
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), "would block 203.0.113.4/32 for 1h0m0s (cscli)") {
				t.Errorf("printed\n%s\nlogged\n%s", out.String(), logged())
			}
			if strings.Contains(logged(), "given-key") {
				t.Errorf("a secret was logged:\n%s", logged())
			}
			if want := "crowdsec-firewall-bouncer/1.2-3"; s.agent != want {
				t.Errorf("user agent %q, want %q", s.agent, want)
			}
		})
	}
	f("flags", Command{LAPIURL: s.URL, APIKey: "given-key-of-the-test", Enforcing: Enforcing{DryRun: true}}, config.Flags{})
	f("upstream's file", Command{}, config.Flags{Config: upstream})
}

// TestSmallMachine: where memory is short, the kernel gets a share of it for entries.
func TestSmallMachine(t *testing.T) {
	f := func(configured int, total, available int64, want int) {
		t.Helper()
		if got := maxEntries(configured, func() (int64, int64) { return total, available }); got != want {
			t.Errorf("%d with %d of %d bytes: %d entries, want %d", configured, available, total, got, want)
		}
	}
	f(config.AutoEntries, 64<<20, 20<<20, 20<<20/4/110)
	f(config.AutoEntries, 64<<20, 1<<20, minEntries)
	f(config.AutoEntries, 4<<30, 20<<20, 0)
	f(config.AutoEntries, 0, 0, 0)
	f(0, 64<<20, 20<<20, 0)
	f(70_000, 64<<20, 20<<20, 70_000)
	total, available := platform.SystemMemory()
	if runtime.GOOS == "linux" && (available < 1<<20 || total < available) {
		t.Errorf("this machine has %d of %d bytes left", available, total)
	}
}

func TestCommandRefuses(t *testing.T) {
	f := func(c Command, want string) {
		t.Helper()
		env := &platform.Env{Log: slog.New(slog.DiscardHandler), LookupEnv: func(string) (string, bool) { return "", false }}
		err := c.Run(t.Context(), env, &config.Flags{DataDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	f(Command{}, "give --api-key, or --token")
	f(Command{APIKey: "k", Enforcing: Enforcing{Hooks: []string{"nowhere"}}}, "hooks")
	f(Command{APIKey: "k", Enforcing: Enforcing{Ignore: []string{"nonsense"}}}, "nonsense")
	f(Command{APIKey: "k", Enforcing: Enforcing{OnStop: "explode"}}, "on_stop")
	f(Command{APIKey: "k", UpdateFrequency: "never"}, "update_frequency")
	f(Command{APIKey: "k", LAPIURL: "ftp://x"}, `begins with "ftp"`)
}
