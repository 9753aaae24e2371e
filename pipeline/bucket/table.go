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
	"hash/maphash"
	"sync"
	"time"
)

const (
	// DefaultMaxBuckets bounds the number of buckets and silence marks: some
	// 25 MB when full, without the kept events.
	DefaultMaxBuckets = 256 << 10

	// DefaultMaxKept bounds the bytes of kept events.
	DefaultMaxKept = 64 << 20

	// maxQueue bounds the events that one bucket keeps, for kinds whose queue
	// has no limit of its own.
	maxQueue = 1000

	// maxLookedAt bounds the events of a bucket with a condition: all of them
	// are looked at with each new one.
	maxLookedAt = 100

	// maxDistinct bounds the values that one bucket remembers as seen. At the
	// bound the next ones are counted without being remembered.
	maxDistinct = 4096

	// maxShards bounds how many tables work in parallel.
	maxShards = 16
)

// Config says what to keep and how much of it. Zero limits are the defaults.
type Config struct {
	Specs []Spec

	// MaxBuckets bounds buckets and silence marks together. At the bound the
	// one nearest to its end is evicted and counted.
	MaxBuckets int

	// MaxKept bounds the bytes of kept events. At the bound a bucket gives up
	// its oldest kept events, which is counted; it still counts and overflows.
	MaxKept int
}

// Table holds the buckets of one engine. It is safe for concurrent use.
type Table struct {
	specs  []spec
	seeds  [2]maphash.Seed
	shards []shard
}

// Key stands for what an event is grouped by: 128 bits, hashed with seeds of
// this process, so that nobody outside can make two groups collide.
type Key struct{ Hi, Lo uint64 }

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
	Record []byte // kept with the bucket; copied
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
	buf             []byte
	ends            []int
}

// Len returns the number of kept events, the oldest first.
func (o *Overflow) Len() int { return len(o.ends) }

// Record returns a kept event. It is valid until o is used again.
func (o *Overflow) Record(i int) []byte {
	from := 0
	if i > 0 {
		from = o.ends[i-1]
	}
	return o.buf[from:o.ends[i]]
}

func (o *Overflow) clear() {
	if cap(o.buf) > maxSpare {
		o.buf = nil
	}
	o.buf, o.ends = o.buf[:0], o.ends[:0]
}

// maxSpare is what an Overflow may keep from one use to the next, in bytes.
const maxSpare = 1 << 20

