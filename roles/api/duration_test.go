package api

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	f := func(in string, want time.Duration) {
		t.Helper()
		got, err := ParseDuration(in)
		if err != nil || got != want {
			t.Fatalf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	f("4h", 4*time.Hour)
	f("1d", 24*time.Hour)
	f("2d12h", 60*time.Hour)
	f("1.5d", 36*time.Hour)
	f("-1d1h", -25*time.Hour)
	f("3h59m57.123456789s", 3*time.Hour+59*time.Minute+57*time.Second+123456789)
	f("-2m0s", -2*time.Minute)
	f("0", 0)

	bad := func(in string) {
		t.Helper()
		if got, err := ParseDuration(in); err == nil {
			t.Fatalf("%q: got %v, want an error", in, got)
		}
	}
	bad("")
	bad("d")
	bad("4")
	bad("1h2d")
	bad("1d-2h")
	bad("1e3d")
	bad("--1d")
	bad("infd")
	bad("999999999d")
	bad("106751d99h")
	bad("1d2d")
}

func TestFormatDuration(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := formatDuration(d); got != want {
			t.Fatalf("%v: got %s, want %s", d, got, want)
		}
	}
	f(0, "0s")
	f(4*time.Hour, "4h0m0s")
	f(58*time.Minute+time.Second, "58m1s")
	f(-2*time.Minute, "-2m0s")
	f(1499*time.Millisecond, "1s")
	f(1500*time.Millisecond, "2s")
	f(-300*time.Millisecond, "0s")
}

// FuzzDuration: what can be parsed is printed as the standard library does,
// and read back the same.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"4h", "1d", "2d12h", "-1d1h", "1.5d", "0.9s", "d", "1d1", "9223372036854775807ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		text := formatDuration(d)
		if want := d.Round(time.Second).String(); text != want && d.Round(time.Second)%time.Second == 0 {
			t.Fatalf("%v: got %s, want %s", d, text, want)
		}
		again, err := ParseDuration(text)
		if err != nil || again != d.Round(time.Second)/time.Second*time.Second {
			t.Fatalf("%s: read back as %v, %v", text, again, err)
		}
	})
}
