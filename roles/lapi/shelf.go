package lapi

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

// Of an ordinary decision a piece has so many bytes, and so many compressed.
const plainSize, packedSize = 180, 32

// shelf has the pieces of a set in a file without a name in the data directory: the
// kernel keeps it in memory for as long as nothing else needs that. What is on it is
// never written over, because somebody may be reading it.
type shelf struct {
	file   *os.File
	begun  time.Time
	users  atomic.Int32    // who reads or writes, and the view; the last one closes it
	pieces map[int64]piece // by the first ID of their blocks; view.mu guards it, and what follows
	first  int64           // its length when it had all pieces once; 0: it has not
	size   int64           // its length
}

// piece is the decisions of a block, as they are sent.
type piece struct {
	at, size int64  // where it is on the shelf
	length   int64  // before it was compressed
	sum      uint32 // of that
	version  uint64 // of its block when it was made
	upTo     int64  // the last ID that it tells of
	made     time.Time
}

// serves tells whether a piece can be sent instead of a new one. One that was made
// before the clock was set back can't.
func (p *piece) serves(n *news, block decisions.Block) bool {
	old := n.now.Sub(p.made)
	return p.version == block.Version && p.upTo == min(block.Last, n.to.ID) && old >= 0 && old < pieceAge
}

// newShelf returns an empty shelf with one user. What it may grow to, twice, and the
// next one beside it must be little of what is free: the store needs that more.
func (v *view) newShelf(n *news) (*shelf, error) {
	dir := v.s.conf.Scratch
	if dir == "" {
		dir = os.TempDir()
	}
	size := plainSize
	if v.coding.pack != nil {
		size = packedSize
	}
	need := 10 * uint64(n.tally.Count) * uint64(size)
	if free, err := platform.Free(dir); err != nil || free < need {
		return nil, errors.Join(err, fmt.Errorf("%d bytes of %s are free, want %d", free, dir, need))
	}
	file, err := platform.Nameless(dir)
	if err != nil {
		return nil, err
	}
	sh := &shelf{file: file, begun: n.now, pieces: make(map[int64]piece)}
	sh.users.Add(1)
	return sh, nil
}

func (sh *shelf) leave() {
	if sh.users.Add(-1) == 0 {
		sh.file.Close()
	}
}

// outlived tells whether it takes more room than it is worth, or its pieces are half
// as old as they may get.
func (sh *shelf) outlived(now time.Time) bool {
	age := now.Sub(sh.begun)
	return age < 0 || age >= pieceAge/2 || sh.first > 0 && sh.size > 2*sh.first
}

// put writes a piece behind the others.
func (sh *shelf) put(block decisions.Block, p piece, body []byte) (piece, error) {
	p.at, p.size = sh.size, int64(len(body))
	if _, err := sh.file.WriteAt(body, p.at); err != nil {
		return piece{}, err
	}
	sh.size += p.size
	sh.pieces[block.First] = p
	return p, nil
}

// piece returns the piece of a block and the shelf that it is on, which the caller
// leaves; nil if there is none. One that is compressed is made if need be, and those
// who come meanwhile wait for it instead of making it too.
func (v *view) piece(n *news, block decisions.Block) (piece, *shelf) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		if v.shelf != nil {
			if p, ok := v.shelf.pieces[block.First]; ok && p.serves(n, block) {
				v.shelf.users.Add(1)
				return p, v.shelf
			}
		}
		if v.coding.pack == nil || v.closed || v.failed {
			return piece{}, nil
		}
		if !v.making[block.First] {
			break
		}
		v.made.Wait()
	}
	room := rooms.Get().(*room)
	defer rooms.Put(room)
	p, body := v.make(room, n, block)
	if v.closed || v.failed {
		return piece{}, nil
	}
	var err error
	if v.shelf == nil {
		v.shelf, err = v.newShelf(n)
	}
	if err == nil {
		p, err = v.shelf.put(block, p, body)
	}
	if err != nil {
		v.fail(err)
		return piece{}, nil
	}
	n.s.tidy.soon()
	v.shelf.users.Add(1)
	return p, v.shelf
}

// make makes a piece while v.mu, which is held, is not.
func (v *view) make(room *room, n *news, block decisions.Block) (p piece, body []byte) {
	v.making[block.First] = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.making, block.First)
		v.made.Broadcast()
	}()
	return room.piece(n, block, v.coding)
}

