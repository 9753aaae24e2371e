package expr

import "cs/pipeline/expr/syntax"

// LastOf tells how many elements of a list a condition looks at mostly, if those
// are the last ones; 0 if it looks at all. It may look at others now and then. The
// list is named as in LeastLen.
func LastOf(src, list string) int {
	tree, err := syntax.Parse(src)
	if err != nil {
		return 0
	}
	most, all := 1, false
	seen := map[syntax.Node]bool{} // mentions of the list that are accounted for
	isList := func(n syntax.Node) bool {
		m, ok := n.(*syntax.Member)
		return ok && m.Where().Text(src) == list
	}
	syntax.Walk(tree, func(n syntax.Node) {
		switch n := n.(type) {
		case *syntax.Let:
			if k, ok := lastOfFilter(n); ok {
				most = max(most, k)
				seen[n.Value.(*syntax.Builtin).Arguments[0]] = true
			}
		case *syntax.Builtin:
			if n.Name == "len" && len(n.Arguments) == 1 {
				seen[n.Arguments[0]] = true
			}
		case *syntax.Member:
			if k, ok := negative(n.Property); ok {
				most = max(most, k)
				seen[n.Node] = true
			}
			all = all || isList(n) && !seen[n]
		}
	})
	if all {
		return 0
	}
	return most
}

// lastOfFilter recognises a local that is a filtered list of which only the last
// elements play a part, and returns how many: the length is compared with less, and
// no more are looked at.
func lastOfFilter(l *syntax.Let) (most int, ok bool) {
	f, ok := l.Value.(*syntax.Builtin)
	if !ok || f.Name != "filter" || len(f.Arguments) != 2 {
		return 0, false
	}
	named := func(n syntax.Node) bool {
		id, ok := n.(*syntax.Identifier)
		return ok && id.Value == l.Name
	}
	lenOf := func(n syntax.Node) (syntax.Node, bool) {
		b, ok := n.(*syntax.Builtin)
		if !ok || b.Name != "len" || len(b.Arguments) != 1 || !named(b.Arguments[0]) {
			return nil, false
		}
		return b.Arguments[0], true
	}
	most, ok = 1, true
	seen := map[syntax.Node]bool{}
	syntax.Walk(l.Expr, func(n syntax.Node) {
		switch n := n.(type) {
		case *syntax.Binary:
			for _, side := range [][2]syntax.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
				id, isLen := lenOf(side[0])
				k, isInt := side[1].(*syntax.Integer)
				if !isLen || !isInt || !isComparison(n.Operator) {
					continue
				}
				before := most
				seen[id] = true
				most = max(most, k.Value+1) // more make no difference
				if n.Operator == ">=" && side[0] == n.Left {
					most = max(before, k.Value)
				}
			}
		case *syntax.Slice:
			if k, isNegative := negative(n.From); isNegative && n.To == nil && named(n.Node) {
				seen[n.Node] = true
				most = max(most, k)
			}
		case *syntax.Member:
			if k, isNegative := negative(n.Property); isNegative && named(n.Node) {
				seen[n.Node] = true
				most = max(most, k)
			}
		}
		ok = ok && (!named(n) || seen[n])
	})
	return most, ok && most <= maxLast
}

// maxLast is for how many elements it is worth it.
const maxLast = 64

// negative recognises -1, -2 and so on, and returns 1, 2 …
func negative(n syntax.Node) (int, bool) {
	u, ok := n.(*syntax.Unary)
	if !ok || u.Operator != "-" {
		return 0, false
	}
	k, ok := u.Node.(*syntax.Integer)
	if !ok || k.Value <= 0 {
		return 0, false
	}
	return k.Value, true
}

func isComparison(op string) bool {
	switch op {
	case "<", "<=", ">", ">=", "==", "!=":
		return true
	}
	return false
}
