package hub

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"cs/pipeline/expr"
	"cs/platform/strict"
)

// DataFile is an entry of an item's data list. The engine never downloads:
// what is used is the file of that name in the data directory.
type DataFile struct {
	SourceURL string      `yaml:"source_url"`
	DestFile  strict.Text `yaml:"dest_file"`
	Type      string      `yaml:"type"`
	Cache     bool        `yaml:"cache"`
	Strategy  string      `yaml:"strategy"`
	Size      int         `yaml:"size"`
	TTL       string      `yaml:"ttl"`
}

const (
	maxDataFile = 64 << 20 // bytes of a data file
	maxDataLine = 64 << 10 // bytes of a line in it
)

// Files holds the data files that content named. It implements expr.Files.
type Files struct {
	dir      string // may be ""
	fallback fs.FS  // may be nil
	most     int64  // bytes of a file; a larger one is an error

	lines   map[string][]string
	regexps map[string][]string
	rows    map[string][]map[string]string
	bots    map[string][]*expr.Bot

	expected []Item              // whose files are loaded when one is asked for that isn't
	untold   map[[2]string]error // of what was loaded then, by type and name
}

// NewFiles returns an empty collection that loads from a directory and, for
// what is not there, from a fallback (Content.Data). Either may be missing.
func NewFiles(dir string, fallback fs.FS) *Files {
	return &Files{
		dir: dir, fallback: fallback, most: maxDataFile,
		lines: map[string][]string{}, regexps: map[string][]string{}, rows: map[string][]map[string]string{}, bots: map[string][]*expr.Bot{},
		untold: map[[2]string]error{},
	}
}

// Lines returns the lines of a loaded file of type string.
func (f *Files) Lines(name string) ([]string, bool) { return find(f, f.lines, name) }

// Regexps returns the expressions of a loaded file of type regexp.
func (f *Files) Regexps(name string) ([]string, bool) { return find(f, f.regexps, name) }

// Rows returns the rows of a loaded file of type map.
func (f *Files) Rows(name string) ([]map[string]string, bool) { return find(f, f.rows, name) }

// Bots returns the rows of a loaded file of type bots.
func (f *Files) Bots(name string) ([]*expr.Bot, bool) { return find(f, f.bots, name) }

func find[T any](f *Files, loaded map[string]T, name string) (T, bool) {
	v, ok := loaded[name]
	if !ok && f.expected != nil {
		f.loadExpected()
		v, ok = loaded[name]
	}
	return v, ok
}

// Expect names items that are still to be compiled. All items share what any of them
// loads: one that comes first may ask for the file of a later one. Nil ends it, and
// must, before several goroutines use f.
func (f *Files) Expect(items []Item) { f.expected = items }

func (f *Files) loadExpected() {
	items := f.expected
	f.expected = nil
	for _, it := range items {
		if it.Kind > PostOverflow || !bytes.Contains(it.Data, []byte("data")) {
			continue
		}
		for _, d := range DataFilesIn(it.Path, it.Data) {
			if err := f.Load(d); err != nil {
				f.untold[[2]string{d.Type, d.DestFile.Value}] = err
			}
		}
	}
}

// DataFilesIn returns the data files that an item names. What can't be parsed
// names none; whoever loads it complains.
func DataFilesIn(name string, text []byte) (files []DataFile) {
	docs, err := strict.Parse(name, text)
	if err != nil {
		return nil
	}
	for _, doc := range docs {
		var d struct {
			Data []DataFile `yaml:"data"`
		}
		_ = doc.Decode(&d) // it complains of all other keys
		for _, f := range d.Data {
			if f.DestFile.Value != "" {
				files = append(files, f)
			}
		}
	}
	return files
}

