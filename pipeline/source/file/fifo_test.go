//go:build unix

package file

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"cs/platform"
)

// Whoever may write to a directory of logs can put a FIFO in the place of one:
// the source must not wait for somebody to write to it.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("no FIFOs here: ", err)
	}
	if _, err := openReader(path); !errors.Is(err, errNotRegular) {
		t.Errorf("got %v", err)
	}
	f, err := platform.OpenShared(path) // as if it had come behind the first look
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
