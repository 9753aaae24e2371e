package config

import (
	"os"
	"testing"
)

// TestLeadTo: credentials are for the LAPI beside them or for another.
func TestLeadTo(t *testing.T) {
	l := &LAPI{Listen: "0.0.0.0:8080", Socket: "/run/lapi.sock", AdminSocket: "/data/cs.sock"}
	f := func(url string, want bool) {
		t.Helper()
		url, err := normalURL(url)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Credentials{URL: url}).LeadTo(l); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	f("http://127.0.0.1:8080", true)
	f("127.0.0.1:8080/", true)
	f("http://0.0.0.0:8080", true)
	f("http://[::1]:8080", true)
	f("http://LocalHost:8080", true)
	if own, err := os.Hostname(); err == nil {
		f("https://"+own+":8080", true)
	}
	f("/run//lapi.sock", true)
	f("/data/cs.sock", true)
	f("http://127.0.0.1:8081", false)
	f("http://127.0.0.1", false)
	f("http://203.0.113.7:8080", false)
	f("https://lapi.example.org:8080", false)
	f("/run/other.sock", false)
	l.Listen, l.Socket, l.AdminSocket = "127.0.0.1:443", "", "data/cs.sock"
	f("https://localhost", true)
	f("http://localhost", false)
	f("/data/cs.sock", false)
}
