// Package service has this program run by the operating system's service
// manager: systemd, procd (OpenWrt), OpenRC (Alpine), rc.d (FreeBSD, OpenBSD), launchd (macOS)
// and the service control manager of Windows.
//
// It writes the file that the manager wants, enables it and starts it. Files
// that somebody else wrote are left alone.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"cs/platform"
)

// Spec is a service.
type Spec struct {
	Name        string // of the service, and of its file
	Description string // one line
	Program     string // absolute path
	Args        []string
}

// Check tells what a service manager could not take.
func (s *Spec) Check() error {
	if s.Name == "" || strings.ContainsFunc(s.Name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) || s.Name[0] == '-' {
		return fmt.Errorf("cannot name a service %q: want letters, digits, '-' and '_'", s.Name)
	}
	for _, text := range append([]string{s.Description, s.Program}, s.Args...) {
		if strings.ContainsAny(text, "\x00\r\n") {
			return fmt.Errorf("cannot run a service with %q: want one line", text)
		}
	}
	return nil
}

// marker is in every file that we write.
const marker = `Written by "service install"`

// Manager is a service manager of Unix.
type Manager struct {
	Name string
	// File returns the path of a service's file.
	File func(name string) string
	// Text returns what is in it.
	Text func(*Spec) string

	mode      fs.FileMode
	sign      func() bool // that it runs this system
	install   func(name string) [][]string
	uninstall func(name string) [][]string
}

// maybe before a command says that it may fail: it undoes what may not be there.
const maybe = "-"

// Managers are those of Unix.
var Managers = []*Manager{
	{
		Name: "systemd", mode: 0o644, sign: exists("/run/systemd/system"),
		File: func(name string) string { return "/etc/systemd/system/" + name + ".service" }, Text: systemd,
		install: func(name string) [][]string {
			return [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", name}, {"systemctl", "restart", name}}
		},
		uninstall: func(name string) [][]string { return [][]string{{"systemctl", "disable", "--now", name}} },
	},
	{
		Name: "procd", mode: 0o755, sign: exists("/sbin/procd"),
		File: initFile, Text: procd,
		install: func(name string) [][]string {
			return [][]string{{initFile(name), "enable"}, {initFile(name), "restart"}}
		},
		uninstall: func(name string) [][]string { return [][]string{{initFile(name), "stop"}, {initFile(name), "disable"}} },
	},
	{
		Name: "openrc", mode: 0o755, sign: exists("/sbin/openrc-run"),
		File: initFile, Text: openrc,
		install: func(name string) [][]string {
			return [][]string{{"rc-update", "add", name, "default"}, {"rc-service", name, "restart"}}
		},
		uninstall: func(name string) [][]string {
			return [][]string{{"rc-service", name, "stop"}, {"rc-update", "del", name, "default"}}
		},
	},
	{
		Name: "freebsd", mode: 0o755, sign: func() bool { return runtime.GOOS == "freebsd" },
		File: func(name string) string { return "/usr/local/etc/rc.d/" + name }, Text: freebsd,
		install: func(name string) [][]string {
			return [][]string{{"sysrc", variable(name) + "_enable=YES"}, {"service", name, "restart"}}
		},
		uninstall: func(name string) [][]string {
			return [][]string{{"service", name, "stop"}, {"sysrc", "-x", variable(name) + "_enable"}}
		},
	},
	{
		Name: "openbsd", mode: 0o755, sign: func() bool { return runtime.GOOS == "openbsd" },
		File: func(name string) string { return "/etc/rc.d/" + variable(name) }, Text: openbsd,
		install: func(name string) [][]string {
			return [][]string{{"rcctl", "enable", variable(name)}, {"rcctl", "restart", variable(name)}}
		},
		uninstall: func(name string) [][]string {
			return [][]string{{"rcctl", "stop", variable(name)}, {"rcctl", "disable", variable(name)}}
		},
	},
	{
		Name: "launchd", mode: 0o644, sign: func() bool { return runtime.GOOS == "darwin" },
		File: plistFile, Text: launchd,
		install: func(name string) [][]string {
			return [][]string{{maybe, "launchctl", "bootout", "system/" + name}, {"launchctl", "bootstrap", "system", plistFile(name)}}
		},
		uninstall: func(name string) [][]string {
			return [][]string{{"launchctl", "bootout", "system/" + name}}
		},
	},
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

func initFile(name string) string  { return "/etc/init.d/" + name }
func plistFile(name string) string { return "/Library/LaunchDaemons/" + name + ".plist" }

// variable makes a name fit for a variable of the shell.
func variable(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Find returns the manager that runs this system.
func Find() (*Manager, error) {
	for _, m := range Managers {
		if m.sign() {
			return m, nil
		}
	}
	return nil, fmt.Errorf("cannot find a service manager on %s that we know: %w", runtime.GOOS, errors.ErrUnsupported)
}

// commandTimeout bounds one call of a manager, which may wait for the service.
const commandTimeout = time.Minute

// host is what installing changes: a file tree and the manager's commands.
type host struct {
	root string
	run  func(ctx context.Context, args []string) error
}

var thisHost = host{root: "/", run: func(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		text := strings.Join(strings.Fields(string(out)), " ")
		return fmt.Errorf("cannot run %s: %w (%s)", strings.Join(args, " "), err, text[:min(len(text), 500)])
	}
	return nil
}}

// ours tells whether a file is there, and whether we wrote it.
func (h *host) ours(path string) (there, ours bool, err error) {
	text, err := os.ReadFile(filepath.Join(h.root, path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	return true, bytes.Contains(text, []byte(marker)), err
}

func (h *host) install(ctx context.Context, m *Manager, s *Spec) error {
	if err := s.Check(); err != nil {
		return err
	}
	path := m.File(s.Name)
	there, ours, err := h.ours(path)
	if err == nil && there && !ours {
		err = fmt.Errorf("%s is there and was not written by us", path)
	}
	if err == nil {
		err = platform.WriteFile(filepath.Join(h.root, path), []byte(m.Text(s)), m.mode)
	}
	if err != nil {
		return fmt.Errorf("cannot install service %s: %w", s.Name, err)
	}
	for _, args := range m.install(s.Name) {
		if args[0] == maybe {
			_ = h.run(ctx, args[1:])
			continue
		}
		if err := h.run(ctx, args); err != nil {
			return fmt.Errorf("cannot start service %s, whose file is %s: %w", s.Name, path, err)
		}
	}
	return nil
}

func (h *host) uninstall(ctx context.Context, m *Manager, name string) error {
	if err := (&Spec{Name: name}).Check(); err != nil {
		return err
	}
	path := m.File(name)
	there, ours, err := h.ours(path)
	switch {
	case err == nil && !there:
		err = fmt.Errorf("there is no %s", path)
	case err == nil && !ours:
		err = fmt.Errorf("%s was not written by us", path)
	}
	if err != nil {
		return fmt.Errorf("cannot uninstall service %s: %w", name, err)
	}
	// What it doesn't run can't be stopped; the file goes in any case.
	for _, args := range m.uninstall(name) {
		err = errors.Join(err, h.run(ctx, args))
	}
	if rerr := os.Remove(filepath.Join(h.root, path)); rerr != nil {
		return errors.Join(err, fmt.Errorf("cannot uninstall service %s: %w", name, rerr))
	}
	if m.Name == "systemd" {
		err = errors.Join(err, h.run(ctx, []string{"systemctl", "daemon-reload"}))
	}
	return err
}
