package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/decisions"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// past is a history for tests.
type past []decisions.Decision

func (p past) Now() time.Time { return t0 }

func (p past) Earlier(value string, f func(*decisions.Decision) bool) {
	for i := range p {
		if p[i].Value == value && !f(&p[i]) {
			return
		}
	}
}

func attack() *decisions.Alert {
	return &decisions.Alert{
		Remediation: true, Scenario: "crowdsecurity/ssh-bf", StopAt: t0,
		Source: decisions.Source{Scope: "Ip", Value: "192.0.2.1", Country: "FR"},
		Meta:   []decisions.KeyValue{{Key: "service", Value: "ssh"}},
	}
}

// told describes decisions in one line.
func told(ds []decisions.Decision) string {
	var out []string
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%s %s %s %s %s", d.Type, d.Scope, d.Value, d.Origin, d.Until.Sub(t0)))
	}
	return strings.Join(out, ", ")
}

func TestDefault(t *testing.T) {
	p := Default(past{})
	f := func(want string, change func(*decisions.Alert)) {
		t.Helper()
		a := attack()
		change(a)
		out, errs := p.Decide(a, t0)
		if got := told(out.Decisions); got != want || errs != nil {
			t.Fatalf("got %q, %v; want %q", got, errs, want)
		}
	}
	f("ban Ip 192.0.2.1 crowdsec 4h0m0s", func(*decisions.Alert) {})
	f("ban Range 192.0.2.0/24 crowdsec 4h0m0s", func(a *decisions.Alert) { a.Source.Scope, a.Source.Value = "Range", "192.0.2.0/24" })
	f("", func(a *decisions.Alert) { a.Source.Scope = "Country" })
	f("", func(a *decisions.Alert) { a.Remediation = false })
	f("ban Ip 192.0.2.1 crowdsec 1h0m0s", func(a *decisions.Alert) { a.StopAt = t0.Add(-3 * time.Hour) })
	out, _ := p.Decide(attack(), t0)
	if d := out.Decisions[0]; !decisions.IsUUID(d.UUID) || d.Scenario != "crowdsecurity/ssh-bf" || !d.Created.Equal(t0) {
		t.Fatalf("%+v", d)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	f := func(text, want string, h past, errors int) {
		t.Helper()
		p, err := Load(write(t, "profiles.yaml", text), h, nil)
		if err != nil {
			t.Fatal(err)
		}
		out, errs := p.Decide(attack(), t0)
		if got := told(out.Decisions); got != want || len(errs) != errors {
			t.Fatalf("got %q, %v; want %q", got, errs, want)
		}
	}
	const captcha = `name: captcha
filters:
 - Alert.Remediation == true && Alert.GetScope() == "Ip" && Alert.Scenario contains "%s"
decisions:
 - type: captcha
   duration: 1d
`
	f(fmt.Sprintf(captcha, "ssh")+"---\n"+builtIn, "captcha Ip 192.0.2.1 crowdsec 24h0m0s", nil, 0) // the first decides
	f(fmt.Sprintf(captcha, "http")+"---\n"+builtIn, "ban Ip 192.0.2.1 crowdsec 4h0m0s", nil, 0)
	// The growing ban that upstream's file has in a comment.
	grow := strings.Replace(builtIn, "on_success", `duration_expr: "Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)"`+"\non_success", 1)
	f(grow, "ban Ip 192.0.2.1 crowdsec 12h0m0s", past{{Value: "192.0.2.1"}, {Value: "192.0.2.1"}, {Value: "192.0.2.9"}}, 0)
	f(strings.Replace(grow, "%dh", "%d bananas", 1), "ban Ip 192.0.2.1 crowdsec 4h0m0s", nil, 1)
	f(`filters: ["true"]
decisions:
 - {type: ban, scope: Country, origin: mine}
 - {type: throttle, duration: 90s, simulated: true, value: x, scenario: y}
`, "ban Country 192.0.2.1 crowdsec/mine 4h0m0s, throttle Ip 192.0.2.1 crowdsec 1m30s", nil, 0)
	f(`filters: ["false", "Alert.Source.Cn == 'FR' && Alert.GetMeta('service') == 'ssh'", "true"]
decisions: [{type: ban}]
`, "ban Ip 192.0.2.1 crowdsec 4h0m0s", nil, 0) // once, although two match
	f("filters: ['true']\n---\n"+builtIn, "ban Ip 192.0.2.1 crowdsec 4h0m0s", nil, 0) // notifies only
	f("filters: ['true']\non_success: break\n---\n"+builtIn, "", nil, 0)
	f("filters: ['GetActiveDecisionsCount(Alert.GetValue()) > 0']\ndecisions: [{type: a}]\n---\nfilters: ['GetDecisionsSinceCount(Alert.GetValue(), \"1h\") == 1']\ndecisions: [{type: b}]",
		"b Ip 192.0.2.1 crowdsec 4h0m0s", past{{Value: "192.0.2.1", Created: t0.Add(-time.Minute)}, {Value: "192.0.2.1", Created: t0.Add(-2 * time.Hour)}}, 0)
	f("filters: ['GetActiveDecisionsTimeLeft(Alert.GetValue()) > duration(\"1h\")']\ndecisions: [{type: a}]", "a Ip 192.0.2.1 crowdsec 4h0m0s", past{{Value: "192.0.2.1", Until: t0.Add(2 * time.Hour)}}, 0)
	// A filter that breaks is passed over, and said so.
	f("filters: ['Alert.Events[7].GetMeta(\"x\") == \"\"']\ndecisions: [{type: a}]\n---\n"+builtIn, "ban Ip 192.0.2.1 crowdsec 4h0m0s", nil, 1)
}

func TestLocalProfilesComeFirst(t *testing.T) {
	path := write(t, "profiles.yaml", builtIn)
	if err := os.WriteFile(path+".local", []byte("filters: ['true']\ndecisions: [{type: mine}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path, past{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := p.Decide(attack(), t0); told(out.Decisions) != "mine Ip 192.0.2.1 crowdsec 4h0m0s" {
		t.Fatal(told(out.Decisions))
	}
}

func TestLoadRefuses(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		path := write(t, "profiles.yaml", text)
		_, err := Load(path, past{}, nil)
		if err == nil {
			t.Fatalf("%q is accepted", text)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Fatalf("got %v, want %q", err, w)
			}
		}
	}
	f("", "zero profiles loaded for LAPI")
	f("name: x\nfilter: ['true']\n", ":2:", "filter")
	f("name: x\n", "has no filters")
	f("filters: ['Alert.Remediaton']\n", ":1:", "filters[0]", "Remediation")
	f("filters: ['Alert.Scenario']\n", "a condition gives a bool")
	f("filters: ['true']\nduration_expr: 'Nope()'\n", ":2:", "duration_expr", "Nope")
	f("filters: ['true']\ndecisions:\n - duration: 4h\n", "has no type")
	f("filters: ['true']\ndecisions:\n - type: ban\n   duration: soon\n", ":4:", "duration", `"soon"`)
	f("filters: ['true']\ndecisions: [{type: ban, duration: -4h}]\n", "must last")
	f("filters: ['true']\non_success: stop\n", ":2:", "on_success")
	if _, err := Load(filepath.Join(t.TempDir(), "no"), past{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestNotifications: every profile that matches tells, also those behind the
// one that decides, and for alerts that come with decisions.
func TestNotifications(t *testing.T) {
	f := func(text, want string, change func(*decisions.Alert)) {
		t.Helper()
		p, err := Load(write(t, "profiles.yaml", text), past{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		a := attack()
		if change != nil {
			change(a)
		}
		out, _ := p.Decide(a, t0)
		if got := strings.Join(out.Notify, " "); got != want || len(a.Decisions) > 0 && out.Decisions != nil {
			t.Fatalf("%q told of, %d decisions; want %q", got, len(out.Decisions), want)
		}
	}
	const ban = "decisions: [{type: ban, duration: 1h}]\n"
	const many = "filters: ['true']\n" + ban + "notifications: [a, b]\n---\nfilters: ['true']\n" + ban + "notifications: [b, c]\n---\nfilters: ['false']\nnotifications: [d]\n"
	f(many, "a b c", nil)
	f(many, "a b c", func(a *decisions.Alert) { a.Decisions = []decisions.Decision{{Type: "ban"}} })
	f(strings.Replace(many, "---", "on_success: break\n---", 1), "a b", nil)
	broken := "filters: ['GetDecisionsSinceCount(\"192.0.2.1\", \"x\") > 0']\n" + ban + "notifications: [a]\n"
	f(broken, "", nil)
	f(broken+"on_error: ignore\n", "", nil)
	f(broken+"on_error: apply\n", "a", nil)
	p, err := Load(write(t, "profiles.yaml", many), past{}, nil)
	if err != nil || strings.Join(p.Notifications(), " ") != "a b c d" {
		t.Fatal(p.Notifications(), err)
	}
}

func TestDecideIsSafeForConcurrentUse(t *testing.T) {
	p := Default(past{})
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			for range 100 {
				a := attack()
				a.Source.Value = fmt.Sprint(i)
				if out, _ := p.Decide(a, t0); len(out.Decisions) != 1 || out.Decisions[0].Value != a.Source.Value {
					t.Errorf("%+v", out)
				}
			}
		})
	}
	done.Wait()
}

func TestLoadWarns(t *testing.T) {
	var warned []string
	path := write(t, "profiles.yaml", builtIn+"on_failure: apply\non_error: log\n")
	_, err := Load(path, past{}, func(err error) { warned = append(warned, err.Error()) })
	if err != nil || len(warned) != 2 || !strings.HasSuffix(warned[0], "on_failure has no effect") || !strings.Contains(warned[1], `on_error: "log" has no effect`) {
		t.Fatal(err, warned)
	}
}
