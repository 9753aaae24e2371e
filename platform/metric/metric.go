// Package metric writes numbers in the text form that Prometheus reads, and
// serves them. There is no registry and no map of labels: who has numbers
// writes them when he is asked.
package metric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cs/platform"
)

// Kinds of families.
const (
	Counter   = "counter"
	Gauge     = "gauge"
	histogram = "histogram"
)

// Writer collects families of samples (text format 0.0.4).
type Writer struct {
	buf   []byte
	name  string
	first int // where the samples of the family begin

	problems []string
}

// Problem notes what an operator should look at, for /healthz.
func (w *Writer) Problem(text string) { w.problems = append(w.problems, text) }

// Family begins a family. Its samples follow; Sort puts them in order.
func (w *Writer) Family(name, kind, help string) {
	w.name = name
	defer func() { w.first = len(w.buf) }()
	w.buf = fmt.Appendf(w.buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Sample writes one sample; labels are names and values in turn.
func (w *Writer) Sample(value float64, labels ...string) { w.sample("", value, labels) }

func (w *Writer) sample(suffix string, value float64, labels []string, more ...string) {
	w.buf = append(append(w.buf, w.name...), suffix...)
	if len(labels)+len(more) > 0 {
		sep := byte('{')
		for _, list := range [][]string{labels, more} {
			for i := 0; i+1 < len(list); i += 2 {
				w.buf = append(append(append(w.buf, sep), list[i]...), '=', '"')
				w.buf = append(append(w.buf, escaped.Replace(strings.ToValidUTF8(list[i+1], "\ufffd"))...), '"')
				sep = ','
			}
		}
		w.buf = append(w.buf, '}')
	}
	form := byte('g')
	if value == math.Trunc(value) && math.Abs(value) < 1e15 {
		form = 'f' // times and counts, without an exponent
	}
	w.buf = strconv.AppendFloat(append(w.buf, ' '), value, form, -1, 64)
	w.buf = append(w.buf, '\n')
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Sort puts the samples of the family, written in any order, in that of their texts.
func (w *Writer) Sort() {
	lines := strings.SplitAfter(string(w.buf[w.first:]), "\n")
	slices.Sort(lines)
	w.buf = append(w.buf[:w.first], strings.Join(lines, "")...)
}

// HistogramFamily begins a family of histograms.
func (w *Writer) HistogramFamily(name, help string) { w.Family(name, histogram, help) }

// Histogram writes one histogram of the family.
func (w *Writer) Histogram(h *Histogram, labels ...string) {
	var sum uint64
	for i := range h.counts {
		sum += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = strconv.FormatFloat(h.bounds[i].Seconds(), 'g', -1, 64)
		}
		w.sample("_bucket", float64(sum), labels, "le", bound)
	}
	w.sample("_sum", time.Duration(h.sum.Load()).Seconds(), labels)
	w.sample("_count", float64(sum), labels)
}

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.buf }

// Histogram counts durations. It is safe for concurrent use.
type Histogram struct {
	bounds []time.Duration // rising
	counts []atomic.Uint64 // up to each bound, and above the last
	sum    atomic.Int64    // nanoseconds
}

// NewHistogram returns a histogram with the given upper bounds, which rise.
func NewHistogram(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	i, _ := slices.BinarySearch(h.bounds, d)
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Source writes the numbers that somebody has.
type Source func(context.Context, *Writer)

// Runtime is the Source of this process.
func Runtime(started time.Time) Source {
	return func(_ context.Context, w *Writer) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.Family("go_goroutines", Gauge, "Number of goroutines that currently exist.")
		w.Sample(float64(runtime.NumGoroutine()))
		w.Family("go_memstats_alloc_bytes", Gauge, "Number of bytes allocated in heap and currently in use.")
		w.Sample(float64(m.HeapAlloc))
		w.Family("go_memstats_sys_bytes", Gauge, "Number of bytes obtained from system.")
		w.Sample(float64(m.Sys))
		if n := platform.ResidentMemory(); n > 0 {
			w.Family("process_resident_memory_bytes", Gauge, "Resident memory size in bytes.")
			w.Sample(float64(n))
		}
		w.Family("process_start_time_seconds", Gauge, "Start time of the process since unix epoch in seconds.")
		w.Sample(float64(started.Unix()))
	}
}

// Handler serves /metrics, and /healthz: "ok", or "degraded" with the problems that the
// sources told, one a line. Both are 200: what is degraded works, and a restart cures
// nothing. One request is answered at a time.
func Handler(sources ...Source) http.Handler {
	var one sync.Mutex
	mux := http.NewServeMux()
	collect := func(r *http.Request) (w Writer) {
		one.Lock()
		defer one.Unlock()
		for _, source := range sources {
			source(r.Context(), &w)
		}
		return w
	}
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, r *http.Request) {
		w := collect(r)
		text := "ok\n"
		if len(w.problems) > 0 {
			text = "degraded\n" + strings.Join(w.problems, "\n") + "\n"
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(rw, text) // who went away can't be told
	})
	mux.HandleFunc("GET /metrics", func(rw http.ResponseWriter, r *http.Request) {
		w := collect(r)
		rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		rw.Write(w.Bytes()) // who went away can't be told
	})
	return mux
}

// Serve serves /metrics on a TCP address until ctx ends.
func Serve(ctx context.Context, addr string, sources ...Source) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	return serve(ctx, l, sources)
}

// ServeSocket is Serve on a unix socket that only its owner may open, for the
// commands of this host. Where there are none it returns when ctx ends.
func ServeSocket(ctx context.Context, path string, sources ...Source) error {
	l, err := platform.ListenSocket(path, true)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		<-ctx.Done()
		return nil
	case err != nil:
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	return serve(ctx, l, sources)
}

func serve(ctx context.Context, l net.Listener, sources []Source) error {
	srv := &http.Server{
		Handler: Handler(sources...), BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 3 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve metrics on %s: %w", l.Addr(), err)
	}
	return nil
}
