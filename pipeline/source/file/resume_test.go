package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

// A process is killed after its log was rotated twice, with positions saved when the
// newer two files were still empty; then the log is rotated again. The file in the
// middle has nothing to be recognised by, but its neighbours have.
func TestEmptyWhenSaved(t *testing.T) {
	dir := t.TempDir()
	log, state := filepath.Join(dir, "log"), filepath.Join(dir, "positions")
	write := func(path, text string, minute int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
		at := time.Date(2026, 3, 14, 10, minute, 0, 0, time.UTC)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *source.Positions {
		t.Helper()
		p, err := source.OpenPositions(state, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open()
	s, err := New(Config{Globs: []string{log}, Positions: p})
	if err != nil {
		t.Fatal(err)
	}
	note := func(text string) {
		t.Helper()
		write(log, text, 0)
		r, err := openReader(log)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		r.off = int64(len(text))
		if _, err := r.same(&s.headBuf); err != nil {
			t.Fatal(err)
		}
		r.track(s, s.keyPrefix()+log, nil)
	}
	rotate := func(to string) {
		t.Helper()
		if err := os.Rename(log, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	note("a\n")
	rotate("log.1")
	note("")
	rotate("log.2")
	note("")
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "log.2"), "b\n", 1)
	write(log, "c\n", 2)
	rotate("log.3")
	write(log, "d\n", 3)

	s, err = New(Config{Globs: []string{log}, Positions: open(), Report: func(err error) { t.Log(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var got []string
	out := func(_ context.Context, batch []event.Line, done func()) error {
		for _, l := range batch {
			got = append(got, strings.Clone(l.Raw))
		}
		done()
		return nil
	}
	for range 3 {
		if _, err := s.look(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// behind looks with a sink that takes nothing: rotations are noticed and nothing is read.
func (f *follower) behind() {
	f.t.Helper()
	stuck := errors.New("stuck")
	_, err := f.src.look(f.t.Context(), func(context.Context, []event.Line, func()) error { return stuck })
	if err != nil && !errors.Is(err, stuck) {
		f.t.Fatal(err)
	}
}

// kill saves positions and begins again as a new process does, after away.
func (f *follower) kill(away func()) {
	f.t.Helper()
	f.stop()
	away()
	f.start()
}

func (f *follower) remove(name string) {
	f.t.Helper()
	if err := os.Remove(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// rotateBy rotates app.log, with as many as ten older ones; copying empties the log itself.
func (f *follower) rotateBy(copying bool) {
	f.t.Helper()
	for n := 10; n > 0; n-- {
		os.Rename(f.path(fmt.Sprintf("app.log.%d", n)), f.path(fmt.Sprintf("app.log.%d", n+1))) // most are not there
	}
	if !copying {
		f.rename("app.log", "app.log.1")
		return
	}
	if err := copyFile(f.path("app.log"), f.path("app.log.1")); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Truncate(f.path("app.log"), 0); err != nil {
		f.t.Fatal(err)
	}
}

// refilledBehind makes a log of which the reader has nothing but positions at the start of three
// files: the one in the middle was copied and emptied twice and filled again, which
// nobody has noticed yet.
func refilledBehind(t *testing.T) *follower {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "p\n")
	f.behind()
	f.rotateBy(false)
	f.write("app.log", "a1\n")
	f.behind()
	f.rotateBy(true)
	f.write("app.log", "a2\n")
	f.rotateBy(true)
	f.write("app.log", "a3\n")
	f.rotateBy(false)
	f.write("app.log", "c\n")
	f.behind()
	return f
}

// A copy is found in place of the file that was emptied; what came into that file later lies
// between the copy and the next one.
func TestKilledBehindTruncation(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		f := refilledBehind(t)
		f.kill(func() {
			if rotated {
				f.rotateBy(false)
				f.write("app.log", "d\n")
			}
		})
		f.look()
		want := []string{"p", "a1", "a2", "a3", "c"}
		if rotated {
			want = append(want, "d")
		}
		f.want(want...)
		if len(f.errs) > 0 {
			t.Errorf("reports %q", f.errs)
		}
	}
}

// The same, when what was not read is gone: the rest is read, and the loss is told.
func TestKilledBehindTruncationCopyGone(t *testing.T) {
	f := refilledBehind(t)
	f.kill(func() {
		f.remove("app.log.4") // p
		f.remove("app.log.3") // a1
		f.rotateBy(false)
		f.write("app.log", "d\n")
	})
	f.look()
	f.want("a2", "a3", "c", "d")
	if len(f.errs) != 2 {
		t.Errorf("reports %q", f.errs)
	}
}

// All that is known of a log is that it was empty: what it was filled with is in copies, and
// what was rotated before that was never ours.
func TestKilledWhenEmpty(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		f := newFollower(t, Config{Globs: []string{"app.log"}})
		f.write("app.log.7", "old\n")
		at := f.now.Add(-time.Hour)
		if err := os.Chtimes(f.path("app.log.7"), at, at); err != nil {
			t.Fatal(err)
		}
		f.write("app.log", "")
		f.look()
		f.kill(func() {
			f.write("app.log", "1\n")
			f.rotateBy(true)
			f.write("app.log", "2\n")
			f.rotateBy(true)
			f.write("app.log", "3\n")
			if rotated {
				f.rotateBy(false)
				f.write("app.log", "4\n")
			}
		})
		f.look()
		want := []string{"1", "2", "3"}
		if rotated {
			want = append(want, "4")
		}
		f.want(want...)
	}
}

// The only file with a position was deleted: those that came after it have changed since.
func TestKilledAndDeleted(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}})
	f.write("app.log", "")
	f.look()
	f.write("app.log", "1\n")
	f.look()
	f.kill(func() {
		f.rotateBy(false)
		f.write("app.log", "2\n")
		f.rotateBy(false)
		f.write("app.log", "3\n")
		f.rotateBy(false)
		f.write("app.log", "4\n")
		f.remove("app.log.3")
	})
	f.look()
	f.want("1", "2", "3", "4")
	if len(f.errs) != 1 {
		t.Errorf("reports %q", f.errs)
	}
}

// Whenever positions are saved while those of an earlier process are taken over, they are
// complete: nothing is skipped or read again by the next process.
func TestSavedWhileResuming(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "1\n")
	f.look()
	f.rotateBy(false)
	f.write("app.log", "2\n")
	f.look()
	f.want("1", "2")
	f.kill(func() {
		f.write("app.log", "3\n")
	})
	saves := 0
	f.src.now = func() time.Time {
		if err := f.pos.Save(); err != nil {
			t.Fatal(err)
		}
		p, err := source.OpenPositions(f.cfg.Labels["state"], nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		var offsets []int64
		for _, pos := range p.Saved("file:test:" + f.path("app.log")) {
			offsets = append(offsets, pos.Offset)
		}
		if !slices.Equal(offsets, []int64{2, 2}) {
			t.Errorf("offsets %v are saved", offsets)
		}
		saves++
		return f.now
	}
	f.behind()
	if saves == 0 {
		t.Error("nothing was saved")
	}
}

// What was never read of a log that is emptied without a copy is lost, and told.
func TestTruncatedBeforeRead(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "1\n")
	f.behind()
	if err := os.Truncate(f.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.write("app.log", "2\n")
	f.look()
	f.want("2")
	if len(f.errs) != 1 {
		t.Errorf("reports %q", f.errs)
	}
}

// A process is killed when it has found the copy of an emptied log, and the position in the
// log itself is still that of before: the copy is read once, and nothing is told to be lost.
func TestKilledBetweenCopyAndLog(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
		f.write("app.log", "1\n")
		f.look()
		f.want("1")
		f.write("app.log", "2\n")
		f.rotateBy(true)
		tail := f.src.tails[0]
		tail.insert(0, tail.findCopy(tail.cur.position()))
		f.kill(func() {
			f.write("app.log", "3\n")
			if rotated {
				f.rotateBy(false)
				f.write("app.log", "4\n")
			}
		})
		f.look()
		want := []string{"2", "3"}
		if rotated {
			want = append(want, "4")
		}
		f.want(want...)
		if len(f.errs) > 0 {
			t.Errorf("reports %q", f.errs)
		}
	}
}

// A log is copied and emptied while its position is taken over: of the copy, only what was not
// read before is.
func TestTruncatedWhileResuming(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "p\n")
	f.look()
	f.rotateBy(false)
	long := strings.Repeat("x", source.MaxHead)
	f.write("app.log", long+"\n")
	f.look()
	f.want("p", long)
	f.kill(func() { f.write("app.log", "2\n") })
	calls := 0
	f.src.now = func() time.Time {
		if tails := f.src.tails; len(tails) > 0 && len(tails[0].old) > 0 {
			if calls++; calls == 2 { // the position of the log is that of this file
				f.rotateBy(true)
				f.write("app.log", "3\n")
			}
		}
		return f.now
	}
	f.look()
	f.want("2", "3")
	if len(f.errs) > 0 {
		t.Errorf("reports %q", f.errs)
	}
}

// A log is rotated while positions are taken over, and one of the files of which there is a position is
// deleted then: the log that is about to be followed is no missed one.
func TestRotatedWhileResuming(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "a\n")
	f.look()
	f.rotateBy(false)
	f.write("app.log", "b\n")
	f.behind()
	f.rotateBy(false)
	f.write("app.log", "c\n")
	f.behind()
	f.want("a")
	f.kill(func() {
		f.remove("app.log.2") // a
		f.write("app.log", "c too\n")
	})
	done := false
	f.src.now = func() time.Time {
		if tails := f.src.tails; !done && len(tails) > 0 && len(tails[0].old) == 2 { // a, which is gone, and b
			done = true
			f.remove("app.log.1") // b
			f.rotateBy(false)
			f.write("app.log", "d\n")
		}
		return f.now
	}
	f.look()
	f.look()
	if f.want("b", "c", "c too", "d"); !done {
		t.Error("nothing was rotated")
	}
}

// That more of the beginning of a file is known than there was when its size was taken is no sign of
// truncation: it grows.
func TestGrowsBetweenLooks(t *testing.T) {
	f := newFollower(t, Config{Globs: []string{"app.log"}, FromStart: true})
	f.write("app.log", "1\n")
	f.look()
	f.write("app.log", "2\n")
	r := f.src.tails[0].cur
	if _, err := r.same(&f.src.headBuf); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(t.Context(), f.src, noLimit, false, f.sink); err != nil {
		t.Fatal(err)
	}
	f.want("1", "2")
}
