package bouncer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"cs/remediate"
)

// serve runs a bouncer as load configures it, until ctx ends, and anew at SIGHUP. At
// SIGUSR1 it asks for everything again.
func serve(ctx context.Context, log *slog.Logger, load func() (Config, error)) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, append(askAgain, syscall.SIGHUP)...)
	defer signal.Stop(hangup)
	return Serve(ctx, log, load, hangup)
}

// Serve runs a bouncer as load configures it, until ctx ends. When changed delivers one of
// askAgain the LAPI is asked for everything again; other signals configure anew: a configuration that is wrong leaves the old one in
// force, and one for the same tables takes over from it without a gap.
func Serve(ctx context.Context, log *slog.Logger, load func() (Config, error), changed <-chan os.Signal) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	for {
		if cfg.Log != nil {
			log = cfg.Log // a file, perhaps
		}
		b, err := New(cfg)
		if err != nil {
			return err
		}
		one, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- b.Run(one) }()
		next, err := b.await(done, changed, func() (Config, error) {
			fresh, err := load()
			if err == nil {
				_, err = New(fresh)
			}
			if err != nil {
				log.Error("the new configuration is wrong, keeping the old one", "err", err)
			}
			return fresh, err
		})
		if next == nil {
			stop()
			return err
		}
		switch {
		case slices.Equal(next.Places, cfg.Places):
			b.leave(Keep)
		case slices.ContainsFunc(next.Places, func(p string) bool { return slices.Contains(cfg.Places, p) }):
			b.leave(Clean) // nobody would look after the rest of the old tables
		default:
			b.leave(Keep)
			old, ready := append([]remediate.Kernel{cfg.Kernel}, cfg.Fallbacks...), next.Ready
			next.Ready = func() {
				if err := lift(context.WithoutCancel(ctx), old); err != nil {
					log.Error("the old tables stay until their bans end", "err", err)
				}
				if ready != nil {
					ready()
				}
			}
		}
		stop()
		if err := <-done; err != nil {
			return fmt.Errorf("cannot change the configuration: %w", err)
		}
		log.Info("configured anew")
		cfg = *next
	}
}

// await returns the next configuration, or none and how the bouncer ended.
func (b *Bouncer) await(done <-chan error, changed <-chan os.Signal, load func() (Config, error)) (*Config, error) {
	for {
		select {
		case err := <-done:
			return nil, err
		case s := <-changed:
			if slices.Contains(askAgain, s) {
				b.log.Info("asking the LAPI for everything again")
				b.askAgain(0)
			} else if next, err := load(); err == nil {
				return &next, nil
			}
		}
	}
}

// leave changes what becomes of the bans when Run ends.
func (b *Bouncer) leave(onStop string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg.OnStop = onStop
}
