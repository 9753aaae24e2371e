//go:build edge && !bouncer_only

package main

import (
	"errors"
	"fmt"

	"cs/platform"
	"cs/platform/flagset"
	"cs/roles/cli"
)

// fullCommands are those that a router has no use for.
type fullCommands struct{}

// read fills the grammar from a command line. There is no call if that was a
// request for help or a mistake, which has been answered, but an exit code.
// kong would make this build larger by a tenth.
func (g *grammar) read(args []string, env *platform.Env) (*call, int) {
	command, err := flagset.New(env.Program, description, g).Parse(args, env.LookupEnv)
	usage := func() { _ = command.Usage(env.Stdout) } // nothing to do about a closed terminal
	switch {
	case errors.Is(err, flagset.ErrHelp), errors.Is(err, flagset.ErrNoCommand):
		usage()
		return nil, 0
	case err != nil:
		usage()
		fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, "", err))
		return nil, 1
	}
	return &call{command.Target, command.Path(), usage}, 0
}
