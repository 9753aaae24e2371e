// Package docker is the source that reads what containers write, from the API
// of Docker or Podman: containers chosen by name, ID or label, those that start
// later too, and services of a swarm.
//
// How far each container was read is kept as the time of its last line and the number
// of lines at that very time, so a restart neither misses nor repeats any.
package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"cs/pipeline/source"
)

const (
	firstPause = 2 * time.Second
	maxPause   = 2 * time.Minute
	growth     = 2.5
	// lookEvery is how often the containers are listed without any event.
	lookEvery = time.Minute
	// maxTargets bounds the containers that are followed at once.
	maxTargets = 1000
	// again is the pause before a log that ended is looked at again.
	again = 500 * time.Millisecond
)

// Source reads containers. Acquisitions make it; see Kind.
type Source struct {
	keys                 Keys
	spec                 *source.Spec
	host                 *url.URL
	containers, services selector
	since, until         string
	trouble              *source.Throttle
	now                  func() time.Time
	pause                time.Duration // the first one; tests make it short
}

// Name returns what is chosen.
func (s *Source) Name() string {
	var parts []string
	for _, c := range []struct {
		what string
		sel  *selector
	}{{"container", &s.containers}, {"service", &s.services}} {
		names := append([]string(nil), c.sel.names...)
		for _, id := range c.sel.ids {
			if s.spec.DSN == "" {
				names = append(names, id)
			}
		}
		for _, rx := range append(c.sel.nameRx, c.sel.idRx...) {
			names = append(names, rx.String())
		}
		if c.sel.labels {
			names = append(names, c.what+"s with labels")
		}
		parts = append(parts, names...)
	}
	return "docker " + strings.Join(parts, ",")
}

// Run reads until ctx ends; in mode cat to the end of all logs. When the server goes
// away, it comes back to it.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &run{Source: s, ctx: ctx, fail: cancel, out: source.Serial(ctx, out), following: map[string]bool{}, since: s.since}
	if r.since == "" && !s.spec.Once && !s.spec.FromStart {
		r.since = stamp(s.now())
	}
	defer r.work.Wait()
	if s.spec.Once {
		err := r.once()
		cancel(nil)
		return err
	}
	for pause := s.pause; ; {
		began := s.now()
		err := r.follow()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.trouble.Report(fmt.Errorf("%w; trying again", err))
		if s.now().Sub(began) > maxPause {
			pause = s.pause
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(time.Duration(growth*float64(pause)), maxPause)
	}
}

// run is the state of one Run.
type run struct {
	*Source
	ctx   context.Context
	fail  context.CancelCauseFunc
	out   source.Sink
	work  sync.WaitGroup
	since string // from when on containers are read that nobody knows

	mu        sync.Mutex
	following map[string]bool // by ID; true: it was started once more meanwhile
}

// once reads all that is chosen to its end.
func (r *run) once() error {
	c, err := connect(r.host)
	if err != nil {
		return err
	}
	defer c.close()
	list, err := r.chosen(c, true)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("cannot read %s: there is no such container", r.Name())
	}
	r.spec.Started()
	for _, t := range list {
		l, err := r.log(c, t)
		if err == nil {
			err = l.read(r.ctx, c, r.since, false)
		}
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		if err != nil {
			return fmt.Errorf("cannot read the log of %s: %w", t.name, err)
		}
	}
	return nil
}

// chosen returns the containers and services to read.
func (r *run) chosen(c *client, all bool) (list []*target, err error) {
	if r.containers.any() {
		found, err := c.containers(r.ctx, all)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if r.containers.matches("/", t) {
				list = append(list, t)
			}
		}
	}
	if r.services.any() {
		found, err := c.services(r.ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if r.services.matches("", t) {
				list = append(list, t)
			}
		}
	}
	return list, nil
}

// follow follows what runs and what starts, until the server goes away.
func (r *run) follow() error {
	c, err := connect(r.host)
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	look := func() error {
		list, err := r.chosen(c, false)
		if err != nil {
			return err
		}
		for _, t := range list {
			r.begin(t, r.since, false)
		}
		return nil
	}
	// What starts while the list is made is announced, so events come first.
	return c.events(ctx, r.services.any(), func() error {
		if err := look(); err != nil {
			return err
		}
		r.spec.Started()
		r.work.Go(func() {
			// Podman reads its events from somewhere behind those of the moment.
			tick := time.NewTimer(firstPause)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					tick.Reset(lookEvery)
					if err := look(); err != nil && ctx.Err() == nil {
						r.trouble.Report(err)
					}
				case <-ctx.Done():
					return
				}
			}
		})
		return nil
	}, func(e event) { r.started(c, e) })
}

