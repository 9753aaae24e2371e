package cli

import (
	"context"
	"errors"
	"fmt"

	"cs/pipeline/hub/catalog"
	"cs/platform"
)

// Items groups the commands about items of one type.
type Items struct {
	Install ItemsInstall `cmd:"" help:"Download and enable items with all they need."`
	Remove  ItemsRemove  `cmd:"" aliases:"delete" help:"Disable items."`
	Upgrade ItemsUpgrade `cmd:"" help:"Bring items up to date."`
	List    ItemsList    `cmd:"" help:"What is installed."`
	Inspect ItemsInspect `cmd:"" help:"What is known of items."`
}

// Of makes them the commands of a type.
func (c *Items) Of(t catalog.Type) {
	c.Install.t, c.Remove.t, c.Upgrade.t, c.List.t, c.Inspect.t = t, t, t, t, t
}

// ofType is the type that a command is about.
type ofType struct{ t catalog.Type }

// find returns the items with these names.
func (o ofType) find(cat *catalog.Catalog, names []string) (items []*catalog.Item, err error) {
	for _, name := range names {
		it, err := cat.Find(o.t, name)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

// ItemsInstall installs items.
type ItemsInstall struct {
	ofType
	planFlags
	From
	DownloadOnly bool     `short:"d" help:"Download only, enable nothing."`
	Ignore       bool     `help:"Go on with the other items if there is none of a name."`
	Names        []string `arg:"" name:"name" help:"Items."`
}

// Run installs.
func (c *ItemsInstall) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, src, err := openSource(env, g, c.Source)
	if err != nil {
		return err
	}
	if c.Source != "" { // it need not be what the index is of
		if err := s.update(ctx, src, false); err != nil {
			return err
		}
	}
	return s.change(ctx, src, c.planFlags, func(cat *catalog.Catalog, p *catalog.Plan) error {
		for _, name := range c.Names {
			it, err := cat.Find(c.t, name)
			switch {
			case err == nil:
				p.Install(it, c.DownloadOnly)
			case c.Ignore:
				s.problem("%v", err)
			default:
				return err
			}
		}
		return nil
	})
}

// chosen returns the items with these names, or all that are installed.
func (o ofType) chosen(cat *catalog.Catalog, names []string, all bool) ([]*catalog.Item, error) {
	if all {
		return cat.Installed(o.t), nil
	}
	return o.find(cat, names)
}

// someOrAll refuses a command that says neither which items nor all, or both.
func (o ofType) someOrAll(names []string, all bool, verb string) error {
	switch {
	case len(names) > 0 && all:
		return errors.New("can't specify items and '--all' at the same time")
	case len(names) == 0 && !all:
		return fmt.Errorf("specify at least one %s to %s or '--all'", o.t.Singular(), verb)
	}
	return nil
}

// ItemsRemove disables items.
type ItemsRemove struct {
	ofType
	planFlags
	All   bool     `help:"All that are installed."`
	Purge bool     `help:"Delete the downloaded files, too."`
	Names []string `arg:"" optional:"" name:"name" help:"Items."`
}

// Run removes.
func (c *ItemsRemove) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if err := c.someOrAll(c.Names, c.All, "remove"); err != nil {
		return err
	}
	s, src, err := openSource(env, g, "")
	if err != nil {
		return err
	}
	return s.change(ctx, src, c.planFlags, func(cat *catalog.Catalog, p *catalog.Plan) error {
		items, err := c.chosen(cat, c.Names, c.All)
		if err != nil {
			return err
		}
		return p.Remove(items, c.Purge)
	})
}

// ItemsUpgrade brings items up to date.
type ItemsUpgrade struct {
	ofType
	planFlags
	From
	All   bool     `short:"a" help:"All that are installed."`
	Names []string `arg:"" optional:"" name:"name" help:"Items."`
}

// Run upgrades.
func (c *ItemsUpgrade) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	if err := c.someOrAll(c.Names, c.All, "upgrade"); err != nil {
		return err
	}
	s, src, err := openSource(env, g, c.Source)
	if err != nil {
		return err
	}
	return s.change(ctx, src, c.planFlags, func(cat *catalog.Catalog, p *catalog.Plan) error {
		items, err := c.chosen(cat, c.Names, c.All)
		for _, it := range items {
			p.Upgrade(it)
		}
		return err
	})
}

// ItemsList lists items.
type ItemsList struct {
	ofType
	All   bool     `short:"a" help:"List what is not installed, too."`
	Names []string `arg:"" optional:"" name:"name" help:"Items, installed or not."`
}

// Run lists.
func (c *ItemsList) Run(_ context.Context, env *platform.Env, g *Globals) error {
	s, cat, err := openCatalog(env, g)
	if err != nil {
		return err
	}
	l := listOf(cat, c.t, c.All)
	if len(c.Names) > 0 {
		if l.items, err = c.find(cat, c.Names); err != nil {
			return err
		}
	}
	return s.list([]list{l})
}
