package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// maxElements bounds the array elements in one body. A body of 50 MiB could
// name ten million empty ones, each of which would take 200 bytes of memory.
const maxElements = 1 << 20

// maxAlerts bounds the alerts in one body, which are the largest elements. No
// 50 MiB of real ones are so many.
const maxAlerts = 100_000

// ValidationError lists what a body lacks, in upstream's words.
type ValidationError struct{ Lines []string }

func (e *ValidationError) Error() string {
	const most = 20 // a body may be wrong in a million places
	lines := e.Lines
	if len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("and %d more", len(e.Lines)-most))
	}
	return "validation failure list:\n" + strings.Join(lines, "\n")
}

func (e *ValidationError) require(present bool, name string) {
	if !present {
		e.Lines = append(e.Lines, name+" in body is required")
	}
}

func (e *ValidationError) orNil() error {
	if len(e.Lines) == 0 {
		return nil
	}
	return e
}

// The *In types find out which of the required keys are there: for a key that
// is in both, encoding/json prefers the outer field.

type alertIn struct {
	Alert
	Capacity        *int32        `json:"capacity"`
	Decisions       []*decisionIn `json:"decisions"`
	Events          *[]*eventIn   `json:"events"`
	EventsCount     *int32        `json:"events_count"`
	Leakspeed       *string       `json:"leakspeed"`
	Message         *string       `json:"message"`
	Scenario        *string       `json:"scenario"`
	ScenarioHash    *string       `json:"scenario_hash"`
	ScenarioVersion *string       `json:"scenario_version"`
	Simulated       *bool         `json:"simulated"`
	Source          *sourceIn     `json:"source"`
	StartAt         *string       `json:"start_at"`
	StopAt          *string       `json:"stop_at"`
}

type sourceIn struct {
	Source
	Scope *string `json:"scope"`
	Value *string `json:"value"`
}

type eventIn struct {
	Meta      *[]Meta `json:"meta"`
	Timestamp *string `json:"timestamp"`
}

type decisionIn struct {
	Decision
	Duration *string `json:"duration"`
	Origin   *string `json:"origin"`
	Scenario *string `json:"scenario"`
	Scope    *string `json:"scope"`
	Type     *string `json:"type"`
	Value    *string `json:"value"`
}

// DecodeAlerts reads the body of POST /v1/alerts: an array whose elements have
// all required keys, else the error is a *ValidationError. As upstream it
// ignores unknown keys, the case of keys, and what follows the array. The body
// must not be changed afterwards.
func DecodeAlerts(body []byte) ([]Alert, error) {
	if out, ok := scanAlerts(body); ok {
		return out, nil
	}
	return decodeAlerts(body)
}

// decodeAlerts is DecodeAlerts for what nobody writes, or that is wrong.
func decodeAlerts(body []byte) ([]Alert, error) {
	var in []*alertIn
	if err := Decode(body, &in); err != nil {
		return nil, err
	}
	out := make([]Alert, len(in))
	var bad ValidationError
	for i, a := range in {
		if a == nil {
			a = &alertIn{}
		}
		out[i] = a.alert(fmt.Sprintf("%d.", i), &bad)
	}
	return out, bad.orNil()
}

func (in *alertIn) alert(at string, bad *ValidationError) Alert {
	a := in.Alert
	a.Capacity = need(in.Capacity, at+"capacity", bad)
	a.Decisions, a.Events, a.Labels = nil, nil, nil
	for i, d := range in.Decisions {
		if d == nil {
			d = &decisionIn{}
		}
		a.Decisions = append(a.Decisions, d.decision(fmt.Sprintf("%sdecisions.%d.", at, i), bad))
	}
	for i, e := range need(in.Events, at+"events", bad) {
		if e == nil {
			e = &eventIn{}
		}
		at := fmt.Sprintf("%sevents.%d.", at, i)
		a.Events = append(a.Events, Event{
			Meta:      need(e.Meta, at+"meta", bad),
			Timestamp: need(e.Timestamp, at+"timestamp", bad),
		})
	}
	a.EventsCount = need(in.EventsCount, at+"events_count", bad)
	a.Leakspeed = need(in.Leakspeed, at+"leakspeed", bad)
	a.Message = need(in.Message, at+"message", bad)
	a.Scenario = need(in.Scenario, at+"scenario", bad)
	a.ScenarioHash = need(in.ScenarioHash, at+"scenario_hash", bad)
	a.ScenarioVersion = need(in.ScenarioVersion, at+"scenario_version", bad)
	a.Simulated = need(in.Simulated, at+"simulated", bad)
	if in.Source == nil {
		bad.require(false, at+"source")
	} else {
		a.Source = in.Source.Source
		a.Source.Scope = need(in.Source.Scope, at+"source.scope", bad)
		a.Source.Value = need(in.Source.Value, at+"source.value", bad)
	}
	a.StartAt = need(in.StartAt, at+"start_at", bad)
	a.StopAt = need(in.StopAt, at+"stop_at", bad)
	return a
}

