package platform

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile writes a file so that after a crash, or a power cut, there is
// either the old content or the new one: temporary file, fsync, rename, fsync
// of the directory. perm applies to a new file as it is, whatever the umask.
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
	if err == nil {
		err = SyncDir(dir)
	}
	return err
}
