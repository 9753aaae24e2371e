package wfp

import (
	"errors"
	"fmt"
	"io/fs"

	"cs/remediate"
)

// status is a number that the engine refuses a call with: of winerror.h,
// FWP_E_… and others.
type status uint32

const (
	errFilterNotFound   status = 0x80320003
	errNoProvider       status = 0x80320005
	errNoSublayer       status = 0x80320007
	errNotFound         status = 0x80320008
	errExists           status = 0x80320009
	errInUse            status = 0x8032000a
	errNoTransaction    status = 0x8032000d
	errInTransaction    status = 0x8032000e
	errSessionAborted   status = 0x80320010
	errLockTimeout      status = 0x80320012
	errAccessDenied     status = 5
	errInvalidHandle    status = 6
	errNoMemory         status = 8
	errNoResources      status = 1450
	errServerGone       status = 1722 // RPC_S_SERVER_UNAVAILABLE
	errCallFailed       status = 1726 // RPC_S_CALL_FAILED
	errNotRegistered    status = 1753 // EPT_S_NOT_REGISTERED
	errUnsupportedInRPC status = 1764 // RPC_S_CANNOT_SUPPORT
)

// errSession is what a status is when the session is no longer of use.
var errSession = errors.New("the session with the filtering engine has ended")

var statusTexts = map[status]string{
	errFilterNotFound:   "there is no such filter",
	errNoProvider:       "there is no such provider",
	errNoSublayer:       "there is no such sublayer",
	errNotFound:         "there is no such object",
	errExists:           "it is there already",
	errInUse:            "something else refers to it",
	errNoTransaction:    "no transaction has begun",
	errInTransaction:    "a transaction has begun already",
	errSessionAborted:   "the session was aborted",
	errLockTimeout:      "another program's transaction takes too long",
	errAccessDenied:     "access is denied: it needs an administrator",
	errInvalidHandle:    "the handle is invalid",
	errNoMemory:         "not enough memory",
	errNoResources:      "not enough system resources",
	errServerGone:       "the Base Filtering Engine (service BFE) does not run",
	errCallFailed:       "the Base Filtering Engine (service BFE) was stopped",
	errNotRegistered:    "the Base Filtering Engine (service BFE) does not run",
	errUnsupportedInRPC: "this system has no filtering engine",
}

func (s status) Error() string {
	if text, ok := statusTexts[s]; ok {
		return fmt.Sprintf("%s (0x%x)", text, uint32(s))
	}
	return fmt.Sprintf("error 0x%x", uint32(s))
}

// Is tells the conditions of package remediate and others.
func (s status) Is(target error) bool {
	switch target {
	case remediate.ErrFull:
		return s == errNoMemory || s == errNoResources
	case fs.ErrPermission:
		return s == errAccessDenied
	case errors.ErrUnsupported:
		return s == errUnsupportedInRPC
	case errSession:
		return s == errServerGone || s == errCallFailed || s == errInvalidHandle || s == errSessionAborted
	}
	return false
}

// code returns nil for success.
func code(n uint32) error {
	if n == 0 {
		return nil
	}
	return status(n)
}
