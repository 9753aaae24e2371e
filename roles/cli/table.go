package cli

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wrapAt is the widest a cell may get, in columns; longer texts continue on the next line.
const wrapAt = 60

// A table is text in columns. Cells hold any text, hostile text too: what a
// terminal would act upon is made visible before it is laid out.
type table struct {
	title  string   // first line, over all columns; may be empty
	groups []string // a line above the header, of a boxed table; may be nil
	header []string
	rows   [][]string
	more   iter.Seq[[]string] // further rows, which it goes through twice; may be nil
	right  []int              // columns of numbers, which a light table puts to the right
	whole  bool               // cells are not wrapped: paths must stay in one piece
	// fancy draws the frame with line-drawing characters instead of ASCII.
	fancy bool
}

// add appends a row. It has as many cells as the header.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// frame is the set of characters that a boxed table is drawn with: for each
// rule its left end, crossing and right end.
type frame struct {
	line, side               string
	top, upper, foot         [3]string
	titleTop, titleSeparator [3]string
}

var (
	asciiFrame = frame{
		line: "-", side: "|",
		top: [3]string{"+", "+", "+"}, upper: [3]string{"+", "+", "+"}, foot: [3]string{"+", "+", "+"},
		titleTop: [3]string{"+", "-", "+"}, titleSeparator: [3]string{"+", "+", "+"},
	}
	roundFrame = frame{
		line: "─", side: "│",
		top: [3]string{"╭", "┬", "╮"}, upper: [3]string{"├", "┼", "┤"}, foot: [3]string{"╰", "┴", "╯"},
		titleTop: [3]string{"╭", "─", "╮"}, titleSeparator: [3]string{"├", "┬", "┤"},
	}
)

// boxed draws the table in a frame, its header centred:
//
//	+----+-----------+
//	| ID |   value   |
//	+----+-----------+
//	| 1  | Ip:9.9.9.9|
//	+----+-----------+
func (t *table) boxed() string {
	var b strings.Builder
	t.box(&b)
	return b.String()
}

func (t *table) box(b io.StringWriter) {
	f := asciiFrame
	if t.fancy {
		f = roundFrame
	}
	title := plain(t.title)
	width := t.widths(3, columns(title))
	rule := func(ends [3]string) {
		for i, w := range width {
			b.WriteString(ends[min(i, 1)])
			b.WriteString(strings.Repeat(f.line, w+2))
		}
		b.WriteString(ends[2] + "\n")
	}
	row := func(cells []string, pad func(string, int) string) {
		for i, c := range cells {
			b.WriteString(f.side + " " + pad(c, width[i]) + " ")
		}
		b.WriteString(f.side + "\n")
	}
	if t.title != "" {
		rule(f.titleTop)
		b.WriteString(f.side + " " + left(title, total(width, 3)) + " " + f.side + "\n")
		rule(f.titleSeparator)
	} else {
		rule(f.top)
	}
	if t.groups != nil {
		row(t.groups, centred)
	}
	if t.header != nil {
		row(t.header, centred)
		rule(f.upper)
	}
	for r := range t.all() {
		for _, cells := range t.lines(r) {
			row(cells, left)
		}
	}
	rule(f.foot)
}

// light draws the table with horizontal rules only, its header on the left.
func (t *table) light() string {
	title := plain(t.title)
	width := t.widths(2, columns(title))
	n := total(width, 2)
	line := "-"
	if t.fancy {
		line = "─"
	}
	rule := strings.Repeat(line, n+2) + "\n"
	var b strings.Builder
	row := func(cells []string) {
		for i, c := range cells {
			if slices.Contains(t.right, i) {
				b.WriteString(" " + strings.Repeat(" ", max(width[i]-columns(c), 0)) + c + " ")
				continue
			}
			b.WriteString(" " + left(c, width[i]) + " ")
		}
		b.WriteByte('\n')
	}
	b.WriteString(rule)
	if t.title != "" {
		b.WriteString(" " + left(title, n) + " \n" + rule)
	}
	if t.header != nil {
		row(t.header)
		b.WriteString(rule)
	}
	for r := range t.all() {
		for _, cells := range t.lines(r) {
			row(cells)
		}
	}
	return b.String() + rule
}

