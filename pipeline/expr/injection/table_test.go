package injection

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	gotoken "go/token"
	"maps"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite table.go")

// TestTable makes table.go from the source of libinjection-go. With -update it
// writes the file.
func TestTable(t *testing.T) {
	keywords, events := libraryTables(t)

	var fingerprints []string
	sql := map[string]byte{}
	for word, mark := range keywords {
		switch {
		case mark == 'F':
			fingerprints = append(fingerprints, word[1:])
		case beginsWord(word): // else an operator: scan.go has those that are reached
			sql[word] = mark
		}
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "// Written by TestTable with -update, from libinjection-go v0.3.5. See LICENSE.\n\npackage injection")
	fmt.Fprintln(&b, "\n// sqlWords are keywords, functions and phrases of SQL, marked with the letter of their kind.")
	writeWords(&b, "sqlWords", sql)
	fmt.Fprintln(&b, "\n// htmlEvents are events of HTML's elements, without their \"ON\".")
	writeWords(&b, "htmlEvents", events)
	fmt.Fprintf(&b, "\n// The automaton of %d fingerprints.", len(fingerprints))
	writeAutomaton(&b, fingerprints)
	want, err := format.Source(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("table.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("table.go"); err != nil || !bytes.Equal(got, want) {
		t.Error("table.go is not that of the library: run the test with -update", err)
	}
}

func beginsWord(s string) bool { return isLetter(s[0]) || s[0] == '_' }

// libraryDir returns the folder of libinjection-go's source.
func libraryDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/corazawaf/libinjection-go").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir
	}
	t.Skip("the source of libinjection-go is not in the module cache:", err)
	return ""
}

// libraryTables returns the library's keywords with their letters ('F':
// fingerprints, behind a '0'), and its events of HTML.
func libraryTables(t testing.TB) (keywords, events map[string]byte) {
	dir := libraryDir(t)
	keywords, events = map[string]byte{}, map[string]byte{}
	for _, e := range library(t, dir, "sqli_data.go", "sqlKeywords") {
		pair := e.(*ast.KeyValueExpr)
		letter, _, _, err := strconv.UnquoteChar(strings.Trim(pair.Value.(*ast.BasicLit).Value, "'"), '\'')
		if err != nil {
			t.Fatal(err)
		}
		keywords[unquote(t, pair.Key)] = byte(letter)
	}
	for _, e := range library(t, dir, "xss_decls.go", "blackEvents") {
		parts := e.(*ast.CompositeLit).Elts
		if kind := parts[1].(*ast.Ident).Name; kind != "attributeTypeBlack" {
			t.Fatalf("an event is %s", kind)
		}
		events[unquote(t, parts[0])] = 'B'
	}
	return keywords, events
}

