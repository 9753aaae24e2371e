//go:build unix && !solaris && !aix

package bolt

import (
	"os"
	"syscall"
)

// unlock lets other processes have the file. Closing it would not: its map,
// which can't be given back after a panic, keeps the lock.
func unlock(f *os.File) { syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
