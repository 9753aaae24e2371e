package platform

import (
	"errors"
	"fmt"
	"net"
	"runtime"
)

// ListenSocket: access to a socket's file isn't checked on Windows, so there
// the operators' commands need credentials.
func ListenSocket(path string, _ bool) (net.Listener, error) {
	return nil, fmt.Errorf("socket %s on %s: %w", path, runtime.GOOS, errors.ErrUnsupported)
}
