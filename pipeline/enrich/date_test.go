package enrich

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 7, 8, 9, 10, 11, 12, time.UTC)

func TestParse(t *testing.T) {
	var ds Dates
	f := func(text, layout, want string) {
		t.Helper()
		for range 2 { // the second from the memo
			d, ok := ds.Parse(text, layout, now)
			got := ""
			if ok {
				got = string(d.AppendText(nil))
			}
			if got != want {
				t.Fatalf("%q by %q: got %q, want %q", text, layout, got, want)
			}
		}
	}
	f("29/Sep/2021:14:11:34 +0200", "", "2021-09-29T14:11:34+02:00")
	f("29/Sep/2021:14:11:34 -0330", "", "2021-09-29T14:11:34-03:30")
	f("29/Sep/2021:24:11:34 +0200", "", "")
	f("31/Sep/2021:14:11:34 +0200", "", "")
	f("2021-09-29T14:11:34Z", "", "2021-09-29T14:11:34Z")
	f("2021-09-29T14:11:34.120+02:00", "", "2021-09-29T14:11:34.12+02:00")
	f("2021-09-29T14:11:34,120+02:00", "", "2021-09-29T14:11:34.12+02:00")
	f("2021-09-29T14:11:34", "", "2021-09-29T14:11:34Z")
	f("2021/09/29 14:11:34", "", "2021-09-29T14:11:34Z")
	f("2021-09-29 14:11:34.5", "", "2021-09-29T14:11:34.5Z")
	f("2021-09-29", "", "2021-09-29T00:00:00Z")
	f("Jan  2 03:04:05", "", "2026-01-02T03:04:05Z")
	f("Jan 12 03:04:05", "", "2026-01-12T03:04:05Z")
	f("Feb 29 03:04:05", "", "2026-03-01T03:04:05Z")
	f("Sat Feb 13 20:04:05.123456 2021", "", "2021-02-13T20:04:05.123456Z")
	f("13.02.2021 20h04", "02.01.2006 15h04", "2021-02-13T20:04:00Z")
	f("02/01/2021 20:04:05", "", "2021-02-01T20:04:05Z")
	f("02/01/2021 20:04:05", "02/01/2006 15:04:05", "2021-01-02T20:04:05Z")
	f("2021-09-29T14:11:34Z", "15:04", "2021-09-29T14:11:34Z")
	f("yesterday", "", "")
	f("", "", "")
	f("-5", "", "")
	f("0001-01-01T00:00:00Z", "", "")
	if d, ok := ds.Parse("1632917494.5", "", now); !ok || d.Time.Unix() != 1632917494 {
		t.Fatalf("Unix time: got %v, %v", d, ok)
	}
}

func TestRFC3339(t *testing.T) {
	f := func(text string, want int64, ok bool) {
		t.Helper()
		got, k := RFC3339(text)
		if k != ok || ok && got.Unix() != want {
			t.Fatalf("%q: got %v, %v", text, got, k)
		}
	}
	f("1970-01-01T01:00:05+01:00", 5, true)
	f("1970-01-01T01:00:05.25+01:00", 5, true)
	f("0001-01-01T00:00:00Z", -62135596800, true)
	f("1970-01-01", 0, false)
	f("", 0, false)
}

func FuzzFastEqualsSlow(f *testing.F) {
	for _, s := range []string{"29/Sep/2021:14:11:34 +0200", "2021-09-29T14:11:34.120+02:00", "Jan  2 03:04:05",
		"Jan 12 03:04:05", "2021/09/29 14:11:34", "2021-09-29 14:11:34", "2021-09-29T14:11:34", "Feb 29 03:04:05",
		"Jan 02 03:04:05", "29/Feb/2021:14:11:34 +0200", "2021-09-29T14:11:34.1-23:59", "0999-09-29T14:11:34Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := fast(s, now)
		if !ok {
			return
		}
		want, ok := slow(s, "", now.Year())
		if !ok || d != want {
			t.Fatalf("%q: fast %v, slow %v, %v", s, d, want, ok)
		}
		text := d.AppendText(nil)
		if back, ok := rfc3339(string(text)); !ok || back != d {
			t.Fatalf("%q became %s, which reads back as %v, %v", s, text, back, ok)
		}
		if std, _ := d.Time.In(time.FixedZone("", d.Offset)).MarshalText(); string(std) != string(text) {
			t.Fatalf("%q: text %s, want %s", s, text, std)
		}
	})
}

func TestCommonFormsDoNotAllocate(t *testing.T) {
	var ds Dates
	buf := make([]byte, 0, 64)
	for _, s := range []string{"29/Sep/2021:14:11:34 +0200", "2021-09-29T14:11:34.120+02:00", "Jan  2 03:04:05", "2021/09/29 14:11:34",
		"Sat Feb 13 20:04:05.123456 2021"} {
		if n := testing.AllocsPerRun(100, func() {
			d, ok := ds.Parse(s, "", now)
			if !ok {
				t.Fatal(s)
			}
			buf = d.AppendText(buf[:0])
		}); n != 0 {
			t.Errorf("%q: %v allocations", s, n)
		}
	}
}

// A line may hold a megabyte where a date should be.
func TestLongTextIsNoDate(t *testing.T) {
	var ds Dates
	text := "2021-09-29 14:11:34." + strings.Repeat("1", 1<<20)
	if n := testing.AllocsPerRun(10, func() {
		if _, ok := ds.Parse(text, "", now); ok {
			t.Fatal("this is no date")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	var ds Dates
	buf := make([]byte, 0, 64)
	for b.Loop() {
		d, _ := ds.Parse("29/Sep/2021:14:11:34 +0200", "", now)
		buf = d.AppendText(buf[:0])
	}
}
