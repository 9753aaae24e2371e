package nft

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cs/remediate/netlink"
)

// quiet is how long a watcher waits after a change, because a change of a
// ruleset comes as many messages.
const quiet = 10 * time.Millisecond

// watcher listens to what the kernel tells about changes of nf_tables. A nil
// watcher sees nothing.
type watcher struct {
	file    *os.File
	proto   uint8
	table   string
	own     uint32 // sender of our own changes
	changed chan<- struct{}
	seen    atomic.Bool
	hears   atomic.Bool
	done    chan struct{}
}

// startWatch starts a watcher of the network namespace of this thread.
func startWatch(proto uint8, table string, own uint32, changed chan<- struct{}) (*watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot bind a netlink socket: %w", err)
	}
	w := &watcher{
		file: os.NewFile(uintptr(fd), "nftables changes"), proto: proto, table: table,
		own: own, changed: changed, done: make(chan struct{}),
	}
	go w.run()
	return w, nil
}

// pause leaves the group, so that our own bulk loads are not announced.
func (w *watcher) pause() {
	if w != nil {
		w.membership(unix.NETLINK_DROP_MEMBERSHIP)
		w.hears.Store(false)
	}
}

// resume joins the group.
func (w *watcher) resume() {
	if w != nil {
		w.hears.Store(w.membership(unix.NETLINK_ADD_MEMBERSHIP))
	}
}

// told tells whether changes are announced to it.
func (w *watcher) told() bool { return w != nil && w.hears.Load() }

// forget forgets what was seen.
func (w *watcher) forget() {
	if w != nil {
		w.seen.Store(false)
	}
}

func (w *watcher) membership(opt int) (ok bool) {
	rc, err := w.file.SyscallConn()
	if err == nil {
		_ = rc.Control(func(fd uintptr) {
			ok = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, opt, unix.NFNLGRP_NFTABLES) == nil
		})
	}
	return ok
}

// foreign tells, once, whether somebody else changed the table.
func (w *watcher) foreign() bool { return w != nil && w.seen.Swap(false) }

func (w *watcher) stop() {
	if w != nil {
		w.file.Close()
		<-w.done
	}
}

func (w *watcher) run() {
	defer close(w.done)
	rc, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for {
		foreign, missed := false, false
		err := rc.Read(func(fd uintptr) bool {
			for read := false; ; read = true {
				n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
				switch {
				case err == unix.EINTR:
				case errors.Is(err, unix.ENOBUFS):
					missed = true // too much at a time; somebody has to look
				case err != nil:
					return read || err != unix.EAGAIN
				default:
					foreign = foreign || w.concerns(buf[:n])
				}
			}
		})
		if err != nil {
			return // closed
		}
		if foreign {
			w.seen.Store(true)
		}
		if foreign || missed {
			select {
			case w.changed <- struct{}{}:
			default:
			}
			time.Sleep(quiet)
		}
	}
}

// concerns tells whether somebody else changed our table.
func (w *watcher) concerns(b []byte) bool {
	for m := range netlink.Messages(b) {
		if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Pid == w.own || m.Type&0xff == unix.NFT_MSG_NEWGEN {
			continue
		}
		// The name of the table is attribute 1 of every kind of message.
		if len(m.Body) >= 4 && m.Body[0] == w.proto && m.Attrs().Str(1) == w.table {
			return true
		}
	}
	return false
}
