package bouncer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"time"
)

// gateways reads the next hops of the default routes from /proc/net.
func gateways() (list []netip.Addr) {
	text, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		// The number is printed as the machine reads it.
		if b, err := hex.DecodeString(f[2]); err == nil && len(b) == 4 {
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(b))
			list = append(list, netip.AddrFrom4(a))
		}
	}
	text, _ = os.ReadFile("/proc/net/ipv6_route")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != "00" || f[9] == "lo" {
			continue
		}
		if b, err := hex.DecodeString(f[4]); err == nil && len(b) == 16 {
			list = append(list, netip.AddrFrom16([16]byte(b)))
		}
	}
	return list
}

// sessions finds who is logged in.
type sessions struct {
	root string // directory
	ssh  []netip.Addr
	next time.Time // when SSH's processes are looked at again: there may be many of others
}

const sshEvery = time.Minute

// peers returns the remote addresses of the sessions that login programs have noted, in
// files under the root that only they may write: utmp, and what systemd-logind keeps in
// its place. Where there is neither, as on OpenWrt, SSH's own processes are asked.
func (s *sessions) peers(now time.Time) (list []netip.Addr) {
	text, uerr := os.ReadFile(s.root + "/var/run/utmp")
	list = utmpPeers(text)
	dir := s.root + "/run/systemd/sessions/"
	files, lerr := os.ReadDir(dir)
	for _, f := range files {
		text, _ := os.ReadFile(dir + f.Name())
		if a := sessionPeer(field(string(text), "REMOTE_HOST=")); a.IsValid() {
			list = append(list, a)
		}
	}
	if uerr == nil || lerr == nil {
		return list
	}
	if !now.Before(s.next) {
		s.ssh, s.next = sshPeers(s.root), now.Add(sshEvery)
	}
	return s.ssh
}

// The layout of struct utmp, which is the same on all 64-bit machines and on
// most others.
const (
	utmpSize    = 384
	utmpAddr    = 348
	userProcess = 7
)

func utmpPeers(b []byte) (list []netip.Addr) {
	for ; len(b) >= utmpSize; b = b[utmpSize:] {
		if binary.NativeEndian.Uint16(b) != userProcess {
			continue
		}
		var a [16]byte
		copy(a[:], b[utmpAddr:])
		if bytes.Equal(a[4:], make([]byte, 12)) {
			list = append(list, netip.AddrFrom4([4]byte(a[:4])))
		} else {
			list = append(list, netip.AddrFrom16(a))
		}
	}
	return list
}

// sshPeers returns who the processes that SSH servers have started are for: they have it in
// SSH_CONNECTION. Only a session that has logged in has such a process; a server counts if
// it runs as root, or was started by one that does, so that nobody else can let anyone in.
func sshPeers(root string) (list []netip.Addr) {
	type process struct {
		id, parent string
		server     bool
		root       bool
	}
	processes := map[string]process{}
	dirs, _ := os.ReadDir(root + "/proc")
	for _, d := range dirs {
		if d.Name()[0] < '1' || d.Name()[0] > '9' {
			continue
		}
		dir := root + "/proc/" + d.Name()
		text, _ := os.ReadFile(dir + "/status")
		p := process{id: d.Name(), parent: strings.TrimSpace(field(string(text), "PPid:"))}
		if name := strings.TrimSpace(field(string(text), "Name:")); isSSH(name) { // which anybody may choose
			exe, _ := os.Readlink(dir + "/exe")
			p.server = isSSH(strings.TrimSuffix(exe[strings.LastIndexByte(exe, '/')+1:], " (deleted)"))
			uids := strings.Fields(field(string(text), "Uid:")) // real, effective, …
			p.root = len(uids) > 1 && uids[1] == "0"
		}
		processes[p.id] = p
	}
	for _, p := range processes {
		server := processes[p.parent]
		if p.server || !server.server {
			continue
		}
		if starter := processes[server.parent]; !server.root && !(starter.server && starter.root) {
			continue
		}
		text, _ := os.ReadFile(root + "/proc/" + p.id + "/environ")
		text = bytes.ReplaceAll(text, []byte{0}, []byte{'\n'})
		if a := sessionPeer(field(string(text), "SSH_CONNECTION=")); a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

func isSSH(name string) bool {
	return name == "sshd" || name == "sshd-session" || name == "dropbear" || name == "dropbearmulti"
}

// field returns what follows a key at the beginning of a line.
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSuffix(v, "\n")
		}
	}
	return ""
}
