package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source/sourcetest"
)

// Each key does something.
func TestKeys(t *testing.T) {
	dir := filepath.ToSlash(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a.log", "b.log", "c.txt"} {
		write(name, "")
	}
	f := func(text string, want ...string) {
		t.Helper()
		r := sourcetest.Start(t, Kind, sourcetest.Spec(t, "file", text))
		for _, name := range []string{"a.log", "b.log", "c.txt"} {
			write(name, name+"\n")
		}
		got := r.Wait(len(want))
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if l := r.Lines()[0]; l.Module != "file" || filepath.Dir(filepath.ToSlash(l.Src)) != dir || l.Mode != event.Live {
			t.Errorf("%s: got %+v", text, l)
		}
		r.Stop()
	}
	f(fmt.Sprintf("filename: %s/a.log", dir), "a.log")
	f(fmt.Sprintf("filename: %s/a.log\nfilenames: ['%[1]s/c*']", dir), "a.log", "c.txt")
	f(fmt.Sprintf("filenames: ['%s/*']\nexclude_regexps: ['b\\.log$', '^/never']", dir), "a.log", "c.txt")
	f(fmt.Sprintf("filename: %s/c.txt\nmax_buffer_size: 2", dir), "c.")
	f(fmt.Sprintf("filename: %s/c.txt\npoll_without_inotify: true", dir), "c.txt")

	open := func(text string) *Source {
		t.Helper()
		src, err := Kind.Open(sourcetest.Spec(t, "file", "filename: "+dir+"/a.log\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		s := src.(*Source)
		s.remote = func(string) bool { return true } // as if on NFS
		return s
	}
	// Whether it relies on notifications: never, also on network filesystems, on others only.
	for text, want := range map[string][2]bool{"poll_without_inotify: true": {}, "poll_without_inotify: false": {true, true}, "": {true, false}} {
		s := open(text)
		w := newWatcher(s)
		w.follow([]string{dir})
		if got := [2]bool{w.fs != nil, w.all}; got != want {
			t.Errorf("%q: notifications are used, and trusted: %v, want %v", text, got, want)
		}
		w.close()
	}
	for text, want := range map[string]time.Duration{
		"": globEvery, "discovery_poll_interval: 2s": globEvery, "discovery_poll_enable: true": 30 * time.Second, "discovery_poll_enable: true\ndiscovery_poll_interval: 2s": 2 * time.Second,
	} {
		s := open(text)
		if s.cfg.GlobEvery != want {
			t.Errorf("%q: new files are looked for each %v", text, s.cfg.GlobEvery)
		}
		s.discover()
		first := s.globbed
		s.now = func() time.Time { return first.Add(want - time.Millisecond) }
		if _, err := s.look(t.Context(), nil); err != nil || s.globbed != first {
			t.Errorf("%q: %v, looked at %v", text, err, s.globbed.Sub(first))
		}
		s.now = func() time.Time { return first.Add(want) }
		if _, err := s.look(t.Context(), nil); err != nil || s.globbed == first {
			t.Errorf("%q: %v, did not look", text, err)
		}
		s.close()
	}
	for _, text := range []string{"force_inotify: true", "force_inotify: false"} { // where there is no match yet
		r := sourcetest.Start(t, Kind, sourcetest.Spec(t, "file", fmt.Sprintf("filenames: ['%s/late*']\n%s", dir, text)))
		write("late.log", "late\n")
		r.Wait(1)
		r.Stop()
		if err := os.Remove(filepath.Join(dir, "late.log")); err != nil {
			t.Fatal(err)
		}
	}

	spec := sourcetest.Spec(t, "file", "")
	spec.DSN, spec.Once, spec.Mode = "file://"+dir+"/a*?max_buffer_size=3&log_level=debug", true, event.Replay
	r := sourcetest.Start(t, Kind, spec)
	if err := r.End(); err != nil || len(r.Texts()) == 0 || r.Texts()[0] != "a.l" || r.Lines()[0].Mode != event.Replay {
		t.Errorf("%v, got %+v", err, r.Lines())
	}

	// A pattern without a match is an error of a DSN alone; exclusions count in both modes.
	spec = sourcetest.Spec(t, "file", "")
	spec.DSN, spec.Once = "file://"+dir+"/none*", true
	r = sourcetest.Start(t, Kind, spec)
	if err := r.End(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	spec = sourcetest.Spec(t, "file", fmt.Sprintf("filenames: ['%s/none*', '%[1]s/*.log']\nexclude_regexps: ['b\\.log$']", dir))
	spec.Once = true
	var told []error
	spec.Report = func(err error) { told = append(told, err) }
	r = sourcetest.Start(t, Kind, spec)
	if err := r.End(); err != nil || len(told) != 1 || !errors.Is(told[0], os.ErrNotExist) || !slices.Contains(r.Texts(), "a.log") || slices.Contains(r.Texts(), "b.log") {
		t.Errorf("%v, told %v, got %q", err, told, r.Texts())
	}
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "file", Kind,
		"labels: {a: b}", "filenames: there is no file name",
		"filename: /x\nfilenames: ['/[']", "acquis.yaml:3: filenames",
		"filename: /x\nexclude_regexps: ['(']", "acquis.yaml:3: exclude_regexps[0]",
		"filename: /x\nmax_buffer_size: -1", "acquis.yaml:3: max_buffer_size",
		"filename: /x\npoll_without_inotify: maybe", "poll_without_inotify: want true or false",
		"filename: /x\ndiscovery_poll_enable: true\ndiscovery_poll_interval: 0s", "acquis.yaml:4: discovery_poll_interval: want a duration",
		"filename: /x\ndiscovery_poll_interval: often", "discovery_poll_interval",
		"filename: /x\nforce_inotfy: true", "did you mean force_inotify?",
	)
}
