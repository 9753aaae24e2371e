package agent

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cs/decisions"
	"cs/roles/api"
	"cs/roles/config"
)

// TestFallback: while the first LAPI is away the second gets the alerts, each one once,
// and a refusal is no absence.
func TestFallback(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	appendTo(t, log, "")
	first, second := &fakeLAPI{}, &fakeLAPI{}
	set := func(l *fakeLAPI, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.answer = func(int, []decisions.Alert) (bool, error) { return err == nil, err }
	}
	f := &fallback{list: []LAPI{first, second}, name: []string{"one", "two"}}
	cfg := Config{DataDir: filepath.Join(dir, "data"), LAPI: f, load: loadFake, Inputs: []config.Acquisition{fileInput("x", []string{log})}}
	set(first, nil)
	set(second, errUnreachable)
	f.log = slog.New(slog.DiscardHandler)
	r := start(t, cfg)
	appendTo(t, log, "attack 1\n")
	eventually(t, "the first gets it", func() bool { return slices.Equal(first.stored(), []string{"attack 1"}) })
	set(first, errUnreachable)
	set(second, nil)
	appendTo(t, log, "attack 2\nattack 3\n")
	eventually(t, "the second gets them", func() bool { return slices.Equal(second.stored(), []string{"attack 2", "attack 3"}) })
	set(first, nil)
	appendTo(t, log, "attack 4\n")
	eventually(t, "the first is back", func() bool { return slices.Equal(first.stored(), []string{"attack 1", "attack 4"}) })
	set(first, &api.Error{Status: 422})
	if err := f.SendAlerts(t.Context(), []decisions.Alert{{UUID: "x"}}); err == nil || len(second.stored()) != 2 {
		t.Errorf("got %v; the second has %q", err, second.stored())
	}
	set(first, errUnreachable)
	set(second, errUnreachable)
	if err := f.Heartbeat(t.Context()); err == nil || strings.Count(err.Error(), errUnreachable.Error()) != 2 {
		t.Errorf("got %v", err)
	}
	r.end()
}
