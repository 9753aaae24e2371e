package cli

import (
	"context"
	"fmt"
	"strconv"

	"cs/platform"
)

// LAPIStatus tells whether we can talk to the LAPI.
type LAPIStatus struct{}

// Run logs in.
func (c *LAPIStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	lapi, err := s.runningLAPI(ctx)
	if err != nil {
		return err
	}
	text := ""
	if lapi.file != "" {
		text = "Loaded credentials from " + plain(lapi.file) + "\n"
	}
	if lapi.cred.CertPath != "" {
		text += "Trying to authenticate with certificate " + strconv.Quote(lapi.cred.CertPath)
	} else {
		text += "Trying to authenticate with username " + strconv.Quote(lapi.cred.Login)
	}
	if err := s.text(text + " on " + plain(lapi.cred.URL) + "\n"); err != nil {
		return err
	}
	if err := lapi.Login(ctx); err != nil {
		return fmt.Errorf("failed to authenticate to Local API (LAPI): %w", apiError(err))
	}
	return s.text("You can successfully interact with Local API (LAPI)\n")
}
