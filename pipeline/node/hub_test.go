package node_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/grok"
	"cs/pipeline/hub"
	"cs/pipeline/node"
	"cs/platform/sharedtest"
	"cs/platform/strict"
)

// TestIndexesOfTheHub parses the logs of the public hub's tests, and mutations of
// them, with all parsers of the hub: through the indexes of stages and sets of groks
// and, as a runner with Trace does, by asking one filter or grok after the other. What comes out
// goes through an index of all scenario filters and through each of them.
func TestIndexesOfTheHub(t *testing.T) {
	dir := filepath.Join(sharedtest.Dir(t), "hub")
	content, _ := hub.Load(dir)
	schema := event.NewSchema()
	files := hub.NewFiles(filepath.Join(dir, "data"), nil)
	ec := &expr.Compiler{Schema: schema, Files: files}
	now := time.Date(2026, 3, 14, 10, 0, 0, 0, time.UTC)
	c := node.Compiler{Expr: ec, Grok: grok.Stock(), Files: files, Stashes: node.NewStashes(func() time.Time { return now })}
	var filters []*expr.Program
	for _, it := range content.Items {
		switch it.Kind {
		case hub.Parser:
			c.Add(it) // what does not load has tests elsewhere
		case hub.Scenario:
			docs, err := strict.Parse(it.Path, it.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range docs {
				var doc struct {
					Filter string `yaml:"filter"`
				}
				_ = d.Decode(&doc) // the other keys are unknown
				if p, err := ec.CompileBool(doc.Filter); err == nil {
					filters = append(filters, p)
				}
			}
		}
	}
	if len(filters) < 500 {
		t.Fatalf("only %d filters", len(filters))
	}
	index := expr.NewIndex(filters)
	stages := c.Stages()

	var failed [2][]string
	var runs [2]*node.Runner
	for i := range runs {
		x := &expr.Ctx{Event: event.New(schema), Now: now, Stash: c.Stashes}
		runs[i] = node.NewRunner(stages, x, func(node string, err error) { failed[i] = append(failed[i], node+": "+err.Error()) })
		runs[i].MayStash = func() bool { return false } // each would see what the other put there
	}
	runs[1].Trace = func(string, *node.Node, bool) {}

	parsed, hits := 0, 0
	try := func(l event.Line) {
		var understood [2]bool
		for i, r := range runs {
			failed[i] = nil
			r.Expr.Event.Reset(l)
			understood[i] = r.Run()
		}
		if got, want := state(runs[0].Expr.Event), state(runs[1].Expr.Event); understood[0] != understood[1] || !maps.Equal(got, want) || !slices.Equal(failed[0], failed[1]) {
			t.Fatalf("%q (%s): understood %v, want %v\n%v\nwant\n%v\nfailed %v\nwant %v", l.Raw, l.Labels["type"], understood[0], understood[1], got, want, failed[0], failed[1])
		}
		if !understood[0] {
			return
		}
		parsed++
		var got, want []string
		index.Run(runs[0].Expr, func(i int, err error) { got = append(got, fmt.Sprint(i, err)) })
		for i, p := range filters {
			if ok, err := p.Bool(runs[1].Expr); ok || err != nil {
				want = append(want, fmt.Sprint(i, err))
			}
		}
		if !slices.Equal(got, want) || !maps.Equal(state(runs[0].Expr.Event), state(runs[1].Expr.Event)) {
			t.Fatalf("%q (%s): filters %v, want %v", l.Raw, l.Labels["type"], got, want)
		}
		hits += len(got)
	}

	configs, err := filepath.Glob(filepath.Join(dir, ".tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		t.Fatal("there are no tests of the hub: ", err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for i, path := range configs {
		if testing.Short() && i%5 != 0 {
			continue
		}
		labels := map[string]string{"type": setting(t, path, "log_type")}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), setting(t, path, "log_file")))
		if err != nil {
			continue // a test of a WAF has no log
		}
		for raw := range strings.Lines(string(text)) {
			l := event.Line{Raw: strings.TrimSuffix(raw, "\n"), Src: "/var/log/x", Module: "file", Labels: labels, Mode: event.Replay}
			try(l)
			for range 2 {
				l.Raw = mutated(rng, l.Raw)
				try(l)
			}
		}
	}
	t.Logf("%d lines understood, %d filters true", parsed, hits)
	if parsed < 500 || hits < 200 {
		t.Errorf("only %d lines were understood, %d filters true", parsed, hits)
	}
}

// setting reads a key of a test's configuration.
func setting(t *testing.T, path, key string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + key + `:\s*["']?([^"'\s]*)`).FindStringSubmatch(string(text))
	if m == nil {
		return ""
	}
	return m[1]
}

// state returns everything that an event holds as text.
func state(e *event.Event) map[string]string {
	s := e.Schema()
	out := map[string]string{
		"Time": e.Time.String(), "StrTime": e.StrTime, "MarshaledTime": e.MarshaledTime, "Raw": e.Line.Raw, "Src": e.Line.Src,
		"Whitelisted": fmt.Sprint(e.Whitelisted, e.WhitelistReason), "Unmarshaled": fmt.Sprint(e.Docs()),
	}
	for i := range event.Slot(s.Len()) {
		if space, name := s.Name(i); e.Has(i) {
			out[space.String()+"."+name] = e.Get(i)
		}
	}
	return out
}

// mutated changes a line a little.
func mutated(r *rand.Rand, s string) string {
	if s == "" {
		return "x"
	}
	i, j := r.IntN(len(s)), r.IntN(len(s))
	i, j = min(i, j), max(i, j)
	switch r.IntN(6) {
	case 0:
		return s[:i] + s[j:]
	case 1:
		return s[:j] + s[i:]
	case 2:
		return s[:i] + []string{"é", "\u017f", "\u212a", "\xff", "\x00", "../", "${jndi:", "' OR 1=1"}[r.IntN(8)] + s[i:]
	case 3:
		return s[:i] + strings.ToUpper(s[i:j]) + s[j:]
	case 4:
		return strings.Replace(s, "200", []string{"404", "403", "401"}[r.IntN(3)], 1)
	}
	return s[:i] + string(s[j]) + s[i+1:]
}
