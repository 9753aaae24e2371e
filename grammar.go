//go:build !bouncer_only

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/agent"
	"cs/roles/bouncer"
	"cs/roles/cli"
	"cs/roles/config"
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
	BouncerFirewall bouncer.Commands `cmd:"" name:"bouncer-firewall" group:"Roles" help:"Block in the firewall what the LAPI decided (also: status, verify, explain, try)."`
	Register        register.Command `cmd:"" group:"Roles" help:"Join this machine to a LAPI."`

	Decisions     cli.Decisions  `cmd:"" aliases:"decision" group:"Operators' commands" help:"Who is banned: list, add, delete, import."`
	Alerts        cli.Alerts     `cmd:"" aliases:"alert" group:"Operators' commands" help:"What was detected: list, inspect, delete, flush."`
	Allowlists    cli.Allowlists `cmd:"" aliases:"allowlist" group:"Operators' commands" help:"Who is never banned: list, inspect, check, create, add, import, remove, delete."`
	Machines      cli.Machines   `cmd:"" aliases:"machine" group:"Operators' commands" help:"Who may send alerts: list, add, validate, delete, prune, inspect."`
	Bouncers      cli.Bouncers   `cmd:"" aliases:"bouncer" group:"Operators' commands" help:"Who may read decisions: list, add, delete, prune, inspect."`
	Hub           cli.Hub        `cmd:"" group:"Operators' commands" help:"What there is to detect attacks with: list, update, upgrade, import, export."`
	Collections   cli.Items      `cmd:"" aliases:"collection" group:"Operators' commands" help:"What belongs together: install, remove, upgrade, list, inspect."`
	Parsers       cli.Items      `cmd:"" aliases:"parser" group:"Operators' commands" help:"How lines are understood; the same commands."`
	Scenarios     cli.Items      `cmd:"" aliases:"scenario" group:"Operators' commands" help:"What is an attack; the same commands."`
	Postoverflows cli.Items      `cmd:"" aliases:"postoverflow" group:"Operators' commands" help:"Exceptions after detection; the same commands."`
	Contexts      cli.Items      `cmd:"" aliases:"context" group:"Operators' commands" help:"What alerts tell beside; the same commands."`
	AppsecConfigs cli.Items      `cmd:"" name:"appsec-configs" aliases:"appsec-config,waf-configs,waf-config" group:"Operators' commands" help:"Configurations of the WAF; the same commands."`
	AppsecRules   cli.Items      `cmd:"" name:"appsec-rules" aliases:"appsec-rule,waf-rules,waf-rule" group:"Operators' commands" help:"Rules of the WAF; the same commands."`

	operators

	Explain cli.Explain `cmd:"" group:"Operators' commands" help:"What happens to lines: who parses them, which scenarios they feed."`
	cli.Authors
	Service cli.Service `cmd:"" group:"Operators' commands" help:"Have the system run this program: install, uninstall."`
	Version cli.Version `cmd:"" group:"Operators' commands" help:"What this program is."`

	fullCommands `embed:""`
}

// read fills the grammar from a command line. There is no call if that was a
// request for help or a mistake, which has been answered, but an exit code.
func (g *grammar) read(args []string, env *platform.Env) (*call, int) {
	command, err := flagset.New(env.Program, description, g).Parse(args, env.LookupEnv)
	usage := func() { _ = command.Usage(env.Stdout) } // nothing to do about a closed terminal
	switch {
	case errors.Is(err, flagset.ErrHelp), errors.Is(err, flagset.ErrNoCommand):
		usage()
		return nil, 0
	case err != nil:
		usage()
		fmt.Fprintln(env.Stderr, cli.Red(env.Stderr, g.Color, cli.FormatError(env.Program, "", mistake(args, env, err))))
		return nil, 1
	}
	return &call{command.Target, command.Path(), usage}, 0
}

// newGrammar returns the grammar, to be filled.
func newGrammar() *grammar {
	g := &grammar{Globals: globals()}
	for t, items := range map[catalog.Type]*cli.Items{
		catalog.Collections: &g.Collections, catalog.Parsers: &g.Parsers, catalog.Scenarios: &g.Scenarios,
		catalog.PostOverflows: &g.Postoverflows, catalog.Contexts: &g.Contexts,
		catalog.AppsecConfigs: &g.AppsecConfigs, catalog.AppsecRules: &g.AppsecRules,
	} {
		items.Of(t)
	}
	return g
}

