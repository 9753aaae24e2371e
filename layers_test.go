package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// The house has floors: a package imports only what is below it, and columns
// never import each other. README, section "Where things are", draws it.
//
// allowed lists for each room (longest prefix wins) the rooms it may import,
// beside itself and what is below it.
var allowed = map[string][]string{
	"cs":                 {"cs/"}, // wiring: everything
	"cs/bench":           {"cs/"}, // measures everything
	"cs/roles/run":       {"cs/roles/agent", "cs/roles/lapi", "cs/roles/bouncer", "cs/roles/engine", "cs/roles/config", "cs/roles/api", "cs/pipeline", "cs/remediate", "cs/storage", "cs/decisions", "cs/platform"},
	"cs/roles/agent":     {"cs/roles/engine", "cs/roles/config", "cs/roles/api", "cs/pipeline", "cs/decisions", "cs/platform"},
	"cs/roles/lapi":      {"cs/roles/config", "cs/roles/api", "cs/storage", "cs/pipeline/expr", "cs/decisions", "cs/platform"},
	"cs/roles/bouncer":   {"cs/roles/config", "cs/roles/api", "cs/remediate", "cs/decisions", "cs/platform"},
	"cs/roles/takeover":  {"cs/roles/config", "cs/storage", "cs/platform"},
	"cs/roles/container": {"cs/roles/config", "cs/platform"},
	"cs/roles/register":  {"cs/roles/config", "cs/roles/api", "cs/platform"},
	"cs/roles/setup":     {"cs/roles/engine", "cs/roles/config", "cs/pipeline/expr", "cs/platform"},
	"cs/roles/cli":       {"cs/roles/setup", "cs/roles/status", "cs/roles/engine", "cs/roles/config", "cs/roles/api", "cs/pipeline/explain", "cs/pipeline/hub", "cs/storage", "cs/decisions", "cs/platform"},
	"cs/roles/status":    {"cs/roles/config", "cs/roles/api", "cs/storage", "cs/decisions", "cs/platform"},
	"cs/roles/engine":    {"cs/roles/config", "cs/pipeline", "cs/decisions", "cs/platform"},
	"cs/roles/config":    {"cs/roles/api", "cs/decisions", "cs/platform"},
	"cs/roles/api":       {"cs/decisions", "cs/platform"},
	"cs/pipeline":        {"cs/decisions", "cs/platform"},
	"cs/remediate":       {"cs/decisions", "cs/platform"},
	"cs/storage":         {"cs/decisions", "cs/platform"},
	"cs/decisions":       {"cs/platform"},
	"cs/platform":        {},
	"cs/pipeline/expr":   {"cs/pipeline/event", "cs/pipeline/match", "cs/decisions", "cs/platform"},
	"cs/pipeline/match":  {"cs/platform"},
	"cs/pipeline/grok":   {"cs/pipeline/match", "cs/platform"},
	"cs/pipeline/event":  {"cs/platform"},
	"cs/pipeline/bucket": {"cs/pipeline/event", "cs/platform"},
}

