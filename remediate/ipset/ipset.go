// Package ipset blocks prefixes with ipset and iptables, for kernels that
// nftables can't be used on. It is a remediate.Kernel.
//
// Sets are written by netlink (linux/netfilter/ipset/ip_set.h, protocol 6),
// without the ipset program; chains and jumps by the iptables programs, as
// there is no other interface to them. What is made has the names of
// upstream's firewall bouncer:
//
//	ipset crowdsec-blacklists-0 hash:net timeout 0      # one for each origin and family
//	-A CROWDSEC_CHAIN -m comment --comment "CrowdSec: processed"
//	-A CROWDSEC_CHAIN -s 192.0.2.0/24 -j RETURN         # what is never blocked
//	-A CROWDSEC_CHAIN -m set --match-set crowdsec-blacklists-0 src -m comment --comment "CrowdSec: CAPI" -j DROP
//	-I INPUT -j CROWDSEC_CHAIN                          # in each chain that is asked for
//
// A load fills sets beside those in use and replaces the chain's rules in one
// step. Sets are made as large as the kernel lets them be, since the kernel takes
// memory only for what is in them: they are full when memory is. Each holds the broadcast
// address, which no packet comes from: when it is gone, somebody emptied the set.
//
// With Config.SetOnly the rules are the operator's and there is one set for
// each family, which keeps its place in them: it is filled anew by a swap.
package ipset

import (
	"time"

	"cs/remediate"
)

// Actions on a packet from a blocked address, as iptables knows them.
const (
	Drop   = "drop"
	Reject = "reject" // answer "port unreachable"
	Tarpit = "tarpit" // needs xtables-addons
	Log    = "log"    // only log it
)

// Config is what a Filter needs. The zero value is usable.
type Config struct {
	// Set4 and Set6 begin the names of sets, or are their names with SetOnly;
	// empty takes "crowdsec-blacklists" and "crowdsec6-blacklists". At most 27 bytes.
	Set4, Set6 string
	// Chains4 and Chains6 are the chains of table filter that jump to ours; nil
	// takes INPUT, FORWARD and DOCKER-USER. One that isn't there is left out until it is.
	Chains4, Chains6 []string
	// NoIPv4 and NoIPv6 leave a family alone.
	NoIPv4, NoIPv6 bool
	// SetOnly leaves chains and rules to the operator.
	SetOnly bool
	// Action is Drop (also when empty), Reject, Tarpit or Log.
	Action string
	// DenyLog logs packets before the action, ten a second at most, with
	// LogPrefix before each line; empty takes "crowdsec drop: ". At most 29 bytes.
	DenyLog   bool
	LogPrefix string
	// NoTimeouts is for kernels whose sets can't have them. Entries then stay until they are
	// removed.
	NoTimeouts bool
	// NoComments is for kernels without xt_comment.
	NoComments bool
	// IgnorePorts are ports to which nobody is blocked.
	IgnorePorts []remediate.Ports
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}
