package cli

import (
	"context"
	"errors"
	"fmt"

	"cs/platform"
	"cs/storage"
	"cs/storage/bolt"
)

// LAPIRepair saves what can be read of a damaged store.
type LAPIRepair struct{}

// Run repairs the store of this host; the damaged file is kept.
func (c *LAPIRepair) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	r, err := bolt.Repair(ctx, s.storePath())
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("%w: stop the program first", err)
	} else if err != nil {
		return err
	}
	text := fmt.Sprintf("Saved from %s:\n", plain(s.storePath()))
	for _, kind := range sortedKeys(r.Kept) {
		text += fmt.Sprintf("  %d %s\n", r.Kept[kind], kind)
	}
	if r.Whole() {
		text += "Nothing is lost.\n"
	}
	for _, kind := range sortedKeys(r.Lost) {
		text += fmt.Sprintf("LOST: %d %s that can't be read\n", r.Lost[kind], kind)
	}
	if r.Pages > 0 {
		text += fmt.Sprintf("LOST: what stood on %d damaged pages, unless it was found elsewhere\n", r.Pages)
	}
	if r.Adopted > 0 {
		text += fmt.Sprintf("%d decisions whose alerts are lost stay in force.\n", r.Adopted)
	}
	return s.text(text + "The file as it was is kept as " + plain(r.Damaged) + "\n")
}
