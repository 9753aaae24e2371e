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
	// maxViews bounds the sets that pieces are kept of: 45 bytes for each of
	// their decisions. At the bound the one that was asked for longest ago goes.
	maxViews = 4
	// viewLife is for how long the pieces of a set are kept that nobody asks for.
	viewLife = time.Minute
)

// pieces keeps what bouncers that start are sent compressed, so that a
// thousand of them cost one compression. A piece holds the decisions of one
// block of the log; it is made anew when one of those has changed.
// What goes out plain is encoded from the set each time. It would take more
// memory than the decisions themselves, and keeping it packed is no way out: 18 MB
// are with a client in 22 ms as it is, and were in 30 to 40 ms when they were
// unpacked from pieces (zstd and s2).
type pieces struct {
	mu    sync.Mutex
	views map[viewKey]*view
}

// viewKey names what a bouncer wants to hear of, and how.
type viewKey struct{ coding, filter string }

// view is the pieces of one set.
type view struct {
	mu     sync.Mutex
	blocks map[int64]keptPiece
	used   time.Time
	forget *time.Timer
}

type keptPiece struct {
	piece
	version uint64 // of its block when it was made
	upTo    int64  // the last ID that it tells of
	made    time.Time
}

// serves tells whether a piece of a block can be sent instead of a new one.
func (k *keptPiece) serves(n *news, block decisions.Block) bool {
	return k.version == block.Version && k.upTo == min(block.Last, n.to.ID) && n.now.Sub(k.made) < pieceAge
}

// view returns the pieces kept of a set.
func (p *pieces) view(key viewKey, now time.Time) *view {
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
		v = &view{blocks: make(map[int64]keptPiece)}
		v.forget = time.AfterFunc(viewLife, func() { p.drop(key, v) })
		p.views[key] = v
	}
	v.used = now
	v.forget.Reset(viewLife)
	return v
}

func (p *pieces) drop(key viewKey, v *view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.views[key] == v {
		delete(p.views, key)
	}
}

func (p *pieces) dropOldest() {
	var oldest viewKey
	for key, v := range p.views {
		if o := p.views[oldest]; o == nil || v.used.Before(o.used) {
			oldest = key
		}
	}
	p.views[oldest].forget.Stop()
	delete(p.views, oldest)
}

// write sends the whole set compressed.
func (p *pieces) write(ctx context.Context, a *streamAnswer, filter string) error {
	v := p.view(viewKey{a.out.coding.name, filter}, a.now)
	for block := range a.blocks {
		part := v.piece(&a.news, a.out.coding, block)
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

// piece returns the piece of a block. Those who come meanwhile wait for it
// instead of making it too.
func (v *view) piece(n *news, c *coding, block decisions.Block) piece {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.blocks[block.First]
	if ok && k.serves(n, block) {
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
		k.piece = c.piece(raw.buf)
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
