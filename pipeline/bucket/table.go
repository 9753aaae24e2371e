// Package bucket keeps the buckets of all scenarios: the state between the
// first suspicious event and the overflow that becomes an alert.
//
// A bucket is a cell of a slab, found through an open-addressing table and
// ended by a timing wheel: no goroutine, timer or heap object belongs to it.
// Events are kept as opaque byte records. What a record means, which events
// are poured and what becomes of an overflow is decided by the caller,
// pipeline/scenario.
//
// It counts as CrowdSec's buckets do, with token arithmetic in float64.
package bucket

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

const (
	// DefaultMaxBuckets bounds the number of buckets and silence marks: some
	// 20 MB when full, without the kept events.
	DefaultMaxBuckets = 256 << 10

	// Size is what a bucket takes at most, in bytes, without the kept events.
	Size = 83

	// DefaultMaxKept bounds the bytes of kept events.
	DefaultMaxKept = 64 << 20

	// maxQueue bounds the events that one bucket keeps.
	maxQueue = 1000

	// MaxLookedAt bounds the events of a bucket with a condition whose queue has no
	// limit of its own: all of them are looked at with each new one. A condition that
	// is known to need more gets more.
	MaxLookedAt = 100

	// maxDistinct bounds the values that one bucket remembers as seen. At the
	// bound the next ones are counted without being remembered.
	maxDistinct = 4096
)

// Config says what to keep and how much of it. Zero limits are the defaults.
type Config struct {
	Specs []Spec

	// MaxBuckets bounds buckets and silence marks together. At the bound one of
	// those that will be empty first is evicted and counted.
	MaxBuckets int

	// MaxKept bounds the bytes of kept events. At the bound a bucket gives up
	// its oldest kept events, which is counted; it still counts and overflows.
	MaxKept int
}

// Table holds the buckets of one engine. It is safe for concurrent use.
type Table struct {
	secret secret
	specs  []spec
	max    int // cells

	// One lock is enough: it is held for some 30 ns of the microsecond that a
	// line takes.
	mu sync.Mutex
	slab
	index  index
	chunks chunks
	wheel  wheel
	dice   uint32 // of evict

	counts           []Counts // by spec
	ebbs             []ebb    // by spec
	evicted, dropped uint64
	touched          uint32 // see Touch
}

// Pour is an event on its way into a bucket.
type Pour struct {
	Spec int // index in Config.Specs
	Key  Key

	// Time, in Unix nanoseconds, is the wall clock for a live event and the
	// time found in the log for a replayed one. NoTime says that the log gave
	// none: the event is lost, except to a trigger, which then takes Time.
	Time   int64
	NoTime bool
	Replay bool

	// Distinct is the value that may count only once per bucket, unless
	// HasDistinct is false.
	Distinct    uint64
	HasDistinct bool

	Cancel bool   // end the bucket instead of pouring
	Record []byte // kept with the bucket; copied. Nil: nothing is
}

// Outcome is what became of an event.
type Outcome uint8

const (
	Poured     Outcome = iota
	Swallowed          // its distinct value was seen before
	Lost               // replayed, but without a time
	Cancelled          // it ended the bucket without an alert
	Overflowed         // it made the bucket overflow, which is over now

	// Ended: a counter's time was over, so it overflowed, without the event,
	// which is still to be poured.
	Ended
)

// Overflow is the end of a bucket. The caller owns and reuses it.
type Overflow struct {
	Spec            int    // whose bucket it was, see Owner
	First, Last, At int64  // Unix nanoseconds: first and last event, overflow
	Total           int    // events poured; may exceed Len
	Fired           uint16 // what Table.Remember was told, while the bucket lives
	missing         int    // kept events, the oldest, that are not in buf
	buf             []byte
	shown           []byte // buf before Complete
	ends            []int
}

// Len returns the number of kept events, the oldest first.
func (o *Overflow) Len() int { return o.missing + len(o.ends) }

// Missing returns how many of the oldest kept events Table.Complete has to add
// before they can be read. There are none in what overflowed.
func (o *Overflow) Missing() int { return o.missing }

// Record returns a kept event. It is valid until o is used again.
func (o *Overflow) Record(i int) []byte {
	i -= o.missing
	from := 0
	if i > 0 {
		from = o.ends[i-1]
	}
	return o.buf[from:o.ends[i]]
}

// Text returns a copy of all kept events, one behind the other.
func (o *Overflow) Text() string { return string(o.buf) }

// add appends an event.
func (o *Overflow) add(rec []byte) {
	if rec != nil {
		o.buf = append(o.buf, rec...)
		o.ends = append(o.ends, len(o.buf))
	}
}

func (o *Overflow) clear() {
	if cap(o.buf) > maxSpare {
		o.buf = nil
	}
	if cap(o.shown) > maxSpare {
		o.shown = nil
	}
	o.buf, o.ends, o.missing = o.buf[:0], o.ends[:0], 0
}

