package hub_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/platform/strict"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestLoadOrder(t *testing.T) {
	c, errs := hub.LoadFS(fstest.MapFS{
		"parsers/s01-parse/z.yaml":            file("name: z"),
		"parsers/s01-parse/sub/dir/b.yml":     file("name: b"),
		"parsers/s00-raw/y.yaml":              file("# comment\n---\nname: y\n---\nname: other"),
		"parsers/s00-raw/x.yaml":              file("filter: no name"),
		"parsers/s00-raw/.hidden/a.yaml":      file("name: hidden"),
		"parsers/s00-raw/readme.md":           file("name: readme"),
		"parsers/s01-parse/broken.yaml":       file("a: ["),
		"parsers/stray.yaml":                  file("name: stray"),
		"scenarios/s.yaml":                    file("name: s"),
		"postoverflows/s00-enrich/p.yaml":     file("name: p"),
		"parsers/s02-enrich/z-replaces.yaml":  file("name: z"), // of the same name as an earlier one
		"contexts/c.yaml":                     file("name: c"),
		"scenarios/nested/deep/t.yaml":        file("name: t"),
		"parsers/s00-raw/dir.yaml/inner.yaml": file("name: inner"),
	}, "/etc/x")
	var got []string
	for _, it := range c.Items {
		got = append(got, fmt.Sprintf("%s %s %s %s", it.Kind, it.Stage, it.Path, it.Name))
	}
	want := []string{
		"parser s00-raw /etc/x/parsers/s00-raw/dir.yaml/inner.yaml inner",
		"parser s00-raw /etc/x/parsers/s00-raw/x.yaml x.yaml",
		"parser s00-raw /etc/x/parsers/s00-raw/y.yaml y",
		"parser s01-parse /etc/x/parsers/s01-parse/broken.yaml broken.yaml",
		"parser s01-parse /etc/x/parsers/s01-parse/sub/dir/b.yml b",
		"parser s02-enrich /etc/x/parsers/s02-enrich/z-replaces.yaml z",
		"scenario  /etc/x/scenarios/nested/deep/t.yaml t",
		"scenario  /etc/x/scenarios/s.yaml s",
		"postoverflow s00-enrich /etc/x/postoverflows/s00-enrich/p.yaml p",
		"context  /etc/x/contexts/c.yaml c",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "/etc/x/parsers/stray.yaml: it is in no stage directory") {
		t.Errorf("errors: %v", errs)
	}
}

