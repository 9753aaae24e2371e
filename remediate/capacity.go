package remediate

import (
	"errors"
	"net/netip"
	"sort"
)

// capacity decides which prefixes are left out when there are too many.
//
// A choice sorts all items, so that it must not be made for every new one. It
// keeps a 64th of the room free and remembers the rank of the last item that got in
// (the cut): newcomers below the cut are left out at once, those above it use
// the free room, and the next choice is due when that is used up.
type capacity struct {
	max      int // 0 means no limit
	cut      rank
	cutting  bool // some items were left out by the last choice
	overflow bool // an item above the cut found no room
}

// rank orders items by importance; less is more important.
type rank struct {
	class uint8
	until tenth
}

func (a rank) compare(b rank) int {
	switch {
	case a.class != b.class:
		return int(a.class) - int(b.class)
	case a.until > b.until:
		return -1
	case a.until < b.until:
		return 1
	}
	return 0
}

func rankOf(w win) rank { return rank{class: w.kind.class, until: w.until} }

// admit tells whether the kernel may get one more item.
func (c *capacity) admit(r *Reconciler, w win) bool {
	if c.max == 0 {
		return true
	}
	if c.cutting && rankOf(w).compare(c.cut) > 0 {
		return false
	}
	if r.applied < c.max {
		return true
	}
	c.overflow = true
	return false
}

// due tells whether the choice has to be made again: because of an important
// item that found no room, or because a 16th of the room has become free.
func (c *capacity) due(r *Reconciler) bool {
	return c.overflow || c.cutting && r.applied < c.max-c.max/16
}

// choose marks the items that are left out.
func (c *capacity) choose(r *Reconciler, now tenth) {
	c.overflow, c.cutting = false, false
	if c.max == 0 || r.bans.items-r.left[outIgnored] <= c.max {
		if r.left[outFull] == 0 {
			return
		}
		for p, first := range r.bans.eachItem() {
			if it, _ := r.bans.item(p, first); it.out == outFull {
				r.mark(&it, outNot)
				r.bans.setItem(p, first, it)
			}
		}
		return
	}
	type ranked struct {
		rank
		prefix netip.Prefix
		first  uint32
	}
	all := make([]ranked, 0, r.bans.items)
	for p, first := range r.bans.eachItem() {
		if it, _ := r.bans.item(p, first); it.out != outIgnored {
			if w := r.winner(p, first, now); w.ok {
				all = append(all, ranked{rankOf(w), p, first})
			}
		}
	}
	// Not slices.SortFunc, whose code is there once for each type: the smallest
	// build counts kilobytes. So it is done elsewhere in remediate and roles/bouncer.
	sort.Slice(all, func(i, j int) bool {
		if c := all[i].compare(all[j].rank); c != 0 {
			return c < 0
		}
		return all[i].prefix.Compare(all[j].prefix) < 0
	})
	keep := min(max(c.max-c.max/64, 1), len(all))
	for i, a := range all {
		it, _ := r.bans.item(a.prefix, a.first)
		if i < keep {
			r.mark(&it, outNot)
		} else {
			r.mark(&it, outFull)
		}
		r.bans.setItem(a.prefix, a.first, it)
	}
	if keep > 0 {
		c.cut, c.cutting = all[keep-1].rank, true
	}
}

// learn lowers the limit after the kernel said that it is full.
func (c *capacity) learn(err error, had int) {
	if !errors.Is(err, ErrFull) {
		return
	}
	had -= had / 8 // leave room for what else the kernel has to hold
	c.max = max(had, 1)
}
