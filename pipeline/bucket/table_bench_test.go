package bucket

import (
	"fmt"
	"math"
	"math/rand"
	"runtime"
	"slices"
	"testing"
	"time"
)

// benchmarks runs f with as many live buckets as a small site, a large one and
// one under attack has.
func benchmarks(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, n) })
	}
}

// Of the specs that benchmarks use, the first lives long, the second short, and
// none overflows.
var benchSpecs = []Spec{
	{Capacity: 1 << 30, Leakspeed: time.Second, Duration: 10_000 * time.Hour, CacheSize: 5},
	{Capacity: 1 << 30, Leakspeed: time.Second, Duration: time.Minute, CacheSize: 5, Share: 1},
}

const start = int64(1e18)

// filled returns a table with n live buckets and their keys in random order.
func filled(n int, rec []byte) (*Table, []Key) {
	t := New(Config{Specs: benchSpecs, MaxBuckets: 2*n + 4096, MaxKept: math.MaxInt32})
	r := rand.New(rand.NewSource(1))
	keys := make([]Key, n)
	var out Overflow
	for i := range keys {
		keys[i] = Key(r.Uint64())
		t.Pour(&Pour{Key: keys[i], Time: start + int64(i), Record: rec}, &out)
	}
	r.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return t, keys
}

// pourer pours as chunks of lines do: 64 at a time, which are touched before.
type pourer struct {
	table *Table
	pours [64]Pour
	out   Overflow
	took  []time.Duration // by chunk
}

func (p *pourer) run(pours int, next func() Pour) {
	for done := 0; done < pours; done += len(p.pours) {
		for i := range p.pours {
			p.pours[i] = next()
		}
		begin := time.Now()
		p.table.Touch(len(p.pours), func(i int) *Pour { return &p.pours[i] })
		for i := range p.pours {
			p.table.Pour(&p.pours[i], &p.out)
		}
		p.took = append(p.took, time.Since(begin))
	}
}

// report tells what half of the chunks took at most: the mean means little on a
// machine that others use, too.
func (p *pourer) report(b *testing.B) {
	slices.Sort(p.took)
	b.ReportMetric(float64(p.took[len(p.took)/2].Nanoseconds())/float64(len(p.pours)), "median-ns/pour")
	b.ReportMetric(0, "ns/op") // that is mostly what it takes to make up the pours
}

// A pour into a bucket that is there.
func BenchmarkPour(b *testing.B) {
	for _, size := range []int{0, 200} {
		b.Run(fmt.Sprintf("record=%d", size), func(b *testing.B) {
			benchmarks(b, func(b *testing.B, n int) {
				rec := make([]byte, size)
				if size == 0 {
					rec = nil
				}
				t, keys := filled(n, rec)
				p, i := pourer{table: t}, 0
				b.ResetTimer()
				p.run(b.N, func() Pour {
					i++
					return Pour{Key: keys[i%n], Time: start + int64(i)*1000, Record: rec}
				})
				p.report(b)
			})
		})
	}
}

// A pour that makes a bucket, beside n others, in memory that other buckets had
// before.
func BenchmarkCreate(b *testing.B) {
	benchmarks(b, func(b *testing.B, n int) {
		t, _ := filled(n, nil)
		p, r, now := pourer{table: t}, rand.New(rand.NewSource(2)), start
		b.ResetTimer()
		for done := 0; done < b.N; done += 4096 {
			p.run(4096, func() Pour { return Pour{Spec: 1, Key: Key(r.Uint64()), Time: now} })
			now += int64(time.Minute + 2*time.Second)
			t.Advance(time.Unix(0, now), &p.out, nil)
			if t.n > n { // the others must not end
				b.Fatalf("%d buckets left", t.n)
			}
		}
		p.report(b)
	})
}

// The end of a bucket by the clock, n of them in the course of an hour.
func BenchmarkExpire(b *testing.B) {
	benchmarks(b, func(b *testing.B, n int) {
		var took []float64
		ended := 0
		for ended < b.N {
			t := New(Config{Specs: benchSpecs, MaxBuckets: n})
			var out Overflow
			r := rand.New(rand.NewSource(3))
			for range n {
				t.Pour(&Pour{Spec: 1, Key: Key(r.Uint64()), Time: start + r.Int63n(int64(time.Hour))}, &out)
			}
			for now := start; t.n > 0; now += int64(time.Second) {
				before, begin := t.n, time.Now()
				t.Advance(time.Unix(0, now), &out, nil)
				if d := time.Since(begin); t.n < before {
					took = append(took, float64(d.Nanoseconds())/float64(before-t.n))
				}
			}
			ended += n
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2], "median-ns/bucket")
		b.ReportMetric(0, "ns/op")
	})
}

// Memory beside the kept events.
func BenchmarkMemory(b *testing.B) {
	benchmarks(b, func(b *testing.B, n int) {
		for b.Loop() {
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			t := New(Config{Specs: benchSpecs, MaxBuckets: 2 * n})
			r := rand.New(rand.NewSource(1))
			var out Overflow
			for range n {
				t.Pour(&Pour{Key: Key(r.Uint64()), Time: start}, &out)
			}
			b.ReportMetric(float64(heap()-before)/float64(n), "B/bucket")
			runtime.KeepAlive(t)
		}
	})
}
