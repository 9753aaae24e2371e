package explain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/platform/strict"
)

// The names of the dump files.
const (
	ParserDump = "parser-dump.yaml"
	BucketDump = "bucket-dump.yaml"
	PourDump   = "bucketpour-dump.yaml"
)

// WriteDumps writes the record as the three dump files of upstream (spec §6.1)
// into a directory, which it makes.
func (r *Record) WriteDumps(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of dumps: %w", err)
	}
	overflows := []overflowEvent{}
	for _, o := range r.Overflows {
		overflows = append(overflows, newOverflowEvent(o))
	}
	write := func(name string, v any) error {
		// Logs may tell secrets: only we read them.
		if err := platform.WriteFile(filepath.Join(dir, name), strict.Append(nil, v), 0o600); err != nil {
			return fmt.Errorf("cannot write a dump: %w", err)
		}
		return nil
	}
	return errors.Join(write(ParserDump, r.Parsers), write(BucketDump, overflows), write(PourDump, r.Poured))
}

// What follows are upstream's names of an overflow and its parts: lower case
// from the alert on, and always written.
type (
	overflowEvent struct {
		Type            int               `yaml:"Type"`
		Whitelisted     bool              `yaml:"Whitelisted,omitempty"`
		WhitelistReason string            `yaml:"WhitelistReason,omitempty"`
		Parsed          map[string]string `yaml:"Parsed,omitempty"`
		Enriched        map[string]string `yaml:"Enriched,omitempty"`
		Unmarshaled     map[string]any    `yaml:"Unmarshaled,omitempty"`
		Overflow        *dumpedOverflow   `yaml:"Overflow"`
		Time            time.Time         `yaml:"Time,omitempty"`
		MarshaledTime   string            `yaml:"MarshaledTime,omitempty"`
		Meta            map[string]string `yaml:"Meta,omitempty"`
	}
	dumpedOverflow struct {
		MapKey      string                  `yaml:"MapKey,omitempty"`
		Whitelisted bool                    `yaml:"Whitelisted,omitempty"`
		Reprocess   bool                    `yaml:"Reprocess,omitempty"`
		Sources     map[string]dumpedSource `yaml:"Sources"`
		Alert       *dumpedAlert            `yaml:"Alert"`
		APIAlerts   []dumpedAlert           `yaml:"APIAlerts"`
	}
	dumpedAlert struct {
		Capacity        int32
		CreatedAt       string   // LAPI sets it, and the machine
		Decisions       []string // an engine's alert has none
		Events          []dumpedAlertEvent
		EventsCount     int32
		ID              int64
		Kind            string
		Labels          []string
		Leakspeed       string
		MachineID       string
		Message         string
		Meta            []decisions.KeyValue
		Remediation     bool
		Scenario        string
		ScenarioHash    string
		ScenarioVersion string
		Simulated       bool
		Source          dumpedSource
		StartAt         string
		StopAt          string
		UUID            string
	}
	dumpedAlertEvent struct {
		Meta      []decisions.KeyValue
		Timestamp string
	}
	dumpedSource struct {
		ASName    string
		ASNumber  string
		Cn        string
		IP        string
		Latitude  float32
		Longitude float32
		Range     string
		Scope     string
		Value     string
	}
)

func newOverflowEvent(r Result) overflowEvent {
	evt := r.Event
	return overflowEvent{
		Type: 1, Whitelisted: evt.Whitelisted, WhitelistReason: evt.WhitelistReason,
		Parsed: evt.Parsed, Enriched: evt.Enriched, Unmarshaled: evt.Unmarshaled, Meta: evt.Meta,
		Time: evt.Time, MarshaledTime: evt.MarshaledTime,
		Overflow: evt.Overflow,
	}
}

func newDumpedOverflow(o *Overflow) *dumpedOverflow {
	d := &dumpedOverflow{MapKey: o.Mapkey, Whitelisted: o.Whitelisted, Reprocess: o.Reprocess, Sources: map[string]dumpedSource{}}
	for name, src := range o.Sources() {
		d.Sources[name] = newDumpedSource(src)
	}
	for i := range o.Alerts {
		d.APIAlerts = append(d.APIAlerts, newDumpedAlert(&o.Alerts[i]))
	}
	d.Alert = &d.APIAlerts[0]
	return d
}

func newDumpedAlert(a *decisions.Alert) dumpedAlert {
	d := dumpedAlert{
		Capacity:        a.Capacity,
		EventsCount:     a.EventsCount,
		ID:              a.ID,
		Kind:            a.Kind,
		Leakspeed:       a.Leakspeed,
		Message:         a.Message,
		Meta:            a.Meta,
		Remediation:     a.Remediation,
		Scenario:        a.Scenario,
		ScenarioHash:    a.ScenarioHash,
		ScenarioVersion: a.ScenarioVersion,
		Simulated:       a.Simulated,
		Source:          newDumpedSource(&a.Source),
		StartAt:         stamp(a.StartAt),
		StopAt:          stamp(a.StopAt),
		UUID:            a.UUID,
	}
	for _, e := range a.Events {
		d.Events = append(d.Events, dumpedAlertEvent{e.Meta, e.Timestamp})
	}
	return d
}

func newDumpedSource(s *decisions.Source) dumpedSource {
	return dumpedSource{
		ASName: s.ASName, ASNumber: s.ASNumber, Cn: s.Country, IP: s.IP,
		Latitude: s.Latitude, Longitude: s.Longitude, Range: s.Range, Scope: s.Scope, Value: s.Value,
	}
}

func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }
