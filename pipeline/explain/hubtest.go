package explain

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/pipeline/source/file"
	"cs/platform/strict"
)

// Hub is a directory with content and, in .tests/, the tests of it: a checkout
// of the public hub.
type Hub struct {
	dir   string
	index map[string]map[string]indexed // kind of item, name; nil without an index
}

// indexed is an entry of .index.json.
type indexed struct {
	Path  string `json:"path"` // below the hub
	Stage string `json:"stage"`
}

// maxIndex bounds .index.json, in bytes. It may hold the content of all items.
const maxIndex = 256 << 20

// OpenHub reads the hub's .index.json, if there is one. Without it items are
// found by their paths.
func OpenHub(dir string) (*Hub, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the hub: %w", err)
	}
	h := &Hub{dir: abs}
	if _, err := os.Stat(h.tests()); err != nil {
		return nil, fmt.Errorf("cannot find tests in the hub: %w", err)
	}
	f, err := os.Open(filepath.Join(abs, ".index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the hub's index: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&h.index); err != nil {
		return nil, fmt.Errorf("cannot read the hub's index %s: %w", f.Name(), err)
	}
	return h, nil
}

func (h *Hub) tests() string { return filepath.Join(h.dir, ".tests") }

// Tests returns the names of all tests, sorted.
func (h *Hub) Tests() ([]string, error) {
	entries, err := os.ReadDir(h.tests())
	if err != nil {
		return nil, fmt.Errorf("cannot list the hub's tests: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(h.tests(), e.Name(), configName)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Files of a test.
const (
	configName    = "config.yaml"
	parserName    = "parser.assert"
	scenarioName  = "scenario.assert"
	overridesName = "00_overrides.yaml"
)

// TestResult is the outcome of one test.
type TestResult struct {
	Name     string
	Checked  int       // assertions
	Failures []Failure // assertions that do not hold
	// Skipped says why the test is none for us; "" if it was run.
	Skipped string
	// Err says why the test couldn't be run or judged: nil for a mere failure.
	Err      error
	Warnings []string
	// Generated has the assertions that hold, by file, for files that have none.
	Generated map[string]string
	// Record is what happened. Nil if nothing did.
	Record *Record
}

// OK tells whether the test passed.
func (r *TestResult) OK() bool { return r.Skipped == "" && r.Err == nil && len(r.Failures) == 0 }

// testConfig is the config.yaml of a test.
type testConfig struct {
	Parsers       []string         `yaml:"parsers"`
	Scenarios     []string         `yaml:"scenarios"`
	PostOverflows []string         `yaml:"postoverflows"`
	Rules         []string         `yaml:"appsec-rules"`
	Nuclei        string           `yaml:"nuclei_template"`
	ExpectFailure bool             `yaml:"expect_failure"`
	LogFile       string           `yaml:"log_file"`
	LogType       string           `yaml:"log_type"`
	Labels        map[string]any   `yaml:"labels"`
	IgnoreParsers bool             `yaml:"ignore_parsers"`
	Overrides     []map[string]any `yaml:"override_statics"`
	OwnData       bool             `yaml:"own_data_dir"`
}

// Test runs one test. Nothing is written but temporary files.
func (h *Hub) Test(ctx context.Context, name string) *TestResult {
	r := &TestResult{Name: name, Generated: map[string]string{}}
	r.Err = h.test(ctx, r)
	return r
}

func (h *Hub) test(ctx context.Context, r *TestResult) error {
	if !filepath.IsLocal(r.Name) {
		return fmt.Errorf("%q is no name of a test", r.Name)
	}
	dir := filepath.Join(h.tests(), r.Name)
	conf, err := readConfig(filepath.Join(dir, configName), r)
	if err != nil {
		return err
	}
	if conf.Nuclei != "" {
		r.Skipped = "it tests the WAF with nuclei, and there is no WAF"
		return nil
	}
	if err := conf.check(dir); err != nil {
		return err
	}
	items, err := h.install(conf, dir)
	if err != nil {
		return err
	}
	warn := func(message string) { r.Warnings = append(r.Warnings, message) }
	dataDir, remove, err := h.provideData(items, conf.OwnData, warn)
	if err != nil {
		return err
	}
	defer remove()
	labels := map[string]string{}
	for k, v := range conf.Labels {
		labels[k] = fmt.Sprint(v)
	}
	labels["type"] = conf.LogType
	rec, faulty, err := Run(ctx, Options{Engine: pipeline.Options{
		Content: hub.Content{Items: items},
		DataDir: dataDir,
		Warn:    warn,
	}}, file.NewReplay(file.Config{Globs: []string{quoted(filepath.Join(dir, conf.LogFile))}, Labels: labels}))
	r.Record = rec
	if err := errors.Join(errors.Join(faulty...), err); err != nil {
		return err
	}
	if rec.Failures > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d expressions failed, the last: %s", rec.Failures, rec.LastFailure))
	}
	var errs []error
	if !conf.IgnoreParsers {
		errs = append(errs, r.judge(dir, parserAsserts(parserName, rec), generateParser))
	}
	if len(conf.Scenarios) > 0 {
		errs = append(errs, r.judge(dir, scenarioAsserts(scenarioName, rec), generateScenario))
	}
	return errors.Join(errs...)
}

// quoted makes a path a pattern that matches just itself.
func quoted(path string) string {
	if os.PathSeparator == '\\' { // no escapes there, and few such names
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// judge checks the assertions of a file.
func (r *TestResult) judge(dir string, a *asserts, generate func(*asserts) string) error {
	text, err := os.ReadFile(filepath.Join(dir, a.file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read assertions: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		r.Generated[a.file] = generate(a)
		return fmt.Errorf("%s is empty, fill it with the assertions that hold", filepath.Join(dir, a.file))
	}
	failures, checked, err := a.check(text)
	r.Failures = append(r.Failures, failures...)
	r.Checked += checked
	return err
}

// readConfig reads the config.yaml of a test. Unknown keys are only worth a
// warning: the public hub has some.
func readConfig(name string, r *TestResult) (*testConfig, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the test: %w", err)
	}
	docs, err := strict.Parse(name, text)
	if err != nil {
		return nil, err
	}
	conf := new(testConfig)
	if len(docs) > 0 {
		unknown, err := decodeKnown(docs[0], conf)
		if err != nil {
			return nil, err
		}
		for _, err := range unknown {
			r.Warnings = append(r.Warnings, err.Error())
		}
	}
	for _, list := range []*[]string{&conf.Parsers, &conf.Scenarios, &conf.PostOverflows} {
		*list = slices.DeleteFunc(*list, func(s string) bool { return s == "" })
	}
	return conf, nil
}

// check tells what a test of logs lacks.
func (c *testConfig) check(dir string) error {
	name := filepath.Join(dir, configName)
	switch {
	case c.LogFile == "":
		return fmt.Errorf("%s: log_file is missing", name)
	case c.LogType == "":
		return fmt.Errorf("%s: log_type is missing", name)
	case !filepath.IsLocal(c.LogFile):
		return fmt.Errorf("%s: log_file %s leads out of the directory of the test", name, c.LogFile)
	}
	if _, err := os.Stat(filepath.Join(dir, c.LogFile)); err != nil {
		return fmt.Errorf("cannot read the log of the test: %w", err)
	}
	return nil
}

// decodeKnown decodes what it knows and returns apart what is wrong with the
// rest: unknown keys.
func decodeKnown(doc strict.Doc, dst any) (unknown []error, err error) {
	var wrong []error
	for _, err := range parts(doc.Decode(dst)) {
		if errors.Is(err, strict.ErrUnknownKey) {
			unknown = append(unknown, err)
		} else {
			wrong = append(wrong, err)
		}
	}
	return unknown, errors.Join(wrong...)
}

// parts takes a joined error apart.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// kinds are the directories of a hub, which are also the kinds of the index.
var kinds = map[hub.Kind]string{hub.Parser: "parsers", hub.Scenario: "scenarios", hub.PostOverflow: "postoverflows"}

// install returns the items of a test, in the order in which an installation
// would load them: its directories are flat.
func (h *Hub) install(conf *testConfig, dir string) ([]hub.Item, error) {
	var items []hub.Item
	var errs []error
	for _, want := range []struct {
		kind  hub.Kind
		names []string
	}{{hub.Parser, conf.Parsers}, {hub.Scenario, conf.Scenarios}, {hub.PostOverflow, conf.PostOverflows}} {
		for _, name := range want.names {
			item, err := h.item(want.kind, name, dir)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			items = append(items, item)
		}
	}
	if len(conf.Overrides) > 0 {
		text := strict.Append(nil, struct {
			Name    string           `yaml:"name"`
			Filter  string           `yaml:"filter"`
			Statics []map[string]any `yaml:"statics"`
		}{"overrides", "1==1", conf.Overrides})
		items = append(items, hub.Item{Kind: hub.Parser, Stage: "s00-raw", Path: overridesName, Name: "overrides", Data: text})
	}
	slices.SortStableFunc(items, func(a, b hub.Item) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Stage, b.Stage), cmp.Compare(path.Base(a.Path), path.Base(b.Path)))
	})
	return items, errors.Join(errs...)
}

// item finds an item by the name that the hub gives it, or by a path below the
// hub or the test.
func (h *Hub) item(kind hub.Kind, name, dir string) (hub.Item, error) {
	at := h.path(kind, name)
	for _, base := range []string{h.dir, dir} {
		if at != "" {
			break
		}
		full := filepath.Join(base, filepath.FromSlash(name))
		if fi, err := os.Stat(full); err == nil && fi.Mode().IsRegular() {
			at = full
		}
	}
	if at == "" {
		return hub.Item{}, fmt.Errorf("cannot find the %s %s in %s", kind, name, h.dir)
	}
	text, err := os.ReadFile(at)
	if err != nil {
		return hub.Item{}, fmt.Errorf("cannot read a %s: %w", kind, err)
	}
	item := hub.Item{Kind: kind, Path: filepath.ToSlash(at), Name: name, Data: text}
	if kind == hub.Scenario {
		return item, nil
	}
	// …/<stage>/<author>/<file>
	elems := strings.Split(item.Path, "/")
	if len(elems) < 3 {
		return hub.Item{}, fmt.Errorf("cannot tell the stage of %s: want STAGE/AUTHOR/FILE", at)
	}
	item.Stage = elems[len(elems)-3]
	return item, nil
}

// path returns the file of an item by its name, "" if the hub has none.
func (h *Hub) path(kind hub.Kind, name string) string {
	if !fs.ValidPath(name) {
		return ""
	}
	top := filepath.Join(h.dir, kinds[kind])
	if h.index != nil {
		if e := h.index[kinds[kind]][name]; fs.ValidPath(e.Path) && e.Path != "" {
			return filepath.Join(h.dir, filepath.FromSlash(e.Path))
		}
		return ""
	}
	dirs := []string{top}
	if kind != hub.Scenario {
		dirs = nil
		stages, _ := os.ReadDir(top) // without the directory there is no such item
		for _, s := range stages {
			dirs = append(dirs, filepath.Join(top, s.Name()))
		}
	}
	for _, dir := range dirs {
		for _, ext := range []string{".yaml", ".yml"} {
			at := filepath.Join(dir, filepath.FromSlash(name)+ext)
			if _, err := os.Stat(at); err == nil {
				return at
			}
		}
	}
	return ""
}

// provideData puts the data files that items name into a directory of their
// own, which remove removes. They are taken from data/ in the hub, by the last
// part of their source_url, or from upstream's cache; nothing is downloaded. One
// that is in neither is only warned of: the assertions tell whether it matters.
func (h *Hub) provideData(items []hub.Item, own bool, warn func(message string)) (dir string, remove func(), err error) {
	files, err := dataFiles(items)
	if err != nil || len(files) == 0 {
		return "", func() {}, err
	}
	if dir, err = os.MkdirTemp("", "cs-hubtest-"); err != nil {
		return "", nil, fmt.Errorf("cannot make a data directory: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // what stays is the system's to clean
	for _, f := range files {
		err := h.provide(dir, f, own)
		if errors.Is(err, fs.ErrNotExist) {
			warn(f.DestFile.Place.Errorf("%w", err).Error())
		} else if err != nil {
			remove()
			return "", nil, f.DestFile.Place.Errorf("%w", err)
		}
	}
	return dir, remove, nil
}

func (h *Hub) provide(dir string, f hub.DataFile, own bool) error {
	name := f.DestFile.Value
	if !fs.ValidPath(name) || strings.Contains(name, `\`) {
		return fmt.Errorf("%s leads out of the data directory", name)
	}
	url, _, _ := strings.Cut(f.SourceURL, "?")
	from := []string{filepath.Join(h.dir, "data", path.Base(cmp.Or(url, name)))}
	if !own {
		from = append(from, filepath.Join(h.dir, ".cache", "data", filepath.FromSlash(name)))
	}
	to := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("cannot make a data directory: %w", err)
	}
	for _, at := range from {
		if _, err := os.Stat(at); err != nil {
			continue
		}
		if os.Link(at, to) == nil {
			return nil
		}
		return copyFile(to, at)
	}
	return fmt.Errorf("data file %s of %s: %w: looked for %s", name, f.SourceURL, fs.ErrNotExist, strings.Join(from, ", "))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("cannot copy a data file: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot copy a data file: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("cannot copy data file %s: %w", from, err)
	}
	return nil
}

// dataFiles returns the data files that items name, each once. An item that can't be
// parsed names none; the engine reports it.
func dataFiles(items []hub.Item) (files []hub.DataFile, err error) {
	seen := map[string]bool{}
	for _, it := range items {
		docs, err := it.Documents()
		if err != nil {
			continue
		}
		for _, doc := range docs {
			var d struct {
				Data []hub.DataFile `yaml:"data"`
			}
			if _, err := decodeKnown(doc, &d); err != nil {
				return nil, err
			}
			for _, f := range d.Data {
				if name := f.DestFile.Value; name != "" && !seen[name] {
					seen[name] = true
					files = append(files, f)
				}
			}
		}
	}
	return files, nil
}
