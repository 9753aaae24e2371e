package flagset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type common struct {
	Config string `short:"c" help:"File." env:"T_CONFIG" placeholder:"FILE"`
	Debug  bool   `hidden:"" help:"More."`
}

// A level is a flag with a type of its own.
type level string

func (l *level) UnmarshalText(text []byte) error {
	if *l = level(text); *l == "bad" {
		return errors.New("no such level")
	}
	return nil
}

type list struct {
	LAPIURL string   `name:"lapi-url" aliases:"url" short:"u" help:"URL."`
	OnStop  string   `help:"What." default:"keep"`
	All     bool     `short:"a" help:"All of them, with a text that is so long that it goes on in the next line."`
	Machine bool     `short:"m"`
	Max     int      `short:"l" help:"Most." env:"T_MAX"`
	Size    int64    `default:"7"`
	Level   level    `default:"info" placeholder:"LEVEL"`
	Hooks   []string `help:"Where."`
	Files   []string `sep:"none"`
	Skipped string   `kong:"-"`
}

type grammar struct {
	common

	Things struct {
		List   list `cmd:"" help:"List."`
		Add    add  `cmd:"" aliases:"new,create" help:"Add."`
		Delete struct {
			Name []string `arg:"" help:"Names."`
		} `cmd:""`
		Move struct {
			From string   `arg:""`
			To   string   `arg:"" optional:"" help:"Where to."`
			How  struct{} `embed:""`
		} `cmd:""`
	} `cmd:"" aliases:"thing" group:"Nouns" help:"Things."`
	Serve struct {
		Run struct {
			Listen string `help:"Address."`
			Quiet  bool
		} `cmd:"" default:"withargs" hidden:""`
		Status struct{} `cmd:"" help:"Status."`
	} `cmd:"" help:"Serve."`
}

type add struct {
	Input string   `short:"i" required:"" env:"T_INPUT"`
	Key   string   `required:""`
	Name  []string `arg:"" optional:""`
}

