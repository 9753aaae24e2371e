// Package nft blocks prefixes with nftables, over a netlink writer of its own:
// no nft program, no C library. It is a remediate.Kernel.
//
// One table holds everything:
//
//	table inet crowdsec { flags owner,persist
//	  counter processed-ipv4 …  counter CAPI …  counter lists:tor-exit …
//	  map v4_32 { type ipv4_addr : counter; flags timeout }   # one map for each prefix length in use
//	  map v4_24 …   map v6_128 …
//	  chain prerouting { type filter hook prerouting priority raw - 10
//	    meta nfproto ipv4 jump ipv4
//	    meta nfproto ipv6 jump ipv6 }
//	  chain ipv4 {
//	    counter name "processed-ipv4"
//	    ip saddr @ignore4 return
//	    counter name ip saddr map @v4_32 drop
//	    counter name ip saddr & 255.255.255.0 map @v4_24 drop } … }
//
// An element maps an address to the counter of its origin, so that all origins
// cost one lookup, nested ranges need no care, and a change costs the same
// whatever the number of elements. The flags keep "nft flush ruleset" away from the table
// where the kernel knows them (Linux 6.9); elsewhere a watch on foreign
// changes and Check have it loaded again.
//
// Element lists are never read back, as that takes time quadratic in their length.
package nft

import (
	"net/netip"
	"time"
)

// Actions on a packet from a blocked address.
const (
	Drop   = "drop"
	Reject = "reject" // answer "administratively prohibited"
)

// Config is what a Table needs. The zero value is usable.
type Config struct {
	// Name of the table, of family inet; empty takes "crowdsec".
	Name string
	// Hooks are the places where packets are looked at: "prerouting", "input",
	// "forward". Empty takes prerouting, which sees what goes to the host, through it, and
	// into its containers, before connection tracking spends an entry on it.
	Hooks []string
	// Action is Drop (also when empty) or Reject.
	Action string
	// Ignore lists prefixes that are never blocked, masked as decisions.ParsePrefix does.
	Ignore []netip.Prefix
	// Now is the clock; nil takes time.Now.
	Now func() time.Time

	// For tests: a plain table that others may edit, as on kernels before 6.9, and
	// one without NFT_MSG_DESTROYSETELEM, as on kernels before 6.3.
	noOwner   bool
	noDestroy bool
}
