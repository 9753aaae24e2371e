package service

import "strings"

// Levels as CrowdSec counts them, from 0 for panic to 6 for trace.
const (
	failure = iota + 2
	warning
	info
	debug
)

// severity returns how bad a line of a log in the form of LogHandler is. What a
// program says when it ends begins with "Error:".
func severity(line string) int {
	_, rest, _ := strings.Cut(line, "level=")
	level, _, _ := strings.Cut(strings.ToUpper(rest), " ")
	switch {
	case strings.HasPrefix(level, "ERROR"), strings.HasPrefix(line, "Error:"):
		return failure
	case strings.HasPrefix(level, "WARN"):
		return warning
	case strings.HasPrefix(level, "DEBUG"):
		return debug
	}
	return info
}
