package stdin

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
)

func TestRun(t *testing.T) {
	var got []string
	s := New(strings.NewReader("one\ntwo"), map[string]string{"type": "x"}, event.Replay)
	err := s.Run(context.Background(), func(_ context.Context, batch []event.Line, done func()) error {
		for _, l := range batch {
			if l.Labels["type"] != "x" || l.Mode != event.Replay || l.Src != "stdin" {
				t.Errorf("wrong line %+v", l)
			}
			got = append(got, strings.Clone(l.Raw))
		}
		done()
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestStop: nothing comes in, and stopping does not wait for it.
func TestStop(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- New(in, nil, event.Live).Run(ctx, func(context.Context, []event.Line, func()) error {
			t.Error("a line came after the stop")
			return nil
		})
	}()
	cancel()
	select {
	case err := <-done:
		if err != context.Canceled {
			t.Fatalf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	w.Write([]byte("late\n"))
}
