package expr

import (
	"math"

	"cs/pipeline/expr/syntax"
)

// LeastLen returns how many elements a list must have for a condition to be
// true, as far as that can be seen from the condition: 0 is always right. The
// list is named by an expression as it stands in src, like "queue.Queue".
func LeastLen(src, list string) int {
	tree, err := syntax.Parse(src)
	if err != nil {
		return 0
	}
	l := leastLen{src: src, list: list, parts: map[string]bool{}}
	return l.of(tree)
}

type leastLen struct {
	src, list string
	parts     map[string]bool // names of what has no more elements than the list
}

// of returns what a condition needs.
func (l *leastLen) of(n syntax.Node) int {
	switch n := n.(type) {
	case *syntax.Let:
		if l.part(n.Value) {
			l.parts[n.Name] = true
		}
		return l.of(n.Expr)
	case *syntax.Binary:
		switch n.Operator {
		case "&&", "and":
			return max(l.of(n.Left), l.of(n.Right))
		case "||", "or":
			return min(l.of(n.Left), l.of(n.Right))
		}
		if k, ok := n.Right.(*syntax.Integer); ok && l.lenOfPart(n.Left) {
			return needed(n.Operator, k.Value)
		}
		if k, ok := n.Left.(*syntax.Integer); ok && l.lenOfPart(n.Right) {
			return needed(turned[n.Operator], k.Value)
		}
	case *syntax.Builtin:
		if n.Name == "any" && len(n.Arguments) > 0 && l.part(n.Arguments[0]) {
			return 1
		}
	}
	return 0
}

// turned are the operators that mean the same when the sides change places.
var turned = map[string]string{"<": ">", "<=": ">=", "==": "=="}

// needed is the least length for which: length op k.
func needed(op string, k int) int {
	switch op {
	case ">=", "==":
		return max(k, 0)
	case ">":
		return max(k+1, 0)
	}
	return 0
}

// lenOfPart recognises len(part).
func (l *leastLen) lenOfPart(n syntax.Node) bool {
	f, ok := n.(*syntax.Builtin)
	return ok && f.Name == "len" && len(f.Arguments) == 1 && l.part(f.Arguments[0])
}

// part recognises what has no more elements than the list.
func (l *leastLen) part(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.Identifier:
		return l.parts[n.Value]
	case *syntax.Slice:
		return l.part(n.Node)
	case *syntax.Builtin:
		return n.Name == "filter" && len(n.Arguments) > 0 && l.part(n.Arguments[0])
	case *syntax.Member:
		return n.Where().Text(l.src) == l.list
	}
	return false
}

// MostLen returns how many elements of lists a condition tells apart, as far as that
// can be seen: the greatest number that it compares a length with, or counts from the
// end of a list.
func MostLen(src string) (most int) {
	tree, err := syntax.Parse(src)
	if err != nil {
		return 0
	}
	fromEnd := func(n syntax.Node) {
		if k, ok := negative(n); ok {
			most = max(most, k)
		}
	}
	syntax.Walk(tree, func(n syntax.Node) {
		switch n := n.(type) {
		case *syntax.Binary:
			for _, side := range [][2]syntax.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
				f, isCall := side[0].(*syntax.Builtin)
				k, isInt := side[1].(*syntax.Integer)
				if isCall && isInt && (f.Name == "len" || f.Name == "count") && isComparison(n.Operator) && k.Value < math.MaxInt {
					most = max(most, k.Value+1)
				}
			}
		case *syntax.Slice:
			fromEnd(n.From)
			fromEnd(n.To)
		case *syntax.Member:
			fromEnd(n.Property)
		}
	})
	return most
}
