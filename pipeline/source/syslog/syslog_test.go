package syslog

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source/sourcetest"
)

func start(t testing.TB, port int, more string) *sourcetest.Run {
	t.Helper()
	return sourcetest.Start(t, Kind, sourcetest.Spec(t, "syslog", fmt.Sprintf("listen_port: %d\n%s", port, more)))
}

func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func at(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

const (
	msg  = "<34>Oct 11 22:14:15 web su: "
	line = "Oct 11 22:14:15 web su: "
)

func TestUDP(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "max_message_len: 100\n")
	conn := dial(t, "udp", at(port))
	for i := range 200 {
		send(t, conn, fmt.Sprintf("%sn%d\n", msg, i))
	}
	got := r.Wait(200)
	for i := range 200 {
		if want := fmt.Sprintf("%sn%d", line, i); got[i] != want {
			t.Fatalf("got %q, want %q", got[i], want)
		}
	}
	l := r.Lines()[0]
	if l.Src != "127.0.0.1" || l.Module != "syslog" || l.Labels["type"] != "test" || l.Mode != event.Live || time.Since(l.Time) > time.Minute {
		t.Errorf("got %+v", l)
	}
	send(t, conn, msg+strings.Repeat("x", 200))
	send(t, conn, "")
	send(t, conn, "\n")
	send(t, conn, "raw")
	got = r.Wait(202)
	if got[200] != (line+strings.Repeat("x", 100-len(msg))) || got[201] != "raw" {
		t.Errorf("got %q", got[200:])
	}
	if r.Spec.Meter.Cut.Load() != 1 {
		t.Errorf("%d cut", r.Spec.Meter.Cut.Load())
	}
	r.Spec.Meter.Parsed.Each(func(name string, n int64) {
		if name != "127.0.0.1\x00rfc3164" || n != 201 {
			t.Errorf("%q: %d", name, n)
		}
	})
	r.Stop()
}

// TestTurns: the packets of each client come together, in the order in which they came.
func TestTurns(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	clients := make([]*client, 5)
	for i := range clients {
		clients[i] = newClient(fmt.Sprint(i))
	}
	var turns turns
	for range 500 {
		n := rnd.IntN(20)
		turns.begin(n)
		want, order := map[*client][]int{}, []*client(nil)
		for i := range n {
			c := clients[rnd.IntN(1+rnd.IntN(len(clients)))]
			if rnd.IntN(4) == 0 {
				continue // it is refused
			}
			if want[c] == nil {
				order = append(order, c)
			}
			want[c] = append(want[c], i)
			turns.add(c, i)
		}
		turns.each(func(c *client, i int) {
			for len(want[order[0]]) == 0 {
				order = order[1:]
			}
			if c != order[0] || i != want[c][0] {
				t.Fatalf("packet %d of %s, want %d of %s", i, c.src, want[order[0]][0], order[0].src)
			}
			want[c] = want[c][1:]
		})
		for c, left := range want {
			if len(left) > 0 {
				t.Fatalf("packets %v of %s are missing", left, c.src)
			}
		}
	}
}

func TestWithoutParser(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "disable_rfc_parser: true\n")
	send(t, dial(t, "udp", at(port)), "<34>Oct 01 22:14:15 2026 web su:  x\n")
	if got := r.Wait(1); got[0] != "Oct 01 22:14:15 2026 web su:  x" {
		t.Errorf("got %q", got)
	}
	r.Stop()
}

func TestIPv6(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "listen_addr: '::1'\nprotocol: udp,tcp\n")
	for _, network := range []string{"udp", "tcp"} {
		send(t, dial(t, network, fmt.Sprintf("[::1]:%d", port)), msg+"six\n")
	}
	r.Wait(2)
	for _, l := range r.Lines() {
		if l.Raw != line+"six" || l.Src != "::1" {
			t.Errorf("got %+v", l)
		}
	}
}

