package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

// Allowlists groups the commands about addresses that are never banned. Those
// that only look are clients of a LAPI; the others work on the one of this host.
type Allowlists struct {
	List    AllowlistsList    `cmd:"" help:"List allowlists."`
	Inspect AllowlistsInspect `cmd:"" help:"Show what is on an allowlist."`
	Check   AllowlistsCheck   `cmd:"" help:"Tell whether addresses are on an allowlist."`
	Create  AllowlistsCreate  `cmd:"" help:"Make an allowlist."`
	Add     AllowlistsAdd     `cmd:"" help:"Put addresses on an allowlist, and lift their bans."`
	Import  AllowlistsImport  `cmd:"" help:"Put the addresses of a file on an allowlist."`
	Remove  AllowlistsRemove  `cmd:"" help:"Take addresses off an allowlist."`
	Delete  AllowlistsDelete  `cmd:"" help:"Delete an allowlist."`
}

// AllowlistsList lists allowlists.
type AllowlistsList struct{}

// Run lists.
func (c *AllowlistsList) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	lists, err := lapi.Allowlists(ctx)
	if err != nil {
		return apiError(err)
	}
	switch s.format {
	case jsonText:
		return s.json(orEmpty(lists), "  ")
	case raw:
		var rows [][]string
		for _, l := range lists {
			rows = append(rows, []string{l.Name, l.Description, utc(l.Created), utc(l.Updated),
				strconv.FormatBool(l.ConsoleManaged), strconv.Itoa(len(l.Items))})
		}
		return s.csv("name,description,created_at,updated_at,console_managed,size", rows)
	}
	t := s.table("Name", "Description", "Created at", "Updated at", "Managed by Console", "Size")
	t.right = []int{5}
	for _, l := range lists {
		t.add(l.Name, l.Description, l.Created, l.Updated, yesNo(l.ConsoleManaged), strconv.Itoa(len(l.Items)))
	}
	return s.text(t.light())
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// AllowlistsInspect shows one allowlist.
type AllowlistsInspect struct {
	Name []string `arg:"" optional:"" help:"Name of the allowlist."`
}

// Run shows it.
func (c *AllowlistsInspect) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	l, err := lapi.Allowlist(ctx, name)
	if err != nil {
		return apiError(err)
	}
	switch s.format {
	case jsonText:
		return s.json(l, "  ")
	case raw:
		var rows [][]string
		for _, i := range l.Items {
			rows = append(rows, []string{l.Name, l.Description, i.Value, i.Description, i.Expiration, utc(i.Created), strconv.FormatBool(l.ConsoleManaged)})
		}
		return s.csv("name,description,value,comment,expiration,created_at,console_managed", rows)
	}
	about := s.table()
	about.title = "Allowlist: " + l.Name
	about.add("Name", l.Name)
	about.add("Description", l.Description)
	about.add("Created at", l.Created)
	about.add("Updated at", l.Updated)
	about.add("Managed by Console", yesNo(l.ConsoleManaged))
	items := s.table("Value", "Comment", "Expiration", "Created at")
	for _, i := range l.Items {
		expiration := i.Expiration
		if strings.HasPrefix(expiration, "0001-") {
			expiration = "never"
		}
		items.add(i.Value, i.Description, expiration, utc(i.Created))
	}
	return s.text(about.light() + "\n" + items.light())
}

// AllowlistsCheck tells whether addresses are on a list.
type AllowlistsCheck struct {
	Value []string `arg:"" optional:"" help:"Addresses and ranges."`
}

// Run tells it of each. (Upstream's stops at the first that is on none.)
func (c *AllowlistsCheck) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if err := atLeastOne(c.Value); err != nil {
		return err
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	for _, value := range c.Value {
		reason, err := lapi.Allowlisted(ctx, value)
		if err != nil {
			return fmt.Errorf("unable to check if value %s is in allowlist: %w", value, apiError(err))
		}
		text := value + " is not allowlisted"
		if reason != "" {
			text = value + " is allowlisted by item " + reason
		}
		if err := s.text(plain(text) + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// AllowlistsCreate makes a list.
type AllowlistsCreate struct {
	Name        []string `arg:"" optional:"" help:"Name of the allowlist."`
	Description string   `short:"d" required:"" help:"What it is for."`
}

// Run makes it.
func (c *AllowlistsCreate) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	err = s.admin(ctx, mayCreate, func(a *api.Admin) error { return a.AddAllowlist(ctx, name, c.Description) })
	if errors.Is(err, api.ErrExists) {
		return fmt.Errorf("allowlist '%s' already exists", name)
	} else if err != nil {
		return apiError(err)
	}
	return s.text(plain(fmt.Sprintf("allowlist '%s' created successfully", name)) + "\n")
}

// AllowlistsDelete deletes a list.
type AllowlistsDelete struct {
	Name []string `arg:"" optional:"" help:"Name of the allowlist."`
}

// Run deletes it.
func (c *AllowlistsDelete) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	err = s.admin(ctx, mustExist, func(a *api.Admin) error { return a.DeleteAllowlist(ctx, name) })
	if err != nil {
		return allowlistError(name, err)
	}
	return s.text(plain(fmt.Sprintf("allowlist '%s' deleted successfully", name)) + "\n")
}

// allowlistError gives an error about a list the words that scripts know.
func allowlistError(name string, err error) error {
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("allowlist '%s' not found", name)
	}
	return apiError(err)
}

