package match

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// The literals that a match must contain: views of an expression's syntax tree.
// All stay correct by giving up wherever they are not sure.

// sequence returns literals that occur in every match one after the other
// without overlap, so that a text can be refused by searching for them in turn.
func sequence(re *syntax.Regexp) []string {
	var s sequencer
	s.walk(re)
	s.flush()
	return s.done
}

type sequencer struct {
	done []string
	run  []rune // literal under construction
}

func (s *sequencer) flush() {
	if len(s.run) > 0 {
		s.done = append(s.done, string(s.run))
		s.run = s.run[:0]
	}
}

func (s *sequencer) walk(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if fixed(r, re.Flags) {
				s.run = append(s.run, r)
			} else {
				s.flush()
			}
		}
	case syntax.OpCharClass:
		if len(re.Rune) == 2 && re.Rune[0] == re.Rune[1] && fixed(re.Rune[0], 0) {
			s.run = append(s.run, re.Rune[0])
		} else {
			s.flush()
		}
	case syntax.OpCapture:
		s.walk(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			s.walk(sub)
		}
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText,
		syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		// They take no text, so a literal goes on behind them.
	case syntax.OpPlus:
		s.repeated(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			s.repeated(re.Sub[0])
		} else {
			s.flush()
		}
	default:
		s.flush()
	}
}

// repeated takes the literals of a loop's body once.
func (s *sequencer) repeated(body *syntax.Regexp) {
	s.flush()
	s.walk(body)
	s.flush()
}

// fixed tells whether the rune of a literal stands for one byte sequence only.
// U+FFFD doesn't: it matches invalid bytes, too.
func fixed(r rune, flags syntax.Flags) bool {
	if r == utf8.RuneError {
		return false
	}
	return flags&syntax.FoldCase == 0 || unicode.SimpleFold(r) == r
}

// beginning returns the literal that every match begins with, "" if there is
// none, and whether a match can only begin where the text does.
func beginning(re *syntax.Regexp) (prefix string, anchored bool) {
	var run []rune
	for _, part := range leading(re, nil) {
		switch part.Op {
		case syntax.OpBeginText:
			anchored = anchored || len(run) == 0
		case syntax.OpLiteral:
			for _, r := range part.Rune {
				if !fixed(r, part.Flags) {
					return string(run), anchored
				}
				run = append(run, r)
			}
		case syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpBeginLine, syntax.OpEmptyMatch:
		default:
			return string(run), anchored
		}
	}
	return string(run), anchored
}

// leading appends the parts of nested concatenations.
func leading(re *syntax.Regexp, parts []*syntax.Regexp) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			parts = leading(sub, parts)
		}
		return parts
	}
	return append(parts, re)
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
