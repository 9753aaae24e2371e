package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cs/platform"
	"cs/platform/service"
)

// Service has the system run this program.
type Service struct {
	Install   ServiceInstall   `cmd:"" help:"Have the system start it, now and at boot: systemd, procd, OpenRC, rc.d, launchd, Windows."`
	Uninstall ServiceUninstall `cmd:"" help:"Stop it, remove it and lift its bans."`
	Run       ServiceRun       `cmd:"" hidden:"" help:"What the service manager of Windows calls."`
}

const (
	serviceName        = "cs"
	serviceDescription = "cs, which detects attacks in logs and blocks the attackers"
)

// ServiceInstall is "cs service install".
type ServiceInstall struct {
	Name  string   `help:"Name of the service (default cs)." placeholder:"NAME"`
	Print string   `help:"Print the file for systemd, procd, openrc, freebsd, openbsd or launchd and change nothing." placeholder:"MANAGER"`
	Args  []string `arg:"" optional:"" help:"What it runs, behind \"--\" (default: run)."`
}

// Run installs the service. It is run with the configuration and the data
// directory that this command was given.
func (c *ServiceInstall) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	s := service.Spec{Name: orDefault(c.Name, serviceName), Description: serviceDescription, Program: program, Args: c.Args}
	if len(s.Args) == 0 {
		s.Args = []string{"run"}
	}
	for _, flag := range []struct{ name, path string }{{"-c", g.Config}, {"--data-dir", g.DataDir}} {
		if flag.path == "" || slices.Contains(s.Args, flag.name) {
			continue
		}
		path, err := filepath.Abs(flag.path)
		if err != nil {
			return fmt.Errorf("cannot use %s: %w", flag.path, err)
		}
		s.Args = append(s.Args[:len(s.Args):len(s.Args)], flag.name, path)
	}
	if err := s.Check(); err != nil {
		return err
	}
	if c.Print != "" {
		return c.print(env, &s)
	}
	if service.NeedsRun {
		s.Args = append([]string{"service", "run", "--name", s.Name, "--"}, s.Args...)
	}
	if err := service.Install(ctx, &s); err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "service %s is installed and runs\n", s.Name)
	return nil
}

func (c *ServiceInstall) print(env *platform.Env, s *service.Spec) error {
	var names []string
	for _, m := range service.Managers {
		if m.Name == c.Print {
			_, err := io.WriteString(env.Stdout, m.Text(s))
			return err
		}
		names = append(names, m.Name)
	}
	return fmt.Errorf("cannot print a file for %q: known are %s", c.Print, strings.Join(names, ", "))
}

// ServiceUninstall is "cs service uninstall".
type ServiceUninstall struct {
	Name     string `help:"Name of the service (default cs)." placeholder:"NAME"`
	KeepBans bool   `name:"keep-bans" help:"Leave in the firewall what is there."`
}

// Run uninstalls the service.
func (c *ServiceUninstall) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	name := orDefault(c.Name, serviceName)
	err := service.Uninstall(ctx, name)
	if err == nil {
		fmt.Fprintf(env.Stderr, "service %s is uninstalled\n", name)
	}
	if c.KeepBans || g.LiftBans == nil {
		return err
	}
	return errors.Join(err, g.LiftBans(ctx, env, &g.Flags))
}

// ServiceRun is "cs service run".
type ServiceRun struct {
	Name string   `help:"Name of the service." placeholder:"NAME"`
	Args []string `arg:"" optional:"" help:"What it runs, behind \"--\"."`
}

// Run runs a command line as a service: its log goes to the event log, and it
// ends when the service manager says so.
func (c *ServiceRun) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	code, err := service.Run(ctx, orDefault(c.Name, serviceName), func(ctx context.Context, log io.Writer) int {
		inner := *env
		if log != nil {
			inner.Stdout, inner.Stderr = log, log
		}
		return g.Execute(ctx, c.Args, &inner)
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with code %d", strings.Join(c.Args, " "), code)
	}
	return err
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
