//go:build bouncer_only

// Command cs, built as the firewall bouncer alone for the smallest routers; see
// README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/bouncer"
	"cs/roles/config"
)

// execute runs the bouncer and returns the exit code. The role's name is
// accepted as the first word, so that one service file fits every build.
func execute(ctx context.Context, args []string, env *platform.Env) int {
	if env.Program == bouncer.UpstreamName {
		return bouncer.Upstream(ctx, args, env)
	}
	if len(args) > 0 && args[0] == "bouncer-firewall" {
		args = args[1:]
	}
	if len(args) == 1 && args[0] == "version" {
		fmt.Fprintln(env.Stdout, "version:", env.Version)
		return 0
	}
	var global struct {
		config.Flags
		Output string `short:"o" placeholder:"FORMAT" help:"Output format: human, json."`
	}
	var commands bouncer.Commands
	app, err := flagset.New(env.Program, "Blocks in the firewall what the LAPI decided.", &global, &commands).Parse(args, env.LookupEnv)
	if errors.Is(err, flagset.ErrHelp) {
		err = app.Usage(env.Stdout)
	} else if err == nil {
		env.LogLevel = new(slog.LevelVar)
		env.Log = slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: env.LogLevel}))
		switch c := app.Target.(type) {
		case interface {
			Run(context.Context, *platform.Env, *config.Flags) error
		}:
			err = c.Run(ctx, env, &global.Flags)
		case interface {
			Run(context.Context, *platform.Env, *config.Flags, string) error
		}:
			err = c.Run(ctx, env, &global.Flags, global.Output)
		}
	}
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0
	}
	fmt.Fprintln(env.Stderr, "Error:", err)
	return 1
}
