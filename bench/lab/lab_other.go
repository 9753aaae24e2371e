//go:build !linux

// Package lab is a small network on one Linux machine; elsewhere it only says
// that it can't be built.
package lab

import (
	"errors"
	"fmt"
	"runtime"
)

// Usable tells why a lab can't be built here.
func Usable() error {
	return fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
