//go:build !windows

package service

import (
	"context"
	"io"
)

// NeedsRun: the program must call Run to be a service.
const NeedsRun = false

// Install has the service manager of this system start the service, now and at
// boot. A service that is there already gets the new command line and starts again.
func Install(ctx context.Context, s *Spec) error {
	m, err := Find()
	if err != nil {
		return err
	}
	return thisHost.install(ctx, m, s)
}

// Uninstall stops a service and removes it.
func Uninstall(ctx context.Context, name string) error {
	m, err := Find()
	if err != nil {
		return err
	}
	return thisHost.uninstall(ctx, m, name)
}

// Run runs what the service does. Other service managers than Windows' want
// nothing more of it.
func Run(ctx context.Context, _ string, main func(ctx context.Context, log io.Writer) int) (code int, err error) {
	return main(ctx, nil), nil
}
