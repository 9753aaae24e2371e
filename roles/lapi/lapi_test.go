package lapi

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
	"cs/storage/mem"
)

func open(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	conf := Config{
		OpenStore: func(context.Context) (storage.Store, error) { return mem.New(), nil },
		Log:       slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&conf)
	}
	s, err := Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSmoke(t *testing.T) {
	const token = "0123456789012345678901234567890123456789"
	s := open(t, func(c *Config) { c.Token, c.BouncerRegistration = token, true })
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	c, err := api.NewClient(api.ClientConfig{URL: srv.URL, MachineID: "m", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	valid, err := c.Register(ctx, "m", "p", token)
	if err != nil || !valid {
		t.Fatal(valid, err)
	}
	now := time.Now()
	err = c.SendAlerts(ctx, []decisions.Alert{{Scenario: "ssh-bf", Remediation: true, Source: decisions.Source{Scope: "ip", Value: "1.2.3.4"}, StartAt: now, StopAt: now}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.Alerts(ctx, url.Values{})
	if err != nil || len(list) != 1 || len(list[0].Decisions) != 1 {
		t.Fatal(list, err)
	}
	key, err := c.RegisterBouncer(ctx, "b", token)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/v1/decisions/stream?startup=true", nil)
	r.Header.Set("X-Api-Key", key)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	t.Log(w.Body.String(), w.Header())
	n, err := c.DeleteDecisions(ctx, nil)
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w = httptest.NewRecorder()
	r.URL.RawQuery = ""
	s.Handler().ServeHTTP(w, r)
	t.Log(w.Body.String(), w.Header())
}
