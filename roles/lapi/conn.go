package lapi

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a connection of the TCP listener.
//
// net/http and giveTime set ten deadlines for a request that is answered in some
// microseconds, and each would go to a timer of the runtime. Here a deadline is
// only noted, and reaches the connection when something waits on it that
// would notice: an alarm that rings too early finds the one that was noted since.
type conn struct {
	net.Conn
	read, write alarm
	release     func()
	resting     atomic.Int64 // since when nobody asks anything, in nanoseconds; 0: somebody does
}

// alarm is a deadline of one direction.
type alarm struct {
	set func(time.Time) error // of the connection below

	mu     sync.Mutex
	asked  time.Time // what the users of the connection know
	armed  time.Time // what the connection below knows
	inside int       // calls that wait below
}

func newConn(c net.Conn, release func()) *conn {
	n := &conn{Conn: c, read: alarm{set: c.SetReadDeadline}, write: alarm{set: c.SetWriteDeadline}, release: release}
	n.resting.Store(time.Now().UnixNano())
	return n
}

// noteState notes whether a connection rests.
func noteState(c net.Conn, state http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if c, ok := c.(*conn); ok {
		switch state {
		case http.StateActive:
			c.resting.Store(0)
		case http.StateIdle:
			c.resting.Store(time.Now().UnixNano())
		}
	}
}

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.read.ask(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.write.ask(t) }

func (c *conn) Read(p []byte) (n int, err error) {
	for {
		if err := c.read.enter(); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(p)
		if again := c.read.leave(err); !again || n > 0 {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (n int, err error) {
	for {
		if err := c.write.enter(); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(p[n:])
		n += m
		if again := c.write.leave(err); !again || n == len(p) {
			return n, err
		}
	}
}

// ask notes a deadline; zero is none. A call that waits below learns of an
// earlier one at once.
func (a *alarm) ask(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = t
	if a.inside > 0 && a.late() {
		return a.arm()
	}
	return nil
}

// late tells whether the alarm would ring after the deadline, or never.
func (a *alarm) late() bool {
	return !a.asked.IsZero() && (a.armed.IsZero() || a.armed.After(a.asked))
}

func (a *alarm) arm() error {
	a.armed = a.asked
	return a.set(a.asked)
}

// enter is called before a call that may wait. Its error is that of a
// deadline that was over before.
func (a *alarm) enter() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.late() {
		if a.inside == 0 && a.asked.Before(longAgo) {
			return os.ErrDeadlineExceeded // net/http's way to end a read that hasn't begun
		}
		if err := a.arm(); err != nil {
			return err
		}
	}
	a.inside++
	return nil
}

// leave is called after it, and tells whether it has ended too early: by an
// alarm that has been put off. That is set right.
func (a *alarm) leave(err error) (again bool) {
	if err == nil {
		a.mu.Lock()
		a.inside--
		a.mu.Unlock()
		return false
	}
	late, ok := err.(net.Error)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inside--
	if !ok || !late.Timeout() || !a.asked.IsZero() && !a.asked.After(time.Now()) {
		return false
	}
	return a.arm() == nil
}

// longAgo is before every deadline that isn't meant to be over from the start.
var longAgo = time.Unix(1<<20, 0)
