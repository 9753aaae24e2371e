package cli

import (
	"errors"
	"strings"
)

// FormatError returns the line, without a line break, that ends a failed
// command: program is the name we were called by, path the words of the
// command ("decisions add"), empty as long as no command is known.
func FormatError(program, path string, err error) string {
	if path == "" || errors.As(err, &globalError{}) {
		return "Error: " + plainLines(err.Error())
	}
	return "Error: " + program + " " + path + ": " + plainLines(err.Error())
}

// plainLines makes a message safe for the terminal: it may quote an answer
// from the network. Line breaks stay.
func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = plain(l)
	}
	return strings.Join(lines, "\n")
}

// globalError is about a flag of all commands; it is shown without the path
// of the command.
type globalError struct{ error }

func (e globalError) Unwrap() error { return e.error }

// A usageError says that a command was called with the wrong flags: the
// usage is shown with it. Other errors never show the usage.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// IsUsage tells whether the usage text belongs to an error of a command's Run.
func IsUsage(err error) bool {
	var u *usageError
	return errors.As(err, &u)
}
