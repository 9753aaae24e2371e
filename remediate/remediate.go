// Package remediate makes a packet filter equal to the desired state. A
// Reconciler owns the desired state and a mirror of what was applied; a
// Kernel is the part of a packet filter that it needs. Backends are the
// packages below this one; roles/bouncer puts a feed of decisions in front.
//
// The kernel's sets are never read back: dumps are quadratic (100,000
// elements take seconds). What was applied is mirrored, and guards notice when somebody else changed it.
package remediate

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"time"
)

// Entry is one prefix that is blocked until a time.
type Entry struct {
	Prefix netip.Prefix
	Origin string // counter that its packets count for: "CAPI", "lists:tor", …
	Until  time.Time
}

// Op is what a Change does to its prefix.
type Op uint8

// The operations. A backend whose packet filter can't change a time in place
// needs to know an Add from a Replace.
const (
	Add     Op = iota // the prefix is not there yet
	Replace           // it is there, with another time or origin; packets must see one or the other
	Remove            // Until is the time that the packet filter was given
)

// A Change is one step from what is applied to what is wanted.
type Change struct {
	Entry
	Op       Op
	Was      string    // origin that a Replace takes it from; empty: the same
	Created  time.Time // when the decision was made; zero when that is not known
	Scenario string    // its reason; may be empty
}

// Conditions that a Kernel's error may be, found with errors.Is.
var (
	// ErrFull: the packet filter has no room or memory for more entries.
	ErrFull = errors.New("the packet filter is full")
	// ErrForeign: another process owns our part of the packet filter.
	ErrForeign = errors.New("another process owns it")
	// ErrReload: the change is made by the next Load only.
	ErrReload = errors.New("it has to be loaded again")
)

// Kernel is the part of a packet filter that the Reconciler needs. Calls never
// overlap. Every method is idempotent: applying what is there already is fine,
// and so is removing what is not.
type Kernel interface {
	// Name of the backend, for people.
	Name() string
	// Open gets a handle and finds out what the packet filter can do. It
	// changes nothing yet; live tells that a structure of ours, left by an
	// earlier process, is still blocking.
	Open(ctx context.Context) (live bool, err error)
	// Load makes the packet filter block exactly the entries, whatever was
	// there before: it makes or repairs the structure (table, chains, rules,
	// counters) and replaces what an earlier process or an earlier Load left
	// without a gap in protection. The most important entries come first. An error
	// that is errors.ErrUnsupported tells that it never will.
	Load(ctx context.Context, entries iter.Seq[Entry]) error
	// Apply makes the changes, in their order. An error may leave a part
	// applied; the caller loads again.
	Apply(ctx context.Context, changes []Change) error
	// Check tells whether the structure still is what Load made; false means
	// that somebody removed or changed it. It must be cheap.
	Check(ctx context.Context) (bool, error)
	// Changed delivers a value soon after somebody else changed the structure;
	// nil when the backend can't tell.
	Changed() <-chan struct{}
	// Close gives up the handle. With remove it takes the structure away,
	// otherwise blocking goes on until the entries time out.
	Close(ctx context.Context, remove bool) error
}

// Counter is what a packet filter has counted since it, or the rules, began:
// packets of one family that were dropped for an origin, or, without an origin,
// that were looked at.
type Counter struct {
	Origin         string
	IPv6           bool
	Packets, Bytes uint64
}

// What a Kernel may be able to do besides.

// Counting is a Kernel that counts packets.
type Counting interface {
	// Counters returns the counters, in no particular order. They begin anew when
	// the structure had to be made anew.
	Counters(ctx context.Context) ([]Counter, error)
}

// Found is what a packet filter says about an entry that it was given.
type Found struct {
	Present bool
	Left    time.Duration // until it ends by itself; 0: it does not
	Where   string        // name of the place where it was looked for, for people
}

// Probing is a Kernel that can be asked whether it blocks single prefixes.
type Probing interface {
	// Probe asks for entries, one by one: whether the prefix is blocked for the
	// origin. The result has their order.
	Probe(ctx context.Context, entries []Entry) ([]Found, error)
}

// Audited is a Probing Kernel of which the Reconciler asks for a few entries each minute, in
// turn: single ones may go without anybody telling, and asking costs next to nothing.
type Audited interface {
	Probing
	Audited()
}

// Vouching is a Kernel that can't be asked for single prefixes, but whether all is in place.
type Vouching interface {
	// Vouch asks now; known is false when it can't tell.
	Vouch(ctx context.Context) (inPlace, known bool, err error)
}

// Ignoring is a Kernel that can let packets pass before it looks at entries. For
// one that can't, the Reconciler leaves out the entries that cover such addresses.
type Ignoring interface {
	// Ignore replaces the list of prefixes that are never blocked. It may be
	// called before Load. ErrReload leaves the change to the next one.
	Ignore(ctx context.Context, list []netip.Prefix) error
}

// Limited is a Kernel that can't hold every entry.
type Limited interface {
	// Unenforced counts the entries that are left out, by the reason.
	Unenforced() map[string]int
	// LeavesOut tells whether an entry is one of them.
	LeavesOut(netip.Prefix) bool
}

// Ending is a Kernel that can end what an address has open.
type Ending interface {
	// End ends the connections that addresses in the prefixes have begun, and
	// returns how many there were.
	End(ctx context.Context, prefixes []netip.Prefix) (int, error)
}
