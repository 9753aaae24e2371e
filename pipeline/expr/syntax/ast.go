package syntax

// Node is a part of the syntax tree: a pointer to one of the types below.
// Nodes may be shared: a < b < c is a < b && b < c with one node b.
type Node interface {
	// Where tells the place in the source.
	Where() Place
}

// Place is where a node stands in the source, in bytes.
type Place struct {
	Pos        int // what errors point at: the operator, the name after the dot
	Start, End int // the whole text of the node, without parentheses around it
}

// Where returns p: every node embeds its place.
func (p Place) Where() Place { return p }

// Text returns what is written at the place.
func (p Place) Text(src string) string { return src[p.Start:p.End] }

type (
	// Nil is nil.
	Nil struct{ Place }

	// Bool is true or false.
	Bool struct {
		Place
		Value bool
	}

	// Integer is 42, 1_000, 0x2a, 0o52 or 0b101010.
	Integer struct {
		Place
		Value int
	}

	// Float is 1.5, .5 or 1e3.
	Float struct {
		Place
		Value float64
	}

	// String is a quoted text without its quotes and escapes, or the name
	// after a dot or of a key in a map.
	String struct {
		Place
		Value string
	}

	// Bytes is b"…".
	Bytes struct {
		Place
		Value []byte
	}

	// Identifier is the name of a variable.
	Identifier struct {
		Place
		Value string
	}

	// Pointer is the current element of a predicate: # (also what stands
	// before the dot in .name), or #acc, #index.
	Pointer struct {
		Place
		Name string // without #
	}

	// Unary is !a, not a, -a or +a. a not in b is not over a in b.
	Unary struct {
		Place
		Operator string
		Node     Node
	}

	// Binary is a + b.
	Binary struct {
		Place
		Operator    string
		Left, Right Node
	}

	// Conditional is a ? b : c, a ?: c (with Cond and Exp1 the same node), or
	// if a { b } else { c }.
	Conditional struct {
		Place
		Ternary          bool // not written with if
		Cond, Exp1, Exp2 Node
	}

	// Chain is a run of dots with a ?. among them, which gives nil as a whole.
	Chain struct {
		Place
		Node Node
	}

	// Member is a.b, a?.b, a[b] or a?.[b]; after a dot Property is a String.
	Member struct {
		Place
		Node     Node
		Property Node
		Optional bool // ?.
		Method   bool // it is called
	}

	// Slice is a[from:to]; From and To may be nil.
	Slice struct {
		Place
		Node, From, To Node
	}

	// Call is f(a, b) or a.f(b); Callee is an Identifier or a Member.
	Call struct {
		Place
		Callee    Node
		Arguments []Node
	}

	// Builtin is the call of a function that belongs to the language.
	Builtin struct {
		Place
		Name      string
		Arguments []Node
	}

	// Predicate is the second argument of any, filter and the like, with or
	// without { }.
	Predicate struct {
		Place
		Node Node
	}

	// Let is let name = value; expr.
	Let struct {
		Place
		Name        string
		Value, Expr Node
	}

	// Sequence is a; b, which gives b.
	Sequence struct {
		Place
		Nodes []Node
	}

	// Array is [a, b].
	Array struct {
		Place
		Nodes []Node
	}

	// Map is {a: 1, "b": 2, (c): 3}.
	Map struct {
		Place
		Pairs []Pair
	}

	// Pair is a key with its value. The key is a String if it was written
	// without parentheses.
	Pair struct {
		Place
		Key, Value Node
	}
)

// Walk calls visit for a node and all below it, a shared one each time it is
// met.
func Walk(n Node, visit func(Node)) {
	visit(n)
	each := func(nodes ...Node) {
		for _, n := range nodes {
			if n != nil {
				Walk(n, visit)
			}
		}
	}
	switch n := n.(type) {
	case *Unary:
		each(n.Node)
	case *Binary:
		each(n.Left, n.Right)
	case *Conditional:
		each(n.Cond, n.Exp1, n.Exp2)
	case *Chain:
		each(n.Node)
	case *Member:
		each(n.Node, n.Property)
	case *Slice:
		each(n.Node, n.From, n.To)
	case *Call:
		each(n.Callee)
		each(n.Arguments...)
	case *Builtin:
		each(n.Arguments...)
	case *Predicate:
		each(n.Node)
	case *Let:
		each(n.Value, n.Expr)
	case *Sequence:
		each(n.Nodes...)
	case *Array:
		each(n.Nodes...)
	case *Map:
		for _, p := range n.Pairs {
			each(p.Key, p.Value)
		}
	}
}
