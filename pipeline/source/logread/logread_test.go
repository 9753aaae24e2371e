package logread

import (
	"context"
	"errors"
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

// quick is Kind with short pauses and a host of a known name.
var quick = source.Kind{Open: func(spec *source.Spec) (source.Source, error) {
	src, err := Kind.Open(spec)
	if err == nil {
		src.(*Source).pause, src.(*Source).host = 10*time.Millisecond, "router"
	}
	return src, err
}}

// fake puts a program logread on the PATH.
func fake(t *testing.T, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no logread on Windows")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\ncd '"+dir+"'\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestFollow(t *testing.T) {
	fake(t, `[ "$*" = -f ] || exit 9
if [ -e once ]; then echo 'Mon Nov 30 12:00:02 2026 user.notice cron: again'; exec sleep 60; fi
touch once
echo 'Mon Nov 30 12:00:01 2026 authpriv.warn dropbear[7]: Bad password attempt for root from 192.0.2.7:4711'
echo
exit 3`)
	r := sourcetest.Start(t, quick, sourcetest.Spec(t, "logread", ""))
	want := []string{
		"Nov 30 12:00:01 router dropbear[7]: Bad password attempt for root from 192.0.2.7:4711",
		"Nov 30 12:00:02 router cron: again",
	}
	if got := r.Wait(2); !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	r.Stop()
}

func TestLines(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if got := string(appendLine(nil, []byte(line), "router")); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("Mon Nov  2 12:00:01 2026 daemon.info dnsmasq-dhcp[1]: DHCPACK", "Nov  2 12:00:01 router dnsmasq-dhcp[1]: DHCPACK")
	f("Mon Nov  2 12:00:01 2026 kern.warn kernel: [ 1.2] IN=wan", "Nov  2 12:00:01 router kernel: [ 1.2] IN=wan")
	f("Nov  2 12:00:01 box auth.info sshd[4]: x", "Nov  2 12:00:01 box sshd[4]: x")
	f("Nov  2 12:00:01 box sshd[4]: a.b c", "Nov  2 12:00:01 box sshd[4]: a.b c")
	f("something else", "something else")
	f("Mon Nov 99 12:00:01 2026 a.info x", "Mon Nov 99 12:00:01 2026 a.info x")
	f("", "")
}

func TestLongLine(t *testing.T) {
	spec := sourcetest.Spec(t, "logread", "")
	s := &Source{spec: spec, host: "router"}
	var got []int
	text := strings.Repeat("x", 3*source.MaxLine) + "\nshort\n"
	err := s.read(t.Context(), strings.NewReader(text), func(_ context.Context, batch []event.Line, done func()) error {
		for _, l := range batch {
			got = append(got, len(l.Raw))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []int{source.MaxLine, 5}) || spec.Meter.Cut.Load() != 1 {
		t.Errorf("%v, got %v, %d cut", err, got, spec.Meter.Cut.Load())
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	src, err := Kind.Open(sourcetest.Spec(t, "logread", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	sourcetest.Faults(t, "logread", Kind, "filter: x", "filter: unknown key")
}
