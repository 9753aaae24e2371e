package journal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/pipeline/source"
	"cs/platform/sharedtest"
)

// realJournal writes entries to a journal file as systemd does.
func realJournal(t *testing.T, path string, from, to int) {
	t.Helper()
	remote := sharedtest.Program(t, "/lib/systemd/systemd-journal-remote")
	sharedtest.Program(t, program)
	var text strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&text, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=0123456789abcdef0123456789abcdef\n"+
			"_HOSTNAME=web1\nSYSLOG_IDENTIFIER=sshd\n_COMM=sshd\n_PID=42\nMESSAGE=line %d\n\n",
			time.Date(2026, 1, 2, 12, 0, n, 0, time.UTC).UnixMicro(), 1000+n, n)
	}
	cmd := exec.CommandContext(t.Context(), remote, "-o", path, "-")
	cmd.Stdin = strings.NewReader(text.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("CS_REQUIRE_SHARED") == "1" {
			t.Fatalf("systemd-journal-remote can't write a journal: %v: %s", err, out)
		}
		t.Skipf("systemd-journal-remote can't write a journal here: %v: %s", err, out)
	}
}

// TestRealJournal: real files, followed with a cursor over a restart; one that is
// damaged costs what it held at most, and nothing else.
func TestRealJournal(t *testing.T) {
	if testing.Short() {
		t.Skip("systemd's programs take their time")
	}
	dir := t.TempDir()
	good := filepath.Join(dir, "a.journal")
	realJournal(t, good, 0, 5)
	open := func(once bool) (*Source, *source.Positions) {
		p, err := source.OpenPositions(filepath.Join(dir, "state"), nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return New(Config{Filter: []string{"--directory=" + dir, "_COMM=sshd"}, Positions: p, Once: once, Report: func(err error) { t.Log(err) }}), p
	}
	s, _ := open(true)
	got, err := collect(t, s, 9)
	if err != nil || len(got) != 5 || got[4] != "Jan  2 12:00:04 web1 sshd[42]: line 4" {
		t.Fatalf("got %q, %v", got, err)
	}

	// Behind a cursor, as after a restart.
	s, p := open(false)
	s.resume()
	s.pos = source.Position{Key: s.pos.Key, Offset: time.Date(2026, 1, 2, 12, 0, 1, 0, time.UTC).UnixMicro(), Cursor: cursorOf(t, dir, 1)}
	if got, _ = collect(t, s, 3); len(got) != 3 || !strings.HasSuffix(got[0], "line 2") || !strings.HasSuffix(got[2], "line 4") {
		t.Fatalf("got %q", got)
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}

	// A damaged file beside it.
	damaged := filepath.Join(dir, "b.journal")
	realJournal(t, damaged, 10, 20)
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0x400; i < len(data); i += 97 {
		data[i] ^= 0xff
	}
	if err := os.WriteFile(damaged, data, 0o600); err != nil {
		t.Fatal(err)
	}
	realJournal(t, filepath.Join(dir, "c.journal"), 30, 33)
	s, _ = open(false)
	got, _ = collect(t, s, 3)
	if len(got) < 3 || !strings.HasSuffix(got[len(got)-1], "line 32") {
		t.Fatalf("got %q", got)
	}
	for _, line := range got {
		if strings.HasSuffix(line, " line 4") {
			t.Errorf("%q comes again", line)
		}
	}
}

// cursorOf returns the cursor of the n-th entry.
func cursorOf(t *testing.T, dir string, n int) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "--directory="+dir, "--output=export", "--no-pager").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range strings.Split(string(out), "\n\n") {
		if n--; n < 0 {
			_, rest, _ := strings.Cut(entry, "__CURSOR=")
			cursor, _, _ := strings.Cut(rest, "\n")
			return cursor
		}
	}
	t.Fatal("there are not so many entries")
	return ""
}
