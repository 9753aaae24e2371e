package setup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/expr"
)

// askTime is for how long a program of the system may take.
const askTime = 10 * time.Second

// What expressions know.
type (
	host    struct{ facts map[string]string }
	paths   struct{}
	systemd struct {
		units []string
		warn  func(string)
		shown map[string]map[string]string // by unit: its properties
		skip  bool
	}
	system  struct{ running map[string]bool }
	version struct{}
	windows struct{}
)

var hostFields = []string{
	"OS", "Platform", "PlatformFamily", "PlatformVersion", "KernelVersion", "KernelArch", "Hostname",
	"VirtualizationSystem", "VirtualizationRole",
}

func environment() *expr.Env {
	var fields []expr.Member
	for _, name := range hostFields {
		fields = append(fields, expr.Field(name, func(h *host) string { return h.facts[name] }))
	}
	return expr.NewEnv().
		Var("Host", fields...).
		Var("Path",
			expr.Method1("Exists", func(_ paths, path string) bool { _, err := os.Stat(path); return err == nil }),
			expr.Method1("Glob", func(_ paths, pattern string) []string {
				found, _ := filepath.Glob(pattern) // a faulty pattern finds nothing
				return found
			})).
		Var("Systemd",
			expr.Method1("UnitInstalled", func(s *systemd, unit string) bool { return slices.Contains(s.units, unit) }),
			expr.Method2("UnitConfig", func(s *systemd, unit, key string) string { return s.config(unit, key) }),
			expr.Method1("UnitLogsToJournal", func(s *systemd, unit string) bool { return s.logsToJournal(unit) })).
		Var("System", expr.Method1("ProcessRunning", func(s *system, name string) bool { return s.running[name] })).
		Var("Version", expr.Method2("Check", func(_ version, v, constraint string) bool { return satisfies(v, constraint) })).
		Var("Windows", expr.Method1("ServiceEnabled", func(_ windows, name string) bool { return serviceEnabled(name) }))
}

// values are those of the variables of environment, in their order.
func values(skipSystemd bool, warn func(string)) []any {
	s := &systemd{warn: warn, shown: make(map[string]map[string]string), skip: skipSystemd}
	if !skipSystemd {
		s.units = units(ask("systemctl", "list-unit-files", "--type=service"))
	}
	return []any{&host{facts()}, paths{}, s, &system{processes()}, version{}, windows{}}
}

// ask returns what a program of the system prints, nothing if that fails.
func ask(program string, args ...string) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return nil
	}
	return out
}

// units reads the list of systemctl; templates are left out.
func units(list []byte) (names []string) {
	for line := range strings.Lines(string(list)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, "@.service") {
			names = append(names, name)
		}
	}
	return names
}

func (s *systemd) config(unit, key string) string {
	if s.skip {
		return ""
	}
	known, ok := s.shown[unit]
	if !ok {
		known = make(map[string]string)
		for line := range strings.Lines(string(ask("systemctl", "show", unit, "--all"))) {
			if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
				known[name] = value
			}
		}
		s.shown[unit] = known
	}
	value, ok := known[key]
	if !ok {
		s.warn(fmt.Sprintf("unit %s has no property %s", unit, key))
	}
	return value
}

func (s *systemd) logsToJournal(unit string) bool {
	if s.skip {
		return false
	}
	for _, key := range []string{"StandardOutput", "StandardError"} {
		if v := s.config(unit, key); v == "journal" || v == "journal+console" {
			return true
		}
	}
	return false
}

// facts are those of this host; what isn't known is empty.
func facts() map[string]string {
	f := map[string]string{"OS": runtime.GOOS, "KernelArch": runtime.GOARCH}
	f["Hostname"], _ = os.Hostname() // "" if it has none
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		f["KernelVersion"] = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		release := make(map[string]string)
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				release[name] = strings.Trim(value, `"`)
			}
		}
		f["Platform"], f["PlatformVersion"] = release["ID"], release["VERSION_ID"]
		f["PlatformFamily"] = family(release["ID"] + " " + release["ID_LIKE"])
	}
	for path, name := range map[string]string{"/.dockerenv": "docker", "/run/.containerenv": "podman"} {
		if _, err := os.Stat(path); err == nil {
			f["VirtualizationSystem"], f["VirtualizationRole"] = name, "guest"
		}
	}
	return f
}

func family(ids string) string {
	for _, one := range strings.Fields(ids) {
		switch one {
		case "debian", "ubuntu":
			return "debian"
		case "rhel", "fedora", "centos":
			return "rhel"
		case "suse", "opensuse":
			return "suse"
		case "alpine", "arch", "gentoo":
			return one
		}
	}
	return ""
}

// processes are the names of those that run.
func processes() map[string]bool {
	running := make(map[string]bool)
	if runtime.GOOS == "linux" {
		names, _ := filepath.Glob("/proc/[0-9]*/comm")
		for _, path := range names {
			if text, err := os.ReadFile(path); err == nil {
				running[string(bytes.TrimSpace(text))] = true
			}
		}
		return running
	}
	if runtime.GOOS == "windows" {
		for line := range strings.Lines(string(ask("tasklist", "/FO", "CSV", "/NH"))) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, `"`), `"`)
			running[strings.TrimSuffix(name, ".exe")] = true
		}
		return running
	}
	for line := range strings.Lines(string(ask("ps", "-A", "-o", "comm="))) {
		running[filepath.Base(strings.TrimSpace(line))] = true
	}
	return running
}

// serviceEnabled asks Windows whether a service starts by itself.
func serviceEnabled(name string) bool {
	return runtime.GOOS == "windows" && bytes.Contains(ask("sc.exe", "qc", name), []byte("AUTO_START"))
}

// satisfies tells whether a version meets all parts of a constraint like
// ">= 1.2, < 2". What can't be read meets none.
func satisfies(v, constraint string) bool {
	have, ok := numbers(v)
	if !ok {
		return false
	}
	for _, part := range strings.Split(constraint, ",") {
		part = strings.TrimSpace(part)
		op := part[:len(part)-len(strings.TrimLeft(part, "<>=!~^ "))]
		want, ok := numbers(part[len(op):])
		if !ok {
			return false
		}
		order := slices.Compare(have, want)
		switch strings.TrimSpace(op) {
		case "", "=", "==":
			ok = order == 0
		case "!=":
			ok = order != 0
		case ">":
			ok = order > 0
		case ">=":
			ok = order >= 0
		case "<":
			ok = order < 0
		case "<=":
			ok = order <= 0
		case "~", "~>": // the same minor version
			ok = order >= 0 && slices.Equal(have[:2], want[:2])
		case "^": // the same major version
			ok = order >= 0 && have[0] == want[0]
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// numbers reads "v1.2.3-rc1" as 1, 2, 3; what is missing is 0.
func numbers(v string) ([]int, bool) {
	v, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(v), "v"), "-")
	v, _, _ = strings.Cut(v, "+")
	out := make([]int, 3)
	for i, part := range strings.Split(v, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		if i < len(out) {
			out[i] = n
		}
	}
	return out, true
}
