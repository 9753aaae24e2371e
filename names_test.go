//go:build !edge && !bouncer_only

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"cs/platform/sharedtest"
)

// The specification of cscli's command line: tables of commands and flags.
type specification struct {
	// commands are the groups by their rows: name, aliases, sub-commands.
	commands map[string]*specifiedGroup
	// flags are the names of flags, with dashes, by the words of the command.
	flags map[string][]string
}

type specifiedGroup struct {
	aliases, verbs []string
	use            string
}

var code = regexp.MustCompile("`([^`]*)`")

// words returns what stands in code in a text.
func codeWords(text string) (list []string) {
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// readSpecification reads sections 1.2 and 1.15 of spec/cli.md.
func readSpecification(t *testing.T) specification {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t), "spec", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := specification{commands: map[string]*specifiedGroup{}, flags: map[string][]string{}}
	section := ""
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, "### "); ok {
			section, _, _ = strings.Cut(after, " ")
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "¦"), "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "--") {
			continue
		}
		switch section {
		case "1.2":
			s.addGroup(cells)
		case "1.15":
			s.addFlags(strings.TrimSpace(cells[1]), cells[2])
		}
	}
	return s
}

// addGroup takes a row of 1.2: "`alerts` (`alert`) | list, inspect | … | core".
func (s *specification) addGroup(cells []string) {
	verbs := regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(cells[2], "") // aliases
	// `lapi` has a group below: "context {add, status}".
	verbs = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(verbs, "")
	verbs = strings.NewReplacer(": L", ",", ": D", ",", " - ", ",").Replace(verbs)
	var list []string
	for _, v := range strings.FieldsFunc(verbs, func(r rune) bool { return r == ',' || r == ' ' }) {
		if regexp.MustCompile(`^[a-z-]{2,}$`).MatchString(v) && v != "same" && v != "removed" {
			list = append(list, v)
		}
	}
	// One row may tell of several groups: "`parsers` (`parser`), `scenarios` (`scenario`)".
	for _, part := range strings.Split(cells[1], "), ") {
		names := codeWords(part)
		if len(names) == 0 {
			continue
		}
		var aliases []string
		for _, a := range names[1:] {
			aliases = append(aliases, strings.TrimSpace(a))
		}
		name, _, _ := strings.Cut(names[0], " ")
		s.commands[name] = &specifiedGroup{aliases, list, cells[len(cells)-2]}
	}
}

// addFlags takes a row of 1.15: "decisions add / delete | `-i/--ip` `-d` (4h) / `--id`".
func (s *specification) addFlags(commands, flags string) {
	group, rest, _ := strings.Cut(commands, " ")
	verbs := strings.Split(rest, " / ")
	parts := regexp.MustCompile(`\s/\s`).Split(flags, -1)
	for i, verb := range verbs {
		part := flags
		if len(parts) == len(verbs) {
			part = parts[i]
		}
		path := strings.TrimSpace(group + " " + verb)
		for _, w := range codeWords(part) {
			w, _, _ = strings.Cut(w, " ")
			for _, name := range strings.Split(strings.ReplaceAll(w, "¦", "/"), "/") {
				if strings.HasPrefix(name, "-") {
					s.flags[path] = append(s.flags[path], name)
				}
			}
		}
	}
}

// TestCommandsAndFlagsOfCscliExist looks up each command and flag of the core
// and common rows of the specification.
func TestCommandsAndFlagsOfCscliExist(t *testing.T) {
	spec := readSpecification(t)
	if len(spec.commands) < 25 || len(spec.flags) < 30 {
		t.Fatalf("the specification is misread: %d groups, flags of %d commands", len(spec.commands), len(spec.flags))
	}
	app, err := kong.New(newGrammar(), kong.Name("cscli"))
	if err != nil {
		t.Fatal(err)
	}
	find := func(words ...string) *kong.Node {
		node := app.Model.Node
		for _, w := range words {
			i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == w || slices.Contains(c.Aliases, w) })
			if i < 0 {
				return nil
			}
			node = node.Children[i]
		}
		return node
	}
	checked := 0
	for name, group := range spec.commands {
		if !strings.Contains(group.use, "core") && !strings.Contains(group.use, "common") {
			continue
		}
		if name == "help" { // is no command to kong
			continue
		}
		for _, called := range append([]string{name}, group.aliases...) {
			if checked++; find(called) == nil {
				t.Errorf("there is no %q", called)
			}
		}
		for _, verb := range group.verbs {
			if checked++; find(name, verb) == nil {
				t.Errorf("there is no %q", name+" "+verb)
			}
		}
	}
	for _, words := range [][]string{
		{"alerts", "remove"}, {"decisions", "remove"}, {"bouncers", "remove"}, {"machines", "remove"}, {"lapi", "context", "add"},
		{"lapi", "context", "status"}, {"lapi", "context", "detect"}, {"lapi", "context", "delete"}, {"parsers", "delete"},
	} {
		if checked++; find(words...) == nil {
			t.Errorf("there is no %q", words)
		}
	}
	for path, flags := range spec.flags {
		var nodes []*kong.Node
		words := strings.Fields(path)
		switch {
		case path == "lapi detect": // "lapi context add / detect"
			words = []string{"lapi", "context", "detect"}
		case strings.HasPrefix(path, "setup install-"):
			words[1] = strings.TrimSuffix(words[1], ",")
		}
		switch words[0] {
		case "ITEM":
			continue // in 1.8, in words
		case "hubtest", "doc", "explain":
			if words[len(words)-1] == "(all)" {
				words = words[:1]
			}
		case "metrics,", "metrics":
			words = []string{"metrics", "show"}
		case "setup,":
			for _, verb := range []string{"interactive", "unattended"} {
				nodes = append(nodes, find("setup", verb))
			}
		}
		if nodes == nil {
			nodes = append(nodes, find(words...))
		}
		for _, node := range nodes {
			if node == nil {
				t.Errorf("there is no %q", path)
				continue
			}
			for _, name := range flags {
				if checked++; !hasFlag(node, name) {
					t.Errorf("%s has no %s", path, name)
				}
			}
		}
	}
	for _, name := range []string{"-c", "--config", "-o", "--output", "--color", "--trace", "--debug", "--info", "--warning", "--error", "--branch", "-h", "--help"} {
		if checked++; !hasFlag(app.Model.Node, name) {
			t.Errorf("there is no %s", name)
		}
	}
	t.Logf("%d commands and flags", checked)
}

func hasFlag(node *kong.Node, name string) bool {
	for ; node != nil; node = node.Parent {
		for _, f := range node.Flags {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return true
			}
			for _, a := range f.Aliases {
				if name == "--"+a {
					return true
				}
			}
		}
	}
	return false
}

// TestFlagsOfCrowdsecExist looks up each flag of the daemon in section 2.1.
func TestFlagsOfCrowdsecExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t), "spec", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### 2.1 ")
	section, _, _ = strings.Cut(section, "### 2.2 ")
	var out bytes.Buffer
	_, err = parseDaemon([]string{"-h"}, daemonEnv(&out))
	if err != flag.ErrHelp {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, w := range codeWords(cells[1]) {
			for _, name := range strings.Fields(w) {
				if !strings.HasPrefix(name, "-") || name == "-winsvc" || name == "-h" {
					continue
				}
				if n++; !regexp.MustCompile(`(?m)^\s+` + name + `\b`).MatchString(out.String()) {
					t.Errorf("there is no %s", name)
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d flags were found", n)
	}
}
