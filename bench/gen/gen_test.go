package gen

import (
	"slices"
	"strings"
	"testing"
)

func TestSSH(t *testing.T) {
	a, b := SSH(800), SSH(800)
	if !slices.Equal(a, b) {
		t.Fatal("two runs differ")
	}
	failed := 0
	for _, l := range a {
		if strings.Contains(l, "Failed password") {
			failed++
		}
	}
	if failed != 200 {
		t.Fatalf("%d failed logins in 800 lines, want 200", failed)
	}
}

func TestWeb(t *testing.T) {
	for _, nonASCII := range []bool{false, true} {
		lines := NewWeb(nonASCII).Lines(1000)
		if !slices.Equal(lines, NewWeb(nonASCII).Lines(1000)) {
			t.Fatal("two runs differ")
		}
		size, foreign := 0, 0
		for _, l := range lines {
			size += len(l)
			if strings.ContainsFunc(l, func(r rune) bool { return r > 127 }) {
				foreign++
			}
		}
		if nonASCII != (foreign == len(lines)) || !nonASCII && foreign > 0 || size < 150*len(lines) || size > 300*len(lines) {
			t.Fatalf("nonASCII %v: %d lines with other letters, %d bytes", nonASCII, foreign, size)
		}
	}
	var text strings.Builder
	n, err := NewWeb(false).Write(&text, 100_000)
	if got := strings.Count(text.String(), "\n"); err != nil || got != n || text.Len() < 100_000 || text.Len() > 101_000 {
		t.Fatalf("%d lines told, %d written, %d bytes, %v", n, got, text.Len(), err)
	}
}

func TestAccessLog(t *testing.T) {
	t.Chdir("../..")
	t.Setenv("CS_SHARED", t.TempDir()) // where there is none
	lines, path, err := AccessLog()
	if err != nil || path != "testdata/logs/web-access.log" || len(lines) < 300 || lines[len(lines)-1] == "" {
		t.Fatalf("%d lines of %q, %v", len(lines), path, err)
	}
	t.Chdir(t.TempDir())
	if _, _, err := AccessLog(); err == nil {
		t.Fatal("found a log where there is none")
	}
}
