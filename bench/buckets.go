//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"time"

	"cs/pipeline/bucket"
)

// buckets measures the table of buckets with a million of them: pours as chunks of
// lines make them, 64 at a time. What half of the chunks took at most counts.
func (b *bench) buckets(context.Context) error {
	const (
		live  = 1_000_000
		start = int64(1e18)
		long  = 0 // the numbers of specs: of buckets that stay
		short = 1 // and of those that end
	)
	specs := []bucket.Spec{
		{Capacity: 1 << 30, Leakspeed: time.Second, Duration: 10_000 * time.Hour},
		{Capacity: 1 << 30, Leakspeed: time.Second, Duration: time.Minute, Share: 1},
	}
	rng := rand.New(rand.NewSource(1))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	keys := make([]bucket.Key, live)
	before := heap()
	table := bucket.New(bucket.Config{Specs: specs, MaxBuckets: live + live/2})
	var out bucket.Overflow
	for i := range keys {
		keys[i] = bucket.Key(rng.Uint64())
		table.Pour(&bucket.Pour{Spec: long, Key: keys[i], Time: start}, &out)
	}
	size := float64(heap()-before) / live
	rng.Shuffle(live, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })

	var pours [64]bucket.Pour
	var took []time.Duration
	chunks := func(n int, next func() bucket.Pour) {
		for range n / len(pours) {
			for i := range pours {
				pours[i] = next()
			}
			begin := time.Now()
			table.Touch(len(pours), func(i int) *bucket.Pour { return &pours[i] })
			for i := range pours {
				table.Pour(&pours[i], &out)
			}
			took = append(took, time.Since(begin))
		}
	}
	median := func(each int) string {
		slices.Sort(took)
		ns := float64(took[len(took)/2].Nanoseconds()) / float64(each)
		took = took[:0]
		return fmt.Sprintf("%.0f ns", ns)
	}
	i := 0
	chunks(live, func() bucket.Pour {
		i++
		return bucket.Pour{Spec: long, Key: keys[i%live], Time: start + int64(i)}
	})
	b.row("a pour into one of a million buckets", median(len(pours)), "target 60 ns; in random order, no event kept; median")

	// Buckets that are made, and end, beside the million.
	now := start
	var ended []time.Duration
	const wave = 4096
	for range 60 {
		chunks(wave, func() bucket.Pour { return bucket.Pour{Spec: short, Key: bucket.Key(rng.Uint64()), Time: now} })
		now += int64(62 * time.Second)
		begin := time.Now()
		table.Advance(time.Unix(0, now), &out, nil)
		ended = append(ended, time.Since(begin))
		if n := table.Stats().Buckets; n != live {
			return fmt.Errorf("%d buckets are left, want %d", n, live)
		}
	}
	b.row("  one that makes a bucket", median(len(pours)), "target 80 ns; in memory that others had before")
	took = ended
	b.row("  the end of a bucket", median(wave), "target 100 ns; by the clock, 4096 at a time")
	b.row("  memory of a bucket", fmt.Sprintf("%.0f B", size), "target 96 B; beside the events that it keeps")
	runtime.KeepAlive(table)
	return nil
}
