package cli

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"cs/pipeline/explain"
	"cs/platform"
	"cs/roles/config"
	"cs/roles/engine"
)

// Explain shows what happens to lines: which parsers took them, and which
// scenarios they would feed. It needs no LAPI.
type Explain struct {
	File    string `short:"f" placeholder:"FILE" help:"Explain the lines of this file, or - for standard input."`
	DSN     string `name:"dsn" short:"d" placeholder:"DSN" help:"Explain the lines of this source: file://PATH, journalctl://filters=FILTER …"`
	Log     string `short:"l" placeholder:"LINE" help:"Explain this line."`
	Type    string `short:"t" placeholder:"TYPE" help:"Kind of the lines: syslog, nginx, apache2 …"`
	Labels  string `placeholder:"K:V,…" help:"More labels of the lines."`
	Content string `placeholder:"DIR" type:"path" help:"Directory with parsers/ and scenarios/ (default: what is installed, else the starter set)."`

	Verbose               bool `short:"v" help:"Show what each parser changed."`
	Failures              bool `help:"Show only lines that reach no scenario."`
	OnlySuccessfulParsers bool `help:"Show only parsers that took the line."`

	// Upstream runs its daemon and leaves files behind; we do neither.
	Crowdsec string `hidden:""`
	NoClean  bool   `hidden:""`
}

// Run prints a tree for each line, in their order. Lines that nobody
// understands are no error.
func (c *Explain) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	acq, err := c.input()
	if err != nil {
		return err
	}
	s, err := open(env, g)
	if err != nil {
		return err
	}
	r, err := g.Resolve(env, func(*config.File) {})
	if err != nil {
		return globalError{err}
	}
	in := engine.Reader{Stdin: env.Stdin, Report: func(err error) { s.warn("%v", err) }}
	if c.Log != "" {
		in.Stdin = strings.NewReader(c.Log)
	}
	src, _, err := in.Open(acq)
	if err != nil {
		return err
	}
	opt := engine.Options(r)
	opt.Warn = func(message string) { s.debug("%s", message) }
	var left []error
	opt.Content, left = engine.Content(c.Content, r)
	tree := explain.Tree{Verbose: c.Verbose, Failures: c.Failures, OnlySuccessful: c.OnlySuccessfulParsers, Plain: plain}
	lines, faulty, err := tree.Run(ctx, opt, src, env.Stdout)
	for _, err := range append(left, faulty...) {
		s.warn("content is left out: %v", err)
	}
	if err == nil && lines == 0 {
		return fmt.Errorf("the log file is empty: %s", src.Name())
	}
	return err
}

// input returns the source that the flags name.
func (c *Explain) input() (acq config.Acquisition, err error) {
	named := 0
	for _, flag := range []string{c.File, c.DSN, c.Log} {
		if flag != "" {
			named++
		}
	}
	switch {
	case named == 0:
		return acq, &usageError{"no acquisition (--file or --dsn) provided, can't run cscli test"}
	case named > 1:
		return acq, &usageError{"--file, --dsn and --log exclude each other"}
	case c.Type == "":
		return acq, &usageError{"please provide --type flag"}
	case c.DSN != "":
		if acq, err = config.ParseDSN(c.DSN); err != nil {
			return acq, err
		}
	default:
		acq = engine.File(c.File)
		if c.Log != "" {
			acq = engine.File(engine.Stdin)
		}
		acq.Cat = true
	}
	acq.Labels["type"] = c.Type
	if c.Labels == "" {
		return acq, nil
	}
	more, err := config.ParseLabels(c.Labels)
	maps.Copy(acq.Labels, more)
	return acq, err
}
