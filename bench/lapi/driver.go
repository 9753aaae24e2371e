//go:build linux

package lapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// driver keeps a request going on each of some connections. It does so with one
// thread and two system calls a request: a goroutine for each connection
// would take as much of the processors as the server that it measures.
type driver struct {
	poll    int // epoll
	conns   []driven
	took    []time.Duration // of the requests that were done
	refused int
	refusal string
}

// driven is a connection with its request.
type driven struct {
	fd    int
	n     int // requests so far
	began time.Time
	in    []byte // of the answer
}

func newDriver(addr string, conns int) (*driver, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	d := &driver{conns: make([]driven, conns)}
	for i := range d.conns {
		d.conns[i].fd = -1
	}
	if d.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := range d.conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			d.conns[i].fd = fd
			err = errors.Join(
				unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}),
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), // as Go's clients do
				unix.EpollCtl(d.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}),
			)
		}
		if err != nil {
			d.close()
			return nil, fmt.Errorf("cannot connect to %s: %w", addr, err)
		}
	}
	return d, nil
}

func (d *driver) close() {
	for _, c := range d.conns {
		unix.Close(c.fd)
	}
	unix.Close(d.poll)
}

// drive sends requests until the end, and takes the answers to the last ones.
func (d *driver) drive(ctx context.Context, end time.Time, next func(conn, i int) []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range d.conns {
		if err := d.send(i, next); err != nil {
			return err
		}
	}
	const patience = 60_000 // milliseconds for an answer
	events, buf := make([]unix.EpollEvent, len(d.conns)), make([]byte, 64<<10)
	for open := len(d.conns); open > 0; {
		n, err := unix.EpollWait(d.poll, events, patience)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return errors.New("the answers don't come")
		}
		for _, e := range events[:n] {
			whole, err := d.receive(int(e.Fd), buf)
			switch {
			case err != nil:
				return err
			case !whole:
			case ctx.Err() == nil && time.Now().Before(end):
				if err := d.send(int(e.Fd), next); err != nil {
					return err
				}
			default:
				open--
			}
		}
	}
	return ctx.Err()
}

func (d *driver) send(i int, next func(conn, i int) []byte) error {
	c := &d.conns[i]
	req := next(i, c.n)
	c.n, c.in, c.began = c.n+1, c.in[:0], time.Now()
	for len(req) > 0 {
		n, err := unix.Write(c.fd, req)
		if err != nil {
			return err
		}
		req = req[n:]
	}
	return nil
}

// receive reads what has come, and tells whether that was the end of an answer.
func (d *driver) receive(i int, buf []byte) (whole bool, err error) {
	c := &d.conns[i]
	n, err := unix.Read(c.fd, buf)
	if err != nil || n == 0 {
		return false, errors.Join(err, errors.New("the connection was closed"))
	}
	text := buf[:n] // mostly that is all
	if len(c.in) > 0 {
		c.in = append(c.in, text...)
		text = c.in
	}
	status, whole, err := complete(text)
	switch {
	case err != nil:
		return false, err
	case !whole && len(c.in) == 0:
		c.in = append(c.in, text...)
	case !whole:
	case status[0] == '2':
		d.took = append(d.took, time.Since(c.began))
	default:
		d.refused++
		d.refusal = string(status)
	}
	return whole, nil
}

// complete tells whether a text is a whole answer, and its status.
func complete(text []byte) (status []byte, whole bool, err error) {
	head, body, ok := bytes.Cut(text, []byte("\r\n\r\n"))
	if !ok {
		return nil, false, nil
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	_, status, ok = bytes.Cut(line, []byte(" "))
	if !ok || len(status) < 3 {
		return nil, false, fmt.Errorf("an answer begins with %q", line)
	}
	length := 0
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, false, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			return status, bytes.HasSuffix(body, []byte("0\r\n\r\n")), nil // there is no such end of a line within JSON
		}
	}
	return status, len(body) >= length, nil
}
