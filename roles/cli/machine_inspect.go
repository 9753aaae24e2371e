package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"cs/platform"
	"cs/roles/api"
)

// MachinesInspect shows one machine: what it is, what it has installed, and
// what it has reported of its work.
type MachinesInspect struct {
	Name []string `arg:"" optional:"" help:"Name of the machine."`
	Hub  bool     `short:"H" help:"Show what the machine has installed from the hub."`
}

// inspectedJSON is a machine with what its reports of usage come to.
type inspectedJSON struct {
	machineJSON
	Metrics machineMetrics `json:"metrics"`
}

type machineMetrics struct {
	Acquisition []sourceMetrics `json:"acquisition"`
	Parsers     []parserMetrics `json:"parsers"`
}

type sourceMetrics struct {
	Source   string `json:"source"`
	Read     int64  `json:"read"`
	Parsed   int64  `json:"parsed"`
	Unparsed int64  `json:"unparsed"`
}

type parserMetrics struct {
	Source   string `json:"source"`
	Parser   string `json:"parser"`
	Stage    string `json:"stage"`
	Parsed   int64  `json:"parsed"`
	Unparsed int64  `json:"unparsed"`
}

// Run shows it.
func (c *MachinesInspect) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, name, err := openFor(env, g, c.Name)
	if err != nil {
		return err
	}
	if s.format == raw && !c.Hub {
		return errNoRaw
	}
	var found *api.Machine
	var usage []api.Usage
	err = s.admin(ctx, mustExist, func(a *api.Admin) error {
		machines, err := a.Machines(ctx)
		if err != nil {
			return err
		}
		for i := range machines {
			if machines[i].Name == name {
				found = &machines[i]
			}
		}
		if found != nil && !c.Hub {
			usage, err = a.Usage(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("unable to read machine data '%s': %w", name, err)
	case found == nil:
		return fmt.Errorf("unable to read machine data '%s': user '%s': user doesn't exist", name, name)
	case c.Hub:
		return s.hubItems(found.HubItems)
	}
	out := inspectedJSON{machineJSON: showMachine(found), Metrics: machineMetrics{Acquisition: []sourceMetrics{}, Parsers: []parserMetrics{}}}
	for _, u := range usage {
		if u.Machine == name {
			out.Metrics.add(u.Items)
		}
	}
	if s.format == jsonText {
		return s.json(out, "  ")
	}
	return s.inspected(found, &out)
}

// add sorts numbers of a report into those about sources and those about
// parsers, which name one. Items come by name, so all of one source are not
// together.
func (m *machineMetrics) add(items []api.UsageItem) {
	sources, parsers := make(map[string]int), make(map[string]int)
	for _, item := range items {
		source := item.Labels["source"]
		parser, stage := cmp.Or(item.Labels["parser_name"], item.Labels["parser"]), cmp.Or(item.Labels["parser_stage"], item.Labels["stage"])
		counted := strings.TrimPrefix(item.Name, "global_")
		n := int64(item.Value)
		switch {
		case source == "":
		case parser != "":
			key := source + " " + stage + " " + parser
			i, ok := parsers[key]
			if !ok {
				i = len(m.Parsers)
				parsers[key] = i
				m.Parsers = append(m.Parsers, parserMetrics{Source: source, Parser: parser, Stage: stage})
			}
			switch p := &m.Parsers[i]; item.Name {
			case "parsed":
				p.Parsed += n
			case "unparsed":
				p.Unparsed += n
			}
		case counted == "read" || counted == "parsed" || counted == "unparsed":
			i, ok := sources[source]
			if !ok {
				i = len(m.Acquisition)
				sources[source] = i
				m.Acquisition = append(m.Acquisition, sourceMetrics{Source: source})
			}
			switch p := &m.Acquisition[i]; counted {
			case "read":
				p.Read += n
			case "parsed":
				p.Parsed += n
			case "unparsed":
				p.Unparsed += n
			}
		}
	}
}

// inspected draws the tables about one machine; those without rows are left out.
func (s *session) inspected(found *api.Machine, m *inspectedJSON) error {
	t := s.table()
	t.title = "Machine: " + m.MachineID
	t.add("IP Address", m.IPAddress)
	t.add("Created At", stamp(m.CreatedAt))
	t.add("Last Update", stamp(m.UpdatedAt))
	t.add("Last Heartbeat", stamp(found.LastHeartbeat))
	t.add("Validated?", strconv.FormatBool(m.IsValidated))
	t.add("CrowdSec version", m.Version)
	t.add("OS", m.OS)
	t.add("Auth type", m.AuthType)
	for _, kind := range sortedKeys(m.Datasources) {
		t.add("Datasources", fmt.Sprintf("%s (%d)", kind, m.Datasources[kind]))
	}
	for _, item := range found.HubItems["collections"] {
		t.add("Collections", item.Name)
	}
	for _, flag := range m.FeatureFlags {
		t.add("Feature Flags", flag)
	}
	text := t.boxed()
	if rows := m.Metrics.Acquisition; len(rows) > 0 {
		t := s.table("Source", "Read", "Parsed", "Unparsed")
		t.title = "Acquisition Metrics"
		for _, r := range rows {
			t.add(r.Source, digits(r.Read), digits(r.Parsed), digits(r.Unparsed))
		}
		text += t.boxed()
	}
	if rows := m.Metrics.Parsers; len(rows) > 0 {
		t := s.table("Source", "Parser", "Parsed", "Unparsed")
		t.title = "Parser Metrics"
		for _, r := range rows {
			t.add(r.Source, r.Parser, digits(r.Parsed), digits(r.Unparsed))
		}
		text += t.boxed()
	}
	return s.text(text)
}

func digits(n int64) string { return strconv.FormatInt(n, 10) }

// hubItems shows what a machine has installed, as it reported last.
func (s *session) hubItems(items api.HubItems) error {
	switch s.format {
	case jsonText:
		if items == nil {
			items = api.HubItems{}
		}
		return s.json(items, "  ")
	case raw:
		var rows [][]string
		for _, kind := range sortedKeys(items) {
			for _, item := range items[kind] {
				rows = append(rows, []string{kind, item.Name, item.Status, item.Version})
			}
		}
		return s.csv("type,name,status,version", rows)
	}
	text := ""
	for _, kind := range sortedKeys(items) {
		t := s.table("Name", "Status", "Version")
		t.title = kind
		for _, item := range items[kind] {
			t.add(item.Name, item.Status, item.Version)
		}
		text += t.boxed()
	}
	return s.text(text)
}
