package grok

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"cs/platform/order"
)

//go:embed builtin.grok
var builtin string

//go:embed patterns
var stock embed.FS

// maxPatternFile bounds what is read as a pattern file, in bytes; the largest
// stock one has 9 kB. A bigger file is an error.
const maxPatternFile = 1 << 20

// blanks are what separates a name from its pattern: \s of regular expressions.
const blanks = " \t\n\f\r"

// cutDefinition cuts a line that is "NAME blanks regular expression"; any other
// line of a pattern file is a comment.
func cutDefinition(line string) (name, pattern string, ok bool) {
	name = word(line)
	pattern = strings.TrimLeft(line[len(name):], blanks)
	return name, pattern, name != "" && len(name)+len(pattern) < len(line)
}

// Stock returns a library that holds the stock patterns.
func Stock() *Library {
	l, errs := load(stockFiles())
	if len(errs) != 0 {
		panic(fmt.Sprintf("BUG: stock patterns: %v", errors.Join(errs...)))
	}
	return l
}

// Load returns a library of the stock patterns and those in the files of a
// directory, upstream's config_dir/patterns. Subdirectories and names with a
// dot are passed over. A file that bears the name of a stock file replaces it,
// and the files of both kinds are read in byte order of their names, since a
// pattern may refer only to earlier ones. Each faulty line gives an error with
// file and line number, and the rest is still loaded. A directory that doesn't
// exist counts as empty.
func Load(dir string) (*Library, []error) {
	files := stockFiles()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return load(files)
	}
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("cannot read patterns: %w", err))
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.Contains(name, ".") {
			continue
		}
		f, err := readPatterns(os.DirFS(dir), name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.label = dir + string(os.PathSeparator) + name
		f.check = true
		files = slices.DeleteFunc(files, func(s patternFile) bool { return s.name == name })
		files = append(files, f)
	}
	order.Sort(files, func(a, b patternFile) int { return strings.Compare(a.name, b.name) })
	l, more := load(files)
	return l, append(errs, more...)
}

type patternFile struct {
	name  string
	label string // what errors call it
	text  string
	check bool // whether its expressions may be invalid
}

func stockFiles() []patternFile {
	files := []patternFile{{label: "builtin", text: builtin}} // sorts before all others
	entries, err := stock.ReadDir("patterns")
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded patterns: %v", err))
	}
	for _, e := range entries {
		f, err := readPatterns(stock, "patterns/"+e.Name())
		if err != nil {
			panic(fmt.Sprintf("BUG: embedded patterns: %v", err))
		}
		f.name = e.Name()
		files = append(files, f)
	}
	return files
}

func readPatterns(from fs.FS, name string) (patternFile, error) {
	info, err := fs.Stat(from, name)
	if err == nil && info.Size() > maxPatternFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxPatternFile)
	}
	if err != nil {
		return patternFile{}, fmt.Errorf("cannot read patterns: %w", err)
	}
	text, err := fs.ReadFile(from, name)
	if err != nil {
		return patternFile{}, fmt.Errorf("cannot read patterns: %w", err)
	}
	return patternFile{name: name, label: name, text: string(text)}, nil
}

func load(files []patternFile) (*Library, []error) {
	l := &Library{defs: make(map[string]*definition, 512)}
	var errs []error
	for _, f := range files {
		errs = append(errs, l.read(f)...)
	}
	return l, errs
}

// read adds the definitions of a file. Those of stock files are known to be
// valid (a test sees to it), so the time to parse them all is saved.
func (l *Library) read(f patternFile) []error {
	var errs []error
	n := 0
	for line := range strings.Lines(f.text) {
		n++
		name, pattern, ok := cutDefinition(strings.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		var err error
		if f.check {
			err = l.Define(name, pattern)
		} else {
			err = l.add(name, pattern)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", f.label, n, err))
		}
	}
	return errs
}
