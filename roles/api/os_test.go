package api

import "testing"

func TestParseOSRelease(t *testing.T) {
	f := func(text string, want OS) {
		t.Helper()
		if got := parseOSRelease(text); got != want {
			t.Fatalf("%q: %+v, want %+v", text, got, want)
		}
	}
	f("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n", OS{"debian", "12", "linux"})
	f("ID='openwrt'\r\nVERSION_ID=", OS{"openwrt", "unknown", "linux"})
	f("", OS{"linux", "unknown", "linux"})
}
