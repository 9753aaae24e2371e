package explain

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/source"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lines is a source of some lines.
type lines []string

func (lines) Name() string { return "test" }

func (l lines) Run(ctx context.Context, out source.Sink) error {
	batch := make([]event.Line, len(l))
	for i, text := range l {
		batch[i] = event.Line{Raw: text, Src: "a.log", Module: "file", Labels: map[string]string{"type": "syslog"}, Mode: event.Replay, Time: testTime}
	}
	return out(ctx, batch, func() {})
}

var testTime = time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)

// treeContent is the starter set, a parser of documents and one that pardons.
func treeContent() hub.Content {
	c := hub.Base()
	add := func(kind hub.Kind, stage, name, text string) {
		c.Items = append(c.Items, hub.Item{Kind: kind, Stage: stage, Path: name, Name: name, Data: []byte(text)})
	}
	add(hub.Parser, "s01-parse", "json.yaml", `
name: test/json
filter: evt.Parsed.program == 'app'
onsuccess: next_stage
statics:
 - {meta: source_ip, value: 192.0.2.99}
 - {parsed: doc, expression: 'UnmarshalJSON(evt.Parsed.message, evt.Unmarshaled, "app")'}
`)
	add(hub.Parser, "s02-enrich", "friends.yaml", `
name: test/friends
description: x
whitelist: {reason: a friend, ip: [192.0.2.1]}
`)
	return c
}

func TestTree(t *testing.T) {
	input := lines{
		"Mar 14 10:00:00 box sshd[77]: Failed password for root from 192.0.2.7 port 40000 ssh2",
		"Mar 14 10:00:01 box sshd[77]: Failed password for root from 192.0.2.1 port 40000 ssh2",
		"Mar 14 10:00:02 box cron[78]: nothing of interest",
		`Mar 14 10:00:03 box app[79]: {"user": {"name": "x", "id": 7}, "ok": true}`,
		"\x1b[2J gar\xffbage",
	}
	f := func(name string, tree Tree) {
		t.Helper()
		tree.Plain = func(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }
		var got strings.Builder
		n, faulty, err := tree.Run(t.Context(), pipeline.Options{Content: treeContent(), Now: func() time.Time { return testTime }}, input, &got)
		if err != nil || len(faulty) > 0 || n != len(input) {
			t.Fatalf("%d lines, %v, %v", n, faulty, err)
		}
		path := filepath.Join("testdata", name)
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
			t.Errorf("%s (-update rewrites it), want -, got +:\n%s", name, diff)
		}
	}
	f("tree.txt", Tree{})
	f("tree-verbose.txt", Tree{Verbose: true})
	f("tree-failures.txt", Tree{Failures: true})
	f("tree-successful.txt", Tree{OnlySuccessful: true})
}

// Overflows go through documents as well, but they are no lines.
func TestTreeLeavesOutOverflows(t *testing.T) {
	c := treeContent()
	c.Items = append(c.Items,
		hub.Item{Kind: hub.PostOverflow, Stage: "s00-enrich", Path: "p.yaml", Data: []byte("name: test/after\nstatics: [{meta: a, value: b}]\n")})
	var input lines
	for i := range 8 {
		input = append(input, fmt.Sprintf("Mar 14 10:00:%02d box sshd[77]: Failed password for root from 192.0.2.7 port 40000 ssh2", i))
	}
	var got strings.Builder
	if _, _, err := (Tree{}).Run(t.Context(), pipeline.Options{Content: c}, input, &got); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.String(), "test/after") || strings.Count(got.String(), "parser success") != 8 {
		t.Errorf("got\n%s", got.String())
	}
}

// TestTreeOnManyProcessors wants the same text, line for line, from any number of
// workers, and one of them where a line may depend on those before it.
func TestTreeOnManyProcessors(t *testing.T) {
	var input lines
	for i := range 5000 {
		input = append(input, fmt.Sprintf("Mar 14 10:00:%02d box %s", i%60, []string{
			fmt.Sprintf("sshd[%d]: Failed password for root from 192.0.2.%d port %d ssh2", i, i%9, i),
			fmt.Sprintf("app[%d]: {\"user\": %d}", i, i),
			"cron[78]: nothing of interest",
		}[i%3]))
	}
	run := func(c hub.Content, workers int) string {
		t.Helper()
		var got strings.Builder
		opt := pipeline.Options{Content: c, Workers: workers, Now: func() time.Time { return testTime }}
		n, faulty, err := Tree{Verbose: true}.Run(t.Context(), opt, input, &got)
		if err != nil || len(faulty) > 0 || n != len(input) {
			t.Fatalf("%d lines, %v, %v", n, faulty, err)
		}
		return got.String()
	}
	same := func(c hub.Content) string {
		t.Helper()
		want := run(c, 1)
		for _, workers := range []int{2, 7} {
			if got := run(c, workers); got != want {
				t.Fatalf("%d workers print something else", workers)
			}
		}
		return want
	}
	same(treeContent())
	c := treeContent()
	c.Items = append(c.Items, hub.Item{Kind: hub.Parser, Stage: "s02-enrich", Path: "stash.yaml", Name: "stash.yaml", Data: []byte(`
name: test/last
stash:
 - {name: last, key: '"pid"', value: evt.Parsed.pid, ttl: 1h, size: 10}
statics: [{meta: before, expression: 'GetFromStash("last", "pid")'}]
`)})
	if !strings.Contains(same(c), "create evt.Meta.before : 4998\n") {
		t.Error("no line knows the one before it")
	}
}

type full struct{}

var errFullDisk = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFullDisk }

func TestTreeErrors(t *testing.T) {
	_, _, err := Tree{}.Run(t.Context(), pipeline.Options{Content: hub.Base()}, lines{"a"}, full{})
	if !errors.Is(err, errFullDisk) {
		t.Errorf("got %v", err)
	}
	c := hub.Content{Items: []hub.Item{{Kind: hub.Parser, Stage: "s00-raw", Path: "bad.yaml", Data: []byte("name: x\nfliter: y\n")}}}
	_, faulty, err := Tree{}.Run(t.Context(), pipeline.Options{Content: c}, lines{"a"}, io.Discard)
	if err != nil || len(faulty) != 1 {
		t.Errorf("%v, %v", faulty, err)
	}
}

// BenchmarkTree is what a line costs; loading is left out.
func BenchmarkTree(b *testing.B) {
	input := make(lines, b.N)
	for i := range input {
		input[i] = fmt.Sprintf("Mar 14 10:00:00 box sshd[%d]: Failed password for root from 198.51.100.%d port 40000 ssh2", i, i%250)
	}
	b.ReportAllocs()
	if _, _, err := (Tree{}).Run(b.Context(), pipeline.Options{Content: hub.Base()}, &timed{input, b}, io.Discard); err != nil {
		b.Fatal(err)
	}
}

// timed is a source that starts the clock.
type timed struct {
	lines
	b *testing.B
}

func (s *timed) Run(ctx context.Context, out source.Sink) error {
	s.b.ResetTimer()
	return s.lines.Run(ctx, out)
}
