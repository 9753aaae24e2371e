// Package injection recognises SQL injections and cross-site scripting in a
// text, such as the value of a query's argument. It knows no log lines and no
// requests: pipeline/expr offers it to filters.
//
// Both are those of libinjection, answer for answer. SQLi reads the text as SQL
// would, folds what doesn't matter to at most five kinds of tokens, and looks
// this fingerprint up among 8367 of attacks. XSS reads it as a browser would and
// looks for tags, attributes and URLs that run scripts. Neither allocates, both
// take time in proportion to the text, and the tables (table.go) are constants:
// nothing happens before the first call.
//
// Algorithms and tables are by Nick Galbreath (libinjection, 2012-2016) and
// Coraza (libinjection-go, v0.3.5); see LICENSE. The latter is the slow twin of
// the tests.
package injection

import "strings"

// SQLi reports whether a text looks like an injection of SQL.
func SQLi(text string) bool {
	var r reading
	return r.attacks(text)
}

// maxTokens is how many tokens a fingerprint has at most. One more is read, as
// it may change what the fifth is.
const maxTokens = 5

// reading is a text read as SQL in one context.
type reading struct {
	text  string
	pos   int
	quote byte // the text is read as if this quote stood before it; 0: none
	mysql bool // '#' begins a comment, and "--" only before a blank; else ANSI

	tokens  [maxTokens + 1]token
	length  int   // of the fingerprint: so many tokens are left
	comment token // the last token, if it is a comment; else of kind 0
	ended   bool  // no token is left
	seen    int   // tokens so far, with those that were folded away
	differs bool  // a '#' or "--" was met that the other dialect reads otherwise
}

// attacks reads the text in all contexts it may be pasted into: as it is, in
// single and in double quotes.
func (r *reading) attacks(text string) bool {
	if text == "" {
		return false
	}
	if r.in(text, 0, false) || r.differs && r.in(text, 0, true) {
		return true
	}
	if strings.IndexByte(text, '\'') >= 0 && (r.in(text, '\'', false) || r.differs && r.in(text, '\'', true)) {
		return true
	}
	return strings.IndexByte(text, '"') >= 0 && r.in(text, '"', true)
}

func (r *reading) in(text string, quote byte, mysql bool) bool {
	r.text, r.pos, r.quote, r.mysql = text, 0, quote, mysql
	r.comment.kind, r.ended, r.seen, r.differs = 0, false, 0, false
	r.length = r.fold()
	fingerprint := r.tokens[:r.length]

	// PHP's backquote comment: a lone ` at the end.
	if n := len(fingerprint); n > 2 {
		if last := &fingerprint[n-1]; last.kind == bareword && last.open == '`' && last.close == 0 && last.n == 0 {
			last.kind = comment
		}
	}
	for i := range fingerprint {
		if fingerprint[i].kind == evil {
			return true
		}
	}
	return known(fingerprint) && !r.harmless(fingerprint)
}

// harmless tells a text with the fingerprint of an attack from one: of short
// fingerprints, many are those of plain text, too.
func (r *reading) harmless(fingerprint []token) bool {
	n := len(fingerprint)
	// SQL Server doesn't log a statement with this word in a comment.
	if n > 1 && fingerprint[n-1].kind == comment && strings.Contains(r.text, "sp_password") {
		return false
	}
	switch n {
	case 2:
		return r.harmlessPair(&fingerprint[0], &fingerprint[1])
	case 3:
		return r.harmlessTriple(&fingerprint[0], &fingerprint[1], &fingerprint[2])
	}
	return false
}

func (r *reading) harmlessPair(a, b *token) bool {
	if b.kind == union {
		// "1 union" may be English; with more around it that was folded, not.
		return r.seen == 2
	}
	// All else ends in a comment.
	switch first := b.text[0]; {
	case first == '#':
		return true
	case a.kind == bareword:
		return first != '/'
	case first == '/':
		return false
	case a.kind != number:
		return b.n > 2 // "'x --" is an attack, "'x -- y" a thought
	case r.seen > 2:
		return false
	default:
		// "1234-ABCDEF--" is Base64, "1234--" and "1234 --" are not.
		next := r.text[a.n:]
		return next[0] > ' ' && !strings.HasPrefix(next, "--")
	}
}

func (r *reading) harmlessTriple(a, b, c *token) bool {
	switch {
	case a.kind == str && b.kind&(operator|logic) != 0 && c.kind == str:
		// …foo" + "bar… is an attack: it neither opens the first quote nor closes the last.
		return a.open != 0 || c.close != 0 || a.close != c.open
	case b.kind == logic && r.seen == 3 &&
		(a.kind == number && c.kind&(number|variable|str) != 0 ||
			a.kind == bareword && c.kind == number || a.kind == str && c.kind == bareword):
		return true // "sexy and 17", but not "sexy and 17<18"
	case b.kind == keyword:
		return b.n < 5 || string(b.text[:4]) != "INTO" // OUTFILE, DUMPFILE
	}
	return false
}
