package agent

import (
	"errors"
	"runtime"
	"testing"
	"testing/fstest"

	"cs/roles/engine"
)

func TestDiscover(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no usual logs")
	}
	none := errors.ErrUnsupported
	f := func(want string, journal error, files ...string) {
		t.Helper()
		root := fstest.MapFS{}
		for _, name := range files {
			root[name] = &fstest.MapFile{}
		}
		got := ""
		for _, acq := range discover(root, journal) {
			if acq.Labels["type"] != "syslog" {
				continue
			}
			got += engine.What(acq)
		}
		if got != want {
			t.Errorf("with %q and journal %v: got %q, want %q", files, journal, got, want)
		}
	}
	const journal = "journalctl-_COMM=sshd._COMM=sshd-session._COMM=sshd-auth"
	f("/var/log/auth.log", nil, "var/log/auth.log", "var/log/syslog", "var/log/journal/1234/system.journal") // Debian with rsyslog
	f(journal, nil, "var/log/journal/1234/system.journal", "var/log/messages")                               // Debian 12, Fedora
	f(journal, nil, "run/log/journal/1234/system.journal")
	f("/var/log/secure", nil, "var/log/secure", "var/log/messages", "run/log/journal/1234/system.journal") // RHEL
	f("/var/log/messages", none, "var/log/messages")                                                       // Alpine
	f("logread", none, "sbin/logd")                                                                        // OpenWrt
	f("/var/log/messages", nil, "var/log/messages", "var/log/journal/1234/nothing")
	f("/var/log/auth*.log", none) // it may come
	f("/var/log/auth*.log", nil)

	web := ""
	for _, acq := range discover(fstest.MapFS{}, none) {
		if kind := acq.Labels["type"]; kind != "syslog" {
			web += kind + " " + engine.What(acq) + "\n"
		}
	}
	if want := "nginx /var/log/nginx/*access*.log\n" +
		"apache2 /var/log/apache2/*access*.log,/var/log/httpd/*access*log,/var/log/httpd-access*.log\n"; web != want {
		t.Errorf("got %q, want %q", web, want)
	}
}
