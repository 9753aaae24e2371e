// Package takeover puts this program in the place of CrowdSec's (upstream's) on
// a host: it looks at what is there, says what carries over and what does
// not, brings the LAPI's database into our store, has systemd start us under
// the old names, and can take all of that back. Upstream's files are only
// read, so the way back is short.
package takeover

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cs/platform"
	"cs/roles/config"
	"cs/storage"
	"cs/storage/bolt"
	"cs/storage/migrate"
)

// recordName is the file in the data directory that says what was done.
const recordName = "takeover.json"

// Command is "cs takeover".
type Command struct {
	From  string `help:"Directory of upstream's configuration (default: /etc/crowdsec or its like)." placeholder:"DIR"`
	Apply bool   `help:"Do it, instead of only saying what would be done."`
	Undo  bool   `help:"Take it back: upstream's programs run again, with what they had then."`
	Units string `hidden:"" help:"Where the drop-ins of systemd go (default: /etc/systemd/system)."`
	Links string `hidden:"" help:"Where the links named after upstream's programs go (default: /usr/local/lib/cs)."`
}

// record is what was done.
type record struct {
	From    string    `json:"from"`
	At      time.Time `json:"at"`
	Store   string    `json:"store,omitempty"` // the file made of the database
	Links   []string  `json:"links,omitempty"`
	DropIns []string  `json:"drop_ins,omitempty"`
	Units   []string  `json:"units,omitempty"` // that were running
}

// Run looks, and does what is asked for.
func (c *Command) Run(ctx context.Context, env *platform.Env, flags *config.Flags) error {
	if c.Apply && c.Undo {
		return errors.New("--apply and --undo exclude each other")
	}
	c.From = cmp.Or(c.From, filepath.Dir(config.UpstreamPath()))
	c.Units, c.Links = cmp.Or(c.Units, "/etc/systemd/system"), cmp.Or(c.Links, "/usr/local/lib/cs")
	h, err := c.look(ctx, env, flags)
	if err != nil {
		return err
	}
	if c.Undo {
		return c.undo(ctx, env, h)
	}
	fmt.Fprint(env.Stdout, h.text())
	switch {
	case len(h.obstacles) > 0:
		return errors.New("it can't be taken over as it is")
	case !c.Apply:
		_, err := fmt.Fprintf(env.Stdout, "\nNothing has been changed. Do it with: %s takeover --from %s --apply\n", env.Program, c.From)
		return err
	}
	if err := c.apply(ctx, env, h); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "\n%s\nThe way back: %s takeover --from %s --undo\n", h.done(c.Links), env.Program, c.From)
	return err
}

// apply changes the host; after an error it is as it was before.
func (c *Command) apply(ctx context.Context, env *platform.Env, h *host) (err error) {
	if _, err := os.Stat(h.record()); err == nil {
		return fmt.Errorf("it was taken over already: %s says how", h.record())
	}
	r := record{From: c.From, At: time.Now().UTC()}
	defer func() {
		if err != nil {
			// Not with ctx: an interrupt must not leave the host in between.
			err = errors.Join(err, r.revert(context.WithoutCancel(ctx), h))
		}
	}()
	for _, u := range h.units {
		if u.active {
			r.Units = append(r.Units, u.name)
		}
	}
	if err := h.systemctl(ctx, "stop", r.Units...); err != nil {
		return err
	}
	if err := h.idle(ctx); err != nil {
		return err
	}
	if h.database != "" {
		r.Store = h.store
		fmt.Fprintf(env.Stdout, "\nReading %s …\n", h.database)
		if h.found, err = bring(ctx, h.database, h.store); err != nil {
			r.Store = "" // it isn't there
			return err
		}
	}
	if len(h.units) > 0 {
		if err := c.install(h, &r); err != nil {
			return err
		}
		if err := h.systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
		if err := h.systemctl(ctx, "start", r.Units...); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return platform.WriteFile(h.record(), append(text, '\n'), 0o600)
}

// bring makes a store of a database. It gets its name when all is in it.
func bring(ctx context.Context, database, path string) (found migrate.Summary, err error) {
	source, err := migrate.Open(database)
	if err != nil {
		return found, err
	}
	defer source.Close()
	if err := platform.MakeDir(filepath.Dir(path)); err != nil {
		return found, err
	}
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	store, err := bolt.Open(ctx, unfinished)
	if err != nil {
		return found, err
	}
	found, err = source.Into(ctx, store, time.Now())
	if err = errors.Join(err, store.Close()); err != nil {
		return found, errors.Join(fmt.Errorf("cannot take over %s: %w", database, err), os.Remove(unfinished))
	}
	if err := os.Rename(unfinished, path); err != nil {
		return found, err
	}
	return found, platform.SyncDir(filepath.Dir(path))
}

// install has systemd start us. Our program does what upstream's did where it is
// called by its name.
func (c *Command) install(h *host, r *record) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Links, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"crowdsec", "cscli", "cs"} {
		link := filepath.Join(c.Links, name)
		switch old, err := os.Readlink(link); {
		case err == nil && old == self:
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("cannot make the link %s: there is something else", link)
		}
		if err := os.Symlink(self, link); err != nil {
			return err
		}
		r.Links = append(r.Links, link)
	}
	for _, u := range h.units {
		path := filepath.Join(c.Units, u.name+".d", "cs-takeover.conf")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		r.DropIns = append(r.DropIns, path)
		if err := platform.WriteFile(path, []byte(h.dropIn(&u, c.Links)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// undo takes back what the record says.
func (c *Command) undo(ctx context.Context, env *platform.Env, h *host) error {
	text, err := os.ReadFile(h.record())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is nothing to take back: no %s", h.record())
	} else if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("cannot read %s: %w", h.record(), err)
	}
	if err := r.revert(ctx, h); err != nil {
		return err
	}
	if err := os.Remove(h.record()); err != nil {
		return err
	}
	said := "Upstream's programs are back, with what they had then."
	if r.Store != "" {
		said += "\nOur store is kept as " + r.Store + ".undone"
	}
	_, err = fmt.Fprintln(env.Stdout, said)
	return err
}

// revert makes the host what it was before.
func (r *record) revert(ctx context.Context, h *host) error {
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(r.DropIns) > 0 {
		note(h.systemctl(ctx, "stop", r.Units...))
	}
	if r.Store != "" {
		if s, err := bolt.Open(ctx, r.Store); err == nil {
			note(s.Close())
		} else if errors.Is(err, storage.ErrLocked) { // by one that systemd doesn't know
			note(h.systemctl(ctx, "start", r.Units...))
			return errors.Join(append(errs, fmt.Errorf("%w: stop the program first", err))...)
		}
	}
	for _, path := range r.DropIns {
		note(os.Remove(path))
		_ = os.Remove(filepath.Dir(path)) // unless there is something else in it
	}
	for _, link := range r.Links {
		note(os.Remove(link))
		_ = os.Remove(filepath.Dir(link))
	}
	if r.Store != "" {
		note(os.Rename(r.Store, r.Store+".undone"))
	}
	if len(r.DropIns) > 0 {
		note(h.systemctl(ctx, "daemon-reload"))
	}
	note(h.systemctl(ctx, "start", r.Units...))
	return errors.Join(errs...)
}

// plural is "1 machine", "2 machines".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprint(n, " ", what, "s")
}
