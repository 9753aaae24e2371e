//go:build !edge

package explain

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"cs/pipeline"
	"cs/pipeline/hub"
	"cs/pipeline/source/file"
)

const (
	lineParser = `name: acme/line
filter: "evt.Line.Labels.type == 'acme'"
onsuccess: next_stage
grok:
  pattern: '^%{IP:ip} %{INT:n} %{GREEDYDATA:rest}$'
  apply_on: Line.Raw
statics:
  - meta: source_ip
    expression: evt.Parsed.ip
  - target: evt.StrTime
    expression: "'2026-01-02T03:04:0' + evt.Parsed.n + 'Z'"
`
	dateParser = `name: acme/date
filter: "evt.StrTime != ''"
statics:
  - method: ParseDate
    expression: evt.StrTime
  - target: evt.MarshaledTime
    expression: evt.Enriched.MarshaledTime
`
	bruteForce = `type: leaky
name: acme/bf
description: many
filter: "evt.Meta.source_ip != ''"
groupby: evt.Meta.source_ip
capacity: 1
leakspeed: 10s
labels: {remediation: true}
`
)

// acme is a hub with one test.
func acme(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"parsers/s01-parse/acme/line.yaml":  lineParser,
		"parsers/s02-enrich/acme/date.yaml": dateParser,
		"scenarios/acme/bf.yaml":            bruteForce,
		".tests/t/config.yaml":              "parsers: [acme/line, ./parsers/s02-enrich/acme/date.yaml, '']\nscenarios: [acme/bf]\nlog_file: x.log\nlog_type: acme\n",
		".tests/t/x.log":                    "192.0.2.1 1 a\nnonsense\n192.0.2.1 2 b\n",
		".tests/t/parser.assert":            "len(results) == 3\n",
		".tests/t/scenario.assert":          "len(results) == 1\n",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		if text == "-" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openHub opens a hub that downloads nothing.
func openHub(dir string) (*Hub, error) {
	h, err := OpenHub(dir, false)
	if err == nil {
		h.Offline = true
	}
	return h, err
}

func runAcme(t *testing.T, more map[string]string) *TestResult {
	t.Helper()
	h, err := openHub(acme(t, more))
	if err != nil {
		t.Fatal(err)
	}
	names, err := h.Tests()
	if err != nil || !cmp.Equal(names, []string{"t"}) {
		t.Fatalf("tests are %v, %v", names, err)
	}
	return h.Test(context.Background(), "t")
}

func TestFailures(t *testing.T) {
	f := func(file, text, wantErr string, want ...string) {
		t.Helper()
		r := runAcme(t, map[string]string{".tests/t/" + file: text})
		var got []string
		for _, f := range r.Failures {
			got = append(got, f.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", text, diff)
		}
		if wantErr == "" && r.Err != nil || wantErr != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), wantErr)) {
			t.Errorf("%s: got error %v, want %q", text, r.Err, wantErr)
		}
		if ok := wantErr == "" && len(want) == 0; r.OK() != ok {
			t.Errorf("%s: OK is %v", text, r.OK())
		}
	}
	f("parser.assert", "len(results) == 3\n\nlen(results[\"none\"][\"none\"]) == 0\n", "")
	f("parser.assert", "len(results) == 2\n", "", "parser.assert:1: len(results) == 2\n\texpected 2\n\tactual   3")
	f("parser.assert", "true\r\nresults[\"s01-parse\"][\"acme/line\"][1].Success\n", "",
		"parser.assert:2: results[\"s01-parse\"][\"acme/line\"][1].Success\n\texpected true\n\tactual   false")
	f("parser.assert", `results["s01-parse"]["acme/line"][9].Success == true`, "index out of range")
	f("parser.assert", `result`, "unknown name result")
	f("parser.assert", `1`, "must be true or false")
	f("parser.assert", ``, "is empty")
	f("scenario.assert", `results[0].Overflow.Alert.Remediation == false`, "",
		"scenario.assert:1: results[0].Overflow.Alert.Remediation == false\n\texpected false\n\tactual   true")
	f("parser.assert", `results["s01-parse"]["acme/line"][0].Evt.Parsed["message"] == "a"`, "",
		`parser.assert:1: results["s01-parse"]["acme/line"][0].Evt.Parsed["message"] == "a"`+"\n\texpected \"a\"\n\tactual   \"\"")
	f("scenario.assert", `"nobody" in results[0].Overflow.GetSources()`, "") // can't be explained
	f("config.yaml", "parsers: [acme/lines]\nlog_file: x.log\nlog_type: acme\n", "cannot find the parser acme/lines")
	f("config.yaml", "log_type: acme\n", "log_file is missing")
	f("config.yaml", "log_file: x.log\n", "log_type is missing")
	f("config.yaml", "log_file: ../t/x.log\nlog_type: acme\n", "leads out of the directory of the test")
	f("config.yaml", "parsers: 1\n", "config.yaml:1: parsers: want a list")
	f("config.yaml", "ignore_parsers: true\nlog_file: none\nlog_type: acme\n", "cannot read")
	f("config.yaml", "parsers: [acme/line, acme/date]\nlog_file: x.log\nlog_type: acme\nnew: 1\n", "")
}

