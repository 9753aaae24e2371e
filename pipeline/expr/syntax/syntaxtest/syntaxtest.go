// Package syntaxtest compares pipeline/expr/syntax with the parser that it
// replaces, github.com/expr-lang/expr. Tests that have expressions at hand call
// it; the product never links it.
package syntaxtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"cs/pipeline/expr/syntax"
)

// Result is what a comparison came to.
type Result string

// The results of Same, for counting.
const (
	BothAccept Result = "both accept"
	BothRefuse Result = "both refuse"
	Excepted   Result = "only expr-lang accepts, see exceptions"
)

// exceptions are the only texts that expr-lang takes and we don't.
var exceptions = []struct {
	why     string
	refusal *regexp.Regexp // our error
	somehow *regexp.Regexp // what else is in the source; nil: anything
}{
	{
		why:     "expr-lang bounds neither the size nor the nesting; nested deeply enough, it overflows the stack",
		refusal: regexp.MustCompile(`^it has \d+ bytes, the limit is|^the expression is nested more than`),
	},
	{
		why: "both bound the nodes, but we count shared ones each time they are met ((a ?: b) ?: c has a four times, " +
			"and takes the compiler as long), and the nodes of if, which expr-lang forgets",
		refusal: regexp.MustCompile(`^the expression has more than \d+ parts`),
	},
	{
		why:     "expr-lang takes a quoted operator for the operator after not: a not 'in' b",
		refusal: regexp.MustCompile(`^unexpected "not"`),
		somehow: regexp.MustCompile("not(?s:.*)[\"'`](in|matches|contains|startsWith|endsWith)"),
	},
	{
		why:     `expr-lang overflows in "\U80000041" and beyond, and takes the lowest byte`,
		refusal: regexp.MustCompile(`^bad escape \\U`),
		somehow: regexp.MustCompile(`\\U[89a-fA-F]`),
	},
}

// Same parses src with both parsers and fails the test unless both refuse it,
// or both accept it and the trees are equal, with the places of their nodes.
func Same(tb testing.TB, src string) Result {
	tb.Helper()
	ours, err := syntax.Parse(src)
	theirs, oracleErr := parser.Parse(src)
	switch {
	case err != nil && oracleErr != nil:
		return BothRefuse
	case oracleErr != nil:
		tb.Errorf("%q: expr-lang refuses it: %v", src, oracleErr)
		return BothAccept
	case err != nil:
		for _, e := range exceptions {
			if e.refusal.MatchString(err.Error()) && (e.somehow == nil || e.somehow.MatchString(src)) {
				return Excepted
			}
		}
		tb.Errorf("%q: only we refuse it: %v", src, err)
		return BothRefuse
	}
	check(tb, src, ours)
	got := (&dumper{src: src}).ours(ours)
	want := (&dumper{src: src}).theirs(theirs.Node)
	if got != want {
		tb.Errorf("%q:\n got %s\nwant %s", src, got, want)
	}
	return BothAccept
}

// maxNodes is what a walk may meet.
const maxNodes = 10_000

// check checks that the places of nodes are within the source, and that there
// are not too many nodes.
func check(tb testing.TB, src string, n syntax.Node) {
	tb.Helper()
	nodes := 0
	syntax.Walk(n, func(n syntax.Node) {
		nodes++
		w := n.Where()
		if w.Start < 0 || w.Start > w.Pos || w.Pos > w.End || w.End > len(src) {
			tb.Errorf("%q: %T has the place %+v", src, n, w)
		}
	})
	if nodes > maxNodes {
		tb.Errorf("%q has %d nodes", src, nodes)
	}
}

// dumper writes both kinds of trees in one canonical form: (kind@place parts).
type dumper struct{ src string }

// at counts characters up to a place of ours, as expr-lang's places do.
func (d *dumper) at(n syntax.Node) string {
	return strconv.Itoa(utf8.RuneCountInString(d.src[:n.Where().Pos]))
}

func node(kind, at string, parts ...string) string {
	return "(" + kind + "@" + at + " " + strings.Join(parts, " ") + ")"
}

func (d *dumper) oursOf(nodes []syntax.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, d.ours(n))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// place is left out of conditionals and pairs: ours are at the ? and at the
// key, expr-lang's behind the end, at 0, and at the brace.
const noPlace = "-"

