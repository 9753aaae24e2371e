package platform

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
)

// LogHandler writes a log to a place and in a form that may change while it,
// and loggers that were derived from it, are in use.
type LogHandler struct {
	level  slog.Leveler
	target *atomic.Pointer[logTarget]
	with   []func(slog.Handler) slog.Handler // what a derived logger adds
}

type logTarget struct {
	slog.Handler
	w io.Writer
}

// NewLogHandler returns a handler that writes lines of text from a level on.
func NewLogHandler(w io.Writer, level slog.Leveler) *LogHandler {
	h := &LogHandler{level: level, target: new(atomic.Pointer[logTarget])}
	h.To(w, false)
	return h
}

// To has the log go to w from now on, as JSON objects or as text. Where it went
// before is closed if it is one of ours: a LogFile, or the system's log.
func (h *LogHandler) To(w io.Writer, json bool) {
	opt := &slog.HandlerOptions{Level: h.level, ReplaceAttr: logrusLevel}
	next := &logTarget{w: w}
	if json {
		next.Handler = slog.NewJSONHandler(w, opt)
	} else {
		next.Handler = slog.NewTextHandler(w, opt)
	}
	if last := h.target.Swap(next); last != nil {
		if log, ok := last.w.(*systemLog); ok {
			_ = log.Close() // nothing is lost, and nobody to tell
		}
	}
}

// Is tells whether the log goes to w.
func (h *LogHandler) Is(w io.Writer) bool { return h.target.Load().w == w }

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *LogHandler) Handle(ctx context.Context, r slog.Record) error {
	var to slog.Handler = h.target.Load().Handler
	for _, add := range h.with {
		to = add(to)
	}
	return to.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	return h.derive(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *LogHandler) derive(add func(slog.Handler) slog.Handler) slog.Handler {
	return &LogHandler{level: h.level, target: h.target, with: append(slices.Clip(h.with), add)}
}

// logrusLevel gives levels the names that they have in the logs of CrowdSec,
// which people search for.
func logrusLevel(groups []string, a slog.Attr) slog.Attr {
	if a.Key != slog.LevelKey || len(groups) > 0 {
		return a
	}
	level, _ := a.Value.Any().(slog.Level)
	switch {
	case level >= slog.LevelError:
		a.Value = slog.StringValue("error")
	case level >= slog.LevelWarn:
		a.Value = slog.StringValue("warning")
	case level >= slog.LevelInfo:
		a.Value = slog.StringValue("info")
	default:
		a.Value = slog.StringValue("debug")
	}
	return a
}
