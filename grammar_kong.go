//go:build !edge && !bouncer_only

package main

import (
	"errors"
	"fmt"
	"io"
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
// remembers is more than an agent at rest has otherwise: only to answer mistakes.
func (g *grammar) read(args []string, env *platform.Env) (*call, int) {
	command, err := flagset.New(env.Program, description, g).Parse(args, env.LookupEnv)
	usage := func() { _ = command.Usage(env.Stdout) } // nothing to do about a closed terminal
	switch {
	case errors.Is(err, flagset.ErrHelp), errors.Is(err, flagset.ErrNoCommand):
		usage()
		return nil, 0
	case err != nil:
		usage()
		fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, "", mistake(args, env, err)))
		return nil, 1
	}
	return &call{command.Target, command.Path(), usage}, 0
}

// mistake returns in kong's words what is wrong with a command line, err if it
// finds nothing.
func mistake(args []string, env *platform.Env, err error) error {
	app, fault := kong.New(newGrammar(), kong.Name(env.Program), kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	if fault != nil {
		return fmt.Errorf("BUG: grammar: %w", fault)
	}
	_, refusal := app.Parse(cli.Arrange(app.Model, args))
	var wrong *kong.ParseError
	switch {
	case errors.As(refusal, &wrong):
		words := strings.TrimSpace(env.Program + " " + cli.CommandPath(wrong.Context))
		return errors.New(cli.UsageError(refusal, words))
	case refusal != nil:
		return refusal
	}
	return err
}
