package decisions

import (
	"strings"
	"testing"
)

func TestUUID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := NewUUID()
		if !IsUUID(s) || !IsUUID(strings.ToUpper(s)) || seen[s] {
			t.Fatalf("%q is no UUID of its own", s)
		}
		seen[s] = true
		if b, ok := parseUUID(s); !ok || uuidText(b) != s {
			t.Fatalf("%q reads back as %q", s, uuidText(b))
		}
	}
	f := func(s string, want bool) {
		t.Helper()
		if got := IsUUID(s); got != want {
			t.Fatalf("%q: %v, want %v", s, got, want)
		}
	}
	f("f81d4fae-7dec-41d0-a765-00a0c91e6bf6", true)
	f("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", false) // version 1
	f("f81d4fae-7dec-41d0-c765-00a0c91e6bf6", false) // another variant
	f("f81d4fae7dec41d0a76500a0c91e6bf6", false)
	f("f81d4fae-7dec-41d0-a765-00a0c91e6bg6", false)
	f("f81d4fae-7dec-41d0-a765-00a0c91e6bf", false)
	f("", false)
}
