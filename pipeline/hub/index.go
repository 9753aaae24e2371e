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
}

// of returns the items of a kind.
func (x *index) of(kind Kind) map[string]indexed {
	switch kind {
	case Parser:
		return x.Parsers
	case Scenario:
		return x.Scenarios
	case PostOverflow:
		return x.PostOverflows
	case Context:
		return x.Contexts
	}
	return nil
}

type indexed struct {
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
	var x *index
	for i := range items {
		it := &items[i]
		if !it.link {
			continue
		}
		target, err := filepath.EvalSymlinks(it.Path)
		if err != nil {
			continue // a file that went away since it was read
		}
		below, err := filepath.Rel(real, target)
		if err != nil || !filepath.IsLocal(below) {
			continue
		}
		if x == nil {
			if x, err = readIndex(file); err != nil {
				return err
			}
		}
		x.identify(it, filepath.ToSlash(below))
	}
	return nil
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

// identify finds an item by its path below the hub.
func (x *index) identify(it *Item, below string) {
	for _, e := range x.of(it.Kind) {
		if e.Path == "" || e.Stage != it.Stage || !strings.HasSuffix("/"+below, "/"+e.Path) {
			continue
		}
		sum := sha256.Sum256(it.Data)
		it.Hash, it.Version = hex.EncodeToString(sum[:]), "?"
		for v, version := range e.Versions {
			if version.Digest == it.Hash && (it.Version == "?" || newer(v, it.Version)) {
				it.Version = v
			}
		}
		return
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
