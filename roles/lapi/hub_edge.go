//go:build edge

package lapi

import "net/http"

// addHubRoute is left out: a router has no hub to give away.
func (s *Server) addHubRoute(*http.ServeMux) {
	if s.conf.Hub != "" {
		s.conf.Log.Warn("api.server.serve_hub: this build serves no hub")
	}
}
