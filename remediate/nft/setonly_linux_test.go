package nft

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/remediate"
	"cs/remediate/remediatetest"
)

// operators is a ruleset with sets of some flags that rules of an operator's
// own look into.
func operators(flags string) string {
	var b strings.Builder
	for _, f := range []struct{ family, table, name, typ, saddr string }{
		{"ip", "own", "crowdsec-blacklists", "ipv4_addr", "ip saddr"},
		{"inet", "own6", "crowdsec6-blacklists", "ipv6_addr", "ip6 saddr"},
	} {
		with := ""
		if flags != "" {
			with = "flags " + flags + ";"
		}
		fmt.Fprintf(&b, `table %s %s {
	set %s { type %s; %s }
	set lists { type %s; %s }
	chain in { type filter hook prerouting priority raw; %s @%s drop; %s @lists drop; }
}
`, f.family, f.table, f.name, f.typ, with, f.typ, with, f.saddr, f.name, f.saddr)
	}
	return b.String()
}

func setOnlyConfig() Config {
	return Config{IPv4: Family{SetOnly: true, Table: "own"}, IPv6: Family{SetOnly: true, Table: "own6"}}
}

func ruleset(t *testing.T, n *remediatetest.Namespace, text string) {
	t.Helper()
	n.Run("sh", "-c", "nft -f - <<'END'\n"+text+"END")
}

// Sets of single addresses: ranges are spelt out as far as that goes, and what
// does not fit is told.
func TestSetOnlyWithoutIntervals(t *testing.T) {
	for _, flags := range []string{"timeout", ""} {
		t.Run("flags "+flags, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			ruleset(t, lab.Host, operators(flags))
			k := openAny(t, lab.Host, setOnlyConfig())
			load(t, k,
				entry("203.0.113.4/32", "crowdsec", time.Hour),
				entry("203.0.114.0/24", "CAPI", time.Hour),
				entry("203.1.0.0/16", "CAPI", time.Hour),
				entry("2001:db8::5/128", "cscli", time.Hour),
				entry("2001:db8:1::/120", "cscli", time.Hour),
				entry("2001:db8:2::/48", "cscli", time.Hour),
			)
			for a, want := range map[string]bool{
				"203.0.113.4": true, "203.0.113.5": false, "203.0.114.0": true, "203.0.114.255": true, "203.0.115.0": false,
				"203.1.2.3": false, "2001:db8::5": true, "2001:db8::6": false, "2001:db8:1::ff": true, "2001:db8:1::1ff": false, "2001:db8:2::1": false,
			} {
				blocked(t, lab, a, want)
			}
			left := k.(remediate.Limited)
			if got := left.Unenforced(); got[reasonTooLarge] != 2 || !left.LeavesOut(netip.MustParsePrefix("203.1.0.0/16")) {
				t.Errorf("left out: %v", got)
			}
			// A host inside a range, and the end of one of both.
			apply := func(op remediate.Op, prefix string) {
				t.Helper()
				if err := k.Apply(t.Context(), []remediate.Change{{Op: op, Entry: entry(prefix, "CAPI", 2*time.Hour)}}); err != nil {
					t.Fatal(err)
				}
			}
			apply(remediate.Add, "203.0.114.7/32")
			apply(remediate.Remove, "203.0.114.0/24")
			blocked(t, lab, "203.0.114.7", true)
			blocked(t, lab, "203.0.114.8", false)
			apply(remediate.Add, "203.0.114.0/28")
			apply(remediate.Remove, "203.0.114.7/32")
			blocked(t, lab, "203.0.114.7", true)
			apply(remediate.Remove, "203.0.114.0/28")
			blocked(t, lab, "203.0.114.7", false)
			if got := left.Unenforced(); got[reasonTooLarge] != 2 {
				t.Errorf("left out: %v", got)
			}
			// The operator reloads his rules.
			lab.Host.Run("nft", "flush", "ruleset")
			ruleset(t, lab.Host, operators(flags))
			if ok, err := k.Check(t.Context()); ok || err != nil {
				t.Errorf("a reload was not noticed: %v, %v", ok, err)
			}
			load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour))
			blocked(t, lab, "203.0.113.4", true)
			lab.Host.Run("nft", "flush", "set", "ip", "own", "crowdsec-blacklists")
			if ok, err := k.Check(t.Context()); ok || err != nil {
				t.Errorf("an emptied set was not noticed: %v, %v", ok, err)
			}
			load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour))
			if err := k.Close(context.Background(), true); err != nil {
				t.Fatal(err)
			}
			blocked(t, lab, "203.0.113.4", false)
			if out := lab.Host.Run("nft", "list", "ruleset"); strings.Count(out, "drop") != 4 {
				t.Errorf("the operator's rules were changed:\n%s", out)
			}
		})
	}
}

