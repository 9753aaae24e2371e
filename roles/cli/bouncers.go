package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"cs/platform"
	"cs/roles/api"
	"cs/storage"
)

// Bouncers groups the commands about the accounts of bouncers, kept by the
// LAPI of this host.
type Bouncers struct {
	List    BouncersList    `cmd:"" help:"List bouncers."`
	Add     BouncersAdd     `cmd:"" help:"Make an API key for a bouncer."`
	Delete  BouncersDelete  `cmd:"" aliases:"remove" help:"Revoke keys of bouncers."`
	Prune   BouncersPrune   `cmd:"" help:"Delete bouncers that are silent."`
	Inspect BouncersInspect `cmd:"" help:"Show all about a bouncer."`
}

// bouncerJSON is how a bouncer is shown; the spelling and the order are a contract.
type bouncerJSON struct {
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
	Name         string     `json:"name"`
	Revoked      bool       `json:"revoked"`
	IPAddress    string     `json:"ip_address"`
	Type         string     `json:"type"`
	Version      string     `json:"version"`
	LastPull     *time.Time `json:"last_pull"`
	AuthType     string     `json:"auth_type"`
	OS           string     `json:"os"`
	FeatureFlags []string   `json:"featureflags,omitempty"`
	AutoCreated  bool       `json:"auto_created"`
}

func showBouncer(b *api.Bouncer) bouncerJSON {
	return bouncerJSON{
		CreatedAt: b.Created, UpdatedAt: b.Updated, Name: b.Name, IPAddress: b.IP, Type: b.Type, Version: b.Version,
		LastPull: orNull(b.LastPull), AuthType: b.AuthType, OS: first(osText(b.OSName, b.OSVersion), "?"),
		FeatureFlags: b.FeatureFlags, AutoCreated: b.AutoCreated,
	}
}

// BouncersList lists bouncers by the time they were added.
type BouncersList struct{}

// Run lists.
func (c *BouncersList) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	var bouncers []api.Bouncer
	err = s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		bouncers, err = a.Bouncers(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("unable to list bouncers: %w", err)
	}
	switch s.format {
	case jsonText:
		list := []bouncerJSON{}
		for i := range bouncers {
			list = append(list, showBouncer(&bouncers[i]))
		}
		return s.json(list, "  ")
	case raw:
		var rows [][]string
		for _, b := range bouncers {
			// The column called revoked has always held this word: a key is
			// valid from the start, and gone when revoked.
			rows = append(rows, []string{b.Name, b.IP, "validated", stamp(b.LastPull), b.Type, b.Version, b.AuthType})
		}
		return s.csv("name,ip,revoked,last_pull,type,version,auth_type", rows)
	}
	return s.bouncersTable(bouncers)
}

func (s *session) bouncersTable(bouncers []api.Bouncer) error {
	t := s.table("Name", "IP Address", "Valid", "Last API pull", "Type", "Version", "Auth Type")
	for _, b := range bouncers {
		t.add(b.Name, b.IP, yes, stamp(b.LastPull), b.Type, b.Version, b.AuthType)
	}
	return s.text(t.light())
}

// BouncersAdd adds a bouncer and shows its key, the only time it is known.
type BouncersAdd struct {
	Name   []string `arg:"" optional:"" help:"Name of the bouncer."`
	Key    string   `short:"k" help:"API key (default: a random one)."`
	Length number   `short:"l" hidden:"" help:"Ignored; keys have one length."`
}

// Run adds.
func (c *BouncersAdd) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	key := c.Key
	err = s.admin(ctx, mayCreate, func(a *api.Admin) (err error) {
		key, err = a.AddBouncer(ctx, name, c.Key)
		return err
	})
	switch {
	case errors.Is(err, api.ErrExists):
		return fmt.Errorf("unable to create bouncer: bouncer %s already exists", name)
	case err != nil:
		return fmt.Errorf("unable to create bouncer: %w", err)
	}
	switch s.format {
	case jsonText:
		text, err := json.Marshal(key)
		if err != nil {
			return fmt.Errorf("cannot encode the output: %w", err)
		}
		return s.text(string(safeJSON(text)))
	case raw:
		return s.text(key) // no line break: scripts take all of it
	}
	return s.text(fmt.Sprintf("API key for '%s':\n\n   %s\n\nKeep this key now: it can't be shown again.\n", plain(name), plain(key)))
}

// BouncersDelete deletes bouncers; their keys end.
type BouncersDelete struct {
	Name          []string `arg:"" optional:"" help:"Names of bouncers."`
	IgnoreMissing bool     `help:"Unknown names are no error."`
}

// Run deletes in the order given and stops at the first failure.
func (c *BouncersDelete) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if err := atLeastOne(c.Name); err != nil {
		return err
	}
	return s.admin(ctx, mustExist, func(a *api.Admin) error {
		bouncers, err := a.Bouncers(ctx)
		if err != nil {
			return fmt.Errorf("unable to list bouncers: %w", err)
		}
		for _, name := range c.Name {
			if parent, ok := sharedKey(bouncers, name); ok {
				s.warn("bouncer '%s' is auto-created and cannot be deleted, delete parent bouncer '%s' instead", name, parent)
				continue
			}
			switch err := a.DeleteBouncer(ctx, name); {
			case err == nil:
				s.info("bouncer '%s' deleted successfully", name)
			case errors.Is(err, api.ErrNotFound) && c.IgnoreMissing:
			case errors.Is(err, api.ErrNotFound):
				return fmt.Errorf("unable to delete bouncer %s: ent: bouncer not found", name)
			default:
				return fmt.Errorf("unable to delete bouncer %s: %w", name, err)
			}
		}
		return nil
	})
}

// sharedKey tells whether a bouncer was made because another address uses the
// key of parent: it would come back with the next request. Bouncers with a
// client certificate are made by themselves too, but each has its own.
func sharedKey(bouncers []api.Bouncer, name string) (parent string, ok bool) {
	for _, b := range bouncers {
		if b.Name == name && b.AutoCreated && b.AuthType != storage.AuthTLS {
			parent, _, _ = strings.Cut(name, "@")
			return parent, true
		}
	}
	return "", false
}

// BouncersInspect shows one bouncer.
type BouncersInspect struct {
	Name []string `arg:"" optional:"" help:"Name of the bouncer."`
}

// Run shows it.
func (c *BouncersInspect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	if s.format == raw {
		return errNoRaw
	}
	var found *api.Bouncer
	err = s.admin(ctx, mustExist, func(a *api.Admin) error {
		bouncers, err := a.Bouncers(ctx)
		for i := range bouncers {
			if bouncers[i].Name == name {
				found = &bouncers[i]
			}
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("unable to read bouncer data '%s': %w", name, err)
	case found == nil:
		return fmt.Errorf("unable to read bouncer data '%s': ent: bouncer not found", name)
	}
	b := showBouncer(found)
	if s.format == jsonText {
		return s.json(b, "  ")
	}
	t := s.table()
	t.title = "Bouncer: " + b.Name
	t.add("Created At", stamp(b.CreatedAt))
	t.add("Last Update", stamp(b.UpdatedAt))
	t.add("Revoked?", "false")
	t.add("IP Address", b.IPAddress)
	t.add("Type", b.Type)
	t.add("Version", b.Version)
	t.add("Last Pull", stamp(found.LastPull))
	t.add("Auth type", b.AuthType)
	t.add("OS", b.OS)
	t.add("Auto Created", fmt.Sprint(b.AutoCreated))
	for _, flag := range b.FeatureFlags {
		t.add("Feature Flags", flag)
	}
	return s.text(t.light())
}
