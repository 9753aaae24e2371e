package run

import (
	"context"
	"errors"
	"log/slog"

	"cs/platform"
)

// reloading runs roles until ctx ends or they do, and from the start whenever
// hup tells that the configuration has changed: check says whether the new one is
// good, and if it isn't the roles go on with the old one. What a role keeps in the
// data directory, buckets and positions among them, it finds again.
func reloading[T any](ctx context.Context, log *slog.Logger, hup <-chan T, check func() error, run func(context.Context) error) error {
	for {
		again, err := runUntil(ctx, log, hup, check, run)
		if !again || ctx.Err() != nil || err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		log.Info("Reload is finished")
	}
}

// runUntil runs roles until they end, or are to be started again.
func runUntil[T any](ctx context.Context, log *slog.Logger, hup <-chan T, check func() error, run func(context.Context) error) (again bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	for {
		select {
		case err := <-ended:
			return false, err
		case <-hup:
		}
		log.Info("SIGHUP received, reloading")
		if err := check(); err != nil {
			log.Error("the new configuration is faulty, the old one stays in force", "err", err)
			continue
		}
		_ = platform.NotifyReloading() // nobody to tell is fine
		stop()
		return true, <-ended
	}
}