// lapiCommands makes "cs lapi" a role and "cs lapi status" a command.
type lapiCommands struct {
	Serve    lapi.Command     `cmd:"" default:"withargs" hidden:"" help:"Serve."`
	Status   cli.LAPIStatus   `cmd:"" help:"Tell whether the LAPI lets us in."`
	Repair   cli.LAPIRepair   `cmd:"" help:"Save what can be read of a damaged store."`
	Register register.Command `cmd:"" help:"Join this machine to a LAPI."`

	lapiDesk
}

const description = "Protects hosts: reads logs, detects attacks, blocks the attackers."

// A call is a command line that has been read into the grammar.
type call struct {
	command any    // points to the struct in the grammar
	path    string // the words that call it
	usage   func() // prints how it is called
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, env *platform.Env) int {
	if isCrowdsec(env.Program, args) {
		return executeDaemon(ctx, args, env)
	}
	if env.Program == bouncer.UpstreamName {
		return bouncer.Upstream(ctx, args, env)
	}
	word, before, behind := firstWord(args)
	switch word {
	case "__complete", "__completeNoDesc":
		return complete(ctx, before, behind, env)
	case "help":
		args = append(append(before, behind...), "--help")
	}
	g := newGrammar()
	c, code := g.read(args, env)
	if c == nil {
		return code
	}
	if env.Program == "cscli" && c.command == any(&g.Lapi.Serve) {
		return execute(ctx, append(args, "--help"), env) // who knows cscli wants its commands, no role
	}
	logTo(env, &g.Globals)
	run := g.runner(c.command)
	if run == nil {
		fmt.Fprintln(env.Stderr, "BUG: grammar: nothing runs", c.path)
		return 1
	}
	err := run(ctx, env)
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0
	}
	if cli.IsUsage(err) {
		c.usage()
	}
	tell(env, cli.Red(env.Stderr, g.Color, cli.FormatError(env.Program, c.path, err)), err)
	return 1
}

// firstWord splits a command line at its first word, "" if there is none. Flags that all
// commands have may stand before it.
func firstWord(args []string) (word string, before, behind []string) {
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-c", "--config", "--data-dir", "-o", "--output", "--color", "--branch":
			i++
			continue
		}
		if !strings.HasPrefix(args[i], "-") {
			return args[i], slices.Clip(args[:i]), args[i+1:]
		}
	}
	return "", args, nil
}

// tell says why the program ends: in words for the terminal and, if the log is
// elsewhere, there as well.
func tell(env *platform.Env, words string, err error) {
	fmt.Fprintln(env.Stderr, words)
	if !env.LogPlace.Is(env.Stderr) {
		env.Log.Error("cannot go on", "err", err)
	}
}

// logTo makes the log. A flag decides on its level, or else the configuration
// of a role, which is not read yet and may have it go elsewhere.
func logTo(env *platform.Env, g *cli.Globals) {
	var level slog.LevelVar
	wanted, given := g.Level()
	level.Set(wanted)
	if !given {
		env.LogLevel = &level
	}
	env.LogPlace = platform.NewLogHandler(env.Stderr, &level)
	env.Log = slog.New(env.LogPlace)
}

// runner returns how to run a command of the grammar, nil if it can't be.
func (g *grammar) runner(command any) func(context.Context, *platform.Env) error {
	switch c := command.(type) {
	case interface {
		Run(context.Context, *platform.Env, *config.Flags) error
	}:
		return func(ctx context.Context, env *platform.Env) error { return c.Run(ctx, env, &g.Flags) }
	case interface {
		Run(context.Context, *platform.Env, *config.Flags, string) error
	}:
		return func(ctx context.Context, env *platform.Env) error { return c.Run(ctx, env, &g.Flags, g.Output) }
	case interface {
		Run(context.Context, *platform.Env, *cli.Globals) error
	}:
		return func(ctx context.Context, env *platform.Env) error { return c.Run(ctx, env, &g.Globals) }
	case interface {
		Run(context.Context, *platform.Env, *cli.Globals, *cli.Hubtest) error
	}:
		return func(ctx context.Context, env *platform.Env) error { return c.Run(ctx, env, &g.Globals, &g.Hubtest) }
	}
	return nil
}
