// Package hub finds content: the files that say how lines are parsed and what
// is an attack. It reads a directory laid out like upstream's config_dir, or
// the starter set that is embedded (base/, written by us), and knows the order
// in which files load. What is inside the files is the business of
// pipeline/node and pipeline/scenario.
package hub

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cs/platform/strict"
)

// Kind is what an item is for.
type Kind uint8

const (
	Parser Kind = iota
	Scenario
	PostOverflow
	Context

	// Settings: one file each.
	ConsoleContext
	Simulation
)

var kinds = [...]struct{ dir, name string }{
	Parser:       {"parsers", "parser"},
	Scenario:     {"scenarios", "scenario"},
	PostOverflow: {"postoverflows", "postoverflow"},
	Context:      {"contexts", "context"},
}

// settings are the files that say how items are used, each with the file that
// overrides it.
var settings = [...]struct {
	kind Kind
	file string
}{
	{ConsoleContext, "console/context.yaml"},
	{Simulation, "simulation.yaml"},
	{Simulation, "simulation.yaml.local"},
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

	// Hash (SHA-256, hex) and Version are of items of the public hub that were
	// installed from its index. The version of one that was changed is "?".
	Hash, Version string
}

// Content is all the files of one engine, in loading order.
type Content struct {
	Items []Item

	// Settings are files of the kinds ConsoleContext and Simulation. Of two of a
	// kind the later overrides the earlier.
	Settings []Item

	// Data holds data files that come with the content, in its data/
	// directory. Those of the engine's data directory come first. May be nil.
	Data fs.FS
}

// maxItem bounds a file of content, in bytes.
const maxItem = 1 << 20

// Load reads the installed items below a directory such as /etc/crowdsec.
// Errors name items that are left out; a directory that does not exist has
// none. Links are followed.
func Load(dir string) (Content, []error) {
	c, errs := load(os.DirFS(dir), dir)
	if err := identify(c.Items, filepath.Join(dir, "hub")); err != nil {
		errs = append(errs, err)
	}
	return c, errs
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

// load is Load for a file system; root is what errors call it.
func load(fsys fs.FS, root string) (Content, []error) {
	var c Content
	var errs []error
	for kind := range kinds {
		items, more := walk(fsys, root, Kind(kind))
		c.Items = append(c.Items, items...)
		errs = append(errs, more...)
	}
	for _, s := range settings {
		data, err := readFile(fsys, s.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		full := path.Join(root, s.file)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot read %s: %w", full, err))
			continue
		}
		c.Settings = append(c.Settings, Item{Kind: s.kind, Path: full, Name: s.file, Data: data})
	}
	if sub, err := fs.Sub(fsys, "data"); err == nil {
		c.Data = sub
	}
	return c, errs
}

// walk reads the items of one kind, in byte order of their paths.
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
		case path.Ext(p) != ".yaml" && path.Ext(p) != ".yml":
			return nil
		}
		item := Item{Kind: kind, Path: full}
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
		if item.Data, err = readFile(fsys, p); err != nil {
			errs = append(errs, fmt.Errorf("cannot read %s: %w", full, err))
			return nil
		}
		item.Name = nameOf(full, item.Data)
		items = append(items, item)
		return nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("cannot read content: %w", err))
	}
	slices.SortStableFunc(items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return replaced(items), errs
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

// replaced drops the items that a later one of the same name replaces.
func replaced(items []Item) []Item {
	last := map[string]int{}
	for i, it := range items {
		last[it.Name] = i
	}
	var out []Item
	for i, it := range items {
		if last[it.Name] == i {
			out = append(out, it)
		}
	}
	return out
}

// nameOf returns the name of a file's first document. A file that can't be
// parsed is called by its own name; whoever compiles it reports why.
func nameOf(file string, data []byte) string {
	docs, err := strict.Parse(file, data)
	if err == nil && len(docs) > 0 {
		var head struct {
			Name string `yaml:"name"`
		}
		_ = docs[0].Decode(&head) // it complains of all other keys
		if head.Name != "" {
			return head.Name
		}
	}
	return path.Base(file)
}
