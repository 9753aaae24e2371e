package file

import (
	"context"
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
