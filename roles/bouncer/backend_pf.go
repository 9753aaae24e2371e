//go:build freebsd || openbsd

package bouncer

import (
	"cs/platform"
	"cs/remediate"
	"cs/remediate/pf"
	"cs/roles/config"
)

func init() {
	register(backend{name: "pf", rank: 1, kernel: func(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		return pf.New(pf.Config{
			// Upstream's bouncer wants tables and rules to be the operator's.
			TablesOnly: b.Layout == "sets", Anchor: b.PF.Anchor,
			Table4: b.IPv4.Set, Table6: b.IPv6.Set, NoIPv4: b.IPv4.Off, NoIPv6: b.IPv6.Off,
			Reject: b.DenyAction == "reject", Log: b.DenyLog,
		})
	}})
}
