//go:build !edge && !bouncer_only

package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"cs/platform/flagset"
	"cs/roles/cli"
)

// TestEveryCommandRuns wants each command to have a Run that the program knows
// how to call: the compiler can't tell.
func TestEveryCommandRuns(t *testing.T) {
	var g grammar
	app, err := kong.New(&g)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range app.Model.Leaves(false) {
		var words []string
		for _, word := range strings.Fields(leaf.FullPath())[1:] {
			if word[0] != '(' { // other names
				words = append(words, word)
			}
		}
		if _, err := flagset.New("cs", "", new(grammar)).Parse(append(words, "--help"), os.LookupEnv); err != flagset.ErrHelp {
			t.Errorf("%s: %v", leaf.FullPath(), err)
		}
		if g.runner(leaf.Target.Addr().Interface()) == nil {
			t.Errorf("%s can't be run", leaf.FullPath())
		}
	}
}

// TestParsersAgree reads command lines with kong, as the default build does,
// and with flagset, as the edge build does. The tests of roles/cli do the same
// with theirs.
func TestParsersAgree(t *testing.T) {
	t.Setenv("CS_TOKEN", "from-the-environment")
	t.Setenv("CS_CONFIG_FILE", "/etc/a.yaml")
	byKong := func(args []string) (*grammar, any, string) {
		var g grammar
		app, err := kong.New(&g, kong.Name("cs"), kong.Exit(func(int) {}), kong.Writers(&bytes.Buffer{}, &bytes.Buffer{}))
		if err != nil {
			t.Fatal(err)
		}
		c, err := app.Parse(cli.Arrange(app.Model, args))
		if err != nil {
			refused := err.(*kong.ParseError)
			return nil, nil, cli.UsageError(err, strings.TrimSpace("cs "+cli.CommandPath(refused.Context)))
		}
		return &g, c.Selected().Target.Addr().Interface(), ""
	}
	byFlagset := func(args []string) (*grammar, any, string) {
		var g grammar
		c, err := flagset.New("cs", "", &g).Parse(args, os.LookupEnv)
		if err != nil {
			return nil, nil, err.Error()
		}
		return &g, c.Target, ""
	}
	f := func(line, wantErr string) {
		t.Helper()
		args := strings.Fields(line)
		g1, c1, err1 := byKong(args)
		g2, c2, err2 := byFlagset(args)
		if err1 != wantErr || err2 != wantErr {
			t.Errorf("%s: kong says %q, flagset %q, want %q", line, err1, err2, wantErr)
		}
		if err1 != "" || err2 != "" {
			return
		}
		if !reflect.DeepEqual(c1, c2) {
			t.Errorf("%s: kong fills %+v, flagset %+v", line, c1, c2)
		}
		if !reflect.DeepEqual(g1.Globals, g2.Globals) {
			t.Errorf("%s: kong fills %+v, flagset %+v", line, g1.Globals, g2.Globals)
		}
	}
	f("run", "")
	f("run --no-agent --no-bouncer --listen 127.0.0.1:1 --token x -c b.yaml --data-dir=/d", "")
	f("run --log a,b --type nginx --log - --type syslog --hooks input,forward --hooks prerouting --ignore 10.0.0.0/8", "")
	f("run --max-buckets 5 --content rules --acquis ./acquis.yaml --from-start --dry-run=false --on-stop clean", "")
	f("--debug agent --replay --dry-run --log /var/log/auth.log --acquis -", "")
	f("agent --lapi-url /run/cs.sock --machine -m -o json", "")
	f("lapi", "")
	f("lapi --listen :8080 --token= -c x", "")
	f("lapi --trace serve --listen :8080", "")
	f("lapi status -o raw", "")
	f("lapi register -u http://a?b=c -f-", "")
	f("bouncer-firewall --api-key=k --update-frequency 3s --name n --on-stop keep", "")
	f("bouncer-firewall status -o json --data-dir /d", "")
	f("bouncer-firewall verify --sample 5", "")
	f("bouncer-firewall explain 192.0.2.1", "")
	f("bouncer-firewall try --for 1m --api-key k --hooks input", "")
	f("register --url http://a --file x", "")
	f("-o=human decision add -i1.2.3.4 -d=2d -R --why -B", "")
	f("decisions list -am --limit -1 --since 1d12h --until=", "")
	f("decisions import -i - --batch=-5 --format values", "")
	f("alert inspect 1 -d 2 -- -3", "")
	f("machines delete a --ignore-missing b", "")
	f("hubtest --hub=h run a b --max-jobs 2", "")
	f("hubtest run --all", "")

	f("hub update --with-content --source /x --branch b", "")
	f("hub upgrade -i --dry-run", "")
	f("hub import x.tgz --install", "")
	f("collection install a b/c -d --force --ignore", "")
	f("waf-rules delete --all --purge", "")
	f("parsers upgrade -a -o raw", "")
	f("scenarios inspect a --diff --rev --no-metrics -u http://x", "")
	f("contexts install", "requires at least 1 arg(s), only received 0")
	f("nonsense", `unknown command "nonsense" for "cs"`)
	f("machine lst", "unknown command \"lst\" for \"cs machines\"\n\nDid you mean this?\n  list")
	f("run --no-such", "unknown flag: --no-such")
	f("lapi status --listen x", "unknown flag: --listen")
	f("run -x", "unknown shorthand flag: 'x' in -x")
	f("run now", "accepts 0 arg(s), received 1")
	f("register", `required flag(s) "lapi-url" not set`)
	f("register --lapi-url", "flag needs an argument: --lapi-url")
	f("decisions list -l 1x", `invalid argument "1x" for "-l, --limit" flag: strconv.ParseInt: parsing "1x": invalid syntax`)
	f("decisions list --since soon", `invalid argument "soon" for "--since" flag: time: invalid duration "soon"`)
}
