package config

import (
	"errors"
	"io/fs"
)

// console is console.yaml.
type console struct {
	Manual     *bool `yaml:"share_manual_decisions"`
	Custom     *bool `yaml:"share_custom"`
	Tainted    *bool `yaml:"share_tainted"`
	Context    *bool `yaml:"share_context"`
	Management *bool `yaml:"console_management"`
}

// ReadConsole reads console.yaml: what it says, by its keys; nothing if there is
// no file.
func ReadConsole(path string, env func(string) (string, bool)) (map[string]bool, error) {
	var c console
	if err := load(path, env, &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	said := make(map[string]bool)
	for key, v := range map[string]*bool{
		"share_manual_decisions": c.Manual, "share_custom": c.Custom, "share_tainted": c.Tainted,
		"share_context": c.Context, "console_management": c.Management,
	} {
		if v != nil {
			said[key] = *v
		}
	}
	return said, nil
}
