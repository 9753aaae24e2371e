// Package setup finds the services of a host by rules, and writes how their
// logs are read. roles/cli asks it, installs the items of the hub that it names,
// and talks to people.
package setup

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cs/pipeline/expr"
	"cs/platform/strict"
	"cs/roles/config"
	"cs/roles/engine"
)

//go:embed detect.yaml
var builtIn []byte

// Rules say how services are recognised. They are the form of upstream's
// detect.yaml.
type Rules struct {
	file  string
	rules map[string]*rule
}

type rulesFile struct {
	Detect map[string]rule `yaml:"detect"`
}

type rule struct {
	When        []strict.Text       `yaml:"when"` // all must be true
	HubSpec     map[string][]string `yaml:"hub_spec"`
	Acquisition *Acquisition        `yaml:"acquisition_spec"`

	programs []*expr.Program
}

// Acquisition is a file that says how the logs of a service are read.
type Acquisition struct {
	Filename   string         `yaml:"filename" json:"filename"`
	Datasource map[string]any `yaml:"datasource" json:"datasource"`
}

// Service is one that was found.
type Service struct {
	Name        string              `yaml:"detected_service" json:"detected_service"`
	HubSpec     map[string][]string `yaml:"hub_spec" json:"hub_spec,omitempty"`
	Acquisition *Acquisition        `yaml:"acquisition_spec" json:"acquisition_spec,omitempty"`
}

// Setup is what was found: the form in which commands hand it on.
type Setup struct {
	Services []Service `yaml:"setup" json:"setup"`
}

// ReadRules reads rules; without a text they are the built-in ones. The types of
// all expressions are checked.
func ReadRules(file string, text []byte) (*Rules, error) {
	if text == nil {
		file, text = "built-in rules", builtIn
	}
	docs, err := strict.Parse(file, text)
	if err != nil {
		return nil, err
	}
	var f rulesFile
	switch len(docs) {
	case 0:
		return nil, fmt.Errorf("%s: there are no rules", file)
	case 1:
		err = docs[0].WithColumns().Decode(&f)
	default:
		err = docs[1].Place().Errorf("there is a second document, which nothing would read")
	}
	if err != nil {
		return nil, err
	}
	r := &Rules{file, make(map[string]*rule)}
	c := &expr.Compiler{Env: environment()}
	for name, one := range f.Detect {
		for _, w := range one.When {
			p, err := c.CompileBool(w.Value)
			if err != nil {
				return nil, w.Place.Errorf("%w", err)
			}
			one.programs = append(one.programs, p)
		}
		if one.Acquisition != nil {
			if err := one.Acquisition.check(); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, name, err)
			}
		}
		r.rules[name] = &one
	}
	return r, nil
}

// Names returns the services that rules know, sorted.
func (r *Rules) Names() []string { return slices.Sorted(maps.Keys(r.rules)) }

// check refuses a file name with a directory in it, and sources that say nothing.
func (a *Acquisition) check() error {
	switch {
	case a.Filename == "":
		return errors.New("acquisition_spec: a filename is required")
	case strings.ContainsAny(a.Filename, `/\`):
		return fmt.Errorf("acquisition_spec: filename %q must not contain slashes", a.Filename)
	case len(a.Datasource) == 0:
		return errors.New("acquisition_spec: datasource is empty")
	}
	source, ok := a.Datasource["source"].(string)
	switch {
	case !ok || source == "":
		return errors.New("acquisition_spec: datasource.source is required")
	case !engine.Known(source):
		return fmt.Errorf("acquisition_spec: unknown data source %s", source)
	}
	list, errs := config.ParseAcquisition(a.Filename, a.Text())
	if len(errs) > 0 {
		return errs[0]
	}
	for _, acq := range list {
		if _, _, err := (engine.Reader{}).Open(acq); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// Text returns the datasource as YAML.
func (a *Acquisition) Text() []byte { return strict.AppendIndented(nil, a.Datasource) }

// Options change what is found.
type Options struct {
	Force, Ignore []string // services that count as found, or not
	SkipSystemd   bool     // don't ask systemd
}

// Detect returns the services of this host, by name. Warn is told of what a
// rule asks for and nobody knows.
func (r *Rules) Detect(o Options, warn func(string)) (Setup, error) {
	var unknown []string
	for _, name := range o.Force {
		if r.rules[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return Setup{}, fmt.Errorf("could not find the following services: %v, please check the service detection rules", unknown)
	}
	ctx := &expr.Ctx{Vars: values(o.SkipSystemd, warn)}
	s := Setup{Services: []Service{}}
	for _, name := range r.Names() {
		one := r.rules[name]
		found, err := one.holds(ctx)
		if err != nil {
			return Setup{}, fmt.Errorf("while looking for service %s: %w", name, err)
		}
		if (found || slices.Contains(o.Force, name)) && !slices.Contains(o.Ignore, name) {
			s.Services = append(s.Services, Service{name, one.HubSpec, one.Acquisition})
		}
	}
	return s, nil
}

// holds evaluates all conditions, so that a faulty one is noticed.
func (r *rule) holds(ctx *expr.Ctx) (bool, error) {
	all := true
	for i, p := range r.programs {
		yes, err := p.Bool(ctx)
		if err != nil {
			return false, fmt.Errorf("rule %q: %w", r.When[i].Value, err)
		}
		all = all && yes
	}
	return all, nil
}

// ReadSetup reads what Detect found, in YAML or JSON.
func ReadSetup(file string, text []byte) (Setup, error) {
	docs, err := strict.Parse(file, text)
	if err != nil {
		return Setup{}, fmt.Errorf("invalid setup file: %w", err)
	}
	var s Setup
	if len(docs) > 0 {
		if err := docs[0].WithColumns().Decode(&s); err != nil {
			return Setup{}, fmt.Errorf("invalid setup file: %w", err)
		}
	}
	for _, one := range s.Services {
		if one.Name == "" {
			return Setup{}, fmt.Errorf("invalid setup file: %s: detected_service is missing", file)
		}
		if one.Acquisition != nil {
			if err := one.Acquisition.check(); err != nil {
				return Setup{}, fmt.Errorf("invalid setup file: %s: %s: %w", file, one.Name, err)
			}
		}
	}
	return s, nil
}

// JSON returns the setup, indented.
func (s Setup) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

// Items returns the items of the hub that services want, by type, each once.
func (s Setup) Items() map[string][]string {
	all := make(map[string][]string)
	for _, one := range s.Services {
		for kind, names := range one.HubSpec {
			for _, name := range names {
				if !slices.Contains(all[kind], name) {
					all[kind] = append(all[kind], name)
				}
			}
		}
	}
	return all
}
