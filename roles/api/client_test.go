package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
)

// fakeLAPI logs machines in and answers as the test says.
type fakeLAPI struct {
	mu     sync.Mutex
	logins int
	life   time.Duration
	answer func(w http.ResponseWriter, r *http.Request)
}

func (f *fakeLAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == PathLogin {
		f.mu.Lock()
		f.logins++
		n := f.logins
		f.mu.Unlock()
		json.NewEncoder(w).Encode(LoginResponse{Code: 200, Expire: time.Now().Add(f.life).Format(time.RFC3339), Token: fmt.Sprint("t", n)})
		return
	}
	f.answer(w, r)
}

func newFake(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (*fakeLAPI, *Client, *[]time.Duration) {
	t.Helper()
	f := &fakeLAPI{life: time.Hour, answer: answer}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	c, err := NewClient(ClientConfig{URL: srv.URL + "/", MachineID: "m", Password: "p", APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var pauses []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
	return f, c, &pauses
}

func TestLoginOnceAndInTime(t *testing.T) {
	var seen []string
	f, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) { seen = append(seen, r.Header.Get("Authorization")) })
	beat := func() {
		t.Helper()
		if err := c.Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	beat()
	now := time.Now()
	c.now = func() time.Time { return now.Add(59*time.Minute + time.Second) } // less than a minute is left
	f.life = 3 * time.Hour
	beat()
	if want := []string{"Bearer t1", "Bearer t1", "Bearer t2"}; !slices.Equal(seen, want) {
		t.Fatalf("tokens %q, want %q", seen, want)
	}
}

func TestDeniedTokenIsReplaced(t *testing.T) {
	for _, status := range []int{401, 403} {
		calls := 0
		f, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls < 3 {
				w.WriteHeader(status)
			}
		})
		if err := c.Heartbeat(t.Context()); err != nil || calls != 3 || f.logins != 3 {
			t.Fatalf("%d: %v after %d calls and %d logins", status, err, calls, f.logins)
		}
		calls = -10
		err := c.Heartbeat(t.Context())
		if !errors.Is(err, ErrDenied) || calls != -7 {
			t.Fatalf("%d: %v after %d calls", status, err, calls+10)
		}
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	for _, status := range []int{429, 503, 504} {
		calls := 0
		f, c, pauses := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls == 1 {
				w.Header().Set("Retry-After", "7")
			}
			if calls < 4 {
				w.WriteHeader(status)
			}
		})
		if err := c.Heartbeat(t.Context()); err != nil || f.logins != 1 {
			t.Fatal(err, f.logins)
		}
		if want := []time.Duration{7 * time.Second, 2 * time.Second, 4 * time.Second}; !slices.Equal(*pauses, want) {
			t.Fatalf("paused %v, want %v", *pauses, want)
		}
		calls = -100
		var refused *Error
		if err := c.Heartbeat(t.Context()); !errors.As(err, &refused) || refused.Status != status || calls != -96 {
			t.Fatalf("%v after %d calls", err, calls+100)
		}
	}
}

func TestLargeBodiesAreCompressed(t *testing.T) {
	var size int
	var coding string
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		coding = r.Header.Get("Content-Encoding")
		body := io.Reader(r.Body)
		if coding == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		var in []Alert
		if err := json.NewDecoder(body).Decode(&in); err != nil {
			t.Error(err)
		}
		if in[0].Events == nil {
			t.Error("events are null")
		}
		size = len(in[0].Message)
		w.WriteHeader(201)
		io.WriteString(w, `["17"]`)
	})
	for _, n := range []int{10, gzipOver + 1} {
		ids, err := c.PostAlerts(t.Context(), []Alert{{Message: strings.Repeat("x", n)}})
		if err != nil || len(ids) != 1 || ids[0] != "17" || size != n || (coding == "gzip") != (n > gzipOver) {
			t.Fatalf("%d bytes: %v %v, got %d by %q", n, ids, err, size, coding)
		}
	}
}

