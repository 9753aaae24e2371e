package nft

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// messages yields the netlink messages in b: type, flags, sender and what comes after the
// header of 16 bytes. It stops at the first one that is cut short.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= 16 {
			n := int(binary.NativeEndian.Uint32(b))
			if n < 16 || n > len(b) {
				return
			}
			m := message{
				typ:   int(binary.NativeEndian.Uint16(b[4:])),
				flags: int(binary.NativeEndian.Uint16(b[6:])),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				pid:   binary.NativeEndian.Uint32(b[12:]),
				body:  b[16:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(len(b), align(n)):]
		}
	}
}

type message struct {
	typ, flags int
	seq, pid   uint32
	body       []byte // points into the receive buffer
}

// attrs returns the attributes behind the 4 bytes of nfgenmsg.
func (m message) attrs() attrs {
	if len(m.body) < 4 {
		return nil
	}
	return m.body[4:]
}

// attrs is a list of netlink attributes.
type attrs []byte

// each yields types, without the flag bits, and values. It stops at the first
// attribute that is cut short.
func (a attrs) each() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		b := []byte(a)
		for len(b) >= attrLen {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrLen || n > len(b) {
				return
			}
			if !yield(int(binary.NativeEndian.Uint16(b[2:])&0x3fff), b[attrLen:n]) {
				return
			}
			b = b[min(len(b), align(n)):]
		}
	}
}

// find returns the value of the first attribute of a type, nil if there is none.
func (a attrs) find(typ int) attrs {
	for t, v := range a.each() {
		if t == typ {
			return v
		}
	}
	return nil
}

func (a attrs) str(typ int) string {
	s, _, _ := bytes.Cut(a.find(typ), []byte{0})
	return string(s)
}

func (a attrs) u32(typ int) uint32 {
	if v := a.find(typ); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (a attrs) u64(typ int) uint64 {
	if v := a.find(typ); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func align(n int) int { return (n + 3) &^ 3 }
