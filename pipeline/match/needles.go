package match

import "regexp/syntax"

// Needles returns literals in lower case of which every match of an expression
// contains at least one, ASCII letters in either case; nil if none are known. A
// text with U+212A or U+017F, which are k and s to a case-blind expression, may
// match without them.
func Needles(expr string) []string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	return oneOf(re)
}
