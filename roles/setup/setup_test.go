package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The built-in rules are good, and find something on any host.
func TestBuiltInRules(t *testing.T) {
	r, err := ReadRules("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Names()) < 20 {
		t.Errorf("only %v", r.Names())
	}
	s, err := r.Detect(Options{SkipSystemd: true, Force: []string{"nginx"}, Ignore: []string{"linux"}}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, one := range s.Services {
		found += one.Name + " "
	}
	if !strings.Contains(found, "nginx ") || !strings.Contains(found, "whitelists ") || strings.Contains(found, "linux ") {
		t.Error(found)
	}
}

func TestSatisfies(t *testing.T) {
	f := func(v, constraint string, want bool) {
		t.Helper()
		if got := satisfies(v, constraint); got != want {
			t.Errorf("%s %s: %v", v, constraint, got)
		}
	}
	f("1.2.3", ">= 1.2, < 2", true)
	f("v2.0.0", ">=1.2,<2", false)
	f("1.2", "1.2.0", true)
	f("1.2.9-rc1", "~1.2", true)
	f("1.3", "~1.2", false)
	f("1.9", "^1.2", true)
	f("2.0", "^1.2", false)
	f("1", "!= 1", false)
	f("x", "> 1", false)
	f("1", "> x", false)
	f("1", "=> 1", false)
}

// What was generated may be written again until somebody changes it.
func TestGeneratedFiles(t *testing.T) {
	dir := t.TempDir()
	s := Setup{Services: []Service{{Name: "a", Acquisition: &Acquisition{Filename: "a.yaml", Datasource: map[string]any{"source": "file", "filename": "/x"}}}}}
	files := s.Files(dir)
	if len(files) != 1 || files[0].Path != filepath.Join(dir, "setup.a.yaml") {
		t.Fatalf("%+v", files)
	}
	if err := files[0].Write(); err != nil {
		t.Fatal(err)
	}
	f := func(text string, want bool) {
		t.Helper()
		if err := os.WriteFile(files[0].Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := MayReplace(files[0].Path); err != nil || got != want {
			t.Errorf("%v, %v of\n%s", got, err, text)
		}
	}
	text := string(files[0].Text)
	f(text, true)
	f(strings.ReplaceAll(text, "\n", "\r\n"), true)
	f("# mine\n"+text, true)
	f(text+"---\n"+text, true)
	f(text+"# changed\n", false)
	f(strings.Replace(text, "/x", "/y", 1), false)
	f(strings.Replace(text, marker, "", 1), false)
	f(text+"---\nsource: file\n", false)
	f("", true)
	f("# nothing\n---\n\n", true)
	f("source: file\n", false)
	if ok, err := MayReplace(filepath.Join(dir, "none")); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestFaultyRules(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := ReadRules("r.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f("detect: {a: {whn: []}}", "r.yaml:1:14: detect.a.whn: unknown key (did you mean when?)")
	f("detect: {a: {when: ['1']}}", "r.yaml:1:21")
	f("detect: {a: {acquisition_spec: {filename: a/b.yaml, datasource: {source: file}}}}", "must not contain slashes")
	f("detect: {a: {acquisition_spec: {filename: b.yaml, datasource: {labels: {}}}}}", "datasource.source is required")
	f("detect: {a: {acquisition_spec: {filename: b.yaml, datasource: {source: pigeon}}}}", "unknown data source pigeon")
	f("detect: {a: {acquisition_spec: {filename: b.yaml, datasource: {source: file, labels: {type: x}, filenmae: y}}}}", "filenmae")
	f("", "there are no rules")
}