// AllowlistsAdd puts values on a list.
type AllowlistsAdd struct {
	Args       []string `arg:"" optional:"" name:"name" help:"Name of the allowlist, then addresses and ranges."`
	Expiration duration `short:"e" help:"How long they stay on it (30m, 7d); default: for ever."`
	Comment    string   `short:"d" help:"Why."`
}

// Run adds. What is no address is told and left out.
func (c *AllowlistsAdd) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	name, values, err := nameAndValues(c.Args)
	if err != nil {
		return err
	}
	items := make([]api.AllowRequestItem, len(values))
	for i, v := range values {
		items[i] = api.AllowRequestItem{Value: v, Comment: c.Comment, Expires: s.expiry(c.Expiration.d)}
	}
	return s.allow(ctx, name, items)
}

// nameAndValues returns the name of a list and at least one value for it.
func nameAndValues(args []string) (name string, values []string, err error) {
	if len(args) < 2 {
		return "", nil, &usageError{fmt.Sprintf("requires at least 2 arg(s), only received %d", len(args))}
	}
	return args[0], args[1:], nil
}

// expiry returns when what is added now expires; 0 is never.
func (s *session) expiry(after time.Duration) (t time.Time) {
	if after > 0 {
		t = s.now().Add(after).UTC()
	}
	return t
}

// allow puts items on a list and tells what came of it.
func (s *session) allow(ctx context.Context, name string, items []api.AllowRequestItem) error {
	var good []api.AllowRequestItem
	for _, i := range items {
		if _, err := decisions.ParsePrefix(i.Value); err != nil {
			s.problem("unable to parse value %s: %v", i.Value, err)
			continue
		}
		good = append(good, i)
	}
	var done api.AllowResponse
	err := s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		done, err = a.Allow(ctx, name, good)
		return err
	})
	if err != nil {
		return allowlistError(name, err)
	}
	for _, v := range done.Known {
		s.warn("value %s already in allowlist", v)
	}
	text := "no new values for allowlist\n"
	if done.Added > 0 {
		text = plain(fmt.Sprintf("added %d values to allowlist %s", done.Added, name)) + "\n"
	}
	if done.Lifted > 0 {
		text += fmt.Sprintf("%d decisions deleted by allowlists\n", done.Lifted)
	}
	return s.text(text)
}

// AllowlistsRemove takes values off a list.
type AllowlistsRemove struct {
	Args []string `arg:"" optional:"" name:"name" help:"Name of the allowlist, then addresses and ranges."`
}

// Run removes.
func (c *AllowlistsRemove) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	name, values, err := nameAndValues(c.Args)
	if err != nil {
		return err
	}
	removed := 0
	err = s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		removed, err = a.Disallow(ctx, name, values)
		return err
	})
	if err != nil {
		return allowlistError(name, err)
	}
	if removed == 0 {
		return s.text("no value to remove from allowlist\n")
	}
	return s.text(plain(fmt.Sprintf("removed %d values from allowlist %s", removed, name)) + "\n")
}

// AllowlistsImport puts the values of a file on a list.
type AllowlistsImport struct {
	Name  []string `arg:"" optional:"" help:"Name of the allowlist."`
	Input string   `short:"i" required:"" help:"CSV file with a column value, and perhaps expiration and comment; -: stdin."`
}

// Run reads all of the file before anything is added.
func (c *AllowlistsImport) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	_, text, err := readInput(c.Input, env.Stdin)
	if err != nil {
		return err
	}
	items, err := s.parseAllowed(text)
	if err != nil {
		return err
	}
	return s.allow(ctx, name, items)
}

// parseAllowed reads a CSV file with a header row.
func (s *session) parseAllowed(text []byte) (items []api.AllowRequestItem, err error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = -1
	column := map[string]int{}
	for n := 0; ; n++ {
		row, err := r.Read()
		switch {
		case err == io.EOF && len(items) == 0:
			return nil, errors.New("no values to import")
		case err == io.EOF:
			return items, nil
		case err != nil:
			return nil, fmt.Errorf("unable to parse csv: %w", err)
		}
		if n == 0 {
			for i, name := range row {
				column[strings.TrimSpace(name)] = i
			}
			continue
		}
		field := func(name string) string {
			if i, ok := column[name]; ok && i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		item := api.AllowRequestItem{Value: field("value"), Comment: field("comment")}
		if item.Value == "" {
			return nil, fmt.Errorf("row %d: missing 'value'", n)
		}
		if text := field("expiration"); text != "" {
			after, err := api.ParseDuration(text)
			if err != nil || after <= 0 {
				return nil, fmt.Errorf("row %d: invalid expiration %q", n, text)
			}
			item.Expires = s.expiry(after)
		}
		items = append(items, item)
	}
}
