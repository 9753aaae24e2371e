package injection

import "strings"

// hash reads MySQL's comment, or in other SQL an operator.
func (r *reading) hash(t *token) {
	r.differs = true
	if r.mysql {
		r.line(t)
		return
	}
	r.take(t, operator, 1)
}

// dash reads a comment after "--", which MySQL takes for two operators unless
// a blank follows; or an operator.
func (r *reading) dash(t *token) {
	if r.at(1) != '-' {
		r.take(t, operator, 1)
		return
	}
	if r.pos+2 < len(r.text) && !isBlank(r.text[r.pos+2]) {
		if r.mysql {
			r.take(t, operator, 1)
			return
		}
		r.differs = true
	}
	r.line(t)
}

// line reads a comment to the end of the line.
func (r *reading) line(t *token) {
	rest := r.text[r.pos:]
	if n := strings.IndexByte(rest, '\n'); n >= 0 {
		r.take(t, comment, n)
		r.pos++
		return
	}
	r.take(t, comment, len(rest))
}

// slash reads a comment in /* */, or an operator. Comments in comments, which
// only PostgreSQL reads, and MySQL's conditional ones are evil.
func (r *reading) slash(t *token) {
	if r.at(1) != '*' {
		r.take(t, operator, 1)
		return
	}
	rest := r.text[r.pos:]
	k, n := comment, len(rest)
	if i := strings.Index(rest[2:], "*/"); i >= 0 {
		n = 2 + i + 2
		if strings.Contains(rest[2:n-1], "/*") {
			k = evil
		}
	}
	if r.at(2) == '!' {
		k = evil
	}
	r.take(t, k, n)
}
