// Package catalog knows which content there is, which of it is here, and how to
// get more: the index of a hub, the state of an installation beside it, plans to
// change that, and the places that a hub comes from (a web server, a folder, an
// archive). The layout on disk is upstream's: files in the hub directory, links
// to those that are installed in the directory of the configuration. Nothing
// else records a state, it is computed anew each time.
//
// roles/cli calls it for operators and pipeline/explain for tests; the daemon
// loads what is installed without it (cs/pipeline/hub).
//
// Behaviour: spec cli §4 of upstream's cscli.
package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cs/platform/order"
)

// Type is a kind of items: the name of its directory and of its part of the index.
type Type string

// The types. Collections name items of the others.
const (
	Parsers       Type = "parsers"
	PostOverflows Type = "postoverflows"
	Scenarios     Type = "scenarios"
	Contexts      Type = "contexts"
	AppsecConfigs Type = "appsec-configs"
	AppsecRules   Type = "appsec-rules"
	Collections   Type = "collections"
)

// Types lists them with the parts of collections before collections.
var Types = []Type{Parsers, PostOverflows, Scenarios, Contexts, AppsecConfigs, AppsecRules, Collections}

// Singular is the word for one item.
func (t Type) Singular() string { return strings.TrimSuffix(string(t), "s") }

// staged tells whether items are in directories of stages.
func (t Type) staged() bool { return t == Parsers || t == PostOverflows }

// Dependencies are the names of the items that a collection consists of.
type Dependencies struct {
	Parsers       []string `json:"parsers,omitempty" yaml:"parsers"`
	PostOverflows []string `json:"postoverflows,omitempty" yaml:"postoverflows"`
	Scenarios     []string `json:"scenarios,omitempty" yaml:"scenarios"`
	Contexts      []string `json:"contexts,omitempty" yaml:"contexts"`
	AppsecConfigs []string `json:"appsec-configs,omitempty" yaml:"appsec-configs"`
	AppsecRules   []string `json:"appsec-rules,omitempty" yaml:"appsec-rules"`
	Collections   []string `json:"collections,omitempty" yaml:"collections"`
}

// all yields each part once, in the order of Types.
func (d *Dependencies) all() iter.Seq2[Type, string] {
	return func(yield func(Type, string) bool) {
		for i, names := range [][]string{d.Parsers, d.PostOverflows, d.Scenarios, d.Contexts, d.AppsecConfigs, d.AppsecRules, d.Collections} {
			for j, name := range names {
				if name != "" && !slices.Contains(names[:j], name) && !yield(Types[i], name) {
					return
				}
			}
		}
	}
}

// Index is .index.json: the items of a hub by type and name.
type Index map[Type]map[string]*Entry

// Entry is what the index says about an item. Keys about the state of an
// installation, which old indexes had, are not read.
type Entry struct {
	Path            string             `json:"path"` // below the hub
	Stage           string             `json:"stage,omitempty"`
	Version         string             `json:"version"` // the latest
	Versions        map[string]Version `json:"versions"`
	Content         []byte             `json:"content,omitempty"` // of the latest version; nil in an index without
	Author          string             `json:"author,omitempty"`
	Description     string             `json:"description,omitempty"`
	LongDescription string             `json:"long_description,omitempty"` // base64 of Markdown
	References      []string           `json:"references,omitempty"`
	Labels          any                `json:"labels"`
	Dependencies
}

// Version is one that was published.
type Version struct {
	Digest     string `json:"digest"` // SHA-256 of the file, hex
	Deprecated bool   `json:"deprecated"`
}

const (
	maxIndex = 256 << 20 // bytes of an index, which may hold the content of all items
	maxItem  = 1 << 20   // bytes of an item
)

// IndexName is the name of the index in a hub.
const IndexName = ".index.json"

// updateHint is said wherever the index may be to blame.
const updateHint = "Run 'sudo cscli hub update' to download the index again"

