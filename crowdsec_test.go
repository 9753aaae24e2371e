//go:build !bouncer_only

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cs/platform"
	"cs/roles/config"
)

func daemonEnv(out *bytes.Buffer) *platform.Env {
	return &platform.Env{
		Program: "crowdsec", Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Version: "v1",
		LookupEnv: func(string) (string, bool) { return "", false },
	}
}

func TestIsCrowdsec(t *testing.T) {
	f := func(program string, want bool, args ...string) {
		t.Helper()
		if got := isCrowdsec(program, args); got != want {
			t.Errorf("%s %v: %v", program, args, got)
		}
	}
	f("crowdsec", true)
	f("crowdsec-firewall-bouncer", false, "-t")
	f("cs", true, "-c", "x.yaml", "-dsn", "file://x")
	f("cs", false, "run", "-c", "x.yaml")
	f("cscli", false, "hubtest", "run", "--crowdsec", "crowdsec")
}

// Faults of the command line are told in the words of upstream's, and cost 2.
func TestDaemonRefuses(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := executeDaemon(context.Background(), args, daemonEnv(&out)); got != code || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit %d with\n%s\nwant %d and %q", args, got, out.String(), code, want)
		}
	}
	f(2, "flag provided but not defined: -foobar", "-foobar")
	f(2, "argument provided but not defined: x", "-t", "x")
	f(2, `"a" is not of the form key:value`, "-label", "a")
	f(2, `"a:b:c" is not of the form key:value`, "--label", "x:y,a:b:c")
	f(0, "Usage of crowdsec", "-h")
	f(0, "version: v1", "-version")
	f(1, "-dsn requires a -type argument", "-dsn", "file:///x")
	f(1, "-type requires a -dsn argument", "-type", "x")
	f(1, "-transform requires a -dsn argument", "-transform", "x")
	f(1, "cannot use the transform: cannot compile expression: unknown name x", "-transform", "x", "-dsn", "file:///x", "-type", "x")
	f(1, "you must run at least the API Server or crowdsec", "-no-cs", "--no-api")
	f(1, "cannot read the configuration", "-c", filepath.Join(t.TempDir(), "none.yaml"))
	f(1, "unknown parameter x", "-dsn", "journalctl://x", "-type", "x")
	f(1, "unknown parameter y", "-dsn", "file:///x?y=1", "-type", "x")
	f(1, "syslog datasource does not support command-line acquisition", "-dsn", "syslog://x", "-type", "x")
	f(1, "cannot write the profile", "-cpu-profile", filepath.Join(t.TempDir(), "no", "file"), "-version")
}

func TestDaemonSource(t *testing.T) {
	var out bytes.Buffer
	d, err := parseDaemon([]string{"-dsn", "file:///var/log/*.log?max_buffer_size=100&log_level=debug", "--type=nginx", "-label", "a:1,b:", "-label", "c:3", "-order-event", "-no-capi", "-debug"}, daemonEnv(&out))
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.source()
	if err != nil {
		t.Fatal(err)
	}
	level := slog.LevelDebug
	want := config.Acquisition{
		Source: "file", LogLevel: &level, Cat: true, DSN: "file:///var/log/*.log?max_buffer_size=100&log_level=debug",
		Labels: map[string]string{"type": "nginx", "a": "1", "b": "", "c": "3"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDaemonDumps runs it as upstream's cscli runs its tests: a configuration
// below the working directory, links to the content, dumps, and no LAPI.
func TestDaemonDumps(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.yaml", "config_paths: {config_dir: "+dir+", data_dir: "+dir+"}\ncrowdsec_service: {parser_routines: 1}\napi: {server: {listen_uri: '127.0.0.1:1'}}\n")
	write("parsers/s01-parse/line.yaml", "name: acme/line\ngrok:\n  pattern: '^%{GREETING:word}$'\n  apply_on: Line.Raw\n")
	write("parsers/s00-raw/00_overrides.yaml", `format: ""
name: overrides
filter: 1==1
enrichfunctions:
  registered: {}
statics:
- target: evt.Line.Module
  value: wineventlog
  runtimevalue: null
onsuccess: next_stage
`) // as upstream's cscli writes it
	write("patterns/acme", "GREETING hello|bye\n")
	write("x.log", "hello\nnobody\n")
	args := []string{"-c", filepath.Join(dir, "config.yaml"), "-type", "acme", "-dsn", "file://" + filepath.Join(dir, "x.log"), "-order-event"}
	var out bytes.Buffer
	dumps := filepath.Join(dir, "dumps")
	if code := executeDaemon(context.Background(), append(args, "-dump-data", dumps), daemonEnv(&out)); code != 0 {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	text, err := os.ReadFile(filepath.Join(dumps, "parser-dump.yaml"))
	if err != nil || !strings.Contains(string(text), "word: hello") || !strings.Contains(string(text), "Module: wineventlog") {
		t.Errorf("%v, dump is\n%s", err, text)
	}
	if code := executeDaemon(context.Background(), append(args, "-t"), daemonEnv(&out)); code != 0 || !strings.Contains(out.String(), "Configuration test done") {
		t.Errorf("exit %d: %s", code, out.String())
	}
	// Patterns of paths, packed files, a transform.
	write("y.log", "said: bye\n")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("said: hello\nsaid: hello\n"))
	z.Close()
	write("z.log.gz", packed.String())
	args[5] = "file://" + filepath.Join(dir, "[yz].log*")
	out.Reset()
	if code := executeDaemon(context.Background(), append(args, "-dump-data", dumps, "-transform", "TrimPrefix(evt.Line.Raw, 'said: ')"), daemonEnv(&out)); code != 0 {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	text, err = os.ReadFile(filepath.Join(dumps, "parser-dump.yaml"))
	if err != nil || strings.Count(string(text), "word: hello") != 2 || strings.Count(string(text), "word: bye") != 1 {
		t.Errorf("%v, dump is\n%s", err, text)
	}
	args[5] = "file://" + filepath.Join(dir, "none*.log")
	out.Reset()
	if code := executeDaemon(context.Background(), append(args, "-dump-data", dumps), daemonEnv(&out)); code != 1 || !strings.Contains(out.String(), "none*.log") {
		t.Errorf("exit %d: %s", code, out.String())
	}
	args[5] = "file://" + filepath.Join(dir, "x.log")
	write("lapi.yaml", "config_paths: {config_dir: "+dir+", data_dir: "+dir+"}\napi: {server: {listen_uri: '127.0.0.1:1'}}\n")
	out.Reset()
	if code := executeDaemon(context.Background(), append(args, "-c", filepath.Join(dir, "lapi.yaml")), daemonEnv(&out)); code != 1 || !strings.Contains(out.String(), "enables no crowdsec_service") {
		t.Errorf("exit %d: %s", code, out.String())
	}
	// Faulty content is an error where somebody wants to see what it does.
	write("scenarios/bad.yaml", "name: acme/bad\ntype: leeky\n")
	for _, more := range [][]string{{"-dump-data", dumps}, {"-t"}} {
		out.Reset()
		if code := executeDaemon(context.Background(), append(args, more...), daemonEnv(&out)); code != 1 || !strings.Contains(out.String(), "bad.yaml") {
			t.Errorf("%v: exit %d: %s", more, code, out.String())
		}
	}
}
