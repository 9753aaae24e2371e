package injection

import (
	"math/bits"
	"strings"
)

// kind of a token: one bit, so that a set of kinds is their sum.
type kind uint32

// Kinds, in the order of their letters.
const (
	keyword kind = 1 << iota
	union
	group
	expression
	sqlType
	tsql
	function
	bareword
	number
	variable
	str
	operator
	logic
	comment
	collate
	leftParen
	rightParen
	leftBrace
	rightBrace
	dot
	comma
	colon
	semicolon
	unknown
	backslash
	evil // what databases read so differently that only attackers write it
)

// letters are the kinds' names in the literature about fingerprints, and in
// the table.
const letters = `kUBEtTfn1vso&cA(){}.,:;?\X`

// letterKind returns the kind with a letter: 0 for any other byte.
func letterKind(letter byte) kind {
	if i := strings.IndexByte(letters, letter); i >= 0 {
		return 1 << i
	}
	return 0
}

func (k kind) letter() byte { return letters[bits.TrailingZeros32(uint32(k))] }

// maxText is how much of a token's text counts, in bytes.
const maxText = 31

// token is a word, literal, operator or sign of SQL.
type token struct {
	kind        kind
	open, close byte // quotes of a string: 0 if it has none
	n           uint8
	text        [maxText + 1]byte // n bytes: ASCII in upper case, without the quotes
}

// set is not inlined: it would be in the program thirty times.
//
//go:noinline
func (t *token) set(k kind, text string) {
	t.kind = k
	t.n = uint8(min(len(text), maxText))
	for i := range int(t.n) {
		t.text[i] = upper(text[i])
	}
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

func (t *token) is(text string) bool { return string(t.text[:t.n]) == text }

func (t *token) isUnary() bool {
	if t.kind != operator {
		return false
	}
	switch string(t.text[:t.n]) {
	case "+", "-", "!", "~", "!!", "NOT":
		return true
	}
	return false
}

func (t *token) isArithmetic() bool {
	if t.kind != operator {
		return false
	}
	switch string(t.text[:t.n]) {
	case "*", "/", "+", "-", "%":
		return true
	}
	return false
}

// isFunctionBeforeParen is true for what is a name, but a function if "(" follows.
func (t *token) isFunctionBeforeParen() bool {
	switch string(t.text[:t.n]) {
	case "USER_ID", "USER_NAME", // in Transact-SQL, and common names of columns
		"DATABASE", "PASSWORD", "USER", // in MySQL
		"CURRENT_USER", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP":
		return true
	}
	return false
}

// join makes a token and the one after it one, if they are a phrase, such as
// UNION ALL.
func (t *token) join(next *token) bool {
	const before = keyword | bareword | operator | union | function | expression | tsql | sqlType
	const after = before | logic
	n := int(t.n) + 1 + int(next.n)
	if t.kind&before == 0 || next.kind&after == 0 || n > len(t.text) {
		return false
	}
	phrase := t.text
	phrase[t.n] = ' '
	copy(phrase[t.n+1:], next.text[:next.n])
	k := wordKind(phrase[:n])
	if k == 0 {
		return false
	}
	t.kind, t.text, t.n = k, phrase, uint8(min(n, maxText))
	return true
}