// parse reads a line, of which "_" is an empty word, and returns the path and
// the struct of the command that it calls.
func parse(line string, env map[string]string) (path string, target any, g grammar, err error) {
	args := strings.Fields(line)
	for i, a := range args {
		if a == "_" {
			args[i] = ""
		}
	}
	c, err := New("prog", "Does it.", &g).Parse(args, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	path, target = c.Path(), c.Target
	return path, target, g, err
}

func TestParse(t *testing.T) {
	f := func(line, wantPath string, want any) {
		t.Helper()
		path, target, g, err := parse(line, nil)
		if err != nil || path != wantPath {
			t.Errorf("%q: path %q, error %v", line, path, err)
			return
		}
		if got := reflect.ValueOf(target).Elem().Interface(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%q: got %+v, want %+v", line, got, want)
		}
		if wantConfig := strings.Contains(line, "CONF"); wantConfig != (g.Config == "CONF") {
			t.Errorf("%q: configuration %q", line, g.Config)
		}
	}
	of := func(change func(*list)) list {
		l := list{OnStop: "keep", Size: 7, Level: "info"}
		change(&l)
		return l
	}
	f("things list", "things list", of(func(*list) {}))
	f("thing list --on-stop=a=b --lapi-url x", "things list", of(func(l *list) { l.OnStop, l.LAPIURL = "a=b", "x" }))
	f("things list --url x --on-stop=", "things list", of(func(l *list) { l.OnStop, l.LAPIURL = "", "x" }))
	f("things list -u=x --on-stop _", "things list", of(func(l *list) { l.OnStop, l.LAPIURL = "", "x" }))
	f("things list -ux", "things list", of(func(l *list) { l.LAPIURL = "x" }))
	f("things list -amux", "things list", of(func(l *list) { l.All, l.Machine, l.LAPIURL = true, true, "x" }))
	f("things list -am -u -x", "things list", of(func(l *list) { l.All, l.Machine, l.LAPIURL = true, true, "-x" }))
	f("things list -a=false --machine=true", "things list", of(func(l *list) { l.Machine = true }))
	f("things list -l -3 --size=-4", "things list", of(func(l *list) { l.Max, l.Size = -3, -4 }))
	f("things list -l3 -l 4", "things list", of(func(l *list) { l.Max = 4 }))
	f("things list --hooks a,b --hooks c --files a,b --files c", "things list",
		of(func(l *list) { l.Hooks, l.Files = []string{"a", "b", "c"}, []string{"a,b", "c"} }))
	f("things list --level high", "things list", of(func(l *list) { l.Level = "high" }))
	f("-c CONF --max=3 things -a list --url --", "things list", of(func(l *list) { l.Max, l.All, l.LAPIURL = 3, true, "--" }))
	f("things list -c CONF", "things list", of(func(*list) {}))

	f("things create -i - --key=k", "things add", add{Input: "-", Key: "k"})
	f("things add a -i x b --key k - -- -c --help", "things add", add{"x", "k", []string{"a", "b", "-", "-c", "--help"}})
	f("things add list a,b _ --key k -i x", "things add", add{"x", "k", []string{"list", "a,b", ""}})

	var g grammar
	f("serve", "serve", g.Serve.Run)
	f("serve --quiet", "serve", struct {
		Listen string
		Quiet  bool
	}{Quiet: true})
	f("--config CONF serve --listen status", "serve", struct {
		Listen string
		Quiet  bool
	}{Listen: "status"})
	f("serve -c CONF status", "serve status", struct{}{})
}

func TestErrors(t *testing.T) {
	f := func(line, wantPath, want string) {
		t.Helper()
		path, _, _, err := parse(line, map[string]string{"T_INPUT": "from-env"})
		if err == nil || err.Error() != want || path != wantPath {
			t.Errorf("%q: got %q, %v; want %q, %s", line, path, err, wantPath, want)
		}
	}
	f("", "", ErrNoCommand.Error())
	f("things -c x", "things", ErrNoCommand.Error())
	f("--help", "", ErrHelp.Error())
	f("things list --no-such -ah", "things list", ErrHelp.Error())
	f("nonsense", "", `unknown command "nonsense" for "prog"`)
	f("things nonsense --help", "things", `unknown command "nonsense" for "prog things"`)
	f("thing lst", "things", "unknown command \"lst\" for \"prog things\"\n\nDid you mean this?\n  list")
	f("things -- list", "things", "unknown command \"list\" for \"prog things\"\n\nDid you mean this?\n  list")
	f("serve ru", "serve", `unknown command "ru" for "prog serve"`)
	f("serve --listen x status", "serve status", "unknown flag: --listen")
	f("serve status --listen x", "serve status", "unknown flag: --listen")
	f("--no-such things list", "things list", "unknown flag: --no-such")
	f("things --no-such=3", "things", "unknown flag: --no-such")
	f("things list -ax", "things list", "unknown shorthand flag: 'x' in -ax")
	f("things list -日本", "things list", "unknown shorthand flag: '日' in -日本")
	f("things list -al", "things list", "flag needs an argument: --max")
	f("things list --url", "things list", "flag needs an argument: --lapi-url")
	f("--max things list", "things list", "flag needs an argument: --max")
	f("things list -l many", "things list", `invalid argument "many" for "-l, --max" flag: strconv.ParseInt: parsing "many": invalid syntax`)
	f("things list --size=1x", "things list", `invalid argument "1x" for "--size" flag: strconv.ParseInt: parsing "1x": invalid syntax`)
	f("things list -a=perhaps", "things list", `invalid argument "perhaps" for "-a, --all" flag: strconv.ParseBool: parsing "perhaps": invalid syntax`)
	f("things list --level bad", "things list", `invalid argument "bad" for "--level" flag: no such level`)
	f("things list a -l 3 b", "things list", "accepts 0 arg(s), received 2")
	f("things delete", "things delete", "requires at least 1 arg(s), only received 0")
	f("things move", "things move", "accepts 2 arg(s), received 0")
	f("things move a b c", "things move", "accepts 2 arg(s), received 3")
	f("things add", "things add", `required flag(s) "key" not set`)
}

func TestEnvironment(t *testing.T) {
	env := map[string]string{"T_CONFIG": "from-env", "T_MAX": "3", "T_INPUT": ""}
	f := func(line, config string, max int) {
		t.Helper()
		_, target, g, err := parse(line, env)
		if l, ok := target.(*list); err != nil || !ok || g.Config != config || l.Max != max {
			t.Errorf("%q: got %+v, %+v, %v", line, g, target, err)
		}
	}
	f("things list", "from-env", 3)
	f("things list -c x -l 0", "x", 0)
	env["T_MAX"] = "many"
	if _, _, _, err := parse("things list", env); err == nil || err.Error() != `invalid value "many" of $T_MAX: strconv.ParseInt: parsing "many": invalid syntax` {
		t.Errorf("got %v", err)
	}
	if _, _, _, err := parse("things add", env); err == nil || err.Error() != `required flag(s) "key" not set` {
		t.Errorf("got %v", err)
	}
	if _, _, _, err := parse("things delete x", env); err != nil {
		t.Errorf("the variable of another command: %v", err)
	}
}

func TestPath(t *testing.T) {
	dir, err := filepath.Abs("a")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	f := func(text, want string) {
		t.Helper()
		var v struct {
			File string `type:"path"`
		}
		if _, err := New("prog", "", &v).Parse([]string{"--file", text}, nil); err != nil || v.File != want {
			t.Errorf("%s: got %s, %v; want %s", text, v.File, err, want)
		}
	}
	f("", "")
	f("-", "-")
	f("a", dir)
	f("./b/../a", dir)
	f(dir, dir)
	f("~/a", filepath.Join(home, "a"))
}

func TestGrammarThatIsNotUnderstood(t *testing.T) {
	defer func() {
		if got := recover(); got != "BUG: ratio has type float64" {
			t.Errorf("got %v", got)
		}
	}()
	New("prog", "", &struct{ Ratio float64 }{})
}

func TestNames(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := dashed(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	f("Input", "input")
	f("OnStop", "on-stop")
	f("ID", "id")
	f("APIKey", "api-key")
	f("BaseURL", "base-url")
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := distance(a, b); got != want || distance(b, a) != want {
			t.Errorf("%q to %q: got %d, want %d", a, b, got, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("list", "list", 0)
	f("list", "lst", 1)
	f("list", "lits", 2)
	f("kitten", "sitting", 3)
}

func TestUsage(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		var g grammar
		c, _ := New("prog", "Does it.", &g).Parse(strings.Fields(line+" --help"), nil)
		var b strings.Builder
		if err := c.Usage(&b); err != nil || b.String() != want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", line, err, b.String(), want)
		}
	}
	f("", `Usage: prog <command> [flags]

Does it.

Flags:
  -h, --help           Show context-sensitive help.
  -c, --config=FILE    File ($T_CONFIG).

Nouns
  things (thing)    Things.

Commands:
  serve    Serve.

Run "prog <command> --help" for more information on a command.
`)
	f("things list", `Usage: prog things list [flags]

List.

Flags:
  -h, --help               Show context-sensitive help.
  -c, --config=FILE        File ($T_CONFIG).

  -u, --lapi-url=VALUE     URL.
      --on-stop=keep       What.
  -a, --all                All of them, with a text that is so long that it goes
                           on in the next line.
  -m, --machine
  -l, --max=VALUE          Most ($T_MAX).
      --size=7
      --level=LEVEL
      --hooks=VALUE,...    Where.
      --files=VALUE
`)
	f("serve", `Usage: prog serve [<command>] [flags]

Serve.

Flags:
  -h, --help            Show context-sensitive help.
  -c, --config=FILE     File ($T_CONFIG).

      --listen=VALUE    Address.
      --quiet

Commands:
  status    Status.

Run "prog serve <command> --help" for more information on a command.
`)
	f("things move", `Usage: prog things move <from> [<to>] [flags]

Arguments:
  <from>
  [<to>]    Where to.

Flags:
  -h, --help           Show context-sensitive help.
  -c, --config=FILE    File ($T_CONFIG).
`)
	f("things add", `Usage: prog things add --input=VALUE --key=VALUE [<name> ...] [flags]

Add.

Arguments:
  [<name> ...]

Flags:
  -h, --help           Show context-sensitive help.
  -c, --config=FILE    File ($T_CONFIG).

  -i, --input=VALUE    ($T_INPUT).
      --key=VALUE
`)
}

// FuzzParse wants any command line to be refused with a message, or to be read
// and to mean the same with "--" behind it.
func FuzzParse(f *testing.F) {
	f.Add("-c x things list --on-stop=a=b -amux -l -3")
	f.Add("thing add -i - --key k a - b")
	f.Add("things -- list")
	f.Add("serve --listen x status")
	f.Add("serve -- - -日本 -=x --=")
	f.Fuzz(func(t *testing.T, line string) {
		path, target, g, err := parse(line, nil)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%q: no message", line)
			}
			return
		}
		if slices.Contains(strings.Fields(line), "--") {
			return
		}
		againPath, again, g2, err := parse(line+" --", nil)
		if err != nil || againPath != path ||
			!reflect.DeepEqual(target, again) || !reflect.DeepEqual(g.common, g2.common) {
			t.Fatalf("%q: got %s %+v, and with a -- behind %s %+v, %v", line, path, target, againPath, again, err)
		}
	})
}
