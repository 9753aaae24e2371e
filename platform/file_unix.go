//go:build !windows

package platform

import "os"

const canChmod = true

// MakeDir makes a directory, with those above it, for what others must not
// read. One that is there already is left as it is.
func MakeDir(path string) error { return os.MkdirAll(path, 0o700) }

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
