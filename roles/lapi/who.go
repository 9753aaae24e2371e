package lapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"cs/roles/api"
	"cs/roles/lapi/auth"
)

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
		s.requests.from(false, id, r.Pattern, r.Method)
		next(w, r, id)
	}
}

// host lets everybody in as this host's machine: who may open the socket of
// administration may do everything. A token is looked at all the same.
func (s *Server) host(next knownHandler) http.HandlerFunc {
	asMachine := s.machine(next)
	return func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) != "" {
			asMachine(w, r)
			return
		}
		if err := s.ensureMachine(r.Context(), api.SocketMachine); err != nil {
			s.fail(w, r, err)
			return
		}
		s.requests.from(false, api.SocketMachine, r.Pattern, r.Method)
		next(w, r, api.SocketMachine)
	}
}

// bouncerOnly lets bouncers in that show their certificate or their key. A HEAD
// only looks whether that is good, and makes no row: its name is that of the
// oldest row with the key, or none.
func (s *Server) bouncerOnly(next knownHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if certs := certificate(r); certs != nil {
			cn, err := s.tls.Bouncer(r.Context(), certs)
			name := ""
			if err == nil && r.Method != "HEAD" {
				name, err = s.certifiedBouncer(r.Context(), cn, peer(r), r.UserAgent())
			}
			if err != nil {
				if from, now := peer(r), s.now(); s.throttle.Wait(from, now) == 0 {
					s.throttle.Fail(from, now)
					s.log.Warn("a bouncer may not come in", "from", from, "err", err)
				}
				askForAnother(w)
				refuse(w, http.StatusForbidden, "access forbidden")
				return
			}
			s.admit(w, r, name, next)
			return
		}
		key := r.Header.Get(api.HeaderKey)
		if key == "" {
			refuse(w, http.StatusForbidden, "access forbidden")
			return
		}
		if r.Method == "HEAD" {
			name := s.bouncers.keyOwner(key)
			if name == "" {
				refuse(w, http.StatusForbidden, "access forbidden")
				return
			}
			s.admit(w, r, name, next)
			return
		}
		name, err := s.bouncer(r.Context(), key, peerText(r), r.UserAgent())
		if err != nil {
			s.log.Error("cannot let a bouncer in", "from", peer(r), "err", err)
		}
		if name == "" {
			refuse(w, http.StatusForbidden, "access forbidden")
			return
		}
		s.admit(w, r, name, next)
	}
}

// admit lets a bouncer through; a HEAD with a certificate has no name.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, name string, next knownHandler) {
	if name != "" {
		s.requests.from(true, name, r.Pattern, r.Method)
	}
	if name != "" && strings.Contains(r.URL.RawQuery, "wait=") {
		s.untilRemoved(w, r, name, next)
		return
	}
	next(w, r, name)
}

// untilRemoved lets a bouncer through that may wait for news: not for longer than it
// may have them.
func (s *Server) untilRemoved(w http.ResponseWriter, r *http.Request, name string, next knownHandler) {
	life, out := s.bouncers.life(name), &begun{ResponseWriter: w}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	next(out, r.WithContext(ctx), name)
	if life.Err() != nil && !out.begun {
		refuse(w, http.StatusForbidden, "access forbidden")
	}
}

// begun is an answer that knows whether anything of it was sent.
type begun struct {
	http.ResponseWriter
	begun bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.begun = true
	return b.ResponseWriter.Write(p)
}

func (b *begun) WriteHeader(status int) {
	b.begun = true
	b.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

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
	case errors.Is(err, auth.ErrNoExpiry), errors.Is(err, auth.ErrBadExpiry):
		refuseToken(w, http.StatusBadRequest, err.Error())
	default:
		refuseToken(w, http.StatusUnauthorized, err.Error())
	}
}
