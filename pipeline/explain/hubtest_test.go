//go:build !edge

package explain

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/expr-lang/expr"

	"cs/decisions"
	"cs/platform/sharedtest"
)

// TestHub runs the tests of the public hub, and evaluates each of their
// assertions a second time, with upstream's own language, over results in
// upstream's own form.
func TestHub(t *testing.T) {
	h, err := openHub(filepath.Join(sharedtest.Dir(t), "hub"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := h.Tests()
	if err != nil || len(names) == 0 {
		t.Fatal("no tests found: ", err)
	}
	checked := 0
	mutated := map[string]int{}
	for i, name := range names {
		if testing.Short() && i%5 != 0 {
			continue
		}
		checked += testAndMutate(t, h, name, mutated)
	}
	for _, kind := range kindsOfAsserts {
		if mutated[kind.name] == 0 && !testing.Short() {
			t.Errorf("no assertion of the kind %q was mutated", kind.name)
		}
	}
	t.Logf("mutated: %v", mutated)
	t.Logf("%d tests with %d assertions", len(names), checked)
}

// testAndMutate runs a test of a hub, evaluates its assertions a second time and mutates
// them. It returns how many there are.
func testAndMutate(t *testing.T, h *Hub, name string, mutated map[string]int) (checked int) {
	t.Run(name, func(t *testing.T) {
		r := h.Test(context.Background(), name)
		checked = r.Checked
		for _, w := range r.Warnings {
			t.Log(w)
		}
		for _, f := range r.Failures {
			t.Error(f)
		}
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		compareWithVM(t, filepath.Join(h.tests, name), r.Record)
		mutate(t, filepath.Join(h.tests, name), r.Record, mutated)
	})
	return checked
}

// TestOddHub runs tests of content that is unlike the public hub's. odd-nodes and odd-order
// came out the same in CrowdSec 1.4.6, but for what it writes differently; it has too
// little for odd-newer.
func TestOddHub(t *testing.T) {
	h, err := openHub(filepath.Join("testdata", "hub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]int{"odd-nodes": 300, "odd-order": 300, "odd-newer": 100} {
		if n := testAndMutate(t, h, name, map[string]int{}); n < least {
			t.Errorf("%s: %d assertions", name, n)
		}
	}
}

// What upstream's assertions see, as Go types.
type (
	vmEntry struct {
		Success bool
		Evt     vmEvent
	}
	vmEvent struct {
		Parsed, Meta, Enriched map[string]string
		Unmarshaled            map[string]any
		Whitelisted            bool
		WhitelistReason        string
		StrTime, MarshaledTime string
		Stage                  string
	}
	vmResult   struct{ Overflow vmOverflow }
	vmOverflow struct {
		Sources map[string]vmSource
		Alert   vmAlert
	}
	vmSource struct{ IP, Range, Scope, Value string }
	vmAlert  struct {
		Events      []vmAlertEvent
		Remediation bool
		Scenario    string
		EventsCount int
		Source      vmSource
	}
	vmAlertEvent struct{ Meta []decisions.KeyValue }
)

func (s vmSource) GetScope() string       { return s.Scope }
func (s vmSource) GetValue() string       { return s.Value }
func (a vmAlert) GetScenario() string     { return a.Scenario }
func (a vmAlert) GetScope() string        { return a.Source.Scope }
func (a vmAlert) GetValue() string        { return a.Source.Value }
func (a vmAlert) GetEventsCount() int     { return a.EventsCount }
func (o vmOverflow) GetSources() []string { return slices.Sorted(maps.Keys(o.Sources)) }
func (e vmAlertEvent) GetMeta(k string) string {
	for _, kv := range e.Meta {
		if kv.Key == k {
			return kv.Value
		}
	}
	return ""
}

func vmResults(results any) any {
	source := func(s *decisions.Source) vmSource { return vmSource{s.IP, s.Range, s.Scope, s.Value} }
	switch results := results.(type) {
	case []Result:
		var out []vmResult
		for _, r := range results {
			a := r.Overflow.Alert()
			vm := vmOverflow{Sources: map[string]vmSource{}, Alert: vmAlert{
				Remediation: a.Remediation, Scenario: a.Scenario, EventsCount: int(a.EventsCount), Source: source(&a.Source),
			}}
			for k, s := range r.Overflow.Sources() {
				vm.Sources[k] = source(s)
			}
			for _, e := range a.Events {
				vm.Alert.Events = append(vm.Alert.Events, vmAlertEvent{e.Meta})
			}
			out = append(out, vmResult{vm})
		}
		return out
	case map[string]map[string][]Entry:
		out := map[string]map[string][]vmEntry{}
		for stage, nodes := range results {
			out[stage] = map[string][]vmEntry{}
			for node, entries := range nodes {
				out[stage][node] = nil
				for _, e := range entries {
					out[stage][node] = append(out[stage][node], vmEntry{e.Success, vmEvent{
						Parsed: e.Event.Parsed, Meta: e.Event.Meta, Enriched: e.Event.Enriched, Unmarshaled: e.Event.Unmarshaled,
						Whitelisted: e.Event.Whitelisted, WhitelistReason: e.Event.WhitelistReason,
						StrTime: e.Event.StrTime, MarshaledTime: e.Event.MarshaledTime, Stage: e.Event.Stage,
					}})
				}
			}
		}
		return out
	}
	panic(fmt.Sprintf("no results: %T", results))
}

// compareWithVM evaluates the assertions of a test with the oracle.
func compareWithVM(t *testing.T, dir string, rec *Record) {
	for _, a := range []*asserts{parserAsserts(parserName, rec), scenarioAsserts(scenarioName, rec)} {
		text, err := os.ReadFile(filepath.Join(dir, a.file))
		if err != nil {
			continue // a file that the test does not need
		}
		env := map[string]any{
			"results": vmResults(a.ctx.Vars[0]), "basename": filepath.Base, "Upper": strings.ToUpper,
			"FloatApproxEqual": func(a, b any) bool {
				var x, y float64
				fmt.Sscan(fmt.Sprint(a), &x)
				fmt.Sscan(fmt.Sprint(b), &y)
				return math.Abs(x-y) < 1e-6
			},
		}
		for line := range bytes.Lines(text) {
			line := strings.TrimRight(string(line), "\r\n")
			if line == "" {
				continue
			}
			got, gotErr := a.holds(line)
			want, wantErr := expr.Eval(rewritten(line), env)
			if (gotErr != nil) != (wantErr != nil) || wantErr == nil && want != got {
				t.Errorf("%s: %s\nis %v, %v; upstream's language says %v, %v", a.file, line, got, gotErr, want, wantErr)
			}
		}
	}
}

// kindsOfAsserts are the shapes of assertions that the hub's tests have.
var kindsOfAsserts = []struct {
	name string
	re   *regexp.Regexp
}{
	{"number of results", regexp.MustCompile(`^len\(results\) == `)},
	{"number of entries", regexp.MustCompile(`^len\(results\[.*\) == `)},
	{"success", regexp.MustCompile(`\.Success == `)},
	{"path of the log", regexp.MustCompile(`datasource_path`)},
	{"parsed", regexp.MustCompile(`\.Evt\.Parsed\[.* == "`)},
	{"meta", regexp.MustCompile(`\.Evt\.Meta\[.* == "`)},
	{"enriched", regexp.MustCompile(`\.Evt\.Enriched\[.* == "`)},
	{"text in a document", regexp.MustCompile(`\.Evt\.Unmarshaled\[.* == "`)},
	{"number in a document", regexp.MustCompile(`\.Evt\.Unmarshaled\[.* == [0-9]`)},
	{"truth in a document", regexp.MustCompile(`\.Evt\.Unmarshaled\[.* == (true|false)`)},
	{"nearly a number", regexp.MustCompile(`^FloatApproxEqual\(`)},
	{"whitelisted", regexp.MustCompile(`\.Evt\.Whitelisted == `)},
	{"reason", regexp.MustCompile(`\.Evt\.WhitelistReason == `)},
	{"address of a source", regexp.MustCompile(`\.Sources\[.*\.IP == `)},
	{"range of a source", regexp.MustCompile(`\.Sources\[.*\.Range == `)},
	{"scope of a source", regexp.MustCompile(`\.Sources\[.*\.GetScope\(\) == `)},
	{"value of a source", regexp.MustCompile(`\.Sources\[.*\.GetValue\(\) == `)},
	{"meta of an event", regexp.MustCompile(`\.Events\[.*\.GetMeta\(.* == `)},
	{"scenario", regexp.MustCompile(`\.Alert\.GetScenario\(\) == `)},
	{"remediation", regexp.MustCompile(`\.Alert\.Remediation == `)},
	{"number of events", regexp.MustCompile(`\.Alert\.GetEventsCount\(\) == `)},
}

// mutate makes some assertions of each kind untrue, one at a time: each must be
// found, with what was expected and what is.
func mutate(t *testing.T, dir string, rec *Record, mutated map[string]int) {
	for _, a := range []*asserts{parserAsserts(parserName, rec), scenarioAsserts(scenarioName, rec)} {
		text, err := os.ReadFile(filepath.Join(dir, a.file))
		if err != nil || len(rec.Overflows) == 0 && a.file == scenarioName && !bytes.HasPrefix(text, []byte("len(results) ==")) {
			continue
		}
		done := map[string]int{}
		for raw := range bytes.Lines(text) {
			line := strings.TrimRight(string(raw), "\r\n")
			for _, kind := range kindsOfAsserts {
				if !kind.re.MatchString(line) {
					continue
				}
				if done[kind.name]++; done[kind.name] > 2 {
					break
				}
				wrong := untrue(line)
				failures, checked, err := a.check([]byte("true\n" + wrong + "\n"))
				if err != nil || checked != 2 || len(failures) != 1 || failures[0].Line != 2 || failures[0].Assert != wrong || failures[0].Expected == failures[0].Value {
					t.Errorf("%s: %s\npasses: %+v, %v", a.file, wrong, failures, err)
				}
				mutated[kind.name]++
				break
			}
		}
	}
}

// untrue turns an assertion that holds into one that doesn't.
func untrue(line string) string {
	if strings.HasPrefix(line, "FloatApproxEqual(") {
		return strings.TrimSuffix(line, ")") + " * 2 + 1)"
	}
	i := strings.LastIndex(line, " == ") + len(" == ")
	left, right := line[:i], line[i:]
	switch {
	case strings.HasSuffix(right, `"`):
		return left + right[:len(right)-1] + `~"`
	case right == "true":
		return left + "false"
	case right == "false":
		return left + "true"
	}
	return left + right + " + 1"
}
