package agent

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"cs/pipeline/source"
	"cs/platform"
	"cs/platform/strict"
	"cs/roles/config"
)

// change is what a reload leads to.
type change struct {
	engine Engine
	inputs []config.Acquisition
	known  map[string]bool // faults that are no news
	done   chan error
}

// errStopped says that an agent can't be reloaded any more.
var errStopped = errors.New("the agent has stopped")

// Reload makes a running agent one with the content and the inputs of cfg; its
// other fields don't count. Buckets whose scenario is the same go on, and so do
// sources that are described as before. With an error the agent is what it was:
// what is faulty now and was not before is one.
//
// It may be called at any time while Run runs, and waits for its turn.
func (a *Agent) Reload(ctx context.Context, cfg Config) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	cfg.load = a.cfg.load
	platform.LimitMemory(cfg.MemoryLimit)
	engine, installed, errs := a.load(cfg)
	errs = append(errs, cfg.Faults...)
	for _, err := range errs {
		if !a.faults[err.Error()] {
			return errors.Join(errs...)
		}
	}
	c := change{engine: engine, inputs: cfg.Inputs, known: a.faults, done: make(chan error, 1)}
	if len(cfg.Inputs) == 0 {
		return errNoInputs
	}
	select {
	case a.changes <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.stopped:
		return errStopped
	}
	select {
	case err := <-c.done:
		if err == nil {
			a.faults = a.tellFaults(errs)
			a.about.Lock()
			a.about.hub = installed
			a.about.Unlock()
			for _, o := range a.outboxes {
				poke(o.greet) // whoever has reloaded wants to know now whether it lets us in
			}
		}
		engine, c.engine = nil, nil
		platform.FreeMemory() // of the old engine, and of loading the new one
		return err
	case <-a.stopped:
		return errStopped
	}
}

// apply takes a change over, in the goroutine of read.
func (a *Agent) apply(r *readers, c change) error {
	var keep, fresh []*input
	for _, acq := range c.inputs {
		i := slices.IndexFunc(r.list, func(in *input) bool { return !slices.Contains(keep, in) && strict.Same(in.acq, acq) })
		if i >= 0 {
			keep = append(keep, r.list[i])
			continue
		}
		in, err := a.newInput(acq)
		switch {
		case err != nil && c.known[err.Error()]:
			continue
		case err != nil:
			return err
		}
		fresh = append(fresh, in)
	}
	a.exchange(c.engine)
	for _, in := range r.list {
		if !slices.Contains(keep, in) {
			in.log.Info("a source is no longer read", "source", in.source.Name())
			r.end(in) // before others begin: they may want its port, or its positions
			a.sources.Drop(source.MeterOf(in.source))
		}
	}
	r.list = keep
	if len(fresh) > 0 {
		a.save() // what stopped moved, and nothing else remembers it
	}
	for _, in := range fresh {
		in.log.Info("a source is read from now on", "source", in.source.Name())
		r.run(in)
	}
	r.count()
	return nil
}

// exchange puts another engine in the place of the one that runs, with its buckets and
// stashes.
// Lines wait meanwhile.
func (a *Agent) exchange(fresh Engine) {
	a.processing.Lock()
	defer a.processing.Unlock()
	old := a.engine
	from, to := io.Pipe() // the whole state may be large
	go func() { to.CloseWithError(old.SaveState(to)) }()
	err := fresh.LoadState(from, time.Now())
	from.CloseWithError(err) // ends the other side, if that isn't done
	if err != nil {
		a.log.Error("some attackers begin anew: their buckets can't be taken over", "err", err)
	}
	fresh.Stashes().TakeOver(old.Stashes())
	a.gone, a.before = addStats(a.gone, old.Stats()), addBuckets(a.before, old.Buckets())
	a.engine = fresh
}