// maxSpare is what an Overflow may keep from one use to the next, in bytes.
const maxSpare = 1 << 20

// Counts tells what happened to the buckets of one scenario since the start.
type Counts struct {
	Poured, Created, Overflowed, Cancelled, Underflowed uint64
	Live                                                int // buckets of now
}

// Add adds other counts to c.
func (c *Counts) Add(o Counts) {
	c.Poured += o.Poured
	c.Created += o.Created
	c.Overflowed += o.Overflowed
	c.Cancelled += o.Cancelled
	c.Underflowed += o.Underflowed
	c.Live += o.Live
}

// Stats tells what a table holds and what it had to give up.
type Stats struct {
	Buckets   int      // now, silence marks included
	KeptBytes int      // now, of kept events and distinct values
	Evicted   uint64   // buckets ended early, because of MaxBuckets
	Dropped   uint64   // events or distinct values not kept, because of MaxKept
	Specs     []Counts // by index in Config.Specs
}

// New returns an empty table. Memory is taken as buckets come.
func New(cfg Config) *Table {
	if cfg.MaxBuckets <= 0 {
		cfg.MaxBuckets = DefaultMaxBuckets
	}
	if cfg.MaxKept <= 0 {
		cfg.MaxKept = DefaultMaxKept
	}
	t := &Table{max: cfg.MaxBuckets, counts: make([]Counts, len(cfg.Specs)), ebbs: make([]ebb, len(cfg.Specs))}
	var b [16]byte
	rand.Read(b[:]) // never fails
	t.secret = secret{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
	for _, s := range cfg.Specs {
		c := compile(s)
		c.joins = s.Kind == Trigger && slices.ContainsFunc(cfg.Specs, func(other Spec) bool { return other.Share == s.Share && other.Kind != Trigger })
		t.specs = append(t.specs, c)
	}
	t.slab.init()
	t.index.init()
	t.chunks.init(cfg.MaxKept / chunkSize)
	t.wheel.init()
	return t
}

// Pour gives an event to its bucket, making it when there is none. On
// Overflowed and Ended, out tells of the bucket that ended; on Poured, if the
// spec has a Condition, of the bucket as it is now, with the last events at least
// that Last says, or it is empty if the bucket has fewer events than Least. Otherwise
// it is untouched.
func (t *Table) Pour(p *Pour, out *Overflow) Outcome {
	t.mu.Lock()
	o := t.pour(p, out)
	t.mu.Unlock()
	return o
}

// Owner returns the Spec that a bucket obeys which takes the event: that of the
// event that made it, or p.Spec if there is none yet. It differs from p.Spec
// only for specs with the same Share.
func (t *Table) Owner(p *Pour) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(p.Key.of(ident(t.specs[p.Spec].Share, p.Replay, false)))
	if i < 0 || t.over(t.at(i), p) {
		return p.Spec
	}
	return int(t.at(i).spec)
}

// Advance ends the live buckets whose time is over. Counters overflow: each is
// told to overflowed, which may use the table and must not keep the Overflow.
// How often Advance is called decides how much memory dead buckets hold and how
// late counters tell, and nothing else: a pour looks at the clock itself.
func (t *Table) Advance(now time.Time, out *Overflow, overflowed func(Key, *Overflow)) {
	limit := tickOf(now.UnixNano()) - 1
	for {
		t.mu.Lock()
		k, o := t.advance(limit, out)
		t.mu.Unlock()
		switch o {
		case rang:
			overflowed(k, out)
		case idle:
			return
		}
	}
}

// Stats returns a snapshot.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{
		Buckets:   t.n,
		KeptBytes: t.chunks.used * chunkSize,
		Evicted:   t.evicted,
		Dropped:   t.dropped,
		Specs:     slices.Clone(t.counts),
	}
}

func (t *Table) pour(p *Pour, out *Overflow) Outcome {
	sp := &t.specs[p.Spec]
	count := &t.counts[p.Spec]
	if sp.Kind == Trigger && !sp.joins {
		return t.trigger(p, out)
	}

	key := p.Key.of(ident(sp.Share, p.Replay, false))
	i := t.find(key)
	if i >= 0 && t.over(t.at(i), p) {
		if t.ticks(t.at(i)) {
			t.ring(i, out)
			return Ended
		}
		t.counts[t.at(i).spec].Underflowed++
		t.remove(i)
		i = none
	}
	if i < 0 && sp.Kind == Trigger {
		return t.trigger(p, out)
	}
	if i < 0 {
		i = t.add(key, p.Spec, p.Replay, false)
		c := t.at(i)
		c.tokens, c.first, c.last = float64(sp.Capacity), p.Time, p.Time
		t.link(i) // once: from here on its end only moves away, which the wheel finds out
		count.Created++
	}
	c := t.at(i)
	sp, count = &t.specs[c.spec], &t.counts[c.spec] // of the event that made the bucket

	if p.HasDistinct && t.seen(c, p.Distinct) {
		return Swallowed
	}
	if p.Cancel {
		count.Cancelled++
		t.remove(i)
		return Cancelled
	}
	if p.NoTime {
		return Lost
	}
	count.Poured++
	if c.total == 0 {
		c.first = p.Time
	}
	c.total++
	allowed := sp.take(c, p.Time)
	c.last = p.Time
	if allowed {
		t.keep(c, sp.queue, p.Record)
		if sp.Condition {
			if out.clear(); int(c.queue.n) >= sp.Least {
				t.show(c, out)
			}
		}
		return Poured
	}

	t.overflow(i, p.Time, sp.queue, out)
	out.add(p.Record)
	return Overflowed
}

