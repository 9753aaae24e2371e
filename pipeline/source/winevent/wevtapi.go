package winevent

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// handle is one of the event log's: of a query, a subscription, an event or a bookmark. 0 is none.
type handle uintptr

// eventLog is what the source needs of Windows's event log (winevt.h). Errors are those of the
// system, as syscall.Errno.
type eventLog interface {
	// open says whether the event log can be had at all.
	open() error
	// subscribe sets s whenever there is something to read.
	subscribe(s signal, query string, after handle, flags uint32) (handle, error)
	// query reads a file, or what a QueryList names if path is "".
	query(path, query string, flags uint32) (handle, error)
	// next fills events with the next ones, and returns their number.
	next(from handle, events []handle) (int, error)
	// render writes an event or a bookmark as XML. used, in units of UTF-16, is what it takes, also if
	// that is more than there is room for.
	render(h handle, flags uint32, text []uint16) (used int, err error)
	// createBookmark makes one of XML; of "", one that points nowhere.
	createBookmark(xml string) (handle, error)
	updateBookmark(bookmark, event handle) error
	close(h handle)
	newSignal() (signal, error)
}

// signal wakes who waits for it until it is reset. It is set when it is made.
type signal interface {
	// wait returns when it is set, or after a while.
	wait(most time.Duration) error
	set()
	reset() error
	close()
}

// Constants of winevt.h and winerror.h.
const (
	subscribeFuture        = 1
	subscribeOldest        = 2
	subscribeAfterBookmark = 3
	subscribeStrict        = 0x10000 // fail if what is bookmarked isn't there any more

	queryChannel = 0x1
	queryFile    = 0x2
	queryForward = 0x100

	renderXML      = 1
	renderBookmark = 2

	errInvalidHandle      = syscall.Errno(6)
	errInsufficientBuffer = syscall.Errno(122)
	errNoMoreItems        = syscall.Errno(259)
	errNotFound           = syscall.Errno(1168)
	errTimeout            = syscall.Errno(1460)
	errInvalidBound       = syscall.Errno(1734) // the events asked for at once are too large together
	errInvalidOperation   = syscall.Errno(4317)
	errChannelNotFound    = syscall.Errno(15007)
)

// reason returns why a call failed. Wine doesn't tell.
func reason(err error) error {
	switch {
	case errors.Is(err, syscall.Errno(0)):
		return fmt.Errorf("this system doesn't say why: %w", errors.ErrUnsupported)
	case errors.Is(err, errChannelNotFound):
		return fmt.Errorf("there is no such channel: %w", err)
	}
	return err
}
