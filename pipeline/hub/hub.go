// Package hub finds content: the files that say how lines are parsed and what
// is an attack. It reads a directory laid out like upstream's config_dir, or
// the starter set that is embedded (base/, written by us), and knows the order
// in which files load. What is inside the files is the business of
// pipeline/node and pipeline/scenario.
package hub

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"cs/platform/order"
	"cs/platform/strict"
)

// Kind is what an item is for.
type Kind uint8

const (
	Parser Kind = iota
	Scenario
	PostOverflow
	Context
	Collection // which only says what belongs together

	// Settings: one file each.
	ConsoleContext
	Simulation
)

var kinds = [...]struct{ dir, name string }{
	Parser:       {"parsers", "parser"},
	Scenario:     {"scenarios", "scenario"},
	PostOverflow: {"postoverflows", "postoverflow"},
	Context:      {"contexts", "context"},
	Collection:   {"collections", "collection"},
}

// String returns the word for messages.
func (k Kind) String() string {
	switch k {
	case ConsoleContext:
		return "console context"
	case Simulation:
		return "simulation"
	}
	return kinds[k].name
}

// Item is one file of content, which may hold several documents.
type Item struct {
	Kind  Kind
	Stage string // the directory, for parsers and postoverflows: "s01-parse"
	Path  string // as errors name it
	Name  string // of the first document, else the file's
	Data  []byte

	at     string                       // its path in the file system that it was read from
	link   bool                         // it is a symbolic link, as items of the hub are
	parsed func() ([]strict.Doc, error) // what is in Data; nil: it is parsed when it is asked for

	// Hash (SHA-256, hex) and Version are of items of the public hub that were
	// installed from its index. The version of one that was changed is "?".
	Hash, Version string
}

// Content is all the files of one engine, in loading order.
type Content struct {
	Items []Item

	// Collections are those that are installed. What they name is in Items anyway.
	Collections []Item

	// Settings are files of the kinds ConsoleContext and Simulation. Of two of a
	// kind the later overrides the earlier.
	Settings []Item

	// Doubts tell what was left out and is no error.
	Doubts []string

	// Data holds data files that come with the content, in its data/
	// directory. Those of the engine's data directory come first. May be nil.
	Data fs.FS
}

// maxItem bounds a file of content, in bytes.
const maxItem = 1 << 20

// Dirs says where an installation lies. Only Config must be given.
type Dirs struct {
	Config string // has parsers/, scenarios/ and so on, such as /etc/crowdsec
	Hub    string // where installed items link to; "": hub/ in Config
	Index  string // of the hub; "": .index.json in Hub

	Simulation     string // file; "": simulation.yaml in Config
	ConsoleContext string // file; "": console/context.yaml in Config, if there is one
}

// Load reads the installed items below a directory such as /etc/crowdsec.
func Load(dir string) (Content, []error) { return Dirs{Config: dir}.Load() }

// Load reads the installed items and settings. Errors name items that are left
// out; a directory that does not exist has none. Links are followed.
func (d Dirs) Load() (Content, []error) {
	c, errs := load(os.DirFS(d.Config), d.Config)
	dir := cmp.Or(d.Hub, filepath.Join(d.Config, "hub"))
	collections, more := walk(os.DirFS(d.Config), d.Config, Collection)
	_ = read(os.DirFS(d.Config), collections) // one that can't be read is there all the same
	all := append(slices.Clip(c.Items), collections...)
	errs = append(errs, more...)
	if err := identify(all, dir, cmp.Or(d.Index, filepath.Join(dir, ".index.json"))); err != nil {
		errs = append(errs, err)
	}
	c.Items, c.Collections = all[:len(c.Items)], all[len(c.Items):]
	c.Settings, more = d.settings()
	return c, append(errs, more...)
}

// settings reads the files that say how items are used. Those that were named
// must be there.
func (d Dirs) settings() (items []Item, errs []error) {
	simulation := cmp.Or(d.Simulation, filepath.Join(d.Config, "simulation.yaml"))
	for _, s := range []struct {
		kind  Kind
		at    string
		named bool
	}{
		{ConsoleContext, cmp.Or(d.ConsoleContext, filepath.Join(d.Config, "console", "context.yaml")), d.ConsoleContext != ""},
		{Simulation, simulation, d.Simulation != ""},
		{Simulation, simulation + ".local", false},
	} {
		data, err := readFile(os.DirFS(filepath.Dir(s.at)), filepath.Base(s.at))
		if errors.Is(err, fs.ErrNotExist) && !s.named {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot read the %s %s: %w", s.kind, s.at, err))
			continue
		}
		items = append(items, Item{Kind: s.kind, Path: filepath.ToSlash(s.at), Name: filepath.Base(s.at), Data: data})
	}
	return items, errs
}

// Base returns the starter set: syslog, sshd, nginx and apache logs, and the
// attacks that everybody sees.
func Base() Content {
	sub, err := fs.Sub(base, "base")
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded content: %v", err))
	}
	c, errs := load(sub, "base")
	if len(errs) != 0 {
		panic(fmt.Sprintf("BUG: embedded content: %v", errors.Join(errs...)))
	}
	return c
}