func (d *dumper) ours(n syntax.Node) string {
	if n == nil {
		return "none"
	}
	at := d.at(n)
	switch n := n.(type) {
	case *syntax.Nil:
		return node("nil", at)
	case *syntax.Bool:
		return node("bool", at, strconv.FormatBool(n.Value))
	case *syntax.Integer:
		return node("int", at, strconv.Itoa(n.Value))
	case *syntax.Float:
		return node("float", at, strconv.FormatFloat(n.Value, 'g', -1, 64))
	case *syntax.String:
		return node("string", at, strconv.Quote(n.Value))
	case *syntax.Bytes:
		return node("bytes", at, fmt.Sprintf("%x", n.Value))
	case *syntax.Identifier:
		return node("name", at, n.Value)
	case *syntax.Pointer:
		return node("pointer", at, n.Name)
	case *syntax.Unary:
		return node("unary", at, n.Operator, d.ours(n.Node))
	case *syntax.Binary:
		return node("binary", at, n.Operator, d.ours(n.Left), d.ours(n.Right))
	case *syntax.Conditional:
		return node("if", noPlace, strconv.FormatBool(n.Ternary), d.ours(n.Cond), d.ours(n.Exp1), d.ours(n.Exp2))
	case *syntax.Chain:
		return node("chain", at, d.ours(n.Node))
	case *syntax.Member:
		return node("member", at, d.ours(n.Node), d.ours(n.Property), fmt.Sprint(n.Optional, n.Method))
	case *syntax.Slice:
		return node("slice", at, d.ours(n.Node), d.ours(n.From), d.ours(n.To))
	case *syntax.Call:
		return node("call", at, d.ours(n.Callee), d.oursOf(n.Arguments))
	case *syntax.Builtin:
		return node("builtin", at, n.Name, d.oursOf(n.Arguments))
	case *syntax.Predicate:
		return node("predicate", at, d.ours(n.Node))
	case *syntax.Let:
		return node("let", at, n.Name, d.ours(n.Value), d.ours(n.Expr))
	case *syntax.Sequence:
		return node("sequence", d.sequenceAt(at, n.Nodes[0]), d.oursOf(n.Nodes))
	case *syntax.Array:
		return node("array", at, d.oursOf(n.Nodes))
	case *syntax.Map:
		var pairs []string
		for _, p := range n.Pairs {
			pairs = append(pairs, node("pair", noPlace, d.ours(p.Key), d.ours(p.Value)))
		}
		return node("map", at, "["+strings.Join(pairs, " ")+"]")
	}
	panic(fmt.Sprintf("unknown node %T", n))
}

// sequenceAt leaves the place out if the sequence has it from a conditional.
func (d *dumper) sequenceAt(at string, first any) string {
	switch first.(type) {
	case *syntax.Conditional, *ast.ConditionalNode:
		return noPlace
	}
	return at
}

func (d *dumper) theirsOf(nodes []ast.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, d.theirs(n))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func (d *dumper) theirs(n ast.Node) string {
	if n == nil {
		return "none"
	}
	at := strconv.Itoa(n.Location().From)
	switch n := n.(type) {
	case *ast.NilNode:
		return node("nil", at)
	case *ast.BoolNode:
		return node("bool", at, strconv.FormatBool(n.Value))
	case *ast.IntegerNode:
		return node("int", at, strconv.Itoa(n.Value))
	case *ast.FloatNode:
		return node("float", at, strconv.FormatFloat(n.Value, 'g', -1, 64))
	case *ast.StringNode:
		return node("string", at, strconv.Quote(n.Value))
	case *ast.BytesNode:
		return node("bytes", at, fmt.Sprintf("%x", n.Value))
	case *ast.IdentifierNode:
		return node("name", at, n.Value)
	case *ast.PointerNode:
		return node("pointer", at, n.Name)
	case *ast.UnaryNode:
		return node("unary", at, n.Operator, d.theirs(n.Node))
	case *ast.BinaryNode:
		return node("binary", at, n.Operator, d.theirs(n.Left), d.theirs(n.Right))
	case *ast.ConditionalNode:
		return node("if", noPlace, strconv.FormatBool(n.Ternary), d.theirs(n.Cond), d.theirs(n.Exp1), d.theirs(n.Exp2))
	case *ast.ChainNode:
		return node("chain", at, d.theirs(n.Node))
	case *ast.MemberNode:
		return node("member", at, d.theirs(n.Node), d.theirs(n.Property), fmt.Sprint(n.Optional, n.Method))
	case *ast.SliceNode:
		return node("slice", at, d.theirs(n.Node), d.theirs(n.From), d.theirs(n.To))
	case *ast.CallNode:
		return node("call", at, d.theirs(n.Callee), d.theirsOf(n.Arguments))
	case *ast.BuiltinNode:
		return node("builtin", at, n.Name, d.theirsOf(n.Arguments))
	case *ast.PredicateNode:
		return node("predicate", at, d.theirs(n.Node))
	case *ast.VariableDeclaratorNode:
		return node("let", at, n.Name, d.theirs(n.Value), d.theirs(n.Expr))
	case *ast.SequenceNode:
		return node("sequence", d.sequenceAt(at, n.Nodes[0]), d.theirsOf(n.Nodes))
	case *ast.ArrayNode:
		return node("array", at, d.theirsOf(n.Nodes))
	case *ast.MapNode:
		var pairs []string
		for _, p := range n.Pairs {
			pair := p.(*ast.PairNode)
			pairs = append(pairs, node("pair", noPlace, d.theirs(pair.Key), d.theirs(pair.Value)))
		}
		return node("map", at, "["+strings.Join(pairs, " ")+"]")
	}
	panic(fmt.Sprintf("unknown node %T", n))
}
