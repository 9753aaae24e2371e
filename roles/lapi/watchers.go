package lapi

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cs/roles/api"
	"cs/roles/lapi/auth"
	"cs/storage"
)

const validationFailed = "validation failure list:\n"

// register makes a machine account: pending, or validated if the token is good.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	from, now, rules := peer(r), s.now(), s.rules.Load()
	if rules.LocalRegistrationOnly && !from.IsLoopback() {
		refuse(w, http.StatusForbidden, "access forbidden")
		return
	}
	if s.throttled(w, r) {
		return
	}
	var in api.RegisterRequest
	if err := s.readStranger(w, r, &in); err != nil {
		refuseBody(w, err)
		return
	}
	var wrong []string
	if in.MachineID == "" {
		wrong = append(wrong, "machine_id in body is required")
	}
	if in.Password == "" {
		wrong = append(wrong, "password in body is required")
	}
	wrong = append(wrong, wrongToken(in.RegistrationToken)...)
	if len(in.MachineID) > 255 {
		wrong = append(wrong, "machine_id in body should be at most 255 chars long")
	}
	if len(wrong) > 0 {
		refuse(w, http.StatusUnprocessableEntity, validationFailed+strings.Join(wrong, "\n"))
		return
	}
	automatic := rules.Token != "" && in.RegistrationToken != ""
	if automatic {
		if message := s.checkToken(r, rules, in.RegistrationToken); message != "" {
			refuse(w, http.StatusUnauthorized, message)
			return
		}
	} else {
		// Each one costs a hash and a row, so strangers can't make many.
		s.throttle.Fail(from, now)
		if s.machines.crowded() {
			s.log.Warn("too many machines wait to be validated, another one is refused", "machine", clip(in.MachineID), "from", from)
			refuse(w, http.StatusForbidden, "access forbidden")
			return
		}
	}
	err := s.addMachine(r.Context(), in.MachineID, in.Password, from.String(), automatic)
	switch {
	case errors.Is(err, storage.ErrExists):
		refuse(w, http.StatusForbidden, fmt.Sprintf("user '%s': user already exist", in.MachineID))
	case errors.Is(err, auth.ErrUnhashable):
		refuse(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, auth.ErrBusy):
		busy(w, time.Second)
	case err != nil:
		s.fail(w, r, err)
	case automatic:
		s.log.Info("a machine registered itself with the token", "machine", in.MachineID, "from", from)
		w.WriteHeader(http.StatusAccepted)
	default:
		s.log.Info("a machine waits to be validated", "machine", in.MachineID, "from", from)
		w.WriteHeader(http.StatusCreated)
	}
}

func wrongToken(token string) []string {
	switch n := len(token); {
	case n > 0 && n < 32:
		return []string{"registration_token in body should be at least 32 chars long"}
	case n > 255:
		return []string{"registration_token in body should be at most 255 chars long"}
	}
	return nil
}

// checkToken returns why a registration token is refused, or "".
func (s *Server) checkToken(r *http.Request, rules *rules, token string) string {
	from := peer(r)
	if !auth.SameToken(rules.Token, token) {
		s.throttle.Fail(from, s.now())
		return "invalid token for auto registration"
	}
	if len(rules.TokenRanges) > 0 && !within(rules.TokenRanges, from) {
		return "IP not in allowed range for auto registration"
	}
	return ""
}

