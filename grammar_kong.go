//go:build !edge && !bouncer_only

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/cli"
	"cs/roles/takeover"
)

// fullCommands are those that a router has no use for.
type fullCommands struct {
	Takeover takeover.Command `cmd:"" group:"Operators' commands" help:"Take the place of CrowdSec's programs on this host, and back."`
}

// read fills the grammar from a command line. There is no call if that was a
// request for help or a mistake, which has been answered, but an exit code.
//
// To tell kong what there is takes longer than most commands do, and what it
// remembers is more than an agent at rest has otherwise: only to answer people.
func (g *grammar) read(args []string, env *platform.Env) (*call, int) {
	command, err := flagset.New(env.Program, description, g).Parse(args, env.LookupEnv)
	if err == nil {
		help := slices.Concat([]string{"--help"}, args)
		return &call{command.Target, command.Path(), func() { newGrammar().ask(help, env) }}, 0
	}
	*g = *newGrammar()
	return g.ask(args, env)
}

// ask reads a command line that asks for help or is mistaken with kong.
func (g *grammar) ask(args []string, env *platform.Env) (*call, int) {
	exit := -1
	app, err := kong.New(g,
		kong.Name(env.Program), kong.Description(description),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { exit = code }), // --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	if err != nil {
		fmt.Fprintln(env.Stderr, "BUG: grammar:", err)
		return nil, 1
	}
	command, err := app.Parse(cli.Arrange(app.Model, args))
	if exit >= 0 {
		return nil, exit
	}
	if err != nil {
		return nil, refuse(env, err)
	}
	target := command.Selected().Target.Addr().Interface()
	return &call{target, cli.CommandPath(command), func() { usage(env.Stdout, command) }}, 0
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
