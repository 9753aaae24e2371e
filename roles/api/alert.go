package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"cs/decisions"
	"cs/platform"
)

// Alert is an alert on the wire, in both directions. Keys stand in the order
// in which upstream sends them. Decisions and Events are null when empty in
// answers; in requests Events must be an array (see Client.PostAlerts).
type Alert struct {
	Capacity        int32           `json:"capacity"`
	CreatedAt       string          `json:"created_at,omitempty"` // RFC 3339, whole seconds
	Decisions       []Decision      `json:"decisions"`
	Events          []Event         `json:"events"`
	EventsCount     int32           `json:"events_count"`
	ID              int64           `json:"id,omitempty"`
	Kind            string          `json:"kind,omitempty"`
	Labels          json.RawMessage `json:"labels"` // always null
	Leakspeed       string          `json:"leakspeed"`
	MachineID       string          `json:"machine_id,omitempty"`
	Message         string          `json:"message"`
	Meta            []Meta          `json:"meta,omitempty"`
	Remediation     bool            `json:"remediation,omitempty"`
	Scenario        string          `json:"scenario"`
	ScenarioHash    string          `json:"scenario_hash"`
	ScenarioVersion string          `json:"scenario_version"`
	Simulated       bool            `json:"simulated"`
	Source          Source          `json:"source"`
	StartAt         string          `json:"start_at"`
	StopAt          string          `json:"stop_at"`
	UUID            string          `json:"uuid,omitempty"`
}

// Source is whom an alert is about.
type Source struct {
	ASName    string  `json:"as_name,omitempty"`
	ASNumber  string  `json:"as_number,omitempty"`
	Country   string  `json:"cn,omitempty"`
	IP        string  `json:"ip,omitempty"`
	Latitude  float32 `json:"latitude,omitempty"`
	Longitude float32 `json:"longitude,omitempty"`
	Range     string  `json:"range,omitempty"`
	Scope     string  `json:"scope"`
	Value     string  `json:"value"`
}

// Event is one log event. Timestamp is RFC 3339 in requests; upstream answers
// with Go's default layout ("2026-01-02 15:04:05 +0000 UTC").
type Event struct {
	Meta      []Meta `json:"meta"`
	Timestamp string `json:"timestamp"`
}

// Meta is a named text.
type Meta struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Decision is a decision inside an alert. Duration is relative to the time of
// the message and negative when the decision has ended.
type Decision struct {
	Duration  string `json:"duration"`
	ID        int64  `json:"id,omitempty"`
	Origin    string `json:"origin"`
	Scenario  string `json:"scenario"`
	Scope     string `json:"scope"`
	Simulated bool   `json:"simulated"`
	Type      string `json:"type"`
	Until     string `json:"until,omitempty"`
	UUID      string `json:"uuid,omitempty"`
	Value     string `json:"value"`
}

// FromAlert is the conversion to the wire, as an alert is sent: event times as
// the log had them, decisions with what is left of them at now.
func FromAlert(a *decisions.Alert, now time.Time) Alert {
	w := Alert{
		Capacity:        a.Capacity,
		CreatedAt:       formatTime(a.Created),
		EventsCount:     a.EventsCount,
		ID:              a.ID,
		Kind:            a.Kind,
		Leakspeed:       a.Leakspeed,
		MachineID:       a.MachineID,
		Message:         a.Message,
		Meta:            fromKeyValues(a.Meta),
		Remediation:     a.Remediation,
		Scenario:        a.Scenario,
		ScenarioHash:    a.ScenarioHash,
		ScenarioVersion: a.ScenarioVersion,
		Simulated:       a.Simulated,
		Source: Source{
			ASName:    a.Source.ASName,
			ASNumber:  a.Source.ASNumber,
			Country:   a.Source.Country,
			IP:        a.Source.IP,
			Latitude:  a.Source.Latitude,
			Longitude: a.Source.Longitude,
			Range:     a.Source.Range,
			Scope:     a.Source.Scope,
			Value:     a.Source.Value,
		},
		StartAt: formatTime(a.StartAt),
		StopAt:  formatTime(a.StopAt),
		UUID:    a.UUID,
	}
	if len(a.Decisions) > 0 {
		w.Decisions = make([]Decision, len(a.Decisions))
		for i := range a.Decisions {
			w.Decisions[i] = fromDecision(&a.Decisions[i], now)
		}
	}
	if len(a.Events) > 0 {
		w.Events = make([]Event, len(a.Events))
		for i, e := range a.Events {
			w.Events[i] = Event{Meta: fromKeyValues(e.Meta), Timestamp: e.Timestamp}
		}
	}
	return w
}

