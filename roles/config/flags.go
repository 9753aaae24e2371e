package config

import (
	"errors"
	"io/fs"
	"runtime"

	"cs/platform"
	"cs/platform/strict"
)

// Flags are the flags of every command that say where our things are.
type Flags struct {
	Config  string `short:"c" placeholder:"FILE" env:"CS_CONFIG_FILE" help:"Configuration file."`
	DataDir string `name:"data-dir" placeholder:"DIR" env:"CS_DATA_DIR" help:"Where state is kept (default: /var/lib/cs or its like)."`
}

// Load reads the configuration that the flags name. Nothing is needed: without
// a name there is none, unless we were called by the name of an upstream
// program and its configuration is there.
func (f *Flags) Load(env *platform.Env) (*File, error) {
	file, err := new(File), error(nil)
	switch {
	case f.Config != "":
		file, err = Load(f.Config, env.LookupEnv)
	case env.Program == "cscli" || env.Program == "crowdsec":
		file, err = Load(UpstreamPath(), env.LookupEnv)
		if errors.Is(err, fs.ErrNotExist) {
			file, err = new(File), nil
		}
	}
	if err != nil {
		return nil, err
	}
	if f.DataDir != "" {
		file.ConfigPaths.DataDir = f.DataDir
	}
	return file, nil
}

// Resolve is Load, with the flags of a role laid over the file by overlay, and
// then File.Resolve. The log gets the level that the configuration asks for,
// unless a flag has decided on it.
func (f *Flags) Resolve(env *platform.Env, overlay func(*File)) (Resolved, error) {
	file, err := f.Load(env)
	if err != nil {
		return Resolved{}, err
	}
	overlay(file)
	r, errs := file.Resolve(env.LookupEnv)
	if len(errs) > 0 {
		return Resolved{}, errors.Join(errs...)
	}
	if env.LogLevel != nil {
		env.LogLevel.Set(r.LogLevel)
	}
	return r, nil
}

// UpstreamPath is where upstream's packages put config.yaml.
func UpstreamPath() string {
	switch runtime.GOOS {
	case "windows":
		return `C:\ProgramData\CrowdSec\config\config.yaml`
	case "freebsd":
		return "/usr/local/etc/crowdsec/config.yaml"
	}
	return "/etc/crowdsec/config.yaml"
}

// Set lays the value of a flag over that of the file; an empty one leaves it.
func Set(text *strict.Text, flag string) {
	if flag != "" {
		*text = strict.Text{Value: flag}
	}
}

// SetList is Set for a list.
func SetList(list *[]strict.Text, flag []string) {
	if len(flag) == 0 {
		return
	}
	*list = nil
	for _, s := range flag {
		*list = append(*list, strict.Text{Value: s})
	}
}
