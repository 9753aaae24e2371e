package winevent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// TestRun subscribes to a channel. Where that can't be had, as with Wine, the error says so, and
// nothing else happens.
func TestRun(t *testing.T) {
	started := false
	spec := sourcetest.Spec(t, "wineventlog", "event_channel: System\npretty_name: system\n")
	spec.Started = func() { started = true }
	src, err := Kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	out := func(_ context.Context, _ []event.Line, done func()) error { done(); return nil }
	err = src.Run(ctx, out)
	t.Logf("started %v, ended with %v", started, err)
	switch {
	case err == nil:
		t.Error("it ended without error")
	case started && !errors.Is(err, context.DeadlineExceeded):
		t.Errorf("got %v", err)
	case !started && !strings.HasPrefix(err.Error(), "cannot "):
		t.Errorf("got %v", err)
	}
}

// TestNoFile reads a file that isn't there.
func TestNoFile(t *testing.T) {
	spec := sourcetest.Spec(t, "wineventlog", "")
	spec.DSN, spec.Once = `wineventlog://C:\none\none.evtx`, true
	src, err := Kind.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	err = src.Run(t.Context(), source.Sink(nil))
	t.Logf("ended with %v", err)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot ") {
		t.Errorf("got %v", err)
	}
}
