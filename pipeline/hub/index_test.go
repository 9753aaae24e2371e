package hub_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cs/pipeline/hub"
)

// An item of the public hub is a link to its file in hub/.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, target string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, filepath.FromSlash(target)), name); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	write("hub/scenarios/acme/bf.yaml", "name: acme/bf")
	write("hub/scenarios/acme/changed.yaml", "name: acme/changed")
	write("hub/scenarios/acme/unlisted.yaml", "name: acme/unlisted")
	write("hub/parsers/s01-parse/acme/logs.yaml", "name: acme/logs")
	write("scenarios/mine.yaml", "name: mine")
	link("scenarios/bf.yaml", "hub/scenarios/acme/bf.yaml")
	link("scenarios/changed.yaml", "hub/scenarios/acme/changed.yaml")
	link("scenarios/unlisted.yaml", "hub/scenarios/acme/unlisted.yaml")
	link("parsers/s01-parse/logs.yaml", "hub/parsers/s01-parse/acme/logs.yaml")
	link("parsers/s02-enrich/logs.yaml", "hub/parsers/s01-parse/acme/logs.yaml") // in another stage than the index has it
	index := fmt.Sprintf(`{"scenarios": {
		"acme/bf": {"path": "scenarios/acme/bf.yaml", "content": "bm8=", "versions": {
			"0.9": {"digest": %[1]q}, "0.10": {"digest": %[1]q, "deprecated": false}, "0.11": {"digest": "00"}}},
		"acme/changed": {"path": "scenarios/acme/changed.yaml", "versions": {"0.1": {"digest": "00"}}}},
	"parsers": {"acme/logs": {"path": "parsers/s01-parse/acme/logs.yaml", "stage": "s01-parse", "versions": {"1.0": {"digest": %[2]q}}}}}`,
		sum("name: acme/bf"), sum("name: acme/logs"))

	dirs := hub.Dirs{Config: dir}
	load := func(want map[string]string) []error {
		t.Helper()
		c, errs := dirs.Load()
		if len(c.Items) != 5 { // the second logs.yaml replaces the first
			t.Fatalf("%d items, errors %v", len(c.Items), errs)
		}
		for _, it := range c.Items {
			key := it.Name
			if it.Stage != "" {
				key += " " + it.Stage
			}
			if it.Version != want[key] || (it.Version != "") != (it.Hash == sum(string(it.Data))) {
				t.Errorf("%s has version %q, want %q; hash %s", key, it.Version, want[key], it.Hash)
			}
		}
		return errs
	}
	if errs := load(nil); len(errs) > 0 { // without an index
		t.Error(errs)
	}
	write("hub/.index.json", index)
	want := map[string]string{"acme/bf": "0.10", "acme/changed": "?"}
	if errs := load(want); len(errs) > 0 {
		t.Error(errs)
	}
	if err := os.Remove(filepath.Join(dir, "parsers", "s02-enrich", "logs.yaml")); err != nil {
		t.Fatal(err)
	}
	want["acme/logs s01-parse"] = "1.0"
	if errs := load(want); len(errs) > 0 {
		t.Error(errs)
	}
	write("hub/.index.json", "{")
	if errs := load(nil); len(errs) != 1 || !strings.Contains(errs[0].Error(), "cannot read the hub's index") {
		t.Error(errs)
	}
	// The configuration may have put both elsewhere.
	write("hub/.index.json", "")
	if err := os.Rename(filepath.Join(dir, "hub"), filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"scenarios/bf.yaml": "store/scenarios/acme/bf.yaml", "scenarios/changed.yaml": "store/scenarios/acme/changed.yaml",
		"scenarios/unlisted.yaml": "store/scenarios/acme/unlisted.yaml", "parsers/s01-parse/logs.yaml": "store/parsers/s01-parse/acme/logs.yaml",
	} {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
		link(name, target)
	}
	write("elsewhere.json", index)
	dirs = hub.Dirs{Config: dir, Hub: filepath.Join(dir, "store"), Index: filepath.Join(dir, "elsewhere.json")}
	if errs := load(want); len(errs) > 0 {
		t.Error(errs)
	}
}

// TestCollections: installed collections are known by the names that the index has
// for them, as contexts are, which have none; hidden files are nothing.
func TestCollections(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("collections/mine.yaml", "name: me/mine")
	write("scenarios/.hidden.yaml", "name: me/hidden")
	for name, text := range map[string]string{"collections": "parsers: [a/b]", "contexts": "context: {}"} {
		target := write("hub/"+name+"/acme/base.yaml", text)
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name, "base.yaml")); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	write("hub/.index.json", fmt.Sprintf(`{"contexts": {"acme/ctx": {"path": "contexts/acme/base.yaml", "versions": {"0.1": {"digest": "%x"}}}},
		"collections": {"acme/all": {"path": "collections/acme/base.yaml", "versions": {"0.2": {"digest": "00"}}}}}`, sha256.Sum256([]byte("context: {}"))))
	c, errs := hub.Load(dir)
	var got []string
	for _, it := range append(c.Items, c.Collections...) {
		got = append(got, fmt.Sprint(it.Kind, " ", it.Name, " ", it.Version))
	}
	if want := "context acme/ctx 0.1; collection acme/all ?; collection me/mine "; strings.Join(got, "; ") != want || errs != nil {
		t.Errorf("got %q, want %q; %v", strings.Join(got, "; "), want, errs)
	}
}
