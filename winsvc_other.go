//go:build !windows && !bouncer_only

package main

import (
	"context"
	"flag"

	"cs/platform"
)

// Only Windows has services that are part of their programs.

func (d *daemon) addWinsvc(*flag.FlagSet) {}

func (d *daemon) controlService(context.Context) error { return nil }

func asService(ctx context.Context, env *platform.Env, main func(context.Context, *platform.Env) int) int {
	return main(ctx, env)
}
