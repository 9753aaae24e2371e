// Package remediate makes a packet filter equal to the desired state. A
// Reconciler owns the desired state and a mirror of what was applied; a
// Kernel is the part of a packet filter that it needs. Backends are the
// packages below this one.
//
// The kernel's sets are never read back: dumps are quadratic (100,000
// elements take seconds). What was applied is mirrored, and guards notice when somebody else changed it.
package remediate

import (
	"context"
	"net/netip"
	"time"
)

// Entry is one prefix that is blocked until a time.
type Entry struct {
	Prefix netip.Prefix
	Origin string // counter that its packets count for: "CAPI", "lists:tor", …
	Until  time.Time
}

// Kernel is the part of a packet filter that the Reconciler needs. Calls come
// from one goroutine. Every method is idempotent: applying what is there
// already is fine, and so is removing what is not.
type Kernel interface {
	// Name of the backend, for people.
	Name() string
	// Open makes the structure (table, chains, rules, counters) and empties
	// what an earlier process left, without a gap in protection.
	Open(ctx context.Context) error
	// Apply adds or refreshes the entries of add and removes those of del.
	// An error may leave a part applied; the caller rebuilds.
	Apply(ctx context.Context, add, del []Entry) error
	// Check tells whether the structure still is what Open made; false means
	// that somebody removed or changed it. It must be cheap.
	Check(ctx context.Context) (bool, error)
	// Changed delivers a value soon after somebody else changed the packet
	// filter; nil when the backend can't tell.
	Changed() <-chan struct{}
	// Close gives up the handle. With remove it takes the structure away,
	// otherwise blocking goes on until the entries time out.
	Close(ctx context.Context, remove bool) error
}
