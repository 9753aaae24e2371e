package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cs/pipeline/hub"
	"cs/platform/order"
	"cs/platform/strict"
)

// Dirs says where an installation lies. All are absolute.
type Dirs struct {
	Config string // has parsers/, scenarios/ and so on
	Hub    string // has the files that those link to
	Index  string // the index of the hub
	Data   string // has the data files of items
}

// Catalog is an installation and the index of its hub.
type Catalog struct {
	Dirs     Dirs
	Index    Index
	Warnings []string // about files that are left out and dependencies that are missing

	items map[Type]map[string]*Item
	hub   string // Dirs.Hub without links
}

// Item is something that the index knows, or that is installed without.
type Item struct {
	Type  Type
	Name  string
	Entry // zero for a local item

	// Local says that the file is no link into the hub: somebody wrote it here.
	Local bool
	// DownloadPath is the file in the hub directory, InstallPath what is installed:
	// a link to that, or the local file. "" if there is none.
	DownloadPath, InstallPath string
	// Hash (SHA-256, hex) and LocalVersion are of the file that is here. A version
	// that the index doesn't know is "?", a local item has none.
	Hash, LocalVersion string

	// UpToDate says that it and all its parts are of the latest versions.
	UpToDate bool
	// TaintedBy says what makes it differ from what was published: "local
	// changes", "parsers:a/b" for a part that is tainted, "missing parsers:a/b".
	TaintedBy []string
	// Collections are the installed ones that name it.
	Collections []string

	changed bool // the file here is of no known version
}

// Installed tells whether the engine loads it.
func (it *Item) Installed() bool { return it.InstallPath != "" }

// Tainted tells whether it is not what was published.
func (it *Item) Tainted() bool { return len(it.TaintedBy) > 0 }

// String is how messages call it: "parsers:a/b".
func (it *Item) String() string { return string(it.Type) + ":" + it.Name }

// FileName is the name of its file.
func (it *Item) FileName() string {
	if it.Local {
		return filepath.Base(it.InstallPath)
	}
	return path.Base(it.Path)
}

// outdated tells whether its file is of an older version.
func (it *Item) outdated() bool {
	return it.LocalVersion != "" && !it.changed && it.LocalVersion != it.Version
}

// Here returns the parts of the collection as the file that is here has them.
func (it *Item) Here() Dependencies {
	if at := cmp.Or(it.InstallPath, it.DownloadPath); at != "" && it.Type == Collections {
		return dependenciesIn(at)
	}
	return it.Dependencies
}

// Parts returns the parts of a collection: those of the installed file, else
// those of the latest version.
func (it *Item) Parts() map[Type][]string {
	d, m := it.Here(), map[Type][]string{}
	for t, name := range d.all() {
		m[t] = append(m[t], name)
	}
	return m
}

// Open reads the index and looks at what is here.
func Open(dirs Dirs) (*Catalog, error) {
	x, err := ReadIndex(dirs.Index)
	if err != nil {
		return nil, err
	}
	return New(dirs, x)
}

// New looks at what is here of an index.
func New(dirs Dirs, x Index) (*Catalog, error) {
	c := &Catalog{Dirs: dirs, Index: x, items: map[Type]map[string]*Item{}, hub: dirs.Hub}
	if real, err := filepath.EvalSymlinks(dirs.Hub); err == nil {
		c.hub = real
	}
	for _, t := range Types {
		c.items[t] = map[string]*Item{}
		byPath := map[string]*Item{}
		for name, e := range x[t] {
			it := &Item{Type: t, Name: name, Entry: *e}
			c.items[t][name], byPath[e.Path] = it, it
			at := c.downloadPath(it)
			if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() {
				continue
			}
			it.DownloadPath = at
			if err := it.identify(at); err != nil {
				return nil, fmt.Errorf("%s: %w", it, err)
			}
		}
		if err := c.scan(t, byPath); err != nil {
			return nil, err
		}
	}
	return c, c.relate()
}

// downloadPath is where the file of an item is, or will be.
func (c *Catalog) downloadPath(it *Item) string {
	return filepath.Join(c.Dirs.Hub, filepath.FromSlash(it.Path))
}

// linkPath is where the item is linked to when it is installed.
func (c *Catalog) linkPath(it *Item) string {
	return filepath.Join(c.Dirs.Config, string(it.Type), it.Stage, path.Base(it.Path))
}

// identify finds the version of the file.
func (it *Item) identify(at string) error {
	text, err := readLimited(at, maxItem)
	if err != nil {
		return err
	}
	it.Hash = hashOf(text)
	if it.LocalVersion, err = it.versionOf(it.Hash); err != nil {
		return err
	}
	if it.changed = it.LocalVersion == ""; it.changed {
		it.LocalVersion = "?"
	}
	return nil
}

// scan finds what is installed of a type.
func (c *Catalog) scan(t Type, byPath map[string]*Item) error {
	top := filepath.Join(c.Dirs.Config, string(t))
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".")
		switch {
		case d.IsDir() && hidden && p != top:
			return fs.SkipDir
		case d.IsDir() || hidden || !isItem(p):
			return nil
		}
		target := p
		if d.Type()&fs.ModeSymlink != 0 {
			if target, err = filepath.EvalSymlinks(p); err != nil {
				if strings.HasSuffix(err.Error(), "too many links") {
					err = syscall.ELOOP
				}
				c.warn("Ignoring file %s: %v", p, plainPath(err))
				return nil
			}
			if below, err := filepath.Rel(c.hub, target); err == nil && filepath.IsLocal(below) {
				if it := byPath[filepath.ToSlash(below)]; it != nil {
					c.install(it, p)
					return nil
				}
			}
		}
		if info, err := os.Stat(target); err != nil || !info.Mode().IsRegular() {
			c.warn("Ignoring file %s: it is no regular file", p)
			return nil
		}
		return c.addLocal(t, top, p)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read what is installed: %w", err)
	}
	return nil
}

