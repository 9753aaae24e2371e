package bucket

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// slowTable is the obvious twin of Table: maps and slices, no bounds.
type slowTable struct {
	specs   []Spec
	buckets map[slowKey]*slowBucket
	silence map[slowKey]int64
}

type slowKey struct {
	owner  int // share of a bucket, index of a silence
	key    Key
	replay bool
}

type slowBucket struct {
	spec        int
	first, last int64
	tokens      float64
	total       int
	kept        []string
	values      map[uint64]bool
	fired       uint16
}

func (s *slowTable) pour(p *Pour, out *Overflow) Outcome {
	sp := s.specs[p.Spec]
	if sp.Kind == Trigger {
		*out = Overflow{Spec: p.Spec, First: p.Time, Last: p.Time, At: p.Time, Total: 1, buf: p.Record, ends: []int{len(p.Record)}}
		return Overflowed
	}
	k := slowKey{sp.Share, p.Key, p.Replay}
	b := s.buckets[k]
	if b != nil && b.total > 0 && !p.NoTime && p.Time > s.end(k, b) {
		if s.counts(k, b) {
			delete(s.buckets, k)
			*out = s.tell(k, b)
			return Ended
		}
		b = nil
	}
	if b == nil {
		b = &slowBucket{spec: p.Spec, tokens: float64(sp.Capacity), values: map[uint64]bool{}}
		s.buckets[k] = b
	}
	sp = s.specs[b.spec]
	if p.HasDistinct {
		if b.values[p.Distinct] {
			return Swallowed
		}
		b.values[p.Distinct] = true
	}
	if p.Cancel {
		delete(s.buckets, k)
		return Cancelled
	}
	if p.NoTime {
		return Lost
	}
	rate := 1 / sp.Leakspeed.Seconds()
	if b.total == 0 {
		b.first = p.Time
	} else if p.Time > b.last {
		b.tokens = min(float64(sp.Capacity), b.tokens+time.Duration(p.Time-b.last).Seconds()*rate)
	}
	b.total++
	b.last = p.Time
	queue := sp.Capacity
	if queue < 0 {
		queue = maxLookedAt
	}
	if sp.CacheSize > 0 && sp.CacheSize < queue {
		queue = sp.CacheSize
	}
	for len(b.kept) > queue {
		b.kept = b.kept[1:]
	}
	b.kept = append(b.kept, string(p.Record))
	*out = Overflow{Spec: b.spec, First: b.first, Last: b.last, At: p.Time, Total: b.total}
	out.keep(b.kept)
	new := b.tokens - 1
	allowed := sp.Capacity < 0 || new >= 0 || time.Duration(-new/rate*1e9) == 0
	if allowed {
		b.tokens = new
	}
	if allowed || sp.Kind == Conditional {
		out.Fired = b.fired
		if sp.Condition && conditionOf(out) {
			delete(s.buckets, k)
			return Overflowed
		}
		return Poured
	}
	delete(s.buckets, k)
	return Overflowed
}

func (s *slowTable) life(spec int) int64 {
	sp := s.specs[spec]
	if sp.Kind == Conditional || sp.Kind == Bayesian {
		return int64(sp.Leakspeed)
	}
	if sp.Duration > 0 {
		return int64(sp.Duration)
	}
	return int64(sp.Capacity+1) * int64(sp.Leakspeed)
}

func (s *slowTable) silenced(spec int, k Key, at int64, replay bool) bool {
	if s.specs[spec].Blackhole <= 0 {
		return false
	}
	sk := slowKey{spec, k, replay}
	end, ok := s.silence[sk]
	if replay { // an overflow ends all that is over by then, also if time runs back later
		maps.DeleteFunc(s.silence, func(o slowKey, end int64) bool { return o.owner == spec && o.replay && end <= at })
	}
	if ok && end > at {
		return true
	}
	s.silence[sk] = at + int64(s.specs[spec].Blackhole)
	return false
}

// end returns when a bucket is over.
func (s *slowTable) end(k slowKey, b *slowBucket) int64 {
	if s.counts(k, b) {
		return b.first + s.life(b.spec)
	}
	return b.last + s.life(b.spec)
}

// counts tells whether a bucket overflows when its time is over.
func (s *slowTable) counts(k slowKey, b *slowBucket) bool {
	return s.specs[b.spec].Kind == Counter && !k.replay
}

// tell is the overflow of a counter.
func (s *slowTable) tell(k slowKey, b *slowBucket) Overflow {
	o := Overflow{Spec: b.spec, First: b.first, Last: b.last, At: s.end(k, b), Total: b.total}
	o.keep(b.kept)
	return o
}

