package wfp

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"testing"

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