// install notes that an item of the hub is installed. A local one of its name wins.
func (c *Catalog) install(it *Item, at string) {
	if known := c.items[it.Type][it.Name]; known.Local {
		c.warn("multiple %s named %s: ignoring %s", it.Type, it.Name, at)
		return
	}
	it.InstallPath = at
}

// addLocal notes an item that is not of the hub.
func (c *Catalog) addLocal(t Type, top, at string) error {
	text, err := readLimited(at, maxItem)
	if err != nil {
		c.warn("Ignoring file %s: %v", at, plainPath(err))
		return nil
	}
	below, err := filepath.Rel(top, at)
	if err != nil {
		return err
	}
	it := &Item{Type: t, Local: true, InstallPath: at, Hash: hashOf(text), UpToDate: true}
	it.Name = filepath.ToSlash(below)
	if t.staged() {
		stage, rest, ok := strings.Cut(it.Name, "/")
		if !ok {
			c.warn("Ignoring file %s: it is in no stage directory", at)
			return nil
		}
		it.Stage, it.Name = stage, rest
	}
	if docs, err := strict.Parse(at, text); err == nil && len(docs) > 0 {
		var head struct {
			Name        string `yaml:"name"`
			Description string `yaml:"description"`
		}
		decodeSome(docs[0], &head)
		it.Name, it.Description = cmp.Or(head.Name, it.Name), head.Description
		if t == Collections {
			decodeSome(docs[0], &it.Dependencies)
		}
	}
	if known := c.items[t][it.Name]; known != nil && known.Installed() {
		c.warn("multiple %s named %s: ignoring %s", t, it.Name, known.InstallPath)
	}
	c.items[t][it.Name] = it
	return nil
}

func (c *Catalog) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// relate finds out what collections make of their parts and the other way round.
func (c *Catalog) relate() error {
	for _, t := range Types {
		for _, it := range c.items[t] {
			it.UpToDate = it.Local || it.LocalVersion != "" && it.LocalVersion == it.Version
			if it.changed {
				it.TaintedBy = []string{"local changes"}
			}
		}
	}
	done := map[*Item]bool{}
	for _, name := range sortedNames(c.items[Collections]) {
		if err := c.relateCollection(c.items[Collections][name], done, nil); err != nil {
			return err
		}
	}
	for _, t := range Types {
		for _, it := range c.items[t] {
			order.Sort(it.Collections, compareNames)
		}
	}
	return nil
}

func (c *Catalog) relateCollection(it *Item, done map[*Item]bool, above []*Item) error {
	if slices.Contains(above, it) {
		return fmt.Errorf("circular dependency detected: %s depends on itself", it)
	}
	if done[it] {
		return nil
	}
	done[it] = true
	for t, name := range it.Dependencies.all() { // of the latest version: an old one is outdated anyway
		part := c.items[t][name]
		if part != nil && t == Collections {
			if err := c.relateCollection(part, done, append(above, it)); err != nil {
				return err
			}
		}
	}
	if !it.Installed() {
		return nil
	}
	parts := it.Here()
	for t, name := range parts.all() {
		part := c.items[t][name]
		if part == nil {
			c.warn("can't find %s:%s, required by %s", t, name, it.Name)
			continue
		}
		part.Collections = append(part.Collections, it.Name)
		switch {
		case it.Local:
		case !part.Installed():
			it.TaintedBy = append(it.TaintedBy, "missing "+part.String())
		case part.Tainted():
			it.TaintedBy = append(it.TaintedBy, part.String())
		}
		it.UpToDate = it.UpToDate && (part.UpToDate || !part.Installed())
	}
	return nil
}

// Items returns the items of a type by their names, without regard to case.
func (c *Catalog) Items(t Type) (items []*Item) {
	for _, name := range sortedNames(c.items[t]) {
		items = append(items, c.items[t][name])
	}
	return items
}

// Installed returns the installed items of a type by their names.
func (c *Catalog) Installed(t Type) []*Item {
	return slices.DeleteFunc(c.Items(t), func(it *Item) bool { return !it.Installed() })
}

// Find returns an item. The error of a name that is not there says which one
// was probably meant.
func (c *Catalog) Find(t Type, name string) (*Item, error) {
	if it := c.items[t][name]; it != nil {
		return it, nil
	}
	text := fmt.Sprintf("can't find '%s' in %s", name, t)
	if near := nearest(name, sortedNames(c.items[t])); near != "" {
		text += fmt.Sprintf(", did you mean '%s'?", near)
	}
	return nil, errors.New(text)
}

// nearest returns the name that is nearest, unless that is far.
func nearest(name string, known []string) (best string) {
	least := 7
	for _, k := range known {
		if d := strict.Distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// DirsOf completes what is said of an installation: an index is in the hub, a hub
// in the directory of the configuration.
func DirsOf(d hub.Dirs, data string) (Dirs, error) {
	out := Dirs{Config: d.Config, Hub: cmp.Or(d.Hub, filepath.Join(d.Config, "hub")), Data: data}
	out.Index = cmp.Or(d.Index, filepath.Join(out.Hub, IndexName))
	for _, dir := range []*string{&out.Config, &out.Hub, &out.Index, &out.Data} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return out, fmt.Errorf("cannot find the hub: %w", err)
		}
		*dir = abs
	}
	return out, nil
}