func (o *Overflow) keep(records []string) {
	for _, r := range records {
		o.buf = append(o.buf, r...)
		o.ends = append(o.ends, len(o.buf))
	}
}

// advance ends the live buckets whose tick is over and returns the overflows of
// counters, in any order.
func (s *slowTable) advance(now int64) (told []string) {
	for k, b := range s.buckets {
		if !k.replay && s.end(k, b)>>tickBits < now>>tickBits {
			delete(s.buckets, k)
			if s.counts(k, b) {
				told = append(told, fmt.Sprint(k.key, s.tell(k, b)))
			}
		}
	}
	return told
}

var testSpecs = []Spec{
	{Kind: Leaky, Share: 0, Capacity: 5, Leakspeed: 10 * time.Second, Blackhole: time.Minute},
	{Kind: Leaky, Share: 1, Capacity: 3, Leakspeed: 700 * time.Millisecond, CacheSize: 2},
	{Kind: Leaky, Share: 1, Capacity: 40, Leakspeed: 3 * time.Second, Duration: 20 * time.Second},
	{Kind: Trigger, Share: 3, Blackhole: 5 * time.Second},
	{Kind: Leaky, Share: 4, Capacity: 1, Leakspeed: time.Hour, CacheSize: 10},
	{Kind: Leaky, Share: 5, Capacity: 200, Leakspeed: 100 * time.Millisecond},
	{Kind: Conditional, Share: 6, Capacity: -1, Leakspeed: 20 * time.Second, Condition: true},
	{Kind: Conditional, Share: 7, Capacity: 2, Leakspeed: time.Minute, Condition: true},
	{Kind: Leaky, Share: 8, Capacity: 30, Leakspeed: 5 * time.Second, CacheSize: 7, Condition: true},
	{Kind: Counter, Share: 9, Capacity: -1, Duration: 30 * time.Second, CacheSize: 5, Blackhole: 50 * time.Second},
	{Kind: Counter, Share: 10, Capacity: -1, Duration: 90 * time.Second, Condition: true},
	{Kind: Bayesian, Share: 11, Capacity: -1, Leakspeed: 40 * time.Second, Condition: true},
}

// conditionOf is the condition of the specs that have one.
func conditionOf(o *Overflow) bool {
	return o.Len() >= 3 && o.Total%3 == 0 && len(o.Record(0)) < len(o.Record(o.Len()-1))
}

