//go:build linux

package lapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wire is one kept-alive HTTP/1.1 connection that does as little as possible
// for a request: what is measured shares the processors with it.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(ctx context.Context, addr string) (*wire, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// request returns the bytes of a request. header holds further lines, each
// with its end.
func request(method, target, header string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/v1\r\n%s", method, target, header)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// answer is what came back for a request.
type answer struct {
	first   time.Duration // until the first byte
	whole   time.Duration
	size    int    // bytes of the body
	refusal string // the status, if it is none of 2xx
}

// do is ask for those who can't go on without what they asked for: a refusal is
// an error.
func (c *wire) do(req []byte, w io.Writer) (answer, error) {
	a, err := c.ask(req, w)
	if err == nil && a.refusal != "" {
		err = fmt.Errorf("the answer to %q is %q", firstLine(req), a.refusal)
	}
	return a, err
}

// ask sends a request and reads the answer, whose body goes to w unless that is
// nil.
func (c *wire) ask(req []byte, w io.Writer) (a answer, err error) {
	began := time.Now()
	if _, err = c.conn.Write(req); err != nil {
		return a, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	a.first = time.Since(began)
	if len(line) < 12 {
		return a, fmt.Errorf("the answer to %q is %q", firstLine(req), line)
	}
	if line[9] != '2' {
		a.refusal = string(bytes.TrimSpace(line[9:]))
	}
	length := 0
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return a, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			length = -1
		}
		if err != nil {
			return a, err
		}
	}
	if length >= 0 {
		err = c.body(length, w, &a)
	} else {
		err = c.chunks(w, &a)
	}
	a.whole = time.Since(began)
	return a, err
}

func (c *wire) chunks(w io.Writer, a *answer) error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if err := c.body(int(n), w, a); err != nil {
			return err
		}
		if _, err := c.in.Discard(2); err != nil || n == 0 {
			return err
		}
	}
}

func (c *wire) body(n int, w io.Writer, a *answer) (err error) {
	a.size += n
	if w == nil {
		_, err = c.in.Discard(n)
	} else {
		_, err = io.CopyN(w, c.in, int64(n))
	}
	return err
}

func firstLine(req []byte) string {
	line, _, _ := strings.Cut(string(req[:min(len(req), 200)]), "\r\n")
	return line
}

// load is what a run of requests came to.
type load struct {
	done     int
	took     time.Duration
	p50, p99 time.Duration
	cpu      time.Duration // of the server, altogether
	refused  int           // requests that were not done
	refusal  string        // what one of them was answered
}

// each is the processor time of the server for one request.
func (l load) each() time.Duration { return l.cpu / time.Duration(max(1, l.done)) }

func (l load) String() string {
	text := fmt.Sprintf("%.0f/s, p50 %v, p99 %v, server CPU %v", float64(l.done)/l.took.Seconds(), round(l.p50), round(l.p99), round(l.each()))
	if l.refused > 0 {
		text += fmt.Sprintf("; %d of %d refused (%s)", l.refused, l.refused+l.done, l.refusal)
	}
	return text
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// hammer sends requests over a number of connections at once, each as soon as
// the last is answered, for so long. next makes the i-th request of a connection.
func (s *server) hammer(ctx context.Context, conns int, d time.Duration, next func(conn, i int) []byte) (load, error) {
	before, err := s.cpu()
	if err != nil {
		return load{}, err
	}
	drv, err := newDriver(s.addr, conns)
	if err != nil {
		return load{}, err
	}
	defer drv.close()
	began := time.Now()
	err = drv.drive(ctx, began.Add(d), next)
	all, l := drv.took, load{done: len(drv.took), took: time.Since(began), refused: drv.refused, refusal: drv.refusal}
	if err != nil || l.done+l.refused == 0 {
		return l, errors.Join(errors.New("the load could not be driven"), err)
	}
	after, err := s.cpu()
	if err != nil {
		return l, err
	}
	l.cpu = after - before
	if len(all) > 0 {
		slices.Sort(all)
		l.p50, l.p99 = all[len(all)/2], all[len(all)*99/100]
	}
	return l, nil
}

// cpu returns the processor time that the server has used.
func (s *server) cpu() (time.Duration, error) {
	const perSecond = 100 // USER_HZ, on every Linux
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the processor time in %q", text)
	}
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / perSecond, errors.Join(err, err2)
}
