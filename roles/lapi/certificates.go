package lapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"cs/roles/api"
	"cs/storage"
)

// certificate returns what a client has presented, its own first. Who presents
// one is known by it alone: neither password nor key are looked at.
func certificate(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates
}

// askForAnother ends a connection with the answer: a client that has a new
// certificate shows it on the next one only.
func askForAnother(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

// certified returns the name of a machine or a bouncer that comes by
// certificate: its common name and where it is.
func certified(commonName string, from netip.Addr) (string, error) {
	name := commonName + "@" + from.String()
	if len(name) > 255 {
		return "", fmt.Errorf("the name %q is too long", clip(name))
	}
	return name, nil
}

// loginByCertificate exchanges a client certificate for a token. The machine is
// made when it comes for the first time.
func (s *Server) loginByCertificate(w http.ResponseWriter, r *http.Request, in api.LoginRequest) {
	m, err := s.certifiedMachine(r)
	if r.Context().Err() != nil {
		return
	}
	if err != nil {
		if s.throttled(w, r) {
			return
		}
		s.throttle.Fail(peer(r), s.now())
		s.log.Warn("a machine may not log in", "from", peer(r), "err", err)
		askForAnother(w)
		refuseToken(w, http.StatusUnauthorized, err.Error())
		return
	}
	if err := s.loggedIn(r.Context(), m, in.Scenarios, peerText(r), agentVersion(r)); err != nil {
		s.fail(w, r, err)
		return
	}
	s.giveToken(w, r, m.ID)
}

// certifiedMachine returns the machine that a certificate stands for.
func (s *Server) certifiedMachine(r *http.Request) (m storage.Machine, err error) {
	ctx := r.Context()
	cn, err := s.tls.Agent(ctx, certificate(r))
	if err != nil {
		return m, err
	}
	id, err := certified(cn, peer(r))
	if err != nil {
		return m, err
	}
	m, err = s.store.Machine(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		s.log.Info("a machine comes in by certificate for the first time", "machine", id)
		s.accounts.Lock()
		err = s.insertMachine(ctx, storage.Machine{ID: id, AuthType: storage.AuthTLS, Validated: true})
		s.accounts.Unlock()
		if err == nil || errors.Is(err, storage.ErrExists) { // somebody was quicker
			m, err = s.store.Machine(ctx, id)
		}
	}
	switch {
	case err != nil:
		return m, err
	case m.AuthType != storage.AuthTLS:
		return m, fmt.Errorf("machine %s attempted to auth with TLS cert but it is configured to use %s", id, m.AuthType)
	case !m.Validated:
		return m, fmt.Errorf("machine %s not validated", id)
	}
	return m, nil
}

// certifiedBouncer returns the name of the bouncer that a certificate stands
// for, whose row is made when it comes for the first time.
func (s *Server) certifiedBouncer(ctx context.Context, commonName string, from netip.Addr, agent string) (string, error) {
	name, err := certified(commonName, from)
	if err != nil {
		return "", err
	}
	now := s.now()
	known, err := s.bouncers.enterCertified(name, agent, now)
	if known || err != nil {
		return name, err
	}
	s.accounts.Lock()
	defer s.accounts.Unlock()
	known, err = s.bouncers.enterCertified(name, agent, now)
	if known || err != nil {
		return name, err // somebody was quicker
	}
	if idle := s.bouncers.idlest(commonName); idle != "" {
		if err := s.dropBouncer(ctx, idle); err != nil {
			return "", err
		}
	}
	row := storage.Bouncer{Name: name, AuthType: storage.AuthTLS, IP: from.String(), AutoCreated: true, Created: now, Updated: now}
	if err := s.store.AddBouncer(ctx, row); err != nil {
		return "", fmt.Errorf("cannot add bouncer %q: %w", name, err)
	}
	s.log.Info("a bouncer comes in by certificate for the first time", "bouncer", name)
	s.bouncers.insert(row)
	_, err = s.bouncers.enterCertified(name, agent, now)
	return name, err
}

// enterCertified notes what a bouncer tells of itself, if there is one.
func (b *bouncers) enterCertified(name, agent string, now time.Time) (known bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := b.rows[name]
	switch {
	case row == nil:
		return false, nil
	case row.AuthType != storage.AuthTLS:
		return true, fmt.Errorf("bouncer %s came with a certificate, but it is configured to use %s", name, row.AuthType)
	}
	row.introduce(row.IP, agent, now)
	return true, nil
}

// idlest returns who makes room for another row of a common name, if there are
// too many already: the one that has been silent for longest.
func (b *bouncers) idlest(commonName string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, silent := 0, (*bouncerRow)(nil)
	for name, row := range b.rows {
		if row.AuthType != storage.AuthTLS || !strings.HasPrefix(name, commonName+"@") {
			continue
		}
		n++
		if silent == nil || row.heard().Before(silent.heard()) {
			silent = row
		}
	}
	if n < maxSharing {
		return ""
	}
	return silent.Name
}
