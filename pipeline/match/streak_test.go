package match

import (
	"strings"
	"testing"
)

// A program that has matched for long no longer looks for its literal first, until it
// doesn't match; what it tells is the same.
func TestStreak(t *testing.T) {
	p, err := Compile(`^\w+ failed for (\w+)`, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	var m Machine
	f := func(s, want string) {
		t.Helper()
		caps := m.Caps(2)
		got := "none"
		if p.Match(&m, s, caps) {
			got = s[caps[2]:caps[3]]
		}
		if got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	for range 3 {
		for range 2 * trusted {
			f("login failed for bob", "bob")
		}
		if p.streak.Load() != trusted {
			t.Fatal("it should be trusted")
		}
		f("login worked for bob", "none")
		if p.streak.Load() != 0 {
			t.Fatal("it should no longer be trusted")
		}
		f("login worked for bob", "none")
		f("login failed for al", "al")
		f(strings.Repeat("login ", 9)+"failed for al", "none")
	}
}