// ToDomain is the conversion from the wire. Times that can't be parsed are
// replaced by now, as upstream does; an invalid duration is an error. The
// decisions last from StopAt on (not from now), so those of a replayed log may
// be over already.
func (w *Alert) ToDomain(now time.Time) (decisions.Alert, error) {
	a := decisions.Alert{
		ID:              w.ID,
		UUID:            w.UUID,
		MachineID:       w.MachineID,
		Scenario:        w.Scenario,
		ScenarioHash:    w.ScenarioHash,
		ScenarioVersion: w.ScenarioVersion,
		Message:         w.Message,
		Kind:            w.Kind,
		Capacity:        w.Capacity,
		Leakspeed:       w.Leakspeed,
		EventsCount:     w.EventsCount,
		Simulated:       w.Simulated,
		Remediation:     w.Remediation,
		Source: decisions.Source{
			Scope:     decisions.NormalScope(w.Source.Scope),
			Value:     w.Source.Value,
			IP:        w.Source.IP,
			Range:     w.Source.Range,
			ASNumber:  w.Source.ASNumber,
			ASName:    w.Source.ASName,
			Country:   w.Source.Country,
			Latitude:  w.Source.Latitude,
			Longitude: w.Source.Longitude,
		},
		Meta:    toKeyValues(w.Meta),
		StartAt: parseTime(w.StartAt, now),
		StopAt:  parseTime(w.StopAt, now),
		Created: parseTime(w.CreatedAt, now),
	}
	a.Events = slices.Grow(a.Events, len(w.Events))
	for _, e := range w.Events {
		a.Events = append(a.Events, decisions.Event{Timestamp: e.Timestamp, Meta: toKeyValues(e.Meta)})
	}
	a.Decisions = slices.Grow(a.Decisions, len(w.Decisions))[:len(w.Decisions)]
	var wrong [2]error // of the two halves
	platform.Halves(len(w.Decisions), func(from, to int) {
		for i := from; i < to; i++ {
			d, err := w.Decisions[i].ToDomain(a.StopAt)
			if err != nil {
				wrong[min(from, 1)] = err
				return
			}
			d.Created, d.Simulated = a.Created, a.Simulated
			a.Decisions[i] = d
		}
	})
	if err := cmp.Or(wrong[0], wrong[1]); err != nil {
		return decisions.Alert{}, err
	}
	return a, nil
}

// fromDecision converts one decision; its duration counts from now.
func fromDecision(d *decisions.Decision, now time.Time) Decision {
	return Decision{
		Duration:  formatDuration(d.Until.Sub(now)),
		ID:        d.ID,
		Origin:    d.Origin,
		Scenario:  d.Scenario,
		Scope:     d.Scope,
		Simulated: d.Simulated,
		Type:      d.Type,
		UUID:      d.UUID,
		Value:     d.Value,
	}
}

// ToDomain converts one decision that lasts from a time on.
func (w *Decision) ToDomain(from time.Time) (decisions.Decision, error) {
	length, err := ParseDuration(w.Duration)
	if err != nil {
		return decisions.Decision{}, fmt.Errorf("decision duration '%s': %w", w.Duration, err)
	}
	return decisions.Decision{
		ID:        w.ID,
		UUID:      w.UUID,
		Origin:    w.Origin,
		Scenario:  w.Scenario,
		Scope:     decisions.NormalScope(w.Scope),
		Type:      w.Type,
		Value:     w.Value,
		Simulated: w.Simulated,
		Until:     from.Add(length),
	}, nil
}

func fromKeyValues(in []decisions.KeyValue) []Meta {
	if in == nil {
		return nil
	}
	out := make([]Meta, len(in))
	for i, kv := range in {
		out[i] = Meta(kv)
	}
	return out
}

func toKeyValues(in []Meta) []decisions.KeyValue {
	if in == nil {
		return nil
	}
	out := make([]decisions.KeyValue, len(in))
	for i, m := range in {
		out[i] = decisions.KeyValue(m)
	}
	return out
}

// formatTime keeps the offset, as upstream does for what an agent sent.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func parseTime(s string, otherwise time.Time) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return otherwise
	}
	return t
}
