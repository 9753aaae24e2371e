//go:build edge && !bouncer_only

package main

import (
	"errors"
	"fmt"
)

// startProfile fails: the profiler is 200 kB that no router has use for.
func startProfile(string) (stop func() error, err error) {
	return nil, fmt.Errorf("cannot write the profile: this build has no profiler: %w", errors.ErrUnsupported)
}
