package lapi

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cs/decisions"
	"cs/roles/api"
)

const (
	smallBody = 2 << 20  // registration and login, decompressed
	largeBody = 50 << 20 // everything else
	// bodyTime is for how long a body may dribble in, strangerTime for how long
	// that of one who hasn't shown who they are; writeTime for how long a
	// client may refuse to take a piece of an answer; slowest is how many bytes
	// a second of a long one it must take.
	bodyTime     = time.Minute
	strangerTime = 10 * time.Second
	writeTime    = 30 * time.Second
	slowest      = 16 << 10
	// maxConnections bounds the connections of the TCP listener. At the bound
	// a new one takes the place of that which has been resting for longest.
	maxConnections = 2048
	// maxRequests bounds the requests that are being answered, of which one HTTP/2
	// connection may have maxStreams. Further ones are told to come again.
	maxRequests = 2 * maxConnections
	maxStreams  = 100
)

// client is the address that a request counts as coming from, and its text:
// that of the other end of the connection, unless it is a proxy's.
type client struct {
	addr netip.Addr
	text string
}

type peerKey struct{}

func withPeer(ctx context.Context, a netip.Addr) context.Context {
	return context.WithValue(ctx, peerKey{}, &client{a, a.String()})
}

// peer returns the address that a request counts as coming from.
func peer(r *http.Request) netip.Addr {
	if c, ok := r.Context().Value(peerKey{}).(*client); ok {
		return c.addr
	}
	return netip.Addr{}
}

// peerText returns it as text.
func peerText(r *http.Request) string {
	if c, ok := r.Context().Value(peerKey{}).(*client); ok {
		return c.text
	}
	return netip.Addr{}.String()
}

// connected returns the address at the other end of a connection. Users of a
// socket count as this host.
func connected(how via, remote string) netip.Addr {
	if how != viaTCP {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// door is in front of all routes: who is it, how much and how long may they
// send, what is in the body.
func (s *Server) door(next http.Handler, how via) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.inside.Add(-1)
		if s.inside.Add(1) > s.most && how != viaAdmin {
			busy(w, time.Second)
			return
		}
		known, _ := r.Context().Value(peerKey{}).(*client)
		if known == nil { // a test without a connection
			r = r.WithContext(withPeer(r.Context(), connected(how, r.RemoteAddr)))
		}
		if proxies := s.rules.Load().TrustedProxies; how != viaAdmin && len(proxies) > 0 {
			r = r.WithContext(withPeer(r.Context(), forwarded(r, proxies)))
		}
		limit, patience := int64(largeBody), bodyTime
		if r.URL.Path == api.PathWatchers || r.URL.Path == api.PathLogin || r.URL.Path == api.PathBouncers {
			limit, patience = smallBody, strangerTime
		}
		giveTime(http.NewResponseController(w), patience)
		if r.Body != nil && r.Body != http.NoBody {
			body := &timed{ReadCloser: http.MaxBytesReader(w, r.Body, limit)}
			defer func() { // net/http waits for the rest of it
				switch conn := http.NewResponseController(w); {
				case body.late:
					conn.SetReadDeadline(time.Now())
				case !body.ended:
					conn.SetReadDeadline(time.Now().Add(strangerTime))
				}
			}()
			r.Body = body
			if status := inflate(r, limit); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		began := time.Now()
		logged := &answered{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			if cause := recover(); cause != nil {
				if cause == http.ErrAbortHandler {
					panic(cause)
				}
				s.log.Error("BUG: a request broke its handler", "method", r.Method, "path", r.URL.Path, "cause", cause)
				logged.WriteHeader(http.StatusInternalServerError)
			}
			took, pattern := time.Since(began), r.Pattern
			if logged.status == http.StatusMethodNotAllowed {
				pattern = ""
			}
			s.requests.answered(pattern, r.Method, took)
			if s.log.Enabled(r.Context(), slog.LevelDebug) {
				s.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("from", peerText(r)),
					slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", logged.status),
					slog.Duration("took", took), slog.String("agent", clip(r.UserAgent())))
			}
		}()
		next.ServeHTTP(logged, r)
	})
}

// answered remembers the status for the log.
type answered struct {
	http.ResponseWriter
	status int
}

func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// timed is a body that remembers how its reading went.
type timed struct {
	io.ReadCloser
	ended, late bool
}

func (b *timed) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err == io.EOF
	if late, ok := err.(net.Error); ok && late.Timeout() {
		b.late = true
	}
	return n, err
}

// inflate replaces a compressed body by its plain form, bounded like any
// other. It returns the status to refuse with, or 0.
func inflate(r *http.Request, limit int64) int {
	coding := strings.ToLower(r.Header.Get("Content-Encoding"))
	if !strings.Contains(coding, "gzip") {
		return 0
	}
	for word := range strings.SplitSeq(coding, ",") {
		if strings.TrimSpace(word) != "gzip" {
			return http.StatusUnsupportedMediaType
		}
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return http.StatusBadRequest
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{&bounded{r: z, left: limit}, r.Body}
	r.ContentLength = -1
	return 0
}

// bounded fails like http.MaxBytesReader.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		return int(b.left), &http.MaxBytesError{}
	}
	b.left -= int64(n)
	return n, err
}

// forwarded is the other end of the connection, or whom a trusted proxy
// names: the last entry of X-Forwarded-For that is no trusted proxy itself. If
// all are, it is the first: with use_forwarded_for_headers alone everybody is
// trusted. Nobody becomes this host by what another one's proxy says.
func forwarded(r *http.Request, proxies []netip.Prefix) netip.Addr {
	from := peer(r)
	if !within(proxies, from) {
		return from
	}
	named := namedByProxy(r, proxies)
	if !named.IsValid() || named.IsLoopback() && !from.IsLoopback() {
		return from
	}
	return named
}

// namedByProxy returns whom the headers of a request name; the zero Addr if nobody.
func namedByProxy(r *http.Request, proxies []netip.Prefix) netip.Addr {
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i, hop := range slices.Backward(hops) {
		a, err := decisions.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if i == 0 || !within(proxies, a) {
			return a
		}
	}
	a, _ := decisions.ParseAddr(strings.TrimSpace(r.Header.Get("X-Real-IP")))
	return a
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
