//go:build !windows

package platform

import "os"

const canChmod = true

// MakeDir makes a directory, with those above it, for what others must not
// read. One that is there already is left as it is.
func MakeDir(path string) error { return os.MkdirAll(path, 0o700) }

// Nameless opens a new, empty file in dir that is gone when it is closed, and with
// the process: for what need not be in memory.
func Nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".nameless-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// SyncDir makes the names in dir, of new and of renamed files, survive a power
// cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
