package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cs/platform"
	"cs/roles/config"
)

// Config groups the commands about the configuration.
type Config struct {
	Show         ConfigShow         `cmd:"" help:"Show the configuration in force, and where each value comes from."`
	ShowYAML     ConfigShowYAML     `cmd:"" name:"show-yaml" help:"Show the configuration file with its overlay."`
	Check        ConfigCheck        `cmd:"" help:"Tell what is wrong with the configuration and all that it names, without starting anything."`
	FeatureFlags ConfigFeatureFlags `cmd:"" name:"feature-flags" help:"List the feature flags."`
	Backup       ConfigRemoved      `cmd:"" hidden:"" help:"Removed."`
	Restore      ConfigRemoved      `cmd:"" hidden:"" help:"Removed."`
}

// ConfigShow shows the configuration in force.
type ConfigShow struct {
	Key    string `placeholder:"EXPR" help:"Show one value only: Config.API.Server.ListenURI."`
	Origin bool   `help:"Show each value in force, by its key in the file, and where it comes from."`
}

// Run shows.
func (c *ConfigShow) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if c.Origin {
		return s.origins(g)
	}
	view := newConfigView(s.file, env.LookupEnv)
	switch {
	case c.Key != "":
		text, err := view.key(c.Key)
		if err != nil {
			return err
		}
		return s.text(text + "\n")
	case s.format == jsonText:
		return s.json(view, "  ")
	case s.format == raw:
		return s.merged()
	}
	return s.text(view.report())
}

func (s *session) origins(g *Globals) error {
	list, err := g.Explain(s.env)
	if err != nil {
		return err
	}
	switch s.format {
	case jsonText:
		return s.json(list, "  ")
	case raw:
		var rows [][]string
		for _, v := range list {
			rows = append(rows, []string{v.Key, v.Value, v.Origin, v.Why})
		}
		return s.csv("key,value,origin,why", rows)
	}
	t := s.table("Key", "Value", "Origin")
	t.whole = true // who looks for a place wants to copy it
	for _, v := range list {
		origin := v.Origin
		if v.Why != "" {
			origin += ": " + v.Why
		}
		t.add(v.Key, v.Value, origin)
	}
	return s.text(t.light())
}

// ConfigShowYAML shows what the file and its overlay say.
type ConfigShowYAML struct{}

// Run shows.
func (c *ConfigShowYAML) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	return s.merged()
}

func (s *session) merged() error {
	text, err := s.file.Merged()
	if err != nil {
		return err
	}
	return s.text(string(text))
}

// ConfigCheck is the daemon's -t.
type ConfigCheck struct{}

// Run checks.
func (c *ConfigCheck) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	err = g.Check(ctx, env, &g.Flags)
	if s.format == jsonText {
		out := struct {
			OK     bool     `json:"ok"`
			Faults []string `json:"faults"`
		}{err == nil, faults(err)}
		if err := s.json(out, "  "); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case s.format == human:
		return s.text("The configuration is good.\n")
	}
	return nil
}

// faults takes a joined error apart.
func faults(err error) []string {
	list := []string{}
	if err == nil {
		return list
	}
	return append(list, strings.Split(err.Error(), "\n")...)
}

// ConfigFeatureFlags lists the feature flags.
type ConfigFeatureFlags struct {
	Retired bool `help:"List those that are gone instead."`
}

// Run lists.
func (c *ConfigFeatureFlags) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	dir := s.file.Paths().ConfigDir
	list, warnings := config.Features(dir, os.Environ(), env.LookupEnv)
	for _, w := range warnings {
		s.warn("%s", w)
	}
	if c.Retired {
		return s.text(" --- Retired features ---\n\nNone.\n")
	}
	var b strings.Builder
	section := func(title string, deprecated bool, on bool, mark string) {
		head := false
		for _, f := range list {
			if f.Enabled != on || deprecated != (f.Deprecated != "") {
				continue
			}
			if !head {
				head = true
				b.WriteString(" --- " + title + " ---\n\n")
			}
			fmt.Fprintf(&b, "%s %s: %s", mark, f.Name, f.Description)
			if f.Deprecated != "" {
				b.WriteString("\n  DEPRECATED: " + f.Deprecated)
			}
			b.WriteString("\n")
		}
		if head {
			b.WriteString("\n")
		}
	}
	section("Enabled features", false, true, "✓")
	section("Disabled features", false, false, "✗")
	section("Deprecated features, enabled", true, true, "✓")
	section("Deprecated features", true, false, "✗")
	path := "feature.yaml beside the configuration"
	if dir != "" {
		path = filepath.Join(dir, "feature.yaml")
	}
	b.WriteString("To enable a feature you can:\n" +
		"  - set the environment variable CROWDSEC_FEATURE_<uppercase_feature_name> to true\n" +
		"  - add the line '- <feature_name>' to the file " + plain(path) + "\n")
	return s.text(b.String())
}

// ConfigRemoved is a command that upstream has taken away; scripts may still
// call it.
type ConfigRemoved struct {
	Words []string `arg:"" optional:"" hidden:""`
}

// Run refuses.
func (c *ConfigRemoved) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	dir := filepath.Clean(first(s.file.Paths().ConfigDir, s.file.DataDir()))
	return errors.New("'cscli config backup' has been removed, you can manually backup/restore " + dir + " instead")
}
