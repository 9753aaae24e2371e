package lapi

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"cs/roles/lapi/auth"
)

const (
	smallBody = 2 << 20  // registration and login, decompressed
	largeBody = 50 << 20 // everything else
	// bodyTime is for how long a body may dribble in, writeTime for how long a
	// client may refuse to take a piece of an answer.
	bodyTime  = time.Minute
	writeTime = 30 * time.Second
	slowest   = 16 << 10
	// maxConnections bounds the connections of the TCP listener. At the bound
	// new ones wait in the kernel's queue.
	maxConnections = 2048
)

// via says how a request came in.
type via int

const (
	viaTCP via = iota
	viaSocket
)

// Handler returns the routes as they are served over TCP.
func (s *Server) Handler() http.Handler { return s.routes(viaTCP) }

// SocketHandler returns the routes as they are served on the unix socket,
// with those for administration. Its users count as this host.
func (s *Server) SocketHandler() http.Handler { return s.routes(viaSocket) }

// routes builds the table. Each line is a path of lapi §1.2.
func (s *Server) routes(how via) http.Handler {
	mux := http.NewServeMux()
	add := func(path string, m methods) {
		mux.Handle(path, m)
		if path != "/" && !strings.HasSuffix(path, "/") {
			mux.HandleFunc(path+"/{$}", withoutSlash)
		}
	}
	add(api.PathHealth, methods{"GET": health})
	add(api.PathWatchers, methods{"POST": s.register})
	add(api.PathLogin, methods{"POST": s.login})
	add(api.PathRefresh, methods{"GET": s.refresh})
	add(api.PathSelf, methods{"DELETE": s.machine(s.deleteSelf)})
	add(api.PathHeartbeat, methods{"GET": s.machine(s.heartbeat)})
	add(api.PathAlerts, methods{
		"POST":   s.machine(s.postAlerts),
		"GET":    s.machine(s.listAlerts),
		"HEAD":   s.machine(s.listAlerts),
		"DELETE": s.machine(s.deleteAlerts),
	})
	add(api.PathAlerts+"/{id}", methods{
		"GET":    s.machine(s.showAlert),
		"HEAD":   s.machine(s.showAlert),
		"DELETE": s.machine(s.deleteAlert),
	})
	add(api.PathDecisions, methods{
		"GET":    s.bouncerOnly(s.liveDecisions),
		"HEAD":   s.bouncerOnly(s.liveDecisions),
		"DELETE": s.machine(s.deleteDecisions),
	})
	add(api.PathDecisions+"/{id}", methods{"DELETE": s.machine(s.deleteDecision)})
	add(api.PathStream, methods{
		"GET":  s.bouncerOnly(s.streamDecisions),
		"HEAD": s.bouncerOnly(s.probeStream),
	})
	add(api.PathBouncers, methods{"POST": s.registerBouncer})
	add(api.PathUsageMetrics, methods{"POST": s.either(s.usageMetrics)})
	add(api.PathAllowlists, methods{"GET": s.machine(s.allowlists)})
	add(api.PathAllowlists+"/{name}", methods{"GET": s.machine(s.allowlist)})
	add(api.PathAllowlistCheck, methods{"POST": s.machine(s.checkAllowlists)})
	add(api.PathAllowlistCheck+"/{target}", methods{
		"GET":  s.machine(s.checkAllowlist),
		"HEAD": s.machine(s.checkAllowlist),
	})
	if how == viaSocket {
		s.addAdminRoutes(add)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return s.door(mux, how)
}

// methods is what a path offers. Others get 405 without a body.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := m[r.Method]
	if !ok {
		var allowed []string
		for method := range m {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.Method == "HEAD" {
		// A HEAD has no body, and upstream says so with a type.
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	h(w, r)
}

// withoutSlash redirects to the path without its slash at the end.
func withoutSlash(w http.ResponseWriter, r *http.Request) {
	u := *r.URL
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	w.Header().Set("Location", u.RequestURI())
	if r.Method == "GET" {
		w.WriteHeader(http.StatusMovedPermanently)
	} else {
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

type peerKey struct{}

// peer returns the address that a request counts as coming from.
func peer(r *http.Request) netip.Addr {
	a, _ := r.Context().Value(peerKey{}).(netip.Addr)
	return a
}

// door is in front of all routes: who is it, how much and how long may they
// send, what is in the body.
func (s *Server) door(next http.Handler, how via) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if how == viaTCP {
			from = s.clientAddr(r)
		}
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, from))
		limit := int64(largeBody)
		if r.URL.Path == api.PathWatchers || r.URL.Path == api.PathLogin || r.URL.Path == api.PathBouncers {
			limit = smallBody
		}
		// What can't be set (in a test, without a connection) need not be.
		conn := http.NewResponseController(w)
		conn.SetReadDeadline(time.Now().Add(bodyTime))
		conn.SetWriteDeadline(time.Now().Add(bodyTime + writeTime))
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
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
				w.WriteHeader(http.StatusInternalServerError)
			}
			s.log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("from", from.String()),
				slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", logged.status),
				slog.Duration("took", time.Since(began)), slog.String("agent", clip(r.UserAgent())))
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

// clientAddr is the other end of the connection, or whom a trusted proxy
// names: the last entry of X-Forwarded-For that is no trusted proxy itself.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := at.Addr().Unmap().WithZone("")
	if !within(s.conf.TrustedProxies, from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := decisions.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if !within(s.conf.TrustedProxies, a) {
			return a
		}
	}
	if a, err := decisions.ParseAddr(strings.TrimSpace(r.Header.Get("X-Real-IP"))); err == nil {
		return a
	}
	return from
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Handlers that know who asks: a machine's ID or a bouncer's name.
type knownHandler func(w http.ResponseWriter, r *http.Request, who string)

// machine lets machines in that show their token.
func (s *Server) machine(next knownHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := s.signer.Verify(bearer(r), s.now())
		if err == nil && !s.machines.allowed(id) {
			err = errMachineGone
		}
		if err != nil {
			denyToken(w, err)
			return
		}
		next(w, r, id)
	}
}

