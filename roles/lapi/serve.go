package lapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"cs/platform"
)

// stopWithin is how long requests may take to end when the server stops. Those
// that wait for news are told to at once.
const stopWithin = 500 * time.Millisecond

// receiveBuffer is how much of the bodies of one HTTP/2 connection is in memory that
// nobody has read yet.
const receiveBuffer = 128 << 10

// Run serves HTTP on the TCP address and the sockets of the configuration until
// ctx ends. Its error is that of a listener: for a port in use it names the
// owner, if that can be found. Run may be called again then; agent and
// bouncer of this process go on in between.
func (s *Server) Run(ctx context.Context) error {
	var listeners []net.Listener
	var servers []*http.Server
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	// Requests end with this context, so that waiting ones don't hold us up.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	serve := func(l net.Listener, h http.Handler, how via) {
		listeners = append(listeners, l)
		servers = append(servers, s.httpServer(requests, h, how))
	}
	if s.conf.AdminSocket != "" {
		l, err := platform.ListenSocket(s.conf.AdminSocket, true)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			s.log.Debug("operators' commands need credentials here", "err", err)
		case err != nil:
			return err
		default:
			serve(l, s.adminHandler(), viaAdmin)
		}
	}
	if s.conf.Socket != "" {
		l, err := platform.ListenSocket(s.conf.Socket, false)
		if err != nil {
			return err
		}
		serve(limitListener(l, maxConnections), s.routes(viaSocket), viaSocket)
		s.log.Info("CrowdSec Local API listening on Unix socket " + s.conf.Socket)
	}
	if s.conf.Listen != "" {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", s.conf.Listen)
		if err != nil {
			return explainBusy(s.conf.Listen, err)
		}
		serve(limitListener(l, maxConnections), s.handler(), viaTCP)
		s.log.Info("CrowdSec Local API listening on "+l.Addr().String(), "tls", s.tls != nil)
	}

	failed := make(chan error, len(servers))
	var done sync.WaitGroup
	for i, srv := range servers {
		done.Go(func() {
			listen := srv.Serve
			if srv.TLSConfig != nil {
				listen = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
			}
			if err := listen(listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("cannot serve on %s: %w", listeners[i].Addr(), err)
			}
		})
	}
	if s.conf.Listening != nil {
		s.conf.Listening()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	endRequests()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	for _, srv := range servers {
		done.Go(func() {
			if srv.Shutdown(end) != nil {
				srv.Close()
			}
		})
	}
	done.Wait()
	return err
}

func (s *Server) httpServer(requests context.Context, h http.Handler, how via) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:     h,
		Protocols:   protocols,
		BaseContext: func(net.Listener) context.Context { return requests },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withPeer(ctx, connected(how, c.RemoteAddr().String()))
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute, // longer than any bouncer's poll interval
		MaxHeaderBytes:    64 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: receiveBuffer, MaxReceiveBufferPerStream: receiveBuffer},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if how != viaAdmin {
		srv.ConnState = noteState
	}
	if how == viaTCP && s.tls != nil {
		srv.TLSConfig = s.tls.Server()
	}
	return srv
}

// explainBusy adds to "address already in use" whose it is.
func explainBusy(address string, err error) error {
	owner := ""
	if platform.IsAddrInUse(err) {
		if who := platform.PortOwner(address); who != "" {
			owner = " (by " + who + ")"
		}
	}
	var named *net.OpError // it repeats the address
	if errors.As(err, &named) {
		err = named.Err
	}
	return fmt.Errorf("cannot listen on %s: %w%s", address, err, owner)
}

// limited is a listener that accepts a bounded number of connections at a time.
// At the bound the one goes that has been resting for longest, and if none
// rests the next ones wait in the kernel's queue.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	open map[*conn]struct{}
}

// lookAgain is how often those who wait for a slot look for one who rests.
const lookAgain = 20 * time.Millisecond

func limitListener(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{}), open: make(map[*conn]struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	below, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			below.Close()
			return nil, net.ErrClosed
		case <-time.After(lookAgain):
			l.closeResting()
			continue
		}
		break
	}
	var c *conn
	c = newConn(below, sync.OnceFunc(func() {
		l.mu.Lock()
		delete(l.open, c)
		l.mu.Unlock()
		<-l.slots
	}))
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.mu.Unlock()
	return c, nil
}

// closeResting closes the connection that has been resting for longest.
func (l *limited) closeResting() {
	var longest *conn
	l.mu.Lock()
	for c := range l.open {
		if since := c.resting.Load(); since != 0 && (longest == nil || since < longest.resting.Load()) {
			longest = c
		}
	}
	l.mu.Unlock()
	if longest != nil {
		longest.Close()
	}
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
