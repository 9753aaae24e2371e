// Package webhook has the sources that are HTTP servers: http, which takes JSON
// from whoever may send it, and k8s-audit, to which a Kubernetes API server
// sends its audit events.
//
// A request is answered when its lines are processed, so a slow engine makes
// senders wait, and what was answered isn't lost.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"cs/pipeline/source"
)

const (
	defaultBody    = 16 << 20
	defaultTimeout = 30 * time.Second
	// maxRequests is how many requests are read at once; others are asked to
	// come again.
	maxRequests = 64
	headerTime  = 10 * time.Second
	idleTime    = 2 * time.Minute
)

// server is what both sources have in common.
type server struct {
	spec    *source.Spec
	name    string
	addr    string
	socket  string // path of a unix socket; "": none
	tls     source.ServerTLS
	body    int64 // bytes, unpacked
	timeout time.Duration
	trouble *source.Throttle
	// serve answers one request whose sender was let in.
	serve func(ctx context.Context, w http.ResponseWriter, r *http.Request, out source.Sink)
}

// Name returns where it listens.
func (s *server) Name() string { return s.name }

// Run serves until ctx ends.
func (s *server) Run(ctx context.Context, out source.Sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out = source.Serial(ctx, out)
	var listeners []net.Listener
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	var lc net.ListenConfig
	for _, at := range []struct{ network, addr string }{{"tcp", s.addr}, {"unix", s.socket}} {
		if at.addr == "" {
			continue
		}
		l, err := lc.Listen(ctx, at.network, at.addr)
		if err != nil {
			closeAll()
			return fmt.Errorf("cannot listen for requests: %w", err)
		}
		listeners = append(listeners, l)
	}
	room := make(chan struct{}, maxRequests)
	srv := &http.Server{
		ReadHeaderTimeout: headerTime, ReadTimeout: s.timeout, IdleTimeout: idleTime, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0), // it is about what strangers send
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
				s.serve(r.Context(), w, r, out)
			default:
				w.Header().Set("Retry-After", "1")
				http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			}
		}),
	}
	if s.tls.ServerCert != "" {
		conf, err := s.tls.Config()
		if err != nil {
			closeAll()
			return err
		}
		srv.TLSConfig = conf
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	s.spec.Started()
	done := make(chan struct{}, len(listeners))
	for _, l := range listeners {
		go func() {
			var err error
			if srv.TLSConfig != nil && l.Addr().Network() == "tcp" {
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("cannot serve requests: %w", err))
			}
			done <- struct{}{}
		}()
	}
	for range listeners {
		<-done
	}
	srv.Close()
	for range maxRequests { // until the last one has noticed
		room <- struct{}{}
	}
	return context.Cause(ctx)
}

// sender returns the address of a client.
func (s *server) sender(r *http.Request) string {
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return a.Addr().Unmap().String()
	}
	return s.socket
}

// errTooLarge says that a body is longer than is allowed.
var errTooLarge = errors.New("the body is too large")

// content returns the body of a request, unpacked, of which no more can be read than
// is allowed.
func (s *server) content(r *http.Request) (io.Reader, error) {
	if r.ContentLength > s.body {
		return nil, errTooLarge
	}
	body := io.Reader(r.Body)
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(&limited{body, s.body})
		if err != nil {
			return nil, fmt.Errorf("cannot unpack the body: %w", err)
		}
		body = z
	default:
		return nil, fmt.Errorf("cannot unpack the body: unknown encoding")
	}
	return &limited{body, s.body}, nil
}

// limited is a reader that fails behind so many bytes.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := l.r.Read(p[:min(1, len(p))]); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// refuse answers a body that can't be read.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, errTooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	w.Header().Set("Connection", "close") // the rest of the body isn't read
	http.Error(w, err.Error(), status)
}
