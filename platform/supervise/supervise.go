// Package supervise keeps the services of one process running: it starts them
// in order, restarts the ones that fail while the others go on, and stops
// them in the opposite order. A service that can't work on this system is left
// out after its first try.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Service is one thing to keep running. Run returns nil when its work is
// done, and soon after its context ends. Any other return is a failure: it is
// called again after a pause, unless the failure is errors.ErrUnsupported, which
// no pause will cure.
type Service struct {
	Name string
	Run  func(ctx context.Context) error
}

const (
	firstPause = 500 * time.Millisecond
	maxPause   = time.Minute
	// A service that ran this long before it failed starts over with the
	// first pause.
	steady = 2 * time.Minute
	// grace is how long the stop of one service may hold up the next: with
	// three services the process is gone within a second.
	grace = 250 * time.Millisecond
)

// Run runs the services until ctx ends or none is left. Its error is about
// those that could not work here, if no other kept Run going until ctx ended.
func Run(ctx context.Context, log *slog.Logger, services ...Service) error {
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	var all []running
	var work sync.WaitGroup
	unsupported := make([]error, len(services))
	for i, s := range services {
		// Not a child of ctx: services are told to stop one after the other.
		sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{cancel, make(chan struct{})}
		all = append(all, r)
		work.Go(func() {
			defer close(r.done)
			unsupported[i] = keep(sctx, log, s)
		})
	}
	finished := make(chan struct{})
	go func() { work.Wait(); close(finished) }()
	select {
	case <-ctx.Done():
	case <-finished:
		return errors.Join(unsupported...)
	}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].cancel()
		select {
		case <-all[i].done:
		case <-time.After(grace):
			log.Warn("service is slow to stop", "service", services[i].Name)
		}
	}
	return nil
}

// keep runs one service again and again until it is done or told to stop. Its
// error is that the service can't work here.
func keep(ctx context.Context, log *slog.Logger, s Service) error {
	pause := firstPause
	for {
		start := time.Now()
		err := protect(ctx, s.Run)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errors.ErrUnsupported) {
			log.Error("service can't work on this system, going on without it", "service", s.Name, "err", err)
			return fmt.Errorf("cannot run %s: %w", s.Name, err)
		}
		if time.Since(start) > steady {
			pause = firstPause
		}
		log.Error("service failed, restarting it", "service", s.Name, "err", err, "in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// protect turns a panic into an error, so that a bug in one service leaves the
// others alone.
func protect(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("BUG: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx)
}
