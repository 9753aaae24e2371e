//go:build !windows

package platform

import "os"

const canChmod = true

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
