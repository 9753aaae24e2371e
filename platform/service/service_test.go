package service

import (
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// packaged are the files that packages ship: what an install writes for the
// usual path.
var packaged = map[string]string{
	"systemd": "systemd/cs.service",
	"procd":   "procd/cs",
	"openrc":  "openrc/cs",
	"freebsd": "rc.d/cs.freebsd",
	"openbsd": "rc.d/cs.openbsd",
	"launchd": "launchd/cs.plist",
}

var usual = Spec{Name: "cs", Description: "cs, which detects attacks in logs and blocks the attackers", Program: "/usr/bin/cs", Args: []string{"run"}}

// hard has what needs quotes somewhere.
var hard = Spec{Name: "cs-edge", Description: "100% of it's & <all>", Program: "/opt/my programs/cs", Args: []string{"run", "--data-dir", `/srv/a "b" 'c' $d %e \f`, ""}}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v; got\n%s", path, err, got)
	}
}

func TestFiles(t *testing.T) {
	for _, m := range Managers {
		spec := usual
		if m.Name == "freebsd" || m.Name == "openbsd" || m.Name == "launchd" {
			spec.Program = "/usr/local/bin/cs"
		}
		golden(t, filepath.Join("../../packaging", packaged[m.Name]), m.Text(&spec))
		golden(t, filepath.Join("testdata", m.Name), m.Text(&hard))
	}
}

// printArgs is a program for shells that prints its arguments, one a line.
func printArgs(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nfor a; do printf '[%s]\\n' \"$a\"; done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Shells that read the scripts call the program with the very arguments.
func TestScriptsInAShell(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	spec := hard
	spec.Program = printArgs(t)
	want := "[" + strings.Join(spec.Args, "]\n[") + "]\n"
	// What the managers do with the scripts, in short.
	f := func(name, before, after string) {
		t.Helper()
		m := Managers[slices.IndexFunc(Managers, func(m *Manager) bool { return m.Name == name })]
		path := filepath.Join(t.TempDir(), "script")
		text := m.Text(&spec)
		for _, source := range []string{". /etc/rc.subr", ". /etc/rc.d/rc.subr"} {
			text = strings.ReplaceAll(text, source, "")
		}
		if err := os.WriteFile(path, []byte(before+"\n"+text+"\n"+after), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", path).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %v; got\n%s", name, err, out)
		}
	}
	f("procd", `
		procd_open_instance() { :; }; procd_close_instance() { :; }
		procd_set_param() { [ "$1" != command ] || { shift; "$@"; }; }`, "start_service")
	f("openrc", "", `eval "\"\$command\" $command_args"`)
	f("freebsd", `load_rc_config() { :; }
		run_rc_command() { eval "set -- $command_args"; while [ "$1" != -P ]; do shift; done; shift 2; "$@"; }`, "")
	f("openbsd", `rc_cmd() { eval "\"\$daemon\" $daemon_flags"; }`, "")
}

func TestLaunchdIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(launchd(&hard)))
	var args []string
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := tok.(xml.StartElement); ok && s.Name.Local == "string" {
			var text string
			if err := d.DecodeElement(&text, &s); err != nil {
				t.Fatal(err)
			}
			args = append(args, text)
		}
	}
	if want := append([]string{hard.Name, hard.Program}, hard.Args...); !slices.Equal(args[:len(want)], want) {
		t.Errorf("got %q", args)
	}
}

func TestInstall(t *testing.T) {
	for _, m := range Managers {
		var calls []string
		fail := ""
		h := &host{root: t.TempDir(), run: func(_ context.Context, args []string) error {
			calls = append(calls, strings.Join(args, " "))
			if args[len(args)-1] == fail {
				return errors.New("no")
			}
			return nil
		}}
		path := filepath.Join(h.root, m.File("cs"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again is fine
			if err := h.install(t.Context(), m, &usual); err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != m.Text(&usual) {
			t.Errorf("%s: %v; got\n%s", m.Name, err, text)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != m.mode {
			t.Errorf("%s: %v, %v", m.Name, fi.Mode(), err)
		}
		if err := h.uninstall(t.Context(), m, "cs"); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the file is left", m.Name)
		}
		golden(t, filepath.Join("testdata", m.Name+".calls"), strings.Join(calls, "\n")+"\n")
		if err := h.uninstall(t.Context(), m, "cs"); err == nil {
			t.Errorf("%s: what is not there was uninstalled", m.Name)
		}
		// A distribution's own file is its own.
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		calls = nil
		if h.install(t.Context(), m, &usual) == nil || h.uninstall(t.Context(), m, "cs") == nil || calls != nil {
			t.Errorf("%s: somebody else's file was taken", m.Name)
		}
	}
}

func TestCheck(t *testing.T) {
	f := func(s Spec) {
		t.Helper()
		if s.Check() == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	f(Spec{})
	f(Spec{Name: "-x"})
	f(Spec{Name: "../x"})
	f(Spec{Name: "a b"})
	f(Spec{Name: "x", Args: []string{"a\nExecStartPre=b"}})
	if err := hard.Check(); err != nil {
		t.Error(err)
	}
}

func TestSeverity(t *testing.T) {
	f := func(line string, want int) {
		t.Helper()
		if got := severity(line); got != want {
			t.Errorf("%q is %d", line, got)
		}
	}
	f("time=2026-11-30T10:00:00Z level=INFO msg=hello", info)
	f("time=2026-11-30T10:00:00Z level=WARN msg=hello", warning)
	f("time=2026-11-30T10:00:00Z level=ERROR+1 msg=hello", failure)
	f("time=2026-11-30T10:00:00Z level=warning msg=ERROR", warning)
	f("time=2026-11-30T10:00:00Z level=error msg=hello", failure)
	f("Error: cannot", failure)
	f("time=2026-11-30T10:00:00Z level=debug msg=hello", debug)
	f("", info)
}
