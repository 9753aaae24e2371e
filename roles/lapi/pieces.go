package lapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cs/decisions"
)

const (
	// pieceAge is for how long a piece serves although time goes on: a bouncer
	// may enforce a ban longer by as much, but is told at once when it ends.
	pieceAge = 10 * time.Second
	// maxViews bounds the sets that pieces are kept of. At the bound the one that was
	// asked for longest ago goes.
	maxViews = 4
	// minPlain and maxPlain are of how many decisions pieces are kept that are not
	// compressed; less is encoded as fast, and more would be 200 MB on the disk.
	minPlain, maxPlain = 4 * compressFrom, 1 << 20
	// plainFrom is which start within pieceAge they are kept from: a few bouncers get
	// them as fast without.
	plainFrom = 3
	// viewLife is for how long the pieces of a set are kept that nobody asks for.
	viewLife = 2 * pieceAge
	// tendEvery is how often pieces are made anew that something has changed in.
	tendEvery = time.Second
)

// pieces keeps what bouncers that start are sent, so that a thousand of them cost
// one encoding and one compression. A piece holds the decisions of one block of the
// log; it is made anew when one of those has changed: in the background as long as
// bouncers go on starting, else, if it is compressed, when one asks.
type pieces struct {
	mu    sync.Mutex
	views map[viewKey]*view
}

// viewKey names what a bouncer wants to hear of, and how.
type viewKey struct{ coding, filter string }

// view is the pieces of one set.
type view struct {
	key    viewKey
	coding *coding
	s      *Server
	query  decisions.Query

	mu     sync.Mutex
	shelf  *shelf         // nil: there is none
	closed bool           // there will be none
	failed bool           // there is no room for one
	making map[int64]bool // the first IDs of the blocks whose piece somebody is making
	made   sync.Cond      // one of them is made

	tending sync.Mutex // held while pieces are made in the background

	// pieces.mu guards these.
	used   time.Time // when it was last asked for
	starts int       // how often, without a pause of pieceAge
	tend   *time.Timer
}

// view returns the pieces kept of the set that is asked for, nil if it is to be
// encoded for this one bouncer.
func (p *pieces) view(n *news, c *coding, filter string) *view {
	if c.pack == nil && (n.tally.Count < minPlain || n.tally.Count > maxPlain) {
		return nil
	}
	key := viewKey{c.name, filter}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.views[key]
	if v == nil {
		if p.views == nil {
			p.views = make(map[viewKey]*view)
		}
		if len(p.views) == maxViews {
			p.dropOldest()
		}
		v = newView(key, c, n)
		v.tend = time.AfterFunc(tendEvery, func() { p.tend(v) })
		p.views[key] = v
	}
	if n.now.Sub(v.used) >= pieceAge {
		v.starts = 0
	}
	v.used = n.now
	v.starts++
	if c.pack == nil && v.starts < plainFrom {
		return nil
	}
	return v
}

func newView(key viewKey, c *coding, n *news) *view {
	v := &view{key: key, coding: c, s: n.s, query: n.query, making: make(map[int64]bool)}
	v.made.L = &v.mu
	return v
}

// tend makes the pieces anew that would not serve for long if a bouncer has asked
// for them lately, and forgets all of them if none has for long.
func (p *pieces) tend(v *view) {
	v.tending.Lock()
	defer v.tending.Unlock()
	p.mu.Lock()
	idle := v.s.now().Sub(v.used)
	known := p.views[v.key] == v
	if known && idle >= viewLife {
		p.drop(v)
		known = false
		v.s.tidy.soon()
	}
	starts := v.starts
	p.mu.Unlock()
	if !known {
		return
	}
	if idle < pieceAge && (v.coding.pack != nil || starts >= plainFrom) {
		v.refresh()
	}
	v.tend.Reset(tendEvery)
}

func (p *pieces) dropOldest() {
	var oldest *view
	for _, v := range p.views {
		if oldest == nil || v.used.Before(oldest.used) {
			oldest = v
		}
	}
	p.drop(oldest)
}

func (p *pieces) drop(v *view) {
	v.tend.Stop()
	delete(p.views, v.key)
	v.close()
}

// stop ends the work in the background.
func (p *pieces) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.views {
		p.drop(v)
	}
}

// write sends the whole set: what is kept as it is, the rest encoded for this one
// bouncer.
func (v *view) write(ctx context.Context, a *streamAnswer) error {
	defer v.help(ctx, &a.news)()
	for block := range a.blocks {
		p, sh := v.piece(&a.news, block)
		if sh == nil {
			if err := a.encode(ctx, block.First-1, min(block.Last, a.to.ID)); err != nil {
				return err
			}
			continue
		}
		err := a.out.copy(ctx, sh, p)
		sh.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

// blocks yields the blocks of the log up to where the news end.
func (n *news) blocks(yield func(decisions.Block) bool) {
	for after := int64(0); ; {
		block, ok := n.s.decisions.BlockAfter(after)
		if !ok || block.First > n.to.ID || !yield(block) {
			return
		}
		after = block.Last
	}
}

// text names what a filter lets through; two with the same text let through the same.
func (f *decisionFilter) text(longest bool) string {
	return fmt.Sprintf("%q %q %q %q %q %v %v", f.scopes, f.kinds, f.origins, f.words, f.not, f.simulated, longest)
}