// In a set of intervals one ban must never become more than it is (the open
// end that upstream's bouncer leaves blocks most of the Internet).
func TestSetOnlyWithIntervals(t *testing.T) {
	for _, flags := range []string{"interval,timeout", "interval"} {
		t.Run("flags "+flags, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			ruleset(t, lab.Host, operators(flags))
			cfg := setOnlyConfig()
			cfg.IPv4.SetPerOrigin = map[string]string{"lists": "lists"}
			k := openAny(t, lab.Host, cfg)
			load(t, k,
				entry("203.0.113.4/32", "crowdsec", time.Hour),
				entry("203.0.113.5/32", "crowdsec", 2*time.Hour),
				entry("203.0.0.0/16", "CAPI", 10*time.Minute),
				entry("203.2.0.0/16", "lists:tor", time.Hour),
				entry("2001:db8:1::/48", "cscli", time.Hour),
			)
			for a, want := range map[string]bool{
				"202.255.255.255": false, "203.0.0.0": true, "203.0.113.4": true, "203.0.255.255": true, "203.1.0.0": false,
				"203.2.3.4": true, "203.200.0.1": false, "2001:db8:1:2::3": true, "2001:db8:2::": false,
			} {
				if netip.MustParseAddr(a).Is6() || remediatetest.Net4.Contains(netip.MustParseAddr(a)) {
					blocked(t, lab, a, want)
				}
			}
			if out := lab.Host.Run("nft", "list", "set", "ip", "own", "lists"); !strings.Contains(out, "203.2.0.0/16") {
				t.Errorf("the list has no set of its own:\n%s", out)
			}
			apply := func(op remediate.Op, prefix string, left time.Duration) {
				t.Helper()
				if err := k.Apply(t.Context(), []remediate.Change{{Op: op, Entry: entry(prefix, "CAPI", left)}}); err != nil {
					t.Fatal(err)
				}
			}
			// The range goes, the hosts inside it stay.
			apply(remediate.Remove, "203.0.0.0/16", 0)
			blocked(t, lab, "203.0.113.4", true)
			blocked(t, lab, "203.0.113.5", true)
			blocked(t, lab, "203.0.113.6", false)
			blocked(t, lab, "203.0.113.3", false)
			apply(remediate.Add, "203.0.112.0/20", time.Hour)
			apply(remediate.Remove, "203.0.113.4/32", 0)
			blocked(t, lab, "203.0.113.4", true)
			apply(remediate.Replace, "203.0.112.0/20", 3*time.Hour)
			blocked(t, lab, "203.0.113.4", true)
			apply(remediate.Remove, "203.0.112.0/20", 0)
			blocked(t, lab, "203.0.113.4", false)
			blocked(t, lab, "203.0.113.5", true)
		})
	}
}

