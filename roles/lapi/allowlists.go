package lapi

import (
	"fmt"
	"net/http"

	"cs/decisions"
)

// There are no allowlists yet; the routes say so, since agents, AppSec
// components and cscli ask and take a 404 for an old server.

func (s *Server) allowlists(w http.ResponseWriter, _ *http.Request, _ string) {
	send(w, http.StatusOK, []byte("[]"))
}

func (s *Server) allowlist(w http.ResponseWriter, r *http.Request, _ string) {
	refuse(w, http.StatusInternalServerError, fmt.Sprintf("allowlist '%s' not found", r.PathValue("name")))
}

func (s *Server) checkAllowlist(w http.ResponseWriter, r *http.Request, _ string) {
	target := r.PathValue("target")
	if _, err := decisions.ParsePrefix(target); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("invalid ip address '%s': invalid ip address / range", target))
		return
	}
	if r.Method == "HEAD" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	send(w, http.StatusOK, []byte("{}"))
}

func (s *Server) checkAllowlists(w http.ResponseWriter, r *http.Request, _ string) {
	var in struct {
		Targets []string `json:"targets"`
	}
	if err := readBody(r, &in); err != nil {
		refuseBody(w, err)
		return
	}
	if len(in.Targets) == 0 {
		refuse(w, http.StatusBadRequest, "targets list cannot be empty")
		return
	}
	send(w, http.StatusOK, []byte(`{"results":[]}`))
}