// Tests of the WAF neither pass nor fail.
func TestSkipped(t *testing.T) {
	r := runAcme(t, map[string]string{".tests/t/config.yaml": "appsec-rules: [x]\nnuclei_template: x.yaml\n"})
	if r.OK() || r.Err != nil || !strings.Contains(r.Skipped, "there is no WAF") {
		t.Errorf("got %+v", r)
	}
}

// Generated assertions hold.
func TestGenerate(t *testing.T) {
	r := runAcme(t, map[string]string{".tests/t/parser.assert": "", ".tests/t/scenario.assert": "-"})
	if len(r.Generated) != 2 || r.OK() {
		t.Fatalf("generated %v, %v", r.Generated, r.Err)
	}
	again := runAcme(t, map[string]string{".tests/t/parser.assert": r.Generated[parserName], ".tests/t/scenario.assert": r.Generated[scenarioName]})
	if !again.OK() || again.Checked < 30 {
		t.Fatalf("of %d generated assertions fail %v, %v", again.Checked, again.Failures, again.Err)
	}
}

// Assertions may look at all that upstream's results have.
func TestMembers(t *testing.T) {
	r := runAcme(t, map[string]string{
		"parsers/s01-parse/acme/line.yaml":             strings.Replace(lineParser, "'2026-01-02T03:04:0' + evt.Parsed.n + 'Z'", "'2026-01-02T05:04:0' + evt.Parsed.n + '.5+02:00'", 1),
		"postoverflows/s01-whitelist/acme/pardon.yaml": "name: acme/pardon\nwhitelist: {reason: friends, ip: [192.0.2.1]}\n",
		"scenarios/acme/bf.yaml":                       bruteForce + "reprocess: true\n",
		".tests/t/config.yaml":                         "parsers: [acme/line, acme/line, acme/date]\nscenarios: [acme/bf]\npostoverflows: [acme/pardon]\nlabels: {n: 1}\nlog_file: x.log\nlog_type: acme\n",
		".tests/t/parser.assert": `len(results["s01-parse"]["acme/line"]) == 3
results["s01-parse"]["acme/line"][0].Evt.GetMeta("source_ip") == "192.0.2.1"
results["s01-parse"]["acme/line"][0].Evt.GetType() == "log"
results["s01-parse"]["acme/line"][0].Evt.Type == 0
results["s01-parse"]["acme/line"][0].Evt.ExpectMode == 1
results["s01-parse"]["acme/line"][0].Evt.Line.Labels["n"] == "1"
results["s01-whitelist"]["acme/pardon"][0].Evt.WhitelistReason == "friends"
results["s01-whitelist"]["acme/pardon"][0].Evt.Overflow.Alert.Source.Value == "192.0.2.1"
results["s01-whitelist"]["acme/pardon"][0].Evt.GetType() + results["s01-whitelist"]["acme/pardon"][0].Evt.GetMeta("source_ip") == "overflow192.0.2.1"
results["s01-parse"]["acme/line"][0].Evt.Overflow.Alert == nil
results["s01-parse"]["acme/line"][0].Idx == 1
results["s01-parse"]["acme/line"][0].Evt.Time.Year() > 2000 and not results["s01-parse"]["acme/line"][0].Evt.Line.Time.IsZero()
results["s02-enrich"]["acme/date"][0].Evt.Time.String() startsWith "2026-01-02 05:04:01.5 +0200"
`,
		".tests/t/scenario.assert": `len(results) == 1
results[0].Overflow.Whitelisted == true
results[0].Overflow.Reprocess == true
results[0].Whitelisted == true
results[0].Type == 1
results[0].GetType() == "overflow"
results[0].GetMeta("source_ip") == "192.0.2.1"
results[0].Overflow.APIAlerts[0].Source.IP == "192.0.2.1"
results[0].Overflow.Alert.Source.GetScope() == "Ip"
len(results[0].Overflow.Mapkey) == 40
results[0].Line.Raw == "" and results[0].StrTime == "" and not results[0].Time.IsZero()
results[0].Overflow.Alert.StartAt + results[0].Overflow.Alert.StopAt == "2026-01-02T05:04:01.5+02:002026-01-02T05:04:02.5+02:00"
`,
	})
	if !r.OK() || r.Checked != 25 {
		t.Fatal(r.Checked, r.Failures, r.Err, r.Warnings)
	}
}

