package node

import (
	"slices"

	"github.com/gaissmai/bart"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// whitelist says which events nobody shall be punished for.
type whitelist struct {
	reason   string
	source   event.Slot // Meta.source_ip
	prefixes *bart.Lite // nil: none
	exprs    *expr.Index
}

// apply marks the event if it is listed. The first whitelist that lists an
// event gives the reason.
func (w *whitelist) apply(n *Node, r *Runner) bool {
	if !w.lists(n, r) {
		return false
	}
	if e := r.Expr.Event; !e.Whitelisted {
		e.Whitelisted, e.WhitelistReason = true, w.reason
	}
	return true
}

// covers tells whether a text is one of the addresses.
func (w *whitelist) covers(text string) bool {
	if w.prefixes == nil || text == "" {
		return false
	}
	a, err := decisions.ParseAddr(text)
	return err == nil && w.prefixes.Contains(a)
}

func (w *whitelist) lists(n *Node, r *Runner) bool {
	if r.Expr.Alert == nil {
		if w.covers(r.Expr.Event.Get(w.source)) {
			return true
		}
	} else if slices.ContainsFunc(r.Expr.Sources, w.covers) {
		return true
	}
	i, err := w.exprs.First(r.Expr)
	if err != nil {
		r.failed(n, err)
		return false // the others are not asked
	}
	return i >= 0
}
