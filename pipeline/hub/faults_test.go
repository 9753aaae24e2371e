package hub_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// faults is content that authors get wrong, by what is wrong with it.
var faults = []struct {
	name string
	kind hub.Kind
	text string
}{
	{"a misspelt key", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfliter: 'true'\n"},
	{"a misspelt key, deep", hub.Parser, "name: x\nnodes:\n - grok:\n    patern: '%{IP:a}'\n    apply_on: message\n"},
	{"a key that is there twice", hub.Parser, "name: x\nfilter: 'true'\nfilter: 'false'\nstatics: [{meta: a, value: b}]\n"},
	{"a number that is a text", hub.Scenario, "type: leaky\nname: x\ndescription: d\nfilter: 'true'\ncapacity: many\nleakspeed: 1s\n"},
	{"a list that is a text", hub.Parser, "name: x\nstatics: [{meta: a, value: b}]\nwhitelist: {reason: r, ip: 192.0.2.1}\n"},
	{"a duration without a unit", hub.Scenario, "type: leaky\nname: x\ndescription: d\nfilter: 'true'\ncapacity: 1\nleakspeed: 10\n"},
	{"no YAML", hub.Parser, "name: x\nstatics: [\n"},
	{"an unknown function", hub.Parser, "name: x\nfilter: Uper(evt.Parsed.program) == 'X'\nstatics: [{meta: a, value: b}]\n"},
	{"an unknown field", hub.Parser, "name: x\nfilter: evt.Prased.program == 'x'\nstatics: [{meta: a, value: b}]\n"},
	{"a comparison of a text with a number", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: evt.Meta.http_status == 404\n"},
	{"a filter that is no condition", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: len(evt.Meta.a)\n"},
	{"too few arguments", hub.Parser, "name: x\nstatics:\n - meta: a\n   expression: TrimPrefix(evt.Parsed.a)\n"},
	{"an expression that ends early", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: evt.Meta.a == 'x' &&\n"},
	{"a bad regexp in a filter", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: evt.Meta.a matches '(x'\n"},
	{"a bad regexp in a pattern", hub.Parser, "name: x\ngrok:\n  pattern: '(%{WORD:a}'\n  apply_on: message\n"},
	{"an unknown pattern", hub.Parser, "name: x\ngrok:\n  pattern: '%{IPP:a}'\n  apply_on: message\n"},
	{"a bad pattern of its own", hub.Parser, "name: x\npattern_syntax:\n  MINE: '[a'\ngrok: {pattern: '%{MINE:a}', apply_on: message}\n"},
	{"an address that is none", hub.Parser, "name: x\nwhitelist:\n  reason: r\n  cidr:\n   - 192.0.2.0/33\n"},
	{"an unknown kind of bucket", hub.Scenario, "type: leeky\nname: x\ndescription: d\nfilter: 'true'\n"},
	{"a bucket without capacity", hub.Scenario, "type: leaky\nname: x\ndescription: d\nfilter: 'true'\nleakspeed: 1s\n"},
	{"a condition that needs more than is kept", hub.Scenario, "type: conditional\nname: x\ndescription: d\nfilter: 'true'\nleakspeed: 1h\ncapacity: -1\ncondition: len(queue.Queue) > 1001\n"},
	{"a wrong onsuccess", hub.Parser, "name: x\nonsuccess: next\nstatics: [{meta: a, value: b}]\n"},
	{"a target that takes no text", hub.Parser, "name: x\nstatics:\n - target: evt.Whitelisted\n   value: x\n"},
	{"a static to nowhere", hub.Parser, "name: x\nstatics:\n - value: x\n"},
	{"an empty node", hub.Parser, "name: x\nfilter: 'true'\n"},
	{"an unknown data type", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: 'true'\ndata:\n - dest_file: words.txt\n   type: csv\n"},
	{"a data file that is not there", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: evt.Meta.a in File('word.txt')\ndata:\n - source_url: https://example.com/word.txt\n   dest_file: word.txt\n   type: string\n"},
	{"a data file with a bad regexp", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: RegexpInFile(evt.Meta.a, 'bad.regex')\ndata:\n - dest_file: bad.regex\n   type: regexp\n"},
	{"a table with a bad regexp", hub.Scenario, "type: trigger\nname: x\ndescription: d\nfilter: LookupFile(evt.Meta.a, 'bad.json') == 'x'\ndata:\n - dest_file: bad.json\n   type: map\n"},
	{"a context that is no expression", hub.Context, "context:\n  who: [evt.Mata.user]\n"},
	{"a postoverflow about a line", hub.PostOverflow, "name: x\nwhitelist:\n  reason: r\n  expression: [evt.Overflow.Alert.Sources.IP == 'x']\n"},
}

// What is wrong with content is told with file, line and key, and it leaves
// everything else working.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"words.txt": "a\n", "bad.regex": "fine\n(bad\n", "bad.json": `{"pattern":"(bad","tag":"x","type":"regex"}` + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got strings.Builder
	for _, f := range faults {
		c := hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s01-parse", Path: "good.yaml", Data: []byte("name: good\nstatics: [{meta: a, value: b}]\n")},
			{Kind: hub.Scenario, Path: "fine.yaml", Data: []byte("type: trigger\nname: fine\ndescription: d\nfilter: 'true'\n")},
		}}
		c.Items = append(c.Items, hub.Item{Kind: f.kind, Stage: "s01-parse", Path: "/etc/x/bad.yaml", Name: "bad", Data: []byte(f.text)})
		var told []string
		e, errs := pipeline.Load(pipeline.Options{Content: c, DataDir: dir, Warn: func(m string) { told = append(told, m) }})
		for _, err := range errs {
			told = append(told, err.Error())
		}
		fmt.Fprintf(&got, "%s:\n", f.name)
		for _, text := range told {
			fmt.Fprintf(&got, "\t%s\n", strings.ReplaceAll(strings.ReplaceAll(text, dir, "DATA"), "\n", "\n\t"))
		}
		if len(told) != 1 || !placed.MatchString(told[0]) {
			t.Errorf("%s: want one message with file, line and key, got %q", f.name, told)
		}
		if e.Stats().Parsers == 0 || !slices.Contains(e.Scenarios(), "fine") {
			t.Errorf("%s: other items are gone, too", f.name)
		}
	}
	path := filepath.Join("testdata", "faults.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-update rewrites it), want -, got +:\n%s", path, diff)
	}
}

// placed is a message with a place, FILE:LINE: KEY: what is wrong. What is no
// YAML has no keys, and a data file says itself which line of it is bad.
var placed = regexp.MustCompile(`(^|: )/etc/x/bad\.yaml(:[0-9]+: [a-zA-Z_.\[\]0-9]+: .|:[0-9]+: cannot parse YAML: .|: .*data file bad\.(regex .*expression 2 of 2|json are left out: error parsing regexp))`)

// Items share what any of them loads, whichever comes first.
func TestDataFilesAreShared(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"words.txt": "a\n", "rows.json": `{"pattern":"a","tag":"t","type":"equals"}` + "\n{}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	alerts := 0
	e, errs := pipeline.Load(pipeline.Options{
		DataDir: dir, Warn: func(m string) { told = append(told, m) }, Alert: func(decisions.Alert) { alerts++ },
		Content: hub.Content{Items: []hub.Item{
			{Kind: hub.Parser, Stage: "s00-raw", Path: "1.yaml", Data: []byte("name: one\nfilter: evt.Line.Raw in File('words.txt') && LookupFile(evt.Line.Raw, 'rows.json') == 't'\nstatics: [{meta: source_ip, value: 192.0.2.1}]\n")},
			{Kind: hub.Parser, Stage: "s00-raw", Path: "2.yaml", Data: []byte("name: two\nstatics: [{meta: a, value: b}]\ndata: [{dest_file: rows.json, type: map}]\n")},
			{Kind: hub.Scenario, Path: "3.yaml", Data: []byte("type: trigger\nname: three\ndescription: d\nfilter: evt.Meta.source_ip != ''\ndata: [{dest_file: words.txt, type: string}, {dest_file: none.txt, type: string}]\n")},
		}},
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	e.Process([]event.Line{{Raw: "a"}, {Raw: "b"}}, time.Now())
	if alerts != 1 {
		t.Errorf("%d alerts", alerts)
	}
	if len(told) != 2 || !strings.HasPrefix(told[0], "2.yaml:3: data[0].dest_file: cannot read row 2 of data file rows.json") || !strings.HasPrefix(told[1], "3.yaml:5: data[1].dest_file: cannot load data file none.txt") {
		t.Errorf("told %q", told)
	}
}