// login exchanges a password, or a client certificate, for a token.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	deny := func(message string) { refuseToken(w, http.StatusUnauthorized, message) }
	var in api.LoginRequest
	if err := s.readStranger(w, r, &in); err != nil {
		if isSlow(err) {
			refuseBody(w, err)
			return
		}
		deny("missing: " + err.Error())
		return
	}
	if certificate(r) != nil {
		s.loginByCertificate(w, r, in)
		return
	}
	var wrong []string
	if in.MachineID == "" {
		wrong = append(wrong, "machine_id in body is required")
	}
	if in.Password == "" {
		wrong = append(wrong, "password in body is required")
	}
	if len(wrong) > 0 {
		deny(validationFailed + strings.Join(wrong, "\n"))
		return
	}
	m, err := s.store.Machine(r.Context(), in.MachineID)
	known := err == nil && s.passwords.Remembered(m.PasswordHash, in.Password, s.now())
	// Behind one address there may be a good machine and a bad one.
	if !known && s.throttled(w, r) {
		return
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = errMachineGone
	case err != nil:
		s.fail(w, r, err)
		return
	case m.AuthType != storage.AuthPassword:
		err = fmt.Errorf("machine %s attempted to auth with password but it is configured to use %s", m.ID, m.AuthType)
	case !m.Validated:
		err = fmt.Errorf("machine %s not validated", m.ID)
	default:
		err = s.passwords.Check(r.Context(), m.PasswordHash, in.Password, s.now())
	}
	if errors.Is(err, auth.ErrBusy) || r.Context().Err() != nil {
		busy(w, time.Second)
		return
	}
	if err != nil {
		s.throttle.Fail(peer(r), s.now())
		s.log.Warn("a machine may not log in", "machine", clip(in.MachineID), "from", peer(r), "err", err)
		deny(err.Error())
		return
	}
	if err := s.loggedIn(r.Context(), m, in.Scenarios, peerText(r), agentVersion(r)); err != nil {
		s.fail(w, r, err)
		return
	}
	s.giveToken(w, r, m.ID)
}

// agentVersion is what stands after the slash of the User-Agent.
func agentVersion(r *http.Request) string {
	_, version, _ := strings.Cut(r.UserAgent(), "/")
	return clip(version)
}

// refresh exchanges a token, which may have expired, for a new one.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) {
	id, err := s.signer.VerifyForRefresh(bearer(r), s.now())
	if err == nil && !s.machines.allowed(id) {
		err = errMachineGone
	}
	if err != nil {
		denyToken(w, err)
		return
	}
	s.giveToken(w, r, id)
}

func (s *Server) giveToken(w http.ResponseWriter, r *http.Request, machineID string) {
	token, expire, err := s.signer.Sign(machineID, s.now())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, api.LoginResponse{Code: http.StatusOK, Expire: expire.Format(time.RFC3339), Token: token})
}

// deleteSelf removes the machine that asks for it.
func (s *Server) deleteSelf(w http.ResponseWriter, r *http.Request, id string) {
	if err := s.deleteMachine(r.Context(), id); errors.Is(err, storage.ErrNotFound) {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("'%s' does not exist", id))
		return
	} else if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) heartbeat(w http.ResponseWriter, _ *http.Request, id string) {
	s.machines.heartbeat(id, s.now())
	w.WriteHeader(http.StatusOK)
}

// registerBouncer gives a bouncer its key for the registration token.
func (s *Server) registerBouncer(w http.ResponseWriter, r *http.Request) {
	rules := s.rules.Load()
	if rules.Token == "" || !rules.BouncerRegistration {
		w.WriteHeader(http.StatusNotFound) // as a server without this extension
		return
	}
	if s.throttled(w, r) {
		return
	}
	var in api.BouncerRequest
	if err := s.readStranger(w, r, &in); err != nil {
		refuseBody(w, err)
		return
	}
	wrong := wrongToken(in.RegistrationToken)
	if in.RegistrationToken == "" {
		wrong = append(wrong, "registration_token in body is required")
	}
	if in.Name == "" || len(in.Name) > 255 {
		wrong = append(wrong, "name in body should have 1 to 255 chars")
	}
	if len(wrong) > 0 {
		refuse(w, http.StatusUnprocessableEntity, validationFailed+strings.Join(wrong, "\n"))
		return
	}
	if message := s.checkToken(r, rules, in.RegistrationToken); message != "" {
		refuse(w, http.StatusUnauthorized, message)
		return
	}
	key, err := s.addBouncer(r.Context(), in.Name, "")
	if errors.Is(err, storage.ErrExists) {
		refuse(w, http.StatusForbidden, fmt.Sprintf("bouncer %s already exists", in.Name))
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.log.Info("a bouncer registered itself with the token", "bouncer", in.Name, "from", peer(r))
	answer(w, http.StatusCreated, api.BouncerResponse{Key: key})
}

// throttled answers an address that has failed too often lately.
func (s *Server) throttled(w http.ResponseWriter, r *http.Request) bool {
	wait := s.throttle.Wait(peer(r), s.now())
	if wait <= 0 {
		return false
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	refuseToken(w, http.StatusTooManyRequests, "too many failed attempts from this address")
	return true
}