// Random operations must have the same results as the slow twin's, in both
// modes, with a clock that jumps and, in replay, also runs backwards.
func TestAgainstSlow(t *testing.T) {
	for seed := range int64(4) {
		r := rand.New(rand.NewSource(seed))
		fast := New(Config{Specs: testSpecs})
		slow := &slowTable{testSpecs, map[slowKey]*slowBucket{}, map[slowKey]int64{}}
		var fo, so Overflow
		seen, byCondition, rung := map[Outcome]int{}, 0, 0
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
		past := now - int64(1000*time.Hour)
		for step := range 60_000 {
			switch x := r.Intn(1000); {
			case x < 2:
				now += r.Int63n(int64(3 * time.Hour))
			case x < 990:
				now += r.Int63n(int64(200 * time.Millisecond))
			}
			past += r.Int63n(int64(400*time.Millisecond)) - int64(100*time.Millisecond)
			if r.Intn(1000) == 0 {
				past -= r.Int63n(int64(2 * time.Minute))
			}
			if r.Intn(40) == 0 {
				var got []string
				fast.Advance(time.Unix(0, now), &fo, func(k Key, o *Overflow) {
					got = append(got, fmt.Sprint(k, Overflow{o.Spec, o.First, o.Last, o.At, o.Total, 0, o.buf, o.ends}))
				})
				want := slow.advance(now)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, step %d: the clock ended\n%v, want\n%v", seed, step, got, want)
				}
				rung += len(got)
			}
			rec := make([]byte, r.Intn(6)*r.Intn(120))
			r.Read(rec)
			p := Pour{
				Spec:   r.Intn(len(testSpecs)),
				Key:    fast.Key(fmt.Sprint(r.Intn(1 + r.Intn(60)))),
				Time:   now,
				Record: rec,
				Cancel: r.Intn(150) == 0,
			}
			if r.Intn(2) == 0 {
				p.Replay, p.Time, p.NoTime = true, past, r.Intn(50) == 0
			}
			if r.Intn(3) == 0 {
				p.HasDistinct, p.Distinct = true, fast.Value(fmt.Sprint(r.Intn(200)))
			}
			owner := fast.Owner(&p)
			got, want := fast.Pour(&p, &fo), slow.pour(&p, &so)
			if got == Poured && testSpecs[owner].Condition && conditionOf(&fo) {
				if late := fo; !fast.Overflow(&p, &fo) || fast.Overflow(&p, &late) {
					t.Fatalf("seed %d, step %d: a bucket must be ended once", seed, step)
				}
				got = Overflowed
				byCondition++
			}
			if got == Poured && testSpecs[owner].Kind == Bayesian {
				if fo.Fired != so.Fired {
					t.Fatalf("seed %d, step %d: fired %b, want %b", seed, step, fo.Fired, so.Fired)
				}
				bits := uint16(1) << r.Intn(MaxFired)
				fast.Remember(&p, &fo, bits)
				slow.buckets[slowKey{testSpecs[owner].Share, p.Key, p.Replay}].fired |= bits
			}
			seen[got]++
			if got != want {
				t.Fatalf("seed %d, step %d: outcome %v, want %v", seed, step, got, want)
			}
			if got != Overflowed && got != Ended {
				continue
			}
			if got == Overflowed && fo.Spec != owner {
				t.Fatalf("seed %d, step %d: owner was %d, bucket of %d overflowed", seed, step, owner, fo.Spec)
			}
			if fo.Spec != so.Spec || fo.First != so.First || fo.Last != so.Last || fo.At != so.At || fo.Total != so.Total ||
				!slices.Equal(fo.ends, so.ends) || !slices.Equal(fo.buf, so.buf) {
				t.Fatalf("seed %d, step %d: overflow\n%v, want\n%v", seed, step, fo, so)
			}
			if g, w := fast.Silenced(p.Spec, p.Key, fo.At, p.Replay), slow.silenced(p.Spec, p.Key, fo.At, p.Replay); g != w {
				t.Fatalf("seed %d, step %d: silenced %v, want %v", seed, step, g, w)
			}
		}
		for o := Poured; o <= Ended; o++ {
			if seen[o] == 0 {
				t.Fatalf("outcome %d never came up", o)
			}
		}
		if byCondition == 0 || rung == 0 {
			t.Fatal("no condition was ever fulfilled, or no counter ended by the clock")
		}
		check(t, fast)
		fast.Advance(time.Unix(0, now).Add(1000*time.Hour), &fo, func(Key, *Overflow) {})
		if n := liveCells(fast); n != 0 {
			t.Fatalf("%d live buckets left after their time", n)
		}
		check(t, fast)
	}
}

// liveCells counts the cells on the wheels of the wall clock.
func liveCells(t *Table) (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		for _, h := range s.wheels[live].head {
			for ; h >= 0; h = s.at(h).next {
				n++
			}
		}
	}
	return n
}

// check verifies what must hold between any two operations: every cell is
// found through the index and lies in one slot of its wheel, no chunk is lost.
func check(t *testing.T, tab *Table) {
	t.Helper()
	for i := range tab.shards {
		s := &tab.shards[i]
		cells, kept := 0, 0
		for wi := range s.wheels {
			w := &s.wheels[wi]
			for slot, h := range w.head {
				if (h >= 0) != (w.occ[slot>>6]>>(slot&63)&1 == 1) {
					t.Fatalf("slot %d: head %d, but occupied %b", slot, h, w.occ[slot>>6])
				}
				for ; h >= 0; h = s.at(h).next {
					c := s.at(h)
					cells++
					if int(c.slot) != slot || s.find(c.key, c.id) != h {
						t.Fatalf("cell %d is in slot %d, says %d, found as %d", h, slot, c.slot, s.find(c.key, c.id))
					}
					for k := c.queue.head; k >= 0; k = s.chunks.at(k).next {
						kept++
					}
					for k := c.values; k >= 0; k = s.chunks.at(k).next {
						kept++
					}
				}
			}
		}
		if cells != s.n || cells != s.index.n || kept != s.chunks.used {
			t.Fatalf("%d cells on the wheels, %d counted, %d indexed; %d chunks reachable, %d used",
				cells, s.n, s.index.n, kept, s.chunks.used)
		}
	}
}