// overflow ends a bucket at a time and tells of it with its last kept events,
// limit at most.
func (t *Table) overflow(i int32, at int64, limit int, out *Overflow) {
	c := t.at(i)
	t.counts[c.spec].Overflowed++
	out.Spec, out.First, out.Last, out.At, out.Total = int(c.spec), c.first, c.last, at, int(c.total)
	for int(c.queue.n) > limit {
		t.chunks.pop(&c.queue)
	}
	t.read(c, out)
	t.remove(i)
}

// add makes a cell, evicting one at the bound. The caller links it.
func (t *Table) add(key uint64, spec int, replay, silent bool) int32 {
	if t.n >= t.max {
		t.evict()
	}
	i := t.alloc()
	*t.at(i) = cell{
		key: key, spec: uint16(spec), marks: uint16(ident(0, replay, silent) << slotBits),
		queue: queue{tail: none}, values: none,
	}
	if !silent {
		t.counts[spec].Live++
	}
	t.index.put(hashOf(key), i)
	return i
}

// remove takes a linked cell and all it keeps out of the table.
func (t *Table) remove(i int32) {
	c := t.at(i)
	if !c.silent() {
		t.counts[c.spec].Live--
	}
	t.unlink(i)
	t.index.del(hashOf(c.key), i)
	t.chunks.clear(&c.queue)
	t.chunks.forget(c.values, c.nvalues)
	t.free(i)
}

func (t *Table) find(key uint64) int32 {
	h := hashOf(key)
	for p := t.index.first(h); ; p = t.index.next(p) {
		i := t.index.match(p, h)
		if i == none || i >= 0 && t.at(i).key == key {
			return i
		}
	}
}

// over tells whether a bucket's time had passed when the event came.
func (t *Table) over(c *cell, p *Pour) bool {
	return c.total > 0 && !p.NoTime && p.Time > t.endOf(c)
}

// endOf returns when a cell is over, in Unix nanoseconds.
func (t *Table) endOf(c *cell) int64 {
	if c.silent() {
		return c.last
	}
	if t.ticks(c) {
		return c.first + t.specs[c.spec].life
	}
	return c.last + t.specs[c.spec].life
}

// seen tells whether a bucket saw a distinct value before, and remembers it.
func (t *Table) seen(c *cell, v uint64) bool {
	known, added := t.chunks.remember(&c.values, &c.nvalues, v)
	if !known && !added {
		t.dropped++
	}
	return known
}

// keep appends a record to a bucket's queue of limit+1.
func (t *Table) keep(c *cell, limit int, rec []byte) {
	if rec == nil {
		return
	}
	for int(c.queue.n) > limit {
		t.chunks.pop(&c.queue)
	}
	linked := t.specs[c.spec].Condition
	for !(linked && t.chunks.pushLinked(&c.queue, rec) || !linked && t.chunks.push(&c.queue, rec)) {
		t.dropped++
		if c.queue.n == 0 {
			return
		}
		t.chunks.pop(&c.queue)
	}
}

// read copies the kept records of a bucket to out.
func (t *Table) read(c *cell, out *Overflow) {
	out.clear()
	if c.queue.n == 0 {
		return
	}
	r, linked := t.chunks.reader(&c.queue), t.specs[c.spec].Condition
	for range c.queue.n {
		if linked {
			out.buf = t.chunks.nextLinked(&r, out.buf)
		} else {
			out.buf = t.chunks.next(&r, out.buf)
		}
		out.ends = append(out.ends, len(out.buf))
	}
}

// readLast is read for the last n records of a bucket with a condition.
func (t *Table) readLast(c *cell, n int, out *Overflow) {
	out.clear()
	r := t.chunks.last(&c.queue, n)
	for range n {
		out.buf = t.chunks.nextLinked(&r, out.buf)
		out.ends = append(out.ends, len(out.buf))
	}
	out.missing = int(c.queue.n) - n
}
