package winevent

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"cs/pipeline/source"
)

// The functions and constants of winevt.h.
var (
	wevtapi           = windows.NewLazySystemDLL("wevtapi.dll")
	evtSubscribe      = wevtapi.NewProc("EvtSubscribe")
	evtQuery          = wevtapi.NewProc("EvtQuery")
	evtNext           = wevtapi.NewProc("EvtNext")
	evtRender         = wevtapi.NewProc("EvtRender")
	evtCreateBookmark = wevtapi.NewProc("EvtCreateBookmark")
	evtUpdateBookmark = wevtapi.NewProc("EvtUpdateBookmark")
	evtClose          = wevtapi.NewProc("EvtClose")
)

const (
	subscribeFuture        = 1
	subscribeOldest        = 2
	subscribeAfterBookmark = 3

	queryChannel = 0x1
	queryFile    = 0x2
	queryForward = 0x100

	renderXML      = 1
	renderBookmark = 2

	together = 64
	// maxEvent bounds the XML of one event, in UTF-16 units.
	maxEvent = 4 << 20
)

type handle uintptr

func (h handle) close() {
	if h != 0 {
		evtClose.Call(uintptr(h)) // it fails for what is closed already
	}
}

// reader is the state of one Run.
type reader struct {
	*Source
	out      source.Sink
	b        *source.Batch
	text     []uint16
	bookmark handle
	mark     *source.Mark
	pos      source.Position
}

// Run follows events until ctx ends; in mode cat it reads those that there are.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	for _, f := range []*windows.LazyProc{evtSubscribe, evtQuery, evtNext, evtRender, evtCreateBookmark, evtUpdateBookmark, evtClose} {
		if err := f.Find(); err != nil { // calling it would panic
			return fmt.Errorf("cannot read the event log: %w: %w", err, errors.ErrUnsupported)
		}
	}
	r := &reader{Source: s, out: out, b: source.NewBatch(s.spec.Line(s.name), 0, s.spec.Meter), text: make([]uint16, 4096)}
	if s.spec.Once {
		return r.once(ctx)
	}
	defer func() { r.bookmark.close() }()
	return r.follow(ctx)
}

func (r *reader) once(ctx context.Context) error {
	flags := uintptr(queryForward | queryChannel)
	var path *uint16
	if r.isFile {
		flags = queryForward | queryFile
		var err error
		if path, err = windows.UTF16PtrFromString(r.path); err != nil {
			return fmt.Errorf("cannot read events: %w", err)
		}
	}
	query, err := windows.UTF16PtrFromString(r.query)
	if err != nil {
		return fmt.Errorf("cannot read events: %w", err)
	}
	h, _, callErr := evtQuery.Call(0, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(query)), flags)
	if h == 0 {
		return fmt.Errorf("cannot read events of %s: %w", r.name, reason(callErr))
	}
	defer handle(h).close()
	r.spec.Started()
	return r.drain(ctx, handle(h))
}

