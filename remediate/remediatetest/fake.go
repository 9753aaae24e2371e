package remediatetest

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"sync"
	"time"

	"cs/remediate"
)

// Errors that a Fake gives, in the words of nf_tables.
var (
	ErrGone   = errors.New("no such file or directory")
	ErrBusy   = errors.New("device or resource busy")
	ErrExists = errors.New("file exists")
)

// Fake is a remediate.Kernel in memory with the habits of a real one: entries
// end by themselves, changes to a table that is gone fail half-way, and so do
// additions without room. Its methods may be called from any goroutine; those
// that are not the interface's are the rest of the world.
type Fake struct {
	now     func() time.Time
	changed chan struct{}

	mu      sync.Mutex
	open    bool
	exists  bool
	altered bool
	entries map[netip.Prefix]remediate.Entry
	size    int
	deaf    bool
	strict  bool
	fail    []error
	took    time.Duration
	calls   struct{ loads, applies, changes int }
}

// NewFake returns a Fake with nothing in it, whose clock is now.
func NewFake(now func() time.Time) *Fake {
	return &Fake{now: now, changed: make(chan struct{}, 1)}
}

// Name returns "fake".
func (k *Fake) Name() string { return "fake" }

// Open tells whether an earlier process left something.
func (k *Fake) Open(context.Context) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.failure(); err != nil {
		return false, err
	}
	k.open = true
	return k.exists, nil
}

// Load replaces everything.
func (k *Fake) Load(_ context.Context, entries iter.Seq[remediate.Entry]) error {
	k.mu.Lock()
	took := k.took
	k.mu.Unlock()
	time.Sleep(took)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.loads++
	if err := k.usable(); err != nil {
		return err
	}
	fresh := map[netip.Prefix]remediate.Entry{}
	for e := range entries {
		if k.size > 0 && len(fresh) >= k.size {
			return remediate.ErrFull
		}
		fresh[e.Prefix] = e
	}
	k.entries, k.exists, k.altered = fresh, true, false
	return nil
}

// Apply makes the changes, or a part of them when it fails.
func (k *Fake) Apply(_ context.Context, changes []remediate.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.applies++
	k.calls.changes += len(changes)
	if err := k.usable(); err != nil {
		return err
	}
	if !k.exists {
		return ErrGone
	}
	k.expire()
	for _, c := range changes {
		if !c.Prefix.IsValid() || c.Prefix != c.Prefix.Masked() {
			return errors.New("invalid argument")
		}
		old, there := k.entries[c.Prefix]
		switch {
		case k.strict && !there && c.Op != remediate.Add:
			return ErrGone
		case k.strict && there && c.Op == remediate.Add && old.Origin != c.Origin:
			return ErrExists
		case c.Op == remediate.Remove:
			delete(k.entries, c.Prefix)
			continue
		case !there && k.size > 0 && len(k.entries) >= k.size:
			return remediate.ErrFull
		}
		k.entries[c.Prefix] = c.Entry
	}
	return nil
}

// Check tells whether the rest of the world left the structure alone.
func (k *Fake) Check(context.Context) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(); err != nil {
		return false, err
	}
	return k.exists && !k.altered, nil
}

// Changed delivers a value after Flush and Alter, nil after Deafen.
func (k *Fake) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deaf {
		return nil
	}
	return k.changed
}

// Close gives up the handle.
func (k *Fake) Close(_ context.Context, remove bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = false
	if remove {
		k.exists, k.entries = false, nil
	}
	return nil
}

func (k *Fake) usable() error {
	if !k.open {
		return errors.New("bad file descriptor")
	}
	return k.failure()
}

func (k *Fake) failure() error {
	if len(k.fail) == 0 {
		return nil
	}
	err := k.fail[0]
	k.fail = k.fail[1:]
	return err
}

func (k *Fake) expire() {
	for p, e := range k.entries {
		if !e.Until.After(k.now()) {
			delete(k.entries, p)
		}
	}
}

// Flush removes everything, as "nft flush ruleset" does.
func (k *Fake) Flush() {
	k.mu.Lock()
	k.exists, k.entries = false, nil
	k.mu.Unlock()
	k.tell()
}

// Alter changes a rule, as an administrator may.
func (k *Fake) Alter() {
	k.mu.Lock()
	k.altered = true
	k.mu.Unlock()
	k.tell()
}

func (k *Fake) tell() {
	k.mu.Lock()
	deaf := k.deaf
	k.mu.Unlock()
	if deaf {
		return
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Deafen stops Changed from delivering.
func (k *Fake) Deafen() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = true
}

// Strict makes Apply fail where nf_tables does: on the removal of what is not
// there and on the addition of what is. A backend has to hide that.
func (k *Fake) Strict() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.strict = true
}

// Limit bounds the number of entries; 0 is no limit.
func (k *Fake) Limit(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.size = n
}

// Fail lets the next calls of Open, Load, Apply and Check fail; nil lets one work.
func (k *Fake) Fail(errs ...error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = append(k.fail, errs...)
}

// Takes makes a Load last as long.
func (k *Fake) Takes(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.took = d
}

// Calls returns how often Load and Apply were called, and the number of
// changes given to Apply.
func (k *Fake) Calls() (loads, applies, changes int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls.loads, k.calls.applies, k.calls.changes
}

// Entries returns what is blocked now.
func (k *Fake) Entries() map[netip.Prefix]remediate.Entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	out := make(map[netip.Prefix]remediate.Entry, len(k.entries))
	for p, e := range k.entries {
		out[p] = e
	}
	return out
}

// Probe tells whether entries are there.
func (k *Fake) Probe(_ context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(); err != nil {
		return nil, err
	}
	k.expire()
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		have, ok := k.entries[e.Prefix]
		out[i] = remediate.Found{Present: ok, Left: have.Until.Sub(k.now()), Where: "fake"}
	}
	return out, nil
}

// Audited implements remediate.Audited.
func (k *Fake) Audited() {}

// Meddle lets f change what is blocked until when, unnoticed.
func (k *Fake) Meddle(f func(map[netip.Prefix]time.Time)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ends := map[netip.Prefix]time.Time{}
	for p, e := range k.entries {
		ends[p] = e.Until
	}
	f(ends)
	for p := range k.entries {
		if _, stays := ends[p]; !stays {
			delete(k.entries, p)
		}
	}
	for p, until := range ends {
		e := k.entries[p]
		e.Prefix, e.Until = p, until
		k.entries[p] = e
	}
}

// Blocked tells whether packets from an address are dropped now.
func (k *Fake) Blocked(from netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire()
	for p := range k.entries {
		if p.Contains(from) {
			return true
		}
	}
	return false
}
