package service

import "strings"

// severity returns how bad a line of a log in the form of LogHandler is: "info",
// "warning" or "error". What a program says when it ends begins with "Error:".
func severity(line string) string {
	_, rest, _ := strings.Cut(line, "level=")
	level, _, _ := strings.Cut(strings.ToUpper(rest), " ")
	switch {
	case strings.HasPrefix(level, "ERROR"), strings.HasPrefix(line, "Error:"):
		return "error"
	case strings.HasPrefix(level, "WARN"):
		return "warning"
	}
	return "info"
}
