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
// Path.1, the one before that Path.2. The file is opened for each line, so that
// others may rotate it, too.
type LogFile struct {
	Path     string
	MaxSize  int64         // bytes; 0: it is not rotated
	MaxFiles int           // besides Path
	MaxAge   time.Duration // of what was rotated; 0: none is too old
	// Else gets the lines that can't be written.
	Else io.Writer

	mu sync.Mutex
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

func (l *LogFile) rotate() error {
	name := func(n int) string { return fmt.Sprintf("%s.%d", l.Path, n) }
	for n := max(l.MaxFiles, 1); n >= 1; n-- {
		info, err := os.Stat(name(n))
		if err != nil {
			continue
		}
		if n >= l.MaxFiles || l.MaxAge > 0 && time.Since(info.ModTime()) > l.MaxAge {
			err = os.Remove(name(n))
		} else {
			err = os.Rename(name(n), name(n+1))
		}
		if err != nil {
			return err
		}
	}
	return os.Rename(l.Path, name(1))
}
