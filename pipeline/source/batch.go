package source

import (
	"context"
	"io"
	"sync"
	"time"
	"unsafe"

	"cs/pipeline/event"
)

// batchBytes is how much text a batch holds before it is full; one line may be
// longer.
const batchBytes = 1 << 20

// Batch collects lines in one buffer. Append to Text and call End for each
// line. Not safe for concurrent use.
type Batch struct {
	Text []byte

	line  event.Line // what all lines have in common
	mode  event.Mode // that of line, for those that are read as they come
	max   int
	meter *Meter
	begin int // of the line that Text ends with
	ends  []int
	out   []event.Line
}

// NewBatch returns an empty batch whose lines are copies of line with their text, time and
// source. Lines longer than maxLine bytes (0: MaxLine) are cut, which m
// counts; m may be nil.
func NewBatch(line event.Line, maxLine int, m *Meter) *Batch {
	if maxLine <= 0 {
		maxLine = MaxLine
	}
	return &Batch{line: line, mode: line.Mode, max: maxLine, meter: m}
}

// SetWritten says that the lines to come were written at a time, while nobody read
// them; the zero time, that they are read as they come.
func (b *Batch) SetWritten(at time.Time) {
	b.line.Time, b.line.Mode = at, b.mode
	if !at.IsZero() && b.mode == event.Live {
		b.line.Mode = event.CatchUp
	}
}

// End ends the line that was appended to Text. An empty one is left out. src
// and at are as in event.Line; src "" is that of the batch, a zero time is that of Lines.
func (b *Batch) End(src string, at time.Time) {
	if len(b.Text) == b.begin {
		return
	}
	if len(b.Text)-b.begin > b.max {
		b.Text = b.Text[:b.begin+b.max]
		if b.meter != nil {
			b.meter.Cut.Add(1)
		}
	}
	b.begin = len(b.Text)
	b.ends = append(b.ends, b.begin)
	line := b.line
	if src != "" {
		line.Src = src
	}
	if !at.IsZero() {
		line.Time = at
	}
	b.out = append(b.out, line)
}

// Drop takes back what was appended since the last End.
func (b *Batch) Drop() { b.Text = b.Text[:b.begin] }

// Len returns the number of lines.
func (b *Batch) Len() int { return len(b.ends) }

// Full tells whether the batch is large enough to be delivered.
func (b *Batch) Full() bool { return len(b.ends) >= batchLines || len(b.Text) >= batchBytes }

// Lines returns the lines, valid until Text grows or Reset is called.
func (b *Batch) Lines(now time.Time) []event.Line {
	begin := 0
	for i, end := range b.ends {
		b.out[i].Raw = unsafe.String(&b.Text[begin], end-begin)
		if b.out[i].Time.IsZero() {
			b.out[i].Time = now
		}
		begin = end
	}
	return b.out
}

// Deliver hands the lines over, if there are any, and empties the batch.
func (b *Batch) Deliver(ctx context.Context, out Sink, now time.Time, done func()) error {
	if len(b.ends) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := out(ctx, b.Lines(now), done); err != nil {
		return err
	}
	b.Reset()
	return nil
}

// Reset empties the batch, and lets go of room that only an unusual one needs.
func (b *Batch) Reset() {
	if cap(b.Text) > 2*batchBytes {
		b.Text = nil
	}
	if cap(b.ends) > 4*batchLines {
		b.ends, b.out = nil, nil
	}
	b.Text, b.ends, b.begin = b.Text[:0], b.ends[:0], 0
	b.out = b.out[:0]
}

// BeforeReads returns a reader that calls before ahead of each Read of r, to
// deliver what there is before it waits for more. An error of before is one of the Read.
func BeforeReads(r io.Reader, before func() error) io.Reader { return &waiter{r, before} }

type waiter struct {
	r      io.Reader
	before func() error
}

func (w *waiter) Read(p []byte) (int, error) {
	if err := w.before(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// Nowhere is the position of what can't be read again: a done for sinks.
func Nowhere() {}

// Serial returns a sink that several goroutines may call: they wait for each
// other, and so for out, which is called by one at a time. None gets through
// after ctx has ended.
func Serial(ctx context.Context, out Sink) Sink {
	var mu sync.Mutex
	return func(lctx context.Context, batch []event.Line, done func()) error {
		mu.Lock()
		defer mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		return out(lctx, batch, done)
	}
}
