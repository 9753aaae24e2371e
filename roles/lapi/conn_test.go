package lapi

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// pair returns a connection of ours and its other end.
func pair(t *testing.T) (ours *conn, other net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if other, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	return newConn(c, func() {}), other
}

// TestDeadlines: who reads and writes notices no difference from a connection
// whose deadlines are set at once.
func TestDeadlines(t *testing.T) {
	const soon, late = 30 * time.Millisecond, time.Hour
	c, other := pair(t)
	reading := func() chan error {
		done := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			done <- err
		}()
		return done
	}
	waits := func() {
		t.Helper()
		for c.read.mu.Lock(); c.read.inside == 0; c.read.mu.Lock() {
			c.read.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		c.read.mu.Unlock()
	}
	over := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	c.SetReadDeadline(time.Now().Add(soon))
	over("a deadline that passes", <-reading())
	c.SetReadDeadline(time.Now().Add(late))
	done := reading()
	waits()
	c.SetReadDeadline(time.Unix(1, 0))
	over("one that is moved into the past under a reader", <-done)
	over("one that is past before", <-reading())

	c.SetReadDeadline(time.Now().Add(soon))
	done = reading()
	waits()
	c.SetReadDeadline(time.Time{}) // put off under the reader
	time.Sleep(2 * soon)
	other.Write([]byte("x"))
	if err := <-done; err != nil {
		t.Fatalf("a deadline that was put off: %v", err)
	}
	c.SetReadDeadline(time.Now().Add(soon))
	done = reading()
	waits()
	other.Write([]byte("x"))
	<-done // leaves the early alarm armed
	c.SetReadDeadline(time.Now().Add(late))
	done = reading()
	time.Sleep(2 * soon)
	other.Write([]byte("x"))
	if err := <-done; err != nil {
		t.Fatalf("an alarm of before: %v", err)
	}

	c.SetWriteDeadline(time.Now().Add(soon))
	sent := 0
	var err error
	for err == nil {
		var n int
		n, err = c.Write(make([]byte, 1<<20))
		sent += n
	}
	over("nobody takes what is written", err)
	c.SetWriteDeadline(time.Now().Add(late))
	rest := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("end"))
		rest <- err
	}()
	got := 0
	for buf := make([]byte, 1<<20); got < sent+3; {
		n, err := other.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if err := <-rest; err != nil || got != sent+3 {
		t.Fatalf("%d bytes of %d came: %v", got, sent+3, err)
	}
}
