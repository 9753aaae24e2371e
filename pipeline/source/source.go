// Package source defines what feeds lines into the pipeline. Each kind of
// source has a package of its own below this one.
//
// A source owns its position: it hands over a batch of lines together with
// the position behind them, and only when the batch has been processed is
// that position written to disk. So a crash reads a few lines again but never
// skips one.
package source

import (
	"context"

	"cs/pipeline/event"
)

// Source reads lines until the context ends or its input does (cat mode).
type Source interface {
	// Name is what operators know it by: a path, "journalctl-…".
	Name() string
	// Run delivers batches to out, in order, one at a time. It returns nil
	// when the input ended, ctx.Err() when it was stopped, and another error
	// when it can't go on.
	Run(ctx context.Context, out Sink) error
}

// Sink takes batches. Lines of the batch are valid until the call returns; the
// position behind them counts as processed from then on. An error stops the
// source.
type Sink func(ctx context.Context, batch []event.Line) error
