package ipset

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

// Commands and attributes of linux/netfilter/ipset/ip_set.h.
const (
	cmdCreate  = 2
	cmdDestroy = 3
	cmdFlush   = 4
	cmdSwap    = 6
	cmdList    = 7
	cmdAdd     = 9
	cmdDel     = 10
	cmdTest    = 11
	cmdHeader  = 12
	cmdType    = 13

	attrProtocol = 1
	attrName     = 2
	attrType     = 3 // and the second name of a swap
	attrRevision = 4
	attrFamily   = 5
	attrFlags    = 6
	attrData     = 7
	attrADT      = 8
	attrLine     = 9

	dataIP      = 1
	dataCIDR    = 3
	dataTimeout = 6
	dataFlags   = 8
	dataMaxElem = 19

	protocol    = 6
	flagSetName = 2 // list names only
	flagNoMatch = 4
	netOrder    = unix.NLA_F_NET_BYTEORDER
)

// refusal is an error number of the kernel. Those above 4096 are ipset's own.
type refusal syscall.Errno

const (
	errProtocol refusal = 4097
	errFindType refusal = 4098
	errMaxSets  refusal = 4099
	errMismatch refusal = 4102
	errExist    refusal = 4103
	errInUse    refusal = 4108
	errHashFull refusal = 4352
)

var refusals = map[refusal]string{
	errProtocol: "the kernel does not understand the request",
	errFindType: "the kernel has no such type of set",
	errMaxSets:  "the kernel has as many sets as it may",
	errMismatch: "the set is of another type",
	errExist:    "it is, or is not, there",
	errInUse:    "a rule uses the set",
	errHashFull: "the hash is full",
}

func (e refusal) Error() string {
	if text, ok := refusals[e]; ok {
		return text
	}
	if e > 4096 {
		return fmt.Sprintf("ipset error %d", int(e))
	}
	return syscall.Errno(e).Error()
}

// Is maps the kernel's numbers to errnos and to the conditions of package remediate.
func (e refusal) Is(target error) bool {
	switch target {
	case remediate.ErrFull:
		return e == errHashFull || e == errMaxSets || e == refusal(unix.ENOMEM)
	case remediate.ErrForeign:
		return e == refusal(unix.EPERM)
	}
	errno, ok := target.(syscall.Errno)
	return ok && refusal(errno) == e
}

// answerTimeout only guards against a kernel that never answers: it does its
// work while the request is being sent.
const answerTimeout = 10 * time.Second

// conn is a netlink socket to netfilter: one request at a time.
type conn struct {
	fd  int
	seq uint32
	req []byte
	buf []byte
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	tv := unix.NsecToTimeval(int64(answerTimeout))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot set up a netlink socket: %w", err)
	}
	return &conn{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// begin starts a request to ipset.
func (c *conn) begin(cmd, flags int, family uint8) {
	c.header(unix.NFNL_SUBSYS_IPSET<<8|cmd, flags, family)
	c.u8(attrProtocol, protocol)
}

func (c *conn) header(typ, flags int, family uint8) {
	c.seq++
	b := binary.NativeEndian.AppendUint32(c.req[:0], 0)
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = binary.NativeEndian.AppendUint16(b, uint16(flags|unix.NLM_F_REQUEST))
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	c.req = append(b, family, unix.NFNETLINK_V0, 0, 0)
}

func (c *conn) attr(typ int, v []byte) {
	c.req = binary.NativeEndian.AppendUint16(c.req, uint16(4+len(v)))
	c.req = binary.NativeEndian.AppendUint16(c.req, uint16(typ))
	c.req = append(c.req, v...)
	for len(c.req)%4 != 0 {
		c.req = append(c.req, 0)
	}
}

func (c *conn) u8(typ int, v uint8) { c.attr(typ, []byte{v}) }

func (c *conn) u32(typ int, v uint32) {
	c.attr(typ|netOrder, binary.BigEndian.AppendUint32(make([]byte, 0, 4), v))
}

func (c *conn) str(typ int, s string) { c.attr(typ, append([]byte(s), 0)) }

// nest starts an attribute of attributes; unnest must be given what it returns.
func (c *conn) nest(typ int) int {
	at := len(c.req)
	c.attr(typ|unix.NLA_F_NESTED, nil)
	return at
}

func (c *conn) unnest(at int) {
	n := len(c.req) - at
	if n > 0xffff {
		panic(fmt.Sprintf("BUG: netlink attribute of %d bytes", n)) // its length has 16 bits
	}
	binary.NativeEndian.PutUint16(c.req[at:], uint16(n))
}

// do sends the request and calls each for the attributes of every reply to it, which are valid
// during the call. The error is a refusal.
func (c *conn) do(each func(attrs)) error {
	binary.NativeEndian.PutUint32(c.req, uint32(len(c.req)))
	for {
		err := unix.Sendto(c.fd, c.req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("cannot send %d bytes to the kernel: %w", len(c.req), err)
		}
	}
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			return fmt.Errorf("cannot read the kernel's answer: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // not from the kernel
		}
		if done, err := c.replies(c.buf[:n], each); done {
			return err
		}
	}
}

// replies reads the messages in b. done tells that the last one was there.
func (c *conn) replies(b []byte, each func(attrs)) (done bool, err error) {
	for len(b) >= 16 {
		n := int(binary.NativeEndian.Uint32(b))
		if n < 16 || n > len(b) {
			return true, errors.New("the kernel's answer is cut short")
		}
		typ, seq, body := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[16:n]
		b = b[min(len(b), align(n)):]
		switch {
		case seq != c.seq: // of a request that was given up
		case typ == unix.NLMSG_DONE:
			return true, nil
		case typ == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return true, errors.New("the kernel's answer is cut short")
			}
			if code := -int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, refusal(code)
			}
			return true, nil
		case len(body) >= 4 && each != nil:
			each(body[4:])
		}
	}
	return false, nil
}

// attrs is a list of netlink attributes.
type attrs []byte

// find returns the value of the first attribute of a type, nil if there is none.
func (a attrs) find(typ int) attrs {
	for len(a) >= 4 {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			return nil
		}
		if int(binary.NativeEndian.Uint16(a[2:])&0x3fff) == typ {
			return a[4:n]
		}
		a = a[min(len(a), align(n)):]
	}
	return nil
}

func (a attrs) str(typ int) string { return unix.ByteSliceToString(a.find(typ)) }

func (a attrs) u8(typ int) uint8 {
	if v := a.find(typ); len(v) > 0 {
		return v[0]
	}
	return 0
}

func align(n int) int { return (n + 3) &^ 3 }

// generation returns the number of the ruleset of nf_tables, which each change of it
// makes another.
func (c *conn) generation() (uint32, error) {
	c.header(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, unix.AF_UNSPEC)
	var gen uint32
	err := c.do(func(a attrs) {
		if v := a.find(unix.NFTA_GEN_ID); len(v) == 4 {
			gen = binary.BigEndian.Uint32(v)
		}
	})
	return gen, err
}