// bouncerOnly lets bouncers in that show their key. A HEAD only looks whether
// the key is good: it gives no name, and makes no row.
func (s *Server) bouncerOnly(next knownHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(api.HeaderKey)
		if key == "" {
			refuse(w, http.StatusForbidden, "access forbidden")
			return
		}
		if r.Method == "HEAD" {
			if !s.bouncers.knowsKey(key) {
				refuse(w, http.StatusForbidden, "access forbidden")
				return
			}
			next(w, r, "")
			return
		}
		name, err := s.bouncer(r.Context(), key, peer(r).String(), r.UserAgent())
		if err != nil {
			s.log.Error("cannot let a bouncer in", "from", peer(r), "err", err)
		}
		if name == "" {
			refuse(w, http.StatusForbidden, "access forbidden")
			return
		}
		next(w, r, name)
	}
}

// either lets both in; the handler tells them apart by isBouncer.
func (s *Server) either(next knownHandler) http.HandlerFunc {
	asMachine, asBouncer := s.machine(next), s.bouncerOnly(next)
	return func(w http.ResponseWriter, r *http.Request) {
		if isBouncer(r) {
			asBouncer(w, r)
		} else {
			asMachine(w, r)
		}
	}
}

func isBouncer(r *http.Request) bool {
	switch {
	case r.Header.Get(api.HeaderKey) != "":
		return true
	case r.Header.Get("Authorization") != "":
		return false
	}
	return !strings.HasPrefix(r.UserAgent(), "crowdsec/")
}

// bearer returns the token of a request: its header's or its cookie's.
func bearer(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if c, err := r.Cookie("jwt"); err == nil {
		return c.Value
	}
	return ""
}

var errMachineGone = errors.New("ent: machine not found")

func denyToken(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, auth.ErrNoToken):
		refuseToken(w, http.StatusUnauthorized, "cookie token is empty")
	case errors.Is(err, auth.ErrNoExpiry):
		refuseToken(w, http.StatusBadRequest, err.Error())
	default:
		refuseToken(w, http.StatusUnauthorized, err.Error())
	}
}

func health(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	answer(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"up"})
}

// answer sends JSON.
func answer(w http.ResponseWriter, status int, v any) { send(w, status, marshal(v)) }

func marshal(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: %T as JSON: %v", v, err))
	}
	return body
}

// send sends an answer that is complete. How long that may take depends on its
// size; a line that can't do slowest bytes a second is none.
func send(w http.ResponseWriter, status int, body []byte) {
	conn := http.NewResponseController(w)
	conn.SetReadDeadline(time.Time{}) // all has been read; see streamDecisions
	conn.SetWriteDeadline(time.Now().Add(writeTime + time.Duration(len(body))*time.Second/slowest))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body) // who went away can't be told
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, api.ErrorResponse{Message: message})
}

func refuseToken(w http.ResponseWriter, status int, message string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "JWT realm=Crowdsec API local")
	}
	answer(w, status, api.ErrorResponse{Code: status, Message: message})
}

// readBody decodes the first JSON value of a body, as leniently as upstream.
func readBody(r *http.Request, v any) error {
	if r.Body == nil {
		return io.EOF
	}
	return json.NewDecoder(r.Body).Decode(v)
}

// refuseBody answers a body that could not be read. For one that is too large
// net/http closes the connection.
func refuseBody(w http.ResponseWriter, err error) {
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		refuse(w, http.StatusRequestTimeout, "the body took too long")
		return
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		refuse(w, http.StatusBadRequest, "http: request body too large")
		return
	}
	refuse(w, http.StatusBadRequest, err.Error())
}
