package export

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"cs/remediate/remediatetest"
)

// The scripts do what they say in the real programs, twice.
func TestScripts(t *testing.T) {
	for _, format := range []string{Nft, Ipset} {
		t.Run(format, func(t *testing.T) {
			if _, err := exec.LookPath(format); err != nil {
				t.Skip(err)
			}
			lab := remediatetest.NewLab(t)
			program, rules := []string{"nft", "-f"}, `
				nft add table inet crowdsec
				nft add set inet crowdsec crowdsec-blacklists '{ type ipv4_addr; flags interval; }'
				nft add set inet crowdsec crowdsec6-blacklists '{ type ipv6_addr; flags interval; }'
				nft add chain inet crowdsec input '{ type filter hook input priority 0; }'
				nft add rule inet crowdsec input ip saddr @crowdsec-blacklists drop
				nft add rule inet crowdsec input ip6 saddr @crowdsec6-blacklists drop`
			if format == Ipset {
				if out, err := lab.Host.Try("ipset", "list"); err != nil {
					t.Skipf("this kernel has no ipset: %s", out)
				}
				if _, err := exec.LookPath("iptables-legacy"); err != nil {
					t.Skip(err)
				}
				program, rules = []string{"ipset", "restore", "-f"}, `
					ipset create crowdsec-blacklists hash:net
					ipset create crowdsec6-blacklists hash:net family inet6
					iptables-legacy -A INPUT -m set --match-set crowdsec-blacklists src -j DROP
					ip6tables-legacy -A INPUT -m set --match-set crowdsec6-blacklists src -j DROP`
			}
			lab.Host.Run("sh", "-ec", rules)
			path := filepath.Join(t.TempDir(), "bans")
			f := open(t, Config{Path: path, Format: format})
			load := func(list ...string) {
				t.Helper()
				if err := f.Load(t.Context(), slices.Values(entries(list...))); err != nil {
					t.Fatal(err)
				}
				lab.Host.Run(program[0], append(program[1:len(program):len(program)], path)...)
			}
			blocks := func(addr string, want bool) {
				t.Helper()
				if got := lab.Blocked(netip.MustParseAddr(addr)); got != want {
					t.Errorf("%s is blocked: %v, want %v", addr, got, want)
				}
			}
			load("203.0.113.4/32", "203.0.114.0/24", "203.0.114.9/32", "2001:db8::5/128")
			blocks("203.0.113.4", true)
			blocks("203.0.114.9", true)
			blocks("2001:db8::5", true)
			blocks("203.0.113.5", false)
			load("203.0.115.0/24")
			blocks("203.0.115.9", true)
			blocks("203.0.113.4", false)
			blocks("2001:db8::5", false)
			load()
			blocks("203.0.115.9", false)
		})
	}
}
