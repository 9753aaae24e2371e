package auth

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// An address may fail burst times at once and then once per refill.
	burst  = 10
	refill = 6 * time.Second
	// longest is how long it takes at most until all tries are back.
	longest = 2 * burst * refill
	// maxWatched bounds the addresses remembered; at the bound those that have
	// not failed for long are forgotten, then any.
	maxWatched = 8192
)

// Throttle counts the failures of addresses. An IPv6 host owns a /64, so the
// addresses of one count as one.
type Throttle struct {
	mu   sync.Mutex
	full map[netip.Addr]time.Time // when the address has all its tries back
}

// NewThrottle returns one that knows of no failures.
func NewThrottle() *Throttle { return &Throttle{full: make(map[netip.Addr]time.Time)} }

// Wait returns how long an address has to wait before its next try; zero if it
// need not.
func (t *Throttle) Wait(a netip.Addr, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.full[site(a)]
	if !known || at.Before(now) || at.Sub(now) > longest { // the clock may have been set back
		return 0
	}
	return max(0, at.Sub(now)-(burst-1)*refill)
}

// Fail counts a failure.
func (t *Throttle) Fail(a netip.Addr, now time.Time) {
	a = site(a)
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.full[a]
	if !known && len(t.full) >= maxWatched {
		t.forget(now)
	}
	if at.Before(now) {
		at = now
	}
	// Tries that come in while the first ones are being checked count too, but
	// can't lock an address out for longer than a burst of them.
	t.full[a] = earlier(at.Add(refill), now.Add(longest))
}

func (t *Throttle) forget(now time.Time) {
	for a, at := range t.full {
		if at.Before(now) {
			delete(t.full, a)
		}
	}
	for a := range t.full {
		if len(t.full) < maxWatched*7/8 {
			return
		}
		delete(t.full, a)
	}
}

func site(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
