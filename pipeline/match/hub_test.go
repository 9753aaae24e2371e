package match_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cs/pipeline/grok"
	"cs/pipeline/match"
	"cs/platform/sharedtest"

	"go.yaml.in/yaml/v3"
)

// hubGrok is a grok of the public parsers, or a pattern one may refer to.
type hubGrok struct {
	file, text string
	named      bool // defined for others, not used as it is
	pattern    *grok.Pattern
}

// hubGroks compiles every grok below parsers and postoverflows, and every
// pattern that is defined there or in stock, each expression
// once or twice.
func hubGroks(tb testing.TB) []hubGrok {
	tb.Helper()
	hub := filepath.Join(sharedtest.Dir(tb), "hub")
	var groks []hubGrok
	seen := map[string]bool{}
	add := func(file, text string, named bool, lib *grok.Library) {
		p, err := lib.Compile(text)
		if err != nil {
			tb.Errorf("%s: %v", file, err)
		} else if key := fmt.Sprint(named, p.Program()); !seen[key] {
			seen[key] = true
			groks = append(groks, hubGrok{file[len(hub)+1:], text, named, p})
		}
	}
	for _, top := range []string{"parsers", "postoverflows"} {
		lib := grok.Stock()
		var use []func()
		for _, file := range files(tb, filepath.Join(hub, top), ".yaml", ".yml") {
			data, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			d := yaml.NewDecoder(bytes.NewReader(data))
			for {
				var doc yaml.Node
				if err := d.Decode(&doc); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					tb.Errorf("%s: %v", file, err)
					break
				}
				walkNode(doc.Content[0], func(name, text string) {
					if lib.Define(name, text) == nil { // else the first definition stays
						use = append(use, func() { add(file, "%{"+name+"}", true, lib) })
					}
				}, func(g *yaml.Node) {
					text := value(g, "pattern").Value
					if text == "" {
						text = "%{" + value(g, "name").Value + "}"
					}
					use = append(use, func() { add(file, text, false, lib) })
				})
			}
		}
		for _, f := range use {
			f()
		}
	}
	stock := grok.Stock()
	for _, name := range stock.Names() {
		add(hub+"/stock", "%{"+name+"}", true, stock)
	}
	if len(groks) < 500 {
		tb.Fatalf("found only %d groks", len(groks))
	}
	return groks
}

// walkNode visits the pattern definitions and groks of a parser node.
func walkNode(node *yaml.Node, define func(name, text string), use func(*yaml.Node)) {
	defs := value(node, "pattern_syntax").Content
	for i := 0; i < len(defs); i += 2 {
		define(defs[i].Value, defs[i+1].Value)
	}
	if g := value(node, "grok"); g.Kind == yaml.MappingNode {
		use(g)
	}
	for _, n := range value(node, "nodes").Content {
		walkNode(n, define, use)
	}
}

// value returns the value of a key of a mapping, an empty node for none.
func value(m *yaml.Node, key string) *yaml.Node {
	for i := 0; m.Kind == yaml.MappingNode && i < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return new(yaml.Node)
}

