package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"cs/platform/strict"
)

// ReadFolder returns the index of a folder with the tree of a hub: its
// .index.json, or one that is made of its files if there is none. known, which
// may be nil, is the index of the last time: there the versions of files are
// remembered, for the files don't tell. The warnings name files that are left out.
func ReadFolder(dir string, known Index) (x Index, warnings []string, err error) {
	name := filepath.Join(dir, IndexName)
	if _, err := os.Stat(name); err == nil {
		x, err = ReadIndex(name)
		return x, nil, err
	}
	x = Index{}
	for _, t := range Types {
		x[t] = map[string]*Entry{}
		err := filepath.WalkDir(filepath.Join(dir, string(t)), func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && strings.HasPrefix(d.Name(), "."):
				return fs.SkipDir
			case d.IsDir() || !isItem(p) || strings.HasPrefix(d.Name(), "."):
				return nil
			}
			below, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			e, err := readEntry(p, filepath.ToSlash(below), t)
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("Ignoring file %s: %v", p, err))
				return nil
			}
			name := NameOf(e.Path)
			e.number(known[t][name])
			x[t][name] = e
			return nil
		})
		if err != nil && !os.IsNotExist(err) {
			return nil, warnings, fmt.Errorf("cannot read the hub: %w", err)
		}
	}
	for _, t := range Types {
		if len(x[t]) > 0 {
			return x, warnings, nil
		}
	}
	return nil, warnings, fmt.Errorf("%s is no hub: there is neither %s nor an item in %s/ and its like", dir, IndexName, Parsers)
}

// readEntry makes the entry of an item from its file. Its version is not known.
func readEntry(name, below string, t Type) (*Entry, error) {
	text, err := readLimited(name, maxItem)
	if err != nil {
		return nil, err
	}
	e := &Entry{Path: below, Content: text}
	if t.staged() {
		e.Stage = path.Base(path.Dir(path.Dir(below)))
	}
	if err := e.check(t); err != nil {
		return nil, err
	}
	e.Author = path.Base(path.Dir(below))
	docs, err := strict.Parse(name, text)
	if err != nil || len(docs) == 0 {
		return e, nil // whoever loads it complains
	}
	var head struct {
		Author      string   `yaml:"author"`
		Description string   `yaml:"description"`
		References  []string `yaml:"references"`
		Labels      any      `yaml:"labels"`
	}
	decodeSome(docs[0], &head)
	e.Author = cmp.Or(head.Author, e.Author)
	e.Description, e.References, e.Labels = head.Description, head.References, head.Labels
	if t == Collections {
		decodeSome(docs[0], &e.Dependencies)
	}
	return e, nil
}

// decodeSome reads the keys that dst has. It complains of all others, of which
// we want to know nothing.
func decodeSome(doc strict.Doc, dst any) { _ = doc.Decode(dst) }

// number gives an entry the version that its content has among the known ones,
// or else the next.
func (e *Entry) number(known *Entry) {
	hash := hashOf(e.Content)
	e.Versions = map[string]Version{}
	latest := ""
	if known != nil {
		for v, info := range known.Versions {
			e.Versions[v] = info
			if latest == "" || compareVersions(v, latest) > 0 {
				latest = v
			}
		}
	}
	if latest == "" || e.Versions[latest].Digest != hash {
		latest = next(latest)
		e.Versions[latest] = Version{Digest: hash}
	}
	e.Version = latest
}

// next returns the version after one: 0.1 is the first, 0.10 comes after 0.9.
func next(v string) string {
	i := strings.LastIndexByte(v, '.')
	n, err := strconv.Atoi(v[i+1:])
	if i < 0 || err != nil {
		return "0.1"
	}
	return v[:i+1] + strconv.Itoa(n+1)
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// dependenciesIn reads the file of a collection.
func dependenciesIn(name string) (d Dependencies) {
	text, err := readLimited(name, maxItem)
	if err != nil {
		return d
	}
	docs, err := strict.Parse(name, text)
	if err == nil && len(docs) > 0 {
		decodeSome(docs[0], &d)
	}
	return d
}
