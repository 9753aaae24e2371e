package syslog

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cs/pipeline/source/sourcetest"
	"cs/platform/sharedtest"
)

// TestLogger: what logger(1) sends in its formats and framings is understood.
func TestLogger(t *testing.T) {
	logger := sharedtest.Program(t, "logger")
	port := sourcetest.FreePort(t)
	socket := filepath.Join(t.TempDir(), "log")
	r := start(t, port, "protocol: udp,tcp\nlisten_socket: "+socket+"\n")
	n := 0
	f := func(args ...string) {
		t.Helper()
		n++
		text := fmt.Sprintf("Failed password for root from 192.0.2.%d port 22 ssh2", n)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, logger, append(args, "-t", "sshd", "--id=42", text)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := r.Wait(n)[n-1]
		if _, err := time.Parse("Jan 2 15:04:05", strings.Join(strings.Split(got, " ")[:3], " ")); err != nil || !strings.HasSuffix(got, " sshd[42]: "+text) {
			t.Errorf("%q: got %q", args, got)
		}
	}
	server := []string{"-n", "127.0.0.1", "-P", fmt.Sprint(port)}
	for _, format := range []string{"--rfc3164", "--rfc5424"} {
		f(append(server, "-d", format)...)
		f(append(server, "-T", format)...)
		f(append(server, "-T", "--octet-count", format)...)
		f("-u", socket, format)
	}
}

// TestRsyslog: so is what rsyslog forwards, over UDP, over TCP with newlines and with
// counts of bytes, and to a unix socket.
func TestRsyslog(t *testing.T) {
	rsyslogd := sharedtest.Program(t, "rsyslogd")
	dir := t.TempDir()
	port := sourcetest.FreePort(t)
	socket := filepath.Join(dir, "log")
	r := start(t, port, "protocol: udp,tcp\nlisten_socket: "+socket+"\n")
	input := filepath.Join(dir, "input.log")
	const lines = 50
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "Failed password for root from 192.0.2.%d port 22 ssh2\n", i)
	}
	if err := os.WriteFile(input, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`
global(workDirectory="%[1]s")
module(load="imfile")
module(load="omuxsock")
$OMUxSockSocket %[3]s
input(type="imfile" File="%[4]s" Tag="sshd[42]:" freshStartTail="off")
*.* action(type="omfwd" Target="127.0.0.1" Port="%[2]d" Protocol="udp")
*.* action(type="omfwd" Target="127.0.0.1" Port="%[2]d" Protocol="tcp" Template="RSYSLOG_SyslogProtocol23Format")
*.* action(type="omfwd" Target="127.0.0.1" Port="%[2]d" Protocol="tcp" TCP_Framing="octet-counted" Template="RSYSLOG_ForwardFormat")
*.* :omuxsock:;RSYSLOG_TraditionalForwardFormat
`, dir, port, socket, input)
	path := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, rsyslogd, "-n", "-f", path, "-i", filepath.Join(dir, "pid"))
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	count := func() map[string]int {
		seen := map[string]int{}
		for _, text := range r.Texts() {
			if _, message, ok := strings.Cut(text, " sshd[42]: "); ok {
				seen[message]++
			}
		}
		return seen
	}
	end := time.Now().Add(20 * time.Second)
	for n := 0; n < 4*lines && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		n = 0
		for _, times := range count() {
			n += times
		}
	}
	cancel()
	_ = cmd.Wait()
	seen := count()
	for i := range lines {
		if message := fmt.Sprintf("Failed password for root from 192.0.2.%d port 22 ssh2", i); seen[message] != 4 {
			t.Fatalf("%q came %d times, want 4; rsyslog says %q; %q", message, seen[message], out, r.Texts())
		}
	}
	counts := map[string]int64{}
	r.Spec.Meter.Parsed.Each(func(name string, n int64) { counts[name] = n })
	if counts["127.0.0.1\x00rfc3164"] < 2*lines || counts["127.0.0.1\x00rfc5424"] < lines || counts[socket+"\x00rfc3164"] < lines {
		t.Errorf("formats: %v", counts)
	}
}
