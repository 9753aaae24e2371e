//go:build !bouncer_only

package main

import (
	"context"
	"fmt"
	"strings"

	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/bouncer"
	"cs/roles/cli"
	"cs/roles/config"
	"cs/roles/lapi"
)

// operators are the commands that ask how things are and what was configured.
type operators struct {
	Status     cli.Status     `cmd:"" group:"Operators' commands" help:"Does it work? One screen; the exit code is for monitoring."`
	Why        cli.Why        `cmd:"" group:"Operators' commands" help:"Why is this address banned? Decisions, alerts, lines of the logs, and how to make an exception."`
	Doctor     cli.Doctor     `cmd:"" group:"Operators' commands" help:"What is set up wrongly, and what helps?"`
	Metrics    cli.Metrics    `cmd:"" group:"Operators' commands" help:"What has been counted: show, list."`
	Config     cli.Config     `cmd:"" group:"Operators' commands" help:"What is configured: show, show-yaml, check, feature-flags."`
	Simulation cli.Simulation `cmd:"" group:"Operators' commands" help:"Which scenarios only pretend: enable, disable, status."`
	Completion cli.Completion `cmd:"" group:"Operators' commands" help:"Let a shell complete commands: bash, zsh, fish, powershell."`

	desk
}

// globals are the flags of all commands, with the parts of other roles that some
// of them need.
func globals() cli.Globals {
	return cli.Globals{
		Offline:  lapi.Offline,
		Check:    checkConfiguration,
		Notifier: func(env *platform.Env, f *config.File) (cli.Notifier, error) { return lapi.LoadOutgoing(env, f) },
		Execute:  execute,
		LiftBans: bouncer.Lift,
	}
}

// checkConfiguration is what the daemon does for -t.
func checkConfiguration(_ context.Context, env *platform.Env, flags *config.Flags) error {
	d := &daemon{Globals: cli.Globals{Flags: *flags}}
	p, err := d.plan(env)
	if err != nil {
		return err
	}
	return p.test(env)
}

// complete answers a shell that wants words completed: in the form of the cobra
// library, which scripts of cscli know. before are flags that it was asked with.
func complete(ctx context.Context, before, args []string, env *platform.Env) int {
	g := newGrammar()
	called, list, isArg := flagset.New(env.Program, description, g).Complete(args)
	directive, meaning := 0, "ShellCompDirectiveDefault"
	path := called.Path()
	if len(list) > 0 || isArg && cli.HasArguments(path) {
		directive, meaning = 4, "ShellCompDirectiveNoFileComp"
	}
	if isArg {
		all := append(before, args...)
		g.Flags.Config, g.DataDir = givenFlag(all, env, "CS_CONFIG_FILE", "-c", "--config"), givenFlag(all, env, "CS_DATA_DIR", "--data-dir")
		for _, name := range cli.Arguments(ctx, env, &g.Globals, path) {
			if strings.HasPrefix(name, args[len(args)-1]) {
				list = append(list, flagset.Candidate{Word: name})
			}
		}
	}
	for _, c := range list {
		line := c.Word
		if c.Help != "" {
			line += "\t" + c.Help
		}
		fmt.Fprintln(env.Stdout, line)
	}
	fmt.Fprintf(env.Stdout, ":%d\n", directive)
	fmt.Fprintln(env.Stderr, "Completion ended with directive:", meaning)
	return 0
}

// givenFlag returns the value of a flag on a command line that is not whole yet,
// or that of a variable.
func givenFlag(args []string, env *platform.Env, variable string, names ...string) string {
	value, _ := env.LookupEnv(variable)
	for i, arg := range args {
		for _, name := range names {
			if arg == name && i+1 < len(args) {
				value = args[i+1]
			} else if v, ok := strings.CutPrefix(arg, name+"="); ok {
				value = v
			}
		}
	}
	return value
}
