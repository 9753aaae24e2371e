//go:build !windows

package winevent

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"cs/pipeline/source"
)

// Run says that there is no event log here.
func (s *Source) Run(context.Context, source.Sink) error {
	return fmt.Errorf("cannot read Windows's event log on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
