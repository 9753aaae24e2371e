//go:build !edge

package explain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cs/decisions"
	"cs/pipeline/hub/catalog"
	"cs/platform/order"
	"cs/platform/strict"
)

// What authors of content do with tests beside running them.

// NewTest says what a test that is to be made is about.
type NewTest struct {
	Name, Type                        string
	Parsers, Scenarios, PostOverflows []string
	IgnoreParsers                     bool
}

// Create makes the files of a test, to be filled.
func (h *Hub) Create(t NewTest) (p TestPath, err error) {
	dir, err := h.testDir(t.Name)
	if err != nil {
		return p, err
	}
	if _, err := os.Stat(dir); err == nil {
		return p, fmt.Errorf("test '%s' already exists in '%s', exiting", t.Name, dir)
	}
	parsers := slices.Clip(t.Parsers)
	for _, usual := range []string{"s00-raw/crowdsecurity/syslog-logs", "s02-enrich/crowdsecurity/dateparse-enrich"} {
		stage, name, _ := strings.Cut(usual, "/")
		_, err := os.Stat(filepath.Join(h.dir, "parsers", stage, filepath.FromSlash(name)+".yaml"))
		if err == nil && !slices.Contains(parsers, name) { // as upstream does, whatever the type; a hub may have none
			parsers = append(parsers, name)
		}
	}
	none := func(names []string) []string { // a place to write at
		if len(names) == 0 {
			return []string{""}
		}
		return names
	}
	config := strict.Append(nil, struct {
		Parsers       []string          `yaml:"parsers"`
		Scenarios     []string          `yaml:"scenarios"`
		PostOverflows []string          `yaml:"postoverflows"`
		LogFile       string            `yaml:"log_file"`
		LogType       string            `yaml:"log_type"`
		Labels        map[string]string `yaml:"labels"`
		IgnoreParsers bool              `yaml:"ignore_parsers"`
		Overrides     []string          `yaml:"override_statics"`
	}{parsers, none(t.Scenarios), none(t.PostOverflows), t.Name + ".log", t.Type, nil, t.IgnoreParsers, nil})
	files := map[string][]byte{configName: config, t.Name + ".log": nil, scenarioName: nil}
	if !t.IgnoreParsers {
		files[parserName] = nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, fmt.Errorf("cannot create the test: %w", err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return p, fmt.Errorf("cannot create the test: %w", err)
		}
	}
	p, err = h.Path(t.Name)
	if t.IgnoreParsers {
		p.ParserAsserts = ""
	}
	return p, err
}

// Clean removes what runs of upstream's tool, and Keep, leave in a test.
func (h *Hub) Clean(name string) error {
	dir, err := h.testDir(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, configName)); err != nil {
		return fmt.Errorf("cannot find the test: %w", err)
	}
	for _, left := range []string{"runtime", resultsName} {
		if err := os.RemoveAll(filepath.Join(dir, left)); err != nil {
			return fmt.Errorf("cannot clean the test: %w", err)
		}
	}
	return nil
}

const resultsName = "results"

// Keep writes what happened in a test as dump files to its directory results/.
func (h *Hub) Keep(r *TestResult) error {
	dir, err := h.testDir(r.Name)
	if err != nil || r.Record == nil {
		return err
	}
	return r.Record.WriteDumps(filepath.Join(dir, resultsName))
}

// Eval returns the value of an expression over the results of a test, as YAML.
// results are those of the parsers or, for an expression that needs the
// overflows, those.
func (h *Hub) Eval(ctx context.Context, name, text string) (string, error) {
	r := h.Trace(ctx, name)
	if r.Skipped != "" {
		return "", errors.New(r.Skipped)
	}
	if r.Record == nil {
		return "", r.Err
	}
	a := parserAsserts(parserName, r.Record)
	p, err := a.compiler.Compile(text)
	if err != nil {
		over := scenarioAsserts(scenarioName, r.Record)
		q, overErr := over.compiler.Compile(text)
		if overErr != nil {
			return "", fmt.Errorf("cannot read the expression: %w", err)
		}
		a, p = over, q
	}
	value, err := p.Any(&a.ctx)
	if err != nil {
		return "", fmt.Errorf("cannot evaluate the expression: %w", err)
	}
	return string(strict.Append(nil, dumped(value))), nil
}

