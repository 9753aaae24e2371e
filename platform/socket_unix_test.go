//go:build unix

package platform

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketPath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	// What a killed server left.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	first, err := ListenSocket(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(path, true); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Fatal(err)
	}
	first.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(path, true); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Fatal(err)
	}
	if _, err := ListenSocket(filepath.Join(dir, "missing", "s"), true); err == nil {
		t.Fatal("a socket in a directory that isn't there")
	}
}

// TestSocketPathTooLong: one that nobody could connect to is refused.
func TestSocketPathTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("a", 200))
	if l, err := ListenSocket(path, true); err == nil || !strings.Contains(err.Error(), "bind: invalid argument (path length exceeds system limit") {
		t.Errorf("got %v, %v", l, err)
	}
}
