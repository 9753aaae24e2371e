// Package transform rewrites the lines of a source before anybody parses them:
// one line that holds several becomes several, one in an envelope loses it. It
// wraps a source; roles/agent and explain use it for acquisitions with a
// transform.
//
// Behaviour: spec engine §1.5 of upstream's log processor.
package transform

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// maxLines bounds what one line may become; the lines beyond are left out, and
// reported.
const maxLines = 10_000

// Source is a source whose lines are transformed.
type Source struct {
	source.Source
	program *expr.Program
	schema  *event.Schema
	report  func(error)
	now     func() time.Time
}

// New wraps a source. The expression sees evt.Line and gives the text that
// replaces the line, or a list of texts, a line each. Whatever else it gives
// leaves the line as it is; report is told of its errors, of the first and
// then ever more rarely. An error names the place of the expression.
func New(src source.Source, text strict.Text, report func(error)) (*Source, error) {
	s := &Source{Source: src, schema: event.NewSchema(), report: report, now: time.Now}
	var err error
	if s.program, err = (&expr.Compiler{Schema: s.schema}).Compile(text.Value); err != nil {
		if text.Place.File == "" { // it was given on a command line
			return nil, fmt.Errorf("cannot use the transform: %w", err)
		}
		return nil, text.Place.Errorf("%w", err)
	}
	return s, nil
}

// Run delivers the transformed lines.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	run := &run{Source: s, ctx: expr.Ctx{Event: event.New(s.schema)}}
	return s.Source.Run(ctx, func(ctx context.Context, batch []event.Line, done func()) error {
		run.batch = run.batch[:0]
		for _, line := range batch {
			run.line(line)
		}
		err := out(ctx, run.batch, done)
		clear(run.batch)
		return err
	})
}

// run is the state of one Run.
type run struct {
	*Source
	ctx    expr.Ctx
	batch  []event.Line
	failed uint64
}

// line adds what comes of a line to the batch.
func (r *run) line(line event.Line) {
	r.ctx.Event.Reset(line)
	r.ctx.Now = r.now()
	r.ctx.Event.Time = r.ctx.Now.UTC()
	result, err := r.program.Any(&r.ctx)
	if err != nil {
		r.failure(fmt.Errorf("cannot transform a line of %s: %w", r.Name(), err))
	}
	switch result := result.(type) {
	case string:
		r.add(line, result)
	case []string:
		for _, text := range bounded(r, result) {
			r.add(line, text)
		}
	case []any:
		for _, element := range bounded(r, result) {
			if text, ok := element.(string); ok {
				r.add(line, text)
			} else {
				r.batch = append(r.batch, line)
			}
		}
	default:
		r.batch = append(r.batch, line)
	}
}

// add adds a copy of a line with another text, which is a view of what the next
// evaluation overwrites.
func (r *run) add(line event.Line, text string) {
	line.Raw = strings.Clone(text)
	r.batch = append(r.batch, line)
}

// bounded returns as much of a list as may become lines.
func bounded[T any](r *run, list []T) []T {
	if len(list) <= maxLines {
		return list
	}
	r.failure(fmt.Errorf("cannot make %d lines of one line of %s: more than %d", len(list), r.Name(), maxLines))
	return list[:maxLines]
}

// failure reports the 1st, 2nd, 4th … failure.
func (r *run) failure(err error) {
	if r.failed++; bits.OnesCount64(r.failed) == 1 {
		r.report(fmt.Errorf("%w (failures so far: %d)", err, r.failed))
	}
}
