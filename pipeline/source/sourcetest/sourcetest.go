// Package sourcetest runs sources in tests: it makes them of the text of an
// acquisition, collects what they deliver, and checks what all must do.
package sourcetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// Spec returns what a source of a kind is made of: the keys in text, YAML, and the
// label type "test". Reports are logged.
func Spec(t testing.TB, kind, text string) *source.Spec {
	t.Helper()
	docs, err := strict.Parse("acquis.yaml", []byte("source: "+kind+"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	var common struct {
		Source string     `yaml:"source"`
		Labels strict.Map `yaml:"labels"`
	}
	return &source.Spec{
		Kind: kind, Labels: map[string]string{"type": "test"}, Doc: docs[0], Common: &common,
		Meter:  new(source.Meter),
		Report: func(err error) { t.Log("reported:", err) }, Started: func() {},
	}
}

// Run is a source that runs.
type Run struct {
	Spec *source.Spec

	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error

	mu    sync.Mutex
	lines []event.Line
	held  func(context.Context) error
}

// Start runs a source until the test ends or Stop is called, and returns when
// it reads.
func Start(t testing.TB, kind source.Kind, spec *source.Spec) *Run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{Spec: spec, t: t, cancel: cancel, ended: make(chan struct{})}
	started := make(chan struct{})
	spec.Started = sync.OnceFunc(func() { close(started) })
	src, err := kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		r.err = src.Run(ctx, r.sink)
	}()
	t.Cleanup(func() { cancel(); <-r.ended })
	select {
	case <-started:
	case <-r.ended:
		if r.err != nil {
			t.Fatal(r.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the source doesn't start")
	}
	return r
}

func (r *Run) sink(ctx context.Context, batch []event.Line, done func()) error {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		if err := held(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range batch {
		l.Raw, l.Src = strings.Clone(l.Raw), strings.Clone(l.Src)
		r.lines = append(r.lines, l)
	}
	done()
	return nil
}

// Hold makes the source wait, as a slow engine does, until release is called.
func (r *Run) Hold() (release func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = nil
		close(gate)
	})
}

// Lines returns what was delivered so far.
func (r *Run) Lines() []event.Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.Line(nil), r.lines...)
}

// Texts returns the texts of the lines delivered so far.
func (r *Run) Texts() (texts []string) {
	for _, l := range r.Lines() {
		texts = append(texts, l.Raw)
	}
	return texts
}

// Wait waits until n lines were delivered, and returns their texts.
func (r *Run) Wait(n int) []string {
	r.t.Helper()
	Until(r.t, "lines arrive", func() bool { return len(r.Lines()) >= n || r.Ended() })
	if got := r.Texts(); len(got) < n {
		r.t.Fatalf("the source ended with %v, after %q", r.err, got)
	}
	return r.Texts()
}

// Ended tells whether the source has ended.
func (r *Run) Ended() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// End waits until the source ends by itself and returns its error.
func (r *Run) End() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the source doesn't end")
	}
	return r.err
}

// Stop stops the source. It fails the test if that takes long, or ends in
// anything but the end of the context.
func (r *Run) Stop() {
	r.t.Helper()
	begin := time.Now()
	r.cancel()
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		r.t.Fatal("the source doesn't stop")
	}
	// A second is what is promised; a loaded machine gets more.
	if d := time.Since(begin); d > 3*time.Second {
		r.t.Errorf("stopping took %v", d)
	}
	if !errors.Is(r.err, context.Canceled) {
		r.t.Errorf("stopped with %v", r.err)
	}
}

// Until waits for a condition.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// Faults checks what is said about wrong keys: each pair is the text of an acquisition and a part of
// the error, which must name the file.
func Faults(t *testing.T, name string, kind source.Kind, pairs ...string) {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		_, err := kind.Open(Spec(t, name, pairs[i]))
		if err == nil || !strings.Contains(err.Error(), pairs[i+1]) || !strings.HasPrefix(err.Error(), "acquis.yaml:") {
			t.Errorf("%q: got %v, want %q", pairs[i], err, pairs[i+1])
		}
	}
}