func TestErrorsTellWhatTheServerSaid(t *testing.T) {
	f := func(status int, body, want string, is error) {
		t.Helper()
		_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); io.WriteString(w, body) })
		_, err := c.Alert(t.Context(), 1)
		if err == nil || !strings.HasSuffix(err.Error(), want) || is != nil && !errors.Is(err, is) {
			t.Fatalf("got %v, want %s", err, want)
		}
	}
	f(404, `{"message":"object not found"}`, "404 Not Found: API error: object not found", ErrNotFound)
	f(422, `{"message":"validation failure list:\nx"}`, "422 Unprocessable Entity: API error: validation failure list:\nx", ErrRejected)
	f(500, `validation failure list`, "API error: validation failure list", ErrRejected)
	f(500, ``, "http code 500, no response body", nil)
	f(302, ``, "http code 302, no response body", nil)
	f(200, `{"a":`, "unexpected EOF", nil)
}

func TestRedirectIsNotFollowed(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("got %v", r.Header) }))
	defer thief.Close()
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	if err := c.Heartbeat(t.Context()); err == nil || !strings.Contains(err.Error(), "redirected to "+thief.URL) {
		t.Fatal(err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c, err := NewClient(ClientConfig{URL: "http://" + l.Addr().String(), MachineID: "m", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Heartbeat(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	if _, err := NewAdmin(filepath.Join(t.TempDir(), "no.sock")).Machines(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	f := func(conf ClientConfig, want string) {
		t.Helper()
		if _, err := NewClient(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	f(ClientConfig{}, "URL of the local API")
	f(ClientConfig{URL: "localhost:8080"}, "URL of the local API")
	f(ClientConfig{URL: "ftp://h"}, "URL of the local API")
	f(ClientConfig{URL: "http://u:secret@h"}, "scheme, host and path only")
	f(ClientConfig{URL: "http://h", UserAgent: "a/b/c"}, "user agent")
	f(ClientConfig{URL: "/run/x.sock", InsecureSkipVerify: true}, "TLS with a unix socket")
	f(ClientConfig{URL: "https://h", CACert: "/nonexistent"}, "authorities")
	f(ClientConfig{URL: "https://h", CertFile: "/nonexistent"}, "client certificate")
	if _, err := NewClient(ClientConfig{URL: "http://u:secret@h"}); strings.Contains(err.Error(), "secret") {
		t.Fatal("the error tells the password")
	}
}

func TestUserAgentHasOneSlash(t *testing.T) {
	for _, v := range []string{"", "1.2", "v1/dirty", "a b\n"} {
		if ua := UserAgent(v); strings.Count(ua, "/") != 1 || strings.ContainsAny(ua, " \n") {
			t.Fatalf("%q gives %q", v, ua)
		}
	}
}

func TestCancelledWhileLoggingIn(t *testing.T) {
	_, c, _ := newFake(t, func(http.ResponseWriter, *http.Request) {})
	<-c.login // somebody logs in for ever
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Heartbeat(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestSendAlertsKeepsEventTimes(t *testing.T) {
	var got []Alert
	_, c, _ := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		json.NewDecoder(r.Body).Decode(&got)
		io.WriteString(w, `["1"]`)
	})
	err := c.SendAlerts(t.Context(), []decisions.Alert{{Scenario: "s", Events: []decisions.Event{{Timestamp: "2026-01-02T03:04:05Z"}}}})
	if err != nil || got[0].Events[0].Timestamp != "2026-01-02T03:04:05Z" || got[0].Decisions != nil {
		t.Fatalf("%v %+v", err, got)
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(conf ClientConfig, good bool) {
		t.Helper()
		conf.URL = srv.URL
		c, err := NewClient(conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Health(t.Context()); (err == nil) != good {
			t.Fatal(err)
		}
	}
	f(ClientConfig{CACert: ca}, true)
	f(ClientConfig{InsecureSkipVerify: true}, true)
	f(ClientConfig{}, false)
}
