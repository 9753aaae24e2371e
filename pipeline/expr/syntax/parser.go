// Package syntax parses the expressions of content and of configuration: the
// grammar of github.com/expr-lang/expr v1.17.8, with the precedence of its
// operators and the shape of its trees, but linking nothing of it. Sources are
// hostile: their size, their nesting and the nodes they make are bounded, so a
// tree can be walked by recursion.
//
// It knows no types, no variables and no function but by name: that is
// pipeline/expr, its only caller.
package syntax

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxSource bounds the text of one expression, in bytes. The longest one of
	// the public hub has 5,000.
	maxSource = 64 << 10

	// maxDepth bounds how deep expressions are nested in each other: so much
	// parsing recurses. The public hub needs 11.
	maxDepth = 1000

	// maxNodes bounds the tree, as expr-lang does. A node that is shared counts
	// each time that a walk meets it, for a walk through a doubled node within
	// a doubled node takes exponential time.
	maxNodes = 10_000
)

// Parse parses an expression. The error is an *Error, or says that there is no
// text or too much of it.
func Parse(src string) (Node, error) {
	if len(src) > maxSource {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(src), maxSource)
	}
	if strings.TrimSpace(src) == "" {
		return nil, errors.New("it is empty")
	}
	p := &parser{lexer: lexer{src: src}}
	p.advance()
	n := p.sequence()
	if p.tok.kind != endToken {
		p.unexpected("")
	}
	if p.err != nil {
		return nil, p.err
	}
	return n, nil
}

// parser is a parser by recursive descent. After an error there are only
// endTokens, so every loop ends, and what is built then is thrown away.
type parser struct {
	lexer
	tok        token // the current one
	last       int   // where the one before it ends
	depth      int   // expressions that the current one is within
	predicates int   // of these, predicates
	nodes      int
}

// advance goes to the next token.
func (p *parser) advance() {
	p.last = p.tok.end
	p.tok = p.next()
}

// peek returns the token after the current one.
func (p *parser) peek() token {
	ahead := p.lexer
	return ahead.next()
}

// fail records the first error, and ends the source.
func (p *parser) fail(pos int, format string, args ...any) {
	p.lexer.fail(pos, format, args...)
	p.tok = token{pos: len(p.src), end: len(p.src)}
}

// unexpected refuses the current token; instead is what should be there, or "".
func (p *parser) unexpected(instead string) {
	what, pos := strconv.Quote(p.tok.text), p.tok.pos
	switch p.tok.kind {
	case endToken:
		what, pos = "end of expression", p.last
	case nameToken:
		what = "name " + p.tok.text
	case numberToken:
		what = "number " + p.tok.text
	case textToken, bytesToken:
		what = "text"
	case pointerToken:
		what = strconv.Quote("#" + p.tok.text)
	}
	if instead != "" {
		instead = ", expected " + instead
	} else if p.is("=") {
		instead = " (did you mean ==?)"
	}
	p.fail(pos, "unexpected %s%s", what, instead)
}

// is is true if the current token is an operator, bracket or keyword.
func (p *parser) is(op string) bool { return p.tok.kind == operatorToken && p.tok.text == op }

// expect goes past an operator or bracket that must be there.
func (p *parser) expect(op string) {
	if !p.is(op) {
		p.unexpected(strconv.Quote(op))
		return
	}
	p.advance()
}

// close goes past the bracket that belongs to an opened one.
func (p *parser) close(open token, bracket string) {
	if p.tok.kind == endToken {
		p.fail(open.pos, "the %s is not closed", open.text)
		return
	}
	p.expect(bracket)
}

// name goes past a name that must be there, and returns it.
func (p *parser) name() token {
	t := p.tok
	if t.kind != nameToken {
		p.unexpected("a name")
		return t
	}
	p.advance()
	return t
}

// place makes the place of a node that ends before the current token, and
// counts the node. The # that .name leaves out has no length.
func (p *parser) place(start, pos int) Place {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(pos, "the expression has more than %d parts", maxNodes)
	}
	return Place{Pos: pos, Start: start, End: max(start, p.last)}
}

// sequence parses a; b.
func (p *parser) sequence() Node {
	start := p.tok.pos
	nodes := []Node{p.expression(0)}
	for p.is(";") {
		p.advance()
		if p.tok.kind == endToken {
			break // a; is a, but only at the end of the source
		}
		nodes = append(nodes, p.expression(0))
	}
	if len(nodes) == 1 {
		return nodes[0]
	}
	return &Sequence{p.place(start, nodes[0].Where().Pos), nodes}
}

