package flagset

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

type common struct {
	Config string `short:"c" help:"File." env:"T_CONFIG" placeholder:"FILE"`
}

type command struct {
	LAPIURL string   `name:"lapi-url" help:"URL."`
	OnStop  string   `help:"What."`
	DryRun  bool     `help:"Print."`
	Max     int      `help:"Most."`
	Hooks   []string `sep:"," help:"Where."`
	common  `embed:""`
}

func TestParse(t *testing.T) {
	env := map[string]string{"T_CONFIG": "from-env"}
	f := func(line string, want command, wrong string) {
		t.Helper()
		var got command
		err := New(&got).Parse(strings.Fields(line), func(k string) (string, bool) { v, ok := env[k]; return v, ok })
		if wrong != "" {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: error %v, want %q", line, err, wrong)
			}
			return
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", line, got, err, want)
		}
	}
	fromEnv := common{"from-env"}
	f("", command{common: fromEnv}, "")
	f("-c x --lapi-url=http://a?b=c", command{LAPIURL: "http://a?b=c", common: common{"x"}}, "")
	f("--dry-run --on-stop clean --max 3", command{DryRun: true, OnStop: "clean", Max: 3, common: fromEnv}, "")
	f("--dry-run=false --hooks a,b --hooks c", command{Hooks: []string{"a", "b", "c"}, common: fromEnv}, "")
	f("--no-such", command{}, "unknown flag: --no-such")
	f("word", command{}, `unexpected argument "word"`)
	f("--max", command{}, "needs an argument")
	f("--max many", command{}, `invalid argument "many" for --max`)
	if err := New(&command{}).Parse([]string{"--help"}, nil); !errors.Is(err, ErrHelp) {
		t.Errorf("help gives %v", err)
	}
}

func TestUsage(t *testing.T) {
	var b strings.Builder
	if err := New(&common{}).Usage(&b); err != nil || b.String() != "  -c, --config=FILE\n        File. ($T_CONFIG)\n" {
		t.Fatalf("%q, %v", b.String(), err)
	}
}
