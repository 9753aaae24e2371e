package explain

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
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
	h, err := OpenHub(filepath.Join(sharedtest.Dir(t), "hub"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := h.Tests()
	if err != nil || len(names) == 0 {
		t.Fatal("no tests found: ", err)
	}
	checked := 0
	for i, name := range names {
		if testing.Short() && i%5 != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := h.Test(context.Background(), name)
			checked += r.Checked
			for _, w := range r.Warnings {
				t.Log(w)
			}
			for _, f := range r.Failures {
				t.Error(f)
			}
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			compareWithVM(t, filepath.Join(h.tests(), name), r.Record)
		})
	}
	t.Logf("%d tests with %d assertions", len(names), checked)
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
