package platform

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// PortOwner names the process that listens on a TCP address ("host:port"), as
// "nginx, pid 1234", if the kernel tells us. Otherwise it returns "".
func PortOwner(address string) string {
	_, port, ok := strings.Cut(address[strings.LastIndexByte(address, ']')+1:], ":")
	if !ok {
		return ""
	}
	inodes := make(map[string]bool)
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		if f, err := os.Open(table); err == nil {
			listeners(bufio.NewScanner(f), port, inodes)
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

// listeners collects the inodes of the sockets that listen on a port from a
// table in the form of /proc/net/tcp (proc_net_tcp, Linux kernel documentation).
func listeners(table *bufio.Scanner, port string, inodes map[string]bool) {
	const listening = "0A"
	for table.Scan() {
		field := strings.Fields(table.Text())
		if len(field) < 10 || field[3] != listening {
			continue
		}
		_, hexPort, _ := strings.Cut(field[1], ":")
		b, err := hex.DecodeString(hexPort)
		if err != nil || len(b) != 2 {
			continue
		}
		if fmt.Sprint(binary.BigEndian.Uint16(b)) == port {
			inodes[field[9]] = true
		}
	}
}
