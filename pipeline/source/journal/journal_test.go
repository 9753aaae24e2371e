package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// fakeJournal puts a program of that name on the PATH. It appends its
// arguments to dir/calls, and runs the script.
func fakeJournal(t *testing.T, script string) (dir string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no journal on Windows")
	}
	dir = t.TempDir()
	text := "#!/bin/sh\ncd '" + dir + "'\necho \"$*\" >>calls\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

func calls(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// exported is an entry n in the export format, at noon of 2 January 2026 and n seconds.
func exported(n int, fields ...string) string {
	text := fmt.Sprintf("__CURSOR=c%d\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID=x\n",
		n, time.Date(2026, 1, 2, 12, 0, n, 0, time.UTC).UnixMicro())
	return text + strings.Join(fields, "\n") + "\n\n"
}

func binaryField(name, value string) string {
	return name + "\n" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(value)))) + value
}

func sshd(text string) []string {
	return []string{"_HOSTNAME=web1", "SYSLOG_IDENTIFIER=sshd", "_PID=42", "MESSAGE=" + text}
}

// collect runs a source until it has delivered want lines.
func collect(t *testing.T, s *Source, want int) (got []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if want == 0 {
		cancel()
	}
	s.local = time.UTC
	s.pause = 10 * time.Millisecond
	err = s.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
		for _, l := range batch {
			got = append(got, strings.Clone(l.Raw))
		}
		done()
		if len(got) >= want {
			cancel()
		}
		return nil
	})
	return got, err
}

func TestClassicForm(t *testing.T) {
	f := func(want string, fields ...string) {
		t.Helper()
		s := New(Config{Filter: []string{"x"}})
		s.local = time.UTC
		var got []string
		err := s.read(context.Background(), strings.NewReader(exported(5, fields...)), 0, false,
			func(_ context.Context, batch []event.Line, done func()) error {
				for _, l := range batch {
					got = append(got, strings.Clone(l.Raw))
				}
				done()
				return nil
			})
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("got %q, %v; want %q", strings.Join(got, "|"), err, want)
		}
	}
	const head = "Jan  2 12:00:05 web1 "
	f(head+"sshd[42]: Failed password", sshd("Failed password")...)
	f(head+"sshd: hi", "_HOSTNAME=web1", "_COMM=sshd", "MESSAGE=hi")
	f(head+"su[7]: hi", "_HOSTNAME=web1", "_COMM=other", "SYSLOG_IDENTIFIER=su", "SYSLOG_PID=7", "MESSAGE=hi")
	f("Jan  2 12:00:05 localhost unknown: hi", "MESSAGE=hi")
	f(head+"sshd[42]: a=b=c", sshd("a=b=c")...)
	f(head+"sshd[42]: tail \xff", append(sshd("x")[:3], binaryField("MESSAGE", "tail \xff"))...)
	f("", append(sshd("x")[:3], "MESSAGE=")...)
	f("", sshd("x")[:3]...)
	// A message must not look like another program's line.
	f(head+"evil[42]: one|"+head+"evil[42]: Jan  2 12:00:05 web1 sshd[1]: Failed password",
		"_HOSTNAME=web1", "SYSLOG_IDENTIFIER=evil", "_PID=42", binaryField("MESSAGE", "one\n\nJan  2 12:00:05 web1 sshd[1]: Failed password\r\n"))
	f(head+"a_sshd_1_:[42]: x", "_HOSTNAME=web1", "SYSLOG_IDENTIFIER=a sshd[1]:", "_PID=42", "MESSAGE=x")
}

