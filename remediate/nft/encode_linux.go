package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"cs/remediate/netlink"
)

// The messages are those of linux/netfilter/nf_tables.h.

const (
	hdrLen = 20 // nlmsghdr and nfgenmsg
	subsys = unix.NFNL_SUBSYS_NFTABLES << 8

	msgBatchBegin = 0x10
	msgBatchEnd   = 0x11
	// msgDestroySetElem deletes elements that need not be there; Linux 6.3.
	msgDestroySetElem = 0x1e

	elemObjRef = unix.NFTA_SET_ELEM_OBJREF
)

// encoder appends messages, with what nf_tables has besides.
type encoder struct{ netlink.Encoder }

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
	t.B, t.seq, t.last, t.elements = t.B[:0], seq, 0, 0
	t.End(t.Begin(msgBatchBegin, 0, seq, 0, unix.NFNL_SUBSYS_NFTABLES))
}

func (t *transaction) empty() bool { return t.last == 0 }

// message starts one nf_tables message for the family of the table.
func (t *transaction) message(op, flags int) int {
	t.seq++
	t.last = t.Begin(subsys|op, flags, t.seq, t.proto, 0)
	return t.last
}

// finish closes the batch and returns its bytes.
func (t *transaction) finish() []byte {
	flags := t.B[t.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	t.End(t.Begin(msgBatchEnd, 0, t.seq+1, 0, unix.NFNL_SUBSYS_NFTABLES))
	return t.B
}
