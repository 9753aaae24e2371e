package lapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
)

// listAllowlists answers with all lists, their items only if asked for.
func (s *Server) listAllowlists(w http.ResponseWriter, r *http.Request, _ string) {
	a, now := s.lists.now.Load(), s.now()
	out := make([]api.Allowlist, len(a.lists))
	for i := range a.lists {
		out[i] = shownAllowlist(&a.lists[i], withContent(r), now)
	}
	answer(w, http.StatusOK, out)
}

// showAllowlist answers with one list.
func (s *Server) showAllowlist(w http.ResponseWriter, r *http.Request, _ string) {
	l := s.lists.now.Load().find(r.PathValue("name"))
	if l == nil {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("allowlist '%s' not found", r.PathValue("name")))
		return
	}
	answer(w, http.StatusOK, shownAllowlist(l, withContent(r), s.now()))
}

func withContent(r *http.Request) bool { return r.URL.Query().Get("with_content") == "true" }

// shownAllowlist is how a list is told, without what has expired.
func shownAllowlist(l *storage.Allowlist, content bool, now time.Time) api.Allowlist {
	out := api.Allowlist{
		ID: l.ConsoleID, ConsoleManaged: l.ConsoleID != "", Name: l.Name, Description: l.Description,
		Created: api.FormatMilli(l.Created), Updated: api.FormatMilli(l.Updated), Items: []api.AllowItem{},
	}
	if !content {
		return out
	}
	for i := range l.Items {
		if item := &l.Items[i]; !expired(item, now) {
			out.Items = append(out.Items, api.AllowItem{
				Created: api.FormatMilli(item.Created), Description: item.Comment, Expiration: api.FormatMilli(item.Expires), Value: item.Value,
			})
		}
	}
	return out
}

// checkAllowlist tells whether an address or a range is on a list.
func (s *Server) checkAllowlist(w http.ResponseWriter, r *http.Request, _ string) {
	target := r.PathValue("target")
	p, err := decisions.ParsePrefix(target)
	if err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("invalid ip address '%s': invalid ip address / range", target))
		return
	}
	a := s.lists.now.Load()
	by := a.covering(p, s.now())
	switch {
	case r.Method == "HEAD" && len(by) > 0:
	case r.Method == "HEAD":
		w.WriteHeader(http.StatusNoContent)
	case len(by) == 0:
		send(w, http.StatusOK, []byte("{}"))
	default:
		answer(w, http.StatusOK, api.AllowlistVerdict{Allowlisted: true, Reason: strings.Join(a.texts(by), ", ")})
	}
}

// checkAllowlists tells which of many addresses and ranges are on a list. What
// is neither is on none: an import may have users and countries among them.
func (s *Server) checkAllowlists(w http.ResponseWriter, r *http.Request, machineID string) {
	var in api.AllowlistTargets
	if err := s.readBody(w, r, machineID, &in); err != nil {
		refuseBody(w, err)
		return
	}
	if len(in.Targets) == 0 {
		refuse(w, http.StatusBadRequest, "targets list cannot be empty")
		return
	}
	a, now, out := s.lists.now.Load(), s.now(), api.AllowlistMatches{Results: []api.AllowlistMatch{}}
	for _, target := range in.Targets {
		p, err := decisions.ParsePrefix(target)
		if err != nil {
			continue
		}
		if by := a.covering(p, now); len(by) > 0 {
			out.Results = append(out.Results, api.AllowlistMatch{Target: target, Allowlists: a.texts(by)})
		}
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) adminAddAllowlist(w http.ResponseWriter, r *http.Request) {
	var in api.AddAllowlistRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	if in.Name == "" || len(in.Name) > 255 || strings.Contains(in.Name, "/") {
		refuse(w, http.StatusUnprocessableEntity, "name should have 1 to 255 chars, and no slash")
		return
	}
	s.adminDone(w, r, s.createAllowlist(r.Context(), in.Name, cut(in.Description, maxComment)), http.StatusCreated)
}

func (s *Server) adminDeleteAllowlist(w http.ResponseWriter, r *http.Request) {
	s.adminDone(w, r, s.deleteAllowlist(r.Context(), r.PathValue("name")), http.StatusNoContent)
}

func (s *Server) adminAllow(w http.ResponseWriter, r *http.Request) {
	var in api.AllowRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	items := make([]storage.AllowItem, len(in.Items))
	for i, item := range in.Items {
		items[i] = storage.AllowItem{Value: item.Value, Comment: item.Comment, Expires: item.Expires}
	}
	known, lifted, err := s.allow(r.Context(), r.PathValue("name"), items)
	if err != nil {
		s.adminDone(w, r, err, 0)
		return
	}
	answer(w, http.StatusOK, api.AllowResponse{Added: len(items) - len(known), Known: known, Lifted: lifted})
}

func (s *Server) adminDisallow(w http.ResponseWriter, r *http.Request) {
	var in api.DisallowRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	n, err := s.disallow(r.Context(), r.PathValue("name"), in.Values)
	if err != nil {
		s.adminDone(w, r, err, 0)
		return
	}
	answer(w, http.StatusOK, api.DisallowResponse{Removed: n})
}

// isRefusal tells whether what was asked for can't be done as it was asked.
func isRefusal(err error) bool {
	return errors.Is(err, errAutoCreated) || errors.Is(err, errManaged) || errors.Is(err, errRefused)
}
