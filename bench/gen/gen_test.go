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
