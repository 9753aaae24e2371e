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
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/pipeline/hub/catalog"
	"cs/pipeline/source"
	"cs/pipeline/source/file"
	"cs/platform/order"
	"cs/platform/strict"
)

// Hub is a directory with content and, in .tests/, the tests of it: a checkout
// of the public hub.
type Hub struct {
	// Offline forbids to download data files that the directory lacks.
	Offline bool

	dir   string
	tests string        // the directory of the tests
	index catalog.Index // nil without one: items are found by their paths

	mu     sync.Mutex
	source *catalog.Source // of data files; nil before the first
}

// Directories of tests in a hub: of logs, and of the WAF.
const (
	testsName    = ".tests"
	wafTestsName = ".appsec-tests"
)

// OpenHub reads the hub's .index.json, if there is one. waf is for the tests of
// the WAF, of which the names can be told.
func OpenHub(dir string, waf bool) (*Hub, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the hub: %w", err)
	}
	h := &Hub{dir: abs, tests: filepath.Join(abs, testsName)}
	if waf {
		h.tests = filepath.Join(abs, wafTestsName)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("cannot find the hub: %w", err)
	}
	name := filepath.Join(abs, catalog.IndexName)
	if _, err := os.Stat(name); err == nil {
		if h.index, err = catalog.ReadIndex(name); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Tests returns the names of all tests, sorted.
func (h *Hub) Tests() ([]string, error) { return testsIn(h.tests) }

func testsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the hub's tests: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), configName)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// A TestPath says where the files of a test are.
type TestPath struct {
	Name, Dir, Log, ParserAsserts, ScenarioAsserts, Config string
}

// Path returns where a test is, which must be there.
func (h *Hub) Path(name string) (p TestPath, err error) {
	dir, err := h.testDir(name)
	if err != nil {
		return p, err
	}
	p = TestPath{
		Name: name, Dir: dir, Config: filepath.Join(dir, configName),
		ParserAsserts: filepath.Join(dir, parserName), ScenarioAsserts: filepath.Join(dir, scenarioName),
	}
	conf, err := readConfig(p.Config, new(TestResult))
	if err == nil && conf.LogFile != "" {
		p.Log = filepath.Join(dir, conf.LogFile)
	}
	return p, err
}

func (h *Hub) testDir(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q is no name of a test", name)
	}
	return filepath.Join(h.tests, name), nil
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

	events bool // Record has the events that were poured, too
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

// Test runs one test. Nothing is written but temporary files and, in
// .cache/data as upstream does, data files that had to be downloaded.
func (h *Hub) Test(ctx context.Context, name string) *TestResult {
	r := &TestResult{Name: name, Generated: map[string]string{}}
	r.Err = h.test(ctx, r)
	return r
}

// Trace is Test, but keeps more in the Record: all of what dump files have.
func (h *Hub) Trace(ctx context.Context, name string) *TestResult {
	r := &TestResult{Name: name, Generated: map[string]string{}, events: true}
	r.Err = h.test(ctx, r)
	return r
}

func (h *Hub) test(ctx context.Context, r *TestResult) error {
	p, err := h.prepare(ctx, r)
	if err != nil || p == nil {
		return err
	}
	defer p.remove()
	rec, faulty, err := Run(ctx, Options{Engine: p.opt, Events: r.events}, p.src)
	r.Record = rec
	if err := errors.Join(errors.Join(faulty...), err); err != nil {
		return err
	}
	if rec.Failures > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d expressions failed, the last: %s", rec.Failures, rec.LastFailure))
	}
	var errs []error
	if !p.conf.IgnoreParsers {
		errs = append(errs, r.judge(p.dir, parserAsserts(parserName, rec), generateParser))
	}
	if len(p.conf.Scenarios) > 0 {
		errs = append(errs, r.judge(p.dir, scenarioAsserts(scenarioName, rec), generateScenario))
	}
	return errors.Join(errs...)
}

// prepared is a test that can be run.
type prepared struct {
	dir    string
	conf   *testConfig
	opt    pipeline.Options
	src    source.Source
	remove func() // the temporary files
}

// prepare finds all that a test needs. It is nil if the test is none for us, as
// r.Skipped then says.
func (h *Hub) prepare(ctx context.Context, r *TestResult) (*prepared, error) {
	dir, err := h.testDir(r.Name)
	if err != nil {
		return nil, err
	}
	conf, err := readConfig(filepath.Join(dir, configName), r)
	if err != nil {
		return nil, err
	}
	if conf.Nuclei != "" {
		r.Skipped = "it tests the WAF with nuclei, and there is no WAF"
		return nil, nil
	}
	if err := conf.check(dir); err != nil {
		return nil, err
	}
	items, err := h.install(conf, dir)
	if err != nil {
		return nil, err
	}
	warn := func(message string) { r.Warnings = append(r.Warnings, message) }
	dataDir, remove, err := h.provideData(ctx, items, conf.OwnData || ownData[r.Name], warn)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for k, v := range conf.Labels {
		labels[k] = fmt.Sprint(v)
	}
	labels["type"] = conf.LogType
	return &prepared{
		dir: dir, conf: conf, remove: remove,
		opt: pipeline.Options{Content: hub.Content{Items: items}, DataDir: dataDir, Warn: warn},
		src: file.NewReplay(file.Config{Globs: []string{quoted(filepath.Join(dir, conf.LogFile))}, Labels: labels}),
	}, nil
}

