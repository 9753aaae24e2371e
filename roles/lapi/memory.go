package lapi

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// tidyAfter is how long after the last large body its memory is given back.
const tidyAfter = time.Second

// gcPercent lets the heap grow by less than usual between collections. They cost
// little here: what is kept has hardly any pointers to look through.
const gcPercent = 40

// busyGCPercent is that while a large body is dealt with: most of what is made of it
// is in use until it is answered. (200 was measured: no faster.)
const busyGCPercent = 100

// tidier gives memory back to the system when a large body has been dealt with:
// a list of 100,000 addresses takes ten times the memory that its decisions
// keep, and so does compressing them; the collector would hold on to that for
// minutes.
type tidier struct {
	mu    sync.Mutex
	timer *time.Timer
}

func (t *tidier) soon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.timer = time.AfterFunc(tidyAfter, tidyUp)
		return
	}
	t.timer.Reset(tidyAfter)
}

// tidyUp collects twice: what lies in a sync.Pool, such as the pages of a
// transaction, goes with the second collection only.
func tidyUp() {
	runtime.GC()
	debug.FreeOSMemory()
}

func (t *tidier) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}
