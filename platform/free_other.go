//go:build !linux && !windows && !freebsd && !darwin

package platform

import "math"

// Free returns how many bytes can still be written to the file system of a
// directory; this system isn't asked.
func Free(string) (uint64, error) { return math.MaxUint64, nil }
