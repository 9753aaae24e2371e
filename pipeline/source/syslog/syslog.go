// Package syslog is the source that receives the messages of other hosts, and of programs
// on this one: over UDP, TCP, TLS and unix sockets, in the formats of RFC 3164
// and RFC 5424, on streams with either framing of RFC 6587, told apart by each
// message. Senders that nobody expects are refused.
//
// A message has no position: what was sent while nobody listened is gone. What
// the kernel drops because we are slow is counted.
package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
)

const (
	// receiveBuffer is what the kernel holds for us while the engine is busy:
	// some 50 ms of 200,000 messages a second.
	receiveBuffer = 8 << 20
	// maxClients bounds the clients whose names are kept at hand.
	maxClients = 1024
	handshake  = 10 * time.Second
	dropEvery  = time.Second
)

// Source receives messages. Acquisitions make it; see Kind.
type Source struct {
	keys      Keys
	spec      *source.Spec
	addr      netip.AddrPort
	protocols []string
	allowed   []netip.Prefix
	trouble   *source.Throttle
}

// Name returns where it listens, "udp,tcp 127.0.0.1:514".
func (s *Source) Name() string {
	var names []string
	if len(s.protocols) > 0 {
		names = append(names, strings.Join(s.protocols, ",")+" "+s.addr.String())
	}
	for _, path := range []string{s.keys.ListenSocket, s.keys.ListenSocketStream} {
		if path != "" {
			names = append(names, path)
		}
	}
	return strings.Join(names, " ")
}

