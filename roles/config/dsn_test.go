package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDSN(t *testing.T) {
	f := func(dsn string, want Acquisition) {
		t.Helper()
		want.Cat, want.Labels = true, map[string]string{}
		got, err := ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", dsn, diff)
		}
	}
	f("file:///var/log/*.log", Acquisition{Source: "file", Globs: []string{"/var/log/*.log"}})
	f("file://x.gz?max_buffer_size=100&log_level=debug", Acquisition{Source: "file", Globs: []string{"x.gz"}, MaxLineSize: 100})
	f("journalctl://filters=_SYSTEMD_UNIT%3Dssh.service&filters=-q&since=2+days+ago",
		Acquisition{Source: "journalctl", JournalFilter: []string{"_SYSTEMD_UNIT=ssh.service", "-q"}, JournalSince: "2 days ago"})

	bad := func(dsn, want string) {
		t.Helper()
		_, err := ParseDSN(dsn)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot read \"") {
			t.Errorf("%s: got %v, want %q", dsn, err, want)
		}
	}
	bad("/var/log/auth.log", "want SOURCE://WHAT")
	bad("file://", "it has no path")
	bad("file://x?y=1", "unknown parameter y")
	bad("file://x?since=1", "unknown parameter since")
	bad("file://x?max_buffer_size=none", `not "none"`)
	bad("file://x?max_buffer_size=0", `not "0"`)
	bad("file://x?a=%", "invalid")
	bad("journalctl://since=1", "it has no filters")
	bad("syslog://x", "syslog datasource does not support command-line acquisition")
	bad("ftp://x", "unknown source ftp")
}

func TestParseLabels(t *testing.T) {
	got, err := ParseLabels("a:1,b:,c:x y")
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "", "c": "x y"}, got); err != nil || diff != "" {
		t.Errorf("%v, want -, got +:\n%s", err, diff)
	}
	for _, bad := range []string{"", "a", "a:1,", "a:b:c"} {
		if got, err := ParseLabels(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}
