package syslog

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/pipeline/source/sourcetest"
)

// segments makes a socket cut what is written into datagrams of a size (UDP_SEGMENT, udp(7)):
// without that the sender is what is measured.
func segments(b *testing.B, conn *net.UDPConn, size int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) }); err != nil {
		b.Fatal(err)
	}
	if set != nil {
		b.Skip("this kernel doesn't segment UDP: ", set)
	}
}

// BenchmarkUDP sends datagrams and tells how many of them were received and lost: 200,000 a
// second, and then as many as the machine can.
func BenchmarkUDP(b *testing.B) {
	for _, aSecond := range []int{200_000, 0} {
		name := fmt.Sprintf("%d", aSecond)
		if aSecond == 0 {
			name = "unlimited"
		}
		b.Run(name, func(b *testing.B) { benchmarkUDP(b, aSecond) })
	}
}

func benchmarkUDP(b *testing.B, aSecond int) {
	port := sourcetest.FreePort(b)
	spec := sourcetest.Spec(b, "syslog", fmt.Sprintf("listen_port: %d\n", port))
	started := make(chan struct{})
	spec.Started = func() { close(started) }
	src, err := Kind.Open(spec)
	if err != nil {
		b.Fatal(err)
	}
	meter := spec.Meter
	src = source.Metered(src, meter, spec.Report)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	var got atomic.Int64
	go func() {
		defer close(done)
		_ = src.Run(ctx, func(_ context.Context, batch []event.Line, _ func()) error {
			got.Add(int64(len(batch)))
			return nil
		})
	}()
	<-started
	const burst = 40
	datagram := []byte(msg + "Failed password for invalid user admin from 192.0.2.77 port 50022 ssh2")
	conn := dial(b, "udp", at(port)).(*net.UDPConn)
	segments(b, conn, len(datagram))
	text := bytes.Repeat(datagram, burst)
	b.SetBytes(int64(len(datagram)))
	b.ReportAllocs()
	b.ResetTimer()
	begin := time.Now()
	for i := 0; i < b.N; i += burst {
		if aSecond > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(aSecond))))
		}
		if _, err := conn.Write(text[:min(burst, b.N-i)*len(datagram)]); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	for last := int64(-1); got.Load() != last; time.Sleep(50 * time.Millisecond) {
		last = got.Load()
	}
	cancel()
	<-done
	b.ReportMetric(float64(got.Load())/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(int64(b.N)-got.Load())/float64(b.N)*100, "%lost")
}
