package lapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cs/decisions"
	"cs/roles/api"
)

const (
	// pieceAge is for how long a piece serves although time goes on: a bouncer
	// may enforce a ban longer by as much, but is told at once when it ends.
	pieceAge = 10 * time.Second
	// maxViews bounds the sets that pieces are kept of: compressed, they take 45
	// bytes for each of their decisions. At the bound the one that was asked for
	// longest ago goes.
	maxViews = 4
	// maxPlain is of how many decisions pieces are kept as they are, 180 bytes for
	// each; larger sets are encoded each time.
	maxPlain = 180_000
	// plainFrom is which start within pieceAge they are kept from: a few bouncers get
	// them as fast without, and they are four times as long as what is compressed.
	plainFrom = 3
	// viewLife is for how long the pieces of a set are kept that nobody asks for.
	viewLife = 2 * pieceAge
	// tendEvery is how often pieces are made anew that something has changed in.
	tendEvery = time.Second
)

// pieces keeps what bouncers that start are sent, so that a thousand of them cost
// one encoding and one compression. A piece holds the decisions of one block of the
// log; it is made anew when one of those has changed: in the background as long as
// bouncers go on starting, else when one asks.
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
	blocks map[int64]keptPiece

	// pieces.mu guards these.
	used   time.Time // when it was last asked for
	starts int       // how often, without a pause of pieceAge
	tend   *time.Timer
}

type keptPiece struct {
	piece
	version uint64 // of its block when it was made
	upTo    int64  // the last ID that it tells of
	made    time.Time
}

// serves tells whether a piece of a block that is younger than age can be sent
// instead of a new one. One that was made before the clock was set back can't.
func (k *keptPiece) serves(n *news, block decisions.Block, age time.Duration) bool {
	old := n.now.Sub(k.made)
	return k.version == block.Version && k.upTo == min(block.Last, n.to.ID) && old >= 0 && old < age
}

// view returns the pieces kept of the set that is asked for, nil if it is to be
// encoded for this one bouncer.
func (p *pieces) view(n *news, c *coding, filter string) *view {
	if c.pack == nil && n.tally.Count > maxPlain {
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
		v = &view{key: key, coding: c, s: n.s, query: n.query, blocks: make(map[int64]keptPiece)}
		v.tend = time.AfterFunc(tendEvery, func() { p.tend(v) })
		p.views[key] = v
	}
	if n.now.Sub(v.used) >= pieceAge {
		v.starts = 0
	}
	v.used = n.now
	if v.starts++; c.pack == nil && v.starts < plainFrom {
		return nil
	}
	return v
}

// tend makes the pieces anew that would not serve for long if a bouncer has asked
// for them lately, and forgets all of them if none has for long.
func (p *pieces) tend(v *view) {
	p.mu.Lock()
	idle := v.s.now().Sub(v.used)
	known := p.views[v.key] == v
	if known && idle >= viewLife {
		delete(p.views, v.key)
		known = false
		v.s.tidy.soon()
	}
	p.mu.Unlock()
	if !known {
		return
	}
	if idle < pieceAge {
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
	oldest.tend.Stop()
	delete(p.views, oldest.key)
}

// stop ends the work in the background.
func (p *pieces) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.views) > 0 {
		p.dropOldest()
	}
}

// refresh makes the pieces anew that have changed, or are half as old as they may
// get; only those that were asked for once.
func (v *view) refresh() {
	n := news{s: v.s, query: v.query}
	n.mark()
	for block := range n.blocks {
		v.mu.Lock()
		_, known := v.blocks[block.First]
		v.mu.Unlock()
		if known {
			v.piece(&n, block, pieceAge/2)
		}
	}
}

// write sends the whole set.
func (v *view) write(ctx context.Context, a *streamAnswer) error {
	for block := range a.blocks {
		part := v.piece(&a.news, block, pieceAge)
		if part.length == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		a.out.buf = a.out.next() // a comma, if it isn't the first
		if err := a.out.flush(); err != nil {
			return err
		}
		if err := a.out.add(part); err != nil {
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

// piece returns the piece of a block, one that is younger than age. Those who come
// meanwhile wait for it instead of making it too.
func (v *view) piece(n *news, block decisions.Block, age time.Duration) piece {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.blocks[block.First]
	if ok && k.serves(n, block, age) {
		return k.piece
	}
	rows := api.Rows{Now: n.now, WithUUID: true}
	raw := streamWriter{}
	upTo := min(block.Last, n.to.ID)
	for at, more := block.First-1, true; more; {
		at, more = n.s.decisions.New(n.query, at, upTo, n.now, func(r *decisions.Row) { raw.buf = rows.Append(raw.next(), r) })
	}
	k = keptPiece{version: block.Version, upTo: upTo, made: n.now}
	if len(raw.buf) > 0 {
		k.piece = v.coding.piece(raw.buf)
		n.s.tidy.soon()
	}
	v.blocks[block.First] = k
	if len(v.blocks) > 64 && len(v.blocks) > 2*n.s.decisions.Blocks() {
		v.prune(n.s.decisions)
	}
	return k.piece
}

// prune forgets the pieces of blocks of which nothing is left.
func (v *view) prune(log *decisions.Log) {
	old := v.blocks
	v.blocks = make(map[int64]keptPiece)
	for after := int64(0); ; {
		b, ok := log.BlockAfter(after)
		if !ok {
			return
		}
		if k, known := old[b.First]; known {
			v.blocks[b.First] = k
		}
		after = b.Last
	}
}

// text names what a filter lets through; two with the same text let through the same.
func (f *decisionFilter) text(longest bool) string {
	return fmt.Sprintf("%q %q %q %q %q %v %v", f.scopes, f.kinds, f.origins, f.words, f.not, f.simulated, longest)
}
