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
	// Until there is a backend of its own, a table of nftables does the same as
	// iptables beside it.
	register(backend{name: "iptables", kernel: func(env *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		env.Log.Warn("iptables is not used: a table of nftables does the same beside it")
		return newNFT(env, b)
	}})
}

func newNFT(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
	return nft.New(nft.Config{Name: b.Table, Hooks: b.Hooks, Action: b.DenyAction, Ignore: b.Ignore})
}
