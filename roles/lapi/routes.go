package lapi

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"cs/roles/api"
)

// via says how a request came in.
type via int

const (
	viaTCP    via = iota
	viaSocket     // for whoever may open it
	viaAdmin      // the socket of those who may do everything
)

// handler returns the routes as they are served over TCP.
func (s *Server) handler() http.Handler { return s.routes(viaTCP) }

// adminHandler returns the routes as they are served to those who may do everything,
// with those for administration.
func (s *Server) adminHandler() http.Handler { return s.routes(viaAdmin) }

// routes builds the table: the paths of CrowdSec's LAPI and our own.
func (s *Server) routes(how via) http.Handler {
	mux := http.NewServeMux()
	add := func(pattern string, m methods) {
		mux.Handle(pattern, m)
		mux.HandleFunc(pattern+"/{$}", withoutSlash)
	}
	machine := s.machine
	if how == viaAdmin {
		machine = s.host
	}
	add(api.PathHealth, methods{"GET": health})
	add(api.PathWatchers, methods{"POST": s.register})
	add(api.PathLogin, methods{"POST": s.login})
	add(api.PathRefresh, methods{"GET": s.refresh})
	add(api.PathSelf, methods{"DELETE": machine(s.deleteSelf)})
	add(api.PathHeartbeat, methods{"GET": machine(s.heartbeat)})
	add(api.PathAlerts, methods{
		"POST":   machine(s.postAlerts),
		"GET":    machine(s.listAlerts),
		"HEAD":   machine(s.listAlerts),
		"DELETE": machine(s.deleteAlerts),
	})
	add(api.PathAlerts+"/{id}", methods{
		"GET":    machine(s.showAlert),
		"HEAD":   machine(s.showAlert),
		"DELETE": machine(s.deleteAlert),
	})
	add(api.PathDecisions, methods{
		"GET":    s.bouncerOnly(s.liveDecisions),
		"HEAD":   s.bouncerOnly(s.liveDecisions),
		"DELETE": machine(s.deleteDecisions),
	})
	add(api.PathDecisions+"/{id}", methods{"DELETE": machine(s.deleteDecision)})
	add(api.PathStream, methods{
		"GET":  s.bouncerOnly(s.streamDecisions),
		"HEAD": s.bouncerOnly(s.probeStream),
	})
	add(api.PathBouncers, methods{"POST": s.registerBouncer})
	add(api.PathUsageMetrics, methods{"POST": s.either(s.usageMetrics)})
	add(api.PathAllowlists, methods{"GET": machine(s.listAllowlists)})
	add(api.PathAllowlists+"/{name}", methods{"GET": machine(s.showAllowlist)})
	add(api.PathAllowlistCheck, methods{"POST": machine(s.checkAllowlists)})
	add(api.PathAllowlistCheck+"/{target}", methods{
		"GET":  machine(s.checkAllowlist),
		"HEAD": machine(s.checkAllowlist),
	})
	s.addHubRoute(mux)
	if how == viaAdmin {
		s.addAdminRoutes(add)
		add("/metrics", methods{"GET": func(w http.ResponseWriter, r *http.Request) {
			s.page().ServeHTTP(w, r.WithContext(r.Context())) // which names the route of its copy
		}})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return s.door(exactly(mux), how)
}

// exactly is a mux that doesn't put paths in order ("/v1//decisions"): they
// are unknown, as to upstream's.
func exactly(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.EscapedPath(); p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		mux.ServeHTTP(w, r)
	})
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

func health(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	answer(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"up"})
}
