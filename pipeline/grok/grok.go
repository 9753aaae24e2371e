// Package grok turns %{NAME:field} patterns into match programs.
package grok

import (
	"errors"

	"cs/pipeline/match"
)

// Library is one flat name space of patterns.
type Library struct{}

// Stock returns a library that holds the stock patterns.
func Stock() *Library { return &Library{} }

// Clone returns a copy that can be added to without changing l.
func (l *Library) Clone() *Library { return l }

// Define adds a pattern. The first definition of a name stays: defining it
// again gives ErrDefined and changes nothing.
func (l *Library) Define(name, pattern string) error { return nil }

// ErrDefined means that a name has a definition already.
var ErrDefined = errors.New("pattern is defined already")

// Compile compiles a pattern with its references expanded.
func (l *Library) Compile(pattern string) (*Pattern, error) { return &Pattern{}, nil }

// CompileName compiles the pattern that a name stands for.
func (l *Library) CompileName(name string) (*Pattern, error) { return &Pattern{}, nil }

// Pattern is a compiled grok. Fields are the names it gives values to, each
// once, in a fixed order; Match fills values in that order.
type Pattern struct {
	Fields []string
	prog   *match.Program
}

// Match searches text. On success values[i] is what Fields[i] captured, ""
// where it took no part; the texts are views of text. A pattern without
// fields never matches, as upstream. len(values) must be len(p.Fields).
func (p *Pattern) Match(m *match.Machine, text string, values []string) bool { return false }