// Load loads the file of one entry. One that was loaded already, under the
// same name and type, is not read again. An entry without a type is for
// databases and loads nothing.
func (f *Files) Load(d DataFile) error {
	name := d.DestFile.Value
	if name == "" {
		return nil
	}
	if err := f.untold[[2]string{d.Type, name}]; err != nil {
		delete(f.untold, [2]string{d.Type, name})
		return err
	}
	var err error
	switch d.Type {
	case "":
	case "string":
		if _, ok := f.lines[name]; !ok {
			f.lines[name], err = f.read(name)
		}
	case "regexp", "regex":
		if _, ok := f.regexps[name]; !ok {
			f.regexps[name], err = f.read(name)
		}
	case "map":
		if _, ok := f.rows[name]; !ok {
			f.rows[name], err = f.readRows(name)
		}
	case "bots":
		if _, ok := f.bots[name]; !ok {
			f.bots[name], err = f.readBots(name)
		}
	default:
		err = fmt.Errorf("cannot load data file %s: unknown type %q%s", name, d.Type, strict.Suggest(d.Type, dataTypes))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cannot load data file %s: %w%s", name, fs.ErrNotExist, f.remedy(d))
	}
	if err != nil {
		return &strict.Error{Place: d.DestFile.Place, Err: err}
	}
	return nil
}

var dataTypes = []string{"string", "regexp", "map", "bots"}

// remedy says what to do about a file that is not there.
func (f *Files) remedy(d DataFile) string {
	var there []string
	if f.fallback != nil {
		there = fileNames(f.fallback)
	}
	if f.dir != "" {
		there = append(there, fileNames(os.DirFS(f.dir))...)
	}
	where := ""
	if f.dir != "" {
		where = " in " + f.dir
	}
	if d.SourceURL != "" {
		where += ", get it from " + d.SourceURL
	}
	return where + strict.Suggest(d.DestFile.Value, there)
}

func fileNames(dir fs.FS) (names []string) {
	entries, _ := fs.ReadDir(dir, ".") // without it there is nothing to suggest
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// read returns the lines of a file that are neither empty nor comments.
func (f *Files) read(name string) ([]string, error) {
	r, err := f.open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot load data file: %w", err)
	}
	defer r.Close()
	lines := []string{}
	left := &io.LimitedReader{R: r, N: f.most + 1}
	sc := bufio.NewScanner(left)
	sc.Buffer(nil, maxDataLine)
	for sc.Scan() {
		if left.N == 0 {
			return nil, fmt.Errorf("cannot read data file %s: it has more than %d bytes", name, f.most)
		}
		if l := sc.Text(); l != "" && l[0] != '#' {
			lines = append(lines, l)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("cannot read data file %s: %w", name, err)
	}
	return lines, nil
}

// readRows returns the rows of a file with one JSON object a line. A bad line
// ends the loading, what came before it stays.
func (f *Files) readRows(name string) ([]map[string]string, error) {
	lines, err := f.read(name)
	rows := []map[string]string{}
	for i, l := range lines {
		var row map[string]string
		if err := json.Unmarshal([]byte(l), &row); err != nil {
			return rows, fmt.Errorf("cannot read row %d of data file %s: %w", i+1, name, err)
		}
		for _, key := range []string{"pattern", "tag", "type"} {
			if _, ok := row[key]; !ok {
				return rows, fmt.Errorf("cannot read row %d of data file %s: it has no %s", i+1, name, key)
			}
		}
		switch row["type"] {
		case "equals", "contains", "regex":
		default:
			return rows, fmt.Errorf("cannot read row %d of data file %s: unknown type %q", i+1, name, row["type"])
		}
		rows = append(rows, row)
	}
	return rows, err
}

// readBots returns the rows of a file with one bot a line. A bad line ends the
// loading, what came before it stays.
func (f *Files) readBots(name string) ([]*expr.Bot, error) {
	lines, err := f.read(name)
	bots := []*expr.Bot{}
	for i, l := range lines {
		b, err := expr.ParseBot(l)
		if err != nil {
			return bots, fmt.Errorf("cannot read row %d of data file %s: %w", i+1, name, err)
		}
		bots = append(bots, b)
	}
	return bots, err
}

func (f *Files) open(name string) (io.ReadCloser, error) {
	// Content comes from others: its names must not lead out of the directory.
	if !fs.ValidPath(name) || strings.Contains(name, `\`) {
		return nil, fmt.Errorf("%s leads out of the data directory", name)
	}
	err := fs.ErrNotExist
	if f.dir != "" {
		root, rootErr := os.OpenRoot(f.dir)
		if rootErr != nil {
			err = rootErr
		} else {
			defer root.Close()
			file, openErr := root.Open(name)
			if openErr == nil {
				return file, nil
			}
			err = openErr
		}
	}
	if f.fallback != nil && errors.Is(err, fs.ErrNotExist) {
		if file, err := f.fallback.Open(name); err == nil {
			return file, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}
