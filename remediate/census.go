package remediate

import (
	"context"
	"fmt"
)

// Census is how many prefixes the kernel was given for an origin key, by family.
type Census struct{ IPv4, IPv6 int }

// Length is the length of prefixes of a family.
type Length struct {
	IPv6 bool
	Bits int
}

// Census counts the prefixes that are blocked by their origin keys, as the
// kernel's counters are named, and by their lengths.
func (r *Reconciler) Census() (map[string]Census, map[Length]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]Census)
	var bits [2][129]int
	for p, first := range r.bans.eachItem() {
		it, _ := r.bans.item(p, first)
		if it.applied == 0 {
			continue
		}
		c := out[r.origins.keys[it.given]]
		if p.Addr().Is4() {
			c.IPv4++
			bits[0][p.Bits()]++
		} else {
			c.IPv6++
			bits[1][p.Bits()]++
		}
		out[r.origins.keys[it.given]] = c
	}
	lengths := make(map[Length]int)
	for family := range bits {
		for n, count := range bits[family] {
			if count > 0 {
				lengths[Length{family == 1, n}] = count
			}
		}
	}
	return out, lengths
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
