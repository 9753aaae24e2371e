//go:build !windows

package winevent

import (
	"errors"
	"fmt"
	"runtime"
)

// systemLog says that there is none here.
func systemLog() eventLog { return nowhere{} }

type nowhere struct{ eventLog }

func (nowhere) open() error {
	return fmt.Errorf("%s has none: %w", runtime.GOOS, errors.ErrUnsupported)
}
