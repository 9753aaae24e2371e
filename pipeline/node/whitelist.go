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
	source   event.Slot          // Meta.source_ip
	prefixes *bart.Table[uint32] // nil: none; the values mean nothing: it is the table that others have, too
	progs    []*expr.Program
	exprs    *expr.Index // of progs; nil if the stage has them in its own, at first
	first    int
	acts     bool // one of progs may change the event
}

// apply marks the event if it is listed. The first whitelist that lists an
// event gives the reason.
func (w *whitelist) apply(n *Node, r *Runner) bool {
	if !w.lists(n, r) {
		return false
	}
	if e := r.Expr.Event; !e.Whitelisted {
		e.Whitelisted, e.WhitelistReason = true, w.reason
		r.changes++
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
	if w.acts {
		r.changes++
	}
	var listed bool
	var err error
	if w.exprs != nil {
		var i int
		i, err = w.exprs.First(r.Expr)
		listed = i >= 0
	} else {
		listed, err = r.listed.any(r, w.first, w.first+len(w.progs))
	}
	if err != nil {
		r.failed(n, err)
		return false // the others are not asked
	}
	return listed
}

// listed are the expressions of all whitelists of a stage, which find out together
// which of them may be true of an event.
type listed struct {
	may  *expr.Candidates // nil: the stage has hardly any
	old  bool             // what may has is about another event
	when uint64           // the changes for which it was found out
}

// any tells whether one of the expressions from a number up to another is true. A
// failure ends the search.
func (l *listed) any(r *Runner, from, to int) (bool, error) {
	switch {
	case l.old:
		l.may.Find(r.Expr)
	case l.when != r.changes:
		l.may.Renew(r.Expr)
	}
	l.old, l.when = false, r.changes
	for i := l.may.Next(from); i >= 0 && i < to; i = l.may.Next(i + 1) {
		if ok, err := l.may.Test(r.Expr, i); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
