package bouncer

import (
	"cs/platform"
	"cs/remediate"
	"cs/remediate/wfp"
	"cs/roles/config"
)

func init() {
	register(backend{name: "wfp", rank: 1, kernel: newWFP})
	register(backend{name: "rules", kernel: func(env *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
		rules := *b
		rules.Windows.Rules = true
		return newWFP(env, &rules)
	}})
}

func newWFP(_ *platform.Env, b *config.Bouncer) (remediate.Kernel, error) {
	return wfp.New(wfp.Config{
		Lifetime: b.Windows.Lifetime, Outbound: b.Windows.Outbound, Rules: b.Windows.Rules, NoIPv4: b.IPv4.Off, NoIPv6: b.IPv6.Off,
	})
}
