// Package nft blocks prefixes with nftables, over a netlink writer of its own:
// no nft program, no C library. New returns a remediate.Kernel.
//
// In LayoutMap one table holds everything:
//
//	table inet crowdsec { flags owner,persist
//	  counter CAPI-ipv4 …  counter lists:tor-exit-ipv6 …
//	  map v4_32 { type ipv4_addr : counter; flags timeout }   # one map for each prefix length in use
//	  map v4_24 …   map v6_128 …
//	  chain prerouting { type filter hook prerouting priority raw - 10
//	    meta nfproto ipv4 counter ip saddr != @v4_32 ip saddr & 255.255.255.0 != @v4_24 return
//	    …                            # so a packet from nobody banned meets one rule
//	    meta nfproto ipv4 goto ipv4
//	    meta nfproto ipv6 goto ipv6 }
//	  chain ipv4 {
//	    ip saddr @ignore4 return
//	    counter name ip saddr map @v4_32 drop
//	    counter name ip saddr & 255.255.255.0 map @v4_24 drop } … }
//
// An element maps an address to the counter of its origin, so that all origins
// cost one lookup, nested ranges need no care, and a change costs the same
// whatever the number of elements.
//
// LayoutSets has the names that upstream's bouncer uses, for people's scripts:
// tables "ip crowdsec" and "ip6 crowdsec6", a chain for each hook, a set
// "crowdsec-blacklists-CAPI" for the addresses of an origin, and beside it
// "crowdsec-blacklists-CAPI-24" for its ranges of one length. Each set costs a lookup.
//
// With SetOnly there is no rule of ours: only the contents of a set that an
// operator's own rules look into are kept (setonly_linux.go).
//
// The flags keep "nft flush ruleset" away from our tables where the kernel
// knows them (Linux 6.9); elsewhere a watch on foreign changes and Check have
// them loaded again. Element lists are never read back, as that takes time
// quadratic in their length; Probe asks for single elements.
package nft

import (
	"net/netip"
	"time"

	"cs/remediate"
)

// Actions on a packet from a blocked address.
const (
	Drop   = "drop"
	Reject = "reject" // answer "administratively prohibited"
)

// Layouts.
const (
	LayoutMap  = "map"
	LayoutSets = "sets"
)

// Which packets are looked at.
const (
	All      = "all"
	NewOnly  = "new"      // those that begin a connection; what is established goes on
	Original = "original" // not the answers to connections that began on our side
)

// Config is what New needs. The zero value is usable.
type Config struct {
	Layout string // LayoutMap (also when empty) or LayoutSets
	// Name of the table of LayoutMap, of family inet; empty takes "crowdsec".
	Name       string
	IPv4, IPv6 Family
	// Hooks are the places where packets are looked at: "prerouting", "input",
	// "forward", "output", "postrouting", "ingress". Empty takes prerouting, which
	// sees what goes to the host, through it, and into its containers, before
	// connection tracking spends an entry on it.
	Hooks []string
	// Interfaces are those through which packets come that are looked at; empty
	// takes all. Ingress needs some.
	Interfaces []string
	// Conntrack is All (also when empty), NewOnly or Original.
	Conntrack string
	// Action is Drop (also when empty) or Reject.
	Action string
	// Log has dropped packets logged by the kernel, at most ten in a second, with
	// a prefix of at most 127 bytes.
	Log       bool
	LogPrefix string
	// Ignore lists prefixes that are never blocked, masked as decisions.ParsePrefix does.
	Ignore []netip.Prefix
	// IgnorePorts are ports to which nobody is blocked.
	IgnorePorts []remediate.Ports
	// Now is the clock; nil takes time.Now.
	Now func() time.Time

	// Plain makes tables that others may edit, as all are on kernels before 6.9.
	Plain bool

	// For tests: do without NFT_MSG_DESTROYSETELEM, as on kernels before 6.3.
	noDestroy bool
}

// Family is what differs between IPv4 and IPv6. Empty texts take upstream's
// names: "crowdsec" and "crowdsec6" and what follows from them.
type Family struct {
	Off          bool
	Table, Chain string // of LayoutSets; Chain begins the names of the chains
	Set          string // begins the names of sets, or is the name of the one set
	Priority     *int   // of the hooks; nil takes what suits them
	// Hooks are those of the family, if they are others than Config's. A table for
	// both families has the hooks of both.
	Hooks []string
	// SetOnly keeps the contents of one set in Table and leaves the rules to
	// others. SetPerOrigin names the sets of some origins, "*" that of the others.
	SetOnly      bool
	SetPerOrigin map[string]string
}
