package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// index is .index.json of the public hub: items by the directory of their kind
// and their name.
type index struct {
	Parsers       map[string]indexed `json:"parsers"`
	Scenarios     map[string]indexed `json:"scenarios"`
	PostOverflows map[string]indexed `json:"postoverflows"`
	Contexts      map[string]indexed `json:"contexts"`
	Collections   map[string]indexed `json:"collections"`
}

type indexed struct {
	name     string
	Path     string `json:"path"` // below the hub
	Stage    string `json:"stage"`
	Versions map[string]struct {
		Digest string `json:"digest"` // SHA-256, hex
	} `json:"versions"`
}

// maxIndex bounds .index.json, in bytes. It may hold the content of all items.
const maxIndex = 256 << 20

// identify gives the items that are links into the hub's directory their hashes
// and versions. Without an index none is from the hub. It is not read before an
// item wants it, for it is long.
func identify(items []Item, dir, file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot find the hub: %w", err)
	}
	var byPath map[string]*indexed
	for i := range items {
		it := &items[i]
		if !it.link {
			continue
		}
		below, ok := linkBelow(it.Path, dir, real)
		if !ok {
			continue
		}
		if byPath == nil {
			x, err := readIndex(file)
			if err != nil {
				return err
			}
			byPath = x.byPath()
		}
		if e := byPath[below]; e != nil && e.Stage == it.Stage && strings.HasPrefix(below, kinds[it.Kind].dir+"/") {
			e.identify(it)
		}
	}
	return nil
}

// linkBelow returns the path below the hub of what a link leads to; real is the
// hub without links. Nearly all links lead straight there.
func linkBelow(link, dir, real string) (below string, ok bool) {
	target, err := os.Readlink(link)
	if err != nil {
		return "", false // a file that went away since it was read
	}
	if info, err := os.Lstat(target); err != nil || !filepath.IsAbs(target) || !info.Mode().IsRegular() {
		if target, err = filepath.EvalSymlinks(link); err != nil {
			return "", false
		}
	}
	for _, hub := range []string{dir, real} {
		if below, err := filepath.Rel(hub, target); err == nil && filepath.IsLocal(below) {
			return filepath.ToSlash(below), true
		}
	}
	return "", false
}

// byPath returns the entries by their paths below the hub.
func (x *index) byPath() map[string]*indexed {
	m := make(map[string]*indexed, len(x.Parsers)+len(x.Scenarios)+len(x.PostOverflows)+len(x.Contexts)+len(x.Collections))
	for _, entries := range []map[string]indexed{x.Parsers, x.Scenarios, x.PostOverflows, x.Contexts, x.Collections} {
		for name, e := range entries {
			e.name = name
			m[e.Path] = &e
		}
	}
	return m
}

func readIndex(name string) (*index, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the hub's index: %w", err)
	}
	defer file.Close()
	x := new(index)
	if err := json.NewDecoder(io.LimitReader(file, maxIndex)).Decode(x); err != nil {
		return nil, fmt.Errorf("cannot read the hub's index %s: %w", name, err)
	}
	return x, nil
}

// identify finds the version of an item.
func (e *indexed) identify(it *Item) {
	if it.Kind == Context || it.Kind == Collection {
		it.Name = e.name // there is none in a context
	}
	sum := sha256.Sum256(it.Data)
	it.Hash, it.Version = hex.EncodeToString(sum[:]), "?"
	for v, version := range e.Versions {
		if version.Digest == it.Hash && (it.Version == "?" || newer(v, it.Version)) {
			it.Version = v
		}
	}
}

// newer compares versions like 0.10, number by number.
func newer(a, b string) bool {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		m, _ := strconv.Atoi(x)
		n, _ := strconv.Atoi(y)
		if m != n {
			return m > n
		}
	}
	return false
}
