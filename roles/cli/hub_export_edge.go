//go:build edge

package cli

// hubExport is left out: a router has no hub to give away.
type hubExport struct{}
