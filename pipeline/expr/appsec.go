package expr

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Appsec is evt.Appsec: what a web application firewall found out about a
// request (spec: engine §1.4).
type Appsec struct {
	HasInBandMatches  bool // a rule matched before the request went on
	HasOutBandMatches bool // a rule matched when it was through already
	MatchedRules      MatchedRules
	Vars, HookVars    map[string]string
}

// MatchedRules are the rules that matched, in their order, each a map with the
// keys id uri rule_type method disruptive tags file file_line revision secmark
// accuracy msg severity severity_int name hash version matched_zones logdata
// internal and hook_vars, as far as it has them.
type MatchedRules []map[string]any

// nothing is the Appsec of events that come from elsewhere. It is never
// written.
var nothing Appsec

// appsec is evt.Appsec.
func appsec(x *Ctx) *Appsec {
	if x.Appsec == nil {
		return &nothing
	}
	return x.Appsec
}

func appsecMembers() []Member {
	type all = MatchedRules
	// The methods of the rules are also those of what holds them.
	methods := []Member{}
	both := func(m Member, viaAppsec Member) { methods = append(methods, m, viaAppsec) }
	plain(both, "GetURI", func(l all) string { return l.first("uri") })
	plain(both, "GetHash", func(l all) string { return l.first("hash") })
	plain(both, "GetVersion", func(l all) string { return l.first("version") })
	plain(both, "GetName", func(l all) string { return l.first("name") })
	plain(both, "GetMethod", func(l all) string { return l.first("method") })
	plain(both, "GetNames", func(l all) []string { return l.texts("name") })
	plain(both, "GetRuleIDs", all.ids)
	plain(both, "Kinds", func(l all) []string { return l.texts("rule_type") })
	plain(both, "GetMatchedZones", func(l all) []string { return l.texts("matched_zones") })
	plain(both, "GetHighestSeverity", all.highestSeverity)
	by(both, "GetField", all.field)
	by(both, "ByID", func(l all, id int) all { return l.with("id", id) })
	by(both, "ByKind", func(l all, kind string) all { return l.with("rule_type", kind) })
	by(both, "ByTag", func(l all, tag string) all { return l.tagged(func(t string) bool { return t == tag }) })
	by(both, "ByTags", func(l all, tags []string) all {
		return l.tagged(func(t string) bool { return slices.Contains(tags, t) })
	})
	by(both, "ByTagRx", func(l all, pattern string) all {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return all{}
		}
		return l.tagged(re.MatchString)
	})
	by(both, "ByDisruptiveness", func(l all, yes bool) all { return l.with("disruptive", yes) })
	by(both, "BySeverity", func(l all, severity string) all { return l.with("severity", severity) })
	by(both, "ByAccuracy", func(l all, accuracy string) all { return l.with("accuracy", accuracy) })
	return append(methods,
		Field("HasInBandMatches", func(a *Appsec) bool { return a.HasInBandMatches }),
		Field("HasOutBandMatches", func(a *Appsec) bool { return a.HasOutBandMatches }),
		Field("MatchedRules", func(a *Appsec) all { return a.MatchedRules }),
		Field("Vars", func(a *Appsec) map[string]string { return a.Vars }),
		Field("HookVars", func(a *Appsec) map[string]string { return a.HookVars }),
		Method1("GetVar", func(a *Appsec, name string) string { return a.Vars[name] }))
}

// plain adds a method of the rules that takes nothing.
func plain[V any](add func(_, _ Member), name string, call func(MatchedRules) V) {
	add(Method(name, call), Method(name, func(a *Appsec) V { return call(a.MatchedRules) }))
}

// by adds a method of the rules that takes one argument.
func by[A, V any](add func(_, _ Member), name string, call func(MatchedRules, A) V) {
	add(Method1(name, call), Method1(name, func(a *Appsec, arg A) V { return call(a.MatchedRules, arg) }))
}

// first returns a text of the first rule, "" when there is none.
func (l MatchedRules) first(key string) string {
	if len(l) == 0 {
		return ""
	}
	s, _ := l[0][key].(string)
	return s
}

// field returns the values of a key, of the rules that have it.
func (l MatchedRules) field(key string) []any {
	out := []any{}
	for _, r := range l {
		if v, ok := r[key]; ok {
			out = append(out, v)
		}
	}
	return out
}

// texts returns the texts that rules have under a key, each once; a value may
// be a list of them.
func (l MatchedRules) texts(key string) []string {
	out := []string{}
	for _, r := range l {
		v := r[key]
		if s, ok := v.(string); ok {
			v = []string{s}
		}
		for i := range max(0, listLen(v)) {
			if s, ok := element(v, i).(string); ok && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

func (l MatchedRules) ids() []int {
	out := []int{}
	for _, v := range l.field("id") {
		if id, ok := toInt(v); ok {
			out = append(out, int(id))
		}
	}
	return out
}

// with returns the rules that have a value under a key.
func (l MatchedRules) with(key string, value any) MatchedRules {
	out := MatchedRules{}
	for _, r := range l {
		if v, ok := r[key]; ok && equal(v, value) {
			out = append(out, r)
		}
	}
	return out
}

// tagged returns the rules one of whose tags passes a test.
func (l MatchedRules) tagged(test func(tag string) bool) MatchedRules {
	out := MatchedRules{}
	for _, r := range l {
		if slices.ContainsFunc(MatchedRules{r}.texts("tags"), test) {
			out = append(out, r)
		}
	}
	return out
}

// severities are those of ModSecurity's rules, the worst first.
var severities = [...]string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}

// highestSeverity returns the worst severity of the rules as they spell it, ""
// when none has one.
func (l MatchedRules) highestSeverity() string {
	best, rank := "", len(severities)
	for _, r := range l {
		s := fmt.Sprint(r["severity"])
		if i := slices.Index(severities[:], strings.ToLower(s)); i >= 0 && i < rank {
			best, rank = s, i
		}
	}
	return best
}