// A source of another scope than Ip and Range has its value and nothing else.
func TestSourcesOfOtherScopes(t *testing.T) {
	r := runAcme(t, map[string]string{
		"scenarios/acme/bf.yaml": bruteForce + "scope: {type: place, expression: \"'here'\"}\n",
		".tests/t/scenario.assert": `len(results) == 1
results[0].Overflow.Sources["here"].IP + results[0].Overflow.Sources["here"].Range == ""
results[0].Overflow.Alert.Source.String() == "place:here"
`,
	})
	if !r.OK() {
		t.Fatal(r.Failures, r.Err)
	}
}

func TestOverrides(t *testing.T) {
	r := runAcme(t, map[string]string{
		".tests/t/config.yaml":   "parsers: [acme/line]\noverride_statics:\n - {target: evt.StrTime, value: 'a: \"b\"'}\n - {meta: m, expression: evt.Line.Raw}\nlog_file: x.log\nlog_type: acme\n",
		".tests/t/parser.assert": `results["s00-raw"]["overrides"][0].Evt.StrTime == "a: \"b\""` + "\n" + `results["s00-raw"]["overrides"][1].Evt.Meta["m"] == "nonsense"` + "\n",
	})
	if !r.OK() {
		t.Fatal(r.Failures, r.Err)
	}
}

// Data files are those of the hub, by the last part of their URL.
func TestDataFiles(t *testing.T) {
	withData := func(more map[string]string) *TestResult {
		more["scenarios/acme/bf.yaml"] = strings.Replace(bruteForce, "evt.Meta.source_ip != ''", "evt.Meta.source_ip in File('local.txt')", 1) +
			"data:\n - {source_url: 'https://host/path/remote.txt?v=1', dest_file: local.txt, type: string}\n"
		return runAcme(t, more)
	}
	if r := withData(map[string]string{"data/remote.txt": "192.0.2.1\n"}); !r.OK() {
		t.Error(r.Failures, r.Err)
	}
	if r := withData(map[string]string{".cache/data/local.txt": "192.0.2.1\n"}); !r.OK() {
		t.Error(r.Failures, r.Err)
	}
	// What is not there is only warned of. Here it matters.
	r := withData(map[string]string{"data/local.txt": "192.0.2.1\n"})
	if r.OK() || r.Record == nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "data file local.txt of https://host/path/remote.txt?v=1: file does not exist: looked for ") {
		t.Error(r.Failures, r.Err, r.Warnings)
	}
}

func TestIndex(t *testing.T) {
	r := runAcme(t, map[string]string{
		".index.json":          `{"parsers": {"acme/other": {"path": "parsers/s01-parse/acme/line.yaml", "stage": "s01-parse", "version": "0.1"}}, "scenarios": {"acme/bf": {"path": "scenarios/acme/bf.yaml"}}}`,
		".tests/t/config.yaml": "parsers: [acme/other, ./parsers/s02-enrich/acme/date.yaml]\nscenarios: [acme/bf]\nlog_file: x.log\nlog_type: acme\n",
	})
	if !r.OK() {
		t.Fatal(r.Failures, r.Err)
	}
}

