package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
)

// hasty is a silence so short that who is only being restarted could be meant.
const hasty = 2 * time.Minute

// MachinesPrune deletes machines that are of no use.
type MachinesPrune struct {
	Duration         duration `short:"d" default:"10m" help:"Silent for at least this long."`
	NotValidatedOnly bool     `help:"Only those that wait to be validated."`
	Force            bool     `help:"Don't ask."`
}

// Run shows whom it concerns, asks and deletes.
func (c *MachinesPrune) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if c.Duration.d < hasty && !c.NotValidatedOnly && !c.Force {
		if !s.confirm("The duration you provided is less than 2 minutes. This may remove active machines. Continue?") {
			return s.text(aborted)
		}
	}
	return s.admin(ctx, mustExist, func(a *api.Admin) error {
		machines, err := a.Machines(ctx)
		if err != nil {
			return fmt.Errorf("unable to list machines: %w", err)
		}
		before := s.now().Add(-c.Duration.d)
		var doomed []api.Machine
		for _, m := range machines {
			if !m.Validated || !c.NotValidatedOnly && silentSince(m.LastHeartbeat, m.Created, before) {
				doomed = append(doomed, m)
			}
		}
		if len(doomed) == 0 {
			return s.text("No machines to prune.\n")
		}
		if err := s.machinesTable(doomed); err != nil {
			return err
		}
		if !c.Force && !s.confirm("You are about to PERMANENTLY remove the above machines. Continue?") {
			return s.text(aborted)
		}
		n := 0
		for _, m := range doomed {
			if err := a.DeleteMachine(ctx, m.Name); err != nil && !errors.Is(err, api.ErrNotFound) {
				return fmt.Errorf("unable to prune machines: %w", err)
			} else if err == nil {
				n++
			}
		}
		s.info("successfully deleted %d machines", n)
		return nil
	})
}

// BouncersPrune deletes bouncers that ask no more.
type BouncersPrune struct {
	Duration duration `short:"d" default:"60m" help:"Silent for at least this long."`
	Force    bool     `help:"Don't ask."`
}

// Run shows whom it concerns, asks and deletes.
func (c *BouncersPrune) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if c.Duration.d < hasty && !c.Force {
		if !s.confirm("The duration you provided is less than 2 minutes. This may remove active bouncers. Continue?") {
			return s.text(aborted)
		}
	}
	return s.admin(ctx, mustExist, func(a *api.Admin) error {
		bouncers, err := a.Bouncers(ctx)
		if err != nil {
			return fmt.Errorf("unable to list bouncers: %w", err)
		}
		before := s.now().Add(-c.Duration.d)
		var doomed []api.Bouncer
		for _, b := range bouncers {
			if silentSince(b.LastPull, b.Created, before) {
				doomed = append(doomed, b)
			}
		}
		if len(doomed) == 0 {
			return s.text("No bouncers to prune.\n")
		}
		if err := s.bouncersTable(doomed); err != nil {
			return err
		}
		if !c.Force && !s.confirm("You are about to PERMANENTLY remove the above bouncers. Continue?") {
			return s.text(aborted)
		}
		n := 0
		for _, b := range doomed {
			if err := a.DropBouncer(ctx, b.Name); err != nil && !errors.Is(err, api.ErrNotFound) {
				return fmt.Errorf("unable to prune bouncers: %w", err)
			} else if err == nil {
				n++
			}
		}
		s.info("Successfully deleted %d bouncers", n)
		return nil
	})
}

const aborted = "User aborted prune. No changes were made.\n"

// silentSince tells whether nothing was heard of somebody since a time. Who was
// never heard of counts from when the account was made.
func silentSince(last, created, before time.Time) bool {
	if last.IsZero() {
		last = created
	}
	return !last.After(before)
}

// confirm asks a question; only a plain yes is one.
func (s *session) confirm(question string) bool {
	fmt.Fprint(s.errs, question+" [y/N] ")
	line, _ := bufio.NewReader(io.LimitReader(s.env.Stdin, 4096)).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	}
	return false
}

// AlertsFlush deletes old alerts, as the LAPI does by itself each minute.
type AlertsFlush struct {
	MaxItems number   `default:"5000" help:"Alerts to keep."`
	MaxAge   duration `default:"7d" help:"Age up to which they are kept."`
}

// Run deletes.
func (c *AlertsFlush) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	n := 0
	err = s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		n, err = a.FlushAlerts(ctx, int64(c.MaxItems), c.MaxAge.d)
		return err
	})
	if err != nil {
		return fmt.Errorf("unable to flush alerts: %w", apiError(err))
	}
	s.info("Alerts flushed: %d alert(s) deleted", n)
	return nil
}
