package config

import (
	"errors"
	"io/fs"
	"slices"

	"cs/platform"
	"cs/platform/strict"
)

// Simulation is simulation.yaml: the scenarios whose alerts lead to no ban. The
// engine reads the file by itself; this is for the commands that change it.
type Simulation struct {
	All        bool     `yaml:"simulation"`
	Exclusions []string `yaml:"exclusions"` // for which the opposite holds
}

// ReadSimulation reads the file, with its overlay if that is wanted, and nothing
// if there is none.
func ReadSimulation(path string, overlay bool, env func(string) (string, bool)) (s Simulation, err error) {
	read := decodeFile
	if overlay {
		read = load
	}
	if err = read(path, env, &s); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// Covers tells whether a scenario is simulated.
func (s *Simulation) Covers(name string) bool { return s.All != slices.Contains(s.Exclusions, name) }

// Set makes a scenario simulated, or not, and tells whether it changed.
func (s *Simulation) Set(name string, on bool) bool {
	if s.Covers(name) == on {
		return false
	}
	if i := slices.Index(s.Exclusions, name); i >= 0 {
		s.Exclusions = slices.Delete(s.Exclusions, i, i+1)
	} else {
		s.Exclusions = append(s.Exclusions, name)
	}
	return true
}

// Write writes the file.
func (s *Simulation) Write(path string) error {
	return platform.WriteFile(path, strict.Append(nil, s), 0o644)
}
