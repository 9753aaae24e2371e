package run

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestReloading(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hup, checked := make(chan struct{}), make(chan error)
	started, ended := make(chan int), make(chan error, 1)
	runs := 0
	go func() {
		ended <- reloading(ctx, log, hup, func() error { return <-checked }, func(ctx context.Context) error {
			runs++
			started <- runs
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	want := func(n int) {
		t.Helper()
		if got := <-started; got != n {
			t.Fatalf("run %d, want %d", got, n)
		}
	}
	want(1)
	hup <- struct{}{}
	checked <- errors.New("a typing error")
	hup <- struct{}{} // it goes on, and listens
	checked <- nil
	want(2)
	hup <- struct{}{}
	checked <- nil
	want(3)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := text.String(); strings.Count(got, "SIGHUP received, reloading") != 3 || strings.Count(got, "a typing error") != 1 || strings.Count(got, "Reload is finished") != 2 {
		t.Errorf("the log is\n%s", got)
	}
}

// What ends by itself, or fails to start again, is not started again.
func TestReloadingEnds(t *testing.T) {
	full := errors.New("no space left")
	for _, want := range []error{nil, full} {
		err := reloading(t.Context(), slog.New(slog.DiscardHandler), make(chan struct{}), nil, func(context.Context) error { return want })
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	hup := make(chan struct{}, 1)
	hup <- struct{}{}
	err := reloading(t.Context(), slog.New(slog.DiscardHandler), hup, func() error { return nil }, func(ctx context.Context) error {
		<-ctx.Done()
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}
