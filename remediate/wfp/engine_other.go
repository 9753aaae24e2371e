//go:build !windows

package wfp

import (
	"errors"
	"fmt"
	"runtime"
)

func openEngine(Config) (engine, error) {
	return nil, fmt.Errorf("cannot use the Windows Filtering Platform on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func openRules(Config) (engine, error) {
	return nil, fmt.Errorf("cannot use rules of the Windows Firewall on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
