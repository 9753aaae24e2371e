package injection

import "bytes"

// fold reads the text's tokens into r.tokens, and folds pairs and triples that
// mean one: 1+1 is a number, a string beside a string is a string. It returns
// how many are left, when there are five that can't be folded or the text ends.
func (r *reading) fold() int {
	t := &r.tokens
	// What may stand before anything says nothing.
	for r.next(&t[0]) && (t[0].kind&(comment|leftParen|sqlType) != 0 || t[0].isUnary()) {
	}
	if r.ended {
		return 0
	}
	left, end := 0, 1 // tokens before left are folded, from end on there are none
	for {
		if end >= maxTokens && repeats(t) {
			if end > maxTokens {
				t[1] = t[maxTokens]
				left, end = 1, 2
			} else {
				left, end = 0, 1
			}
		}
		if r.ended || left >= maxTokens {
			left = end
			break
		}
		if end = r.fill(end, left+2); end < left+2 {
			left = end
			continue
		}
		if t[left].kind == leftBrace && t[left+1].kind == bareword && t[left+1].n == 0 {
			// MySQL takes "{ ``.``.id }". Nobody else writes it.
			t[left+1].kind = evil
			return left + 2
		}
		var folded bool
		if left, end, folded = r.foldPair(left, end); folded {
			continue
		}
		if end = r.fill(end, left+3); end < left+3 {
			left = end
			continue
		}
		if left, end, folded = r.foldTriple(left, end); !folded {
			left++
		}
	}
	if left < maxTokens && r.comment.kind != 0 {
		t[left] = r.comment
		left++
	}
	return min(left, maxTokens)
}

// repeats is true for five tokens that may go on forever: 1+(1)+(1)…
func repeats(t *[maxTokens + 1]token) bool {
	var b [maxTokens]byte
	for i := range b {
		b[i] = t[i].kind.letter()
	}
	switch string(b[:]) {
	case "1o(1)", "1,(1)", "no(n)", "no(1)", "1),(1", "n)o(n":
		return true
	}
	return false
}

// fill reads tokens into r.tokens from end on, until there are want of them
// or one too many for a fingerprint, and returns the new end.
func (r *reading) fill(end, want int) int {
	for end < want && end <= maxTokens {
		t := &r.tokens[end]
		if !r.next(t) {
			break
		}
		if t.kind == comment {
			r.comment = *t
		} else {
			r.comment.kind = 0
			end++
		}
	}
	return end
}

// foldPair folds the tokens at left and left+1. It returns where to go on, and
// whether to look at pairs again.
func (r *reading) foldPair(left, end int) (int, int, bool) {
	a, b := &r.tokens[left], &r.tokens[left+1]
	switch {
	case a.kind == str && b.kind == str,
		a.kind == semicolon && b.kind == semicolon:
		return left, end - 1, true
	case a.kind&(operator|logic) != 0 && (b.kind == sqlType || b.isUnary()):
		return 0, end - 1, true
	case a.kind == leftParen && b.isUnary(),
		a.join(b):
		return max(left-1, 0), end - 1, true
	case a.kind == semicolon && b.kind == function && string(b.text[:2]) == "IF":
		b.kind = tsql // a statement of its own in Transact-SQL, elsewhere a function
		return left, end, true
	case a.kind&(bareword|variable) != 0 && b.kind == leftParen && a.isFunctionBeforeParen():
		a.kind = function
		return left, end, true
	case a.kind == keyword && (a.is("IN") || a.is("NOT IN")):
		a.kind = bareword
		if b.kind == leftParen {
			a.kind = operator
		}
		return left, end, true
	case a.kind == operator && (a.is("LIKE") || a.is("NOT LIKE")):
		if b.kind == leftParen {
			a.kind = function
		}
	case a.kind == sqlType && b.kind&(bareword|number|sqlType|leftParen|function|variable|str) != 0:
		*a = *b
		return 0, end - 1, true
	case a.kind == collate && b.kind == bareword:
		if bytes.IndexByte(b.text[:b.n], '_') >= 0 {
			b.kind = sqlType // the name of a collation
			left = 0
		}
	case a.kind == backslash:
		if b.isArithmetic() {
			a.kind = number // Transact-SQL reads \%1 as 0%1
			return 0, end, true
		}
		*a = *b
		return 0, end - 1, true
	case a.kind&(leftParen|rightParen) != 0 && a.kind == b.kind:
		return 0, end - 1, true
	case a.kind == leftBrace && b.kind == bareword:
		return 0, end - 2, true // ODBC: {name expression}
	case b.kind == rightBrace:
		return 0, end - 1, true
	}
	return left, end, false
}

// foldTriple folds the tokens at left, left+1 and left+2, as foldPair does.
func (r *reading) foldTriple(left, end int) (int, int, bool) {
	const value = number | bareword | variable | str
	a, b, c := &r.tokens[left], &r.tokens[left+1], &r.tokens[left+2]
	switch {
	case a.kind == number && b.kind == operator && c.kind == number,
		a.kind == operator && b.kind != leftParen && c.kind == operator,
		a.kind == logic && c.kind == logic,
		a.kind == variable && b.kind == operator && c.kind&(variable|number|bareword) != 0,
		a.kind&(bareword|number) != 0 && b.kind == operator && c.kind&(number|bareword) != 0,
		a.kind&value != 0 && b.kind == operator && b.is("::") && c.kind == sqlType,
		a.kind&value != 0 && b.kind == comma && c.kind&value != 0,
		a.kind == bareword && b.kind == dot && c.kind == bareword:
		return 0, end - 2, true
	case a.kind&(expression|group|comma) != 0 && c.kind == leftParen && b.isUnary(),
		a.kind&(keyword|expression|group) != 0 && c.kind&(value|function) != 0 && b.isUnary(),
		a.kind == comma && c.kind == function && b.isUnary(),
		a.kind == expression && b.kind == dot && c.kind == bareword:
		*b = *c
		return 0, end - 1, true
	case a.kind == comma && c.kind&value != 0 && b.isUnary():
		*b = *c
		return 0, end - 3, true // as "1,-1" is 1
	case a.kind == function && b.kind == leftParen && c.kind != rightParen && a.is("USER"):
		a.kind = bareword // the function has no arguments
	}
	return left, end, false
}
