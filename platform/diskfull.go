package platform

import (
	"errors"
	"runtime"
	"syscall"
)

// IsDiskFull tells whether something could not be written for lack of room, which
// may be there later.
func IsDiskFull(err error) bool {
	const errorDiskFull = syscall.Errno(112) // of Windows
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || runtime.GOOS == "windows" && errors.Is(err, errorDiskFull)
}
