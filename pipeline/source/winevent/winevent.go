package winevent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf16"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

const (
	together = 64 // events that are read at once
	// maxEvent bounds the XML of one event, in UTF-16 units.
	maxEvent = 4 << 20

	lookEvery  = 30 * time.Second // without a signal: a safety net
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// steady is how long a subscription must have lasted to be made anew at once.
	steady = time.Minute
)

// reader is the state of one Run.
type reader struct {
	*Source
	out      source.Sink
	b        *source.Batch
	text     []uint16
	together int
	bookmark handle
	mark     *source.Mark
	pos      source.Position
}

// Run follows events until ctx ends, also when the service that keeps them goes away and comes back; in
// mode cat it reads those that there are.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	if err := s.log.open(); err != nil { // calling it would panic
		return fmt.Errorf("cannot read the event log: %w", err)
	}
	r := &reader{Source: s, out: out, b: source.NewBatch(s.spec.Line(s.name), 0, s.spec.Meter), text: make([]uint16, 4096), together: together}
	if s.spec.Once {
		return r.once(ctx)
	}
	r.resume()
	defer r.mark.Leave() // for the next Run, if this one fails
	for pause := s.pause; ; pause = min(2*pause, maxPause) {
		began, cursor := s.now(), r.pos.Cursor
		err := r.follow(ctx)
		if r.pos.Cursor != cursor || s.now().Sub(began) >= steady {
			pause = s.pause
		}
		wait := pause
		var refused *sinkError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused):
			return refused.err
		case errors.Is(err, errors.ErrUnsupported):
			return err
		case errors.Is(err, errInvalidBound) && r.together > 1:
			r.together /= 2
			wait = 0
		default:
			s.trouble.Report(fmt.Errorf("%w; trying again", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (r *reader) once(ctx context.Context) error {
	flags := uint32(queryForward | queryChannel)
	path := ""
	if r.isFile {
		flags, path = queryForward|queryFile, r.path
	}
	h, err := r.log.query(path, r.query, flags)
	if err != nil {
		return fmt.Errorf("cannot read events of %s: %w", r.name, reason(err))
	}
	defer r.log.close(h)
	r.spec.Started()
	err = r.drain(ctx, h)
	var refused *sinkError
	if errors.As(err, &refused) {
		return refused.err
	}
	return err
}

// resume takes over the position of an earlier process.
func (r *reader) resume() {
	r.pos.Key = "wineventlog:" + r.spec.Labels["type"] + ":" + r.name
	if saved := r.spec.Positions.Saved(r.pos.Key); len(saved) > 0 {
		r.pos = saved[len(saved)-1]
		r.spec.Positions.Forget(r.pos.Key)
	}
	r.mark = r.spec.Positions.Track(r.pos)
}

// subscribe begins behind what was read, or else with what is to come.
func (r *reader) subscribe(s signal) (handle, error) {
	flags := uint32(subscribeFuture)
	if r.spec.FromStart {
		flags = subscribeOldest
	}
	if r.pos.Cursor != "" {
		b, err := r.log.createBookmark(r.pos.Cursor)
		if err == nil {
			r.bookmark = b
			flags = subscribeAfterBookmark | subscribeStrict
		} else {
			r.spec.Report(fmt.Errorf("events of %s may be lost: cannot use the bookmark behind the last one that was read: %w", r.name, err))
			r.pos.Cursor = ""
		}
	}
	h, err := r.log.subscribe(s, r.query, r.bookmark, flags)
	if flags&subscribeStrict != 0 && errors.Is(err, errNotFound) {
		r.spec.Report(fmt.Errorf("events of %s may be lost: the log was cleared, or overwritten, since the last one that was read", r.name))
		h, err = r.log.subscribe(s, r.query, r.bookmark, subscribeAfterBookmark)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot subscribe to %s: %w", r.name, reason(err))
	}
	// Not before: Wine ends the process at this call, and tells with the one above that it
	// can't do it.
	if r.bookmark == 0 {
		if r.bookmark, err = r.log.createBookmark(""); err != nil {
			r.log.close(h)
			return 0, fmt.Errorf("cannot make a bookmark: %w", err)
		}
	}
	return h, nil
}

// follow subscribes once, until something goes wrong.
func (r *reader) follow(ctx context.Context) error {
	s, err := r.log.newSignal()
	if err != nil {
		return fmt.Errorf("cannot wait for events: %w", err)
	}
	defer s.close()
	defer func() {
		if r.bookmark != 0 {
			r.log.close(r.bookmark)
			r.bookmark = 0
		}
	}()
	subscription, err := r.subscribe(s)
	if err != nil {
		return err
	}
	defer r.log.close(subscription)
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		s.set() // it is open until we are done
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	r.spec.Started()
	for {
		if err := s.wait(r.look); err != nil {
			return fmt.Errorf("cannot wait for events: %w", err)
		}
		// Before the look: what comes during it sets it again.
		if err := s.reset(); err != nil {
			return fmt.Errorf("cannot wait for events: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.drain(ctx, subscription); err != nil {
			return err
		}
	}
}

// drain delivers what a query or subscription has.
func (r *reader) drain(ctx context.Context, from handle) error {
	for {
		var events [together]handle
		n, err := r.log.next(from, events[:r.together])
		if err != nil {
			// What is asked for while nothing was announced is an invalid operation to some versions.
			if errors.Is(err, errNoMoreItems) || errors.Is(err, errTimeout) || errors.Is(err, errInvalidOperation) {
				return nil
			}
			return fmt.Errorf("cannot read events of %s: %w", r.name, err)
		}
		err = r.take(ctx, events[:n])
		for _, e := range events[:n] {
			r.log.close(e)
		}
		if err != nil {
			return err
		}
	}
}

// take delivers events, and moves the bookmark behind them.
func (r *reader) take(ctx context.Context, events []handle) error {
	now := r.now()
	var last time.Time
	for _, e := range events {
		text, err := r.render(e, renderXML)
		if err != nil {
			r.spec.Meter.Dropped.Add(1)
			r.spec.Report(fmt.Errorf("an event of %s is lost: %w", r.name, err))
			continue
		}
		r.b.Text = append(r.b.Text, text...)
		if at := createdAt([]byte(text)); !at.IsZero() {
			last = at
		}
		r.b.End("", now)
	}
	next := r.pos
	if r.bookmark != 0 && len(events) > 0 {
		if err := r.log.updateBookmark(r.bookmark, events[len(events)-1]); err != nil {
			return r.undo(fmt.Errorf("cannot move the bookmark of %s: %w", r.name, err))
		}
		var err error
		if next.Cursor, err = r.render(r.bookmark, renderBookmark); err != nil {
			return r.undo(fmt.Errorf("cannot keep the bookmark of %s: %w", r.name, err))
		}
		if !last.IsZero() {
			r.spec.Meter.SetBehind(now.Sub(last))
		}
	}
	done := func() {
		r.pos = next
		r.mark.Set(next)
	}
	if r.b.Len() == 0 {
		done()
		return nil
	}
	err := r.b.Deliver(ctx, func(ctx context.Context, batch []event.Line, done func()) error {
		if err := r.out(ctx, batch, done); err != nil {
			return &sinkError{err}
		}
		return nil
	}, now, done)
	if err != nil {
		return r.undo(err)
	}
	return nil
}

// undo forgets what was not delivered: it is read again.
func (r *reader) undo(err error) error {
	r.b.Reset()
	return err
}

// sinkError tells trouble with the sink from trouble with the event log.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// render returns an event or a bookmark as XML.
func (r *reader) render(h handle, flags uint32) (string, error) {
	for {
		used, err := r.log.render(h, flags, r.text)
		if err == nil {
			text := r.text[:min(used, len(r.text))]
			if end := slices.Index(text, 0); end >= 0 {
				text = text[:end]
			}
			return string(utf16.Decode(text)), nil
		}
		if !errors.Is(err, errInsufficientBuffer) || used <= len(r.text) {
			return "", err
		}
		if used > maxEvent {
			return "", fmt.Errorf("it has %d characters, more than %d", used, maxEvent)
		}
		r.text = make([]uint16, used)
	}
}
