package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cs/pipeline/hub"
	"cs/platform"
)

// Outcome is what came of a plan.
type Outcome struct {
	// Reload says that something the engine loads is another now.
	Reload bool
	// Missing names data files that the folder of the hub doesn't have.
	Missing []string
}

// Carry carries the plan out. said gets a line for each step. It stops at the
// first error, but goes on after one about data files, which comes back at the
// end: the content is good without.
func (p *Plan) Carry(ctx context.Context, s *Source, now time.Time, said func(string)) (out Outcome, err error) {
	data, err := openDataDir(p.c.Dirs.Data)
	if err != nil {
		return out, err
	}
	defer data.close()
	k := &carrier{p: p, s: s, dataFrom: p.c.dataSource(s), data: data, now: now, said: said, out: &out, fetched: map[string]bool{}}
	err = k.all(ctx)
	return out, errors.Join(err, k.sync(), errors.Join(k.errs...))
}

// importedData is where the data files of an imported hub are.
func importedData(dirs Dirs) string { return filepath.Join(dirs.Hub, ".data") }

// dataSource returns where data files come from: with a hub that was imported
// they were, too, for its network is not there, or not wanted.
func (c *Catalog) dataSource(s *Source) *Source {
	at := importedData(c.Dirs)
	if _, err := os.Stat(at); err != nil || s.IsFolder() {
		return s
	}
	return &Source{dir: c.Dirs.Hub, data: at}
}

type carrier struct {
	p        *Plan
	s        *Source
	dataFrom *Source
	data     *dataDir
	now      time.Time
	said     func(string)
	out      *Outcome
	fetched  map[string]bool // data files that were asked for
	errs     []error
	written  []string // files that are not on the disk yet
}

func (k *carrier) all(ctx context.Context) error {
	for _, a := range k.p.Actions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if step := verbs[a.Verb].step; step != "" {
			k.said(step + " " + a.Item.String())
		}
		if err := k.do(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// sync makes what was written outlive a power cut. All at once is many times
// faster than one by one.
func (k *carrier) sync() error {
	dirs := map[string]bool{}
	for _, name := range k.written {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			continue // it was purged since
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("cannot keep %s: %w", name, err)
		}
		dirs[filepath.Dir(name)] = true
	}
	for dir := range dirs {
		if err := platform.SyncDir(dir); err != nil {
			return fmt.Errorf("cannot keep the content of %s: %w", dir, err)
		}
	}
	return nil
}

func (k *carrier) do(ctx context.Context, a Action) error {
	c, it := k.p.c, a.Item
	switch a.Verb {
	case Download:
		if err := k.download(ctx, it); err != nil {
			return err
		}
		k.out.Reload = k.out.Reload || it.Installed()
		return k.dataOf(ctx, it, it.DownloadPath)
	case Enable:
		if err := c.enable(it); err != nil {
			return fmt.Errorf("cannot enable %s: %w", it, err)
		}
		k.out.Reload = true
		return k.dataOf(ctx, it, it.DownloadPath)
	case Disable:
		if err := c.disable(it); err != nil {
			return fmt.Errorf("cannot disable %s: %w", it, err)
		}
		k.out.Reload = true
		return nil
	case Purge:
		if err := os.Remove(it.DownloadPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot purge %s: %w", it, err)
		}
		it.DownloadPath = ""
		return nil
	}
	for _, t := range Types {
		for _, it := range c.Installed(t) {
			if err := k.dataOf(ctx, it, it.InstallPath); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *carrier) download(ctx context.Context, it *Item) error {
	text, err := k.s.Item(ctx, it)
	if err != nil {
		return err
	}
	at := k.p.c.downloadPath(it)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return fmt.Errorf("cannot download %s: %w", it, err)
	}
	if err := replace(at, text); err != nil {
		return fmt.Errorf("cannot download %s: %w", it, err)
	}
	it.DownloadPath = at
	k.written = append(k.written, at)
	return nil
}

// replace writes a file as a whole, to be synced.
func replace(at string, text []byte) error {
	tmp := filepath.Join(filepath.Dir(at), ".new-"+filepath.Base(at))
	err := os.WriteFile(tmp, text, 0o644)
	if err == nil {
		err = os.Rename(tmp, at)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// dataOf gets the data files of an item. An error is not about data files.
func (k *carrier) dataOf(ctx context.Context, it *Item, at string) error {
	text, err := readLimited(at, maxItem)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", it, err)
	}
	for _, f := range hub.DataFilesIn(at, text) {
		if name := f.DestFile.Value; k.fetched[name] {
			continue
		} else {
			k.fetched[name] = true
		}
		changed, err := k.data.fetch(ctx, k.dataFrom, f, k.p.Force, k.now, k.said)
		switch {
		case errors.Is(err, errMissing):
			k.out.Missing = append(k.out.Missing, fmt.Sprintf("%s: %v", it, err))
		case err != nil:
			k.errs = append(k.errs, fmt.Errorf("%s: while getting data: %w", it, err))
		}
		k.out.Reload = k.out.Reload || changed
	}
	return ctx.Err()
}

// enable links to the file of an item.
func (c *Catalog) enable(it *Item) error {
	link, target := c.linkPath(it), c.downloadPath(it)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if to, err := os.Readlink(link); err == nil {
		if to == target {
			it.InstallPath = link
			return nil
		}
		if _, err := os.Stat(link); errors.Is(err, fs.ErrNotExist) { // it leads nowhere
			if err := os.Remove(link); err != nil {
				return err
			}
		}
	}
	if err := os.Symlink(target, link); err != nil {
		return err
	}
	it.InstallPath = link
	return nil
}

// disable removes the link to an item, if it is ours.
func (c *Catalog) disable(it *Item) error {
	at := it.InstallPath
	if to, err := os.Readlink(at); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil || to != c.downloadPath(it) {
		return fmt.Errorf("%s isn't managed by hub", at)
	}
	if err := os.Remove(at); err != nil {
		return err
	}
	it.InstallPath = ""
	return nil
}
