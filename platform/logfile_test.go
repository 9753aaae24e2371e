package platform

import (
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
	l.Path = filepath.Join(path, "below a file")
	if l.Write([]byte("seven\n")); !strings.HasSuffix(lost.String(), "\nseven\n") {
		t.Errorf("told %q", lost.String())
	}
}
