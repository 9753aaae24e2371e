//go:build linux

package bouncer

import (
	"cs/platform"
	"cs/remediate"
	"cs/remediate/ipset"
	"cs/roles/config"
)

func init() {
	register(backend{name: "iptables", rank: 2, ports: true, kernel: func(env *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		return newIpset(b, false)
	}})
	register(backend{name: "ipset", kernel: func(env *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		return newIpset(b, true)
	}})
}

func newIpset(b *config.Bouncer, setOnly bool) (remediate.Kernel, error) {
	return ipset.New(ipset.Config{
		Set4: b.IPv4.Set, Set6: b.IPv6.Set, Chains4: b.IPv4.Chains, Chains6: b.IPv6.Chains, NoIPv4: b.IPv4.Off, NoIPv6: b.IPv6.Off,
		SetOnly: setOnly, Action: b.DenyAction, DenyLog: b.DenyLog, LogPrefix: b.DenyLogPrefix,
		IgnorePorts: ports(b), NoTimeouts: b.Ipset.NoTimeouts, NoComments: !b.Ipset.Comments,
	})
}