// levelOf returns the level of a binary operator: what has a higher one binds tighter.
func levelOf(operator string) (level int, ok bool) {
	switch operator {
	case "|":
		return 0, true
	case "or", "||":
		return 10, true
	case "and", "&&":
		return 15, true
	case "==", "!=", "<", ">", "<=", ">=", "in", "matches", "contains", "startsWith", "endsWith":
		return 20, true
	case "..":
		return 25, true
	case "+", "-":
		return 30, true
	case "*", "/", "%":
		return 60, true
	case "**", "^":
		return 100, true
	case "??":
		return 500, true
	}
	return 0, false
}

// Levels of the unary operators.
const (
	notLevel  = 50
	signLevel = 90
)

// isNegatable is true for the operators that may have a not before them.
func isNegatable(t token) bool {
	if t.kind != operatorToken {
		return false
	}
	switch t.text {
	case "in", "matches", "contains", "startsWith", "endsWith":
		return true
	}
	return false
}

// isOrder is true for the operators of chains like a < b < c.
func isOrder(t token) bool {
	if t.kind != operatorToken {
		return false
	}
	switch t.text {
	case "<", ">", "<=", ">=":
		return true
	}
	return false
}

// expression parses operations of the given level and above. On level 0 there
// are let, if, the pipe and ?: as well.
func (p *parser) expression(least int) Node {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok.pos, "the expression is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if least == 0 && p.is("let") {
		return p.let()
	}
	if least == 0 && p.is("if") {
		return p.branch()
	}
	start, before := p.tok.pos, p.nodes
	n := p.operations(start, least)
	if least == 0 {
		n = p.ternary(start, n, before)
	}
	return n
}

// operations parses a + b * c, as far as the operators are of the level.
func (p *parser) operations(start, least int) Node {
	n := p.operand()
	for last := ""; ; {
		op, negated := p.tok, false
		if p.is("not") {
			op = p.peek()
			negated = isNegatable(op)
			if !negated {
				return n
			}
		}
		level, ok := levelOf(op.text)
		if op.kind != operatorToken || !ok || level < least {
			return n
		}
		p.advance()
		if negated {
			p.advance()
		}
		switch {
		case op.text == "|":
			n = p.call(start, p.name(), []Node{n})
		case last == "??" && op.text != "??":
			p.fail(op.pos, "%s and ?? can't be mixed: put one of them in parentheses", op.text)
		case isOrder(op):
			n = p.order(start, n, op, level)
		default:
			above := level + 1
			if op.text == "**" || op.text == "^" {
				above = level // from right to left
			}
			right := p.expression(above)
			n = &Binary{p.place(start, op.pos), op.text, n, right}
			if negated {
				n = &Unary{p.place(start, op.pos), "not", n}
			}
		}
		last = op.text
	}
}

// order parses what follows a in a < b < c, which is a < b && b < c.
func (p *parser) order(start int, left Node, op token, level int) Node {
	var all Node
	for from := start; ; {
		next, before := p.tok.pos, p.nodes
		right := p.expression(level + 1)
		weight := p.nodes - before
		n := &Binary{p.place(from, op.pos), op.text, left, right}
		if all == nil {
			all = n
		} else {
			all = &Binary{p.place(start, op.pos), "&&", all, n}
		}
		if !isOrder(p.tok) {
			return all
		}
		op, left, from = p.tok, right, next
		p.nodes += weight
		p.advance()
	}
}

// ternary parses what follows a condition: ? b : c or ?: c, maybe several
// times. before is the number of nodes before the condition.
func (p *parser) ternary(start int, n Node, before int) Node {
	for p.is("?") {
		op := p.tok
		p.advance()
		yes := n
		if p.is(":") {
			p.advance()
			p.nodes += p.nodes - before
		} else {
			yes = p.expression(0)
			p.expect(":")
		}
		no := p.expression(0)
		n = &Conditional{p.place(start, op.pos), true, n, yes, no}
	}
	return n
}

// let parses let name = value; expr.
func (p *parser) let() Node {
	start := p.tok.pos
	p.advance()
	name := p.name()
	p.expect("=")
	value := p.expression(0)
	p.expect(";")
	body := p.sequence()
	return &Let{p.place(start, name.pos), name.text, value, body}
}

