package status

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"cs/platform/order"
	"cs/platform/strict"
	"cs/roles/api"
)

// Reason is why an address is banned, or isn't.
type Reason struct {
	IP        string     `json:"ip"`
	Banned    bool       `json:"banned"`
	Allowed   string     `json:"allowlisted,omitempty"` // by which item
	Decisions []Standing `json:"decisions"`
	Alerts    []Evidence `json:"alerts"`
	Exception string     `json:"exception,omitempty"` // YAML of a parser that lets the address be
	File      string     `json:"exception_file,omitempty"`
	Commands  []string   `json:"commands"` // that let it in
}

// Standing is a decision that covers the address.
type Standing struct {
	api.Decision
	AlertID int64 `json:"alert_id"`
}

// Evidence is an alert about the address.
type Evidence struct {
	ID        int64     `json:"id"`
	Scenario  string    `json:"scenario"`
	Message   string    `json:"message"`
	Machine   string    `json:"machine,omitempty"`
	Start     string    `json:"start"`
	Stop      string    `json:"stop"`
	Events    int32     `json:"events"`
	Capacity  int32     `json:"capacity"`
	Leakspeed string    `json:"leakspeed,omitempty"`
	Threshold string    `json:"threshold"`
	Lines     []Line    `json:"lines"`
	Context   []Details `json:"context,omitempty"`
}

// Line is an event of an alert: the very line of the log, if it was kept, and
// where it came from.
type Line struct {
	Time   string    `json:"time"`
	Source string    `json:"source,omitempty"`
	Text   string    `json:"text,omitempty"`
	Facts  []Details `json:"facts,omitempty"`
}

// Details is a named text.
type Details struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Explain tells why an address is banned, out of the alerts that the LAPI has
// of it and what allowlists say. Lines gets the text of the log for an event:
// alerts don't carry it.
//
// Commands begin with "cs", and File is a name within the directory of parsers.
func Explain(ip string, alerts []api.Alert, allowed string, lines func(source string, at time.Time, facts map[string]string) string) Reason {
	r := Reason{IP: ip, Allowed: allowed, Decisions: []Standing{}, Alerts: []Evidence{}, Commands: []string{}}
	scenarios := make(map[string]bool)
	for i := range alerts {
		a := &alerts[i]
		for _, d := range a.Decisions {
			if strings.HasPrefix(d.Duration, "-") {
				continue
			}
			r.Decisions = append(r.Decisions, Standing{d, a.ID})
			r.Banned = r.Banned || !d.Simulated
		}
		if a.Kind != "cscli" && len(a.Events) > 0 {
			scenarios[a.Scenario] = true
		}
		r.Alerts = append(r.Alerts, evidence(a, lines))
	}
	order.Stable(r.Alerts, func(a, b Evidence) int { return cmp.Compare(b.ID, a.ID) })
	if len(r.Decisions) > 0 {
		r.Commands = append(r.Commands, "cs decisions delete --ip "+ip)
		for _, d := range r.Decisions {
			if d.Scope == "Range" && d.Value != ip {
				r.Commands = append(r.Commands, "cs decisions delete --range "+d.Value)
			}
		}
	}
	if len(r.Alerts) > 0 && allowed == "" {
		r.Commands = append(r.Commands, "cs allowlists create "+Trusted+" -d 'never banned'", "cs allowlists add "+Trusted+" "+ip)
	}
	if len(scenarios) > 0 {
		name := "trusted-" + strings.NewReplacer("/", "-", ":", "-").Replace(ip)
		r.File, r.Exception = "s02-enrich/"+name+".yaml", exception(name, ip)
	}
	return r
}

// Trusted is the allowlist that commands put an address on.
const Trusted = "trusted"

// exception is a parser for s02-enrich, in the form of content, that drops the
// events of an address.
func exception(name, ip string) string {
	key := "ip"
	if strings.Contains(ip, "/") {
		key = "cidr"
	}
	return fmt.Sprintf("name: local/%s\ndescription: Never detect attacks by this address.\nwhitelist:\n  reason: trusted\n  %s:\n    - %s\n",
		name, key, strict.Scalar(ip))
}

func evidence(a *api.Alert, lines func(string, time.Time, map[string]string) string) Evidence {
	e := Evidence{
		ID: a.ID, Scenario: a.Scenario, Message: a.Message, Machine: a.MachineID, Start: a.StartAt, Stop: a.StopAt,
		Events: a.EventsCount, Capacity: a.Capacity, Leakspeed: a.Leakspeed, Threshold: threshold(a), Lines: []Line{},
	}
	for _, m := range a.Meta {
		e.Context = append(e.Context, Details(m))
	}
	for _, ev := range a.Events {
		facts := make(map[string]string)
		l := Line{Time: ev.Timestamp}
		for _, m := range ev.Meta {
			facts[m.Key] = m.Value
			switch m.Key {
			case "datasource_path":
				l.Source = m.Value
			case "datasource_type", "timestamp", "source_ip":
			default:
				l.Facts = append(l.Facts, Details(m))
			}
		}
		at, err := eventTime(ev.Timestamp)
		if err == nil && lines != nil {
			l.Text = lines(l.Source, at, facts)
		}
		e.Lines = append(e.Lines, l)
	}
	return e
}

// threshold tells what an alert takes, in words.
func threshold(a *api.Alert) string {
	leak, err := time.ParseDuration(a.Leakspeed)
	switch {
	case a.Kind == "cscli":
		return "by hand"
	case a.Capacity > 0 && err == nil && leak > 0:
		return fmt.Sprintf("more than %d events, of which one is forgotten each %s", a.Capacity, leak)
	case a.Capacity > 0:
		return fmt.Sprintf("more than %d events", a.Capacity)
	case a.Capacity == 0 && a.EventsCount <= 1:
		return "a single event"
	}
	return "a condition over its events"
}

// eventTime reads the time of an event, in the forms that LAPIs answer with.
func eventTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", s)
	}
	return t, err
}
