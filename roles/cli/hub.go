package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"cs/pipeline/hub/catalog"
	"cs/platform"
	"cs/platform/strict"
	"cs/roles/api"
	"cs/roles/config"
	"cs/roles/engine"
	"cs/roles/status"
)

// Hub groups the commands about the hub as a whole.
type Hub struct {
	List    HubList    `cmd:"" help:"What is installed."`
	Update  HubUpdate  `cmd:"" help:"Get the index of what there is."`
	Upgrade HubUpgrade `cmd:"" help:"Bring all that is installed, and its data files, up to date."`
	Types   HubTypes   `cmd:"" help:"Which types of items there are."`
	Branch  HubBranch  `cmd:"" help:"Which branch of the hub is in use."`
	Import  HubImport  `cmd:"" help:"Take over a hub from an archive or a folder, to install from it without a network."`

	hubExport
}

// content is a session with the hub of this host.
type content struct {
	*session
	resolved config.Resolved
	dirs     catalog.Dirs
	branch   string
}

func openContent(env *platform.Env, g *Globals) (*content, error) {
	s, err := open(env, g)
	if err != nil {
		return nil, err
	}
	r, err := g.Resolve(env, func(*config.File) {})
	if err != nil {
		return nil, globalError{err}
	}
	dirs, err := catalog.DirsOf(engine.HubDirs(r), r.DataDir)
	if err != nil {
		return nil, err
	}
	return &content{s, r, dirs, first(g.Branch, s.file.Cscli.HubBranch, "master")}, nil
}

// openCatalog is openContent with what there is and what is here.
func openCatalog(env *platform.Env, g *Globals) (*content, *catalog.Catalog, error) {
	c, err := openContent(env, g)
	if err != nil {
		return nil, nil, err
	}
	cat, err := c.catalog()
	return c, cat, err
}

func (c *content) catalog() (*catalog.Catalog, error) {
	cat, err := catalog.Open(c.dirs)
	if err != nil {
		return nil, err
	}
	c.warnings(cat.Warnings)
	return cat, nil
}

func (c *content) warnings(list []string) {
	for _, w := range list {
		c.warn("%s", w)
	}
}

// source is where the hub comes from: a flag, or the configuration says so.
func (c *content) source(flag string) (*catalog.Source, error) {
	if flag == "" && c.file.Cscli.HubURLTemplate != "" && !strings.Contains(c.file.Cscli.HubURLTemplate, "%s") &&
		strings.HasPrefix(c.file.Cscli.HubURLTemplate, "http") {
		return nil, fmt.Errorf("invalid URL template '%s': it needs two %%s, for the branch and the path", c.file.Cscli.HubURLTemplate)
	}
	place := first(flag, c.file.Cscli.HubURLTemplate, catalog.DefaultTemplate)
	return catalog.NewSource(place, c.branch, api.UserAgent(c.env.Version))
}

// A From is the flag that says where the hub comes from.
type From struct {
	Source string `placeholder:"DIR|URL" help:"Take the hub from this folder or web server (default: what the configuration says, or CrowdSec's)."`
}

// HubUpdate gets the index.
type HubUpdate struct {
	From
	WithContent bool `help:"Get the content of all items, too."`
}

// Run downloads the index, if it is another.
func (c *HubUpdate) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, src, err := openSource(env, g, c.Source)
	if err != nil {
		return err
	}
	return s.update(ctx, src, c.WithContent || s.file.Cscli.HubWithContent)
}

// openSource is openContent with where the hub comes from.
func openSource(env *platform.Env, g *Globals, flag string) (*content, *catalog.Source, error) {
	c, err := openContent(env, g)
	if err != nil {
		return nil, nil, err
	}
	src, err := c.source(flag)
	return c, src, err
}

func (c *content) update(ctx context.Context, src *catalog.Source, withContent bool) error {
	changed, warnings, err := src.UpdateIndex(ctx, c.dirs, withContent)
	c.warnings(warnings)
	switch {
	case err != nil:
		return err
	case changed:
		return c.text("Downloading " + c.dirs.Index + "\n")
	}
	return c.text("Nothing to do, the hub index is up to date.\n")
}

// planFlags are the flags of commands that change what is installed.
type planFlags struct {
	Interactive bool `short:"i" help:"Ask before doing it."`
	DryRun      bool `help:"Only show what would be done."`
	Force       bool `help:"Overwrite, or remove, items that were changed here."`
}

// HubUpgrade upgrades all that is installed.
type HubUpgrade struct {
	planFlags
	From
}

// Run upgrades, and gets data files that are newer.
func (c *HubUpgrade) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, src, err := openSource(env, g, c.Source)
	if err != nil {
		return err
	}
	return s.change(ctx, src, c.planFlags, func(cat *catalog.Catalog, p *catalog.Plan) error {
		for _, t := range catalog.Types {
			for _, it := range cat.Installed(t) {
				p.Upgrade(it)
			}
		}
		p.Refresh()
		return nil
	})
}

