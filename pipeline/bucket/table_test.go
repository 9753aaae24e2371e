package bucket

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
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
	if b == nil && sp.Kind == Trigger {
		*out = Overflow{Spec: p.Spec, First: p.Time, Last: p.Time, At: p.Time, Total: 1, buf: p.Record, ends: []int{len(p.Record)}}
		return Overflowed
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
		queue = MaxLookedAt
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

// restart forgets what is not saved.
func (s *slowTable) restart(now int64) {
	for k, b := range s.buckets {
		if k.replay || s.end(k, b) < now && !s.counts(k, b) {
			delete(s.buckets, k)
		}
	}
	for k := range s.silence {
		if k.replay {
			delete(s.silence, k)
		}
	}
}

var testSpecs = []Spec{
	{Kind: Leaky, Share: 0, Capacity: 5, Leakspeed: 10 * time.Second, Blackhole: time.Minute},
	{Kind: Leaky, Share: 1, Capacity: 3, Leakspeed: 700 * time.Millisecond, CacheSize: 2},
	{Kind: Leaky, Share: 1, Capacity: 40, Leakspeed: 3 * time.Second, Duration: 20 * time.Second},
	{Kind: Trigger, Share: 3, Blackhole: 5 * time.Second},
	{Kind: Trigger, Share: 4}, // as another that makes buckets
	{Kind: Leaky, Share: 4, Capacity: 1, Leakspeed: time.Hour, CacheSize: 10},
	{Kind: Leaky, Share: 5, Capacity: 200, Leakspeed: 100 * time.Millisecond},
	{Kind: Conditional, Share: 6, Capacity: -1, Leakspeed: 20 * time.Second, Condition: true, Last: 2},
	{Kind: Conditional, Share: 7, Capacity: 2, Leakspeed: time.Minute, Condition: true, Last: 1},
	{Kind: Leaky, Share: 8, Capacity: 30, Leakspeed: 5 * time.Second, CacheSize: 7, Condition: true, Last: 6},
	{Kind: Counter, Share: 9, Capacity: -1, Duration: 30 * time.Second, CacheSize: 5, Blackhole: 50 * time.Second},
	{Kind: Counter, Share: 10, Capacity: -1, Duration: 90 * time.Second, Condition: true},
	{Kind: Bayesian, Share: 11, Capacity: -1, Leakspeed: 40 * time.Second, Condition: true},
}

// conditionOf is the condition of the specs that have one.
func conditionOf(o *Overflow) bool {
	return o.Len() >= 3 && o.Total%3 == 0 && len(o.Record(o.Len()-1)) > 40
}

// complete asks for the events that are missing in what Pour showed.
func complete(t *testing.T, table *Table, p *Pour, o *Overflow) {
	t.Helper()
	var last []string
	n, missing := o.Len(), o.Missing()
	for i := missing; i < n; i++ {
		last = append(last, string(o.Record(i)))
	}
	if !table.Complete(p, o) || o.Missing() != 0 || o.Len() != n {
		t.Fatalf("%d of %d events missing of a bucket that was completed, which has %d", o.Missing(), n, o.Len())
	}
	for i, want := range last {
		if got := string(o.Record(missing + i)); got != want {
			t.Fatalf("event %d of %d was %q at first, then %q", missing+i, n, want, got)
		}
	}
}

// Random operations must have the same results as the slow twin's, in both
// modes, with a clock that jumps and, in replay, also runs backwards.
func TestAgainstSlow(t *testing.T) {
	seeds, steps := int64(4), 60_000
	if testing.Short() { // with the race detector
		seeds, steps = 1, 20_000
	}
	for seed := range seeds {
		r := rand.New(rand.NewSource(seed))
		fast := New(Config{Specs: testSpecs})
		slow := &slowTable{testSpecs, map[slowKey]*slowBucket{}, map[slowKey]int64{}}
		var fo, so Overflow
		seen, byCondition, rung := map[Outcome]int{}, 0, 0
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
		past := now - int64(1000*time.Hour)
		for step := range steps {
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
					got = append(got, fmt.Sprint(k, Overflow{o.Spec, o.First, o.Last, o.At, o.Total, 0, o.missing, o.buf, nil, o.ends}))
				})
				want := slow.advance(now)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, step %d: the clock ended\n%v, want\n%v", seed, step, got, want)
				}
				rung += len(got)
			}
			if r.Intn(2000) == 0 {
				fast = restart(t, fast, testSpecs, time.Unix(0, now))
				slow.restart(now)
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
			if got == Poured && testSpecs[owner].Condition && step%2 == 0 {
				complete(t, fast, &p, &fo)
			}
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

// liveCells counts the cells on the wheel.
func liveCells(t *Table) (n int) {
	for _, heads := range t.wheel.head {
		for _, h := range heads {
			for ; h >= 0; h = t.at(h).next {
				n++
			}
		}
	}
	return n
}

// check verifies what must hold between any two operations: every cell is
// found through the index, live ones lie in one slot of the wheel, no chunk is lost.
func check(t testing.TB, tab *Table) {
	t.Helper()
	cells, live, kept := 0, 0, 0
	for i := range tab.made {
		c := tab.at(i)
		if !c.inUse() {
			continue
		}
		cells++
		if !c.replayed() {
			live++
		}
		if got := tab.find(c.key); got != i {
			t.Fatalf("cell %d is found as %d", i, got)
		}
		if q := &c.queue; q.tail >= 0 {
			kept++
			for k := tab.chunks.at(q.tail).next; k != q.tail; k = tab.chunks.at(k).next {
				kept++
			}
		}
		tab.chunks.chains(c.values, c.nvalues, func(k int32) {
			for ; k >= 0; k = tab.chunks.at(k).next {
				kept++
			}
		})
		if c.nvalues > flatValues {
			kept++
		}
	}
	w := &tab.wheel
	for slot, heads := range w.head {
		if (max(heads[0], heads[1], heads[2], heads[3]) >= 0) != (w.occ[slot/slots][slot%slots/64]>>(slot%64)&1 == 1) {
			t.Fatalf("slot %d: heads %d, but occupied %b", slot, heads, w.occ[slot/slots])
		}
		for lane, h := range heads {
			for ; h >= 0; h = tab.at(h).next {
				live--
				if c := tab.at(h); int(c.slot()) != slot || int(h%lanes) != lane || c.replayed() {
					t.Fatalf("cell %d is in slot %d, says %d, replayed %v", h, slot, c.slot(), c.replayed())
				}
			}
		}
	}
	if live != 0 || cells != tab.n || cells != tab.index.n || kept != tab.chunks.used {
		t.Fatalf("%d live cells not on the wheel; %d cells, %d counted, %d indexed; %d chunks reachable, %d used",
			live, cells, tab.n, tab.index.n, kept, tab.chunks.used)
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

// A table of few buckets always evicts the emptiest, in both modes.
func TestEvictsTheEmptiest(t *testing.T) {
	specs := []Spec{
		{Capacity: 5, Leakspeed: 10 * time.Second, Blackhole: time.Minute},
		{Capacity: 50, Leakspeed: time.Second, Share: 1},
		{Kind: Conditional, Capacity: -1, Leakspeed: time.Minute, Share: 2},
		{Kind: Counter, Capacity: -1, Duration: 40 * time.Second, Share: 3},
	}
	tab := New(Config{MaxBuckets: looks, Specs: specs})
	r := rand.New(rand.NewSource(1))
	var out Overflow
	at := start
	for range 20_000 {
		at += r.Int63n(int64(time.Second))
		p := Pour{Spec: r.Intn(len(specs)), Key: Key(r.Intn(40)), Time: at - r.Int63n(2)*int64(time.Hour)}
		p.Replay = at != p.Time
		var emptiest []uint64 // those that the table may evict
		first := int64(0)
		for i := range tab.made {
			if c := tab.at(i); c.inUse() {
				switch e := tab.emptyAt(c); {
				case emptiest == nil || e < first:
					emptiest, first = []uint64{c.key}, e
				case e == first:
					emptiest = append(emptiest, c.key)
				}
			}
		}
		before := tab.evicted
		if tab.Pour(&p, &out) == Overflowed {
			before = tab.evicted
			tab.Silenced(out.Spec, p.Key, out.At, p.Replay)
		}
		gone := slices.ContainsFunc(emptiest, func(k uint64) bool { return tab.find(k) < 0 })
		if tab.evicted > before && !gone {
			t.Fatal("another bucket than the emptiest was evicted")
		}
	}
	if tab.n != looks || tab.evicted < 1000 {
		t.Fatalf("%d buckets, %d evicted", tab.n, tab.evicted)
	}
	check(t, tab)
}

// A flood of addresses that are seen once does not wash away who is about to
// overflow.
func TestFloodsWashThemselvesAway(t *testing.T) {
	for _, replay := range []bool{false, true} {
		tab := New(Config{MaxBuckets: 500, Specs: []Spec{{Capacity: 5, Leakspeed: 10 * time.Second}}})
		var out Overflow
		pour := func(k, at int) Outcome {
			return tab.Pour(&Pour{Key: Key(k) * 0x9E3779B97F4A7C15, Time: start + int64(at)*int64(time.Millisecond), Replay: replay, Record: []byte{1}}, &out)
		}
		const slow = 50
		for k := range slow * 4 {
			pour(k%slow, 0)
		}
		for i := range 20_000 {
			pour(1000+i, i)
		}
		for k := range slow * 4 {
			if o := pour(k%slow, 20_000); (o == Overflowed) != (k >= slow*3) { // two have leaked
				t.Fatalf("replay %v: pour %d of bucket %d: outcome %v", replay, 4+k/slow+1, k%slow, o)
			}
		}
		if st := tab.Stats(); st.Buckets > 500 || st.Evicted < 19_000 {
			t.Fatalf("replay %v: %d buckets, %d evicted", replay, st.Buckets, st.Evicted)
		}
		check(t, tab)
	}
}

func TestDistinctIsBounded(t *testing.T) {
	tab := New(Config{Specs: []Spec{{Capacity: 10, Leakspeed: time.Nanosecond, Duration: time.Hour}}})
	var out Overflow
	values := 1_000_000
	if testing.Short() {
		values /= 10
	}
	for i := range values {
		o := tab.Pour(&Pour{Time: int64(i) * 1000, HasDistinct: true, Distinct: uint64(i)}, &out)
		if o != Poured {
			t.Fatalf("value %d: outcome %v", i, o)
		}
	}
	if o := tab.Pour(&Pour{Time: 1e9, HasDistinct: true, Distinct: maxDistinct - 1}, &out); o != Swallowed {
		t.Fatalf("a remembered value gives %v", o)
	}
	if kept := tab.Stats().KeptBytes; kept > (maxDistinct/perChunk+3+2*fanOut)*chunkSize {
		t.Fatalf("%d bytes for distinct values", kept)
	}
	if dropped := tab.Stats().Dropped; dropped != uint64(values-maxDistinct) {
		t.Fatalf("%d values not remembered are counted", dropped)
	}
	check(t, tab)
}

// A set of distinct values against a map.
func TestValues(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, room := range []int{1000, 60} {
		var k chunks
		k.init(room)
		for range 40 {
			values, n, want := none, uint16(0), map[uint64]bool{}
			for range r.Intn(1 + r.Intn(6000)) {
				v := uint64(r.Intn(1 + r.Intn(6000)))
				known, added := k.remember(&values, &n, v)
				if known != want[v] || known && added || len(want) == maxDistinct && added {
					t.Fatalf("value %d of %d: known %v, added %v, want %v", v, n, known, added, want[v])
				}
				if !known && !added && room == 1000 && n < maxDistinct {
					t.Fatalf("no room for value %d", n)
				}
				if added {
					want[v] = true
				}
				if int(n) != len(want) {
					t.Fatalf("%d values, want %d", n, len(want))
				}
			}
			k.forget(values, n)
			if k.used != 0 {
				t.Fatalf("%d chunks are lost", k.used)
			}
		}
	}
}

// Whatever a group is called, its bucket costs the same.
func TestLongGroups(t *testing.T) {
	tab := New(Config{Specs: []Spec{{Capacity: 5, Leakspeed: time.Minute}}})
	var out Overflow
	long := []byte(strings.Repeat("x", 1<<20))
	for i := range 20 {
		long[i] = 'y'
		for range 2 {
			if tab.Pour(&Pour{Key: tab.Key(string(long)), Time: start, Record: []byte("x")}, &out) != Poured {
				t.Fatal("no bucket of its own")
			}
		}
	}
	if st := tab.Stats(); st.Buckets != 20 || st.KeptBytes != 20*chunkSize {
		t.Fatalf("%d buckets that keep %d bytes", st.Buckets, st.KeptBytes)
	}
}

func TestTouchChangesNothing(t *testing.T) {
	tab := New(Config{Specs: testSpecs})
	var out Overflow
	pour := func(i int) *Pour {
		return &Pour{Spec: i % len(testSpecs), Key: tab.Key(fmt.Sprint(i)), Time: start, Record: make([]byte, i%500)}
	}
	for i := range 3 * worthTouching {
		tab.Pour(pour(i), &out)
	}
	before := tab.Stats()
	tab.Touch(6*worthTouching, pour)
	if diff := cmp.Diff(before, tab.Stats()); diff != "" {
		t.Fatal(diff)
	}
	check(t, tab)
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
	if n := unsafe.Sizeof(cell{}); n > Size-19 { // the index has 9 to 19 more
		t.Errorf("a bucket has %d bytes: more than a cache line", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != chunkSize {
		t.Errorf("a chunk has %d bytes, want %d", n, chunkSize)
	}
}
