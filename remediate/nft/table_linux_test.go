package nft

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cs/remediate"
	"cs/remediate/remediatetest"
)

func entry(prefix, origin string, left time.Duration) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: time.Now().Add(left)}
}

func open(t *testing.T, n *remediatetest.Namespace, cfg Config) *Table {
	t.Helper()
	table, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Do(func() { _, err = table.Open(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close(context.Background(), false) })
	return table
}

func TestLoadBlocks(t *testing.T) {
	lab := remediatetest.NewLab(t)
	k := open(t, lab.Host, Config{Ignore: []string{"203.0.113.7"}})
	if err := k.Load(t.Context(), slices.Values([]remediate.Entry{
		entry("203.0.113.4/32", "crowdsec", time.Hour),
		entry("203.0.113.0/28", "lists:tor", time.Hour),
		entry("2001:db8::5/128", "CAPI", time.Hour),
		entry("2001:db8:1::/48", "CAPI", time.Hour),
	})); err != nil {
		t.Fatal(err)
	}
	f := func(addr string, want bool) {
		t.Helper()
		if got := lab.Blocked(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is blocked: %v, want %v", addr, got, want)
		}
	}
	f("203.0.113.4", true)
	f("203.0.113.15", true)
	f("203.0.113.16", false)
	f("203.0.113.7", false) // to be ignored
	f("2001:db8::5", true)
	f("2001:db8::6", false)
	f("2001:db8:1:5::1", true)
	f("2001:db8:2::1", false)
}
