package platform

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// LogFile is a log that goes to a file, which is rotated: the one before is
// Path.1, the one before that Path.2, or with ".gz" behind it. The file is opened for
// each line, so that others may rotate it, too.
type LogFile struct {
	Path     string
	MaxSize  int64         // bytes; 0: it is not rotated
	MaxFiles int           // besides Path
	MaxAge   time.Duration // of what was rotated; 0: none is too old
	Compress bool          // what was rotated; builds without a compressor don't
	// Else gets the lines that can't be written.
	Else io.Writer

	mu      sync.Mutex
	packing sync.WaitGroup
}

// Write appends a line.
func (l *LogFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(line); err != nil {
		fmt.Fprintf(l.Else, "cannot write the log: %v\n", err)
		return l.Else.Write(line)
	}
	return len(line), nil
}

func (l *LogFile) write(line []byte) error {
	if info, err := os.Stat(l.Path); err == nil && l.MaxSize > 0 && info.Size() > 0 && info.Size()+int64(len(line)) > l.MaxSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(l.Path), 0o755); err == nil {
			f, err = os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// rotated is the name of the n-th file before this one.
func (l *LogFile) rotated(n int) string { return fmt.Sprintf("%s.%d", l.Path, n) }

func (l *LogFile) rotate() error {
	l.packing.Wait() // names change
	for n := max(l.MaxFiles, 1); n >= 1; n-- {
		for _, form := range []string{"", packed} {
			name := l.rotated(n) + form
			info, err := os.Stat(name)
			if err != nil {
				continue
			}
			if n >= l.MaxFiles || l.MaxAge > 0 && time.Since(info.ModTime()) > l.MaxAge {
				err = os.Remove(name)
			} else {
				err = os.Rename(name, l.rotated(n+1)+form)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := os.Rename(l.Path, l.rotated(1)); err != nil {
		return err
	}
	if l.Compress && compressor != nil {
		l.packing.Go(l.pack) // lines don't wait for it
	}
	return nil
}

// packed ends the names of compressed files.
const packed = ".gz"

// pack compresses what was rotated; one that could not be, as when the process ended
// meanwhile, stays as it is until the next time.
func (l *LogFile) pack() {
	for n := 1; n <= l.MaxFiles; n++ {
		if err := packFile(l.rotated(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(l.Else, "cannot compress the log: %v\n", err)
		}
	}
}

func packFile(path string) error {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(path+packed+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // one name: what was left of an attempt is no litter
	if err != nil {
		return err
	}
	z := compressor(dst)
	_, err = io.Copy(z, src)
	err = errors.Join(err, z.Close())
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err == nil { // its age is that of its last line
		err = os.Chtimes(dst.Name(), info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = os.Rename(dst.Name(), path+packed)
	}
	src.Close() // Windows removes nothing that is open
	if now, serr := os.Stat(path); err != nil || serr != nil || !os.SameFile(info, now) {
		return errors.Join(err, serr) // it was rotated meanwhile, by another process
	}
	return os.Remove(path)
}
