package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/roles/config"
	"cs/roles/engine"
)

// input is a source, whether it has started, and how to stop it.
type input struct {
	acq       config.Acquisition
	log       *slog.Logger
	source    source.Source
	positions *source.Positions // its part
	once      bool              // it has an end
	started   chan struct{}     // closed when it reads, or never will
	start     func()
	stop      context.CancelFunc // set when it runs
	ended     chan struct{}      // closed when it no longer runs
	err       error              // of one that was given up
}

func (a *Agent) newInput(acq config.Acquisition) (*input, error) {
	in := &input{acq: acq, log: a.log, positions: a.positions.Part(), started: make(chan struct{}), ended: make(chan struct{})}
	if acq.LogLevel != nil {
		in.log = slog.New(leveled{a.log.Handler(), *acq.LogLevel})
	}
	in.start = sync.OnceFunc(func() { close(in.started) })
	var err error
	in.source, in.once, err = engine.Reader{
		Stdin:     a.cfg.Stdin,
		FromStart: a.cfg.FromStart,
		Positions: in.positions,
		Meters:    &a.sources,
		Report:    func(err error) { in.log.Error("trouble with a log", in.named("err", err)...) },
		Started:   in.start,
	}.Open(acq)
	return in, err
}

// named adds to what is logged about an input how the operator calls it. What is reported tells by
// itself what is read.
func (in *input) named(args ...any) []any {
	if name := cmp.Or(in.acq.Name, in.acq.UniqueID); name != "" {
		args = append(args, "name", name)
	}
	return args
}

// leveled is a handler with a level of its own.
type leveled struct {
	slog.Handler
	level slog.Level
}

func (h leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}

// readers are the inputs that run. They belong to one goroutine, that of
// Agent.read.
type readers struct {
	a     *Agent
	ctx   context.Context
	list  []*input
	ended chan *input
}

// run starts an input.
func (r *readers) run(in *input) {
	ctx, stop := context.WithCancel(r.ctx)
	in.stop = stop
	r.list = append(r.list, in)
	go func() {
		in.err = r.a.keepReading(ctx, in)
		stop()
		in.positions.Leave()
		close(in.ended)
		select {
		case r.ended <- in:
		case <-r.ctx.Done():
		}
	}()
}

// count notes how many there are of each kind of source.
func (r *readers) count() {
	n := make(map[string]int64)
	for _, in := range r.list {
		n[in.acq.Source]++
	}
	r.a.about.Lock()
	r.a.about.sources = n
	r.a.about.Unlock()
}

// end stops an input and returns when it has let go of what it reads.
func (r *readers) end(in *input) {
	in.stop()
	<-in.ended
}

// wait returns when all inputs have ended.
func (r *readers) wait() {
	for _, in := range r.list {
		<-in.ended
	}
}

// keepReading runs one source, again and again if it fails, unless it is one
// that is read once or can't work here.
func (a *Agent) keepReading(ctx context.Context, in *input) error {
	defer in.start()
	out := a.process
	if in.log.Enabled(ctx, slog.LevelDebug) {
		out = func(ctx context.Context, batch []event.Line, done func()) error {
			in.log.Debug("lines were read", "source", in.source.Name(), "lines", len(batch))
			return a.process(ctx, batch, done)
		}
	}
	for {
		err := in.source.Run(ctx, out)
		in.start()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			in.log.Info("a log has come to its end", "source", in.source.Name())
			return nil
		case in.once, errors.Is(err, errors.ErrUnsupported):
			in.log.Error("a source is given up", "source", in.source.Name(), "err", err)
			return fmt.Errorf("cannot read %s: %w", in.source.Name(), err)
		}
		in.log.Error("a source failed and is started again", "source", in.source.Name(), "err", err, "in", sourcePause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sourcePause):
		}
	}
}
