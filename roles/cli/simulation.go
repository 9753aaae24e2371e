package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"cs/platform"
	"cs/roles/config"
	"cs/roles/engine"
)

// Simulation groups the commands about scenarios that only pretend.
type Simulation struct {
	Enable  SimulationEnable  `cmd:"" help:"Let scenarios only pretend: their alerts ban nobody."`
	Disable SimulationDisable `cmd:"" help:"Let scenarios ban again."`
	Status  SimulationStatus  `cmd:"" help:"Show which scenarios only pretend."`
}

// SimulationEnable turns simulation on.
type SimulationEnable struct {
	Scenarios []string `arg:"" optional:"" name:"scenario" help:"Names of scenarios."`
	Global    bool     `short:"g" help:"All scenarios."`
}

// Run turns it on.
func (c *SimulationEnable) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return simulate(env, g, c.Scenarios, c.Global, true)
}

// SimulationDisable turns simulation off.
type SimulationDisable struct {
	Scenarios []string `arg:"" optional:"" name:"scenario" help:"Names of scenarios."`
	Global    bool     `short:"g" help:"All scenarios."`
}

// Run turns it off.
func (c *SimulationDisable) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return simulate(env, g, c.Scenarios, c.Global, false)
}

func simulate(env *platform.Env, g *Globals, names []string, global, on bool) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if len(names) == 0 && !global {
		return &usageError{"requires at least 1 arg(s), only received 0"}
	}
	path := s.file.Paths().SimulationPath
	if path == "" {
		return errors.New("there is no configuration whose simulation.yaml could be changed: give one with -c")
	}
	sim, err := config.ReadSimulation(path, false, env.LookupEnv)
	if err != nil {
		return err
	}
	verb := map[bool]string{true: "enabled", false: "disabled"}[on]
	var b strings.Builder
	if global {
		sim.All, sim.Exclusions = on, nil
		fmt.Fprintf(&b, "global simulation: %s\n", verb)
	}
	if len(names) > 0 {
		known, err := s.scenarios(g)
		if err != nil {
			return err
		}
		for _, name := range names {
			installed, exists := known[name]
			switch {
			case !exists:
				s.problem("%q does not exist or is not a scenario", name)
				continue
			case !installed:
				s.warn("%q is not installed", name)
			}
			switch changed := sim.Set(name, on); {
			case changed:
				fmt.Fprintf(&b, "simulation mode for %q %s\n", name, verb)
			case on:
				s.warn("simulation mode for %q is already enabled", name)
			default:
				s.warn("%q isn't in simulation mode", name)
			}
		}
	}
	if err := sim.Write(path); err != nil {
		return err
	}
	if _, err := os.Stat(path + ".local"); err == nil {
		s.warn("%s overrides what was changed", path+".local")
	}
	return s.text(plainLines(b.String()) + s.reloadHint(false))
}

// scenarios returns the scenarios that there are, and whether each is installed.
func (s *session) scenarios(g *Globals) (map[string]bool, error) {
	known := make(map[string]bool)
	var index struct {
		Scenarios map[string]json.RawMessage `json:"scenarios"`
	}
	if text, err := os.ReadFile(s.file.Paths().IndexPath); err == nil {
		if err := json.Unmarshal(text, &index); err != nil {
			return nil, fmt.Errorf("cannot read the hub's index: %w", err)
		}
	}
	for name := range index.Scenarios {
		known[name] = false
	}
	r, err := g.Resolve(s.env, func(*config.File) {})
	if err != nil {
		return nil, err
	}
	content, errs := engine.Content("", r)
	for _, err := range errs {
		s.warn("%v", err)
	}
	for i := range content.Items {
		if it := &content.Items[i]; it.Kind.String() == "scenario" {
			known[it.Name] = true
		}
	}
	return known, nil
}

// SimulationStatus shows which scenarios only pretend.
type SimulationStatus struct{}

// Run shows.
func (c *SimulationStatus) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	var sim config.Simulation
	if path := s.file.Paths().SimulationPath; path != "" {
		if sim, err = config.ReadSimulation(path, true, env.LookupEnv); err != nil {
			return err
		}
	}
	if s.format == jsonText {
		names := slices.Clone(sim.Exclusions)
		if names == nil {
			names = []string{}
		}
		return s.json(struct {
			Simulation bool     `json:"simulation"`
			Exclusions []string `json:"exclusions"`
		}{sim.All, names}, "  ")
	}
	text := "global simulation: disabled\n"
	head := "Scenarios in simulation mode:\n"
	if sim.All {
		text, head = "global simulation: enabled\n", "Scenarios not in simulation mode:\n"
	}
	if len(sim.Exclusions) > 0 {
		text += head
	}
	for _, name := range sim.Exclusions {
		text += "  - " + plain(name) + "\n"
	}
	return s.text(text)
}
