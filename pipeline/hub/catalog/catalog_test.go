package catalog

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/platform/sharedtest"
)

// world is a hub in a folder and an installation beside it.
type world struct {
	t    *testing.T
	dir  string
	dirs Dirs
}

func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t, dir, Dirs{
		Config: filepath.Join(dir, "etc"), Hub: filepath.Join(dir, "etc", "hub"),
		Index: filepath.Join(dir, "etc", "hub", IndexName), Data: filepath.Join(dir, "data"),
	}}
	if err := os.Symlink("x", filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	for name, text := range files {
		w.write("src/"+name, text)
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *world) link(name, target string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(target, w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) source() *Source {
	w.t.Helper()
	s, err := NewSource(w.path("src"), "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) update() {
	w.t.Helper()
	if _, _, err := w.source().UpdateIndex(context.Background(), w.dirs, false); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() *Catalog {
	w.t.Helper()
	c, err := Open(w.dirs)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) find(c *Catalog, name string) *Item {
	w.t.Helper()
	t, name, _ := strings.Cut(name, ":")
	it, err := c.Find(Type(t), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return it
}

func (w *world) carry(p *Plan) Outcome {
	w.t.Helper()
	out, err := p.Carry(context.Background(), w.source(), time.Now(), func(string) {})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) install(names ...string) Outcome {
	w.t.Helper()
	c := w.open()
	p := c.NewPlan(false)
	for _, name := range names {
		p.Install(w.find(c, name), false)
	}
	return w.carry(p)
}

// state describes all items that are here.
func state(c *Catalog) (out []string) {
	for _, t := range Types {
		for _, it := range c.Items(t) {
			words := []string{it.String()}
			for word, ok := range map[string]bool{"downloaded": it.DownloadPath != "", "installed": it.Installed(), "local": it.Local, "latest": it.UpToDate} {
				if ok {
					words = append(words, word)
				}
			}
			slices.Sort(words[1:])
			words = append(words, it.LocalVersion)
			for _, by := range it.TaintedBy {
				words = append(words, "!"+by)
			}
			if len(words) > 2 {
				out = append(out, strings.Join(words, " "))
			}
		}
	}
	return out
}

func (w *world) wantState(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, state(w.open())); diff != "" {
		w.t.Errorf("want -, got +:\n%s", diff)
	}
}

func acme() map[string]string {
	return map[string]string{
		"collections/acme/web.yaml":        "parsers: [acme/web]\nscenarios: [acme/probing, acme/bf]\ncollections: [acme/base]\n",
		"collections/acme/ssh.yaml":        "parsers: [acme/ssh]\nscenarios: [acme/bf]\ncollections: [acme/base]\n",
		"collections/acme/base.yaml":       "parsers: [acme/syslog]\n",
		"parsers/s00-raw/acme/syslog.yaml": "name: acme/syslog\n",
		"parsers/s01-parse/acme/web.yaml":  "name: acme/web\n",
		"parsers/s01-parse/acme/ssh.yaml":  "name: acme/ssh\n",
		"scenarios/acme/probing.yaml":      "name: acme/probing\n",
		"scenarios/acme/bf.yaml":           "name: acme/bf\n",
		"scenarios/.hidden/acme/no.yaml":   "name: acme/no\n",
		"scenarios/acme/README.md":         "no item",
	}
}

func TestInstallAndRemove(t *testing.T) {
	w := newWorld(t, acme())
	w.update()
	w.wantState()
	if out := w.install("collections:acme/web"); !out.Reload {
		t.Error("nothing to reload")
	}
	web := []string{
		"parsers:acme/syslog downloaded installed latest 0.1",
		"parsers:acme/web downloaded installed latest 0.1",
		"scenarios:acme/bf downloaded installed latest 0.1",
		"scenarios:acme/probing downloaded installed latest 0.1",
		"collections:acme/base downloaded installed latest 0.1",
		"collections:acme/web downloaded installed latest 0.1",
	}
	w.wantState(web...)
	w.install("collections:acme/ssh", "collections:acme/web")
	c := w.open()
	if got := w.find(c, "scenarios:acme/bf").Collections; !cmp.Equal(got, []string{"acme/ssh", "acme/web"}) {
		t.Error("acme/bf belongs to ", got)
	}
	// What is shared stays.
	p := c.NewPlan(false)
	if err := p.Remove([]*Item{w.find(c, "collections:acme/ssh")}, true); err != nil {
		t.Fatal(err)
	}
	w.carry(p)
	w.wantState(web...)
	// What belongs to a collection stays, too, unless that goes as well.
	remove := func(force bool, names ...string) *Plan {
		t.Helper()
		c := w.open()
		p := c.NewPlan(force)
		var items []*Item
		for _, name := range names {
			items = append(items, w.find(c, name))
		}
		if err := p.Remove(items, false); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := remove(false, "scenarios:acme/bf"); len(p.Actions) > 0 || len(p.Warnings) != 2 || p.Warnings[0] != "acme/bf belongs to collections: [acme/web]" {
		t.Error(p.Steps(), p.Warnings)
	}
	if p := remove(true, "scenarios:acme/bf"); p.Steps() != "❌ disable scenarios:acme/bf\n" {
		t.Error(p.Steps(), p.Warnings)
	}
	if p := remove(false, "collections:acme/base", "collections:acme/web"); len(p.Actions) != 6 || len(p.Warnings) > 0 {
		t.Error(p.Steps(), p.Warnings)
	}
	w.carry(remove(false, "collections:acme/web"))
	var downloaded []string
	for _, s := range web {
		downloaded = append(downloaded, strings.Replace(s, " installed", "", 1))
	}
	w.wantState(downloaded...)
}

func TestTaint(t *testing.T) {
	w := newWorld(t, acme())
	w.update()
	w.install("collections:acme/ssh")
	w.write("etc/hub/scenarios/acme/bf.yaml", "name: acme/bf # mine\n")
	if err := os.Remove(w.path("etc/parsers/s00-raw/syslog.yaml")); err != nil {
		t.Fatal(err)
	}
	w.wantState(
		"parsers:acme/ssh downloaded installed latest 0.1",
		"parsers:acme/syslog downloaded latest 0.1",
		"scenarios:acme/bf downloaded installed ? !local changes",
		"collections:acme/base downloaded installed latest 0.1 !missing parsers:acme/syslog",
		"collections:acme/ssh downloaded installed 0.1 !scenarios:acme/bf !collections:acme/base",
	)
	c := w.open()
	p := c.NewPlan(false)
	p.Install(w.find(c, "collections:acme/ssh"), false)
	if len(p.Actions) > 0 || !cmp.Equal(p.Warnings, []string{"collections:acme/ssh is tainted, use '--force' to overwrite"}) {
		t.Error(p.Steps(), p.Warnings)
	}
	if err := p.Remove([]*Item{w.find(c, "collections:acme/ssh")}, false); err == nil || err.Error() != "acme/ssh is tainted, use '--force' to remove" {
		t.Error(err)
	}
	p = c.NewPlan(true)
	p.Install(w.find(c, "collections:acme/ssh"), false)
	if want := "📥 download scenarios:acme/bf (? -> 0.1)\n✅ enable parsers:acme/syslog\n"; p.Steps() != want {
		t.Error(p.Steps(), p.Warnings)
	}
	w.carry(p)
	for _, s := range state(w.open()) {
		if strings.Contains(s, "!") {
			t.Error(s)
		}
	}
	// A tainted file is repaired by force even if it is not enabled.
	w.write("etc/hub/scenarios/acme/probing.yaml", "mine\n")
	c = w.open()
	p = c.NewPlan(true)
	p.Install(w.find(c, "scenarios:acme/probing"), true)
	if want := "📥 download scenarios:acme/probing (? -> 0.1)\n"; p.Steps() != want {
		t.Error(p.Steps())
	}
}

func TestLocal(t *testing.T) {
	w := newWorld(t, acme())
	w.update()
	w.install("scenarios:acme/bf", "scenarios:acme/probing")
	w.write("etc/scenarios/mine.yaml", "name: me/mine\n")
	w.write("etc/scenarios/sub/unnamed.yml", "filter: x\n")
	w.write("etc/scenarios/probing-too.yaml", "name: acme/probing\n")
	w.write("etc/scenarios/.hidden.yaml", "name: me/hidden\n")
	w.write("etc/scenarios/.git/a.yaml", "name: me/git\n")
	w.write("etc/scenarios/x.txt", "name: me/x\n")
	w.write("etc/parsers/loose.yaml", "name: me/loose\n")
	w.write("elsewhere/far.yaml", "name: me/far\n")
	w.link("etc/parsers/s01-parse/far.yaml", w.path("elsewhere/far.yaml"))
	w.link("etc/parsers/s01-parse/dangling.yaml", w.path("nowhere"))
	w.link("etc/parsers/s01-parse/a.yaml", "b.yaml")
	w.link("etc/parsers/s01-parse/b.yaml", "a.yaml")
	// A link may have another name, and go by way of another link.
	w.write("etc/hub/parsers/s01-parse/acme/ssh.yaml", "name: acme/ssh\n")
	w.link("elsewhere/ssh.yaml", w.path("etc/hub/parsers/s01-parse/acme/ssh.yaml"))
	w.link("etc/parsers/s01-parse/00-ssh.yaml", w.path("elsewhere/ssh.yaml"))
	w.wantState(
		"parsers:acme/ssh downloaded installed latest 0.1",
		"parsers:me/far installed latest local ",
		"scenarios:acme/bf downloaded installed latest 0.1",
		"scenarios:acme/probing installed latest local ",
		"scenarios:me/mine installed latest local ",
		"scenarios:sub/unnamed.yml installed latest local ",
	)
	c := w.open()
	all := strings.ReplaceAll(strings.Join(c.Warnings, "\n"), w.dir+string(os.PathSeparator), "")
	for _, want := range []string{
		"Ignoring file etc/parsers/s01-parse/dangling.yaml: lstat nowhere: no such file or directory",
		"Ignoring file etc/parsers/s01-parse/a.yaml: ", "too many levels of symbolic links",
		"multiple scenarios named acme/probing: ignoring etc/scenarios/probing.yaml",
		"Ignoring file etc/parsers/loose.yaml: it is in no stage directory",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	p := c.NewPlan(true)
	p.Upgrade(w.find(c, "scenarios:me/mine"))
	if err := p.Remove([]*Item{w.find(c, "scenarios:me/mine")}, true); err != nil || len(p.Actions) > 0 {
		t.Error(err, p.Steps())
	}
	// A link that is not straight to the hub isn't ours to remove.
	if err := p.Remove([]*Item{w.find(c, "parsers:acme/ssh")}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Carry(context.Background(), w.source(), time.Now(), func(string) {}); err == nil || !strings.Contains(err.Error(), "isn't managed by hub") {
		t.Error(err)
	}
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t, acme())
	w.update()
	w.install("collections:acme/web")
	w.write("src/scenarios/acme/probing.yaml", "name: acme/probing\nv: 2\n")
	w.write("src/scenarios/acme/new.yaml", "name: acme/new\n")
	w.write("src/collections/acme/web.yaml", "parsers: [acme/web]\nscenarios: [acme/probing, acme/new]\n")
	w.update()
	w.update() // the same once more
	c := w.open()
	p := c.NewPlan(false)
	p.Upgrade(w.find(c, "collections:acme/web"))
	want := `📥 download scenarios:acme/probing (0.1 -> 0.2)
📥 download scenarios:acme/new (0.1)
✅ enable scenarios:acme/new
❌ disable scenarios:acme/bf
❌ disable parsers:acme/syslog
❌ disable collections:acme/base
📥 download collections:acme/web (0.1 -> 0.2)
`
	if diff := cmp.Diff(want, p.Steps()); diff != "" {
		t.Error(diff)
	}
	w.carry(p)
	if c = w.open(); w.find(c, "collections:acme/web").LocalVersion != "0.2" || w.find(c, "scenarios:acme/bf").Installed() {
		t.Error(state(c))
	}
	// An older file that comes back is a new version, as in every hub.
	w.write("src/scenarios/acme/probing.yaml", "name: acme/probing\n")
	w.update()
	if it := w.find(w.open(), "scenarios:acme/probing"); it.Version != "0.3" || len(it.Versions) != 3 || it.LocalVersion != "0.2" || it.UpToDate {
		t.Errorf("%+v", it)
	}
	// What is not installed is brought up to date, but not enabled.
	w.install("scenarios:acme/bf")
	c = w.open()
	p = c.NewPlan(false)
	p.Upgrade(w.find(c, "parsers:acme/ssh"))
	if p.Steps() != "📥 download parsers:acme/ssh (0.1)\n" {
		t.Error(p.Steps())
	}
}

func TestCircles(t *testing.T) {
	w := newWorld(t, map[string]string{
		"collections/a/a.yaml": "collections: [a/b]\n", "collections/a/b.yaml": "collections: [a/c]\n", "collections/a/c.yaml": "collections: [a/a]\n",
	})
	w.update()
	if _, err := Open(w.dirs); err == nil || !strings.Contains(err.Error(), "circular dependency detected") {
		t.Error(err)
	}
}

func TestIndexErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := ParseIndex([]byte(text))
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	f(`{}`, "")
	f(`{"new": {}, "parsers": {"a/b": {"path": "parsers/s/a/b.yaml", "stage": "s", "installed": true, "tainted": true}}}`, "")
	f(`null`, "it is empty")
	f(``, "unexpected end")
	f(`[]`, "cannot unmarshal")
	f(`{"parsers": {"a/b": null}}`, "parsers:a/b has no index metadata")
	f(`{"parsers": {"a/b": {}}}`, "parsers:a/b has no download path")
	f(`{"parsers": {"a/b": {"path": "parsers/s/a/b.yaml"}}}`, "parsers:a/b has no stage")
	f(`{"parsers": {"a/b": {"path": "parsers/b.yaml", "stage": "s"}}}`, "too short")
	f(`{"scenarios": {"a/b": {"path": "scenarios/b.yaml"}}}`, "too short")
	f(`{"scenarios": {"a/b": {"path": "parsers/a/b.yaml"}}}`, "too short")
	f(`{"scenarios": {"a/b": {"path": "scenarios/../../b.yaml"}}}`, "leads out")
	f(`{"scenarios": {"a/b": {"path": "/etc/passwd"}}}`, "leads out")
	f(`{"parsers": {"a/b": {"path": "parsers/s/a/b.yaml", "stage": "../x"}}}`, "leads out")
	f(`{"parsers": {"a/b": {"path": "parsers/s/a/b.yaml", "stage": ".."}}}`, "leads out")
}

// Versions that can't be told make only commands about them fail.
func TestVersions(t *testing.T) {
	e := Entry{Version: "0.10", Versions: map[string]Version{"0.9": {Digest: "a"}, "0.10": {Digest: "a"}, "0.2": {Digest: "b"}}}
	if v, err := e.versionOf("a"); v != "0.10" || err != nil {
		t.Error(v, err)
	}
	if v, err := e.versionOf("c"); v != "" || err != nil {
		t.Error(v, err)
	}
	e.Versions["foo"] = Version{}
	if _, err := e.versionOf("a"); err == nil || err.Error() != "foo: invalid semantic version" {
		t.Error(err)
	}
	for version, want := range map[string]string{"": "latest version missing from index", "1.0": "latest hash missing from index"} {
		e.Version = version
		if _, err := e.digest(); err == nil || err.Error() != want {
			t.Error(err)
		}
	}
	for _, l := range [][]string{{"0.1", "0.2", "0.10", "1.0", "v1.0.1", "1.1"}} {
		for i := range l[1:] {
			if compareVersions(l[i], l[i+1]) >= 0 {
				t.Errorf("%s is not before %s", l[i], l[i+1])
			}
		}
	}
	for v, want := range map[string]string{"": "0.1", "0.9": "0.10", "1.2.3": "1.2.4", "foo": "0.1"} {
		if next(v) != want {
			t.Errorf("after %s comes %s", v, next(v))
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"parsers": {"a/b": {"path": "parsers/s/a/b.yaml", "stage": "s", "version": "1.0", "versions": {"1.0": {"digest": "00"}}, "content": "eA=="}}}`))
	dirs := Dirs{Config: f.TempDir(), Hub: f.TempDir(), Data: f.TempDir()}
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := ParseIndex(text)
		if err != nil {
			return
		}
		c, err := New(dirs, x)
		if err != nil {
			return
		}
		p := c.NewPlan(true)
		for _, typ := range Types {
			for _, it := range c.Items(typ) {
				for _, at := range []string{c.downloadPath(it), c.linkPath(it)} {
					if !strings.HasPrefix(at, dirs.Config+string(os.PathSeparator)) && !strings.HasPrefix(at, dirs.Hub+string(os.PathSeparator)) {
						t.Fatalf("%s would be at %s", it, at)
					}
				}
				p.Install(it, false)
			}
		}
		_ = p.Summary()
	})
}

// All of the public hub can be installed from its folder, and the engine loads it.
func TestWholeHub(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	w := newWorld(t, nil)
	if err := os.Remove(w.path("link")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Import(w.dirs, filepath.Join(sharedtest.Dir(t), "hub")); err != nil {
		t.Fatal(err)
	}
	c := w.open()
	p := c.NewPlan(false)
	for _, typ := range Types {
		for _, it := range c.Items(typ) {
			p.Install(it, false)
		}
	}
	s, err := NewSource(DefaultTemplate, "master", "")
	if err != nil {
		t.Fatal(err)
	}
	s.client = nil // whoever asks the network panics
	out, err := p.Carry(context.Background(), s, time.Now(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d data files are not in the folder", len(out.Missing))
	c = w.open()
	for _, typ := range Types {
		for _, it := range c.Items(typ) {
			if !it.Installed() || it.Tainted() || !it.UpToDate {
				t.Errorf("%s: installed %v, up to date %v, tainted by %v", it, it.Installed(), it.UpToDate, it.TaintedBy)
			}
		}
	}
	content, errs := hub.Dirs{Config: w.dirs.Config}.Load()
	for _, err := range errs {
		t.Error(err)
	}
	want := 0
	for _, typ := range []Type{Parsers, Scenarios, PostOverflows, Contexts} {
		want += len(c.Items(typ))
	}
	// Two files may hold items of one name, of which the engine takes one.
	if len(content.Items) < want-20 || len(content.Items) > want {
		t.Errorf("%d items are loaded of %d", len(content.Items), want)
	}
	for _, it := range content.Items {
		if it.Version != "0.1" {
			t.Errorf("%s has version %q", it.Name, it.Version)
		}
	}
	missing := map[string]bool{}
	for _, m := range out.Missing {
		_, name, _ := strings.Cut(m, "there is no ")
		name, _, _ = strings.Cut(name, " in ")
		missing[name] = true
	}
	_, faulty := pipeline.Load(pipeline.Options{Content: content, DataDir: w.dirs.Data})
	for _, err := range faulty {
		named := slices.ContainsFunc(slices.Collect(maps.Keys(missing)), func(name string) bool { return strings.Contains(err.Error(), "/"+name) })
		if !named {
			t.Error(fmt.Errorf("left out: %w", err))
		}
	}
}
