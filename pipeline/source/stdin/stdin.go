// Package stdin is the source that reads lines from standard input, for
// `--log -`. It has no position: what was read is gone.
package stdin

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// Source reads lines from a stream until it ends.
type Source struct {
	in     io.Reader
	labels map[string]string
	mode   event.Mode
}

// Kind makes the source of acquisitions, which have no keys of their own, and of
// the DSN stdin://.
var Kind = source.Kind{Once: true, Tail: true, Replay: true, Ends: true, Open: func(s *source.Spec) (source.Source, error) {
	err := s.Decode(&struct{}{}, func(d *source.DSN) {
		if d.Target != "" && d.Target != "-" {
			d.Fail("there is one standard input, not %q", d.Target)
		}
	})
	if err != nil {
		return nil, err
	}
	s.Started()
	return New(s.Stdin, s.Labels, s.Mode), nil
}}

// New returns the source for in. The lines carry labels, which must not change.
func New(in io.Reader, labels map[string]string, mode event.Mode) *Source {
	return &Source{in: in, labels: labels, mode: mode}
}

// Name returns "stdin".
func (*Source) Name() string { return "stdin" }

// Run delivers lines until the input or ctx ends. When ctx ends while nothing
// comes in, Run returns at once and leaves a goroutine behind in its Read, which
// nothing can interrupt; it delivers nothing more.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	var mu sync.Mutex // held while out runs, so that it never does after Run returned
	guarded := func(ctx context.Context, batch []event.Line, moved func()) error {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return out(ctx, batch, moved)
	}
	done := make(chan error, 1)
	go func() {
		line := event.Line{Src: "stdin", Module: "file", Labels: s.labels, Mode: s.mode}
		done <- source.NewSplitter(line, 0, time.Now).Stream(ctx, s.in, guarded)
	}()
	select {
	case err := <-done:
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cannot read standard input: %w", err)
		}
		return err
	case <-ctx.Done():
		mu.Lock()
		defer mu.Unlock()
		return ctx.Err()
	}
}
