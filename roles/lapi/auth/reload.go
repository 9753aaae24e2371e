package auth

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// lookEvery is how often files are looked at, at most. There is no timer: they
// are looked at when they are needed.
const lookEvery = time.Second

// reloaded is what some files say, read again when one of them has changed. As
// long as they can't be read, what they said before holds.
type reloaded[T any] struct {
	paths []string
	read  func() (T, error)
	fail  func(error) // told once a change

	mu    sync.Mutex
	value T
	seen  []fs.FileInfo // nil elements: the file was not there
	next  time.Time
}

// start reads the files for the first time.
func (r *reloaded[T]) start(now time.Time) (err error) {
	r.seen, r.next = r.look(), now.Add(lookEvery)
	r.value, err = r.read()
	return err
}

// get returns what the files say, and whether that is news. All news are told
// to exactly one caller.
func (r *reloaded[T]) get(now time.Time) (v T, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A clock that was set back must not stop us.
	if now.Before(r.next) && r.next.Sub(now) <= lookEvery {
		return r.value, false
	}
	r.next = now.Add(lookEvery)
	seen := r.look()
	if same(r.seen, seen) {
		return r.value, false
	}
	// Noted before reading: what is written meanwhile is a change again.
	r.seen = seen
	v, err := r.read()
	if err != nil {
		r.fail(err)
		return r.value, false
	}
	r.value = v
	return v, true
}

func (r *reloaded[T]) look() []fs.FileInfo {
	seen := make([]fs.FileInfo, len(r.paths))
	for i, path := range r.paths {
		seen[i], _ = os.Stat(path) // read will say what is wrong
	}
	return seen
}

func same(a, b []fs.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) || !os.SameFile(a[i], b[i])) {
			return false
		}
	}
	return true
}
