package engine

import (
	"errors"
	"fmt"
	"io"
	"maps"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/file"
	"cs/pipeline/source/journal"
	"cs/pipeline/source/stdin"
	"cs/pipeline/source/transform"
	"cs/roles/config"
)

// Stdin is the path that means standard input.
const Stdin = "-"

// Reader says how sources are read. The zero value has no standard input.
type Reader struct {
	Stdin     io.Reader
	FromStart bool              // logs that were never seen, from their start
	Positions *source.Positions // how far each was read; may be nil
	Report    func(error)       // told of trouble that a source survives; nil: nobody is
	Started   func()            // called when the source reads; may be nil
}

// Open returns the source of an acquisition. once tells whether it has an end.
func (r Reader) Open(acq config.Acquisition) (src source.Source, once bool, err error) {
	if r.Report == nil {
		r.Report = func(error) {}
	}
	if r.Started == nil {
		r.Started = func() {}
	}
	if src, once, err = r.open(acq); err != nil {
		return nil, false, err
	}
	if acq.Transform.Value != "" {
		src, err = transform.New(src, acq.Transform, r.Report)
	}
	return src, once, err
}

func (r Reader) open(acq config.Acquisition) (src source.Source, once bool, err error) {
	labels := maps.Clone(acq.Labels)
	mode := event.Live
	if acq.TimeMachine {
		mode = event.Replay
	}
	switch acq.Source {
	case "file":
		if len(acq.Globs) == 1 && acq.Globs[0] == Stdin {
			if acq.Cat {
				mode = event.Replay
			}
			r.Started()
			return stdin.New(r.Stdin, labels, mode), true, nil
		}
		cfg := file.Config{
			Globs: acq.Globs, Exclude: acq.Exclude, Labels: labels, MaxLine: acq.MaxLineSize, Poll: acq.Poll,
			FromStart: r.FromStart, Replay: acq.TimeMachine, Positions: r.Positions, Report: r.Report, Started: r.Started,
		}
		if acq.Cat {
			r.Started()
			return file.NewReplay(cfg), true, nil
		}
		src, err = file.New(cfg)
		return src, false, err
	case "journalctl":
		return journal.New(journal.Config{
			Filter: acq.JournalFilter, Since: acq.JournalSince, Labels: labels, Mode: mode, Once: acq.Cat,
			Positions: r.Positions, Report: r.Report, Started: r.Started,
		}), acq.Cat, nil
	}
	return nil, false, fmt.Errorf("cannot read source %q: %w", acq.Source, errors.ErrUnsupported)
}