func TestEvictsNearestToItsEnd(t *testing.T) {
	for _, replay := range []bool{false, true} {
		tab := New(Config{MaxBuckets: 500, Specs: []Spec{
			{Capacity: 5, Leakspeed: 10 * time.Second},
			{Capacity: 5, Leakspeed: 10 * time.Hour, Share: 1},
		}})
		var out Overflow
		at := int64(1e18)
		// 100 buckets that last for days, then 1000 for a minute, a second apart.
		for i := range 1100 {
			spec := 0
			if i < 100 {
				spec = 1
			}
			at += int64(time.Second)
			tab.Pour(&Pour{Spec: spec, Key: tab.Key(fmt.Sprint(i)), Time: at, Replay: replay}, &out)
		}
		check(t, tab)
		s := &tab.shards[0]
		f := func(i, spec int, want bool) {
			t.Helper()
			if got := s.find(tab.Key(fmt.Sprint(i)), ident(spec, replay, false)) >= 0; got != want {
				t.Fatalf("replay %v: bucket %d there: %v, want %v", replay, i, got, want)
			}
		}
		f(0, 1, true)
		f(99, 1, true)
		f(100, 0, false)
		f(699, 0, false)
		f(700, 0, true)
		f(1099, 0, true)
		if st := tab.Stats(); st.Buckets != 500 || st.Evicted != 600 {
			t.Fatalf("replay %v: %d buckets, %d evicted; want 500, 600", replay, st.Buckets, st.Evicted)
		}
	}
}

func TestKeptBytesAreBounded(t *testing.T) {
	tab := New(Config{MaxKept: 100 * chunkSize, Specs: []Spec{{Capacity: 50, Leakspeed: time.Hour}}})
	var out Overflow
	last := Poured
	for i := range 51 * 20 {
		rec := make([]byte, 700)
		rec[0] = byte(i / 20)
		last = tab.Pour(&Pour{Key: tab.Key(fmt.Sprint(i % 20)), Time: int64(i), Record: rec}, &out)
		if st := tab.Stats(); st.KeptBytes > 100*chunkSize {
			t.Fatalf("%d bytes kept, bound is %d", st.KeptBytes, 100*chunkSize)
		}
	}
	if last != Overflowed || out.Total != 51 || out.Len() < 1 || out.Record(out.Len() - 1)[0] != 50 {
		t.Fatalf("outcome %v of %d events with %d kept: want an overflow of 51 that has the last one", last, out.Total, out.Len())
	}
	if tab.Stats().Dropped == 0 {
		t.Fatal("dropped events are not counted")
	}
	check(t, tab)
}

func TestDistinctIsBounded(t *testing.T) {
	tab := New(Config{Specs: []Spec{{Capacity: 10, Leakspeed: time.Nanosecond, Duration: time.Hour}}})
	var out Overflow
	for i := range 2 * maxDistinct {
		o := tab.Pour(&Pour{Time: int64(i) * 1000, HasDistinct: true, Distinct: uint64(i)}, &out)
		if o != Poured {
			t.Fatalf("value %d: outcome %v", i, o)
		}
	}
	if o := tab.Pour(&Pour{Time: 1e9, HasDistinct: true, Distinct: maxDistinct - 1}, &out); o != Swallowed {
		t.Fatalf("a remembered value gives %v", o)
	}
	if kept := tab.Stats().KeptBytes; kept > (maxDistinct/perChunk+3)*chunkSize {
		t.Fatalf("%d bytes for distinct values", kept)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	tab := New(Config{Specs: testSpecs, MaxBuckets: 2000})
	var out Overflow
	rec := make([]byte, 300)
	now, i := int64(1e18), 0
	ended := func(Key, *Overflow) {}
	step := func() {
		i++
		now += int64(50 * time.Millisecond)
		group := [2]byte{byte(i), byte(i >> 8)}
		p := Pour{Spec: i % len(testSpecs), Key: tab.Key(string(group[:])), Time: now, Record: rec,
			HasDistinct: true, Distinct: uint64(i)}
		if tab.Pour(&p, &out) == Overflowed {
			tab.Silenced(p.Spec, p.Key, now, false)
		}
		if i%20 == 0 {
			tab.Advance(time.Unix(0, now), &out, ended)
		}
	}
	for range 200_000 {
		step()
	}
	if n := testing.AllocsPerRun(20_000, step); n != 0 {
		t.Fatalf("%v allocations per event", n)
	}
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(cell{}); n > 80 { // the index has 16 more
		t.Errorf("a bucket has %d bytes; raise the budget only with a reason", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != chunkSize {
		t.Errorf("a chunk has %d bytes, want %d", n, chunkSize)
	}
}

func BenchmarkPour(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab := New(Config{Specs: testSpecs, MaxBuckets: 2 * n, MaxKept: 1 << 30})
			var out Overflow
			keys := make([]Key, n)
			for i := range keys {
				keys[i] = tab.Key(fmt.Sprint(i))
			}
			r := rand.New(rand.NewSource(1))
			order := r.Perm(n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				tab.Pour(&Pour{Spec: 5, Key: keys[order[i%n]], Time: int64(1e18) + int64(i)*1000}, &out)
			}
		})
	}
}