// started follows what an event is about, if it is chosen.
func (r *run) started(c *client, e event) {
	ask, sel, slash := c.container, &r.containers, "/"
	if e.Type == "service" {
		ask, sel, slash = c.serviceOf, &r.services, ""
	}
	if !sel.any() || (e.Action == "create") != (e.Type == "service") {
		return
	}
	t, err := ask(r.ctx, e.Actor.ID)
	switch {
	case errors.Is(err, errGone), r.ctx.Err() != nil:
	case err != nil:
		r.trouble.Report(fmt.Errorf("cannot ask about what started: %w", err))
	case sel.matches(slash, t):
		since := stamp(r.now())
		if e.TimeNano > 0 {
			since = stamp(time.Unix(0, e.TimeNano))
		}
		r.begin(t, since, true)
	}
}

// begin follows one log, unless it is followed already. started tells that it just was:
// who follows it may be about to leave, because it had stopped.
func (r *run) begin(t *target, since string, started bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, follows := r.following[t.id]
	switch {
	case follows:
		r.following[t.id] = r.following[t.id] || started
		return
	case len(r.following) >= maxTargets:
		r.trouble.Report(fmt.Errorf("%s is not read: there are %d containers already", t.name, maxTargets))
		return
	}
	r.following[t.id] = false
	r.work.Go(func() {
		for again := true; again; {
			r.keep(t, since)
			r.mu.Lock()
			again = r.following[t.id] && r.ctx.Err() == nil
			r.following[t.id] = false
			if !again {
				delete(r.following, t.id)
			}
			r.mu.Unlock()
		}
	})
}

// keep follows one log until its container has stopped, over trouble with the
// server.
func (r *run) keep(t *target, since string) {
	c, err := connect(r.host)
	if err != nil {
		r.trouble.Report(err)
		return
	}
	defer c.close()
	var l *log
	got := "" // where the last try began
	defer func() {
		if l != nil {
			l.mark.Leave() // it may start again
		}
	}()
	for pause := r.pause; ; pause = min(time.Duration(growth*float64(pause)), maxPause) {
		var err error
		if l == nil {
			l, err = r.log(c, t)
		}
		if err == nil {
			err = l.read(r.ctx, c, since, true)
		}
		wait := pause
		if err == nil { // it stopped, or was started again meanwhile
			pause, wait = r.pause, min(again, r.pause)
		} else if l != nil && l.pos.Cursor != got {
			pause, got = r.pause, l.pos.Cursor // it went well for a while
			wait = pause
		}
		var refused *sinkError
		switch {
		case r.ctx.Err() != nil, errors.Is(err, errGone):
			return
		case errors.As(err, &refused):
			r.fail(refused.err)
			return
		case err != nil:
			r.trouble.Report(fmt.Errorf("cannot follow the log of %s, trying again: %w", t.name, err))
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(wait):
		}
		if !t.service {
			now, askErr := c.container(r.ctx, t.id)
			if errors.Is(askErr, errGone) || askErr == nil && !now.running {
				return
			}
		}
	}
}

// log returns the log of a container or service, at its saved position.
func (r *run) log(c *client, t *target) (*log, error) {
	if !t.service { // lists don't tell whether there is a terminal
		full, err := c.container(r.ctx, t.id)
		if err != nil {
			return nil, err
		}
		t = full
	}
	labels := r.spec.Labels
	if r.keys.UseContainerLabels && !t.service || r.keys.UseServiceLabels && t.service {
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		for key, value := range t.marks {
			if name, ok := strings.CutPrefix(key, "crowdsec.labels."); ok {
				labels[name] = value
			}
		}
		if labels["type"] == "" {
			r.trouble.Report(fmt.Errorf("no parser reads the lines of %s: it has no label crowdsec.labels.type", t.name))
		}
	}
	return newLog(r, t, labels), nil
}
