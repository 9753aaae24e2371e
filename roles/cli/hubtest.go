//go:build !edge

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"cs/pipeline/explain"
	"cs/platform"
)

// Authors are commands for those who write content.
type Authors struct {
	Hubtest Hubtest `cmd:"" group:"Operators' commands" help:"For authors of content: run the tests of a hub."`
}

// Hubtest groups the commands about the tests of a hub.
type Hubtest struct {
	Hub     string `default:"." placeholder:"DIR" type:"path" help:"Directory of the hub, with its tests in .tests/."`
	Appsec  bool   `help:"The tests of the WAF, in .appsec-tests/."`
	Offline bool   `help:"Download no data files that the hub lacks."`

	// Upstream runs its own programs, we are one.
	Crowdsec string `hidden:""`
	Cscli    string `hidden:""`

	Create   HubtestCreate   `cmd:"" help:"Make the files of a test, to be filled."`
	Run      HubtestRun      `cmd:"" help:"Run tests: is what the parsers and scenarios make of logs what their authors expect?"`
	List     HubtestList     `cmd:"" help:"Which tests there are."`
	Info     HubtestInfo     `cmd:"" help:"Where the files of tests are."`
	Clean    HubtestClean    `cmd:"" help:"Remove what runs left in tests."`
	Coverage HubtestCoverage `cmd:"" help:"Which items have tests."`
	Eval     HubtestEval     `cmd:"" help:"The value of an expression over the results of a test."`
	Explain  HubtestExplain  `cmd:"" help:"What happens to the lines of a test."`
}

// open opens the hub that the flags name.
func (c *Hubtest) open(env *platform.Env, g *Globals) (*session, *explain.Hub, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, nil, err
	}
	h, err := explain.OpenHub(c.Hub, c.Appsec)
	if err != nil {
		return nil, nil, err
	}
	h.Offline = c.Offline
	return s, h, nil
}

// testNames returns the named tests, or all.
func testNames(h *explain.Hub, names []string, all bool, verb string) ([]string, error) {
	switch {
	case all == (len(names) > 0):
		return nil, &usageError{"name the tests to " + verb + ", or give --all"}
	case all:
		return h.Tests()
	}
	return names, nil
}

// HubtestRun runs tests of a hub.
type HubtestRun struct {
	Names         []string `arg:"" optional:"" name:"name" help:"Tests, by the names of their directories."`
	All           bool     `help:"Run all tests of the hub."`
	MaxJobs       int      `placeholder:"N" help:"Tests to run at once (default: one a processor)."`
	ReportSuccess bool     `help:"List the tests that passed, too."`
	NoClean       bool     `help:"Keep what happened as dump files, in the directory results/ of each test."`

	// Nothing is left behind that could be cleaned, and there is no WAF to test.
	Clean  bool   `hidden:""`
	Target string `hidden:""`
	Host   string `hidden:""`
}

// errTestsFailed ends a run in which not all passed.
var errTestsFailed = errors.New("some tests failed")

// Run runs the tests, each in an engine of its own. What fails is told at once
// and listed at the end; the last line counts.
func (c *HubtestRun) Run(ctx context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	names, err := testNames(h, c.Names, c.All, "run")
	if err != nil {
		return err
	}
	report := hubtestJSON{Success: []string{}, Fail: []string{}, Skipped: []string{}, Failures: map[string]hubtestFailure{}}
	table := s.table("Test", "Result", "Assertions")
	table.whole = true
	for r := range c.results(ctx, h, names) {
		for _, w := range r.Warnings {
			s.debug("%s: %s", r.Name, w)
		}
		if r.Skipped != "" {
			report.Skipped = append(report.Skipped, r.Name)
			table.add(r.Name, "skipped", r.Skipped)
			continue
		}
		if r.OK() {
			report.Success = append(report.Success, r.Name)
			if c.ReportSuccess {
				table.add(r.Name, "passed", fmt.Sprintf("%d of %[1]d", r.Checked))
			}
			continue
		}
		report.Fail = append(report.Fail, r.Name)
		report.Failures[r.Name] = newHubtestFailure(r)
		table.add(r.Name, "failed", fmt.Sprintf("%d of %d", r.Checked-len(r.Failures), r.Checked))
		if s.format != jsonText {
			if err := s.text(failureText(r)); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	count := fmt.Sprintf("%d passed, %d failed\n", len(report.Success), len(report.Fail))
	switch {
	case s.format == jsonText:
		err = s.json(report, " ")
		fmt.Fprint(s.errs, count) // stdout holds JSON and nothing else
	case len(table.rows) > 0 && s.format == human:
		err = errors.Join(s.text(table.light()), s.text(count))
	default:
		err = s.text(count)
	}
	if err == nil && len(report.Fail) > 0 {
		return errTestsFailed
	}
	return err
}

// results runs tests side by side and yields their results in the order of the names.
func (c *HubtestRun) results(ctx context.Context, h *explain.Hub, names []string) func(yield func(*explain.TestResult) bool) {
	jobs := c.MaxJobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return func(yield func(*explain.TestResult) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// The channel and whoever waits below hold those that run.
		running := make(chan chan *explain.TestResult, jobs-1)
		go func() {
			defer close(running)
			for _, name := range names {
				if ctx.Err() != nil {
					return
				}
				done := make(chan *explain.TestResult, 1)
				select {
				case running <- done:
				case <-ctx.Done():
					return
				}
				go func() {
					done <- c.test(ctx, h, name)
				}()
			}
		}()
		for done := range running {
			if !yield(<-done) {
				return
			}
		}
	}
}

// test runs one test.
func (c *HubtestRun) test(ctx context.Context, h *explain.Hub, name string) *explain.TestResult {
	run := h.Test
	if c.NoClean {
		run = h.Trace
	}
	r := run(ctx, name)
	if c.NoClean {
		r.Err = errors.Join(r.Err, h.Keep(r))
	}
	r.Record = nil // it is large
	return r
}

// failureText tells what is wrong in a test.
func failureText(r *explain.TestResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Test %s failed\n", plain(r.Name))
	if r.Err != nil {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(plainLines(r.Err.Error()), "\n", "\n  "))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "  %s:%d: %s\n", f.File, f.Line, plain(f.Assert))
		fmt.Fprintf(&b, "      expected %s\n      actual   %s\n", plain(f.Expected), plain(f.Value))
	}
	for _, file := range slices.Sorted(maps.Keys(r.Generated)) {
		fmt.Fprintf(&b, "  What holds, for %s:\n%s", file, plainLines(r.Generated[file]))
	}
	return b.String()
}

// hubtestJSON is the result of a run. Success, Fail and Skipped are names.
type hubtestJSON struct {
	Success  []string                  `json:"success"`
	Fail     []string                  `json:"fail"`
	Skipped  []string                  `json:"skipped"`
	Failures map[string]hubtestFailure `json:"failures"`
}

// hubtestFailure is why a test failed.
type hubtestFailure struct {
	Error     string            `json:"error,omitempty"`
	Asserts   []explain.Failure `json:"asserts,omitempty"`
	Generated map[string]string `json:"generated,omitempty"`
}

func newHubtestFailure(r *explain.TestResult) hubtestFailure {
	f := hubtestFailure{Asserts: r.Failures, Generated: r.Generated}
	if r.Err != nil {
		f.Error = r.Err.Error()
	}
	return f
}
