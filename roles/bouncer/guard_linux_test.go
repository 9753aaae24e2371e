package bouncer

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestLoggedIn: who is logged in is found wherever the system notes it, and
// nobody but root can note it.
func TestLoggedIn(t *testing.T) {
	f := func(name string, files map[string]string, want ...string) {
		t.Helper()
		root := t.TempDir()
		for path, text := range files {
			path = filepath.Join(root, path)
			err := os.MkdirAll(filepath.Dir(path), 0o700)
			if err == nil && filepath.Base(path) == "exe" {
				err = os.Symlink(text, path)
			} else if err == nil {
				err = os.WriteFile(path, []byte(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s, now := &sessions{root: root}, time.Now()
		s.peers(now)
		if err := os.RemoveAll(filepath.Join(root, "proc")); err != nil { // for a minute it is known
			t.Fatal(err)
		}
		var got []string
		for _, a := range s.peers(now.Add(sshEvery - 1)) {
			got = append(got, a.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
		if got := s.peers(now.Add(sshEvery)); name == "SSH's processes" && len(got) > 0 {
			t.Errorf("%s: found %v where nothing is", name, got)
		}
	}
	utmp := func(kind uint16, addr string) string {
		b := make([]byte, utmpSize)
		binary.NativeEndian.PutUint16(b, kind)
		copy(b[utmpAddr:], netip.MustParseAddr(addr).AsSlice())
		return string(b)
	}
	process := func(files map[string]string, id, name, exe, parent, uid, env string) {
		files["proc/"+id+"/status"] = "Name:\t" + name + "\nPid:\t" + id + "\nPPid:\t" + parent + "\nUid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n"
		files["proc/"+id+"/exe"] = exe
		files["proc/"+id+"/environ"] = "HOME=/\x00" + env + "\x00"
	}
	ssh := map[string]string{}
	process(ssh, "1", "init", "/sbin/init", "0", "0", "")
	process(ssh, "10", "sshd", "/usr/sbin/sshd (deleted)", "1", "0", "SSH_CONNECTION=203.0.113.99 1 2 3") // not by a server
	process(ssh, "11", "sshd-session", "/usr/lib/openssh/sshd-session", "10", "0", "")
	process(ssh, "12", "sshd-session", "/usr/lib/openssh/sshd-session", "11", "1000", "")
	process(ssh, "13", "bash", "/bin/bash", "12", "1000", "SSH_CONNECTION=203.0.113.13 50000 10.0.0.1 22")
	process(ssh, "14", "sleep", "/bin/sleep", "13", "1000", "SSH_CONNECTION=203.0.113.98 50000 10.0.0.1 22")
	process(ssh, "20", "dropbear", "/usr/sbin/dropbear", "1", "0", "")
	process(ssh, "21", "dropbear", "/usr/sbin/dropbear", "20", "0", "") // has not logged in
	process(ssh, "22", "dropbear", "/usr/sbin/dropbear", "20", "0", "")
	process(ssh, "23", "ash", "/bin/busybox", "22", "0", "SSH_CONNECTION=2001:db8::23 50000 2001:db8::1 22")
	// Somebody else's server, and one that only has the name.
	process(ssh, "30", "dropbear", "/usr/sbin/dropbear", "1", "33", "")
	process(ssh, "31", "sh", "/bin/sh", "30", "33", "SSH_CONNECTION=203.0.113.97 1 10.0.0.1 22")
	process(ssh, "40", "sshd", "/tmp/x", "1", "0", "")
	process(ssh, "41", "sh", "/bin/sh", "40", "33", "SSH_CONNECTION=203.0.113.96 1 10.0.0.1 22")

	f("nothing", nil)
	f("SSH's processes", ssh, "2001:db8::23", "203.0.113.13")
	ssh["var/run/utmp"] = utmp(userProcess, "203.0.113.1") + utmp(userProcess, "2001:db8::1") + utmp(8, "203.0.113.2") + "cut"
	f("utmp", ssh, "2001:db8::1", "203.0.113.1")
	f("logind", map[string]string{
		"run/systemd/sessions/1": "UID=0\nREMOTE=1\nREMOTE_HOST=203.0.113.5\nTYPE=tty\n", "run/systemd/sessions/2": "REMOTE_HOST=fe80::5%eth0\n",
		"run/systemd/sessions/3": "REMOTE=0\n", "run/systemd/sessions/4": "REMOTE_HOST=name.example.com\n",
	}, "203.0.113.5", "fe80::5")
}
