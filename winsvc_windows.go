//go:build !bouncer_only

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"cs/platform"
	"cs/platform/service"
	"cs/roles/cli"
	"cs/roles/config"
)

// windowsService is the name of upstream's daemon among services and events (spec cli §2.7).
const windowsService = "CrowdSec"

// addWinsvc adds the flag for the service.
func (d *daemon) addWinsvc(set *flag.FlagSet) {
	set.StringVar(&d.winsvc, "winsvc", "", "`Install`, Remove, Start or Stop the service "+windowsService)
}

// controlService does what -winsvc says.
func (d *daemon) controlService(ctx context.Context) error {
	switch strings.ToLower(d.winsvc) {
	case "install":
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("cannot find this program: %w", err)
		}
		path := d.Config
		if path == "" {
			path = config.UpstreamPath()
		}
		if path, err = filepath.Abs(path); err != nil {
			return fmt.Errorf("cannot use %s: %w", d.Config, err)
		}
		return service.Register(ctx, &service.Spec{Name: windowsService, Description: "CrowdSec IPS/IDS", Program: program, Args: []string{"-c", path}})
	case "remove":
		return service.Uninstall(ctx, windowsService)
	case "start":
		return service.Start(windowsService)
	case "stop":
		return service.Stop(ctx, windowsService)
	}
	return fmt.Errorf("invalid value for -winsvc: %s (want Install, Remove, Start or Stop)", d.winsvc)
}

// asService calls main, as a service if it is the service manager that started us.
func asService(ctx context.Context, env *platform.Env, main func(context.Context, *platform.Env) int) int {
	code, err := service.Run(ctx, windowsService, func(ctx context.Context, log io.Writer) int {
		inner := *env
		if log != nil {
			inner.Stdout, inner.Stderr = log, log
		}
		return main(ctx, &inner)
	})
	if err != nil {
		fmt.Fprintln(env.Stderr, cli.FormatError(env.Program, "", err))
	}
	return code
}