func TestHubWithoutTests(t *testing.T) {
	if _, err := openHub(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("want an error")
	}
	if h, err := openHub(t.TempDir()); err != nil {
		t.Fatal(err)
	} else if _, err := h.Tests(); err == nil {
		t.Fatal("want an error")
	}
	h, err := openHub(acme(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../t", "none", ""} {
		if r := h.Test(context.Background(), name); r.OK() {
			t.Errorf("test %q passes", name)
		}
	}
}

// The dumps are what others read: keys and their case count.
func TestDumps(t *testing.T) {
	dir := acme(t, map[string]string{".tests/t/x.log": "192.0.2.1 1 a\nnonsense\n192.0.2.1 2 b\xff\n"})
	items := []hub.Item{
		{Kind: hub.Parser, Stage: "s01-parse", Path: "a", Data: []byte(lineParser)},
		{Kind: hub.Parser, Stage: "s02-enrich", Path: "b", Data: []byte(dateParser)},
		{Kind: hub.Scenario, Path: "c", Data: []byte(bruteForce)},
		{Kind: hub.PostOverflow, Stage: "s01-whitelist", Path: "d", Data: []byte("name: acme/pardon\nwhitelist: {reason: friends, ip: [192.0.2.1]}\n")},
	}
	rec, faulty, err := Run(context.Background(), Options{Engine: pipeline.Options{Content: hub.Content{Items: items}}, Events: true},
		file.NewReplay(file.Config{Globs: []string{filepath.Join(dir, ".tests/t/x.log")}, Labels: map[string]string{"type": "acme"}}))
	if err != nil || len(faulty) > 0 {
		t.Fatal(err, faulty)
	}
	out := filepath.Join(dir, "out", "deep")
	if err := rec.WriteDumps(out); err != nil {
		t.Fatal(err)
	}
	read := func(name string, to any) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, to); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return string(text)
	}
	var parsers map[string]map[string][]struct {
		Idx int
		Evt struct {
			Stage string         `yaml:"Stage"`
			Line  map[string]any `yaml:"Line"`
			Meta  map[string]any `yaml:"Meta"`
			Time  time.Time      `yaml:"Time"`
			Over  map[string]any `yaml:"Overflow"`
		}
		Success bool
	}
	text := read(ParserDump, &parsers)
	lines := parsers["s01-parse"]["acme/line"]
	if len(lines) != 3 || lines[0].Idx != 1 || !lines[0].Success || lines[1].Success || lines[0].Evt.Stage != "s02-enrich" ||
		lines[0].Evt.Line["process"] != true || lines[0].Evt.Meta["source_ip"] != "192.0.2.1" {
		t.Errorf("lines are %+v", lines)
	}
	if at := parsers["s02-enrich"]["acme/date"][0].Evt.Time; !at.Equal(time.Date(2026, 1, 2, 3, 4, 1, 0, time.UTC)) {
		t.Errorf("Time is %v", at)
	}
	if !strings.Contains(text, "\nsuccess:\n  \"\": []\n") || !strings.Contains(text, "!!binary MTkyLjAuMi4xIDIgYv8=") {
		t.Errorf("dump is\n%s", text)
	}
	var poured map[string][]struct {
		Stage string `yaml:"Stage"`
		Line  struct {
			Time time.Time `yaml:"time"`
		} `yaml:"Line"`
	}
	read(PourDump, &poured)
	if len(poured["OK"]) != 2 || len(poured["acme/bf"]) != 2 || poured["OK"][0].Stage != "s02-enrich" || poured["OK"][0].Line.Time.IsZero() ||
		poured["OK"][0].Line != poured["acme/bf"][0].Line || poured["OK"][0].Line == poured["OK"][1].Line {
		t.Errorf("poured are %v", poured)
	}
	if after := parsers["s01-whitelist"]["acme/pardon"]; len(after) != 1 || !after[0].Success || after[0].Evt.Line != nil || after[0].Evt.Over["MapKey"] == nil {
		t.Errorf("the postoverflow is %+v", after)
	}
	var overflows []struct {
		Type     int  `yaml:"Type"`
		Pardoned bool `yaml:"Whitelisted"`
		Overflow struct {
			MapKey  string                    `yaml:"MapKey"`
			Sources map[string]map[string]any `yaml:"Sources"`
			Alert   map[string]any            `yaml:"Alert"`
		} `yaml:"Overflow"`
		MarshaledTime string `yaml:"MarshaledTime"`
	}
	read(BucketDump, &overflows)
	if len(overflows) != 1 || overflows[0].Type != 1 || !overflows[0].Pardoned || overflows[0].MarshaledTime != "2026-01-02T03:04:02Z" ||
		overflows[0].Overflow.Sources["192.0.2.1"]["scope"] != "Ip" || len(overflows[0].Overflow.MapKey) != 40 {
		t.Fatalf("overflows are %+v", overflows)
	}
	if a := overflows[0].Overflow.Alert; a["createdat"] != "" || a["startat"] != "2026-01-02T03:04:01Z" || a["stopat"] != "2026-01-02T03:04:02Z" {
		t.Errorf("the alert is %v", a)
	}
	for _, key := range strings.Fields("capacity createdat decisions events eventscount id kind labels leakspeed machineid message meta remediation scenario scenariohash scenarioversion simulated source startat stopat uuid") {
		if _, ok := overflows[0].Overflow.Alert[key]; !ok {
			t.Errorf("an alert has no %s", key)
		}
	}
}
