//go:build linux

// Package netlink is what the backends have in common that speak netfilter's
// netlink: the wire format of linux/netlink.h and linux/netfilter/nfnetlink.h, and a
// socket. Headers are in the byte order of the machine, numbers in attributes in big
// endian.
package netlink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// AttrLen is the length of the header of an attribute.
const AttrLen = 4

// Encoder appends netlink messages to B.
type Encoder struct{ B []byte }

// Begin starts a message; End must be given what it returns.
func (e *Encoder) Begin(typ, flags int, seq uint32, family uint8, res uint16) int {
	at := len(e.B)
	e.B = binary.NativeEndian.AppendUint32(e.B, 0)
	e.B = binary.NativeEndian.AppendUint16(e.B, uint16(typ))
	e.B = binary.NativeEndian.AppendUint16(e.B, uint16(flags|unix.NLM_F_REQUEST))
	e.B = binary.NativeEndian.AppendUint32(e.B, seq)
	e.B = binary.NativeEndian.AppendUint32(e.B, 0)
	e.B = append(e.B, family, unix.NFNETLINK_V0)
	e.B = binary.BigEndian.AppendUint16(e.B, res)
	return at
}

// End ends it.
func (e *Encoder) End(at int) {
	binary.NativeEndian.PutUint32(e.B[at:], uint32(len(e.B)-at))
}

// Header appends the header of an attribute with n bytes.
func (e *Encoder) Header(typ, n int) {
	e.B = binary.NativeEndian.AppendUint16(e.B, uint16(n+AttrLen))
	e.B = binary.NativeEndian.AppendUint16(e.B, uint16(typ))
}

// Pad fills up to where the next attribute begins.
func (e *Encoder) Pad() {
	for len(e.B)%4 != 0 {
		e.B = append(e.B, 0)
	}
}

// Bytes appends an attribute.
func (e *Encoder) Bytes(typ int, v []byte) {
	e.Header(typ, len(v))
	e.B = append(e.B, v...)
	e.Pad()
}

// Str appends a text with its zero.
func (e *Encoder) Str(typ int, s string) {
	e.Header(typ, len(s)+1)
	e.B = append(append(e.B, s...), 0)
	e.Pad()
}

// U32 appends a number of 4 bytes.
func (e *Encoder) U32(typ int, v uint32) {
	e.Header(typ, 4)
	e.B = binary.BigEndian.AppendUint32(e.B, v)
}

// U64 appends a number of 8 bytes.
func (e *Encoder) U64(typ int, v uint64) {
	e.Header(typ, 8)
	e.B = binary.BigEndian.AppendUint64(e.B, v)
}

// Nest starts an attribute that holds attributes; Unnest must be given what it returns.
func (e *Encoder) Nest(typ int) int {
	at := len(e.B)
	e.Header(typ|unix.NLA_F_NESTED, 0)
	return at
}

// Unnest ends it.
func (e *Encoder) Unnest(at int) {
	n := len(e.B) - at
	if n > 0xffff {
		// The length has 16 bits; the kernel would silently keep the remainder.
		panic(fmt.Sprintf("BUG: netlink attribute of %d bytes", n))
	}
	binary.NativeEndian.PutUint16(e.B[at:], uint16(n))
}

// U8 appends a number of one byte.
func (e *Encoder) U8(typ int, v uint8) { e.Bytes(typ, []byte{v}) }

// Messages yields the netlink messages in b: type, flags, sender and what comes after the
// header of 16 bytes. It stops at the first one that is cut short.
func Messages(b []byte) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for len(b) >= 16 {
			n := int(binary.NativeEndian.Uint32(b))
			if n < 16 || n > len(b) {
				return
			}
			m := Message{
				Type:  int(binary.NativeEndian.Uint16(b[4:])),
				Flags: int(binary.NativeEndian.Uint16(b[6:])),
				Seq:   binary.NativeEndian.Uint32(b[8:]),
				Pid:   binary.NativeEndian.Uint32(b[12:]),
				Body:  b[16:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(len(b), Align(n)):]
		}
	}
}

