//go:build !edge

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"cs/platform"
)

// hubExport is what a router has no use for.
type hubExport struct {
	Export HubExport `cmd:"" help:"Write the hub with its data files to an archive, for hosts without a network."`
}

// HubExport writes the hub to an archive.
type HubExport struct {
	File string `arg:"" name:"file" help:"Archive to write, or - for standard output."`
}

// Run writes the index, all content that is known here and its data files.
func (c *HubExport) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := openContent(env, g)
	if err != nil {
		return err
	}
	cat, err := s.catalog()
	if err != nil {
		return err
	}
	export := func(w io.Writer) error {
		local, err := cat.Export(w)
		if local > 0 && err == nil {
			s.warn("%d local items are not in the archive, for they are not of the hub", local)
		}
		return err
	}
	if c.File == "-" {
		return export(env.Stdout)
	}
	tmp := c.File + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("cannot export the hub: %w", err)
	}
	err = errors.Join(export(out), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(tmp, c.File)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	s.info("the hub is in %s", c.File)
	return nil
}
