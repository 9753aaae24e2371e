package api

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// overSocket sends each request over a connection of its own to a unix socket, on
// the goroutine that asks. http.Transport starts two for a connection and hands
// requests and answers over to and from them, which takes a command that asks
// one thing longer than the answer. The server must not answer at length before it
// has read all, as none of ours does.
type overSocket struct {
	path string
	dial net.Dialer
}

// RoundTrip implements http.RoundTripper.
func (t *overSocket) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	conn, err := t.dial.DialContext(ctx, "unix", t.path)
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	a := &socketAnswer{ctx: ctx, conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })}
	w, r := bufio.NewWriter(conn), bufio.NewReader(conn)
	sendErr := req.Write(w)
	if sendErr == nil {
		sendErr = w.Flush()
	}
	// A server that doesn't want all of the body has answered before it hangs up.
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		if sendErr != nil {
			err = sendErr
		}
		err = a.cause(err)
		a.hangUp()
		return nil, err
	}
	a.ReadCloser = resp.Body
	resp.Body = a
	return resp, nil
}

// socketAnswer is the body of an answer, and the connection that it comes over.
type socketAnswer struct {
	io.ReadCloser
	ctx  context.Context
	conn net.Conn
	stop func() bool
}

func (a *socketAnswer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = a.cause(err)
	}
	return n, err
}

// Close hangs up, whatever may still come.
func (a *socketAnswer) Close() error {
	a.hangUp()
	return nil
}

func (a *socketAnswer) hangUp() {
	a.stop()
	a.conn.Close()
}

// cause returns why there is nothing to wait for any more, if that is why err came.
func (a *socketAnswer) cause(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	return err
}
