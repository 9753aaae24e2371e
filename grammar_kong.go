//go:build !edge && !bouncer_only

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"cs/platform"
	"cs/roles/cli"
	"cs/roles/config"
	start "cs/roles/container"
	"cs/roles/takeover"
)

// fullCommands are those that a router has no use for.
type fullCommands struct {
	Takeover  takeover.Command `cmd:"" group:"Operators' commands" help:"Take the place of CrowdSec's programs on this host, and back."`
	Container container        `cmd:"" group:"Roles" help:"Be what CrowdSec's container image is: do as the environment says (COLLECTIONS, BOUNCER_KEY_name and the like), then run."`
}

// container is the start of a container.
type container struct{}

// Run prepares and runs.
func (container) Run(ctx context.Context, env *platform.Env, _ *config.Flags) error {
	return start.Run(ctx, env, os.Environ(), execute)
}

// mistake returns in kong's words what is wrong with a command line, err if it
// finds nothing.
//
// To tell kong what there is takes longer than most commands do, and what it
// remembers is more than an agent at rest has otherwise: only to answer mistakes.
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
		text := cli.UsageError(refusal, words)
		if unknown := "unknown command"; strings.HasPrefix(err.Error(), unknown) && !strings.HasPrefix(text, unknown) {
			return err // kong takes the word for an argument of the default command
		}
		return errors.New(text)
	case refusal != nil:
		return refusal
	}
	return err
}