func (in *decisionIn) decision(at string, bad *ValidationError) Decision {
	d := in.Decision
	d.Duration = need(in.Duration, at+"duration", bad)
	d.Origin = need(in.Origin, at+"origin", bad)
	d.Scenario = need(in.Scenario, at+"scenario", bad)
	d.Scope = need(in.Scope, at+"scope", bad)
	d.Type = need(in.Type, at+"type", bad)
	d.Value = need(in.Value, at+"value", bad)
	return d
}

// need returns what a required key holds.
func need[T any](v *T, name string, bad *ValidationError) (out T) {
	if v == nil {
		bad.require(false, name)
		return out
	}
	return *v
}

type metricsIn struct {
	RemediationComponents []*componentIn `json:"remediation_components"`
	LogProcessors         []*componentIn `json:"log_processors"`
}

type componentIn struct {
	ComponentMetrics
	Version *string     `json:"version"`
	Startup *int64      `json:"utc_startup_timestamp"`
	OS      *osIn       `json:"os"`
	Metrics []*windowIn `json:"metrics"`
}

type osIn struct {
	OS
	Name    *string `json:"name"`
	Version *string `json:"version"`
}

type windowIn struct {
	Meta *struct {
		WindowSize *int64 `json:"window_size_seconds"`
		Now        *int64 `json:"utc_now_timestamp"`
	} `json:"meta"`
	Items []*itemIn `json:"items"`
}

type itemIn struct {
	Name   *string           `json:"name"`
	Value  *float64          `json:"value"`
	Unit   *string           `json:"unit"`
	Labels map[string]string `json:"labels"`
}

// DecodeMetrics reads the body of POST /v1/usage-metrics.
func DecodeMetrics(body []byte) (Metrics, error) {
	var in metricsIn
	if err := Decode(body, &in); err != nil {
		return Metrics{}, err
	}
	var out Metrics
	var bad ValidationError
	for i, c := range in.RemediationComponents {
		out.RemediationComponents = append(out.RemediationComponents, c.component(fmt.Sprintf("remediation_components.%d.", i), &bad))
	}
	for i, c := range in.LogProcessors {
		out.LogProcessors = append(out.LogProcessors, c.component(fmt.Sprintf("log_processors.%d.", i), &bad))
	}
	return out, bad.orNil()
}

func (in *componentIn) component(at string, bad *ValidationError) ComponentMetrics {
	if in == nil {
		in = &componentIn{}
	}
	c := in.ComponentMetrics
	c.Version = need(in.Version, at+"version", bad)
	c.Startup = need(in.Startup, at+"utc_startup_timestamp", bad)
	c.OS = nil
	if in.OS != nil {
		c.OS = &OS{Name: need(in.OS.Name, at+"os.name", bad), Version: need(in.OS.Version, at+"os.version", bad), Family: in.OS.Family}
	}
	short := map[string]string{"version": c.Version, "type": c.Type, "name": c.Name}
	if c.OS != nil {
		short["os.name"], short["os.version"], short["os.family"] = c.OS.Name, c.OS.Version, c.OS.Family
	}
	for _, name := range []string{"version", "type", "name", "os.name", "os.version", "os.family"} {
		if len(short[name]) > 255 {
			bad.Lines = append(bad.Lines, at+name+" in body should be at most 255 chars long")
		}
	}
	for i, m := range in.Metrics {
		at := fmt.Sprintf("%smetrics.%d.", at, i)
		if m == nil || m.Meta == nil {
			bad.require(false, at+"meta")
			continue
		}
		w := UsageWindow{Meta: UsageMeta{
			Length: need(m.Meta.WindowSize, at+"meta.window_size_seconds", bad),
			Now:    need(m.Meta.Now, at+"meta.utc_now_timestamp", bad),
		}}
		for j, item := range m.Items {
			at := fmt.Sprintf("%sitems.%d.", at, j)
			if item == nil {
				bad.require(false, at+"name")
				continue
			}
			w.Items = append(w.Items, UsageItem{
				Name:   need(item.Name, at+"name", bad),
				Value:  need(item.Value, at+"value", bad),
				Unit:   need(item.Unit, at+"unit", bad),
				Labels: item.Labels,
			})
		}
		c.Metrics = append(c.Metrics, w)
	}
	return c
}

// Decode reads the first JSON value of a body, as leniently as upstream, unless it
// holds so many elements that they would take far more memory than their text.
func Decode(body []byte, v any) error {
	if tooMany(body) {
		return fmt.Errorf("the body holds too many elements: at most %d are taken, and %d at the top", maxElements, maxAlerts)
	}
	return json.NewDecoder(bytes.NewReader(body)).Decode(v)
}

// tooMany counts the objects and array elements in a body, and about how many
// elements the outermost array has, as far as is needed to see that they are too
// many.
func tooMany(body []byte) bool {
	var inArray []bool
	top, all := 0, 0
	for i := 0; i < len(body) && all <= maxElements; i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			inArray = append(inArray, body[i] == '[')
			all++
		case ']', '}':
			if len(inArray) > 0 {
				inArray = inArray[:len(inArray)-1]
			}
		case ',':
			if len(inArray) > 0 && inArray[len(inArray)-1] {
				all++
			}
			if len(inArray) == 1 {
				top++
			}
		}
	}
	return all > maxElements || top > maxAlerts
}
