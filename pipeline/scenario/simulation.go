package scenario

import (
	"fmt"
	"slices"

	"cs/pipeline/hub"
	"cs/platform/strict"
)

// simulation says which scenarios only pretend: their alerts are marked, and
// lead to no ban.
type simulation struct {
	All        *bool         `yaml:"simulation"`
	Exclusions []strict.Text `yaml:"exclusions"` // for which the opposite holds
}

// covers tells whether a scenario is simulated.
func (s *simulation) covers(name string) bool {
	all := s.All != nil && *s.All
	return all != slices.ContainsFunc(s.Exclusions, func(t strict.Text) bool { return t.Value == name })
}

// Simulate reads simulation.yaml, or the file that overrides its keys.
func (c *Compiler) Simulate(item hub.Item) error {
	docs, err := item.Documents()
	if err != nil {
		return fmt.Errorf("cannot load simulation: %w", err)
	}
	for _, d := range docs {
		var s simulation
		if err := d.Decode(&s); err != nil {
			return fmt.Errorf("cannot load simulation: %w", err)
		}
		if s.All != nil {
			c.simulation.All = s.All
		}
		if s.Exclusions != nil {
			c.simulation.Exclusions = s.Exclusions
		}
	}
	return nil
}