func TestFollow(t *testing.T) {
	dir := fakeJournal(t, `cat entries; [ -e end ] && exit 0; exec sleep 60`)
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(exported(1, sshd("one")...)+exported(2, sshd("two")...)), 0o644); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	open := func() (*Source, *source.Positions) {
		p, err := source.OpenPositions(state, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return New(Config{Filter: []string{"_COMM=sshd", "_COMM=sshd-session"}, Positions: p}), p
	}
	s, p := open()
	begin := time.Now()
	got, err := collect(t, s, 2)
	if err != context.Canceled || len(got) != 2 || got[1] != "Jan  2 12:00:02 web1 sshd[42]: two" {
		t.Fatalf("got %q, %v", got, err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Fatalf("it took %v, with stopping", d)
	}
	if s.Name() != "journalctl-_COMM=sshd._COMM=sshd-session" {
		t.Fatalf("named %q", s.Name())
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	s, _ = open()
	if _, err := collect(t, s, 1); err != context.Canceled {
		t.Fatal(err)
	}
	want := []string{
		"--output=export --no-pager --follow --lines=0 _COMM=sshd _COMM=sshd-session",
		"--output=export --no-pager --follow --no-tail --after-cursor=c2 _COMM=sshd _COMM=sshd-session",
	}
	if got := calls(t, dir); !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

// TestCatchUp: entries from before the start, when there is a cursor, were written while nobody
// read them; their time is that of the journal.
func TestCatchUp(t *testing.T) {
	dir := fakeJournal(t, `cat entries; exec sleep 60`)
	text := exported(1, sshd("old")...) + strings.ReplaceAll(exported(2, sshd("new")...), "__REALTIME_TIMESTAMP=1767", "__REALTIME_TIMESTAMP=9767")
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, cursor := range []string{"", "c0"} {
		s := New(Config{Filter: []string{"x"}})
		s.pos.Cursor = cursor
		var modes []event.Mode
		var times []time.Time
		ctx, cancel := context.WithCancel(t.Context())
		_ = s.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			for _, l := range batch {
				modes, times = append(modes, l.Mode), append(times, l.Time)
			}
			done()
			if len(modes) == 2 {
				cancel()
			}
			return nil
		})
		cancel()
		want := []event.Mode{event.Live, event.Live}
		if cursor != "" {
			want[0] = event.CatchUp
		}
		if !slices.Equal(modes, want) {
			t.Errorf("cursor %q: modes %v, want %v", cursor, modes, want)
		}
		if cursor != "" && !times[0].Equal(time.Date(2026, 1, 2, 12, 0, 1, 0, time.UTC)) || time.Since(times[1]) > time.Minute {
			t.Errorf("cursor %q: times %v", cursor, times)
		}
	}
}

// TestRestart: journalctl dies now and then, and goes on behind the last entry.
func TestRestart(t *testing.T) {
	dir := fakeJournal(t, `n=$(wc -l <calls); cat entry$n; exit 3`)
	for n := 1; n <= 3; n++ {
		text := exported(n, sshd(fmt.Sprint(n))...)
		if n == 2 {
			text += "__CURSOR=c9\nMESSAGE=cut o" // killed while it wrote
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("entry", n)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var reports []string
	s := New(Config{Filter: []string{"x"}, Report: func(err error) { reports = append(reports, err.Error()) }})
	got, _ := collect(t, s, 3)
	if len(got) != 3 || !strings.HasSuffix(got[2], ": 3") {
		t.Fatalf("got %q", got)
	}
	if c := calls(t, dir); !strings.Contains(c[1], "--after-cursor=c1") || !strings.Contains(c[2], "--after-cursor=c2") {
		t.Fatalf("got %q", c)
	}
	if len(reports) == 0 || !strings.Contains(reports[0], "exit status 3") {
		t.Fatalf("got %q", reports)
	}
}

// TestLostCursor: the journal was rotated away or is damaged. Then time says where to go on.
func TestLostCursor(t *testing.T) {
	dir := fakeJournal(t, `case "$*" in *after-cursor*) echo "Failed to seek to cursor" >&2; exit 1;; esac; cat entries; exec sleep 60`)
	text := exported(1, sshd("known")...) + exported(2, sshd("known as well")...) + exported(3, sshd("new")...)
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var reports []string
	s := New(Config{Filter: []string{"x"}, Report: func(err error) { reports = append(reports, err.Error()) }})
	s.pos = source.Position{Cursor: "gone", Offset: time.Date(2026, 1, 2, 12, 0, 2, 0, time.UTC).UnixMicro()}
	got, _ := collect(t, s, 1)
	if !slices.Equal(got, []string{"Jan  2 12:00:03 web1 sshd[42]: new"}) {
		t.Fatalf("got %q", got)
	}
	c := calls(t, dir)
	if last := c[len(c)-1]; !strings.Contains(last, fmt.Sprintf("--since=@%d ", s.pos.Offset/1e6-1)) {
		t.Fatalf("got %q", last)
	}
	if len(reports) != 1 || !strings.Contains(reports[0], "Failed to seek to cursor") {
		t.Fatalf("got %q", reports)
	}
}

func TestOnce(t *testing.T) {
	dir := fakeJournal(t, `cat entries`)
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(exported(1, sshd("one")...)), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, New(Config{Filter: []string{"x"}, Once: true}), 5)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %q, %v", got, err)
	}
	if c := calls(t, dir); c[0] != "--output=export --no-pager x" {
		t.Fatalf("got %q", c)
	}
}

// TestKeys: what acquisitions and DSNs say reaches journalctl.
func TestKeys(t *testing.T) {
	dir := fakeJournal(t, `cat entries`)
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(exported(1, sshd("one")...)), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := sourcetest.Spec(t, "journalctl", "journalctl_filter: [-u, ssh]\nsince: 2 days ago\n")
	spec.Once, spec.Mode = true, event.Replay // mode: cat, use_time_machine: true
	r := sourcetest.Start(t, Kind, spec)
	if err := r.End(); err != nil || len(r.Lines()) != 1 || r.Lines()[0].Mode != event.Replay || r.Lines()[0].Src != "journalctl--u.ssh" {
		t.Errorf("%v, got %+v", err, r.Lines())
	}
	spec = sourcetest.Spec(t, "journalctl", "")
	spec.Once, spec.DSN = true, "journalctl://filters=-u&filters=ssh&since=yesterday&log_level=error"
	r = sourcetest.Start(t, Kind, spec)
	if err := r.End(); err != nil || len(r.Lines()) != 1 || r.Lines()[0].Mode != event.Live {
		t.Errorf("%v, got %+v", err, r.Lines())
	}
	if c := calls(t, dir); !slices.Equal(c, []string{"--output=export --no-pager --since=2 days ago -u ssh", "--output=export --no-pager --since=yesterday -u ssh"}) {
		t.Errorf("got %q", c)
	}
	sourcetest.Faults(t, "journalctl", Kind,
		"labels: {a: b}", "journalctl_filter: there is none",
		"journalctl_filter: -u", "journalctl_filter: want a list",
		"journalctl_filters: [-u]", "did you mean journalctl_filter?",
	)
}

func TestNoJournal(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := New(Config{Filter: []string{"x"}}).Run(context.Background(), nil)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "journalctl is not installed") {
		t.Fatalf("got %v", err)
	}
}

