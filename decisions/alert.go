package decisions

import "time"

// An Alert is what a scenario reports: who did what, when, and the log events
// that prove it. UUID is chosen by the sender, so that a repeated delivery
// can be recognised; ID is given by the store.
type Alert struct {
	ID              int64
	UUID            string
	MachineID       string
	Scenario        string
	ScenarioHash    string
	ScenarioVersion string
	Message         string
	Kind            string // "crowdsec", "cscli", "waf", …
	Capacity        int32
	Leakspeed       string // Go duration text
	EventsCount     int32  // events poured; may exceed len(Events)
	Simulated       bool
	Remediation     bool
	Source          Source
	Events          []Event
	Meta            []KeyValue // alert context
	Decisions       []Decision // empty for an agent's alert: profiles decide
	StartAt         time.Time
	StopAt          time.Time
	Created         time.Time
}

// Source is whom an alert is about.
type Source struct {
	Scope     string
	Value     string
	IP        string
	Range     string
	ASNumber  string
	ASName    string
	Country   string // ISO code, "cn" on the wire
	Latitude  float32
	Longitude float32
}

// Event is one log event kept with an alert. Timestamp is RFC 3339 text as
// the log had it.
type Event struct {
	Timestamp string
	Meta      []KeyValue
}

// KeyValue is a named text; a list of them keeps its order.
type KeyValue struct{ Key, Value string }