func TestTCP(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "protocol: tcp\nmax_message_len: 300\n")
	a, b := dial(t, "tcp", at(port)), dial(t, "tcp", at(port))
	counted := func(s string) string { return fmt.Sprintf("%d %s", len(s), s) }
	send(t, a, msg+"one\n"+counted(msg+"two\nlines")+counted(msg+"three")+msg+"four\x00"+"5 apples\n"+msg[:10])
	r.Wait(5)
	send(t, b, msg+"other\n") // while a message of the first is incomplete
	r.Wait(6)
	send(t, a, msg[10:]+"six\n"+counted(msg+strings.Repeat("x", 1000))+msg+strings.Repeat("y", 1000)+"\n"+msg+"last")
	r.Wait(9)
	a.Close()
	want := []string{
		line + "one", line + "two\nlines", line + "three", line + "four", "5 apples", line + "other", line + "six",
		line + strings.Repeat("x", 300-len(msg)), line + strings.Repeat("y", 300-len(msg)), line + "last",
	}
	if got := r.Wait(10); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if r.Spec.Meter.Cut.Load() != 2 {
		t.Errorf("%d cut", r.Spec.Meter.Cut.Load())
	}
	r.Stop() // with b open and silent
}

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 { // the second time over what the first left
		r := start(t, 0, "listen_socket: "+path+"\n")
		if _, err := Kind.Open(r.Spec); err != nil {
			t.Fatal(err)
		}
		conn := dial(t, "unixgram", path)
		send(t, conn, "<13>Oct 11 22:14:15 me[7]: hello") // as syslog(3) does, without host
		if got := r.Wait(1); got[0] != "Oct 11 22:14:15 unknownhost me[7]: hello" || r.Lines()[0].Src != path {
			t.Errorf("got %+v", r.Lines())
		}
		r.Stop()
		stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err == nil {
			stale.Close()
		}
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := Kind.Open(sourcetest.Spec(t, "syslog", "listen_socket: "+path+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestUnixStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	r := start(t, 0, "listen_socket_stream: "+path+"\nallow_from: [192.0.2.1]\n") // which is about addresses
	a, b := dial(t, "unix", path), dial(t, "unix", path)
	send(t, a, msg+"one\n")
	r.Wait(1)
	counted := msg + "two"
	send(t, b, fmt.Sprintf("%d %s", len(counted), counted))
	if got := r.Wait(2); !slices.Equal(got, []string{line + "one", line + "two"}) || r.Lines()[1].Src != path {
		t.Errorf("got %+v", r.Lines())
	}
	src, err := Kind.Open(sourcetest.Spec(t, "syslog", "listen_socket_stream: "+path+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Run(t.Context(), nil); err == nil {
		t.Error("two listen to one socket")
	}
	r.Stop() // with both open
}

func TestAllowFrom(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "protocol: udp,tcp\nallow_from: [192.0.2.0/24, 127.0.0.2]\n")
	from := func(network, addr string) net.Conn {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(addr)}}
		if network == "tcp" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(addr)}
		}
		conn, err := d.Dial(network, at(port))
		if err != nil {
			t.Skipf("this system has no second loopback address: %v", err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for _, network := range []string{"udp", "tcp"} {
		stranger := from(network, "127.0.0.1")
		_, _ = io.WriteString(stranger, msg+"stranger\n")
		send(t, from(network, "127.0.0.2"), msg+network+"\n")
	}
	r.Wait(2)
	for _, l := range r.Lines() {
		if l.Src != "127.0.0.2" {
			t.Errorf("got %+v", l)
		}
	}
}

func TestTLS(t *testing.T) {
	dir, pair, pool := sourcetest.Certificates(t)
	port := sourcetest.FreePort(t)
	keys := fmt.Sprintf("protocol: tls\ntls: {server_cert: %s/cert, server_key: %s/key, ca_cert: %s/cert}\n", dir, dir, dir)
	r := start(t, port, keys)
	conn, err := tls.Dial("tcp", at(port), &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send(t, conn, msg+"secret\n")
	if got := r.Wait(1); got[0] != line+"secret" {
		t.Errorf("got %q", got)
	}
	stranger, err := tls.Dial("tcp", at(port), &tls.Config{RootCAs: pool})
	if err == nil {
		_, _ = io.WriteString(stranger, msg+"stranger\n")
		if _, err = stranger.Read(make([]byte, 1)); err == nil {
			t.Error("a client without certificate is let in")
		}
		stranger.Close()
	}
	silent := dial(t, "tcp", at(port)) // never shakes hands
	_ = silent
	send(t, dial(t, "tcp", at(port)), msg+"plain\n")
	send(t, conn, msg+"again\n")
	if got := r.Wait(2); got[1] != line+"again" {
		t.Errorf("got %q", got)
	}
	r.Stop()
}

func TestConnectionsAreBounded(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "protocol: tcp\nmax_connections: 2\n")
	first := dial(t, "tcp", at(port))
	send(t, first, msg+"1\n")
	second := dial(t, "tcp", at(port))
	send(t, second, msg+"2\n")
	r.Wait(2)
	third := dial(t, "tcp", at(port))
	_ = third.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := third.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the third connection: %v", err)
	}
	first.Close()
	sourcetest.Until(t, "there is room again", func() bool {
		again := dial(t, "tcp", at(port))
		_, _ = io.WriteString(again, msg+"3\n")
		time.Sleep(5 * time.Millisecond)
		return len(r.Lines()) > 2
	})
}

// TestSlowEngine: a stream waits for the engine; what the kernel drops of datagrams is
// counted.
func TestSlowEngine(t *testing.T) {
	port := sourcetest.FreePort(t)
	r := start(t, port, "protocol: udp,tcp\n")
	release := r.Hold()
	tcp := dial(t, "tcp", at(port))
	_ = tcp.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	sent := 0
	chunk := strings.Repeat(msg+strings.Repeat("x", 1000)+"\n", 64)
	for sent < 100<<20 {
		n, err := io.WriteString(tcp, chunk)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 100<<20 {
		t.Fatal("the sender never had to wait")
	}
	release()
	want := sent / len(msg+strings.Repeat("x", 1000)+"\n")
	r.Wait(want)
	r.Stop()
}

func TestFaults(t *testing.T) {
	sourcetest.Faults(t, "syslog", Kind,
		"listen_socket: /a\nlisten_socket_stream: /a", "listen_socket_stream: it can't",
		"listen_addr: localhost", "acquis.yaml:2: listen_addr",
		"listen_port: 70000", "acquis.yaml:2: listen_port: want a port",
		"protocol: sctp", "acquis.yaml:2: protocol: want udp",
		"protocol: tcp,tls", "one port speaks",
		"protocol: tls", "needs tls.server_cert",
		"max_message_len: 0", "max_message_len: want",
		"max_connections: 0", "max_connections: want",
		"allow_from: [192.0.2.0/24, there]", "acquis.yaml:2: allow_from[1]",
		"listen_prot: 7", "unknown key (did you mean listen_port?)",
		"tls: {cert: x}", "tls.cert: unknown key",
	)
	port := sourcetest.FreePort(t)
	start(t, port, "protocol: tcp\n")
	src, err := Kind.Open(sourcetest.Spec(t, "syslog", fmt.Sprintf("listen_port: %d\nprotocol: udp,tcp\n", port)))
	if err != nil {
		t.Fatal(err)
	}
	if src.Name() != "udp,tcp "+at(port) {
		t.Error(src.Name())
	}
	if err := src.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "cannot listen for syslog") {
		t.Errorf("got %v", err)
	}
}

// FuzzFramer compares what a stream is cut into with what the same bytes, one
// at a time, are cut into.
func FuzzFramer(f *testing.F) {
	f.Add([]byte("<1>a\n5 <1>bc<1>d\x00\n3 apples"), 10)
	f.Add([]byte("9999999 <1>a"), 3)
	f.Fuzz(func(t *testing.T, data []byte, most int) {
		if most < 1 || most > 1000 {
			return
		}
		cut := func(r io.Reader) (msgs []string, err error) {
			fr := framer{in: bufio.NewReaderSize(r, streamBuffer), max: most}
			for len(msgs) <= len(data) {
				msg, err := fr.next()
				if err != nil {
					return msgs, err
				}
				if len(msg) > most {
					t.Fatalf("%d bytes", len(msg))
				}
				msgs = append(msgs, string(msg))
			}
			t.Fatal("more messages than bytes")
			return nil, nil
		}
		a, aErr := cut(bytes.NewReader(data))
		b, bErr := cut(iotest.OneByteReader(bytes.NewReader(data)))
		if !slices.Equal(a, b) || fmt.Sprint(aErr) != fmt.Sprint(bErr) {
			t.Fatalf("got %q, %v and %q, %v", a, aErr, b, bErr)
		}
	})
}