// Message is a message that was received.
type Message struct {
	Type, Flags int
	Seq, Pid    uint32
	Body        []byte // points into the receive buffer
}

// Attrs returns the attributes behind the 4 bytes of nfgenmsg.
func (m Message) Attrs() Attrs {
	if len(m.Body) < 4 {
		return nil
	}
	return m.Body[4:]
}

// Attrs is a list of netlink attributes.
type Attrs []byte

// Each yields types, without the flag bits, and values. It stops at the first
// attribute that is cut short.
func (a Attrs) Each() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		b := []byte(a)
		for len(b) >= AttrLen {
			n := int(binary.NativeEndian.Uint16(b))
			if n < AttrLen || n > len(b) {
				return
			}
			if !yield(int(binary.NativeEndian.Uint16(b[2:])&0x3fff), b[AttrLen:n]) {
				return
			}
			b = b[min(len(b), Align(n)):]
		}
	}
}

// Find returns the value of the first attribute of a type, nil if there is none.
func (a Attrs) Find(typ int) Attrs {
	for t, v := range a.Each() {
		if t == typ {
			return v
		}
	}
	return nil
}

// U8 returns a number of one byte, 0 if there is none.
func (a Attrs) U8(typ int) uint8 {
	if v := a.Find(typ); len(v) > 0 {
		return v[0]
	}
	return 0
}

// Str returns a text up to its zero, empty if there is none.
func (a Attrs) Str(typ int) string {
	s, _, _ := bytes.Cut(a.Find(typ), []byte{0})
	return string(s)
}

// U32 returns a number of 4 bytes, 0 if there is none.
func (a Attrs) U32(typ int) uint32 {
	if v := a.Find(typ); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// U64 returns a number of 8 bytes, 0 if there is none.
func (a Attrs) U64(typ int) uint64 {
	if v := a.Find(typ); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func Align(n int) int { return (n + 3) &^ 3 }

// sendBuffer holds the largest request with room to spare, also where the system's
// default is small.
const sendBuffer = 512 << 10

// answerTimeout only guards against a kernel that never answers: it does its
// work while the request is being sent.
const answerTimeout = 10 * time.Second

// Socket is a netlink socket to netfilter. It is not safe for concurrent use.
type Socket struct {
	FD  int
	Pid uint32 // its address
	buf []byte
}

// Dial opens a socket in the network namespace of this thread.
func Dial() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	s := &Socket{FD: fd, buf: make([]byte, 64<<10)}
	if err := s.setUp(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot set up a netlink socket: %w", err)
	}
	return s, nil
}

func (s *Socket) setUp() error {
	if unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer); err != nil {
			return err
		}
	}
	tv := unix.NsecToTimeval(int64(answerTimeout))
	if err := unix.SetsockoptTimeval(s.FD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(s.FD, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return err
	}
	// Texts with the errors are welcome, not needed: Linux 4.12.
	_ = unix.SetsockoptInt(s.FD, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	if err := unix.Bind(s.FD, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	sa, err := unix.Getsockname(s.FD)
	if err != nil {
		return err
	}
	s.Pid = sa.(*unix.SockaddrNetlink).Pid
	return nil
}

// Close closes it.
func (s *Socket) Close() error { return unix.Close(s.FD) }

// Send hands a request to the kernel, which does its work before it returns.
func (s *Socket) Send(b []byte) error {
	for {
		err := unix.Sendto(s.FD, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("cannot send %d bytes to the kernel: %w", len(b), err)
			}
			return nil
		}
	}
}

// Receive reads what the kernel has sent. It points into a buffer that the
// next call overwrites.
func (s *Socket) Receive(flags int) ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(s.FD, s.buf, flags)
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
		return s.buf[:n], nil
	}
}
