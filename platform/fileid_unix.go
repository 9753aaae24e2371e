//go:build unix

package platform

import (
	"fmt"
	"os"
	"syscall"
)

// FileIDOf returns the identity of an open file.
func FileIDOf(f *os.File) (FileID, error) {
	fi, err := f.Stat()
	if err != nil {
		return FileID{}, err
	}
	return idOf(fi)
}

// FileIDAt returns the identity of the file at path, behind symbolic links.
func FileIDAt(path string) (FileID, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return FileID{}, err
	}
	return idOf(fi)
}

// OpenShared opens a file for reading without keeping others from renaming
// or deleting it, and without waiting for a writer if it is a FIFO.
func OpenShared(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func idOf(fi os.FileInfo) (FileID, error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return FileID{}, fmt.Errorf("cannot identify %s: no inode", fi.Name())
	}
	return FileID{Volume: uint64(st.Dev), Index: uint64(st.Ino)}, nil
}
