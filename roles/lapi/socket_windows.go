package lapi

import (
	"errors"
	"fmt"
	"net"
	"runtime"
)

// listenSocket: access to a socket's file isn't checked on Windows, so there
// the operators' commands need credentials.
func listenSocket(path string) (net.Listener, error) {
	return nil, fmt.Errorf("socket %s on %s: %w", path, runtime.GOOS, errors.ErrUnsupported)
}
