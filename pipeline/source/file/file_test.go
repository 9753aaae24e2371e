package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cs/pipeline/event"
)

func TestFirstStart(t *testing.T) {
	for _, fromStart := range []bool{false, true} {
		f := newFollower(t, Config{Globs: []string{"a.log", "b*.log"}, FromStart: fromStart})
		f.write("a.log", "one\ntwo\nhal")
		f.look()
		f.write("a.log", "f\n")
		f.write("b1.log", "late\n")
		f.look()
		if fromStart {
			f.want("one", "two", "half", "late")
		} else {
			f.want("half", "late") // the line that was unfinished counts as new
		}
	}
}

func TestLines(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true, MaxLine: 10})
	f.write("a.log", "one\r\n\n\r\n\xfftwo\n")
	f.look()
	f.want("one", "\xfftwo")
	f.write("a.log", strings.Repeat("x", 11))
	f.look()
	f.want("xxxxxxxxxx") // cut at once, however long it gets
	f.write("a.log", "rest of it")
	f.look()
	f.stop() // the position is within that line
	f.start()
	f.write("a.log", "and the end\n0123456789\n01234567890\nnext\n")
	f.look()
	f.want("0123456789", "0123456789", "next")
	if len(f.errs) != 2 || !strings.Contains(f.errs[0], "longer than 10 bytes") {
		t.Fatalf("reports: %q", f.errs)
	}
}

func TestLineLongerThanBuffer(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	long := strings.Repeat("long ", bufferSize/3)
	f.write("a.log", "first\n"+long+"\nlast\n")
	f.look()
	f.want("first", long, "last")
	if len(f.src.buf) != bufferSize {
		t.Fatalf("the buffer stays at %d bytes", len(f.src.buf))
	}
}

func TestRenameBetweenLooks(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "1\n")
	f.look()
	f.write("a.log", "2\n")
	f.rename("a.log", "a.log.1")
	f.write("a.log", "3\n")
	f.rename("a.log.1", "a.log.2")
	f.rename("a.log", "a.log.1")
	f.write("a.log", "4\n")
	f.look()
	f.want("1", "2", "3", "4")
	f.write("a.log.2", "late\n")
	f.write("a.log", "5\n")
	f.look()
	f.want("late", "5")
	f.now = f.now.Add(2 * drain)
	f.look()
	f.look()
	if f.src.tails[0].rotating() {
		t.Fatal("rotated files are never closed")
	}
}

func TestRotatedUnfinishedLine(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "1\nunfin")
	f.look()
	f.rename("a.log", "a.log.1")
	f.write("a.log", "2\n")
	f.look()
	f.want("1")
	f.write("a.log.1", "ished\nagain")
	f.look()
	f.want("unfinished")
	f.now = f.now.Add(quiet)
	f.look()
	f.want("again", "2")
}

// TestRotatedIntoPattern: dated names match the pattern as well.
func TestRotatedIntoPattern(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"*.log"}, FromStart: true})
	f.write("a.log", "1\n")
	f.look()
	f.rename("a.log", "yesterday.log")
	f.write("a.log", "2\n")
	f.look()
	f.now = f.now.Add(2 * drain)
	f.look()
	f.now = f.now.Add(2 * drain)
	f.write("yesterday.log", "late\n")
	f.look()
	f.want("1", "2", "late")
	f.stop()
	f.start()
	f.write("yesterday.log", "later\n")
	f.look()
	f.want("later")
	f.stop()
	f.rename("a.log", "b.log")
	f.write("b.log", "3\n")
	f.write("a.log", "4\n")
	f.start()
	f.look()
	slices.Sort(f.got)
	f.want("3", "4")
}

func TestTruncatedWithoutCopy(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "old one\nold two\n")
	f.look()
	f.want("old one", "old two")
	if err := os.Truncate(f.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.write("a.log", "new, and longer than what was there\n") // so that the size tells nothing
	f.look()
	f.want("new, and longer than what was there")
	if len(f.errs) != 1 || !strings.Contains(f.errs[0], "a.log was truncated") {
		t.Fatalf("reports: %q", f.errs)
	}
}

