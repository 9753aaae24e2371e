//go:build !linux

package syslog

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// tooLong is what Windows says of a datagram that it cut (WSAEMSGSIZE).
const tooLong = syscall.Errno(10040)

type rawConn interface {
	net.PacketConn
	SetReadBuffer(bytes int) error
}

// receiver is datagrams, one at a time.
type receiver struct {
	conn net.PacketConn
	room []byte
	n    int
	from netip.Addr
}

func newDatagrams(conn rawConn, maxLen int) (datagrams, error) {
	_ = conn.SetReadBuffer(receiveBuffer) // what the system allows
	return &receiver{conn: conn, room: make([]byte, maxLen+1)}, nil
}

func (r *receiver) read() (n int, err error) {
	r.from = netip.Addr{}
	if udp, ok := r.conn.(*net.UDPConn); ok {
		var from netip.AddrPort
		r.n, from, err = udp.ReadFromUDPAddrPort(r.room)
		r.from = from.Addr().Unmap()
	} else {
		r.n, _, err = r.conn.ReadFrom(r.room)
	}
	if errors.Is(err, tooLong) {
		r.n, err = len(r.room), nil
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (r *receiver) packet(int) (data []byte, from netip.Addr, cut bool) {
	n := min(r.n, len(r.room)-1)
	return r.room[:n], r.from, n < r.n
}

// drops says that this system doesn't tell.
func drops(rawConn) (n uint32, ok bool) { return 0, false }