// branch parses if a { b } else { c }, or else if.
func (p *parser) branch() Node {
	op := p.tok
	p.advance()
	cond := p.expression(0)
	yes := p.block()
	p.expect("else")
	var no Node
	if p.is("if") {
		no = p.expression(0)
	} else {
		no = p.block()
	}
	return &Conditional{p.place(op.pos, op.pos), false, cond, yes, no}
}

func (p *parser) block() Node {
	open := p.tok
	p.expect("{")
	n := p.sequence()
	p.close(open, "}")
	return n
}

// operand parses what stands between binary operators.
func (p *parser) operand() Node {
	tok := p.tok
	start := tok.pos
	switch tok.kind {
	case nameToken:
		p.advance()
		switch tok.text {
		case "true", "false":
			return &Bool{p.place(start, start), tok.text == "true"} // no dot or index may follow
		case "nil":
			return &Nil{p.place(start, start)}
		}
		if p.is("(") {
			return p.postfix(start, p.call(start, tok, nil))
		}
		return p.postfix(start, &Identifier{p.place(start, start), tok.text})
	case numberToken:
		p.advance()
		return p.number(tok) // no dot or index may follow
	case textToken:
		p.advance()
		return p.postfix(start, &String{p.place(start, start), tok.text})
	case bytesToken:
		p.advance()
		return p.postfix(start, &Bytes{p.place(start, start), []byte(tok.text)})
	case pointerToken:
		if p.predicates == 0 {
			p.fail(start, "# is there only within a predicate, as in any(list, {# > 0})")
			break
		}
		p.advance()
		name := tok.text
		if name == "" && p.tok.kind == nameToken {
			name = p.tok.text // # index is #index
			p.advance()
		}
		return p.postfix(start, &Pointer{p.place(start, start), name})
	case operatorToken:
		switch tok.text {
		case "not", "!":
			return p.unary(notLevel)
		case "-", "+":
			return p.unary(signLevel)
		case "(":
			p.advance()
			n := p.sequence()
			p.close(tok, ")")
			return p.postfix(start, n)
		case "[":
			return p.postfix(start, p.array())
		case "{":
			return p.postfix(start, p.mapping())
		case ".":
			if p.predicates > 0 { // .x is #.x
				return p.postfix(start, &Pointer{Place: p.place(start, start)})
			}
		case "::": // what follows is a function of the language, whatever else has its name
			p.advance()
			return p.postfix(start, p.call(start, p.name(), nil))
		}
	}
	p.unexpected("")
	return &Nil{}
}

func (p *parser) unary(level int) Node {
	op := p.tok
	p.advance()
	operand := p.expression(level)
	return p.postfix(op.pos, &Unary{p.place(op.pos, op.pos), op.text, operand})
}

// number makes the node of a number. Underscores may stand anywhere but at the
// start, and a leading 0 is just a digit.
func (p *parser) number(tok token) Node {
	digits := strings.ReplaceAll(tok.text, "_", "")
	base := 10
	if len(digits) > 1 && strings.ContainsAny(digits[1:2], "xXoObB") {
		base = 0 // the prefix tells
	} else if strings.ContainsAny(digits, ".eE") {
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			p.badNumber(tok, err)
		}
		return &Float{p.place(tok.pos, tok.pos), f}
	}
	i, err := strconv.ParseInt(digits, base, strconv.IntSize)
	if err != nil {
		p.badNumber(tok, err)
	}
	return &Integer{p.place(tok.pos, tok.pos), int(i)}
}

func (p *parser) badNumber(tok token, err error) {
	if errors.Is(err, strconv.ErrRange) {
		p.fail(tok.pos, "number %s is too large", tok.text)
		return
	}
	p.fail(tok.pos, "%s is no number", tok.text)
}

// postfix parses the dots, indexes and slices behind an operand.
func (p *parser) postfix(start int, n Node) Node {
	for {
		switch {
		case p.is("["):
			n = p.index(start, n, false)
		case p.is("."):
			p.advance()
			n = p.dot(start, n, false)
		case p.is("?."):
			p.advance()
			if p.is("[") {
				n = p.index(start, n, true)
			} else {
				n = p.dot(start, n, true)
			}
		default:
			return n
		}
	}
}

// dot parses the name behind a dot, and the arguments of a method.
func (p *parser) dot(start int, n Node, optional bool) Node {
	name := p.tok
	if name.kind != nameToken && !(name.kind == operatorToken && isKeyword(name.text)) {
		p.unexpected("a name")
		return n
	}
	p.advance()
	chain, chained := n.(*Chain)
	if chained {
		n = chain.Node
	}
	m := &Member{p.place(start, name.pos), n, &String{p.place(name.pos, name.pos), name.text}, optional, p.is("(")}
	n = m
	if m.Method {
		args := p.arguments(nil)
		n = &Call{p.place(start, name.pos), m, args}
	}
	if chained || optional {
		n = &Chain{p.place(start, name.pos), n}
	}
	return n
}

