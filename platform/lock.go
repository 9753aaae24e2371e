package platform

import "errors"

// ErrLocked tells that another process has a lock.
var ErrLocked = errors.New("another process uses it")
