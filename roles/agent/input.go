package agent

import (
	"sync"

	"cs/pipeline/source"
	"cs/roles/config"
	"cs/roles/engine"
)

// input is a source and whether it has started.
type input struct {
	source  source.Source
	once    bool          // it has an end
	started chan struct{} // closed when it reads, or never will
	start   func()
}

func (a *Agent) newInput(acq config.Acquisition) (*input, error) {
	in := &input{started: make(chan struct{})}
	in.start = sync.OnceFunc(func() { close(in.started) })
	var err error
	in.source, in.once, err = engine.Reader{
		Stdin:     a.cfg.Stdin,
		FromStart: a.cfg.FromStart,
		Positions: a.positions,
		Report:    func(err error) { a.log.Error("trouble with a log", "err", err) },
		Started:   in.start,
	}.Open(acq)
	return in, err
}
