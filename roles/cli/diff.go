//go:build !edge

package cli

import "github.com/rogpeppe/go-internal/diff"

// unified compares two texts.
func unified(oldName string, old []byte, newName string, new []byte) []byte {
	return diff.Diff(oldName, old, newName, new)
}
