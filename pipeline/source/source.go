// Package source defines what feeds lines into the pipeline. Each kind of
// source has a package of its own below this one.
//
// A source owns its position. It hands over a batch of lines together with a
// function that moves the position behind them, so that whoever processes the
// lines can write what comes out of them and the position to disk as one:
// nothing is lost in a crash, and nothing comes out twice.
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

// Sink takes batches. The lines are valid until the call returns. When they
// are processed, and before it returns nil, it calls done, which moves the
// position behind them. An error stops the source.
type Sink func(ctx context.Context, batch []event.Line, done func()) error