//go:embed base
var base embed.FS

// load reads the items of a file system; root is what errors call it.
func load(fsys fs.FS, root string) (Content, []error) {
	var found []Item
	var errs []error
	for kind := range Collection {
		items, more := walk(fsys, root, kind)
		found = append(found, items...)
		errs = append(errs, more...)
	}
	faults := read(fsys, found)
	type name struct {
		kind Kind
		name string
	}
	last := map[name]int{} // of two items of a name the later replaces the earlier
	var c Content
	for i, it := range found {
		if it.link && errors.Is(faults[i], fs.ErrNotExist) {
			c.Doubts = append(c.Doubts, it.Path+" is left out: the link leads nowhere")
			continue
		}
		if faults[i] != nil {
			errs = append(errs, fmt.Errorf("cannot read %s: %w", it.Path, faults[i]))
			continue
		}
		if _, twice := last[name{it.Kind, it.Name}]; twice {
			if _, err := strict.Parse(it.Path, it.Data); err != nil { // it takes nobody's place
				it.Name = path.Base(it.Path)
				found[i].Name = it.Name
			}
		}
		last[name{it.Kind, it.Name}] = i
	}
	for i, it := range found {
		if n, ok := last[name{it.Kind, it.Name}]; ok && n == i {
			c.Items = append(c.Items, it)
		}
	}
	if sub, err := fs.Sub(fsys, "data"); err == nil {
		c.Data = sub
	}
	return c, errs
}

// walk finds the items of one kind, in byte order of their paths.
func walk(fsys fs.FS, root string, kind Kind) (items []Item, errs []error) {
	top := kinds[kind].dir
	if _, err := fs.Stat(fsys, top); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err := fs.WalkDir(fsys, top, func(p string, d fs.DirEntry, err error) error {
		full := path.Join(root, p)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot read content: %w", err))
			return nil
		case d.IsDir():
			if p != top && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		case path.Ext(p) != ".yaml" && path.Ext(p) != ".yml", strings.HasPrefix(d.Name(), "."):
			return nil
		}
		item := Item{Kind: kind, Path: full, link: d.Type()&fs.ModeSymlink != 0, at: p}
		if kind == Parser || kind == PostOverflow {
			// parsers/<stage>/…; a file beside the stages has none.
			rest := strings.TrimPrefix(p, top+"/")
			stage, _, ok := strings.Cut(rest, "/")
			if !ok {
				errs = append(errs, fmt.Errorf("cannot use %s: it is in no stage directory", full))
				return nil
			}
			item.Stage = stage
		}
		items = append(items, item)
		return nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("cannot read content: %w", err))
	}
	order.Stable(items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return items, errs
}

// read reads files and finds out their names, on all cores. The errors are those of
// the files.
func read(fsys fs.FS, items []Item) []error {
	errs := make([]error, len(items))
	var next atomic.Int64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(items)); i = next.Add(1) - 1 {
				it := &items[i]
				if it.Data, errs[i] = readFile(fsys, it.at); errs[i] == nil {
					it.findName()
				}
			}
		})
	}
	work.Wait()
	return errs
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name) // of what a link points to
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file") // to read a FIFO would hang
	}
	if info.Size() > maxItem {
		return nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxItem)
	}
	return fs.ReadFile(fsys, name)
}

// OverBase returns the content together with the starter set, unless it has what
// stands in its place: a parser of the first two stages, or a scenario of the
// hub. So a whitelist, or a scenario of one's own, adds to the starter set. An
// item that has the name of one of the starter set replaces it.
func (c Content) OverBase() Content {
	own := make(map[Kind]map[string]bool)
	for _, it := range c.Items {
		if it.Kind == Parser && it.Stage < "s02" || it.Kind == Scenario && it.link {
			return c
		}
		if own[it.Kind] == nil {
			own[it.Kind] = make(map[string]bool)
		}
		own[it.Kind][it.Name] = true
	}
	b := Base()
	var all []Item
	for kind := range kinds {
		for _, it := range b.Items {
			if it.Kind == Kind(kind) && !own[it.Kind][it.Name] {
				all = append(all, it)
			}
		}
		for _, it := range c.Items {
			if it.Kind == Kind(kind) {
				all = append(all, it)
			}
		}
	}
	if c.Data == nil {
		c.Data = b.Data
	} else {
		c.Data = layered{c.Data, b.Data}
	}
	c.Items = all
	return c
}

// Blind tells whether the content can understand no line of a syslog: it has no
// parser of the first stage.
func (c Content) Blind() bool {
	for _, it := range c.Items {
		if it.Kind == Parser && it.Stage == "s00-raw" {
			return false
		}
	}
	return true
}

// layered is two file systems, of which the first goes before the second.
type layered [2]fs.FS

func (l layered) Open(name string) (fs.File, error) {
	f, err := l[0].Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return l[1].Open(name)
	}
	return f, err
}