// Run receives messages until ctx ends. That it can't listen is an error, and
// so is the loss of a listener.
func (s *Source) Run(ctx context.Context, out source.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out = source.Serial(ctx, out)
	var open []interface{ Close() error }
	var serve []func() error
	closeAll := func() {
		for _, c := range open {
			c.Close()
		}
	}
	for _, protocol := range s.protocols {
		run, c, err := s.listen(ctx, protocol, out)
		if err != nil {
			closeAll()
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		open, serve = append(open, c), append(serve, run)
	}
	if s.keys.ListenSocket != "" {
		conn, err := listenUnix(s.keys.ListenSocket, "unixgram", net.ListenUnixgram)
		if err != nil {
			closeAll()
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		open = append(open, conn)
		serve = append(serve, func() error { return s.packets(ctx, conn, out) })
	}
	if path := s.keys.ListenSocketStream; path != "" {
		l, err := listenUnix(path, "unix", net.ListenUnix)
		if err != nil {
			closeAll()
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		open = append(open, l)
		serve = append(serve, func() error { return s.accept(ctx, l, nil, out) })
	}
	stop := context.AfterFunc(ctx, closeAll)
	defer stop()
	s.spec.Started()
	var work sync.WaitGroup
	for _, run := range serve {
		work.Go(func() {
			if err := run(); err != nil {
				cancel(err)
			}
		})
	}
	work.Wait()
	closeAll()
	return context.Cause(ctx)
}

// listen opens a port.
func (s *Source) listen(ctx context.Context, protocol string, out source.Sink) (run func() error, c interface{ Close() error }, err error) {
	if protocol == "udp" {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr))
		if err != nil {
			return nil, nil, err
		}
		return func() error { return s.packets(ctx, conn, out) }, conn, nil
	}
	var conf *tls.Config
	if protocol == "tls" {
		if conf, err = s.keys.TLS.Config(); err != nil {
			return nil, nil, err
		}
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(s.addr))
	if err != nil {
		return nil, nil, err
	}
	return func() error { return s.accept(ctx, l, conf, out) }, l, nil
}

// client is who sends messages.
type client struct {
	src         string
	parsed      [2]string // names of its counters
	round       uint64    // of turns,
	first, last int       // and which are its packets then
}

func newClient(src string) *client {
	return &client{src: src, parsed: [2]string{src + "\x00" + rfc3164, src + "\x00" + rfc5424}}
}

// turns brings together what each client has sent of the packets of one read, for the engine
// takes several lines of one source side by side. The zero value is ready.
type turns struct {
	round   uint64
	clients []*client
	next    []int // packet of the same client, by number; -1 at the end
}

// begin is called before the packets of a read, of which there are n.
func (t *turns) begin(n int) {
	clear(t.clients)
	t.clients = t.clients[:0]
	t.round++
	t.next = slices.Grow(t.next[:0], n)[:n]
}

// add takes a packet by its number.
func (t *turns) add(c *client, packet int) {
	if c.round != t.round {
		c.round, c.first = t.round, packet
		t.clients = append(t.clients, c)
	} else {
		t.next[c.last] = packet
	}
	c.last, t.next[packet] = packet, -1
}

// each calls f for each packet.
func (t *turns) each(f func(c *client, packet int)) {
	for _, c := range t.clients {
		for i := c.first; i >= 0; i = t.next[i] {
			f(c, i)
		}
	}
}

// admits tells whether messages from an address are taken.
func (s *Source) admits(addr netip.Addr) bool {
	return len(s.allowed) == 0 || slices.ContainsFunc(s.allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// refuse reports that a sender isn't among those whose messages are taken.
func (s *Source) refuse(addr netip.Addr) {
	s.trouble.Report(fmt.Errorf("syslog messages from %v are refused: it isn't in allow_from", addr))
}

// take adds a message to a batch.
func (s *Source) take(b *source.Batch, from *client, msg []byte, now time.Time) {
	var format string
	b.Text, format = appendMessage(b.Text, msg, !s.keys.DisableRFCParser, now)
	switch format {
	case rfc3164:
		s.spec.Meter.Parsed.Add(from.parsed[0], 1)
	case rfc5424:
		s.spec.Meter.Parsed.Add(from.parsed[1], 1)
	}
	b.End(from.src, now)
}

// datagrams are packets that came together.
type datagrams interface {
	// read waits for packets and returns their number.
	read() (int, error)
	// packet returns the i-th, where it came from (the zero address for a unix
	// socket), and whether it was longer than there is room for. It is valid until the next read.
	packet(i int) (data []byte, from netip.Addr, cut bool)
}

// packets receives datagrams.
func (s *Source) packets(ctx context.Context, conn packetConn, out source.Sink) error {
	in, err := newDatagrams(conn, s.keys.MaxMessageLen)
	if err != nil {
		return err
	}
	stop := s.countDrops(conn)
	defer stop()
	local := newClient(s.keys.ListenSocket)
	clients := map[netip.Addr]*client{}
	b := source.NewBatch(s.spec.Line(""), 0, s.spec.Meter)
	var now time.Time
	var turns turns
	take := func(from *client, packet int) {
		msg, _, cut := in.packet(packet)
		if cut {
			s.spec.Meter.Cut.Add(1)
		}
		s.take(b, from, msg, now)
	}
	for {
		n, err := in.read()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot receive syslog messages: %w", err)
		}
		now = time.Now()
		turns.begin(n)
		for i := range n {
			_, addr, _ := in.packet(i)
			from := local
			if addr.IsValid() {
				if from = clients[addr]; from == nil {
					if !s.admits(addr) {
						s.refuse(addr)
						continue
					}
					if len(clients) >= maxClients {
						clear(clients)
					}
					from = newClient(addr.String())
					clients[addr] = from
				}
			}
			if s.spec.Mode == event.Live {
				turns.add(from, i)
			} else { // the times in them must not go back
				take(from, i)
			}
		}
		turns.each(take)
		if err := b.Deliver(ctx, out, now, source.Nowhere); err != nil {
			return err
		}
	}
}

// packetConn is a socket for datagrams.
type packetConn interface {
	net.PacketConn
	rawConn
}

// countDrops counts what the kernel drops, until stop is called.
func (s *Source) countDrops(conn rawConn) (stop func()) {
	var seen uint32
	count := func() {
		n, ok := drops(conn)
		if lost := n - seen; ok && lost > 0 {
			seen = n
			s.spec.Meter.Dropped.Add(int64(lost))
			s.trouble.Report(fmt.Errorf("%d syslog messages are lost: they came faster than they are processed (%d so far)", lost, s.spec.Meter.Dropped.Load()))
		}
	}
	tick := time.NewTicker(dropEvery)
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-tick.C:
				count()
			case <-done:
				count()
				return
			}
		}
	})
	return func() {
		tick.Stop()
		close(done)
		work.Wait()
	}
}

// listenUnix opens a unix socket in the place of one that nobody listens to any
// more. Everybody may write to it, as to /dev/log.
func listenUnix[S interface{ Close() error }](path, network string, listen func(string, *net.UnixAddr) (S, error)) (sock S, err error) {
	addr := &net.UnixAddr{Name: path, Net: network}
	var none S
	if sock, err = listen(network, addr); err != nil {
		fi, statErr := os.Lstat(path)
		if statErr != nil || fi.Mode()&os.ModeSocket == 0 {
			return none, err
		}
		if other, dialErr := net.DialUnix(network, nil, addr); dialErr == nil {
			other.Close()
			return none, fmt.Errorf("somebody listens to %s: %w", path, err)
		}
		if rmErr := os.Remove(path); rmErr != nil {
			return none, errors.Join(err, rmErr)
		}
		if sock, err = listen(network, addr); err != nil {
			return none, err
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		sock.Close()
		return none, err
	}
	return sock, nil
}
