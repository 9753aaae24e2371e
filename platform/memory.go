package platform

import "runtime/debug"

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
	debug.FreeOSMemory()
	freeProgram()
}
