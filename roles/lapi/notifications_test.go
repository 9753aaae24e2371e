package lapi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/roles/lapi/notify"
	"cs/roles/lapi/profile"
)

// TestNotifications: what the profiles name is told once of each alert, with its
// ID and its decisions; a repeated delivery is not told again.
func TestNotifications(t *testing.T) {
	dir := t.TempDir()
	out, profiles := filepath.Join(dir, "out"), filepath.Join(t.TempDir(), "profiles.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(profiles, "filters: ['Alert.Remediation']\ndecisions: [{type: ban, duration: 4h}]\nnotifications: [tell]\n---\nfilters: ['Alert.Scenario == \"manual\"']\nnotifications: [tell]\n")
	write(filepath.Join(dir, "tell.yaml"), "type: dummy\nname: tell\noutput_file: "+out+"\nformat: '{{ . | toJson }}'\n")
	clk, turned := clockAtNoon()
	s := open(t, func(c *Config) {
		turned(c)
		c.LoadProfiles = func(h profile.History) (*profile.Profiles, error) { return profile.Load(profiles, h, nil) }
		c.LoadNotifications = func(names []string) (map[string]*notify.Instance, error) { return notify.Load(dir, names, nil, nil) }
	})
	m := machine(t, s, "m")
	alert := strings.Replace(alertJSON("Ip", "1.1.1.1", "null", clk.Now()), `{`, `{"uuid":"f81d4fae-7dec-41d0-a765-00a0c91e6bf6",`, 1)
	m.want("POST", "/v1/alerts", "["+alert+"]", 201, `["1"]`)
	m.want("POST", "/v1/alerts", "["+alert+"]", 201, `["1"]`)
	manual(t, m, clk.Now(), decisionJSON("ip", "1.1.1.2", "ban", "cscli", "1h"))
	for range 1000 {
		if text, _ := os.ReadFile(out); strings.Count(string(text), `"machine_id"`) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for want, times := range map[string]int{`"id":1,`: 2, `"value":"1.1.1.1"`: 2, `"duration":"4h0m0s"`: 1, `"value":"1.1.1.2"`: 1, `"machine_id":"m"`: 2} {
		if n := strings.Count(string(text), want); n != times {
			t.Errorf("%s is there %d times, want %d:\n%s", want, n, times, text)
		}
	}
}

func TestNotificationsMustExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte("filters: ['true']\nnotifications: [slack]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := Config{LoadProfiles: func(h profile.History) (*profile.Profiles, error) { return profile.Load(path, h, nil) }}
	if _, err := Open(t.Context(), conf); err == nil || !strings.Contains(err.Error(), "slack") {
		t.Fatal(err)
	}
}
