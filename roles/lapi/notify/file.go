package notify

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// file appends to a log file. When that gets too long it becomes PATH.1, that
// one PATH.2, and so on.
type file struct {
	mu       sync.Mutex
	path     string
	maxSize  int64 // 0: it is never moved
	maxFiles int
	maxAge   time.Duration
	compress bool
}

func newFile(o *options) sender {
	f := &file{path: o.required("log_path")}
	if rotate, ok := o.keys["rotate"].(map[string]any); ok {
		r := options{keys: rotate, env: o.env}
		if r.bool("enabled") {
			f.maxSize = int64(r.number("max_size", 500)) << 20
			f.maxFiles = max(r.number("max_files", 3), 1)
			f.maxAge = time.Duration(r.number("max_age", 28)) * 24 * time.Hour
			f.compress = r.bool("compress")
		}
		o.errs = append(o.errs, r.errs...)
	}
	return f
}

// newDummy writes to a file for tests.
func newDummy(o *options) sender { return &file{path: o.required("output_file")} }

func (f *file) send(_ context.Context, text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if info, err := os.Stat(f.path); err == nil && f.maxSize > 0 && info.Size()+int64(len(text)) > f.maxSize {
		if err := f.rotate(); err != nil {
			return fmt.Errorf("cannot rotate the file: %w", err)
		}
	}
	out, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return errors.Join(err, out.Close())
}

// name returns the path of the n-th file before.
func (f *file) name(n int) string {
	if f.compress {
		return fmt.Sprintf("%s.%d.gz", f.path, n)
	}
	return fmt.Sprintf("%s.%d", f.path, n)
}

func (f *file) rotate() error {
	if err := os.Remove(f.name(f.maxFiles)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for n := f.maxFiles - 1; n > 0; n-- {
		old := f.name(n)
		info, err := os.Stat(old)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && f.maxAge > 0 && time.Since(info.ModTime()) > f.maxAge:
			err = os.Remove(old)
		case err == nil:
			err = os.Rename(old, f.name(n+1))
		}
		if err != nil {
			return err
		}
	}
	if !f.compress {
		return os.Rename(f.path, f.name(1))
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(f.name(1), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	return os.Remove(f.path)
}