func files(tb testing.TB, dir string, suffixes ...string) []string {
	tb.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains(suffixes, filepath.Ext(path)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// hubLines returns up to n lines of each test log of the hub, and what follows
// a syslog header in them, which is what most patterns are applied to.
func hubLines(tb testing.TB, n int) []string {
	tb.Helper()
	header := regexp.MustCompile(`^(?:<\d+>)?(?:\w{3} +\d+ [\d:]+|\d{4}-\S+) \S+ [^ :]+: `)
	var lines []string
	for _, file := range files(tb, filepath.Join(sharedtest.Dir(tb), "hub", ".tests"), ".log") {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		all := strings.Split(strings.TrimSpace(string(data)), "\n")
		for i := range min(n, len(all)) {
			line := all[i*len(all)/min(n, len(all))]
			lines = append(lines, line)
			if h := header.FindString(line); h != "" {
				lines = append(lines, line[len(h):])
			}
		}
	}
	if len(lines) < 200 {
		tb.Fatalf("found only %d lines", len(lines))
	}
	return lines
}

// mutate damages a line as hostile or broken senders do.
func mutate(rng *rand.Rand, line string, others []string) string {
	b := []byte(line)
	for range 1 + rng.IntN(3) {
		at := rng.IntN(len(b) + 1)
		switch rng.IntN(7) {
		case 0:
			b = b[:at]
		case 1:
			b = b[at:]
		case 2, 3, 4:
			extra := []string{"\xff", "\xc3", "\xe2\x84", "é", "日本", "\U0001f600", "\x00", "\n", "\r\n", "\ufffd",
				"2001:db8::1", "::ffff:1.2.3.4", "255.255.255.255", `"`, `\"`, " ", "  ", "[", "]", "\u212a", ":", "0", strings.Repeat("a.", 20)}
			b = slices.Insert(b, at, []byte(extra[rng.IntN(len(extra))])...)
		case 5:
			o := others[rng.IntN(len(others))]
			b = append(b[:at:at], o[rng.IntN(len(o)+1):]...)
		case 6:
			if at < len(b) {
				b[at] ^= 1 << rng.IntN(8)
			}
		}
	}
	return string(b)
}

var full = flag.Bool("full", false, "compare every line with every grok, and many more damaged ones")

// TestHubAgainstRegexp runs the groks of the public parsers over the lines of
// their tests and damaged ones, and wants every offset equal to regexp's. The
// log says which engine decided.
func TestHubAgainstRegexp(t *testing.T) {
	groks, lines := hubGroks(t), hubLines(t, 2)
	if *full {
		lines = hubLines(t, 5)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var total match.Counts
	served := map[string]int{}
	var coverage []string // texts that each engine decided, a line a grok
	compared, hits, fullBacktracks := 0, 0, uint64(0)
	for i, g := range groks {
		if testing.Short() && i%4 != 0 {
			continue
		}
		p := g.pattern.Program()
		re := regexp.MustCompile(p.String())
		small, err := match.CompileLimited(p.String(), p.Groups(), 60)
		if err != nil {
			t.Fatal(err)
		}
		var m, smallMachine match.Machine
		caps := make([]int32, 2+2*len(p.Groups()))
		smallCaps := slices.Clone(caps)
		try := func(s string) {
			if small.Match(&smallMachine, s, smallCaps) != p.Match(&m, s, caps) {
				t.Fatalf("%s: %s on %q: full automata give another verdict", g.file, g.text, s)
			}
			got := p.Match(&m, s, caps)
			loc := re.FindStringSubmatchIndex(s)
			if got != (loc != nil) {
				t.Fatalf("%s: %s on %q: got %v", g.file, g.text, s, got)
			}
			compared++
			if !got {
				return
			}
			hits++
			want := []int32{int32(loc[0]), int32(loc[1])}
			for _, n := range p.Groups() {
				want = append(want, int32(loc[2*n]), int32(loc[2*n+1]))
			}
			if !slices.Equal(caps, smallCaps) {
				t.Fatalf("%s: %s on %q: got %v, with full automata %v", g.file, g.text, s, caps, smallCaps)
			}
			if !slices.Equal(caps, want) {
				t.Fatalf("%s: %s on %q: got %v, want %v", g.file, g.text, s, caps, want)
			}
		}
		// regexp takes up to half a millisecond a line, so only some pairs of
		// line and pattern are compared, but above all those that match.
		var own []string
		like, unlike, damaged := 40, 10, 25
		switch {
		case *full:
			like, unlike, damaged = len(lines), len(lines), 1000
		case g.named || testing.Short():
			like, unlike, damaged = 10, 3, 6
		}
		for _, i := range rng.Perm(len(lines)) {
			var probe match.Machine
			switch hit := p.Match(&probe, lines[i], nil); {
			case hit && len(own) < like:
				try(lines[i])
				own = append(own, lines[i])
			case !hit && unlike > 0:
				try(lines[i])
				unlike--
			}
		}
		for range damaged {
			from := lines
			if len(own) > 0 && rng.IntN(8) > 0 {
				from = own
			}
			try(mutate(rng, from[rng.IntN(len(from))], lines))
		}
		fullBacktracks += smallMachine.Counts.Backtrack
		c := m.Counts
		total.Refused += c.Refused
		total.Forward += c.Forward
		total.Reverse += c.Reverse
		total.Backtrack += c.Backtrack
		total.Stdlib += c.Stdlib
		coverage = append(coverage, fmt.Sprintf("%6d refused by their literals, %6d forward, %6d reverse, %6d backtracker, %6d regexp: %s %.60q",
			c.Refused, c.Forward, c.Reverse, c.Backtrack, c.Stdlib, g.file, g.text))
		for _, e := range []struct {
			name string
			n    uint64
		}{{"forward", c.Forward}, {"reverse", c.Reverse}, {"backtracker", c.Backtrack}, {"regexp", c.Stdlib}} {
			if e.n > 0 {
				served[e.name]++
			}
		}
	}
	t.Logf("%d groks, %d lines, %d comparisons, %d matches", len(groks), len(lines), compared, hits)
	if testing.Verbose() {
		t.Log("which engine served which grok:\n" + strings.Join(coverage, "\n"))
	}
	t.Logf("decided by: %+v", total)
	t.Logf("with full automata: %d of the texts needed the backtracker", fullBacktracks)
	t.Logf("groks that needed an engine at least once: %v", served)
	if total.Stdlib > 0 {
		t.Errorf("regexp decided %d times", total.Stdlib)
	}
}