// change changes what is installed as fill plans it.
func (c *content) change(ctx context.Context, src *catalog.Source, f planFlags, fill func(*catalog.Catalog, *catalog.Plan) error) error {
	cat, err := c.catalog()
	if err != nil {
		return err
	}
	p := cat.NewPlan(f.Force)
	if err := fill(cat, p); err != nil {
		return err
	}
	return c.carry(ctx, p, src, f)
}

// carry shows a plan, and carries it out.
func (c *content) carry(ctx context.Context, p *catalog.Plan, src *catalog.Source, f planFlags) error {
	c.warnings(p.Warnings)
	for _, n := range p.Notes {
		c.info("%s", n)
	}
	if len(p.Actions) == 0 {
		return c.text("Nothing to install or remove.\n")
	}
	plan := p.Summary()
	if c.format == raw {
		plan = p.Steps()
	}
	switch {
	case f.DryRun && c.format == raw:
		return c.text(plan)
	case f.DryRun:
		return c.text("Action plan:\n" + plan + "\nDry run, no action taken.\n")
	case f.Interactive:
		if err := c.text("The following actions will be performed:\n" + plan + "\n"); err != nil {
			return err
		}
		if !confirmed("Do you want to continue?") {
			return c.text("operation canceled\n")
		}
	case c.verbose():
		if err := c.text("Action plan:\n" + plan + "\n"); err != nil {
			return err
		}
	}
	out, err := p.Carry(ctx, src, c.now(), func(line string) { _ = c.text(line + "\n") })
	for _, m := range out.Missing {
		c.warn("%s", m)
	}
	if out.Reload {
		c.warnBlind()
		err = errors.Join(err, c.text(c.reloadHint(c.verbose())))
	}
	return err
}

// warnBlind tells that what is installed has taken the place of the starter set,
// and understands less than it.
func (c *content) warnBlind() {
	if installed, _ := engine.Content("", c.resolved); installed.Blind() { // what is faulty is told by who loads it
		c.warn("%s", status.Blind)
		c.warn("Run '%s' to have it", c.command(status.BlindFix))
	}
}

// reloadHint says how the new content comes into force: by itself in a container, which
// has no service manager, and is told by a variable.
func (s *session) reloadHint(apart bool) string {
	if in, _ := s.env.LookupEnv("container"); in != "" {
		return ""
	}
	hint := map[string]string{
		"linux":   "Run 'sudo systemctl reload crowdsec' for the new configuration to be effective.\n",
		"freebsd": "Run 'sudo service crowdsec reload' for the new configuration to be effective.\n",
		"windows": "Please restart the crowdsec service for the new configuration to be effective.\n",
	}[runtime.GOOS]
	hint = first(hint, "Please reload the crowdsec process for the new configuration to be effective.\n")
	if apart {
		return "\n" + hint
	}
	return hint
}

// confirmed asks at the terminal. Where there is none, the answer is yes.
func confirmed(question string) bool {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	tty, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	defer tty.Close()
	fmt.Fprintf(os.Stderr, "%s (Y/n) ", question)
	var answer [64]byte
	n, _ := tty.Read(answer[:]) // an empty answer is yes
	return !strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(answer[:n]))), "n")
}

// HubTypes lists the types.
type HubTypes struct{}

// Run prints them in the order in which they depend on each other.
func (c *HubTypes) Run(_ context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	switch s.format {
	case jsonText:
		return s.json(catalog.Types, " ")
	case raw:
		var b strings.Builder
		for _, t := range catalog.Types {
			b.WriteString(string(t) + "\n")
		}
		return s.text(b.String())
	}
	return s.text(string(strict.Append(nil, catalog.Types)))
}

// HubBranch prints the branch.
type HubBranch struct{}

// Run prints.
func (c *HubBranch) Run(_ context.Context, env *platform.Env, g *Globals) error {
	s, err := openContent(env, g)
	if err != nil {
		return err
	}
	return s.text(plain(s.branch) + "\n")
}

// HubImport takes over a hub.
type HubImport struct {
	Install bool   `help:"Install what was installed where the archive was made."`
	From    string `arg:"" name:"file" help:"Archive of 'hub export', compressed tar file of a hub, or folder."`
}

// Run imports the index with the content of all items, and data files.
func (c *HubImport) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := openContent(env, g)
	if err != nil {
		return err
	}
	from, err := filepath.Abs(c.From)
	if err != nil {
		return fmt.Errorf("cannot find %s: %w", c.From, err)
	}
	names, warnings, err := catalog.Import(s.dirs, from)
	s.warnings(warnings)
	if err != nil {
		return err
	}
	cat, err := s.catalog()
	if err != nil {
		return err
	}
	count := 0
	for _, t := range catalog.Types {
		count += len(cat.Items(t))
	}
	s.info("%d items of %s can be installed", count, c.From)
	if !c.Install {
		return nil
	}
	src, err := s.source("")
	if err != nil {
		return err
	}
	return s.change(ctx, src, planFlags{}, func(cat *catalog.Catalog, p *catalog.Plan) error {
		for _, line := range names {
			t, name, _ := strings.Cut(line, ":")
			if it, err := cat.Find(catalog.Type(t), name); err != nil {
				s.warn("%v", err)
			} else {
				p.Install(it, false)
			}
		}
		return nil
	})
}
