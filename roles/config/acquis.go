//go:build !bouncer_only

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"cs/platform/strict"
)

// Acquisition is a source of log lines: a document of an acquisition file, a DSN,
// or what flags stand for. Which keys each source has, and what they mean, is
// known to its package (pipeline/source/…).
type Acquisition struct {
	Place  strict.Place // for complaints about what it names
	Source string       // kind: "file", "journalctl", …
	// Guessed says that other keys had to tell the kind.
	Guessed bool
	Labels  map[string]string
	// Name and UniqueID are what the operator calls it; "" if nothing. No two have the same
	// UniqueID.
	Name, UniqueID string
	LogLevel       *slog.Level // of what is logged about it; nil: that of all
	Cat            bool        // read what is there and end, instead of following
	// TimeMachine takes the clock of buckets from the lines, for old logs.
	TimeMachine bool
	// Transform is an expression over evt whose result replaces the line; empty:
	// none.
	Transform strict.Text

	// The keys of the source itself stand in one of these.
	Doc  strict.Doc
	DSN  string
	Keys any // the struct of the source's package, made by code
}

// AcquisitionKeys are the keys that the documents of all sources have.
type AcquisitionKeys struct {
	Source         strict.Text `yaml:"source"`
	Mode           strict.Text `yaml:"mode"`
	Labels         strict.Map  `yaml:"labels"`
	LogLevel       strict.Text `yaml:"log_level"`
	Name           string      `yaml:"name"`
	UseTimeMachine bool        `yaml:"use_time_machine"`
	UniqueID       string      `yaml:"unique_id"`
	Transform      strict.Text `yaml:"transform"`
}

// AcquisitionFiles returns the files to read: the one at path and, of those in
// dir, *.yaml and then *.yml, each by name. Either may be empty or missing.
func AcquisitionFiles(path, dir string) ([]string, error) {
	var files []string
	if path != "" {
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the acquisition file: %w", err)
		}
	}
	if dir == "" {
		return files, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the acquisition directory: %w", err)
	}
	for _, extension := range []string{".yaml", ".yml"} {
		for _, e := range entries { // sorted by name
			if filepath.Ext(e.Name()) == extension && !e.IsDir() {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	return files, nil
}

// ReadAcquisition reads the documents of one file. A document with an error
// is left out, and the error names file, line and key; the others count. The
// keys of the source itself are left for whoever makes it.
func ReadAcquisition(path string, env func(string) (string, bool)) ([]Acquisition, []error) {
	docs, err := parseFile(path, env)
	if err != nil {
		return nil, []error{err}
	}
	return readDocuments(docs)
}

// ParseAcquisition is ReadAcquisition of a text; file is its name in errors.
func ParseAcquisition(file string, text []byte) ([]Acquisition, []error) {
	docs, err := strict.Parse(file, text)
	if err != nil {
		return nil, []error{err}
	}
	for i := range docs {
		docs[i] = docs[i].WithColumns()
	}
	return readDocuments(docs)
}

func readDocuments(docs []strict.Doc) (list []Acquisition, errs []error) {
	for _, doc := range docs {
		a, wrong := readDocument(doc)
		if len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		list = append(list, a)
	}
	return list, errs
}

func readDocument(doc strict.Doc) (a Acquisition, errs []error) {
	var c AcquisitionKeys
	for _, err := range each(doc.Decode(&c)) {
		if !errors.Is(err, strict.ErrUnknownKey) {
			errs = append(errs, err)
		}
	}
	a = Acquisition{
		Place: doc.Place(), Source: c.Source.Value, Name: c.Name, UniqueID: c.UniqueID, TimeMachine: c.UseTimeMachine,
		Transform: c.Transform, Labels: map[string]string{}, Doc: doc,
	}
	for _, label := range c.Labels {
		a.Labels[label.Key] = label.Value.Value
	}
	if a.Source == "" {
		a.Source, a.Guessed = guess(doc), true
		if a.Source == "" {
			at := doc.Place()
			at.Key = "source"
			errs = append(errs, at.Errorf("missing 'source' field"))
		}
	}
	switch strings.ToLower(c.Mode.Value) {
	case "", "tail", "server":
	case "cat":
		a.Cat = true
	default:
		errs = append(errs, c.Mode.Place.Errorf("want tail or cat, not %q", c.Mode.Value))
	}
	var err error
	if a.LogLevel, err = sourceLevel(c.LogLevel.Value); err != nil {
		errs = append(errs, c.LogLevel.Place.Errorf("%w", err))
	}
	return a, errs
}

// sourceLevel returns the level of that name; nil of no name.
func sourceLevel(name string) (*slog.Level, error) {
	if name == "" {
		return nil, nil
	}
	level, ok := logLevels[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("unknown level %q", name)
	}
	return &level, nil
}

// guess returns the source of a document that doesn't say.
func guess(doc strict.Doc) string {
	for _, g := range []struct{ key, source string }{
		{"filename", "file"}, {"filenames", "file"}, {"journalctl_filter", "journalctl"},
	} {
		if _, ok := doc.PlaceOf(g.key); ok {
			return g.source
		}
	}
	return ""
}
