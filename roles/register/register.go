// Package register is the command that joins this machine to a LAPI: it makes
// credentials, announces them and writes them to the file that the agent and
// the operators' commands read. The agent does the same by itself when it has
// a token (roles/config has what they share).
package register

import (
	"context"
	"fmt"

	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

// Command is "cs register", and "cs lapi register" for those who know cscli.
type Command struct {
	LAPIURL string `name:"lapi-url" aliases:"url" short:"u" help:"URL of the LAPI." placeholder:"URL" env:"CS_LAPI_URL" required:""`
	Machine string `help:"Name to register under (default: made of the host's name)." placeholder:"NAME"`
	Token   string `help:"Registration token of the LAPI, which lets us in at once." placeholder:"TOKEN" env:"CS_TOKEN"`
	File    string `short:"f" help:"Where the credentials go, - for standard output (default: the agent's)." placeholder:"FILE"`
}

// Run registers.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	r, err := flags.Resolve(env, func(*config.File) {})
	if err != nil {
		return err
	}
	path := c.File
	if path == "" {
		path = r.Agent.CredentialsPath
	}
	credentials, err := config.NewCredentials(c.LAPIURL, c.Machine)
	if err != nil {
		return err
	}
	client, err := api.NewClient(credentials.Client(env.Version, r.Agent.InsecureSkipVerify))
	if err != nil {
		return err
	}
	defer client.Close()
	validated, err := credentials.Announce(ctx, client, c.Token)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Stderr, "Successfully registered to Local API (LAPI)")
	if path == "-" {
		if _, err := env.Stdout.Write(credentials.Text()); err != nil {
			return fmt.Errorf("cannot print credentials: %w", err)
		}
	} else {
		if err := credentials.Keep(path); err != nil {
			return err
		}
		fmt.Fprintf(env.Stderr, "Local API credentials written to '%s'\n", path)
	}
	if !validated {
		fmt.Fprintf(env.Stderr, "The machine must be let in: run 'cscli machines validate %s' on the LAPI's host.\n", credentials.Login)
	}
	fmt.Fprintln(env.Stderr, "Reload the agent for the new credentials to be effective: 'sudo systemctl reload crowdsec', or whatever runs it.")
	return nil
}
