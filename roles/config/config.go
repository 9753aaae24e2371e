// Package config reads what people write: config.yaml in the form of CrowdSec
// (upstream) with our own sections, and the files it names: acquisition,
// credentials, the firewall bouncer's own file. It has two steps. Load gives a
// File as it was typed, every key optional; flags and environment variables may
// be laid over it; Resolve turns it into what each role needs, all checked,
// with all errors at once. Flags.Resolve does both for a command. defaults.go
// is the one table of defaults, places.go says where things are.
//
// The package opens no socket and decides nothing: each role takes what it
// needs of the Resolved. profiles.yaml is read where it is understood
// (roles/lapi/profile).
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"cs/platform/strict"
)

// maxFile is the size above which a file is refused: it is none of ours, and
// the reader of YAML must not be fed without a bound.
const maxFile = 1 << 20

// Load reads config.yaml at path and lays path + ".local" over it where that
// exists: sections are merged, other values and lists are replaced, and a value
// of another kind is an error. An unknown key is one too. env, such as
// os.LookupEnv, gives the variables that $NAME and ${NAME} in the text stand
// for; those it doesn't know stay as they are. The error lists everything that
// is wrong, each with file, line and key; it is fs.ErrNotExist if there is no
// file at path.
func Load(path string, env func(string) (string, bool)) (*File, error) {
	f := &File{path: path}
	if err := load(path, env, f); err != nil {
		return nil, err
	}
	f.named.lapi, f.named.agent, f.named.bouncer = f.API.Server != nil, f.Crowdsec != nil, f.Bouncer != nil
	return f, nil
}

// load decodes a file and its overlay into dst. After an error in the first it
// goes on with the second.
func load(path string, env func(string) (string, bool), dst any) error {
	err := decodeFile(path, env, dst)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	over := decodeFile(path+".local", env, dst)
	if errors.Is(over, fs.ErrNotExist) {
		over = nil
	}
	return errors.Join(err, over)
}

func decodeFile(path string, env func(string) (string, bool), dst any) error {
	docs, err := parseFile(path, env)
	if err != nil {
		return err
	}
	return decode(docs, dst)
}

// decode decodes the one document of a file; an empty file has none.
func decode(docs []strict.Doc, dst any) error {
	switch len(docs) {
	case 0:
		return nil
	case 1:
		return docs[0].Decode(dst)
	}
	return docs[1].Place().Errorf("there is a second document, which nothing would read")
}

func parseFile(path string, env func(string) (string, bool)) ([]strict.Doc, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	docs, err := strict.Parse(path, strict.Expand(text, env))
	for i := range docs {
		docs[i] = docs[i].WithColumns()
	}
	return docs, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("cannot read the configuration %s: it is larger than %d bytes", path, maxFile)
	}
	return text, nil
}

// each returns the parts of a joined error.
func each(err error) (parts []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case ok:
		for _, part := range joined.Unwrap() {
			parts = append(parts, each(part)...)
		}
	case err != nil:
		parts = append(parts, err)
	}
	return parts
}
