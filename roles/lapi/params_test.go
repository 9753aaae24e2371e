package lapi

import (
	"net/url"
	"testing"
)

// FuzzParams: a query reads the same as with net/url.
func FuzzParams(f *testing.F) {
	for _, raw := range []string{"", "ip=1.2.3.4", "startup=true&scopes=ip,range", "a=1&a=2", "a;b=1&c", "%zz=1&b=%2F+%20&=", "a=%", "&&x==y&"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := parseParams(raw)
		want, _ := url.ParseQuery(raw)
		for key := range want {
			if !got.Has(key) || got.Get(key) != want.Get(key) {
				t.Fatalf("%q: %q is %q (%v), want %q", raw, key, got.Get(key), got.Has(key), want.Get(key))
			}
		}
		for _, p := range got {
			if !want.Has(p.key) {
				t.Fatalf("%q: there is no %q", raw, p.key)
			}
		}
	})
}
