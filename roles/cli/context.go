//go:build !edge

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cs/pipeline/hub"
	"cs/platform"
	"cs/platform/strict"
	"cs/roles/config"
	"cs/roles/engine"
)

// LAPIContext groups the commands about what alerts tell beside.
type LAPIContext struct {
	Add    ContextAdd    `cmd:"" help:"Let alerts carry the values of expressions."`
	Status ContextStatus `cmd:"" help:"Show what alerts carry."`
	Detect ContextDetect `cmd:"" help:"Show which fields parsers fill."`
	Delete ContextDelete `cmd:"" hidden:"" help:"Removed."`
}

// openAgent opens a session on a host that reads logs.
func openAgent(env *platform.Env, g *Globals) (*session, config.Resolved, hub.Content, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, config.Resolved{}, hub.Content{}, err
	}
	r, err := g.Resolve(env, func(*config.File) {})
	if err != nil {
		return nil, r, hub.Content{}, err
	}
	if !r.Agent.Enabled {
		return nil, r, hub.Content{}, errors.New("log processor is disabled -- this command cannot run on a LAPI-only instance")
	}
	c, errs := engine.Content("", r)
	for _, err := range errs {
		s.warn("%v", err)
	}
	return s, r, c, nil
}

// ContextStatus shows the context.
type ContextStatus struct{}

// Run shows it.
func (c *ContextStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, _, content, err := openAgent(env, g)
	if err != nil {
		return err
	}
	all, err := engine.Context(content)
	switch {
	case err != nil:
		return err
	case s.format == jsonText:
		return s.json(all, "  ")
	case len(all) == 0:
		return s.text("No context found on this agent. You can use 'cscli lapi context add' to add context to your alerts.\n")
	}
	return s.text(plainLines(string(strict.Append(nil, all))))
}

// ContextAdd adds expressions.
type ContextAdd struct {
	Key    string   `short:"k" placeholder:"NAME" help:"Name of the values (default: the last part of the expression's field)."`
	Values []string `name:"value" required:"" placeholder:"EXPR" help:"Expressions; may be given again."`
}

// Run adds them to the file.
func (c *ContextAdd) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, r, _, err := openAgent(env, g)
	if err != nil {
		return err
	}
	path := r.Agent.ConsoleContextPath
	if path == "" {
		if r.ConfigDir == "" {
			return errors.New("there is no configuration whose console/context.yaml could be changed: give one with -c")
		}
		path = filepath.Join(r.ConfigDir, "console", "context.yaml")
	}
	known := make(map[string][]string)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the context: %w", err)
	}
	docs, err := strict.Parse(path, text)
	if err == nil && len(docs) > 0 {
		err = docs[0].Decode(&known)
	}
	if err != nil {
		return err
	}
	var said []string
	for _, value := range c.Values {
		key := c.Key
		if key == "" {
			if !fieldName().MatchString(value) {
				return fmt.Errorf("%q is no field: name it with --key", value)
			}
			key = value[strings.LastIndexByte(value, '.')+1:]
		}
		if err := engine.CheckContext(key, []string{value}); err != nil {
			return fmt.Errorf("cannot use %q: %w", value, err)
		}
		if known[key] == nil {
			said = append(said, fmt.Sprintf("key '%s' added", key))
		}
		if slices.Contains(known[key], value) {
			said = append(said, fmt.Sprintf("value '%s' already in key '%s'", value, key))
			continue
		}
		known[key] = append(known[key], value)
		said = append(said, fmt.Sprintf("value '%s' added to key '%s'", value, key))
	}
	if err := platform.MakeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("cannot write the context: %w", err)
	}
	if err := platform.WriteFile(path, strict.Append(nil, known), 0o644); err != nil {
		return err
	}
	for _, line := range said {
		s.info("%s", line)
	}
	return nil
}

var fieldName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[\w]+(\.[\w]+)+$`) })

// ContextDetect lists the fields that parsers fill.
type ContextDetect struct {
	All   bool     `short:"a" help:"All installed parsers."`
	Names []string `arg:"" optional:"" name:"parser" help:"Parsers."`
}

// Run lists.
func (c *ContextDetect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, r, content, err := openAgent(env, g)
	if err != nil {
		return err
	}
	if !c.All && len(c.Names) == 0 {
		return &usageError{"please provide parsers to detect or --all flag"}
	}
	fields := engine.Fields(content, r)
	names := c.Names
	if c.All {
		names = sortedKeys(fields)
	}
	var b strings.Builder
	list := func(name string, fields []string) {
		fmt.Fprintf(&b, "%s :\n", plain(name))
		for _, f := range fields {
			fmt.Fprintf(&b, "  - %s\n", plain(f))
		}
		b.WriteString("\n")
	}
	list("Acquisition", engine.LineFields())
	for _, name := range names {
		if fields[name] == nil {
			s.warn("parser '%s' not found, can't detect fields", name)
			continue
		}
		list(name, fields[name])
	}
	return s.text(b.String())
}

// ContextDelete is gone, as it is upstream.
type ContextDelete struct {
	Key    string   `short:"k" hidden:""`
	Values []string `name:"value" hidden:""`
}

// Run refuses.
func (c *ContextDelete) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	_, r, _, err := openAgent(env, g)
	if err != nil {
		return err
	}
	return fmt.Errorf("command 'delete' has been removed, please manually edit the context file: %s",
		first(r.Agent.ConsoleContextPath, filepath.Join(r.ConfigDir, "console", "context.yaml")))
}
