package platform

import (
	"runtime/debug"
	"strings"
	"sync"
)

// LimitMemory makes the runtime collect garbage more often, rather than take more
// than limit bytes from the system. It is soft: what is in use stays. Zero, and more
// than a limit that there is already (GOMEMLIMIT), change nothing.
func LimitMemory(limit int64) {
	if limit > 0 && limit < debug.SetMemoryLimit(-1) {
		debug.SetMemoryLimit(limit)
	}
}

// FreeMemory gives back to the system what this process has used and may not need
// again: after starting, say, which takes several times what is left of it. It
// takes some milliseconds, and a little of everything that is done next.
func FreeMemory() {
	useUp()
	debug.FreeOSMemory()
	freeProgram()
}

// useUp has the runtime know of a few megabytes of the heap that the system may have mapped
// unasked (prefault, huge pages): it gives back only what it has taken. Nothing is
// written there.
func useUp() {
	const each, all = 32 << 10, 4 << 20
	var list [all / each]strings.Builder
	for i := range list {
		list[i].Grow(each)
	}
}

// hasty is about the runtime's setting, of which there is one.
var hasty struct {
	sync.Mutex
	n     int // those at work
	usual int // percent, while nobody is
}

// GrowHeap lets the heap grow by so many percent between collections until done
// is called, for work whose memory is in use to its end. While several are at
// work, what the first one said holds for all.
func GrowHeap(percent int) (done func()) {
	hasty.Lock()
	defer hasty.Unlock()
	if hasty.n++; hasty.n == 1 {
		hasty.usual = debug.SetGCPercent(percent)
	}
	return sync.OnceFunc(func() {
		hasty.Lock()
		defer hasty.Unlock()
		if hasty.n--; hasty.n == 0 {
			debug.SetGCPercent(hasty.usual)
		}
	})
}
