package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRestartsWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		Run(t.Context(), slog.New(slog.DiscardHandler), Service{"flaky", func(context.Context) error {
			at = append(at, time.Since(start))
			switch len(at) {
			case 1:
				return errors.New("no")
			case 2:
				panic("worse")
			case 3:
				return errors.New("no")
			}
			return nil
		}})
		want := []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond}
		if !slices.Equal(at, want) {
			t.Fatalf("started at %v, want %v", at, want)
		}
	})
}

func TestStopsInReverseOrderAndOneFailureLeavesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var stopped []string
		service := func(name string) Service {
			return Service{name, func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				stopped = append(stopped, name)
				return ctx.Err()
			}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Hour)
			cancel()
		}()
		begin := time.Now()
		Run(ctx, slog.New(slog.DiscardHandler), service("lapi"), service("bouncer"), service("agent"),
			Service{"broken", func(context.Context) error { return errors.New("always") }})
		if want := []string{"agent", "bouncer", "lapi"}; !slices.Equal(stopped, want) {
			t.Fatalf("stopped %v, want %v", stopped, want)
		}
		if ran := time.Since(begin); ran != time.Hour {
			t.Fatalf("ran for %v", ran)
		}
	})
}

func TestSlowStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		Run(ctx, slog.New(slog.DiscardHandler), Service{"deaf", func(context.Context) error {
			time.Sleep(5 * time.Second)
			return nil
		}})
		if d := time.Since(begin); d > time.Second {
			t.Fatalf("stop took %v", d)
		}
		time.Sleep(5 * time.Second) // the deaf one ends, as synctest wants
	})
}

func TestUnsupportedIsToldOnceAndNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var tries int
		unsupported := Service{"bouncer", func(context.Context) error {
			tries++
			return fmt.Errorf("cannot block: %w", errors.ErrUnsupported)
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		err := Run(ctx, slog.New(slog.NewTextHandler(&log, nil)), unsupported,
			Service{"lapi", func(ctx context.Context) error { <-ctx.Done(); return nil }})
		if ran := time.Since(begin); err != nil || ran != time.Hour {
			t.Fatalf("the others went on for %v and ended with %v", ran, err)
		}
		if lines := strings.Count(log.String(), "\n"); tries != 1 || lines != 1 || !strings.Contains(log.String(), "cannot block: unsupported operation") {
			t.Fatalf("%d tries, %d lines:\n%s", tries, lines, &log)
		}

		// With nothing else to run, that is the end and its reason.
		err = Run(t.Context(), slog.New(slog.DiscardHandler), unsupported,
			Service{"done", func(context.Context) error { return nil }})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "cannot run bouncer: cannot block") {
			t.Fatalf("got %v", err)
		}
	})
}
