package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cs/platform"
	"cs/platform/strict"
	"cs/roles/api"
)

// AlertsInspect shows all that is known about alerts.
type AlertsInspect struct {
	ID      []string `arg:"" optional:"" help:"Numbers of alerts."`
	Details bool     `short:"d" help:"Show the events too."`
}

// alert returns an alert.
func (l *lapi) alert(ctx context.Context, id int64) (api.Alert, error) {
	a, err := l.Alert(ctx, id)
	switch {
	case errors.Is(err, api.ErrNotFound):
		err = fmt.Errorf("can't find alert with id %d: API error: ent: alert not found", id)
	case err != nil:
		err = fmt.Errorf("can't find alert with id %d: %w", id, apiError(err))
	}
	return a, err
}

// Run shows them in the order given and stops at the first that can't be shown.
func (c *AlertsInspect) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if len(c.ID) == 0 {
		return &usageError{"missing alert_id"}
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	for i, word := range c.ID {
		id, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return fmt.Errorf("bad alert id %s", word)
		}
		a, err := lapi.alert(ctx, id)
		if err != nil {
			return err
		}
		switch s.format {
		case jsonText:
			err = s.json(a, "  ")
		case raw:
			if i > 0 {
				err = s.text("---\n")
			}
			err = errors.Join(err, s.yaml(&a))
		default:
			err = s.text(s.alertText(&a, c.Details))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// alertText is the page about one alert.
func (p *printer) alertText(a *api.Alert, details bool) string {
	var b strings.Builder
	b.WriteString("\n" + strings.Repeat("#", 96) + "\n\n")
	line := func(name, value string) { fmt.Fprintf(&b, " - %-12s : %s\n", name, plain(value)) }
	line("ID", itoa(a.ID))
	line("Date", utc(a.CreatedAt))
	line("Machine", a.MachineID)
	line("Simulation", strconv.FormatBool(a.Simulated))
	line("Remediation", strconv.FormatBool(a.Remediation))
	line("Kind", a.Kind)
	line("Reason", a.Scenario)
	line("Events Count", itoa(int64(a.EventsCount)))
	line("Scope:Value", subject(a, 1))
	line("Country", a.Source.Country)
	line("AS", asText(a))
	line("Begin", utc(a.StartAt))
	line("End", utc(a.StopAt))
	line("UUID", a.UUID)
	b.WriteByte('\n')

	t := p.table("ID", "scope:value", "action", "expiration", "created_at")
	t.title = "Active Decisions"
	for _, d := range a.Decisions {
		if !strings.HasPrefix(d.Duration, "-") {
			t.add(itoa(d.ID), d.Scope+":"+d.Value, simulated(d.Simulated)+d.Type, d.Duration, utc(a.CreatedAt))
		}
	}
	if len(t.rows) > 0 {
		b.WriteString(t.boxed())
	}
	if len(a.Meta) > 0 {
		b.WriteString("\n - Context  :\n" + p.metaTable(a.Meta).boxed())
	}
	if details {
		b.WriteString("\n - Events  :\n")
		for _, e := range a.Events {
			b.WriteString("\n- Date: " + plain(e.Timestamp) + "\n" + p.metaTable(e.Meta).boxed())
		}
	}
	return b.String()
}

// metaTable shows named texts. A value that is a JSON list, as alert contexts
// are, takes a row for each element.
func (p *printer) metaTable(metas []api.Meta) *table {
	t := p.table("Key", "Value")
	for _, m := range metas {
		var list []string
		if json.Unmarshal([]byte(m.Value), &list) != nil || len(list) == 0 {
			list = []string{m.Value}
		}
		for _, value := range list {
			t.add(m.Key, value)
		}
	}
	return t
}

// yamlAlert and its parts are an alert with the keys that upstream's raw
// format has: all letters small, nothing between words.
type yamlAlert struct {
	Capacity        int32          `yaml:"capacity"`
	CreatedAt       string         `yaml:"createdat"`
	Decisions       []yamlDecision `yaml:"decisions"`
	Events          []api.Event    `yaml:"events"`
	EventsCount     int32          `yaml:"eventscount"`
	ID              int64          `yaml:"id"`
	Kind            string         `yaml:"kind"`
	Labels          []string       `yaml:"labels"`
	Leakspeed       string         `yaml:"leakspeed"`
	MachineID       string         `yaml:"machineid"`
	Message         string         `yaml:"message"`
	Meta            []api.Meta     `yaml:"meta"`
	Remediation     bool           `yaml:"remediation"`
	Scenario        string         `yaml:"scenario"`
	ScenarioHash    string         `yaml:"scenariohash"`
	ScenarioVersion string         `yaml:"scenarioversion"`
	Simulated       bool           `yaml:"simulated"`
	Source          yamlSource     `yaml:"source"`
	StartAt         string         `yaml:"startat"`
	StopAt          string         `yaml:"stopat"`
	UUID            string         `yaml:"uuid"`
}

type yamlDecision struct {
	Duration  string `yaml:"duration"`
	ID        int64  `yaml:"id"`
	Origin    string `yaml:"origin"`
	Scenario  string `yaml:"scenario"`
	Scope     string `yaml:"scope"`
	Simulated bool   `yaml:"simulated"`
	Type      string `yaml:"type"`
	Until     string `yaml:"until"`
	UUID      string `yaml:"uuid"`
	Value     string `yaml:"value"`
}

type yamlSource struct {
	ASName    string  `yaml:"asname"`
	ASNumber  string  `yaml:"asnumber"`
	Country   string  `yaml:"cn"`
	IP        string  `yaml:"ip"`
	Latitude  float32 `yaml:"latitude"`
	Longitude float32 `yaml:"longitude"`
	Range     string  `yaml:"range"`
	Scope     string  `yaml:"scope"`
	Value     string  `yaml:"value"`
}

// yaml writes an alert as the raw format has it.
func (p *printer) yaml(a *api.Alert) error {
	y := yamlAlert{
		Capacity: a.Capacity, CreatedAt: a.CreatedAt, Events: a.Events, EventsCount: a.EventsCount, ID: a.ID, Kind: a.Kind,
		Leakspeed: a.Leakspeed, MachineID: a.MachineID, Message: a.Message, Meta: a.Meta, Remediation: a.Remediation,
		Scenario: a.Scenario, ScenarioHash: a.ScenarioHash, ScenarioVersion: a.ScenarioVersion, Simulated: a.Simulated,
		Source: yamlSource(a.Source), StartAt: a.StartAt, StopAt: a.StopAt, UUID: a.UUID,
	}
	for _, d := range a.Decisions {
		y.Decisions = append(y.Decisions, yamlDecision(d))
	}
	return p.text(plainLines(string(strict.Append(nil, y))))
}
