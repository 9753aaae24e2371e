package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"cs/platform"
)

// watcher wakes a source when something happens in its directories. It may miss things: the
// source looks by itself now and then.
type watcher struct {
	s      *Source
	fs     *fsnotify.Watcher          // nil: polling
	ids    map[string]platform.FileID // of the directories that are watched
	all    bool                       // every directory is watched
	failed bool                       // reported that one can't be watched
}

func newWatcher(s *Source) *watcher {
	w := &watcher{s: s, ids: make(map[string]platform.FileID)}
	if s.cfg.Poll {
		return w
	}
	fs, err := fsnotify.NewBufferedWatcher(256)
	if err != nil {
		s.cfg.Report(fmt.Errorf("cannot watch for changes of %s, polling instead: %w", s.Name(), err))
		return w
	}
	w.fs = fs
	return w
}

func (w *watcher) close() {
	if w.fs != nil {
		w.fs.Close()
	}
}

// complete tells whether notifications come for everything. Windows tells of
// what is written to a file when its cache is flushed or the file closed (see
// FILE_NOTIFY_CHANGE_LAST_WRITE): too late for a log that stays open.
func (w *watcher) complete() bool { return w.fs != nil && w.all && runtime.GOOS != "windows" }

// follow makes dirs the watched directories and tells whether there is a new one.
func (w *watcher) follow(dirs []string) (added bool) {
	if w.fs == nil {
		return false
	}
	w.all = true
	watched := w.fs.WatchList()
	for _, dir := range watched {
		if !slices.Contains(dirs, dir) {
			w.fs.Remove(dir)
			delete(w.ids, dir)
		}
	}
	for _, dir := range dirs {
		id, _ := platform.FileIDAt(dir)
		if slices.Contains(watched, dir) {
			if id == w.ids[dir] {
				continue
			}
			w.fs.Remove(dir) // another one was mounted there, or took its place
		}
		w.ids[dir] = id
		if !w.s.cfg.Trust && w.s.remote(dir) {
			w.all = false
			continue
		}
		err := w.fs.Add(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the next discovery finds it
		}
		if err != nil {
			w.all = false
			if !w.failed {
				w.s.cfg.Report(fmt.Errorf("cannot watch %s for changes of %s, polling instead: %w", dir, w.s.Name(), err))
			}
			w.failed = true
			continue
		}
		added = true
	}
	return added
}

// wait returns when something of interest happened or after pause. It returns ctx's error when
// that ends.
func (w *watcher) wait(ctx context.Context, pause time.Duration) error {
	if w.s.woken {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
	}
	w.s.woken = true
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var events chan fsnotify.Event
	var lost chan error
	if w.fs != nil {
		events, lost = w.fs.Events, w.fs.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			w.s.woken = false
			return nil
		case <-lost: // the queue ran over: anything may have happened
			w.s.globbed = time.Time{}
			return nil
		case ev := <-events:
			if w.heed(ev) {
				for range len(events) { // the same look serves them all
					w.heed(<-events)
				}
				return nil
			}
		}
	}
}

// heed tells whether an event is a reason to look.
func (w *watcher) heed(ev fsnotify.Event) bool {
	if !w.s.concerns(ev.Name) {
		return false
	}
	if ev.Op.Has(fsnotify.Create) {
		w.s.globbed = time.Time{} // look for new files as well
	}
	return true
}