func TestSinkError(t *testing.T) {
	dir := fakeJournal(t, `cat entries; exec sleep 60`)
	if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(exported(1, sshd("one")...)), 0o644); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	s := New(Config{Filter: []string{"x"}})
	if err := s.Run(context.Background(), func(context.Context, []event.Line, func()) error { return full }); err != full {
		t.Fatalf("got %v", err)
	}
	if s.pos.Cursor != "" {
		t.Fatalf("passed over to %q", s.pos.Cursor)
	}
}

func TestLongMessage(t *testing.T) {
	long := strings.Repeat("x", 3*exportBuffer)
	for _, field := range []string{"MESSAGE=" + long, binaryField("MESSAGE", long)} {
		r := newExportReader(strings.NewReader(exported(1, field, "OTHER="+long)+exported(2, "MESSAGE=next")), 1000)
		e, err := r.next()
		if err != nil || len(e.message) != 1000 || e.cut != 1 {
			t.Fatalf("got %d bytes, cut %d, %v", len(e.message), e.cut, err)
		}
		if e, err = r.next(); err != nil || string(e.message) != "next" || e.cut != 0 {
			t.Fatalf("got %+v, %v", e, err)
		}
	}
}

func FuzzExport(f *testing.F) {
	f.Add([]byte(exported(1, sshd("one")...) + exported(2, binaryField("MESSAGE", "two\nlines"))))
	f.Add([]byte("__CURSOR\n\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("__CURSOR=x\n__REALTIME_TIMESTAMP=y\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newExportReader(bytes.NewReader(data), 100)
		for range len(data) + 2 {
			e, err := r.next()
			if err != nil {
				return
			}
			if len(e.message) > 100 || len(e.cursor) == 0 {
				t.Fatalf("got %+v", e)
			}
		}
		t.Fatalf("more entries than bytes")
	})
}

func TestArguments(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		if got := strings.Join(New(cfg).arguments(true), " "); got != "--output=export --no-pager "+want {
			t.Errorf("got %s", got)
		}
	}
	f(Config{Filter: []string{"-u", "x"}}, "--follow --lines=0 -u x")
	f(Config{Filter: []string{"-u", "x"}, Once: true}, "-u x")
	f(Config{Filter: []string{"-u", "x"}, Once: true, Since: "2 days ago"}, "--since=2 days ago -u x")
}
