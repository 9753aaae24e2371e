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
