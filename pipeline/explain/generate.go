//go:build !edge

package explain

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"cs/decisions"
)

// The assertions that hold, as upstream's tool writes them (spec §6.3): an
// author starts with them.

// quote writes a text of an assertion.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func generateParser(a *asserts) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	parsers := a.ctx.Vars[0].(map[string]map[string][]Entry)
	line("len(results) == %d", len(parsers))
	for _, stage := range slices.Sorted(maps.Keys(parsers)) {
		for _, node := range slices.Sorted(maps.Keys(parsers[stage])) {
			list := parsers[stage][node]
			of := fmt.Sprintf("results[%s][%s]", quote(stage), quote(node))
			line("len(%s) == %d", of, len(list))
			for i, entry := range list {
				of := fmt.Sprintf("%s[%d]", of, i)
				line("%s.Success == %t", of, entry.Success)
				if !entry.Success {
					continue
				}
				evt := entry.Event
				for _, space := range []struct {
					name   string
					values map[string]string
				}{{"Parsed", evt.Parsed}, {"Meta", evt.Meta}, {"Enriched", evt.Enriched}} {
					for _, k := range slices.Sorted(maps.Keys(space.values)) {
						v, of := space.values[k], fmt.Sprintf("%s.Evt.%s[%s]", of, space.name, quote(k))
						switch {
						case v == "":
						case k == "datasource_path":
							line("basename(%s) == %s", of, quote(filepath.Base(v)))
						default:
							line("%s == %s", of, quote(v))
						}
					}
				}
				generateDocument(line, of+".Evt.Unmarshaled", evt.Unmarshaled)
				line("%s.Evt.Whitelisted == %t", of, evt.Whitelisted)
				if evt.WhitelistReason != "" {
					line("%s.Evt.WhitelistReason == %s", of, quote(evt.WhitelistReason))
				}
			}
		}
	}
	return b.String()
}

// generateDocument writes what a decoded document holds; lists are left out.
func generateDocument(line func(string, ...any), of string, doc any) {
	switch d := doc.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(d)) {
			generateDocument(line, of+"["+quote(k)+"]", d[k])
		}
	case map[string]string:
		for _, k := range slices.Sorted(maps.Keys(d)) {
			generateDocument(line, of+"["+quote(k)+"]", d[k])
		}
	case string:
		if d != "" {
			line("%s == %s", of, quote(d))
		}
	case bool, int, int64:
		line("%s == %v", of, d)
	case float64:
		if d == float64(int64(d)) && d < 1e15 && d > -1e15 {
			line("%s == %d", of, int64(d)) // as it comes back from a dump
		} else {
			line("FloatApproxEqual(%s, %f)", of, d)
		}
	}
}

func generateScenario(a *asserts) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	results := a.ctx.Vars[0].([]Result)
	line("len(results) == %d", len(results))
	for i, r := range results {
		of := fmt.Sprintf("results[%d].Overflow", i)
		sources := r.Overflow.Sources()
		for _, name := range r.Overflow.SourceNames() {
			src := fmt.Sprintf("%s.Sources[%s]", of, quote(name))
			line("%s in %s.GetSources()", quote(name), of)
			line("%s.IP == %s", src, quote(sources[name].IP))
			line("%s.Range == %s", src, quote(sources[name].Range))
			line("%s.GetScope() == %s", src, quote(sources[name].Scope))
			line("%s.GetValue() == %s", src, quote(sources[name].Value))
		}
		alert := r.Overflow.Alert()
		for j, e := range alert.Events {
			for _, kv := range sortedMeta(e) {
				of := fmt.Sprintf("%s.Alert.Events[%d].GetMeta(%s)", of, j, quote(kv.Key))
				if kv.Key == "datasource_path" {
					line("basename(%s) == %s", of, quote(filepath.Base(kv.Value)))
				} else {
					line("%s == %s", of, quote(kv.Value))
				}
			}
		}
		line("%s.Alert.GetScenario() == %s", of, quote(alert.Scenario))
		line("%s.Alert.Remediation == %t", of, alert.Remediation)
		line("%s.Alert.GetEventsCount() == %d", of, alert.EventsCount)
	}
	return b.String()
}

func sortedMeta(e decisions.Event) []decisions.KeyValue {
	return slices.SortedFunc(slices.Values(e.Meta), func(a, b decisions.KeyValue) int { return strings.Compare(a.Key, b.Key) })
}