// library returns what a variable of the library is made of.
func library(t testing.TB, dir, file, name string) []ast.Expr {
	t.Helper()
	f, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(dir, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			if v, ok := s.(*ast.ValueSpec); ok && v.Names[0].Name == name {
				return v.Values[0].(*ast.CompositeLit).Elts
			}
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return nil
}

func unquote(t testing.TB, e ast.Expr) string {
	t.Helper()
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeWords(b *bytes.Buffer, name string, marks map[string]byte) {
	// By length, by the lower five bits of the first letter, by the alphabet.
	slot := func(word string) int { return len(word)*32 + int(word[0]&31) }
	list := slices.SortedFunc(maps.Keys(marks), func(v, w string) int {
		if d := slot(v) - slot(w); d != 0 {
			return d
		}
		return strings.Compare(v, w)
	})
	shortest, longest := len(list[0]), len(list[len(list)-1])
	fmt.Fprintf(b, "var %s = words{\nshortest: %d,\nlongest: %d,\ntext: \"\"", name, shortest, longest)
	begins := make([]int, (longest-shortest+1)*32+1)
	at, last := 0, -1
	var line strings.Builder
	flush := func() {
		if line.Len() > 0 {
			fmt.Fprintf(b, " +\n%q", line.String())
			line.Reset()
		}
	}
	for _, word := range list {
		if s := slot(word) - shortest*32; s != last || line.Len() > 100 {
			flush()
			for ; last < s; last++ {
				begins[last+1] = at
			}
		}
		line.WriteString(word)
		line.WriteByte(marks[word])
		at += len(word) + 1
	}
	flush()
	for last++; last < len(begins); last++ {
		begins[last] = at
	}
	fmt.Fprint(b, ",\nbegins: []uint16{")
	writeNumbers(b, begins)
	fmt.Fprint(b, "},\n}\n")
}

func writeNumbers(b *bytes.Buffer, list []int) {
	for i, n := range list {
		if i%20 == 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "%d, ", n)
	}
	fmt.Fprintln(b)
}

// node of a tree of fingerprints, then of the automaton.
type node struct {
	ends bool
	next map[int]*node // by the number of the kind's bit
	id   int
}

// writeAutomaton writes the smallest automaton for fingerprints of letters in
// upper case. 't' and 'T' are then two kinds with one letter.
func writeAutomaton(b *bytes.Buffer, fingerprints []string) {
	kinds := map[byte][]int{}
	for i := range len(letters) {
		u := upper(letters[i])
		kinds[u] = append(kinds[u], i)
	}
	slices.Sort(fingerprints)
	root := &node{next: map[int]*node{}}
	for _, f := range fingerprints {
		root.add(f, kinds)
	}
	same := map[string]*node{}
	states := root.merge(same).number(map[*node]bool{}, nil)

	var masks []uint32
	var edges, targets []int
	for _, s := range states {
		mask := uint32(0)
		edges = append(edges, len(targets))
		for _, k := range slices.Sorted(maps.Keys(s.next)) {
			mask |= 1 << k
			targets = append(targets, s.next[k].id)
		}
		if s.ends {
			mask |= printEnd
		}
		masks = append(masks, mask)
	}
	fmt.Fprint(b, "\nvar printKinds = [...]uint32{")
	for i, m := range masks {
		if i%10 == 0 {
			fmt.Fprintln(b)
		}
		fmt.Fprintf(b, "%#x, ", m)
	}
	fmt.Fprint(b, "\n}\n\nvar printEdges = [...]uint16{")
	writeNumbers(b, edges)
	fmt.Fprint(b, "}\n\nvar printTargets = [...]uint16{")
	writeNumbers(b, targets)
	fmt.Fprintln(b, "}")
}

func (n *node) add(fingerprint string, kinds map[byte][]int) {
	if fingerprint == "" {
		n.ends = true
		return
	}
	for _, k := range kinds[fingerprint[0]] {
		if n.next[k] == nil {
			n.next[k] = &node{next: map[int]*node{}}
		}
		n.next[k].add(fingerprint[1:], kinds)
	}
}

// merge makes nodes one that accept the same.
func (n *node) merge(same map[string]*node) *node {
	key := fmt.Sprint(n.ends)
	for _, k := range slices.Sorted(maps.Keys(n.next)) {
		n.next[k] = n.next[k].merge(same)
		key += fmt.Sprintf(" %d:%p", k, n.next[k])
	}
	if same[key] == nil {
		same[key] = n
	}
	return same[key]
}

// number gives states numbers in the order they are first met.
func (n *node) number(met map[*node]bool, states []*node) []*node {
	if met[n] {
		return states
	}
	met[n], n.id = true, len(states)
	states = append(states, n)
	for _, k := range slices.Sorted(maps.Keys(n.next)) {
		states = n.next[k].number(met, states)
	}
	return states
}

// TestTablesHoldWhatTheLibrarysDo asks for all words, and lists all fingerprints.
func TestTablesHoldWhatTheLibrarysDo(t *testing.T) {
	keywords, events := libraryTables(t)
	fingerprints := map[string]bool{}
	for word, mark := range keywords {
		switch {
		case mark == 'F':
			fingerprints[word[1:]] = true
		case beginsWord(word) && wordKind([]byte(word)) != letterKind(mark):
			t.Errorf("%s is not of kind %c", word, mark)
		}
	}
	for event := range events {
		if attributeOf("on"+strings.ToLower(event)) != script {
			t.Errorf("on%s is nothing", event)
		}
	}
	got := map[string]bool{}
	walk(0, "", got)
	if len(fingerprints) != 8367 || !maps.Equal(got, fingerprints) {
		t.Errorf("%d fingerprints, or others than the library's %d", len(got), len(fingerprints))
	}
}

// walk lists the fingerprints that the automaton accepts after a prefix.
func walk(state uint16, prefix string, list map[string]bool) {
	kinds := printKinds[state]
	if kinds&printEnd != 0 {
		list[prefix] = true
		kinds &^= printEnd
	}
	for _, next := range printTargets[printEdges[state]:][:bits.OnesCount32(kinds)] {
		k := kind(kinds & -kinds)
		walk(next, prefix+string(upper(k.letter())), list)
		kinds &= kinds - 1
	}
}
