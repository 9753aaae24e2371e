//go:build linux

package bouncer

import (
	"cs/platform"
	"cs/remediate"
	"cs/remediate/nft"
	"cs/roles/config"
)

func init() {
	register(backend{name: "nft", rank: 1, kernel: newNFT})
}

func newNFT(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
	return nft.New(nft.Config{
		Layout: b.Layout, Plain: b.Plain, Name: b.Table, IPv4: nftFamily(&b.IPv4), IPv6: nftFamily(&b.IPv6),
		Hooks: b.Hooks, Interfaces: b.Interfaces, Conntrack: b.Conntrack,
		Action: b.DenyAction, Log: b.DenyLog, LogPrefix: b.DenyLogPrefix,
	})
}

func nftFamily(f *config.BouncerFamily) nft.Family {
	return nft.Family{
		Off: f.Off, Table: f.Table, Chain: f.Chain, Set: f.Set, Priority: f.Priority, SetOnly: f.SetOnly, SetPerOrigin: f.SetPerOrigin,
	}
}
