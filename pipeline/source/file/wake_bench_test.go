package file

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cs/pipeline/event"
)

// BenchmarkWake tells how long after its write a line of a quiet log is delivered; the
// target is 2 ms.
func BenchmarkWake(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	came, started := make(chan time.Time, 1), make(chan struct{})
	s, err := New(Config{Globs: []string{path}, Started: func() { close(started) }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, func(_ context.Context, _ []event.Line, done func()) error {
			done()
			came <- time.Now()
			return nil
		})
	}()
	<-started
	time.Sleep(50 * time.Millisecond)
	var took []time.Duration
	for b.Loop() {
		time.Sleep(5 * time.Millisecond) // it is quiet again
		begin := time.Now()
		if _, err := f.WriteString("a line\n"); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-came).Sub(begin))
	}
	cancel()
	<-ended
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}
