package platform

import (
	"errors"
	"syscall"
)

// wsaEAddrInUse is how Windows says it; the syscall package has no name for it.
const wsaEAddrInUse = syscall.Errno(10048)

// IsAddrInUse tells whether listening failed because somebody else does.
func IsAddrInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaEAddrInUse)
}
