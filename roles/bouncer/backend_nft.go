//go:build linux

package bouncer

import (
	"log/slog"
	"slices"

	"cs/platform"
	"cs/remediate"
	"cs/remediate/nft"
	"cs/roles/config"
)

func init() {
	register(backend{name: "nft", rank: 1, ports: true, kernel: newNFT})
}

func newNFT(env *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
	four, six := nftFamily(&b.IPv4), nftFamily(&b.IPv6)
	if b.Backend == "iptables" && len(b.Hooks) == 0 { // asked to do what iptables would
		told := map[string]bool{}
		four.Hooks, six.Hooks = chainHooks(env.Log, told, &b.IPv4), chainHooks(env.Log, told, &b.IPv6)
	}
	return nft.New(nft.Config{
		Layout: b.Layout, Plain: b.Plain, Name: b.Table, IPv4: four, IPv6: six,
		Hooks: b.Hooks, Interfaces: b.Interfaces, Conntrack: b.Conntrack,
		IgnorePorts: ports(b), Action: b.DenyAction, Log: b.DenyLog, LogPrefix: b.DenyLogPrefix,
	})
}

func nftFamily(f *config.BouncerFamily) nft.Family {
	return nft.Family{
		Off: f.Off, Table: f.Table, Chain: f.Chain, Set: f.Set, Priority: f.Priority, SetOnly: f.SetOnly, SetPerOrigin: f.SetPerOrigin,
	}
}

// hookOf says where packets meet the chains of iptables that everybody has, and Docker's.
var hookOf = map[string]string{"INPUT": "input", "FORWARD": "forward", "DOCKER-USER": "forward", "OUTPUT": "output"}

// chainHooks returns the hooks that are for the chains named for iptables; none
// if there are no such chains. told are those that were warned of.
func chainHooks(log *slog.Logger, told map[string]bool, f *config.BouncerFamily) (list []string) {
	if f.Off {
		return nil
	}
	for _, chain := range f.Chains {
		hook, known := hookOf[chain]
		if !known && !told[chain] {
			told[chain] = true
			log.Warn("this chain has no hook in nftables and is left out; iptables_force: true has it jump to ours", "chain", chain)
		} else if known && !slices.Contains(list, hook) {
			list = append(list, hook)
		}
	}
	return list
}
