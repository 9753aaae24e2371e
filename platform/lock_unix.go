//go:build unix

package platform

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Lock locks the file at path, which is made if it isn't there, against other
// processes and other calls, until the result is closed or the process ends.
// It doesn't wait: the error is ErrLocked if somebody else has it.
func Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return f, nil
	case syscall.EWOULDBLOCK:
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, ErrLocked)
	default:
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
}
