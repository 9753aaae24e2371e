//go:build !edge

package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"cs/pipeline/explain"
	"cs/pipeline/hub/catalog"
	"cs/platform"
)

// HubtestCreate makes a test.
type HubtestCreate struct {
	Name          string   `arg:"" help:"Name of the test."`
	Type          string   `short:"t" placeholder:"TYPE" help:"Kind of the log lines: syslog, nginx …"`
	Parsers       []string `short:"p" placeholder:"NAME,…" help:"Parsers of the test."`
	Scenarios     []string `short:"s" placeholder:"NAME,…" help:"Scenarios of the test."`
	Postoverflows []string `placeholder:"NAME,…" help:"Postoverflows of the test."`
	IgnoreParsers bool     `help:"Assert nothing about parsers."`
}

// Run makes the files and tells which are to be filled.
func (c *HubtestCreate) Run(_ context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	switch {
	case err != nil:
		return err
	case parent.Appsec:
		return errors.New("a test of the WAF can't be made: there is no WAF that it could be run with")
	case c.Type == "":
		return errors.New("please provide a type (--type) for the test")
	}
	p, err := h.Create(explain.NewTest{
		Name: c.Name, Type: c.Type, Parsers: c.Parsers, Scenarios: c.Scenarios, PostOverflows: c.Postoverflows, IgnoreParsers: c.IgnoreParsers,
	})
	if err != nil {
		return err
	}
	return s.text(pathsText(p, " (please fill it with logs)", " (please fill it with assertion)", " (please fill it with parsers, scenarios...)"))
}

// pathsText tells where the files of a test are, and what is to be done to them.
func pathsText(p explain.TestPath, log, asserts, config string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, l := range [][3]string{
		{"Test name", p.Name}, {"Test path", p.Dir}, {"Log file", p.Log, log},
		{"Parser assertion file", p.ParserAsserts, asserts}, {"Scenario assertion file", p.ScenarioAsserts, asserts},
		{"Configuration File", p.Config, config},
	} {
		if l[1] != "" {
			fmt.Fprintf(&b, "  %-26s  :  %s%s\n", l[0], plain(l[1]), l[2])
		}
	}
	return b.String()
}

// HubtestList lists tests.
type HubtestList struct{}

// Run lists.
func (c *HubtestList) Run(_ context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	names, err := h.Tests()
	if err != nil {
		return err
	}
	type listed struct{ Name, Path string }
	list, table := []listed{}, s.table("Name", "Path")
	table.whole = true
	for _, name := range names {
		p, err := h.Path(name)
		if err != nil {
			return err
		}
		list = append(list, listed{name, p.Dir})
		table.add(name, p.Dir)
	}
	switch s.format {
	case jsonText:
		return s.json(list, " ")
	case raw:
		return errNoRaw
	}
	return s.text(table.light())
}

// HubtestInfo tells where tests are.
type HubtestInfo struct {
	Names []string `arg:"" name:"name" help:"Tests."`
}

// Run prints the paths.
func (c *HubtestInfo) Run(_ context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	for _, name := range c.Names {
		p, err := h.Path(name)
		if err != nil {
			return err
		}
		if err := s.text(pathsText(p, "", "", "")); err != nil {
			return err
		}
	}
	return nil
}

// HubtestClean removes what runs left.
type HubtestClean struct {
	All   bool     `help:"In all tests."`
	Names []string `arg:"" optional:"" name:"name" help:"Tests."`
}

// Run removes.
func (c *HubtestClean) Run(_ context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	_, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	names, err := testNames(h, c.Names, c.All, "clean")
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, h.Clean(name))
	}
	return errors.Join(errs...)
}

// HubtestCoverage tells which items have tests.
type HubtestCoverage struct {
	Parsers   bool `help:"Only parsers."`
	Scenarios bool `help:"Only scenarios."`
	Rules     bool `name:"rules" help:"Only rules of the WAF (also: hubtest --appsec coverage)."`
	Percent   bool `help:"Only how many of them have tests."`
}

// Run prints a table for each type, or a line.
func (c *HubtestCoverage) Run(_ context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	rules := c.Rules || parent.Appsec
	all := !c.Parsers && !c.Scenarios && !rules
	for _, l := range []struct {
		wanted bool
		t      catalog.Type
		title  string
		word   string
	}{
		{c.Parsers || all, catalog.Parsers, "Parser", "parsers"},
		{c.Scenarios || all, catalog.Scenarios, "Scenario", "scenarios"},
		{rules || all, catalog.AppsecRules, "AppsecRule", "appsec_rules"},
	} {
		if !l.wanted {
			continue
		}
		list, err := h.Coverage(l.t)
		if err == nil && (len(list) > 0 || !all) { // a hub need not have rules of the WAF
			err = s.coverage(list, l.title, l.word, c.Percent)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// coverage prints how often tests are about items.
func (s *session) coverage(list []explain.Coverage, title, word string, percent bool) error {
	covered := 0
	table := s.table(title, "Status", "Number of tests")
	table.whole = true
	out := []map[string]any{}
	for _, c := range list {
		sign := "🔴"
		if c.Asserts > 0 {
			sign = "🟢"
			covered++
		}
		table.add(c.Name, sign, fmt.Sprintf("%d times (across %d tests)", c.Asserts, len(c.Tests)))
		out = append(out, map[string]any{title: c.Name, "TestsCount": c.Asserts, "PresentIn": c.Tests})
	}
	switch {
	case percent:
		share := math.Round(100 * float64(covered) / float64(max(len(list), 1)))
		return s.text(fmt.Sprintf("%s=%d%%\n", word, int(share)))
	case s.format == jsonText:
		return s.json(out, " ")
	}
	return s.text(table.light())
}

// HubtestEval evaluates an expression.
type HubtestEval struct {
	Expr  string   `short:"e" placeholder:"EXPR" help:"Expression over results."`
	Names []string `arg:"" name:"name" help:"Tests."`
}

// Run prints the value as YAML.
func (c *HubtestEval) Run(ctx context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	for _, name := range c.Names {
		value, err := h.Eval(ctx, name, first(c.Expr, "results"))
		if err == nil {
			err = s.text(plainLines(value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// HubtestExplain shows what happens to the lines of tests.
type HubtestExplain struct {
	Verbose               bool     `short:"v" help:"Show what each parser changed."`
	Failures              bool     `help:"Show only lines that reach no scenario."`
	OnlySuccessfulParsers bool     `help:"Show only parsers that took the line."`
	Names                 []string `arg:"" name:"name" help:"Tests."`
}

// Run prints a tree for each line.
func (c *HubtestExplain) Run(ctx context.Context, env *platform.Env, g *Globals, parent *Hubtest) error {
	s, h, err := parent.open(env, g)
	if err != nil {
		return err
	}
	tree := explain.Tree{Verbose: c.Verbose, Failures: c.Failures, OnlySuccessful: c.OnlySuccessfulParsers, Plain: plain}
	for _, name := range c.Names {
		warnings, err := h.Explain(ctx, name, tree, env.Stdout)
		for _, w := range warnings {
			s.debug("%s: %s", name, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