// dumped gives results the form that they have in dump files.
func dumped(value any) any {
	switch v := value.(type) {
	case Result:
		return newOverflowEvent(v)
	case []Result:
		list := []overflowEvent{}
		for _, r := range v {
			list = append(list, newOverflowEvent(r))
		}
		return list
	case *Overflow:
		return newDumpedOverflow(v)
	case *decisions.Alert:
		return newDumpedAlert(v)
	case *decisions.Source:
		return newDumpedSource(v)
	case map[string]*decisions.Source:
		m := map[string]dumpedSource{}
		for k, src := range v {
			m[k] = newDumpedSource(src)
		}
		return m
	case decisions.Event:
		return dumpedAlertEvent{v.Meta, v.Timestamp}
	case []decisions.Event:
		list := []dumpedAlertEvent{}
		for _, e := range v {
			list = append(list, dumpedAlertEvent{e.Meta, e.Timestamp})
		}
		return list
	case []any:
		list := []any{}
		for _, e := range v {
			list = append(list, dumped(e))
		}
		return list
	}
	return value
}

// Explain prints what happens to the lines of a test. The warnings are about data
// files and content.
func (h *Hub) Explain(ctx context.Context, name string, t Tree, w io.Writer) (warnings []string, err error) {
	r := &TestResult{Name: name}
	p, err := h.prepare(ctx, r)
	if err != nil {
		return r.Warnings, err
	}
	if p == nil {
		return r.Warnings, errors.New(r.Skipped)
	}
	defer p.remove()
	_, faulty, err := t.Run(ctx, p.opt, p.src, w)
	return r.Warnings, errors.Join(errors.Join(faulty...), err)
}

// Coverage is how often the assertions of tests are about an item.
type Coverage struct {
	Name    string
	Asserts int
	Tests   map[string]int // assertions by test
}

var (
	aboutParser   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`results\["[^"]+"\]\["([^"]+)"\]\[[0-9]+\]\.Evt\.`) })
	aboutScenario = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`results\[[0-9]+\]\.Overflow\.Alert\.GetScenario\(\) == "([^"]+)"`)
	})
)

// Coverage returns for each parser, or scenario, of the hub how often tests are
// about it, by their names. For rules of the WAF it counts the tests that name
// them.
func (h *Hub) Coverage(t catalog.Type) ([]Coverage, error) {
	x := h.index
	if x == nil {
		var err error
		if x, _, err = catalog.ReadFolder(h.dir, nil); err != nil {
			return nil, err
		}
	}
	list := []Coverage{}
	byName := map[string]int{} // index in list of what assertions call it
	for name := range x[t] {
		list = append(list, Coverage{Name: name, Tests: map[string]int{}})
	}
	order.Sort(list, func(a, b Coverage) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.Name, b.Name))
	})
	for i, c := range list {
		at := filepath.Join(h.dir, filepath.FromSlash(x[t][c.Name].Path))
		for _, name := range namesIn(at) {
			byName[name] = i
		}
	}
	for i, c := range list {
		byName[c.Name] = i
	}
	tests := filepath.Join(h.dir, testsName)
	if t == catalog.AppsecRules {
		tests = filepath.Join(h.dir, wafTestsName)
	}
	names, err := testsIn(tests)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	count := func(test, item string) {
		if i, ok := byName[item]; ok {
			list[i].Asserts++
			list[i].Tests[test]++
		}
	}
	for _, test := range names {
		dir := filepath.Join(tests, test)
		switch t {
		case catalog.Parsers:
			err = eachMatch(filepath.Join(dir, parserName), aboutParser(), func(item string) { count(test, item) })
		case catalog.Scenarios:
			err = eachMatch(filepath.Join(dir, scenarioName), aboutScenario(), func(item string) { count(test, item) })
		default:
			var conf *testConfig
			if conf, err = readConfig(filepath.Join(dir, configName), new(TestResult)); err == nil {
				for _, rule := range conf.Rules {
					count(test, catalog.NameOf(rule))
					count(test, rule)
				}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// eachMatch calls f with what an expression captures in each line of a file. One
// that is not there has none.
func eachMatch(name string, re *regexp.Regexp, f func(string)) error {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read assertions: %w", err)
	}
	for line := range bytes.Lines(text) {
		if m := re.FindSubmatch(line); m != nil {
			f(string(m[1]))
		}
	}
	return nil
}

// namesIn returns the names of the documents in a file.
func namesIn(at string) (names []string) {
	text, err := os.ReadFile(at)
	if err != nil {
		return nil
	}
	docs, err := strict.Parse(at, text)
	if err != nil {
		return nil
	}
	for _, doc := range docs {
		var head struct {
			Name string `yaml:"name"`
		}
		_ = doc.Decode(&head) // it complains of all other keys
		if head.Name != "" {
			names = append(names, head.Name)
		}
	}
	return names
}
