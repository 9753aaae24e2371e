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

// pieces keeps what bouncers that start are sent, so that a thousand of them
// cost one encoding and one compression. A piece holds the decisions of one
// block of the log; it is made anew when one of those has changed. What goes
// out plain is kept compressed, too, by the best coding there is: it would take
// more memory than the decisions themselves, and is unpacked in less time than
// it is encoded in.
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

	// Those belong to pieces.mu.
	used    time.Time
	asked   int // how often
	filling bool
	forget  *time.Timer
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
	v.asked++
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

// writePlain sends the whole set uncompressed: pieces that are kept, and what
// there is no piece of as the log has it. Nobody waits for a piece; when the set is asked
// for again within viewLife, those that are missing are made in the background.
func (p *pieces) writePlain(ctx context.Context, a *streamAnswer, filter string, keep *coding) error {
	v := p.view(viewKey{keep.name, filter}, a.now)
	room := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(room)
	rows := api.Rows{Now: a.now, WithUUID: true}
	missing := false
	for block := range a.blocks {
		if part, ok := v.kept(&a.news, block); !ok {
			missing = true
			if err := a.writeRows(ctx, &rows, block.First-1, min(block.Last, a.to.ID)); err != nil {
				return err
			}
		} else if part.length > 0 {
			a.out.buf = a.out.next()
			if err := a.out.flush(); err != nil {
				return err
			}
			*room = keep.unpack((*room)[:0], part.packed)
			if err := a.out.send(*room); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	if missing {
		p.fill(v, a.news, keep)
	}
	return nil
}

// rawBuffers are for pieces that are unpacked.
var rawBuffers = sync.Pool{New: func() any { return new([]byte) }}

// fill makes the pieces of a set that are missing, once it is asked for again.
func (p *pieces) fill(v *view, n news, c *coding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.asked < 2 || v.filling {
		return
	}
	v.filling = true
	n.s.done.Go(func() {
		for block := range n.blocks {
			if n.s.background.Err() != nil {
				break
			}
			v.piece(&n, c, block)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		v.filling = false
	})
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

// kept returns the piece of a block if there is one, and nobody is at it.
func (v *view) kept(n *news, block decisions.Block) (piece, bool) {
	if !v.mu.TryLock() {
		return piece{}, false
	}
	defer v.mu.Unlock()
	k, ok := v.blocks[block.First]
	return k.piece, ok && k.serves(n, block)
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
	return fmt.Sprintf("%q %q %q %q %q %v %v", f.scopes, f.kind, f.origins, f.words, f.not, f.simulated, longest)
}
