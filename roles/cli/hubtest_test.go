//go:build !edge

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// smallHub is a hub with a test that passes and one that fails.
func smallHub(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("parsers/s01-parse/acme/line.yaml", "name: acme/line\ngrok:\n  pattern: '^%{WORD:word}$'\n  apply_on: Line.Raw\n")
	write(".tests/waf/config.yaml", "appsec-rules: [acme/rule]\nnuclei_template: x.yaml\n")
	for name, assert := range map[string]string{
		"good": `results["s01-parse"]["acme/line"][0].Evt.Parsed["word"] == "hello"`,
		"bad":  `results["s01-parse"]["acme/line"][0].Evt.Parsed["word"] == "bye"`,
		"new":  "",
	} {
		write(".tests/"+name+"/config.yaml", "parsers: [acme/line]\nlog_file: x.log\nlog_type: acme\n")
		write(".tests/"+name+"/x.log", "hello\n")
		write(".tests/"+name+"/parser.assert", assert+"\n")
	}
	return dir
}

func TestHubtestRun(t *testing.T) {
	hub := smallHub(t)
	f := func(wantCode int, wantLast string, args ...string) result {
		t.Helper()
		r := run(t, t.TempDir(), "", append([]string{"hubtest", "run", "--hub", hub, "--offline"}, args...)...)
		if r.code != wantCode {
			t.Errorf("%v: exit code %d, want %d: %s", args, r.code, wantCode, r.stderr)
		}
		if lines := strings.Split(strings.TrimSpace(r.stdout), "\n"); wantLast != "" && lines[len(lines)-1] != wantLast {
			t.Errorf("%v: got\n%s\nwant the last line %q", args, r.stdout, wantLast)
		}
		return r
	}
	f(0, "1 passed, 0 failed", "good")
	f(0, "2 passed, 0 failed", "good", "good", "--max-jobs", "1", "--crowdsec", "./crowdsec", "--no-clean")
	f(1, "")
	f(1, "", "--all", "good")
	f(1, "0 passed, 1 failed", "none")
	r := f(1, "1 passed, 2 failed", "--all", "--report-success")
	for _, want := range []string{
		`parser.assert:1: results["s01-parse"]["acme/line"][0].Evt.Parsed["word"] == "bye"`,
		"      expected \"bye\"\n      actual   \"hello\"\n",
		"What holds, for parser.assert:\nlen(results) == 2\n",
		"good  passed   1 of 1",
		"waf   skipped  it tests the WAF with nuclei",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("got\n%s\nwithout %s", r.stdout, want)
		}
	}
	r = f(1, "", "--all", "-o", "json")
	var got hubtestJSON
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Success) != 1 || len(got.Fail) != 2 || len(got.Skipped) != 1 || got.Failures["bad"].Asserts[0].Value != `"hello"` || got.Failures["new"].Generated["parser.assert"] == "" {
		t.Errorf("got %s", r.stdout)
	}
	if !strings.Contains(r.stderr, "1 passed, 2 failed\n") {
		t.Errorf("stderr is %s", r.stderr)
	}
}
