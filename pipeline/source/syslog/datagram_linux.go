package syslog

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

type rawConn interface {
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(bytes int) error
}

// together is how many datagrams are received with one call of the kernel, if
// they fit into roomBytes.
const (
	together  = 128
	roomBytes = 1 << 20
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiver is datagrams by recvmmsg.
type receiver struct {
	conn  syscall.RawConn
	size  int // room for each
	room  []byte
	heads []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // those of IPv4 are shorter

	call func(fd uintptr) bool // kept, for it would be made anew each time
	n    int
	err  error
}

func newDatagrams(conn rawConn, maxLen int) (datagrams, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // what the system allows
		}
	})
	if err != nil {
		return nil, err
	}
	n := max(1, min(together, roomBytes/maxLen))
	r := &receiver{
		conn: raw, size: maxLen, room: make([]byte, n*maxLen),
		heads: make([]mmsghdr, n), iovs: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet6, n),
	}
	for i := range r.heads {
		r.iovs[i].Base = &r.room[i*maxLen]
		r.iovs[i].SetLen(maxLen)
		h := &r.heads[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	r.call = r.receive
	return r, nil
}

// receive is called when the socket may be readable.
func (r *receiver) receive(fd uintptr) bool {
	for i := range r.heads {
		r.heads[i].hdr.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.heads[0])), uintptr(len(r.heads)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			r.n, r.err = int(n), nil
		default:
			r.n, r.err = 0, errno
		}
		return true
	}
}

func (r *receiver) read() (int, error) {
	if err := r.conn.Read(r.call); err != nil {
		return 0, err
	}
	return r.n, r.err
}

func (r *receiver) packet(i int) (data []byte, from netip.Addr, cut bool) {
	h := &r.heads[i]
	data = r.room[i*r.size:][:min(int(h.n), r.size)]
	name := &r.names[i]
	switch {
	case h.hdr.Namelen < 2:
	case name.Family == unix.AF_INET:
		from = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	case name.Family == unix.AF_INET6:
		from = netip.AddrFrom16(name.Addr).Unmap()
	}
	return data, from, h.hdr.Flags&unix.MSG_TRUNC != 0
}

// drops returns how many datagrams the kernel has dropped for want of room.
func drops(conn rawConn) (n uint32, ok bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info [16]uint32 // of sock_diag(7), SK_MEMINFO_VARS
	const dropped = 8   // SK_MEMINFO_DROPS
	_ = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size > 4*dropped
	})
	return info[dropped], ok
}
