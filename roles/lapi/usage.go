package lapi

import (
	"errors"
	"net/http"

	"cs/roles/api"
	"cs/storage"
)

// usageMetrics takes a report of usage. What it tells of the sender (version,
// operating system) is kept with its row; the counters are checked only.
func (s *Server) usageMetrics(w http.ResponseWriter, r *http.Request, who string) {
	body, release, err := s.upload(r)
	defer release()
	if err != nil {
		refuseBody(w, err)
		return
	}
	in, err := api.DecodeMetrics(body)
	var invalid *api.ValidationError
	switch {
	case errors.As(err, &invalid):
		refuse(w, http.StatusUnprocessableEntity, invalid.Error())
		return
	case err != nil:
		refuseBody(w, err)
		return
	}
	own, part := in.LogProcessors, "log processor"
	if isBouncer(r) {
		own, part = in.RemediationComponents, "remediation component"
	}
	switch {
	case len(own) == 0:
		refuse(w, http.StatusBadRequest, "Missing "+part+" data")
		return
	case len(own) > 1:
		refuse(w, http.StatusBadRequest, "Payload has more than one "+part)
		return
	}
	report := own[0]
	limitReport(&report)
	if isBouncer(r) {
		s.bouncers.reported(who, report, s.now())
		w.WriteHeader(http.StatusCreated)
		return
	}
	err = s.store.UpdateMachine(r.Context(), who, func(m *storage.Machine) error {
		m.Version = clip(report.Version)
		m.OSName, m.OSVersion, m.OSFamily = report.OS.Name, report.OS.Version, report.OS.Family
		m.FeatureFlags = report.FeatureFlags
		m.Datasources = report.Datasources
		m.Updated = s.now()
		return nil
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// maxListed bounds the lists that a report may leave with its sender's row.
const maxListed = 100

// limitReport bounds what is kept of a report.
func limitReport(r *api.ComponentMetrics) {
	if r.OS == nil {
		r.OS = &api.OS{}
	}
	r.FeatureFlags = r.FeatureFlags[:min(len(r.FeatureFlags), maxListed)]
	for i := range r.FeatureFlags {
		r.FeatureFlags[i] = clip(r.FeatureFlags[i])
	}
	sources := make(map[string]int64)
	for name, n := range r.Datasources {
		if len(sources) == maxListed {
			break
		}
		sources[clip(name)] = n
	}
	r.Datasources = sources
}
