package platform

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogFile(t *testing.T) {
	var lost strings.Builder
	path := filepath.Join(t.TempDir(), "log", "bouncer.log")
	l := &LogFile{Path: path, MaxSize: 10, MaxFiles: 2, MaxAge: time.Hour, Else: &lost}
	is := func(name, want string) {
		t.Helper()
		got, _ := os.ReadFile(path + name)
		if string(got) != want {
			t.Errorf("bouncer.log%s holds %q, want %q", name, got, want)
		}
	}
	for _, line := range []string{"one\n", "two\n", "three\n", "a line that is too long\n", "five\n"} {
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	is("", "five\n")
	is(".1", "a line that is too long\n")
	is(".2", "three\n")
	is(".3", "")
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path+".1", long, long); err != nil {
		t.Fatal(err)
	}
	l.Write([]byte("sixth\n"))
	is(".1", "five\n")
	is(".2", "") // it was too old
	if info, err := os.Stat(path); err != nil || canChmod && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	l.Compress = true
	l.Write([]byte("seventh\n"))
	l.packing.Wait()
	is(".1", "")
	is(".2", "")
	if got := unpacked(t, path+".1.gz") + unpacked(t, path+".2.gz"); got != "sixth\nfive\n" {
		t.Errorf("compressed: %q", got)
	}
	if err := os.Chtimes(path+".1.gz", long, long); err != nil {
		t.Fatal(err)
	}
	l.Write([]byte("eighth\n"))
	l.packing.Wait()
	if got := unpacked(t, path+".1.gz") + unpacked(t, path+".2.gz"); got != "seventh\n" {
		t.Errorf("compressed, without what was too old: %q", got)
	}
	l.Path = filepath.Join(path, "below a file")
	if l.Write([]byte("seven\n")); !strings.HasSuffix(lost.String(), "\nseven\n") {
		t.Errorf("told %q", lost.String())
	}
}

// unpacked is what a compressed file holds, "" if there is none.
func unpacked(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
