package injection

// number reads an integer, a float, a hexadecimal or binary number, or a dot.
func (r *reading) number(t *token) {
	rest := r.text[r.pos:]
	if rest[0] == '0' {
		digits := ""
		switch r.at(1) {
		case 'x', 'X':
			digits = hexDigits
		case 'b', 'B':
			digits = "01"
		}
		if digits != "" {
			n := span(rest[2:], digits)
			if n == 0 {
				r.take(t, bareword, 2)
				return
			}
			r.take(t, number, 2+n)
			return
		}
	}

	n := digits(rest)
	if n < len(rest) && rest[n] == '.' {
		if n += 1 + digits(rest[n+1:]); n == 1 {
			r.take(t, dot, 1)
			return
		}
	}
	// MySQL reads over "1.e", without an exponent: it is no token.
	isToken := true
	if n < len(rest) && upper(rest[n]) == 'E' {
		n++
		if n < len(rest) && (rest[n] == '+' || rest[n] == '-') {
			n++
		}
		exponent := digits(rest[n:])
		n += exponent
		isToken = exponent > 0
	}
	// Oracle's suffix of a float or double, also in "1fUNION".
	if n < len(rest) && (upper(rest[n]) == 'D' || upper(rest[n]) == 'F') {
		if n+1 == len(rest) || isBlank(rest[n+1]) || rest[n+1] == ';' || upper(rest[n+1]) == 'U' {
			n++
		}
	}
	if isToken {
		r.take(t, number, n)
	} else {
		r.pos += n
	}
}

func digits(text string) int {
	n := 0
	for n < len(text) && text[n]-'0' <= 9 {
		n++
	}
	return n
}

// dollar reads an amount of money, PostgreSQL's $$…$$ and $tag$…$tag$, or a
// lone dollar.
func (r *reading) dollar(t *token) {
	rest := r.text[r.pos+1:]
	switch n := span(rest, "0123456789.,"); {
	case n == 1 && rest[0] == '.':
		r.word(t)
		return
	case n > 0:
		r.take(t, number, 1+n)
		return
	}
	n := 0
	for n < len(rest) && upper(rest[n])-'A' < 26 {
		n++
	}
	if n < len(rest) && rest[n] == '$' {
		start := r.pos + 1 + n + 1
		r.until(t, start, r.text[r.pos:start], '$')
		return
	}
	r.take(t, bareword, 1)
}