// openOperators opens a reconciler on an operator's own sets until the test ends.
func openOperators(t *testing.T, lab *remediatetest.Lab) *remediate.Reconciler {
	t.Helper()
	k, err := New(setOnlyConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := remediate.New(remediate.Config{Kernel: k})
	lab.Host.Do(func() { _, err = r.Open(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(context.Background(), true) })
	return r
}

// TestSetOnlyIsVerified: bans inside others share elements, and are as they should be all
// the same; what an operator's script took away is found.
func TestSetOnlyIsVerified(t *testing.T) {
	for _, flags := range []string{"timeout", "interval,timeout", "interval", ""} {
		t.Run("flags "+flags, func(t *testing.T) {
			lab := remediatetest.NewLab(t)
			ruleset(t, lab.Host, operators(flags))
			r := openOperators(t, lab)
			var list []decisions.Decision
			for value, left := range map[string]time.Duration{
				"203.0.113.0/24": 3 * time.Hour, "203.0.113.0/32": time.Hour, "203.0.113.7/32": 20 * time.Hour, "203.0.114.0/32": time.Hour, "203.0.115.0/28": time.Hour, "203.0.115.0/25": 9 * time.Hour,
			} {
				list = append(list, decisions.Decision{ID: int64(len(list) + 1), Type: "ban", Scope: "Range", Value: value, Origin: "crowdsec", Until: time.Now().Add(left)})
			}
			if _, err := r.Apply(t.Context(), decisions.Delta{Full: true, New: list}); err != nil {
				t.Fatal(err)
			}
			verify := func(want int) {
				t.Helper()
				v, err := r.Verify(t.Context(), 100)
				if err != nil || !v.Structure || v.Asked != len(list) || len(v.Differences) != want {
					t.Errorf("verified %+v, %v; want %d differences", v, err, want)
				}
			}
			verify(0)
			// Not one of those that Check looks at.
			at := "203.0.115.0"
			if strings.Contains(flags, "interval") {
				at += "/25"
			}
			lab.Host.Run("nft", "delete", "element", "ip", "own", "crowdsec-blacklists", "{ "+at+" }")
			verify(2)
		})
	}
}

// TestSetOnlyIgnoresLater: who is found to be never blocked while he is is let in, in both families, and
// blocked again afterwards.
func TestSetOnlyIgnoresLater(t *testing.T) {
	lab := remediatetest.NewLab(t)
	ruleset(t, lab.Host, operators("interval,timeout"))
	r := openOperators(t, lab)
	delta := decisions.Delta{Full: true}
	for i, value := range []string{"203.0.113.0/24", "203.0.114.4/32", "2001:db8:1::/48"} {
		delta.New = append(delta.New, decisions.Decision{ID: int64(i + 1), Type: "ban", Scope: "Range", Value: value, Origin: "crowdsec", Until: time.Now().Add(time.Hour)})
	}
	if _, err := r.Apply(t.Context(), delta); err != nil {
		t.Fatal(err)
	}
	for _, ignored := range []bool{false, true, false} {
		var list []netip.Prefix
		if ignored {
			list = prefixes("203.0.113.4/32", "2001:db8:1::4/128", "192.0.2.1/32")
		}
		if err := r.SetIgnore(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		r.Tick(t.Context())
		blocked(t, lab, "203.0.113.4", !ignored)
		blocked(t, lab, "2001:db8:1::4", !ignored)
		for _, a := range []string{"203.0.113.0", "203.0.113.3", "203.0.113.5", "203.0.113.255", "203.0.114.4", "2001:db8:1::5"} { // around the holes
			blocked(t, lab, a, true)
		}
		if v, err := r.Verify(t.Context(), 100); err != nil || !v.Structure || len(v.Differences) > 0 || v.Asked != 3 || len(r.Stats().Unenforced) > 0 {
			t.Errorf("verified %+v, %v, %+v", v, err, r.Stats())
		}
	}
	repaired := r.Stats()
	if err := r.SetIgnore(t.Context(), prefixes("203.99.0.1/32")); err != nil { // nobody is banned there
		t.Fatal(err)
	}
	if st := r.Stats(); !st.Healthy || st.Repairs != repaired.Repairs {
		t.Errorf("%+v", st)
	}
}

func TestSetOnlyNeedsItsTable(t *testing.T) {
	n := remediatetest.Netns(t)
	k := openAny(t, n, setOnlyConfig())
	if err := k.Load(t.Context(), seq(1, time.Hour)); err == nil || !strings.Contains(err.Error(), "cannot find table own") {
		t.Errorf("got %v", err)
	}
	// The firewall comes later; a set that is missing is made.
	ruleset(t, n, "table ip own { }\ntable ip6 own6 { }\n")
	load(t, k, entry("203.0.113.4/32", "crowdsec", time.Hour))
	if out := n.Run("nft", "list", "set", "ip", "own", "crowdsec-blacklists"); !strings.Contains(out, "203.0.113.4") {
		t.Errorf("the set has\n%s", out)
	}
	ruleset(t, n, "table ip other {\n\tmap crowdsec-blacklists { type ipv4_addr : verdict; }\n}\n")
	cfg := setOnlyConfig()
	cfg.IPv4.Table, cfg.IPv6.Off = "other", true
	if err := openAny(t, n, cfg).Load(t.Context(), seq(1, time.Hour)); err == nil || !strings.Contains(err.Error(), "not a set of ipv4 addresses") {
		t.Errorf("got %v", err)
	}
}

// A restart of a process that fills a set leaves no moment without its elements.
func TestSetOnlyLoadLeavesNoGap(t *testing.T) {
	lab := remediatetest.NewLab(t)
	ruleset(t, lab.Host, operators("timeout"))
	fill := func() *both {
		k := openAny(t, lab.Host, setOnlyConfig()).(*both)
		if err := k.Load(t.Context(), seq(maxAtomic-1, time.Hour, entry("203.0.113.4/32", "crowdsec", time.Hour))); err != nil {
			t.Fatal(err)
		}
		return k
	}
	fill()
	stop := flood(t, lab, "203.0.113.4")
	for range 3 {
		fill()
	}
	if sent, passed := stop(); passed != 0 {
		t.Errorf("%d of %d packets passed", passed, sent)
	}
}

// TestSweepAgainstSlow: segments are disjoint, sorted, and end when the last of
// the prefixes that cover them does; changes of some prefixes change nothing
// outside of their regions.
func TestSweepAgainstSlow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		set := &ownedSet{interval: true, timeout: true}
		for range r.IntN(4) {
			set.holes = append(set.holes, netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, byte(r.IntN(256))}), 25+r.IntN(8)).Masked())
		}
		set.holes = disjoint(set.holes)
		want := map[netip.Addr]uint32{} // of 256 addresses
		given := map[netip.Prefix]uint32{}
		random := func() netip.Prefix {
			base := netip.AddrFrom4([4]byte{255, 255, 255, byte(r.IntN(256))})
			return netip.PrefixFrom(base, 24+r.IntN(9)).Masked()
		}
		for range 1 + r.IntN(12) {
			given[random()] = uint32(1 + r.IntN(4))
		}
		paint := func() map[netip.Addr]uint32 {
			clear(want)
			for p, until := range given {
				for a := p.Addr(); a.IsValid() && p.Contains(a); a = a.Next() {
					if !slices.ContainsFunc(set.holes, func(h netip.Prefix) bool { return h.Contains(a) }) {
						want[a] = max(want[a], until)
					}
				}
			}
			return want
		}
		check := func(list []segment) {
			t.Helper()
			got := map[netip.Addr]uint32{}
			for i, s := range list {
				if i > 0 && list[i-1].to.Compare(s.from) >= 0 || s.from.Compare(s.to) > 0 {
					t.Fatalf("round %d: %v", round, list)
				}
				for a := s.from; a.IsValid() && a.Compare(s.to) <= 0; a = a.Next() {
					got[a] = s.until
				}
			}
			if !maps.Equal(got, paint()) {
				t.Fatalf("round %d: %v become %v", round, given, list)
			}
		}
		for p, until := range given {
			set.given.Insert(p, until)
		}
		everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		whole := set.inside(everything)
		check(whole)
		// One change, by its region.
		p := random()
		regions := set.regions([]netip.Prefix{p})
		before := set.inside(regions)
		if r.IntN(2) == 0 {
			given[p] = uint32(1 + r.IntN(4))
			set.given.Insert(p, given[p])
		} else {
			delete(given, p)
			set.given.Delete(p)
		}
		gone, come := diff(before, set.inside(regions))
		whole = slices.DeleteFunc(whole, func(s segment) bool { return slices.Contains(gone, s) })
		whole = append(whole, come...)
		slices.SortFunc(whole, func(a, b segment) int { return a.from.Compare(b.from) })
		check(whole)
	}
}
