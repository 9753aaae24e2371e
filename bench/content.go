//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"cs/pipeline/hub"
)

// A corpus is a checkout of the public hub: what real sites load.
type corpus struct {
	dir   string
	all   hub.Content
	names map[string][]string // items by the collection that lists them
}

// openCorpus reads the hub below dir, the checkout of the shared material.
func openCorpus(dir string) (*corpus, error) {
	c := &corpus{dir: filepath.Join(dir, "hub"), names: map[string][]string{}}
	if _, err := os.Stat(c.dir); err != nil {
		return nil, fmt.Errorf("no hub content at hand (CS_SHARED): %w", err)
	}
	var errs []error
	if c.all, errs = hub.Load(c.dir); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, filepath.WalkDir(filepath.Join(c.dir, "collections"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var collection struct {
			Name                                                     string
			Parsers, PostOverflows, Scenarios, Contexts, Collections []string
		}
		if err := yaml.Unmarshal(text, &collection); err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		c.names[collection.Name] = slices.Concat(collection.Parsers, collection.PostOverflows, collection.Scenarios, collection.Contexts, collection.Collections)
		return nil
	})
}

// pick returns the items of these names. Names of collections stand for what
// they list; with a "/" at the end they do so without the collections in them.
func (c *corpus) pick(names ...string) hub.Content {
	wanted := map[string]bool{}
	var want func(name string, deep bool)
	want = func(name string, deep bool) {
		if wanted[name] {
			return
		}
		wanted[name] = true
		for _, member := range c.names[name] {
			if deep || c.names[member] == nil {
				want(member, deep)
			}
		}
	}
	for _, name := range names {
		flat := strings.TrimSuffix(name, "/")
		want(flat, flat == name)
	}
	some := hub.Content{Data: c.all.Data}
	for _, item := range c.all.Items {
		if wanted[nameInHub(item)] {
			some.Items = append(some.Items, item)
		}
	}
	return some
}

// nameInHub returns the name by which collections list an item: its author's
// and its file's.
func nameInHub(i hub.Item) string {
	dir, file := filepath.Split(i.Path)
	return filepath.Base(dir) + "/" + strings.TrimSuffix(file, filepath.Ext(file))
}

// web returns the names of the scenarios over requests to a web server.
func (c *corpus) web() (names []string) {
	for _, item := range c.all.Items {
		if item.Kind == hub.Scenario && (strings.Contains(string(item.Data), "evt.Meta.http_") || strings.Contains(string(item.Data), "http_access-log")) {
			names = append(names, nameInHub(item))
		}
	}
	return names
}

// install writes content to a directory laid out as an installation's: a file
// beside a file in each stage, which is all that old versions read.
func install(content hub.Content, dir string) error {
	for _, item := range content.Items {
		name := strings.ReplaceAll(nameInHub(item), "/", "_") + ".yaml"
		path := filepath.Join(dir, folders[item.Kind], item.Stage, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, item.Data, 0o644); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(dir, "data"), content.Data)
}

var folders = map[hub.Kind]string{hub.Parser: "parsers", hub.PostOverflow: "postoverflows", hub.Scenario: "scenarios", hub.Context: "contexts"}
