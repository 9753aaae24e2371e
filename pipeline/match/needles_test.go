package match

import (
	"slices"
	"testing"
)

func TestNeedles(t *testing.T) {
	f := func(expr string, want ...string) {
		t.Helper()
		got := Needles(expr)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
	f(`^(/etc|/var)/.*Passwd$`, "passwd")
	f(`(?i)ab|\d+CD`, "ab", "cd")
	f(`a|\d`)
	f(`(`)
}