// total is the width of a row from its first to its last character, with gap
// columns between two cells.
func total(width []int, gap int) int {
	n := -gap
	for _, w := range width {
		n += w + gap
	}
	return max(n, 0)
}

// all goes through the rows.
func (t *table) all() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, r := range t.rows {
			if !yield(r) {
				return
			}
		}
		if t.more != nil {
			t.more(yield)
		}
	}
}

// lines returns the lines of cells that a row takes.
func (t *table) lines(row []string) (lines [][]string) {
	for i, cell := range row {
		parts := []string{plain(cell)}
		if !t.whole {
			parts = wrap(parts[0], wrapAt)
		}
		for j, part := range parts {
			if j == len(lines) {
				lines = append(lines, make([]string, len(row)))
			}
			lines[j][i] = part
		}
	}
	return lines
}

// widths returns the width of each column. Together they are at least as wide
// as the title.
func (t *table) widths(gap, title int) []int {
	width := make([]int, len(t.header))
	if t.header == nil && len(t.rows) > 0 {
		width = make([]int, len(t.rows[0]))
	}
	for i, h := range t.header {
		width[i] = columns(h)
	}
	for i, g := range t.groups {
		width[i] = max(width[i], columns(g))
	}
	for r := range t.all() {
		for _, cells := range t.lines(r) {
			for i, c := range cells {
				width[i] = max(width[i], columns(c))
			}
		}
	}
	if n := len(width); n > 0 {
		width[n-1] += max(0, title-total(width, gap))
	}
	return width
}

func left(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

// centred puts the odd blank on the left, as upstream's tables do.
func centred(s string, width int) string {
	n := max(0, width-columns(s))
	return strings.Repeat(" ", (n+1)/2) + s + strings.Repeat(" ", n/2)
}

// wrap cuts s into lines of at most width columns, at a blank where there is
// one. An empty text is one empty line.
func wrap(s string, width int) []string {
	var lines []string
	for columns(s) > width {
		end, blank, used := 0, -1, 0
		for i, r := range s {
			if used += runeColumns(r); used > width {
				// A blank just after the last character that fits is a place to break too.
				if r == ' ' {
					blank = i
				}
				break
			}
			if r == ' ' {
				blank = i
			}
			end = i + utf8.RuneLen(r)
		}
		if blank > 0 {
			lines = append(lines, s[:blank])
			s = s[blank+1:]
			continue
		}
		lines = append(lines, s[:end])
		s = s[end:]
	}
	return append(lines, s)
}

// plain returns s with everything that a terminal acts upon, or that hides or
// reorders text, written as an escape: alerts carry what attackers sent.
func plain(s string) string {
	if harmless(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < utf8.RuneSelf && unsafeRune(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r) && r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// harmless tells whether s has nothing to escape. Most texts are ASCII.
func harmless(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			return strings.IndexFunc(s[i:], func(r rune) bool { return r == utf8.RuneError || unsafeRune(r) }) < 0
		case c < ' ' || c == 0x7f:
			return false
		}
	}
	return true
}

// unsafeRune tells control characters (C0, DEL, C1 with its one-character
// escape sequences), format characters (direction overrides, zero-width
// joiners, tags), and the line breaks that Unicode adds.
func unsafeRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// columns returns how many columns of a terminal s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is a small form of Unicode's East Asian Width (UAX 11) and of
// its combining marks: enough to keep columns straight.
func runeColumns(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115F, // Hangul initial consonants
		r >= 0x2E80 && r <= 0xA4CF && r != 0x303F, // CJK, kana, Yi
		r >= 0xAC00 && r <= 0xD7A3,                // Hangul syllables
		r >= 0xF900 && r <= 0xFAFF,                // CJK compatibility
		r >= 0xFE30 && r <= 0xFE6F,
		r >= 0xFF00 && r <= 0xFF60, // full-width forms
		r >= 0xFFE0 && r <= 0xFFE6,
		r >= 0x1F300 && r <= 0x1F64F, // emoji
		r >= 0x1F680 && r <= 0x1F6FF,
		r >= 0x1F7E0 && r <= 0x1F7EB, // coloured circles and squares
		r >= 0x1F900 && r <= 0x1F9FF,
		r >= 0x20000 && r <= 0x3FFFD:
		return 2
	}
	return 1
}