// help makes the pieces that are needed next, from the last one on, while another
// processor makes those that are sent first. wait must be called.
func (v *view) help(ctx context.Context, n *news) (wait func()) {
	var helper sync.WaitGroup
	if v.coding.pack != nil && runtime.GOMAXPROCS(0) > 1 {
		helper.Go(func() {
			for _, block := range slices.Backward(slices.Collect(n.blocks)) {
				if ctx.Err() != nil {
					return
				}
				_, sh := v.piece(n, block)
				if sh == nil {
					return
				}
				sh.leave()
			}
		})
	}
	return helper.Wait
}

// refresh makes the pieces that aren't there, or something of which has changed: on a
// new shelf if the one there is has outlived itself.
func (v *view) refresh() {
	n := news{s: v.s, query: v.query, counts: true}
	n.mark()
	v.mu.Lock()
	if v.closed || v.failed {
		v.mu.Unlock()
		return
	}
	sh := v.shelf
	if sh != nil && sh.outlived(n.now) {
		sh = nil
	}
	if sh != nil {
		sh.users.Add(1)
	}
	v.mu.Unlock()
	if err := v.fill(&n, sh); err != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.fail(err)
	}
}

// fill makes what a shelf lacks, nil: all, on a new one that takes the place of the
// view's when it has everything.
func (v *view) fill(n *news, sh *shelf) (err error) {
	if sh == nil {
		if sh, err = v.newShelf(n); err != nil {
			return err
		}
	}
	defer sh.leave()
	room := rooms.Get().(*room)
	defer rooms.Put(room)
	for block := range n.blocks {
		v.mu.Lock()
		p, ok := sh.pieces[block.First]
		v.mu.Unlock()
		if ok && p.serves(n, block) {
			continue
		}
		p, body := room.piece(n, block, v.coding)
		v.mu.Lock()
		_, err := sh.put(block, p, body)
		v.mu.Unlock()
		if err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if sh.first == 0 {
		sh.first = sh.size
	}
	if !v.closed && v.shelf != sh {
		v.clear()
		v.shelf = sh
		sh.users.Add(1)
	}
	return nil
}

// fail ends the keeping of pieces: the disk is full, or can't be written; v.mu is held.
func (v *view) fail(err error) {
	if v.failed {
		return
	}
	v.failed = true
	v.clear()
	v.s.conf.Log.Info("cannot keep what starting bouncers are sent, encoding it for each of them", "err", err)
}

// close ends it for good.
func (v *view) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	v.clear()
}

func (v *view) clear() {
	if v.shelf != nil {
		v.shelf.leave()
		v.shelf = nil
	}
}

// room is for a block on its way to the shelf.
type room struct{ raw, packed []byte }

// rooms are of blocks of usual decisions.
var rooms = sync.Pool{New: func() any { return &room{raw: make([]byte, 0, 800<<10)} }}

// piece encodes the decisions of a block, with commas between them, and compresses
// them. The body is valid until the next one.
func (r *room) piece(n *news, block decisions.Block, c *coding) (p piece, body []byte) {
	rows, out := api.Rows{Now: n.now, WithUUID: true}, streamWriter{buf: r.raw[:0]}
	p = piece{version: block.Version, upTo: min(block.Last, n.to.ID), made: n.now}
	for at, more := block.First-1, true; more; {
		at, more = n.s.decisions.New(n.query, at, p.upTo, n.now, func(r *decisions.Row) { out.buf = rows.Append(out.next(), r) })
	}
	r.raw, body = out.buf, out.buf
	p.length = int64(len(body))
	if c.pack != nil && len(body) > 0 {
		p.sum = crc32.ChecksumIEEE(body)
		r.packed = c.pack(r.packed[:0], body)
		body = r.packed
	}
	return p, body
}

// copy sends a piece from the shelf.
func (o *streamWriter) copy(ctx context.Context, sh *shelf, p piece) error {
	if p.size == 0 {
		return nil
	}
	o.buf = o.next() // a comma, if it isn't the first
	if o.coding.pack != nil {
		if err := o.flush(); err != nil {
			return err
		}
		if err := o.announce(p.sum, p.length); err != nil {
			return err
		}
	}
	for at, end := p.at, p.at+p.size; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		have := len(o.buf)
		o.buf = o.buf[:min(cap(o.buf), have+int(end-at))]
		if _, err := sh.file.ReadAt(o.buf[have:], at); err != nil {
			return err
		}
		at += int64(len(o.buf) - have)
		if err := o.send(o.buf); err != nil {
			return err
		}
		o.buf = o.buf[:0]
	}
	return nil
}
