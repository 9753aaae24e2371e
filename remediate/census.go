package remediate

import (
	"context"
	"fmt"
)

// Census is how many prefixes the kernel was given for an origin key, by family.
type Census struct{ IPv4, IPv6 int }

// Census counts the prefixes that are blocked by their origin keys, as the
// kernel's counters are named.
func (r *Reconciler) Census() map[string]Census {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]Census)
	for p, first := range r.bans.eachItem() {
		it, _ := r.bans.item(p, first)
		if it.applied == 0 {
			continue
		}
		c := out[r.origins.keys[it.given]]
		if p.Addr().Is4() {
			c.IPv4++
		} else {
			c.IPv6++
		}
		out[r.origins.keys[it.given]] = c
	}
	return out
}

// Counters reads what the kernel has counted; nothing if it doesn't count.
func (r *Reconciler) Counters(ctx context.Context) ([]Counter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kernel.(Counting)
	if !ok || !r.loaded {
		return nil, nil
	}
	list, err := k.Counters(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the counters of %s: %w", r.kernel.Name(), err)
	}
	return list, nil
}
