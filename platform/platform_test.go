package platform

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("got %q, %v; want %q", got, err, text)
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", fi.Mode())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v %v", left, err)
	}
	if err := WriteFile(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Fatal("a file is no directory")
	}
}

func TestFree(t *testing.T) {
	if n, err := Free(t.TempDir()); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if _, err := Free(filepath.Join(t.TempDir(), "none")); err == nil && runtime.GOOS != "openbsd" && runtime.GOOS != "netbsd" {
		t.Fatal("room in a directory that isn't there")
	}
}

func TestNameless(t *testing.T) {
	dir := t.TempDir()
	f, err := Nameless(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("abc"), 2); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := f.ReadAt(b, 2); err != nil || string(b) != "abc" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v %v", left, err)
	}
	if _, err := Nameless(filepath.Join(dir, "none")); err == nil {
		t.Fatal("a file in a directory that isn't there")
	}
}

func TestMakeDir(t *testing.T) {
	top := filepath.Join(t.TempDir(), "a")
	dir := filepath.Join(top, "b")
	for range 2 { // also when it is there
		if err := MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	fi, err := os.Stat(dir)
	if err != nil || !fi.IsDir() || canChmod && fi.Mode().Perm() != 0o700 {
		t.Fatalf("got %v, %v", fi, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "c")} {
		if err := MakeDir(path); err == nil {
			t.Errorf("made %s", path)
		}
	}
}

func TestProgramName(t *testing.T) {
	for in, want := range map[string]string{"/usr/bin/cscli": "cscli", "cs.exe": "cs", "./cs": "cs"} {
		if got := ProgramName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Fatalf("without a manager: %v", err)
	}
	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("no datagram sockets here: %v", err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
}

func TestGrowHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(40))
	is := func(want int) {
		t.Helper()
		got := debug.SetGCPercent(want)
		if got != want {
			t.Fatalf("collects at %d %%, want %d", got, want)
		}
	}
	first := GrowHeap(100)
	second := GrowHeap(200)
	is(100)
	first()
	first()
	is(100)
	second()
	is(40)
}

func TestHalves(t *testing.T) {
	for _, n := range []int{0, 1, halvesFrom - 1, halvesFrom, halvesFrom + 1} {
		seen := make([]int, n)
		Halves(n, func(from, to int) {
			for i := from; i < to; i++ {
				seen[i]++
			}
		})
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("element %d of %d was seen %d times", i, n, times)
			}
		}
	}
}