func TestLoadDirectory(t *testing.T) {
	if c, errs := hub.Load(filepath.Join(t.TempDir(), "missing")); len(c.Items)+len(errs) != 0 {
		t.Errorf("a missing directory gives %v, %v", c, errs)
	}
	dir := t.TempDir()
	stage := filepath.Join(dir, "parsers", "s00-raw")
	if err := os.MkdirAll(stage, 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "hub-item.yaml")
	if err := os.WriteFile(target, []byte("name: linked"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(stage, "a.yaml")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	if err := os.Symlink(target+".gone", filepath.Join(stage, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(stage, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	c, errs := hub.Load(dir)
	if len(c.Items) != 1 || c.Items[0].Name != "linked" || string(c.Items[0].Data) != "name: linked" {
		t.Errorf("items %+v", c.Items)
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "c.yaml: it is no regular file") {
		t.Errorf("errors: %v", errs)
	}
	var told []string
	pipeline.Load(pipeline.Options{Content: c, Warn: func(m string) { told = append(told, m) }})
	if len(told) == 0 || !strings.HasSuffix(told[0], "b.yaml is left out: the link leads nowhere") {
		t.Errorf("told %q", told)
	}
}

func TestBase(t *testing.T) {
	c := hub.Base()
	kinds := map[hub.Kind]int{}
	for _, it := range c.Items {
		kinds[it.Kind]++
		if !strings.HasPrefix(it.Name, "cs/") {
			t.Errorf("%s is called %s: names of the starter set begin with cs/", it.Path, it.Name)
		}
	}
	if kinds[hub.Parser] == 0 || kinds[hub.Scenario] == 0 {
		t.Errorf("kinds %v", kinds)
	}
}

func TestDataFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(filepath.Dir(dir), "outside.txt")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "a.txt"), "one\n\n# comment\n two \r\nthree")
	write(filepath.Join(dir, "both.txt"), "mine\n")
	write(filepath.Join(dir, "map.json"), `{"pattern":"p","tag":"t","type":"equals"}`+"\n"+`{"pattern":"p"}`+"\n")
	write(filepath.Join(dir, "bots.json"), `{"name":"b","ips":["192.0.2.1"]}`+"\n"+`{"name":"b","ip":"192.0.2.1"}`+"\n")
	write(filepath.Join(dir, "long.txt"), strings.Repeat("x", 70_000))
	write(outside, "secret")
	f := hub.NewFiles(dir, fstest.MapFS{"both.txt": file("theirs"), "base.txt": file("b\n")})
	load := func(name, typ, want string) {
		t.Helper()
		err := f.Load(hub.DataFile{DestFile: strict.Text{Value: name, Place: strict.Place{File: "s.yaml", Line: 3, Key: "data"}}, Type: typ})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	load("a.txt", "string", "")
	load("both.txt", "regexp", "")
	load("base.txt", "string", "")
	load("GeoLite2-City.mmdb", "", "")
	load("none.txt", "string", "s.yaml:3: data: cannot load data file none.txt: file does not exist in "+dir)
	load("../outside.txt", "string", "leads out of the data directory")
	load("/etc/passwd", "string", "leads out of the data directory")
	load("a.txt", "csv", `unknown type "csv"`)
	load("long.txt", "string", "token too long")
	load("map.json", "map", "cannot read row 2 of data file map.json: it has no tag")
	load("bots.json", "bots", "cannot read row 2 of data file bots.json")
	f.Bound(15)
	load("a.txt", "regexp", "a.txt: it has more than 15 bytes")
	if l, ok := f.Lines("a.txt"); !ok || !slices.Equal(l, []string{"one", " two ", "three"}) {
		t.Errorf("lines %q, %v", l, ok)
	}
	if l, _ := f.Regexps("both.txt"); !slices.Equal(l, []string{"mine"}) {
		t.Errorf("the file of the data directory comes first, got %q", l)
	}
	if l, _ := f.Lines("base.txt"); !slices.Equal(l, []string{"b"}) {
		t.Errorf("fallback: %q", l)
	}
	if rows, _ := f.Rows("map.json"); len(rows) != 1 {
		t.Errorf("rows before the bad one: %v", rows)
	}
	if bots, _ := f.Bots("bots.json"); len(bots) != 1 || bots[0].Name != "b" {
		t.Errorf("bots before the bad one: %v", bots)
	}
	if _, ok := f.Lines("both.txt"); ok {
		t.Error("a regexp file is no list of texts")
	}
}

// Settings lie beside the items, or where the configuration says, and there
// they must be.
func TestSettings(t *testing.T) {
	write := func(dir, name, text string) string {
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
	f := func(d hub.Dirs, wantErr string, want ...string) {
		t.Helper()
		c, errs := d.Load()
		var got []string
		for _, it := range c.Settings {
			got = append(got, fmt.Sprintf("%s %s", it.Kind, it.Data))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: settings %q, want %q", d, got, want)
		}
		if wantErr == "" && len(errs) > 0 || wantErr != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), wantErr)) {
			t.Errorf("%+v: errors %v, want %q", d, errs, wantErr)
		}
	}
	dir, other := t.TempDir(), t.TempDir()
	f(hub.Dirs{Config: dir}, "")
	write(dir, "console/context.yaml", "a: [b]")
	write(dir, "simulation.yaml.local", "exclusions: [x]")
	write(dir, "simulation.yaml", "simulation: false")
	f(hub.Dirs{Config: dir}, "", "console context a: [b]", "simulation simulation: false", "simulation exclusions: [x]")
	context, simulation := write(other, "c.yaml", "c: [d]"), write(other, "s.yaml", "simulation: true")
	f(hub.Dirs{Config: dir, Simulation: simulation}, "", "console context a: [b]", "simulation simulation: true")
	write(other, "s.yaml.local", "exclusions: [y]")
	f(hub.Dirs{Config: dir, Simulation: simulation, ConsoleContext: context}, "",
		"console context c: [d]", "simulation simulation: true", "simulation exclusions: [y]")
	f(hub.Dirs{Config: dir, ConsoleContext: context + ".gone"}, "cannot read the console context",
		"simulation simulation: false", "simulation exclusions: [x]")
	f(hub.Dirs{Config: dir, Simulation: simulation + ".gone"}, "cannot read the simulation", "console context a: [b]")
}

// TestOverBase: what one adds joins the starter set, what stands in its place
// replaces it.
func TestOverBase(t *testing.T) {
	n := len(hub.Base().Items)
	f := func(name string, want int, blind bool, files ...string) {
		t.Helper()
		dir := t.TempDir()
		for _, file := range files {
			path, link := strings.CutSuffix(file, "@")
			path = filepath.Join(dir, filepath.FromSlash(path))
			at := path
			if link {
				at = filepath.Join(dir, "hub", filepath.Base(path))
			}
			for _, p := range []string{path, at} {
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(at, []byte("name: "+strings.TrimSuffix(filepath.Base(path), ".yaml")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if link {
				if err := os.Symlink(at, path); err != nil {
					t.Skip(err)
				}
			}
		}
		c, errs := hub.Load(dir)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		c = c.OverBase()
		if len(c.Items) != want || c.Blind() != blind {
			t.Errorf("%s: %d items, want %d; blind: %v", name, len(c.Items), want, c.Blind())
		}
		if want < n {
			return
		}
		for _, data := range []string{"cs_scanner_agents.txt", "own.txt"} {
			if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "data", "own.txt"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := fs.ReadFile(c.Data, data); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	f("nothing", n, false)
	f("a whitelist", n+1, false, "parsers/s02-enrich/trusted.yaml")
	f("a whitelist of the hub", n+1, false, "parsers/s02-enrich/whitelists.yaml@")
	f("a scenario", n+1, false, "scenarios/mine.yaml")
	f("a scenario of the hub", 1, true, "scenarios/ssh-bf.yaml@")
	f("a parser", 1, true, "parsers/s01-parse/mine.yaml")
	f("all of it", 2, false, "parsers/s00-raw/mine.yaml", "scenarios/mine.yaml")
}
