package syntax

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is what is wrong with an expression, and where.
type Error struct {
	Message      string
	Line, Column int // from 1; columns count characters

	snippet string
}

// ErrorAt makes the error for a place in src, in bytes.
func ErrorAt(src string, pos int, format string, args ...any) *Error {
	start := 1 + strings.LastIndexByte(src[:pos], '\n')
	line, _, _ := strings.Cut(src[start:], "\n")
	col := utf8.RuneCountInString(src[start:pos])
	return &Error{
		Message: fmt.Sprintf(format, args...),
		Line:    1 + strings.Count(src[:start], "\n"),
		Column:  1 + col,
		snippet: snippet(line, col),
	}
}

// Error gives the message, the place, and the line with a mark below it.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (%d:%d)%s", e.Message, e.Line, e.Column, e.snippet)
}

// maxSnippet bounds what is shown of a line, in characters: some expressions
// of the hub are one line of 5,000.
const maxSnippet = 120

// snippet shows a line and a mark below its column, which counts from 0.
func snippet(line string, col int) string {
	if line == "" {
		return ""
	}
	shown := []rune(line)
	if len(shown) > maxSnippet {
		from := min(max(0, col-maxSnippet/2), len(shown)-maxSnippet)
		to := from + maxSnippet
		cutAfter := to < len(shown)
		shown = shown[from:to]
		if from > 0 {
			shown[0] = '…'
		}
		if cutAfter {
			shown[maxSnippet-1] = '…'
		}
		col -= from
	}
	for i, r := range shown {
		if unicode.IsControl(r) {
			shown[i] = ' ' // a tab would shift the mark, others would reach a terminal
		}
	}
	return "\n | " + string(shown) + "\n | " + strings.Repeat(".", col) + "^"
}
