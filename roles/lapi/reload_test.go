package lapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cs/roles/config"
	"cs/roles/lapi/profile"
)

// TestReloadSwapsThePolicy: another token, other trusted addresses and other ages hold
// from the next request on, while a bouncer goes on waiting for news on the
// connection it has.
func TestReloadSwapsThePolicy(t *testing.T) {
	const otherToken = "another-token-of-more-than-32-characters-1"
	s, url, _ := running(t, func(c *Config) { c.Policy.Token = goodToken })
	m, fw := machine(t, s, "m"), bouncer(t, s, "fw")
	fw.from = "127.0.0.1"
	fw.want("GET", "/v1/decisions/stream?startup=true", "", 200, "*")
	heard := make(chan string, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/decisions/stream?wait=30s", nil)
		if err != nil {
			panic(err)
		}
		r.Header.Set("X-Api-Key", fw.key)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			heard <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		heard <- resp.Status + " " + string(body) + errorText(err)
	}()

	polls := func() uint64 {
		s.requests.mu.RLock()
		defer s.requests.mu.RUnlock()
		return s.requests.callers[caller{true, "fw", route{"/v1/decisions/stream", "GET"}}].Load()
	}
	for deadline := time.Now().Add(30 * time.Second); polls() < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}

	away := visitor{t: t, h: s.handler()}
	register := func(id, token string, status int) {
		t.Helper()
		away.want("POST", "/v1/watchers", `{"machine_id":"`+id+`","password":"pw","registration_token":"`+token+`"}`, status, "*")
	}
	register("a", goodToken, 202)
	m.want("DELETE", "/v1/alerts", "", 403, `{"message":"access forbidden from this IP (192.0.2.1)"}`)

	reload(t, s, config.Policy{
		Token: otherToken, TrustedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, BouncerRegistration: true,
		IdleMachines: time.Hour, MaxMetricsAge: time.Hour,
	})
	register("b", goodToken, 401)
	register("b", otherToken, 202)
	m.want("DELETE", "/v1/alerts", "", 200, `{"nbDeleted":"0"}`)
	away.want("POST", "/v1/bouncers", `{"name":"x","registration_token":"`+otherToken+`"}`, 201, "*")
	if got := s.usage.age; got != time.Hour {
		t.Errorf("reports are kept for %v", got)
	}

	// One that is faulty changes nothing.
	faulty := func(c Config) {
		t.Helper()
		if err := s.Reload(c); err == nil {
			t.Error("a faulty configuration was taken over")
		}
		register("c", goodToken, 401)
	}
	faulty(Config{Policy: config.Policy{Token: "short"}})
	faulty(Config{
		Policy:       config.Policy{Token: goodToken},
		LoadProfiles: func(profile.History) (*profile.Profiles, error) { return nil, errors.New("a typing error") },
	})

	reload(t, s, config.Policy{TokenRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Token: otherToken})
	register("c", otherToken, 401)
	away.want("POST", "/v1/bouncers", `{"name":"y","registration_token":"`+otherToken+`"}`, 404, "")

	select {
	case got := <-heard:
		t.Fatalf("the bouncer that waited was sent away: %s", got)
	default:
	}
	m.want("POST", "/v1/alerts", "["+alertJSON("Ip", "192.0.2.7", "null", time.Now())+"]", 201, "*")
	if got := <-heard; !strings.HasPrefix(got, "200 OK ") || !strings.Contains(got, `"value":"192.0.2.7"`) {
		t.Fatalf("the bouncer heard %s", got)
	}
}

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// logText is a log that is read while it is written.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestFollow: a LAPI that runs alone takes over what it can at a SIGHUP, and says
// what it can't.
func TestFollow(t *testing.T) {
	var log logText
	s := open(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	hup := make(chan os.Signal)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	var l config.LAPI
	var faulty error
	go func() {
		defer close(done)
		s.follow(ctx, hup, Fixed(config.LAPI{Listen: "a:1", ProfilesPath: "old"}), func() (config.LAPI, Config, error) {
			return l, Config{Policy: l.Policy}, faulty
		})
	}()
	v := visitor{t: t, h: s.handler()}
	turn := func(next config.LAPI, err error, said string) {
		t.Helper()
		l, faulty = next, err
		hup <- syscall.SIGHUP
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.text(), said); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nothing says %q:\n%s", said, log.text())
			}
		}
	}
	body := func(id, token string) string {
		return `{"machine_id":"` + id + `","password":"pw","registration_token":"` + token + `"}`
	}
	turn(config.LAPI{Listen: "a:1", Policy: config.Policy{Token: goodToken}, ProfilesPath: "new"}, nil, "Reload is finished")
	v.want("POST", "/v1/watchers", body("a", goodToken), 202, "")
	turn(config.LAPI{}, errors.New("a typing error"), "a typing error")
	v.want("POST", "/v1/watchers", body("b", goodToken), 202, "")
	turn(config.LAPI{Listen: "a:2"}, nil, "only after a restart")
	v.want("POST", "/v1/watchers", body("c", goodToken), 201, "")
	stop()
	<-done
}
