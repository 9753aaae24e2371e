package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// pack compresses a file as gzip and zstd do: under another name, with its time, and without the
// file.
func (f *follower) pack(name, ending string) {
	f.t.Helper()
	text, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	fi, err := os.Stat(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := os.Create(f.path(name + ending))
	if err != nil {
		f.t.Fatal(err)
	}
	var z io.WriteCloser = gzip.NewWriter(w)
	if ending == ".zst" {
		if z, err = zstd.NewWriter(w); err != nil {
			f.t.Fatal(err)
		}
	}
	_, err = z.Write(text)
	for _, err := range []error{err, z.Close(), w.Close(), os.Chtimes(w.Name(), fi.ModTime(), fi.ModTime()), os.Remove(f.path(name))} {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// rotatePacked rotates app.log as logrotate does without delaycompress, copies that are there included.
func (f *follower) rotatePacked(ending string) {
	f.t.Helper()
	for n := 9; n > 0; n-- {
		os.Rename(f.path(fmt.Sprintf("app.log.%d%s", n, ending)), f.path(fmt.Sprintf("app.log.%d%s", n+1, ending))) // most are not there
	}
	f.rename("app.log", "app.log.1")
	f.pack("app.log.1", ending)
}

// What was rotated and compressed while nobody followed is read on from where it was left, and so is
// what came and went since, once each.
func TestPackedWhileAway(t *testing.T) {
	for _, ending := range []string{".gz", ".zst"} {
		if !unpackable(ending) {
			continue // in this build
		}
		for _, long := range []int{1, 1500} { // with less and more than tells files apart, than a buffer holds
			f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
			lines := func(first, n int) (list []string) {
				for i := range n {
					list = append(list, fmt.Sprintf("%d %s", first+i, strings.Repeat("x", 100)))
				}
				return list
			}
			text := func(list []string) string { return strings.Join(list, "\n") + "\n" }
			read, rest := lines(0, long), lines(long, 2*long)
			f.write("app.log", text(read))
			f.look()
			f.want(read...)
			f.modes = nil
			f.kill(func() {
				f.write("app.log", text(rest))
				f.rotatePacked(ending)
				f.write("app.log", "second\n")
				f.rotatePacked(ending)
				f.write("app.log", "third without end")
				f.rotatePacked(ending)
				f.write("app.log", "now\n")
			})
			f.look()
			f.want(append(rest, "second", "third without end", "now")...)
			if i := slices.IndexFunc(f.modes, func(m event.Mode) bool { return m != event.CatchUp }); i >= 0 {
				t.Errorf("line %d is taken for one of now", i)
			}
			f.write("app.log", "later\n")
			f.look()
			f.want("later")
			for range 2 { // they are known from now on, also under other names
				f.kill(func() {
					f.rotatePacked(ending)
					f.write("app.log", "again\n")
				})
				f.look()
				f.want("again")
			}
			if len(f.errs) > 0 {
				t.Errorf("reports %q", f.errs)
			}
		}
	}
}

// A process that is killed while it unpacks goes on where it was.
func TestKilledWhileUnpacking(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "0\n")
	f.look()
	var want []string
	f.kill(func() {
		for i := range bufferSize / 4 {
			want = append(want, fmt.Sprintf("line %d", i))
		}
		f.write("app.log", strings.Join(want, "\n")+"\n")
		f.rotatePacked(".gz")
		f.write("app.log", "now\n")
	})
	want = append(append([]string{"0"}, want...), "now")
	for stops := 0; len(f.got) < len(want); stops++ {
		if stops > len(want) {
			t.Fatalf("got %d of %d lines", len(f.got), len(want))
		}
		batches := 0
		_, err := f.src.look(t.Context(), func(ctx context.Context, batch []event.Line, done func()) error {
			if batches++; batches > 20 {
				return errors.New("killed")
			}
			return f.sink(ctx, batch, done)
		})
		if err != nil {
			f.kill(func() {})
		}
	}
	f.look()
	f.want(want...)
}

// A log that is copied, emptied and its copy compressed; names with dates; and a damaged file, which
// costs what was in it.
func TestPackedCopy(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "1\n")
	f.look()
	f.kill(func() {
		f.write("app.log", "2\n")
		if err := copyFile(f.path("app.log"), f.path("app.log-20260314")); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(f.path("app.log"), 0); err != nil {
			t.Fatal(err)
		}
		f.pack("app.log-20260314", ".gz")
		f.write("app.log", "3\n")
	})
	f.look()
	f.want("1", "2", "3")
	f.kill(func() {
		f.write("app.log", "4\n")
		f.rename("app.log", "app.log-20260315")
		f.pack("app.log-20260315", ".gz")
		f.write("app.log", "5\n")
		f.rename("app.log", "app.log-20260316")
		f.pack("app.log-20260316", ".gz")
		path := f.path("app.log-20260316.gz")
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, fi.Size()-4); err != nil { // its checksum
			t.Fatal(err)
		}
		if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatal(err)
		}
		f.write("app.log", "6\n")
	})
	f.look()
	f.want("4", "5", "6")
	if len(f.errs) != 2 || !strings.Contains(f.errs[1], "app.log after byte 2 are lost") {
		t.Errorf("reports %q", f.errs)
	}
}

// A running source reads what is rotated before that is compressed; neither that nor a pattern that
// takes the compressed files as well makes it read them.
func TestPackedWhileRunning(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"*"}, FromStart: true})
	for i := range 12 {
		f.write("app.log", fmt.Sprintf("%d\n", i))
		f.look()
		f.rotatePacked(".gz")
		f.write("app.log", fmt.Sprintf("and %d\n", i))
		f.look()
		f.want(fmt.Sprint(i), fmt.Sprintf("and %d", i))
		f.now = f.now.Add(2 * drain)
		f.look()
		if i%4 == 3 {
			f.kill(func() {})
			f.look()
		}
	}
	f.look()
	f.want()
	if len(f.errs) > 0 {
		t.Errorf("reports %q", f.errs)
	}
}

// While a file is being compressed, both are there.
func TestBeingPacked(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", strings.Repeat("x", 2*source.MaxHead)+"\n")
	f.look()
	f.got = nil
	f.kill(func() {
		f.rename("app.log", "app.log.1")
		f.write("app.log", "new\n")
		f.rename("app.log.1", "app.log.2")
		f.rename("app.log", "app.log.1")
		for _, name := range []string{"app.log.1", "app.log.2"} {
			if err := copyFile(f.path(name), f.path("copy")); err != nil {
				t.Fatal(err)
			}
			f.pack("copy", ".gz")
			f.rename("copy.gz", filepath.Base(name)+".gz")
		}
		f.write("app.log", "now\n")
	})
	f.look()
	f.want("new", "now")
}
