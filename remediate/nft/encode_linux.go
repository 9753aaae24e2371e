package nft

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// The wire format is netlink's (linux/netlink.h, linux/netfilter/nf_tables.h):
// headers in the byte order of the machine, nf_tables' numbers in big endian.

const (
	hdrLen  = 20 // nlmsghdr and nfgenmsg
	attrLen = 4
	subsys  = unix.NFNL_SUBSYS_NFTABLES << 8

	msgBatchBegin = 0x10
	msgBatchEnd   = 0x11
	// msgDestroySetElem deletes elements that need not be there; Linux 6.3.
	msgDestroySetElem = 0x1e

	elemObjRef = unix.NFTA_SET_ELEM_OBJREF
)

// encoder appends netlink messages to b.
type encoder struct{ b []byte }

// begin starts a message; end must be given what it returns.
func (e *encoder) begin(typ, flags int, seq uint32, family uint8, res uint16) int {
	at := len(e.b)
	e.b = binary.NativeEndian.AppendUint32(e.b, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(typ))
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(flags|unix.NLM_F_REQUEST))
	e.b = binary.NativeEndian.AppendUint32(e.b, seq)
	e.b = binary.NativeEndian.AppendUint32(e.b, 0)
	e.b = append(e.b, family, unix.NFNETLINK_V0)
	e.b = binary.BigEndian.AppendUint16(e.b, res)
	return at
}

func (e *encoder) end(at int) {
	binary.NativeEndian.PutUint32(e.b[at:], uint32(len(e.b)-at))
}

func (e *encoder) header(typ, n int) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(n+attrLen))
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(typ))
}

func (e *encoder) pad() {
	for len(e.b)%4 != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) bytes(typ int, v []byte) {
	e.header(typ, len(v))
	e.b = append(e.b, v...)
	e.pad()
}

func (e *encoder) str(typ int, s string) {
	e.header(typ, len(s)+1)
	e.b = append(append(e.b, s...), 0)
	e.pad()
}

func (e *encoder) u32(typ int, v uint32) {
	e.header(typ, 4)
	e.b = binary.BigEndian.AppendUint32(e.b, v)
}

func (e *encoder) u64(typ int, v uint64) {
	e.header(typ, 8)
	e.b = binary.BigEndian.AppendUint64(e.b, v)
}

// nest starts an attribute that holds attributes; unnest must be given what it returns.
func (e *encoder) nest(typ int) int {
	at := len(e.b)
	e.header(typ|unix.NLA_F_NESTED, 0)
	return at
}

func (e *encoder) unnest(at int) {
	n := len(e.b) - at
	if n > 0xffff {
		// The length has 16 bits; the kernel would silently keep the remainder.
		panic(fmt.Sprintf("BUG: netlink attribute of %d bytes", n))
	}
	binary.NativeEndian.PutUint16(e.b[at:], uint16(n))
}

// A transaction is a batch of messages that the kernel applies whole or not at
// all. Only its last message asks for an answer: one for each would overflow
// the receive buffer. Failing messages answer unasked.
type transaction struct {
	encoder
	proto    uint8 // family of the table
	seq      uint32
	last     int // where the last message begins
	elements int
}

func (t *transaction) reset(seq uint32) {
	t.b, t.seq, t.last, t.elements = t.b[:0], seq, 0, 0
	t.end(t.begin(msgBatchBegin, 0, seq, 0, unix.NFNL_SUBSYS_NFTABLES))
}

func (t *transaction) empty() bool { return t.last == 0 }

// message starts one nf_tables message for the family of the table.
func (t *transaction) message(op, flags int) int {
	t.seq++
	t.last = t.begin(subsys|op, flags, t.seq, t.proto, 0)
	return t.last
}

// finish closes the batch and returns its bytes.
func (t *transaction) finish() []byte {
	flags := t.b[t.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	t.end(t.begin(msgBatchEnd, 0, t.seq+1, 0, unix.NFNL_SUBSYS_NFTABLES))
	return t.b
}
