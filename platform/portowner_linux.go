package platform

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// PortOwner names the process that listens on a TCP address ("host:port"), as
// "nginx, pid 1234", if the kernel tells us. Otherwise it returns "".
func PortOwner(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	ip, _ := netip.ParseAddr(host) // of a name any address may be meant
	inodes := make(map[string]bool)
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		if f, err := os.Open(table); err == nil {
			listeners(bufio.NewScanner(f), ip, port, inodes)
			f.Close()
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s, pid %s", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

// listeners collects the inodes of the sockets that listen on a port of an address, or
// of all, from a table in the form of /proc/net/tcp (proc_net_tcp, Linux kernel
// documentation).
func listeners(table *bufio.Scanner, ip netip.Addr, port string, inodes map[string]bool) {
	const listening = "0A"
	for table.Scan() {
		field := strings.Fields(table.Text())
		if len(field) < 10 || field[3] != listening {
			continue
		}
		hexIP, hexPort, _ := strings.Cut(field[1], ":")
		b, err := hex.DecodeString(hexPort)
		if err != nil || len(b) != 2 || fmt.Sprint(binary.BigEndian.Uint16(b)) != port {
			continue
		}
		raw, _ := hex.DecodeString(hexIP)
		for i := 0; i+4 <= len(raw); i += 4 { // words as the processor has them
			binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
		}
		own, ok := netip.AddrFromSlice(raw)
		if own = own.Unmap(); ok && (own.IsUnspecified() || own == ip.Unmap() || !ip.IsValid() || ip.IsUnspecified()) {
			inodes[field[9]] = true
		}
	}
}