// forbidden lists packages (with "/...": trees of them) that a build must not
// link, and why.
var forbidden = []struct{ tags, pkg, why string }{
	{"", "testing", "test code in the product"},
	{"", "cs/platform/sharedtest", "test code in the product"},
	{"", "cs/storage/storagetest", "test code in the product"},
	{"", "cs/remediate/remediatetest", "test code in the product"},
	{"", "cs/pipeline/enrich/enrichtest", "test code in the product"},
	{"", "net/http/httptest", "test code in the product"},
	{"", "cs/pipeline/source/sourcetest", "test code in the product"},
	{"", "cs/pipeline/expr/syntax/syntaxtest", "test code in the product"},
	{"", "github.com/expr-lang/expr/...", "the oracle of the tests; pipeline/expr parses and compiles expressions itself"},
	{"", "github.com/corazawaf/libinjection-go", "the twin of the tests; pipeline/expr/injection recognises attacks itself"},
	{"", "github.com/google/nftables", "reads back in tests; remediate/nft writes netlink itself"},
	{"edge", "text/template", "linker bloat: it keeps every exported method alive, as kong does in the full build"},
	{"", "html/template", "linker bloat: it keeps every exported method alive"},
	{"edge", "github.com/alecthomas/kong", "it keeps every exported method alive: 1 MB"},
	{"edge", "database/sql", "the edge build has no SQL store"},
	{"edge", "cs/storage/migrate/...", "a router takes over no LAPI"},
	{"edge,bouncer_only", "github.com/alecthomas/kong", "it keeps every exported method alive: 3 MB"},
	{"edge,bouncer_only", "go.etcd.io/bbolt", "the bouncer keeps its set in a flat file"},
	{"edge,bouncer_only", "cs/pipeline/...", "no log line is read by a bouncer"},
	{"edge,bouncer_only", "cs/storage/...", "no store in a bouncer"},
	{"edge,bouncer_only", "cs/roles/lapi/...", "no server in a bouncer"},
}

type listed struct {
	ImportPath   string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

func goList(t *testing.T, args ...string) (pkgs []listed) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Imports,TestImports,XTestImports,GoFiles"}, args...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list %v: %v\n%s", args, err, exit.Stderr)
		}
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func within(pkg, room string) bool {
	return pkg == room || strings.HasPrefix(pkg, strings.TrimSuffix(room, "/")+"/")
}

// room returns the longest listed prefix of a package.
func room(pkg string) (best string) {
	for r := range allowed {
		if (pkg == r || r != "cs" && within(pkg, r)) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

func mayImport(from, to string) bool {
	home := room(from)
	if home != "cs" && within(to, home) && room(to) == home {
		return true
	}
	// A column's own packages see each other, but for those with a line of
	// their own above.
	if home == "cs/pipeline" && within(to, "cs/pipeline") {
		return true
	}
	for _, r := range allowed[home] {
		if within(to, r) {
			return true
		}
	}
	return false
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if room(p.ImportPath) == "" {
			t.Errorf("%s has no room in the house", p.ImportPath)
		}
		for _, i := range p.Imports {
			if within(i, "cs") && !mayImport(p.ImportPath, i) {
				t.Errorf("%s must not import %s", p.ImportPath, i)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestBuildsLinkOnlyWhatTheyMay(t *testing.T) {
	linked := map[string][]listed{}
	for _, f := range forbidden {
		if linked[f.tags] == nil {
			linked[f.tags] = goList(t, "-deps", "-tags", f.tags, ".")
		}
		for _, p := range linked[f.tags] {
			if tree, ok := strings.CutSuffix(f.pkg, "/..."); p.ImportPath == f.pkg || ok && within(p.ImportPath, tree) {
				t.Errorf("build with tags %q links %s: %s", f.tags, p.ImportPath, f.why)
			}
		}
	}
}

// TestTheRulesCatch proves that the rules above refuse what they are for.
func TestTheRulesCatch(t *testing.T) {
	f := func(from, to string, want bool) {
		t.Helper()
		if got := mayImport(from, to); got != want {
			t.Errorf("%s -> %s: %v, want %v", from, to, got, want)
		}
	}
	f("cs/roles/agent", "cs/roles/lapi", false)
	f("cs/roles/run", "cs/roles/lapi", true)
	f("cs/roles/lapi/profile", "cs/roles/agent", false)
	f("cs/roles/lapi", "cs/roles/lapi/profile", true)
	f("cs/pipeline", "cs/storage", false)
	f("cs/pipeline/node", "cs/pipeline/grok", true)
	f("cs/pipeline/match", "cs/pipeline/grok", false)
	f("cs/decisions", "cs/roles/api", false)
	f("cs/remediate/nft", "cs/remediate", true)
	f("cs/storage/bolt", "cs/remediate", false)
	f("cs/platform", "cs/decisions", false)
	f("cs/roles/bouncer", "cs/storage", false)
}