// Counts tells what happened to the buckets of one scenario since the start.
type Counts struct {
	Poured, Created, Overflowed, Cancelled, Underflowed uint64
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
	t := &Table{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range cfg.Specs {
		t.specs = append(t.specs, compile(cfg.Specs[i]))
	}
	// Few buckets are not worth many locks, and a bound spread over many
	// shards would be a vague one.
	n := 1
	for n < maxShards && cfg.MaxBuckets/(2*n) >= 1024 {
		n *= 2
	}
	t.shards = make([]shard, n)
	ebbs := make([]ebb, len(t.specs))
	for i := range t.shards {
		t.shards[i].init(t.specs, cfg.MaxBuckets/n, cfg.MaxKept/n)
		t.shards[i].ebbs = ebbs
	}
	return t
}

// Key returns the key of a group value.
func (t *Table) Key(group string) Key {
	return Key{maphash.String(t.seeds[0], group), maphash.String(t.seeds[1], group)}
}

// Value returns what Pour.Distinct takes for a text.
func (t *Table) Value(text string) uint64 { return maphash.String(t.seeds[0], text) }

// Pour gives an event to its bucket, making it when there is none. On
// Overflowed and Ended, out tells of the bucket that ended; on Poured, if the
// spec has a Condition, of the bucket as it is now. Otherwise it is untouched.
func (t *Table) Pour(p *Pour, out *Overflow) Outcome {
	s := t.shard(p.Key)
	s.mu.Lock()
	o := s.pour(p, out)
	s.mu.Unlock()
	return o
}

// Owner returns the Spec that a bucket obeys which takes the event: that of the
// event that made it, or p.Spec if there is none yet. It differs from p.Spec
// only for specs with the same Share.
func (t *Table) Owner(p *Pour) int {
	s := t.shard(p.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(p.Key, ident(s.specs[p.Spec].Share, p.Replay, false))
	if i < 0 || s.over(s.at(i), p) {
		return p.Spec
	}
	return int(s.at(i).spec)
}

// Advance ends the live buckets whose time is over. Counters overflow: each is
// told to overflowed, which may use the table and must not keep the Overflow.
// How often Advance is called decides how much memory dead buckets hold and how
// late counters tell, and nothing else: a pour looks at the clock itself.
func (t *Table) Advance(now time.Time, out *Overflow, overflowed func(Key, *Overflow)) {
	at := now.UnixNano()
	for i := range t.shards {
		s := &t.shards[i]
		for {
			s.mu.Lock()
			k, ok := s.advance(at, out)
			s.mu.Unlock()
			if !ok {
				break
			}
			overflowed(k, out)
		}
	}
}

// Stats returns a snapshot, shard by shard.
func (t *Table) Stats() Stats {
	st := Stats{Specs: make([]Counts, len(t.specs))}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		st.Buckets += s.n
		st.KeptBytes += s.chunks.used * chunkSize
		st.Evicted += s.evicted
		st.Dropped += s.dropped
		for j := range s.counts {
			c, d := &s.counts[j], &st.Specs[j]
			d.Poured += c.Poured
			d.Created += c.Created
			d.Overflowed += c.Overflowed
			d.Cancelled += c.Cancelled
			d.Underflowed += c.Underflowed
		}
		s.mu.Unlock()
	}
	return st
}

func (t *Table) shard(k Key) *shard { return &t.shards[k.Hi&uint64(len(t.shards)-1)] }

// shard is one part of the table under its own lock.
type shard struct {
	mu sync.Mutex
	slab
	index  index
	chunks chunks
	wheels [2]wheel // by clock: live, replay

	specs            []spec
	ebbs             []ebb // by spec; shared by all shards
	max              int
	counts           []Counts
	evicted, dropped uint64
	_                [64]byte // neighbours' locks are not on our cache line
}

func (s *shard) init(specs []spec, maxCells, maxKept int) {
	s.specs = specs
	s.max = max(maxCells, 1)
	s.counts = make([]Counts, len(specs))
	s.slab.init()
	s.index.init()
	s.chunks.init(maxKept / chunkSize)
	for i := range s.wheels {
		s.wheels[i].init()
	}
}

func (s *shard) pour(p *Pour, out *Overflow) Outcome {
	sp := &s.specs[p.Spec]
	count := &s.counts[p.Spec]
	if sp.Kind == Trigger {
		count.Poured++
		count.Overflowed++
		trigger(p, out)
		return Overflowed
	}

	id := ident(sp.Share, p.Replay, false)
	i := s.find(p.Key, id)
	if i >= 0 && s.over(s.at(i), p) {
		if s.ticks(s.at(i)) {
			s.ring(i, out)
			return Ended
		}
		s.counts[s.at(i).spec].Underflowed++
		s.remove(i)
		i = none
	}
	if i < 0 {
		i = s.add(p.Key, id, p.Spec)
		c := s.at(i)
		c.tokens, c.first, c.last = float64(sp.Capacity), p.Time, p.Time
		s.link(i) // once: from here on its end only moves away, which the wheel finds out
		count.Created++
	}
	c := s.at(i)
	sp, count = &s.specs[c.spec], &s.counts[c.spec] // of the event that made the bucket

	if p.HasDistinct && s.seen(c, p.Distinct) {
		return Swallowed
	}
	if p.Cancel {
		count.Cancelled++
		s.remove(i)
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
		s.keep(c, sp.queue, p.Record)
		if sp.Condition {
			s.show(c, out)
		}
		return Poured
	}

	s.overflow(i, p.Time, sp.queue, out)
	out.buf = append(out.buf, p.Record...)
	out.ends = append(out.ends, len(out.buf))
	return Overflowed
}

// overflow ends a bucket at a time and tells of it with its last kept events,
// limit at most.
func (s *shard) overflow(i int32, at int64, limit int, out *Overflow) {
	c := s.at(i)
	s.counts[c.spec].Overflowed++
	out.Spec, out.First, out.Last, out.At, out.Total = int(c.spec), c.first, c.last, at, int(c.total)
	s.read(c, limit, out)
	s.remove(i)
}

// advance removes the live cells whose time is over, until a counter is one of
// them.
func (s *shard) advance(now int64, out *Overflow) (Key, bool) {
	w := &s.wheels[live]
	for {
		i := s.due(w, tickOf(now)-1)
		if i < 0 {
			return Key{}, false
		}
		c := s.at(i)
		if s.ticks(c) {
			k := c.key
			s.ring(i, out)
			return k, true
		}
		if c.id&silence == 0 {
			s.counts[c.spec].Underflowed++
		}
		s.remove(i)
	}
}

// add makes a cell, evicting one at the bound. The caller links it.
func (s *shard) add(k Key, id uint32, spec int) int32 {
	if s.n >= s.max {
		w := &s.wheels[id>>1&1]
		i := s.due(w, maxTick)
		if i < 0 {
			i = s.due(&s.wheels[1-id>>1&1], maxTick)
		}
		s.evicted++
		s.remove(i)
	}
	i := s.alloc()
	*s.at(i) = cell{key: k, id: id, spec: uint16(spec), queue: queue{head: none, tail: none}, values: none}
	s.index.put(hashOf(k, id), i)
	s.n++
	return i
}

// remove takes a linked cell and all it keeps out of the shard.
func (s *shard) remove(i int32) {
	c := s.at(i)
	s.unlink(i)
	s.index.del(hashOf(c.key, c.id), i)
	s.chunks.release(c.queue.head)
	s.chunks.release(c.values)
	s.free(i)
	s.n--
}

func (s *shard) find(k Key, id uint32) int32 {
	h := hashOf(k, id)
	for p := s.index.first(h); ; p = s.index.next(p) {
		i := s.index.match(p, h)
		if i == none {
			return none
		}
		if i >= 0 {
			if c := s.at(i); c.key == k && c.id == id {
				return i
			}
		}
	}
}

// over tells whether a bucket's time had passed when the event came.
func (s *shard) over(c *cell, p *Pour) bool {
	return c.total > 0 && !p.NoTime && p.Time > s.endOf(c)
}

// endOf returns when a cell is over, in Unix nanoseconds.
func (s *shard) endOf(c *cell) int64 {
	if c.id&silence != 0 {
		return c.last
	}
	if s.ticks(c) {
		return c.first + s.specs[c.spec].life
	}
	return c.last + s.specs[c.spec].life
}

// seen tells whether a bucket saw a distinct value before, and remembers it.
func (s *shard) seen(c *cell, v uint64) bool {
	known, ok := s.chunks.remember(&c.values, &c.nvalues, v)
	if !known && !ok {
		s.dropped++
	}
	return known
}

// keep appends a record to a bucket's queue of limit+1.
func (s *shard) keep(c *cell, limit int, rec []byte) {
	for int(c.queue.n) > limit {
		s.chunks.pop(&c.queue)
	}
	for !s.chunks.push(&c.queue, rec) {
		s.dropped++
		if c.queue.n == 0 {
			return
		}
		s.chunks.pop(&c.queue)
	}
}

// read moves the last kept records to out, limit at most.
func (s *shard) read(c *cell, limit int, out *Overflow) {
	out.clear()
	for int(c.queue.n) > limit {
		s.chunks.pop(&c.queue)
	}
	for c.queue.n > 0 {
		out.buf = s.chunks.take(&c.queue, out.buf)
		out.ends = append(out.ends, len(out.buf))
	}
}
