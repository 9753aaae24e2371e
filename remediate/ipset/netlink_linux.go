package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"cs/remediate"
	"cs/remediate/netlink"
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

// conn is a netlink socket to netfilter: one request at a time.
type conn struct {
	*netlink.Socket
	netlink.Encoder
	seq uint32
}

func dial() (*conn, error) {
	s, err := netlink.Dial()
	if err != nil {
		return nil, err
	}
	return &conn{Socket: s}, nil
}

// begin starts a request to ipset.
func (c *conn) begin(cmd, flags int, family uint8) {
	c.header(unix.NFNL_SUBSYS_IPSET<<8|cmd, flags, family)
	c.U8(attrProtocol, protocol)
}

func (c *conn) header(typ, flags int, family uint8) {
	c.seq++
	c.B = c.B[:0]
	c.Begin(typ, flags, c.seq, family, 0)
}

func (c *conn) u32(typ int, v uint32) { c.U32(typ|netOrder, v) }

// do sends the request and calls each for the attributes of every reply to it, which are valid
// during the call. The error is a refusal.
func (c *conn) do(each func(netlink.Attrs)) error {
	c.End(0)
	if err := c.Send(c.B); err != nil {
		return err
	}
	for {
		b, err := c.Receive(0)
		if err != nil {
			return err
		}
		if done, err := c.replies(b, each); done {
			return err
		}
	}
}

// replies reads the messages in b. done tells that the last one was there.
func (c *conn) replies(b []byte, each func(netlink.Attrs)) (done bool, err error) {
	for m := range netlink.Messages(b) {
		switch {
		case m.Seq != c.seq: // of a request that was given up
		case m.Type == unix.NLMSG_DONE:
			return true, nil
		case m.Type == unix.NLMSG_ERROR:
			if len(m.Body) < 4 {
				return true, errors.New("the kernel's answer is cut short")
			}
			if code := -int32(binary.NativeEndian.Uint32(m.Body)); code != 0 {
				return true, refusal(code)
			}
			return true, nil
		case len(m.Body) >= 4 && each != nil:
			each(m.Attrs())
		}
	}
	return false, nil
}

// request is a conntrack.Request.
func (c *conn) request(typ, flags int, family uint8, build func(*netlink.Encoder), each func(netlink.Attrs)) error {
	c.header(typ, flags, family)
	if build != nil {
		build(&c.Encoder)
	}
	return c.do(each)
}

// generation returns the number of the ruleset of nf_tables, which each change of it
// makes another.
func (c *conn) generation() (gen uint32, err error) {
	c.header(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, unix.AF_UNSPEC)
	err = c.do(func(a netlink.Attrs) { gen = a.U32(unix.NFTA_GEN_ID) })
	return gen, err
}
