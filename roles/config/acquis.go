//go:build !bouncer_only

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cs/platform/strict"
)

// maxLine bounds the buffer for one line that a file may ask for.
const maxLine = 16 << 20

// Acquisition is one document of an acquisition file: a source of log lines.
type Acquisition struct {
	Place  strict.Place // for complaints about what it names
	Source string       // "file" or "journalctl"
	Labels map[string]string
	Name   string // "" or what the operator calls it
	Cat    bool   // read what is there and end, instead of following
	// TimeMachine takes the clock of buckets from the lines, for old logs.
	TimeMachine bool
	// Transform is an expression over evt whose result replaces the line; empty:
	// none.
	Transform strict.Text

	// file
	Globs       []string
	Exclude     []*regexp.Regexp // paths to leave alone
	MaxLineSize int              // bytes; 0: the source's own
	Poll        bool             // don't rely on notifications

	// journalctl
	JournalFilter []string // arguments of journalctl
	JournalSince  string   // its --since, of a source that is read once; "": all it has
}

// document is what was typed: the keys of all sources, and those of the ones
// that can be read. Keys without a use here are known so that files load.
type document struct {
	Source         strict.Text `yaml:"source"`
	Mode           strict.Text `yaml:"mode"`
	Labels         strict.Map  `yaml:"labels"`
	LogLevel       string      `yaml:"log_level"`
	Name           string      `yaml:"name"`
	UseTimeMachine bool        `yaml:"use_time_machine"`
	UniqueID       string      `yaml:"unique_id"`
	Transform      strict.Text `yaml:"transform"`

	Filename              strict.Text   `yaml:"filename"`
	Filenames             []strict.Text `yaml:"filenames"`
	ExcludeRegexps        []strict.Text `yaml:"exclude_regexps"`
	MaxBufferSize         strict.Text   `yaml:"max_buffer_size"`
	PollWithoutInotify    bool          `yaml:"poll_without_inotify"`
	ForceInotify          bool          `yaml:"force_inotify"`
	DiscoveryPollEnable   bool          `yaml:"discovery_poll_enable"`
	DiscoveryPollInterval string        `yaml:"discovery_poll_interval"`

	JournalctlFilter []strict.Text `yaml:"journalctl_filter"`
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
// is left out, and the error names file, line and key; the others count.
func ReadAcquisition(path string, env func(string) (string, bool)) ([]Acquisition, []error) {
	docs, err := parseFile(path, env)
	if err != nil {
		return nil, []error{err}
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

// notYet are upstream's sources that we can't read.
var notYet = []string{
	"appsec", "cloudwatch", "docker", "http", "k8s-audit", "kafka", "kinesis", "loki", "s3", "syslog", "victorialogs", "wineventlog",
}

func readDocument(doc strict.Doc) (a Acquisition, errs []error) {
	var d document
	wrong := each(doc.Decode(&d))
	fail := func(at strict.Place, key, format string, args ...any) {
		if at.File == "" { // the key is not there
			at = doc.Place()
			at.Key = key
		}
		errs = append(errs, at.Errorf(format, args...))
	}

	source := d.Source.Value
	if source == "" {
		switch {
		case d.Filename.Value != "" || len(d.Filenames) > 0:
			source = "file"
		case len(d.JournalctlFilter) > 0:
			source = "journalctl"
		}
	}
	if slices.Contains(notYet, source) {
		fail(d.Source.Place, "source", "%s is not supported yet", source)
		// Its own keys are unknown here and no mistake.
		return a, append(errs, slices.DeleteFunc(wrong, func(err error) bool { return errors.Is(err, strict.ErrUnknownKey) })...)
	}
	errs = append(errs, wrong...)

	a = Acquisition{Place: doc.Place(), Source: source, Name: d.Name, TimeMachine: d.UseTimeMachine, Transform: d.Transform, Labels: map[string]string{}}
	for _, label := range d.Labels {
		a.Labels[label.Key] = label.Value.Value
	}
	if len(a.Labels) == 0 {
		fail(strict.Place{}, "labels", "there are none; labels.type says which parser reads the lines")
	}
	switch strings.ToLower(d.Mode.Value) {
	case "", "tail", "server":
	case "cat":
		a.Cat = true
	default:
		fail(d.Mode.Place, "mode", "want tail or cat, not %q", d.Mode.Value)
	}

	switch source {
	case "file":
		a.file(&d, fail)
	case "journalctl":
		for _, argument := range d.JournalctlFilter {
			a.JournalFilter = append(a.JournalFilter, argument.Value)
		}
		if len(a.JournalFilter) == 0 {
			fail(strict.Place{}, "journalctl_filter", "there is none, so every line of the journal would be read")
		}
		if d.Filename.Value != "" || len(d.Filenames) > 0 {
			fail(strict.Place{}, "filenames", "they belong to source file, this is journalctl")
		}
	case "":
		fail(d.Source.Place, "source", "missing 'source' field")
	default:
		fail(d.Source.Place, "source", "unknown source %q; want file or journalctl", source)
	}
	return a, errs
}

// file reads the keys of the source file.
func (a *Acquisition) file(d *document, fail func(strict.Place, string, string, ...any)) {
	globs := d.Filenames
	if d.Filename.Value != "" {
		globs = append([]strict.Text{d.Filename}, globs...)
	}
	for _, glob := range globs {
		if _, err := filepath.Match(glob.Value, ""); err != nil {
			fail(glob.Place, "filenames", "%q is no pattern of paths: %w", glob.Value, err)
		}
		a.Globs = append(a.Globs, glob.Value)
	}
	if len(globs) == 0 {
		fail(strict.Place{}, "filenames", "there is no file name")
	}
	for _, text := range d.ExcludeRegexps {
		re, err := regexp.Compile(text.Value)
		if err != nil {
			fail(text.Place, "exclude_regexps", "%w", err)
			continue
		}
		a.Exclude = append(a.Exclude, re)
	}
	if v := d.MaxBufferSize; v.Value != "" {
		n, err := strconv.Atoi(v.Value)
		if err != nil || n < 1 || n > maxLine {
			fail(v.Place, "max_buffer_size", "want a number of bytes from 1 to %d, not %q", maxLine, v.Value)
		}
		a.MaxLineSize = n
	}
	a.Poll = d.PollWithoutInotify
	if len(d.JournalctlFilter) > 0 {
		fail(d.JournalctlFilter[0].Place, "journalctl_filter", "it belongs to source journalctl, this is file")
	}
}
