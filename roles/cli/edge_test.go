//go:build edge

package cli

import "testing"

// parse reads a command line as this build does. The path is empty if the
// command line has an error.
func parse(_ *testing.T, g *grammar, args []string) (path string, command any, err error) {
	return parseFlagset(g, args)
}
