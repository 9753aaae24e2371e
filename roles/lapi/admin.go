package lapi

import (
	"errors"
	"net/http"
	"time"

	"cs/roles/api"
	"cs/roles/lapi/auth"
	"cs/storage"
)

// addAdminRoutes adds what only the unix socket offers: its file mode says who
// may open it, and that is all the authority there is.
func (s *Server) addAdminRoutes(add func(string, methods)) {
	add(api.PathAdminLogin, methods{"POST": s.adminLogin})
	add(api.PathAdminMachines, methods{"GET": s.adminMachines, "POST": s.adminAddMachine})
	add(api.PathAdminMachines+"/{name}", methods{"DELETE": s.adminDeleteMachine})
	add(api.PathAdminMachines+"/{name}/validate", methods{"POST": s.adminValidateMachine})
	add(api.PathAdminBouncers, methods{"GET": s.adminBouncers, "POST": s.adminAddBouncer})
	add(api.PathAdminBouncers+"/{name}", methods{"DELETE": s.adminDeleteBouncer})
	add(api.PathAdminUsage, methods{"GET": s.adminUsage})
	add(api.PathAdminFlush, methods{"POST": s.adminFlush})
	add(api.PathAdminAllowlists, methods{"POST": s.adminAddAllowlist})
	add(api.PathAdminAllowlists+"/{name}", methods{"DELETE": s.adminDeleteAllowlist})
	add(api.PathAdminAllowlists+"/{name}/add", methods{"POST": s.adminAllow})
	add(api.PathAdminAllowlists+"/{name}/remove", methods{"POST": s.adminDisallow})
}

func (s *Server) adminLogin(w http.ResponseWriter, r *http.Request) {
	if err := s.ensureMachine(r.Context(), api.SocketMachine); err != nil {
		s.fail(w, r, err)
		return
	}
	s.giveToken(w, r, api.SocketMachine)
}

func (s *Server) adminMachines(w http.ResponseWriter, r *http.Request) {
	rows, err := s.store.Machines(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := make([]api.Machine, len(rows))
	for i := range rows {
		m := &rows[i]
		s.machines.seen(m)
		out[i] = api.Machine{
			Name: m.ID, IP: m.IP, AuthType: m.AuthType, Validated: m.Validated, Version: m.Version,
			OSName: m.OSName, OSVersion: m.OSVersion, OSFamily: m.OSFamily,
			FeatureFlags: m.FeatureFlags, Datasources: m.Datasources, HubItems: shownItems(m.HubItems), Scenarios: m.Scenarios,
			Created: m.Created, Updated: m.Updated, LastPush: m.LastPush, LastHeartbeat: m.LastHeartbeat,
		}
	}
	answer(w, http.StatusOK, out)
}

func shownItems(items map[string][]storage.HubItem) api.HubItems {
	out := make(api.HubItems)
	for kind := range items {
		for _, item := range items[kind] {
			out[kind] = append(out[kind], api.HubItem(item))
		}
	}
	return out
}

func (s *Server) adminAddMachine(w http.ResponseWriter, r *http.Request) {
	var in api.AddMachineRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	if in.Name == "" || len(in.Name) > 255 || in.Password == "" {
		refuse(w, http.StatusUnprocessableEntity, "name (at most 255 chars) and password are required")
		return
	}
	var err error
	if in.Force {
		err = s.replaceMachine(r.Context(), in.Name, in.Password)
	} else {
		err = s.addMachine(r.Context(), in.Name, in.Password, "", true)
	}
	if errors.Is(err, auth.ErrUnhashable) {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	s.adminDone(w, r, err, http.StatusCreated)
}

func (s *Server) adminValidateMachine(w http.ResponseWriter, r *http.Request) {
	s.adminDone(w, r, s.validateMachine(r.Context(), r.PathValue("name")), http.StatusNoContent)
}

func (s *Server) adminDeleteMachine(w http.ResponseWriter, r *http.Request) {
	s.adminDone(w, r, s.deleteMachine(r.Context(), r.PathValue("name")), http.StatusNoContent)
}

func (s *Server) adminBouncers(w http.ResponseWriter, _ *http.Request) {
	rows := s.bouncers.list()
	out := make([]api.Bouncer, len(rows))
	for i, b := range rows {
		out[i] = api.Bouncer{
			Name: b.Name, IP: b.IP, AuthType: b.AuthType, Type: b.Type, Version: b.Version,
			OSName: b.OSName, OSVersion: b.OSVersion, OSFamily: b.OSFamily, FeatureFlags: b.FeatureFlags,
			AutoCreated: b.AutoCreated, Created: b.Created, Updated: b.Updated, LastPull: b.LastPull,
		}
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) adminAddBouncer(w http.ResponseWriter, r *http.Request) {
	var in api.AddBouncerRequest
	if err := s.readBody(w, r, api.SocketMachine, &in); err != nil {
		refuseBody(w, err)
		return
	}
	if in.Name == "" || len(in.Name) > 255 {
		refuse(w, http.StatusUnprocessableEntity, "name should have 1 to 255 chars")
		return
	}
	key, err := s.addBouncer(r.Context(), in.Name, in.Key)
	if err != nil {
		s.adminDone(w, r, err, 0)
		return
	}
	answer(w, http.StatusCreated, api.BouncerResponse{Key: key})
}

func (s *Server) adminDeleteBouncer(w http.ResponseWriter, r *http.Request) {
	remove := s.deleteBouncer
	if r.URL.Query().Get("alone") == "true" {
		remove = s.forgetBouncer
	}
	s.adminDone(w, r, remove(r.Context(), r.PathValue("name")), http.StatusNoContent)
}

// adminDone answers a change: with the status if it went well.
func (s *Server) adminDone(w http.ResponseWriter, r *http.Request, err error, status int) {
	switch {
	case err == nil:
		w.WriteHeader(status)
	case errors.Is(err, storage.ErrNotFound):
		refuse(w, http.StatusNotFound, err.Error())
	case errors.Is(err, storage.ErrExists):
		refuse(w, http.StatusConflict, err.Error())
	case isRefusal(err):
		refuse(w, http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, auth.ErrBusy):
		busy(w, time.Second)
	default:
		s.fail(w, r, err)
	}
}
