package platform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile writes a file so that after a crash, or a power cut, there is
// either the old content or the new one: temporary file, fsync, rename, fsync
// of the directory. perm applies to a new file as it is, whatever the umask. A file that
// is a mount of its own, as containers have them, is written in its place instead.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return ReplaceFile(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// ReplaceFile is WriteFile for what is not in memory at once.
func ReplaceFile(path string, perm os.FileMode, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	tmp := f.Name()
	defer func() {
		if err != nil {
			os.Remove(tmp)
			err = fmt.Errorf("cannot write %s: %w", path, err)
		}
	}()
	if err = f.Chmod(perm); err == nil || !canChmod {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if errors.Is(err, syscall.EBUSY) { // nothing takes the name of a mount
		return overwrite(path, tmp)
	}
	if err == nil {
		err = SyncDir(dir)
	}
	return err
}

// overwrite gives a file the content of another, which is removed.
func overwrite(path, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close(), os.Remove(from))
}
