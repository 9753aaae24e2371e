//go:build linux

package main

import (
	"context"
	"path/filepath"

	"cs/bench/lapi"
)

// lapi measures the Local API, and Debian's beside it.
func (b *bench) lapi(ctx context.Context) error {
	return lapi.Measure(ctx, b.binary, b.peers, filepath.Join(b.dir, "lapi"), b.row)
}
