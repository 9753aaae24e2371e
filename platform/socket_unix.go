//go:build unix

package platform

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ListenSocket listens on a unix socket. A private one only its owner may open: it is
// made under another name and renamed when its mode is right, so that at no moment
// somebody else could connect. Who may open others the umask says. What is left of a server that was killed is
// replaced; a living one's is not.
func ListenSocket(path string, private bool) (net.Listener, error) {
	if limit := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > limit { // nobody could connect
		return nil, fmt.Errorf("cannot listen on %s: bind: %w (path length exceeds system limit, %d bytes)", path, syscall.EINVAL, limit)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("cannot listen on %s: another server does", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("cannot listen on %s: it is there and no socket", path)
	}
	// The directory is ours alone while the socket has the mode of the umask.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".sock-")
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	hidden := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it would look for the old name
	if private {
		err = os.Chmod(hidden, 0o600)
	}
	if err := errors.Join(err, os.Rename(hidden, path)); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return &socket{UnixListener: l, path: path}, nil
}

// socket removes its file when it is closed.
type socket struct {
	*net.UnixListener
	path string
}

func (s *socket) Close() error {
	os.Remove(s.path)
	return s.UnixListener.Close()
}

func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }
