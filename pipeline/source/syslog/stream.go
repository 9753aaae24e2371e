package syslog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"cs/pipeline/source"
)

const (
	streamBuffer = 16 << 10
	// maxCount refuses counts of bytes that no message has.
	maxCount = 64 << 20
)

// accept serves connections until ctx ends.
func (s *Source) accept(ctx context.Context, l net.Listener, conf *tls.Config, out source.Sink) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	room := make(chan struct{}, s.keys.MaxConnections)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if !errors.Is(err, net.ErrClosed) { // too many open files, a client that went away
				s.trouble.Report(fmt.Errorf("cannot accept a syslog connection: %w", err))
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
				continue
			}
			return fmt.Errorf("cannot accept syslog connections: %w", err)
		}
		src := s.keys.ListenSocketStream
		if addr, ok := addrOf(conn); ok {
			if !s.admits(addr) {
				s.refuse(addr)
				conn.Close()
				continue
			}
			src = addr.String()
		}
		select {
		case room <- struct{}{}:
		default:
			s.trouble.Report(fmt.Errorf("a syslog connection from %s is refused: there are %d", src, cap(room)))
			conn.Close()
			continue
		}
		work.Go(func() {
			defer func() { <-room }()
			if err := s.serve(ctx, conn, conf, newClient(src), out); err != nil && ctx.Err() == nil {
				s.trouble.Report(fmt.Errorf("a syslog connection from %s is closed: %w", src, err))
			}
		})
	}
}

// addrOf returns the address of who has connected; false for a unix socket.
func addrOf(conn net.Conn) (netip.Addr, bool) {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap(), true
}

// serve reads one connection to its end.
func (s *Source) serve(ctx context.Context, conn net.Conn, conf *tls.Config, from *client, out source.Sink) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	if conf != nil {
		secure := tls.Server(conn, conf)
		hctx, cancel := context.WithTimeout(ctx, handshake)
		defer cancel()
		if err := secure.HandshakeContext(hctx); err != nil {
			return err
		}
		conn = secure
	}
	return s.stream(ctx, conn, from, out)
}

// stream reads messages until r ends. What there is is delivered before it waits for more.
func (s *Source) stream(ctx context.Context, r io.Reader, from *client, out source.Sink) error {
	b := source.NewBatch(s.spec.Line(""), 0, s.spec.Meter)
	deliver := func() error { return b.Deliver(ctx, out, time.Now(), source.Nowhere) }
	f := framer{in: bufio.NewReaderSize(source.BeforeReads(r, deliver), streamBuffer), max: s.keys.MaxMessageLen}
	for {
		msg, err := f.next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return errors.Join(deliver(), err)
		}
		if f.cut {
			s.spec.Meter.Cut.Add(1)
		}
		s.take(b, from, msg, time.Now())
		if b.Full() {
			if err := deliver(); err != nil {
				return err
			}
		}
	}
}

// framer cuts a stream into messages (RFC 6587): with their length in front
// ("11 <13>message"), or with a newline or a NUL behind. Each may be either.
type framer struct {
	in  *bufio.Reader
	max int
	msg []byte
	cut bool // the last message was longer than max
}

// next returns a message, valid until the next call.
func (f *framer) next() ([]byte, error) {
	f.msg, f.cut = f.msg[:0], false
	n, err := f.count()
	if err != nil {
		return nil, err
	}
	if n > 0 {
		return f.counted(n)
	}
	for some := false; ; some = true {
		piece, err := f.piece()
		if err != nil {
			if err == io.EOF && some {
				return f.msg, nil
			}
			return nil, err
		}
		end := ending(piece)
		if end < 0 {
			f.keep(piece)
			f.discard(len(piece))
			continue
		}
		f.keep(piece[:end])
		f.discard(end + 1)
		return f.msg, nil
	}
}

// ending returns where the first newline or NUL is; -1 if there is none.
func ending(s []byte) int {
	end := bytes.IndexByte(s, '\n')
	if end >= 0 {
		s = s[:end]
	}
	if nul := bytes.IndexByte(s, 0); nul >= 0 {
		return nul
	}
	return end
}

// count takes the length in front of a message; 0 if there is none.
func (f *framer) count() (n int, err error) {
	for i := 0; ; i++ {
		head, err := f.in.Peek(i + 1)
		if err != nil {
			if i > 0 && err == io.EOF {
				return 0, nil // the rest of a message without newline
			}
			return 0, err
		}
		switch c := head[i]; {
		case c >= '0' && c <= '9' && (i > 0 || c != '0') && i < 8:
			n = 10*n + int(c-'0')
			continue
		case c != ' ' || i == 0:
			return 0, nil
		}
		if head, err = f.in.Peek(i + 2); err != nil || head[i+1] != '<' {
			return 0, nil
		}
		if n > maxCount {
			return 0, fmt.Errorf("a message is said to have %d bytes, more than %d", n, maxCount)
		}
		f.discard(i + 1)
		return n, nil
	}
}

func (f *framer) counted(n int) ([]byte, error) {
	for n > 0 {
		piece, err := f.piece()
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		piece = piece[:min(len(piece), n)]
		f.keep(piece)
		f.discard(len(piece))
		n -= len(piece)
	}
	return f.msg, nil
}

// piece returns what there is, at least one byte.
func (f *framer) piece() ([]byte, error) {
	if _, err := f.in.Peek(1); err != nil {
		return nil, err
	}
	return f.in.Peek(f.in.Buffered())
}

func (f *framer) keep(piece []byte) {
	if room := f.max - len(f.msg); len(piece) > room {
		piece, f.cut = piece[:room], true
	}
	f.msg = append(f.msg, piece...)
}

func (f *framer) discard(n int) { _, _ = f.in.Discard(n) } // it is in the buffer
