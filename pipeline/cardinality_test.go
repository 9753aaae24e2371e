package pipeline_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/bucket"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// TestCardinality floods the engine, in an hour of its clock, with failures from addresses
// that are seen once each, far more than there is room for. Those who try again
// and again in between are caught all the same, memory stays within its bounds, and
// no goroutine is left. CS_CARDINALITY is the number of addresses, such as 10000000.
func TestCardinality(t *testing.T) {
	addresses := 300_000
	if testing.Short() {
		addresses = 100_000
	}
	if s := os.Getenv("CS_CARDINALITY"); s != "" {
		var err error
		if addresses, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const (
		maxKept   = 4 << 20
		hour      = time.Hour
		attackers = 60 // one each minute
		tries     = 9  // one each second
	)
	// Those of one lifetime of a bucket, a minute, are three times what is allowed.
	maxBuckets := addresses / 60 * 2 / 3
	caught := map[string]bool{}
	e, errs := pipeline.Load(pipeline.Options{
		Content: hub.Base(), MaxBuckets: maxBuckets, MaxKept: maxKept,
		Alert: func(a decisions.Alert) { caught[a.Source.Value] = true },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const head = "Mar 14 10:00:00 box sshd[7]: Failed password for root from "
	labels := map[string]string{"type": "syslog"}
	var batch []event.Line
	add := func(addr string) {
		batch = append(batch, event.Line{Raw: head + addr + " port 22 ssh2", Src: "/var/log/auth.log", Module: "file", Labels: labels})
	}
	base, goroutines, most := 0, 0, 0
	began := time.Now()
	n := 0
	const seconds = int(hour / time.Second)
	for s := range seconds {
		for ; n < addresses*(s+1)/seconds; n++ {
			add(fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		}
		if s%60 < tries {
			add(fmt.Sprintf("192.0.2.%d", s/60))
		}
		now := t0.Add(time.Duration(s) * time.Second)
		e.Process(batch, now)
		e.Advance(now)
		batch = batch[:0]
		switch {
		case s == 0:
			base, goroutines = heap(), runtime.NumGoroutine()
		case s%600 == 599:
			most = max(most, heap()-base)
		}
	}
	missed := []string{}
	for i := range attackers {
		if addr := fmt.Sprintf("192.0.2.%d", i); !caught[addr] {
			missed = append(missed, addr)
		}
	}
	if len(missed) > 0 {
		t.Errorf("%d of %d attackers are not caught: %s", len(missed), attackers, strings.Join(missed, " "))
	}
	if len(caught) > attackers {
		t.Errorf("%d addresses that did nothing are taken for attackers", len(caught)-attackers)
	}
	st := e.Stats().Buckets
	if st.Evicted == 0 || st.Buckets > maxBuckets {
		t.Errorf("%d buckets, %d evicted: there was no flood", st.Buckets, st.Evicted)
	}
	if budget := maxBuckets*bucket.Size + maxKept + 4<<20; most > budget {
		t.Errorf("the heap grew by %d bytes, more than %d", most, budget)
	}
	if n := runtime.NumGoroutine(); n > goroutines+runtime.GOMAXPROCS(0) {
		t.Errorf("%d goroutines, %d at the start", n, goroutines)
	}
	t.Logf("%d addresses in %v: %d evictions, heap +%d KB at most, bounds allow %d KB", addresses, time.Since(began).Round(time.Millisecond),
		st.Evicted, most>>10, (maxBuckets*bucket.Size+maxKept)>>10)
}
