package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cs/remediate"
)

const (
	// sendBuffer holds a transaction of maxBatch bytes with room to spare, also
	// where the system's default is small.
	sendBuffer = 512 << 10
	// answerTimeout only guards against a kernel that never answers: it does its
	// work while the request is being sent.
	answerTimeout = 10 * time.Second
	// tries bounds how often a request is repeated that met a change by others.
	tries = 5
)

// conn is a netlink socket to nf_tables. A table with an owner belongs to it.
type conn struct {
	fd  int
	pid uint32
	seq uint32
	buf []byte
	sub int // subsystem that dumps ask
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	c := &conn{fd: fd, buf: make([]byte, 64<<10), sub: subsys}
	if err := c.setUp(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot set up a netlink socket: %w", err)
	}
	return c, nil
}

func (c *conn) setUp() error {
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			return err
		}
	}
	tv := unix.NsecToTimeval(int64(answerTimeout))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return err
	}
	// Texts with the errors are welcome, not needed: Linux 4.12.
	_ = unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	c.pid = sa.(*unix.SockaddrNetlink).Pid
	return nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// commit sends a transaction and waits for the kernel's verdict.
func (c *conn) commit(t *transaction) error {
	b := t.finish()
	for try := 1; ; try++ {
		err := c.send(b)
		if err == nil {
			err = c.answer(t.seq)
		}
		c.seq = t.seq + 1
		if !again(err) || try == tries {
			return err
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}

// again tells whether an error only says that another change got in between.
func again(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

func (c *conn) send(b []byte) error {
	for {
		err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("cannot send %d bytes to the kernel: %w", len(b), err)
			}
			return nil
		}
	}
}

// receive reads what the kernel has sent. It points into a buffer that the
// next call overwrites.
func (c *conn) receive(flags int) ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, flags)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the kernel's answer: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // not from the kernel
		}
		return c.buf[:n], nil
	}
}

// answer reads until the message last of a batch is acknowledged, or until
// everything that belongs to a failed batch is read.
func (c *conn) answer(last uint32) error {
	var first error
	flags := 0
	for {
		b, err := c.receive(flags)
		if err != nil {
			if first != nil {
				return first
			}
			return err
		}
		for m := range messages(b) {
			if m.typ != unix.NLMSG_ERROR {
				continue
			}
			if err := answerError(m); err != nil {
				if first == nil {
					first = err
				}
				// All answers are there already: the kernel works while it is sent to.
				flags = unix.MSG_DONTWAIT
			} else if m.seq == last && first == nil {
				return nil
			}
		}
	}
}

// dump sends one request and calls each for every message of the reply. When
// a change got in between it starts again, so that each may see things twice.
func (c *conn) dump(op, flags int, family uint8, request func(*encoder), each func(message)) error {
	for try := 1; ; try++ {
		err := c.dumpOnce(op, flags, family, request, each)
		if !again(err) || try == tries {
			return err
		}
	}
}

// dumpOnce is dump without repeating.
func (c *conn) dumpOnce(op, flags int, family uint8, request func(*encoder), each func(message)) error {
	c.seq++
	var e encoder
	at := e.begin(c.sub|op, flags|unix.NLM_F_ACK, c.seq, family, 0)
	if request != nil {
		request(&e)
	}
	e.end(at)
	if err := c.send(e.b); err != nil {
		return err
	}
	interrupted := false
	for {
		b, err := c.receive(0)
		if err != nil {
			return err
		}
		for m := range messages(b) {
			if m.seq != c.seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_DONE:
				if interrupted {
					return unix.EINTR
				}
				return nil
			case unix.NLMSG_ERROR:
				return answerError(m)
			default:
				each(m)
			}
		}
	}
}

// kernelError is a refusal by the kernel, with its text if it gave one.
type kernelError struct {
	errno syscall.Errno
	text  string
}

func (e *kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.errno.Error() + " (" + e.text + ")"
}

func (e *kernelError) Unwrap() error { return e.errno }

// Is maps the kernel's numbers to the conditions of package remediate.
func (e *kernelError) Is(target error) bool {
	switch target {
	case remediate.ErrFull:
		return e.errno == unix.ENOMEM || e.errno == unix.ENFILE || e.errno == unix.ENOSPC
	case remediate.ErrForeign:
		return e.errno == unix.EPERM
	}
	return false
}

// answerError returns the error that an NLMSG_ERROR message carries, nil for
// an acknowledgement.
func answerError(m message) error {
	if len(m.body) < 20 {
		return &kernelError{errno: unix.EBADMSG}
	}
	code := int32(binary.NativeEndian.Uint32(m.body))
	if code == 0 {
		return nil
	}
	err := &kernelError{errno: syscall.Errno(-code)}
	if m.flags&unix.NLM_F_ACK_TLVS != 0 {
		rest := m.body[20:]
		if m.flags&unix.NLM_F_CAPPED == 0 { // the request is repeated behind its header
			n := align(int(binary.NativeEndian.Uint32(m.body[4:]))) - 16
			if n < 0 || n > len(rest) {
				return err
			}
			rest = rest[n:]
		}
		err.text = attrs(rest).str(unix.NLMSGERR_ATTR_MSG)
	}
	return err
}
