package winevent

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The functions of winevt.h.
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

// systemLog is the event log of this system.
func systemLog() eventLog { return system{} }

type system struct{}

func (system) open() error {
	for _, f := range []*windows.LazyProc{evtSubscribe, evtQuery, evtNext, evtRender, evtCreateBookmark, evtUpdateBookmark, evtClose} {
		if err := f.Find(); err != nil {
			return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
	}
	return nil
}

func (system) subscribe(s signal, query string, after handle, flags uint32) (handle, error) {
	text, err := windows.UTF16PtrFromString(query)
	if err != nil {
		return 0, err
	}
	if flags&^subscribeStrict != subscribeAfterBookmark {
		after = 0
	}
	h, _, err := evtSubscribe.Call(0, uintptr(s.(systemSignal)), 0, uintptr(unsafe.Pointer(text)), uintptr(after), 0, 0, uintptr(flags))
	if h == 0 {
		return 0, err
	}
	return handle(h), nil
}

func (system) query(path, query string, flags uint32) (handle, error) {
	var file *uint16
	var err error
	if path != "" {
		if file, err = windows.UTF16PtrFromString(path); err != nil {
			return 0, err
		}
	}
	text, err := windows.UTF16PtrFromString(query)
	if err != nil {
		return 0, err
	}
	h, _, err := evtQuery.Call(0, uintptr(unsafe.Pointer(file)), uintptr(unsafe.Pointer(text)), uintptr(flags))
	if h == 0 {
		return 0, err
	}
	return handle(h), nil
}

func (system) next(from handle, events []handle) (int, error) {
	var n uint32
	ok, _, err := evtNext.Call(uintptr(from), uintptr(len(events)), uintptr(unsafe.Pointer(&events[0])), 0, 0, uintptr(unsafe.Pointer(&n)))
	if ok == 0 {
		return 0, err
	}
	return int(n), nil
}

func (system) render(h handle, flags uint32, text []uint16) (used int, err error) {
	var bytes, properties uint32
	ok, _, err := evtRender.Call(0, uintptr(h), uintptr(flags), uintptr(2*len(text)), uintptr(unsafe.Pointer(&text[0])),
		uintptr(unsafe.Pointer(&bytes)), uintptr(unsafe.Pointer(&properties)))
	if used = int(bytes+1) / 2; ok == 0 {
		return used, err
	}
	return used, nil
}

func (system) createBookmark(xml string) (handle, error) {
	var from *uint16
	if xml != "" {
		var err error
		if from, err = windows.UTF16PtrFromString(xml); err != nil {
			return 0, err
		}
	}
	h, _, err := evtCreateBookmark.Call(uintptr(unsafe.Pointer(from)))
	if h == 0 {
		return 0, err
	}
	return handle(h), nil
}

func (system) updateBookmark(bookmark, event handle) error {
	if ok, _, err := evtUpdateBookmark.Call(uintptr(bookmark), uintptr(event)); ok == 0 {
		return err
	}
	return nil
}

func (system) close(h handle) { evtClose.Call(uintptr(h)) }

func (system) newSignal() (signal, error) {
	h, err := windows.CreateEvent(nil, 1, 1, nil)
	if err != nil {
		return nil, err
	}
	return systemSignal(h), nil
}

type systemSignal windows.Handle

func (s systemSignal) wait(most time.Duration) error {
	_, err := windows.WaitForSingleObject(windows.Handle(s), uint32(most.Milliseconds()))
	return err
}

func (s systemSignal) set() { _ = windows.SetEvent(windows.Handle(s)) } // it is open

func (s systemSignal) reset() error { return windows.ResetEvent(windows.Handle(s)) }

func (s systemSignal) close() { _ = windows.CloseHandle(windows.Handle(s)) } // it is open