// index parses [i] or [from:to].
func (p *parser) index(start int, n Node, optional bool) Node {
	open := p.tok
	p.advance()
	var i Node
	if !p.is(":") {
		i = p.expression(0)
	}
	if p.is(":") {
		p.advance()
		var to Node
		if !p.is("]") {
			to = p.expression(0)
		}
		p.close(open, "]")
		return &Slice{p.place(start, open.pos), n, i, to}
	}
	p.close(open, "]")
	n = &Member{p.place(start, open.pos), n, i, optional, false}
	if optional {
		n = &Chain{p.place(start, open.pos), n}
	}
	return n
}

// call parses the arguments of a function. args holds what a pipe gives it.
func (p *parser) call(start int, name token, args []Node) Node {
	if s, ok := predicate(name.text); ok {
		args = p.predicateArguments(name, s, args)
	} else {
		args = p.arguments(args)
	}
	if isBuiltin(name.text) {
		return &Builtin{p.place(start, name.pos), name.text, args}
	}
	callee := &Identifier{Place{name.pos, name.pos, name.end}, name.text}
	p.nodes++
	return &Call{p.place(start, name.pos), callee, args}
}

// arguments parses (a, b) and appends to args.
func (p *parser) arguments(args []Node) []Node {
	open, piped := p.tok, len(args)
	p.expect("(")
	return p.list(open, ")", args, piped)
}

// list parses what is between brackets and separated by commas, the last of
// which may be followed by one; the first has its place in nodes at i.
func (p *parser) list(open token, bracket string, nodes []Node, i int) []Node {
	for !p.is(bracket) && p.tok.kind != endToken {
		if len(nodes) > i {
			p.expect(",")
			if p.is(bracket) {
				break
			}
		}
		nodes = append(nodes, p.expression(0))
	}
	p.close(open, bracket)
	return nodes
}

// predicateArguments parses (list, predicate) and for some functions a third
// argument; a pipe gives the list.
func (p *parser) predicateArguments(name token, s signature, args []Node) []Node {
	open, piped := p.tok, len(args)
	p.expect("(")
	for i := piped; i < s.most; i++ {
		if p.is(")") {
			if i < s.least {
				p.fail(p.tok.pos, "%s needs %s", name.text, [...]string{"a list", "a predicate"}[i])
			}
			break
		}
		if i > piped {
			p.expect(",")
		}
		if i == 1 {
			args = append(args, p.predicate())
		} else {
			args = append(args, p.expression(0))
		}
	}
	if p.is(",") {
		p.advance()
	}
	p.close(open, ")")
	return args
}

// predicate parses {# > 0}, or the same without braces.
func (p *parser) predicate() Node {
	open := p.tok
	p.predicates++
	var n Node
	if p.is("{") {
		n = p.block()
	} else {
		n = p.expression(0)
		if p.is(";") {
			p.fail(p.tok.pos, "a predicate with a ; must stand in { }")
		}
	}
	p.predicates--
	return &Predicate{p.place(open.pos, open.pos), n}
}

func (p *parser) array() Node {
	open := p.tok
	p.advance()
	nodes := p.list(open, "]", nil, 0)
	return &Array{p.place(open.pos, open.pos), nodes}
}

// mapping parses {a: 1, "b": 2, 3: 4, (c): 5}.
func (p *parser) mapping() Node {
	open := p.tok
	p.advance()
	var pairs []Pair
	for !p.is("}") && p.tok.kind != endToken {
		if len(pairs) > 0 {
			p.expect(",")
			if p.is("}") {
				break
			}
		}
		start := p.tok.pos
		var key Node
		switch tok := p.tok; {
		case tok.kind == nameToken, tok.kind == textToken, tok.kind == numberToken:
			p.advance()
			key = &String{p.place(start, start), tok.text}
		case p.is("("):
			key = p.expression(0)
		default:
			p.unexpected("a key: a name, a text, a number, or an expression in parentheses")
		}
		p.expect(":")
		value := p.expression(0)
		pairs = append(pairs, Pair{p.place(start, start), key, value})
	}
	p.close(open, "}")
	return &Map{p.place(open.pos, open.pos), pairs}
}