// TestHoleAfterTruncation: a program without O_APPEND goes on at its old offset.
func TestHoleAfterTruncation(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	w, err := os.Create(f.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprintln(w, strings.Repeat("before ", 1000))
	f.look()
	f.got = nil
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "after")
	f.look()
	f.want("after")
}

func TestInodeReused(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "1\n")
	f.look()
	f.want("1")
	f.stop()
	if err := os.Remove(f.path("a.log")); err != nil {
		t.Fatal(err)
	}
	f.write("a.log", "another file, with the same inode more often than not\n")
	f.start()
	f.look()
	f.want("another file, with the same inode more often than not")
}

func TestGoneWhileStopped(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "1\n")
	f.look()
	f.stop()
	f.rename("a.log", "elsewhere")
	if err := os.Remove(f.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	f.write("a.log", "2\n")
	f.start()
	f.look()
	f.want("1", "2")
	if len(f.errs) != 1 || !strings.Contains(f.errs[0], "lines of "+f.path("a.log")+" after byte 2 may be lost") {
		t.Fatalf("reports: %q", f.errs)
	}
}

func TestUnreadable(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"missing.log", "dir", "good.log"}, FromStart: true})
	if err := os.Mkdir(f.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.write("good.log", "1\n")
	f.look()
	f.look()
	f.want("1")
	want := []string{
		"cannot read log " + f.path("missing.log") + ": no such file or directory",
		"cannot read log " + f.path("dir") + ": it is no regular file",
	}
	if runtime.GOOS != "windows" && !slices.Equal(f.errs, want) {
		t.Fatalf("got %q, want %q", f.errs, want)
	}
	f.write("missing.log", "here\n")
	f.look()
	f.want("here")
}

func TestExclude(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"*.log"}, FromStart: true, Exclude: []*regexp.Regexp{regexp.MustCompile(`bad\.log$`)}})
	f.write("bad.log", "1\n")
	f.write("good.log", "2\n")
	f.look()
	f.want("2")
}

func TestSymlink(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"current.log"}, FromStart: true})
	link := func(to string) {
		os.Remove(f.path("current.log"))
		if err := os.Symlink(f.path(to), f.path("current.log")); err != nil {
			t.Skip(err)
		}
	}
	f.write("monday", "1\n")
	link("monday")
	f.look()
	f.write("monday", "2\n")
	f.write("tuesday", "3\n")
	link("tuesday")
	f.look()
	f.want("1", "2", "3")
}

// TestSinkError: what the sink refused is not passed over.
func TestSinkError(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
	f.write("a.log", "1\n")
	full := errors.New("disk full")
	if _, err := f.src.look(context.Background(), func(context.Context, []event.Line, func()) error { return full }); err != full {
		t.Fatalf("got %v, want %v", err, full)
	}
	f.stop()
	f.start()
	f.look()
	f.want("1")
}

// TestRun follows a real file by notifications and stops at once.
func TestRun(t *testing.T) {
	for _, poll := range []bool{false, true} {
		t.Run(fmt.Sprintf("poll=%v", poll), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.log")
			if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			s, err := New(Config{Globs: []string{filepath.Join(dir, "*.log")}, Poll: poll, Report: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan string, 100)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() {
				done <- s.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
					defer done()

					for _, l := range batch {
						got <- strings.Clone(l.Raw)
					}
					return nil
				})
			}()
			time.Sleep(50 * time.Millisecond)
			w, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			lines := 3
			if poll {
				lines = 1
			}
			for i := range lines {
				begin := time.Now()
				fmt.Fprintln(w, i)
				select {
				case line := <-got:
					if line != fmt.Sprint(i) {
						t.Fatalf("got %q, want %d", line, i)
					}
					t.Logf("a line took %v", time.Since(begin))
				case <-time.After(10 * time.Second):
					t.Fatal("a line never came")
				}
			}
			begin := time.Now()
			cancel()
			if err := <-done; err != context.Canceled {
				t.Fatalf("got %v", err)
			}
			if d := time.Since(begin); d > 200*time.Millisecond {
				t.Fatalf("stopping took %v", d)
			}
		})
	}
}

