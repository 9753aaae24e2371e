//go:build !edge

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse reads a command line as the default build does, and wants the parser of
// the edge build to agree. The path is empty if the command line has an error.
func parse(t *testing.T, g *grammar, args []string) (path string, command any, err error) {
	t.Helper()
	path, command, err = parseKong(t, g, args)
	var twin grammar
	twinPath, twinCommand, twinErr := parseFlagset(&twin, args)
	if path != twinPath || fmt.Sprint(err) != fmt.Sprint(twinErr) {
		t.Errorf("%q: kong finds %q, %v; flagset %q, %v", args, path, err, twinPath, twinErr)
	}
	globals := g.Globals
	globals.Now = nil
	if err == nil && !(reflect.DeepEqual(command, twinCommand) && reflect.DeepEqual(globals, twin.Globals)) {
		t.Errorf("%q: kong fills %+v and %+v, flagset %+v and %+v", args, command, globals, twinCommand, twin.Globals)
	}
	return path, command, err
}

func parseKong(t *testing.T, g *grammar, args []string) (string, any, error) {
	t.Helper()
	parser, err := kong.New(g, kong.Name("cscli"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parser.Parse(Arrange(parser.Model, args))
	if err == nil {
		return CommandPath(c), c.Selected().Target.Addr().Interface(), nil
	}
	path := "cscli"
	var refused *kong.ParseError
	if errors.As(err, &refused) {
		path = strings.TrimSpace(path + " " + CommandPath(refused.Context))
	}
	return "", nil, errors.New(UsageError(err, path))
}

func TestArrange(t *testing.T) {
	var g struct {
		Globals
		Lapi struct {
			Serve struct {
				Listen string
			} `cmd:"" default:"withargs" hidden:""`
			Status LAPIStatus `cmd:""`
		} `cmd:""`
		Machines Machines `cmd:"" aliases:"machine"`
	}
	parser, err := kong.New(&g)
	if err != nil {
		t.Fatal(err)
	}
	f := func(line, want string) {
		t.Helper()
		if got := strings.Join(Arrange(parser.Model, strings.Fields(line)), " "); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	f("", "")
	f("-o json machine delete a --ignore-missing b", "machine delete -o json --ignore-missing a b")
	f("machines add a -p -x- --force", "machines add --password=-x- --force a")
	f("machines add -p=x -f - a", "machines add --password=x -f - a")
	f("machines add -afx.yaml a", "machines add -afx.yaml a")
	f("machines delete a -- --force b", "machines delete -- a --force b")
	f("machines delete machines list", "machines delete machines list")
	f("machines nonsense --force a", "machines nonsense --force a")
	f("lapi --listen 127.0.0.1:1 --data-dir x", "lapi --listen 127.0.0.1:1 --data-dir x")
	f("--data-dir x lapi status -o raw", "lapi status --data-dir x -o raw")
	f("machines add -u", "machines add -u")
	f("machines add a -u", "machines add a -u")
	f("machines list --unknown x", "machines list --unknown x")
}

// FuzzArrange wants a command line to keep its words, and kong and the
// translation of its errors to survive any.
func FuzzArrange(f *testing.F) {
	f.Add("decisions list -l=3 x --since 1h -- -y")
	f.Add("-o json machine delete a --ignore-missing b")
	f.Add("bouncers add -k - x -l")
	f.Add("-- alerts -l=3")
	f.Fuzz(func(t *testing.T, line string) {
		var g grammar
		parser, err := kong.New(&g, kong.Name("cscli"), kong.Exit(func(int) {}), kong.Writers(&bytes.Buffer{}, &bytes.Buffer{}))
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Fields(line)
		arranged := Arrange(parser.Model, args)
		if len(strings.Join(arranged, "")) < len(strings.Join(args, ""))-2*strings.Count(line, "=") {
			t.Fatalf("%q became %q", args, arranged)
		}
		if again := Arrange(parser.Model, arranged); strings.Join(again, " ") != strings.Join(arranged, " ") {
			t.Fatalf("%q is not settled: %q", arranged, again)
		}
		if _, err := parser.Parse(arranged); err != nil && UsageError(err, "cscli") == "" {
			t.Fatalf("%q: no message for %v", line, err)
		}
	})
}
