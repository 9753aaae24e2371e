package match

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// fixed tells whether the rune of a literal stands for one byte sequence only.
// U+FFFD doesn't: it matches invalid bytes, too.
func fixed(r rune, flags syntax.Flags) bool {
	if r == utf8.RuneError {
		return false
	}
	return flags&syntax.FoldCase == 0 || unicode.SimpleFold(r) == r
}

// maxAlternatives bounds what oneOf returns; more would be slower to search
// for than they save.
const maxAlternatives = 64

// oneOf returns literals in lower case of which every match contains at least
// one, ASCII letters in either case. It returns nil if it knows none.
//
// A letter that folds to a non-ASCII one (k and s do, to U+212A and U+017F) is
// taken as if it didn't: a text with one of these two needs another check.
func oneOf(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return literalOf(re)
	case syntax.OpCharClass:
		if len(re.Rune) == 2 && re.Rune[0] == re.Rune[1] && fixed(re.Rune[0], 0) {
			return []string{lower(string(re.Rune[0]))}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return oneOf(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return oneOf(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if lits := oneOf(sub); better(lits, best) {
				best = lits
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			lits := oneOf(sub)
			if lits == nil || len(all)+len(lits) > maxAlternatives {
				return nil
			}
			all = append(all, lits...)
		}
		return all
	}
	return nil
}

// literalOf returns the longest piece of a literal that is certain.
func literalOf(re *syntax.Regexp) []string {
	best, run := "", 0
	piece := func(end int) {
		if s := lower(string(re.Rune[run:end])); len(s) > len(best) {
			best = s
		}
		run = end + 1
	}
	for i, r := range re.Rune {
		if r == utf8.RuneError || r >= utf8.RuneSelf && !fixed(r, re.Flags) {
			piece(i)
		}
	}
	piece(len(re.Rune))
	if best == "" {
		return nil
	}
	return []string{best}
}

// better tells whether a is more selective than b: a longer shortest literal,
// or fewer of them.
func better(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) > 0
	}
	la, lb := shortest(a), shortest(b)
	return la > lb || la == lb && len(a) < len(b)
}

func shortest(lits []string) int {
	n := len(lits[0])
	for _, l := range lits {
		n = min(n, len(l))
	}
	return n
}

// lower folds ASCII letters only.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 0x20
		}
	}
	return string(b)
}
