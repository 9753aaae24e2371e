package agent

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/file"
	"cs/pipeline/source/journal"
	"cs/pipeline/source/stdin"
	"cs/roles/config"
)

// stdinName is the path that means standard input.
const stdinName = "-"

// input is a source and whether it has started.
type input struct {
	source  source.Source
	once    bool          // it has an end
	started chan struct{} // closed when it reads, or never will
	start   func()
}

func (a *Agent) newInput(acq config.Acquisition) (*input, error) {
	in := &input{started: make(chan struct{}), once: acq.Cat}
	in.start = sync.OnceFunc(func() { close(in.started) })
	labels := maps.Clone(acq.Labels)
	report := func(err error) { a.log.Error("trouble with a log", "err", err) }
	mode := event.Live
	if acq.TimeMachine {
		mode = event.Replay
	}
	switch acq.Source {
	case "file":
		if len(acq.Globs) == 1 && acq.Globs[0] == stdinName {
			if acq.Cat {
				mode = event.Replay
			}
			in.once = true
			in.source = stdin.New(a.cfg.Stdin, labels, mode)
			in.start()
			return in, nil
		}
		cfg := file.Config{
			Globs: acq.Globs, Exclude: acq.Exclude, Labels: labels, MaxLine: acq.MaxLineSize, Poll: acq.Poll,
			FromStart: a.cfg.FromStart, Replay: acq.TimeMachine, Positions: a.positions, Report: report, Started: in.start,
		}
		if acq.Cat {
			in.source = file.NewReplay(cfg)
			in.start()
			return in, nil
		}
		follow, err := file.New(cfg)
		if err != nil {
			return nil, err
		}
		in.source = follow
	case "journalctl":
		in.source = journal.New(journal.Config{
			Filter: acq.JournalFilter, Labels: labels, Mode: mode, Once: acq.Cat, Positions: a.positions, Report: report, Started: in.start,
		})
	default:
		return nil, fmt.Errorf("cannot read source %q: %w", acq.Source, errors.ErrUnsupported)
	}
	return in, nil
}
