package nft

import (
	"encoding/binary"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cs/remediate"
	"cs/remediate/netlink"
)

const (
	// tries bounds how often a request is repeated that met a change by others.
	tries = 5
)

// conn is a netlink socket to nf_tables. A table with an owner belongs to it.
type conn struct {
	*netlink.Socket
	seq uint32
	sub int // subsystem that dumps ask
}

func dial() (*conn, error) {
	s, err := netlink.Dial()
	if err != nil {
		return nil, err
	}
	return &conn{Socket: s, sub: subsys}, nil
}

// commit sends a transaction and waits for the kernel's verdict.
func (c *conn) commit(t *transaction) error {
	b := t.finish()
	for try := 1; ; try++ {
		err := c.Send(b)
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

// answer reads until the message last of a batch is acknowledged, or until
// everything that belongs to a failed batch is read.
func (c *conn) answer(last uint32) error {
	var first error
	flags := 0
	for {
		b, err := c.Receive(flags)
		if err != nil {
			if first != nil {
				return first
			}
			return err
		}
		for m := range netlink.Messages(b) {
			if m.Type != unix.NLMSG_ERROR {
				continue
			}
			if err := answerError(m); err != nil {
				if first == nil {
					first = err
				}
				// All answers are there already: the kernel works while it is sent to.
				flags = unix.MSG_DONTWAIT
			} else if m.Seq == last && first == nil {
				return nil
			}
		}
	}
}

// dump sends one request and calls each for every message of the reply. When
// a change got in between it starts again, so that each may see things twice.
func (c *conn) dump(op, flags int, family uint8, request func(*encoder), each func(netlink.Message)) error {
	for try := 1; ; try++ {
		err := c.dumpOnce(op, flags, family, request, each)
		if !again(err) || try == tries {
			return err
		}
	}
}

// dumpOnce is dump without repeating.
func (c *conn) dumpOnce(op, flags int, family uint8, request func(*encoder), each func(netlink.Message)) error {
	c.seq++
	var e encoder
	at := e.Begin(c.sub|op, flags|unix.NLM_F_ACK, c.seq, family, 0)
	if request != nil {
		request(&e)
	}
	e.End(at)
	if err := c.Send(e.B); err != nil {
		return err
	}
	interrupted := false
	for {
		b, err := c.Receive(0)
		if err != nil {
			return err
		}
		for m := range netlink.Messages(b) {
			if m.Seq != c.seq {
				continue
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Type {
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
func answerError(m netlink.Message) error {
	if len(m.Body) < 20 {
		return &kernelError{errno: unix.EBADMSG}
	}
	code := int32(binary.NativeEndian.Uint32(m.Body))
	if code == 0 {
		return nil
	}
	err := &kernelError{errno: syscall.Errno(-code)}
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 {
		rest := m.Body[20:]
		if m.Flags&unix.NLM_F_CAPPED == 0 { // the request is repeated behind its header
			n := netlink.Align(int(binary.NativeEndian.Uint32(m.Body[4:]))) - 16
			if n < 0 || n > len(rest) {
				return err
			}
			rest = rest[n:]
		}
		err.text = netlink.Attrs(rest).Str(unix.NLMSGERR_ATTR_MSG)
	}
	return err
}
