package wfp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/remediate"
)

// The real engine, in a session whose filters the system removes when it ends. Wine has none.
func TestRealEngine(t *testing.T) {
	f, err := New(Config{Lifetime: WithProcess})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Open(t.Context())
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}); err != nil {
		t.Fatal(err)
	}
	load(t, f, "192.0.2.1/32", "198.51.100.0/24", "2001:db8::1/128", "2001:db8:1::/48")
	if ok, err := f.Check(t.Context()); !ok || err != nil {
		t.Errorf("check: %v, %v", ok, err)
	}
	if err := f.Apply(t.Context(), []remediate.Change{{Entry: entry("192.0.2.2/32")}, {Op: remediate.Remove, Entry: entry("192.0.2.1/32")}}); err != nil {
		t.Fatal(err)
	}
	load(t, f, "192.0.2.3/32")
	keys, err := f.e.filters()
	if err != nil || len(keys) != 2 || !slices.Contains(keys, f.permits[0]) {
		t.Errorf("filters %v, %v", keys, err)
	}
	if err := f.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
}

const netshEnv = "CS_TEST_NETSH"

// TestMain lets the test binary play netsh, whose rules are in a file.
func TestMain(m *testing.M) {
	path := os.Getenv(netshEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	var w fakeNetsh
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &w.rules)
	}
	var out string
	if err == nil {
		if out, err = w.run(os.Args[1:]...); err == nil {
			text, _ = json.Marshal(w.rules)
			err = os.WriteFile(path, text, 0o600)
		}
	}
	fmt.Println(out)
	if err != nil {
		os.Exit(1)
	}
}

// Rules that are made by running a program are there for the next process, and gone when it
// is told so; rules of others stay.
func TestRulesOfAProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a program many times")
	}
	dir, err := os.MkdirTemp("", "netsh") // not the test's: Wine lets go of a program late
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "rules.json")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "netsh.exe"), text, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(`{"Core Networking - DNS (UDP-Out)": "any"}`), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(netshEnv, path)
	rulesNow := func() (rules map[string]string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &rules)
		}
		if err != nil {
			t.Fatal(err)
		}
		return rules
	}
	open := func(want bool) *Filter {
		t.Helper()
		f, err := New(Config{Rules: true})
		if err != nil {
			t.Fatal(err)
		}
		if live, err := f.Open(t.Context()); err != nil || live != want {
			t.Fatalf("live: %v, %v", live, err)
		}
		return f
	}
	f := open(false)
	load(t, f, "192.0.2.1/32", "198.51.100.0/24", "2001:db8:1::/48")
	if err := f.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(slices.Sorted(maps.Values(rulesNow())), " ")
	if !strings.Contains(all, "192.0.2.1/32,198.51.100.0/24") || !strings.Contains(all, "2001:db8:1::/48") {
		t.Errorf("the rules are %s", all)
	}
	f = open(true)
	load(t, f, "192.0.2.2/32")
	found, err := f.Probe(t.Context(), []remediate.Entry{{Prefix: netip.MustParsePrefix("192.0.2.2/32"), Until: time.Now().Add(time.Hour)}})
	if err != nil || !found[0].Present {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := f.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if rules := rulesNow(); len(rules) != 1 || rules["Core Networking - DNS (UDP-Out)"] != "any" {
		t.Errorf("left are %q", rules)
	}
}