func TestLinesAllocateNothing(t *testing.T) {
	allocs := func(lines int) float64 {
		f := newFollower(t, Config{Globs: []string{"a.log"}, FromStart: true})
		line := strings.Repeat("x", 100) + "\n"
		var n atomic.Int64
		sink := func(_ context.Context, batch []event.Line, done func()) error {
			defer done()
			n.Add(int64(len(batch)))
			return nil
		}
		f.write("a.log", line)
		f.src.look(context.Background(), sink)
		w, err := os.OpenFile(f.path("a.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		text := bytes.Repeat([]byte(line), lines)
		a := testing.AllocsPerRun(20, func() {
			w.Write(text)
			if _, err := f.src.look(context.Background(), sink); err != nil {
				t.Fatal(err)
			}
		})
		if want := int64(21*lines + 1); n.Load() != want {
			t.Fatalf("read %d lines, want %d", n.Load(), want)
		}
		return a
	}
	few, many := allocs(1), allocs(3000)
	if many > few {
		t.Fatalf("a look that finds 3000 lines allocates %v times, one that finds 1 line %v times", many, few)
	}
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	zw.Write([]byte("packed\r\nunfinished"))
	zw.Close()
	for name, data := range map[string][]byte{"a.log": []byte("1\n\n2"), "a.log.1.gz": z.Bytes(), "empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	sink := func(_ context.Context, batch []event.Line, done func()) error {
		defer done()

		for _, l := range batch {
			if l.Mode != event.Replay || l.Labels["type"] != "x" || l.Module != "file" {
				t.Errorf("wrong line %+v", l)
			}
			got = append(got, filepath.Base(l.Src)+":"+l.Raw)
		}
		return nil
	}
	cfg := Config{Globs: []string{filepath.Join(dir, "*")}, Labels: map[string]string{"type": "x"}}
	if err := NewReplay(cfg).Run(context.Background(), sink); err != nil {
		t.Fatal(err)
	}
	want := []string{"a.log:1", "a.log:2", "a.log.1.gz:packed", "a.log.1.gz:unfinished"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	cfg.Globs = []string{filepath.Join(dir, "nothing*")}
	if err := NewReplay(cfg).Run(context.Background(), sink); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkFollow(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "a.log")
	line := strings.Repeat("x", 179) + "\n"
	if err := os.WriteFile(path, bytes.Repeat([]byte(line), 100_000), 0o644); err != nil {
		b.Fatal(err)
	}
	sink := func(_ context.Context, _ []event.Line, done func()) error { done(); return nil }
	b.SetBytes(int64(len(line)) * 100_000)
	for b.Loop() {
		s, err := New(Config{Globs: []string{path}, FromStart: true})
		if err != nil {
			b.Fatal(err)
		}
		for more := true; more; {
			if more, err = s.look(context.Background(), sink); err != nil {
				b.Fatal(err)
			}
		}
		s.close()
	}
}

// What was written while nobody followed is told from what comes later.
func TestCatchUpLines(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"a.log"}})
	f.write("a.log", "old\n")
	f.look()
	f.write("a.log", "live\n")
	f.look()
	f.stop()
	f.write("a.log", "missed in the old file\n")
	f.rename("a.log", "a.log.1")
	f.write("a.log", "missed\nnot comp")
	written := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(f.path("a.log"), written, written); err != nil {
		t.Fatal(err)
	}
	f.modes = nil
	f.start()
	f.settle()
	f.write("a.log", "lete\nlive again\n")
	f.write("a.log.1", "to the old one\n")
	f.look()
	f.want("live", "missed in the old file", "missed", "to the old one", "not complete", "live again")
	want := []event.Mode{event.CatchUp, event.CatchUp, event.Live, event.Live, event.Live}
	if !slices.Equal(f.modes, want) {
		t.Errorf("modes are %v, want %v", f.modes, want)
	}
	if got := f.times[2]; !got.Equal(written) {
		t.Errorf("it was written at %v", got)
	}
}
