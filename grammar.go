//go:build !bouncer_only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/alecthomas/kong"

	"cs/platform"
	"cs/roles/agent"
	"cs/roles/bouncer"
	"cs/roles/cli"
	"cs/roles/lapi"
	"cs/roles/register"
	"cs/roles/run"
)

// grammar is the command line: the roles of this program, then the commands
// that operators know from cscli.
type grammar struct {
	cli.Globals

	Run             run.Command      `cmd:"" group:"Roles" help:"All roles in one process."`
	Agent           agent.Command    `cmd:"" group:"Roles" help:"Read logs, detect attacks, send alerts."`
	Lapi            lapiCommands     `cmd:"" group:"Roles" help:"Serve the Local API (also: lapi status, lapi register)."`
	BouncerFirewall bouncer.Command  `cmd:"" name:"bouncer-firewall" group:"Roles" help:"Block in the firewall what the LAPI decided."`
	Register        register.Command `cmd:"" group:"Roles" help:"Join this machine to a LAPI."`

	Decisions cli.Decisions `cmd:"" aliases:"decision" group:"Operators' commands" help:"Who is banned: list, add, delete, import."`
	Alerts    cli.Alerts    `cmd:"" aliases:"alert" group:"Operators' commands" help:"What was detected: list, inspect, delete."`
	Machines  cli.Machines  `cmd:"" aliases:"machine" group:"Operators' commands" help:"Who may send alerts: list, add, validate, delete."`
	Bouncers  cli.Bouncers  `cmd:"" aliases:"bouncer" group:"Operators' commands" help:"Who may read decisions: list, add, delete."`
	Hubtest   cli.Hubtest   `cmd:"" group:"Operators' commands" help:"For authors of content: run the tests of a hub."`
	Version   cli.Version   `cmd:"" group:"Operators' commands" help:"What this program is."`
}

// lapiCommands makes "cs lapi" a role and "cs lapi status" a command.
type lapiCommands struct {
	Serve    lapi.Command     `cmd:"" default:"withargs" hidden:"" help:"Serve."`
	Status   cli.LAPIStatus   `cmd:"" help:"Tell whether the LAPI lets us in."`
	Register register.Command `cmd:"" help:"Join this machine to a LAPI."`
}

const description = "Protects hosts: reads logs, detects attacks, blocks the attackers."

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, env *platform.Env) int {
	if isCrowdsec(env.Program, args) {
		return executeDaemon(ctx, args, env)
	}
	var g grammar
	exit := -1
	app, err := kong.New(&g,
		kong.Name(env.Program), kong.Description(description),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { exit = code }), // --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env, &g.Globals, &g.Flags),
	)
	if err != nil {
		fmt.Fprintln(env.Stderr, "BUG: grammar:", err)
		return 1
	}
	command, err := app.Parse(cli.Arrange(app.Model, args))
	if exit >= 0 {
		return exit
	}
	if err != nil {
		return refuse(env, err)
	}
	logTo(env, &g.Globals)
	err = command.Run()
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0
	}
	if cli.IsUsage(err) {
		usage(env.Stdout, command)
	}
	fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, cli.CommandPath(command), err))
	return 1
}

// logTo makes the log. A flag decides on its level, or else the configuration
// of a role, which is not read yet.
func logTo(env *platform.Env, g *cli.Globals) {
	var level slog.LevelVar
	wanted, given := g.Level()
	level.Set(wanted)
	if !given {
		env.LogLevel = &level
	}
	env.Log = slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: &level}))
}

// refuse answers a command line that is no sentence of the grammar. A command
// that only groups others shows what they are.
func refuse(env *platform.Env, err error) int {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) {
		fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, "", err))
		return 1
	}
	path := cli.CommandPath(wrong.Context)
	usage(env.Stdout, wrong.Context)
	if node := wrong.Context.Selected(); (node == nil || !node.Leaf()) && strings.HasPrefix(err.Error(), "expected one of ") {
		return 0
	}
	words := strings.TrimSpace(env.Program + " " + path)
	fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, "", errors.New(cli.UsageError(err, words))))
	return 1
}

func usage(w io.Writer, c *kong.Context) {
	old := c.Stdout
	c.Stdout = w
	_ = c.PrintUsage(false) // nothing to do about a closed terminal
	c.Stdout = old
}
