// Package expr compiles the expressions of content (expr-lang's grammar) to
// typed closures over the slots of an event.
package expr

import (
	"time"

	"cs/pipeline/event"
	"cs/pipeline/match"
)

// Compiler compiles the expressions of one engine.
type Compiler struct{ Schema *event.Schema }

// Ctx is what expressions see at run time. It belongs to one worker.
type Ctx struct {
	Event   *event.Event
	Machine *match.Machine
	Now     time.Time
}

// Program is a compiled expression.
type Program struct{}

// Compile compiles src. Unknown names and type errors are reported here, with
// their place in src and a suggestion.
func (c *Compiler) Compile(src string) (*Program, error) { return &Program{}, nil }

// Bool evaluates a filter.
func (p *Program) Bool(ctx *Ctx) (bool, error) { return false, nil }

// Text evaluates to the text of a static (spec: engine §2.5). ok is false
// when the result is nil or empty of value.
func (p *Program) Text(ctx *Ctx) (text string, ok bool, err error) { return "", false, nil }
