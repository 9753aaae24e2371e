package supervise

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