// ownData are the tests that share no data files, whatever they say: upstream
// has databases of its own for them.
var ownData = map[string]bool{"magento-ccs-by-as": true, "magento-ccs-by-country": true, "geoip-enrich": true}

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

// types are the kinds of items that a test may name.
var types = map[hub.Kind]catalog.Type{hub.Parser: catalog.Parsers, hub.Scenario: catalog.Scenarios, hub.PostOverflow: catalog.PostOverflows}

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
	order.Stable(items, compareInstalled)
	// Of two that would be the same file the last stays.
	slices.Reverse(items)
	items = slices.CompactFunc(items, func(a, b hub.Item) bool { return compareInstalled(a, b) == 0 })
	slices.Reverse(items)
	return items, errors.Join(errs...)
}

// compareInstalled compares where items would be installed.
func compareInstalled(a, b hub.Item) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Stage, b.Stage), cmp.Compare(path.Base(a.Path), path.Base(b.Path)))
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
	top := filepath.Join(h.dir, string(types[kind]))
	if h.index != nil {
		if e := h.index[types[kind]][name]; e != nil {
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
// part of their source_url, or from upstream's cache, or else downloaded into
// that. One that can't be had is only warned of: the assertions tell whether it
// matters.
func (h *Hub) provideData(ctx context.Context, items []hub.Item, own bool, warn func(message string)) (dir string, remove func(), err error) {
	files := dataFiles(items)
	if len(files) == 0 {
		return "", func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "cs-hubtest-"); err != nil {
		return "", nil, fmt.Errorf("cannot make a data directory: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // what stays is the system's to clean
	for _, f := range files {
		if err := h.provide(ctx, dir, f, own); err != nil {
			warn(f.DestFile.Place.Errorf("%w", err).Error())
		}
	}
	return dir, remove, nil
}

func (h *Hub) provide(ctx context.Context, dir string, f hub.DataFile, own bool) error {
	name := f.DestFile.Value
	if !fs.ValidPath(name) || strings.Contains(name, `\`) {
		return fmt.Errorf("%s leads out of the data directory", name)
	}
	url, _, _ := strings.Cut(f.SourceURL, "?")
	cache := filepath.Join(h.dir, ".cache", "data")
	from := []string{filepath.Join(h.dir, catalog.DataDirName, path.Base(cmp.Or(url, name)))}
	if !own {
		from = append(from, filepath.Join(cache, filepath.FromSlash(name)))
	}
	to := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("cannot make a data directory: %w", err)
	}
	for _, at := range from {
		if _, err := os.Stat(at); err == nil {
			return linkOrCopy(to, at)
		}
	}
	missing := fmt.Errorf("data file %s of %s: %w: looked for %s", name, f.SourceURL, fs.ErrNotExist, strings.Join(from, ", "))
	if h.Offline || f.SourceURL == "" {
		return missing
	}
	if own || os.MkdirAll(cache, 0o755) != nil { // a hub that can't be written to has no cache
		cache = dir
	}
	if err := h.download(ctx, f, cache); err != nil {
		return fmt.Errorf("%w: %w", missing, err)
	}
	if cache == dir {
		return nil
	}
	return linkOrCopy(to, filepath.Join(cache, filepath.FromSlash(name)))
}

// download gets a data file. One at a time: two tests may want the same.
func (h *Hub) download(ctx context.Context, f hub.DataFile, dir string) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f.DestFile.Value))); err == nil {
		return nil
	}
	if h.source == nil {
		if h.source, err = catalog.NewSource(catalog.DefaultTemplate, "master", "cs-hubtest"); err != nil {
			return err
		}
	}
	return h.source.Data(ctx, f, dir)
}

func linkOrCopy(to, from string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(to, from)
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

// dataFiles returns the data files that items name, each once.
func dataFiles(items []hub.Item) (files []hub.DataFile) {
	seen := map[string]bool{}
	for _, it := range items {
		for _, f := range hub.DataFilesIn(it.Path, it.Data) {
			if name := f.DestFile.Value; !seen[name] {
				seen[name] = true
				files = append(files, f)
			}
		}
	}
	return files
}