func (r *reader) follow(ctx context.Context) error {
	flags := uintptr(subscribeFuture)
	if r.spec.FromStart {
		flags = subscribeOldest
	}
	r.pos.Key = "wineventlog:" + r.spec.Labels["type"] + ":" + r.name
	if saved := r.spec.Positions.Saved(r.pos.Key); len(saved) > 0 {
		r.pos = saved[len(saved)-1]
		r.spec.Positions.Forget(r.pos.Key)
	}
	if r.pos.Cursor != "" {
		flags = subscribeAfterBookmark
		if err := r.newBookmark(r.pos.Cursor); err != nil {
			return err
		}
	}
	r.mark = r.spec.Positions.Track(r.pos)
	defer r.mark.Leave() // for the next Run, if this one fails

	signal, err := windows.CreateEvent(nil, 1, 1, nil)
	if err != nil {
		return fmt.Errorf("cannot wait for events: %w", err)
	}
	defer windows.CloseHandle(signal)
	query, err := windows.UTF16PtrFromString(r.query)
	if err != nil {
		return fmt.Errorf("cannot read events: %w", err)
	}
	var after uintptr
	if flags == subscribeAfterBookmark {
		after = uintptr(r.bookmark)
	}
	h, _, callErr := evtSubscribe.Call(0, uintptr(signal), 0, uintptr(unsafe.Pointer(query)), after, 0, 0, flags)
	if h == 0 {
		return fmt.Errorf("cannot subscribe to %s: %w", r.name, reason(callErr))
	}
	subscription := handle(h)
	defer subscription.close()
	// Not before: Wine ends the process at this call, and tells with the one above that it
	// can't do it.
	if r.bookmark == 0 {
		if err := r.newBookmark(""); err != nil {
			return err
		}
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = windows.SetEvent(signal) // it is open until we are done
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	r.spec.Started()
	for {
		if _, err := windows.WaitForSingleObject(signal, windows.INFINITE); err != nil {
			return fmt.Errorf("cannot wait for events: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Before the look: what comes during it sets it again.
		if err := windows.ResetEvent(signal); err != nil {
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

// reason returns why a call failed. Wine doesn't tell.
func reason(err error) error {
	if errors.Is(err, windows.ERROR_SUCCESS) {
		return fmt.Errorf("this system doesn't say why: %w", errors.ErrUnsupported)
	}
	return err
}

// newBookmark makes the bookmark that moves on, from the XML of an earlier one if there is any.
func (r *reader) newBookmark(text string) error {
	var from *uint16
	if text != "" {
		var err error
		if from, err = windows.UTF16PtrFromString(text); err != nil {
			return fmt.Errorf("cannot use a bookmark: %w", err)
		}
	}
	h, _, err := evtCreateBookmark.Call(uintptr(unsafe.Pointer(from)))
	if h == 0 {
		return fmt.Errorf("cannot make a bookmark: %w", err)
	}
	r.bookmark = handle(h)
	return nil
}

// drain delivers what a query or subscription has.
func (r *reader) drain(ctx context.Context, from handle) error {
	for {
		var events [together]handle
		var n uint32
		ok, _, err := evtNext.Call(uintptr(from), together, uintptr(unsafe.Pointer(&events)), 0, 0, uintptr(unsafe.Pointer(&n)))
		if ok == 0 {
			if errors.Is(err, windows.ERROR_NO_MORE_ITEMS) || errors.Is(err, windows.ERROR_TIMEOUT) {
				return nil
			}
			return fmt.Errorf("cannot read events of %s: %w", r.name, err)
		}
		err = r.take(ctx, events[:n])
		for _, e := range events[:n] {
			e.close()
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
	if r.bookmark != 0 {
		if ok, _, err := evtUpdateBookmark.Call(uintptr(r.bookmark), uintptr(events[len(events)-1])); ok == 0 {
			return fmt.Errorf("cannot move the bookmark of %s: %w", r.name, err)
		}
		var err error
		if next.Cursor, err = r.render(r.bookmark, renderBookmark); err != nil {
			return fmt.Errorf("cannot keep the bookmark of %s: %w", r.name, err)
		}
		if !last.IsZero() {
			r.spec.Meter.SetBehind(now.Sub(last))
		}
	}
	return r.b.Deliver(ctx, r.out, now, func() {
		r.pos = next
		r.mark.Set(next)
	})
}

// render returns an event or a bookmark as XML.
func (r *reader) render(h handle, flags uintptr) (string, error) {
	for {
		var used, properties uint32 // used is in bytes
		ok, _, err := evtRender.Call(0, uintptr(h), flags, uintptr(2*len(r.text)), uintptr(unsafe.Pointer(&r.text[0])),
			uintptr(unsafe.Pointer(&used)), uintptr(unsafe.Pointer(&properties)))
		if ok != 0 {
			return windows.UTF16ToString(r.text[:min(int(used/2), len(r.text))]), nil
		}
		size := int(used/2) + 1
		if !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) || size <= len(r.text) {
			return "", err
		}
		if size > maxEvent {
			return "", fmt.Errorf("it has %d characters, more than %d", size, maxEvent)
		}
		r.text = make([]uint16, size)
	}
}