// ReadIndex reads and checks an index.
func ReadIndex(name string) (Index, error) {
	text, err := readLimited(name, maxIndex)
	if err != nil {
		return nil, fmt.Errorf("invalid hub index: unable to read index file: %w. %s", plainPath(err), updateHint)
	}
	x, err := ParseIndex(text)
	if err != nil {
		return nil, fmt.Errorf("invalid hub index: %w. %s", err, updateHint)
	}
	return x, nil
}

// plainPath leaves of an error about a file what the system said.
func plainPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p
	}
	return err
}

// ParseIndex checks the text of an index.
func ParseIndex(text []byte) (Index, error) {
	var x Index
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, fmt.Errorf("failed to parse index: %w", err)
	}
	if x == nil {
		return nil, errors.New("failed to parse index: it is empty")
	}
	for _, t := range Types {
		for _, name := range sortedNames(x[t]) {
			if err := x[t][name].check(t); err != nil {
				return nil, fmt.Errorf("%s:%s %w", t, name, err)
			}
		}
	}
	return x, nil
}

func (e *Entry) check(t Type) error {
	switch {
	case e == nil:
		return errors.New("has no index metadata")
	case e.Path == "":
		return errors.New("has no download path")
	case t.staged() && e.Stage == "":
		return errors.New("has no stage")
	case !fs.ValidPath(e.Path) || strings.ContainsAny(e.Path, `\:`) || strings.ContainsAny(e.Stage, `/\:`) || e.Stage == "..":
		return fmt.Errorf("has a path that leads out of the hub: %s", e.Path)
	}
	if elems := strings.Split(e.Path, "/"); elems[0] != string(t) || len(elems) < 3 || t.staged() && len(elems) < 4 {
		return fmt.Errorf("path is too short: %s", e.Path)
	}
	return nil
}

// text is the index as JSON.
func (x Index) text() ([]byte, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the hub's index: %w", err)
	}
	return text, nil
}

// digest returns the hash that the file of the latest version has.
func (e *Entry) digest() (string, error) {
	v, ok := e.Versions[e.Version]
	switch {
	case e.Version == "":
		return "", errors.New("latest version missing from index")
	case !ok || v.Digest == "":
		return "", errors.New("latest hash missing from index")
	}
	return v.Digest, nil
}

// versionOf returns the newest version with a hash, "" if there is none.
func (e *Entry) versionOf(hash string) (found string, err error) {
	for v, info := range e.Versions {
		if !semantic().MatchString(v) {
			return "", fmt.Errorf("%s: invalid semantic version", v)
		}
		if info.Digest == hash && (found == "" || compareVersions(v, found) > 0) {
			found = v
		}
	}
	return found, nil
}

var semantic = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^v?[0-9]+(\.[0-9]+){0,2}([-+].*)?$`) })

// compareVersions compares numbers like 0.10 and 1.2.3 part by part.
func compareVersions(a, b string) int {
	numbers := func(s string) (out []int) {
		s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
		s, _, _ = strings.Cut(s, "+")
		for part := range strings.SplitSeq(s, ".") {
			n, _ := strconv.Atoi(part)
			out = append(out, n)
		}
		for len(out) > 1 && out[len(out)-1] == 0 {
			out = out[:len(out)-1]
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b))
}

// sortedNames sorts as people do: without regard to case.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	order.Sort(names, compareNames)
	return names
}

func compareNames(a, b string) int {
	return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
}

// readLimited reads a file that may not be larger than a number of bytes.
func readLimited(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s is no regular file", name)) // to read a FIFO would hang
	}
	return readAll(f, most, name)
}

// readAll reads to the end, which must come before a number of bytes.
func readAll(r io.Reader, most int64, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return text, err
}

// NameOf is the name of an item of the hub by its path: AUTHOR/FILE without the
// extension, as the index has it.
func NameOf(p string) string {
	dir, file := path.Split(p)
	return path.Join(path.Base(dir), strings.TrimSuffix(file, path.Ext(file)))
}

func isItem(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}
