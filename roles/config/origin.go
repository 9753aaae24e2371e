package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"cs/platform"
	"cs/platform/order"
	"cs/platform/strict"
)

// Value is the value in force of a key of config.yaml.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // of a secret: stars
	Origin string `json:"origin"` // "config.yaml:3:9", "--data-dir", "default"
	Why    string `json:"why,omitempty"`
}

const hidden = "********"

// Explain returns the values in force, by key, and where each comes from: a
// file, a flag, or a default and its reason. Keys that are neither set nor
// have a default are left out.
func (f *Flags) Explain(env *platform.Env) ([]Value, error) {
	file, err := f.Load(env)
	if err != nil {
		return nil, err
	}
	places, variables, err := file.places(env)
	if err != nil {
		return nil, err
	}
	var list []Value
	file.eachKey(func(key string, v reflect.Value) {
		if at, ok := places[key]; ok {
			list = append(list, Value{Key: key, Value: shown(key, v), Origin: at.String(), Why: variables[key]})
		}
	})
	has := func(key string) bool { return slices.ContainsFunc(list, func(v Value) bool { return v.Key == key }) }
	put := func(key, value, origin, why string) {
		if value != "" && !has(key) {
			list = append(list, Value{key, value, origin, why})
		}
	}
	if f.DataDir != "" {
		origin := "--data-dir"
		if v, _ := env.LookupEnv("CS_DATA_DIR"); v == f.DataDir {
			origin = "$CS_DATA_DIR"
		}
		list = slices.DeleteFunc(list, func(v Value) bool { return v.Key == "config_paths.data_dir" })
		put("config_paths.data_dir", f.DataDir, origin, "")
	}
	for _, d := range defaults {
		put(d.key, d.value, "default", d.why)
	}
	p := file.Paths()
	put("config_paths.config_dir", p.ConfigDir, "default", "the directory of config.yaml")
	put("config_paths.data_dir", p.DataDir, "default", "the usual place on this system")
	put("config_paths.hub_dir", p.HubDir, "default", "below config_dir")
	put("config_paths.index_path", p.IndexPath, "default", "below hub_dir")
	put("config_paths.simulation_path", p.SimulationPath, "default", "below config_dir")
	put("config_paths.notification_dir", p.NotificationDir, "default", "below config_dir")
	put("config_paths.pattern_dir", p.PatternDir, "default", "below config_dir")
	put("api.client.credentials_path", file.CredentialsPath(), "default", "in data_dir")
	if m := file.Prometheus.metrics(); m.Listen != "" {
		host, port, _ := strings.Cut(m.Listen, ":")
		put("prometheus.listen_addr", host, "default", "nobody else reads it until it is asked for")
		put("prometheus.listen_port", port, "default", "upstream's")
	}
	order.Sort(list, func(a, b Value) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

// places returns where the keys of the file and of its overlay stand, and a
// remark on those whose value has variables of the environment in it.
func (f *File) places(env *platform.Env) (at map[string]strict.Place, remarks map[string]string, err error) {
	at, remarks = make(map[string]strict.Place), make(map[string]string)
	if f.path == "" {
		return at, remarks, nil
	}
	for _, path := range []string{f.path, f.path + ".local"} {
		docs, err := parseFile(path, env.LookupEnv)
		if errors.Is(err, fs.ErrNotExist) && path != f.path {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		lines := strings.Split(string(text), "\n")
		for _, doc := range docs {
			for key, place := range doc.Places() {
				at[key] = place
				delete(remarks, key)
				if names := used(lines[min(place.Line, len(lines))-1], env.LookupEnv); len(names) > 0 {
					remarks[key] = "with $" + strings.Join(names, ", $")
				}
			}
		}
	}
	return at, remarks, nil
}

// used returns the variables that are replaced in a line.
func used(line string, env func(string) (string, bool)) (names []string) {
	strict.Expand([]byte(line), func(name string) (string, bool) {
		value, ok := env(name)
		if ok {
			names = append(names, name)
		}
		return value, ok
	})
	return names
}

var textType = reflect.TypeFor[strict.Text]()

// eachKey calls fn for each key of the file that is no section, in order.
func (f *File) eachKey(fn func(key string, v reflect.Value)) {
	var walk func(v reflect.Value, key string)
	walk = func(v reflect.Value, key string) {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || v.Type() == textType {
			fn(key, v)
			return
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			switch {
			case name == "":
			case key == "":
				walk(v.Field(i), name)
			default:
				walk(v.Field(i), key+"."+name)
			}
		}
	}
	walk(reflect.ValueOf(f), "")
}

// secrets are the keys whose values must not be shown.
var secrets = []string{"db_config.password", "bouncer.api_key", "api.cti.key", "api.server.auto_registration.token"}

// shown returns the text of a value.
func shown(key string, v reflect.Value) string {
	if slices.Contains(secrets, key) {
		return hidden
	}
	switch v.Kind() {
	case reflect.Pointer:
		return ""
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, shown("", v.Index(i)))
		}
		return strings.Join(parts, ", ")
	case reflect.Struct:
		return v.Interface().(strict.Text).Value
	}
	return fmt.Sprint(v.Interface())
}

// Paths is ConfigPaths, completed. Without a configuration file only DataDir
// is known.
func (f *File) Paths() ConfigPaths {
	p := f.ConfigPaths
	p.DataDir = f.DataDir()
	if p.ConfigDir == "" && f.path != "" {
		p.ConfigDir = filepath.Dir(f.path)
	}
	below := func(path *string, dir, name string) {
		if *path == "" && dir != "" {
			*path = filepath.Join(dir, name)
		}
	}
	below(&p.HubDir, p.ConfigDir, "hub")
	below(&p.IndexPath, p.HubDir, ".index.json")
	below(&p.SimulationPath, p.ConfigDir, "simulation.yaml")
	below(&p.NotificationDir, p.ConfigDir, "notifications")
	below(&p.PatternDir, p.ConfigDir, "patterns")
	return p
}

// Path is where the file was read; "" if there is none.
func (f *File) Path() string { return f.path }

// Merged returns what the file and its overlay say together, as YAML, with the
// variables of the environment in it unexpanded and without defaults. It is
// nil if there is no file.
func (f *File) Merged() ([]byte, error) {
	if f.path == "" {
		return nil, nil
	}
	all := make(map[string]any)
	for _, path := range []string{f.path, f.path + ".local"} {
		docs, err := parseFile(path, func(string) (string, bool) { return "", false })
		if errors.Is(err, fs.ErrNotExist) && path != f.path {
			continue
		}
		m := make(map[string]any)
		if err == nil {
			err = decode(docs, &m)
		}
		if err != nil {
			return nil, err
		}
		merge(all, m)
	}
	return strict.Append(nil, all), nil
}
