package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"cs/platform/strict"
)

// Feature is a switch of upstream's for behaviour that is new or going away.
// Here all of them are known and none has an effect: what they turn on is
// always on, or there is nothing to turn off.
type Feature struct {
	Name, Description string
	Deprecated        string // what to know about it; "": it isn't
	Enabled           bool
}

var features = []Feature{
	{Name: "chunked_decisions_stream", Description: "Enable chunked decisions stream", Deprecated: "decisions are always sent in pieces"},
	{Name: "disable_http_retry_backoff", Description: "Disable http retry backoff"},
	{Name: "papi_client", Description: "Enable Polling API client", Deprecated: "there is none here"},
	{Name: "pprof_block_profile", Description: "Enable pprof block profile"},
	{Name: "re2_disable_grok_support", Description: "Disable RE2 support for GROK patterns"},
	{Name: "re2_grok_support", Description: "Enable RE2 support for GROK patterns", Deprecated: "patterns have an engine of their own"},
	{Name: "re2_regexp_in_file_support", Description: "Enable RE2 support for RegexpInFile expr helper"},
}

// Features returns the features, by name, as the environment (variables
// CROWDSEC_FEATURE_NAME) and then feature.yaml beside the configuration say,
// and warnings about names and values that nobody knows.
func Features(configDir string, environ []string, env func(string) (string, bool)) (list []Feature, warnings []string) {
	list = append(list, features...)
	set := func(name string, on bool, where string) {
		for i := range list {
			if list[i].Name == name {
				list[i].Enabled = on
				return
			}
		}
		warnings = append(warnings, fmt.Sprintf("%s: unknown feature %q", where, name))
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		feature, ok := strings.CutPrefix(name, "CROWDSEC_FEATURE_")
		switch {
		case !ok:
		case value == "true" || value == "false":
			set(strings.ToLower(feature), value == "true", name)
		default:
			warnings = append(warnings, fmt.Sprintf("%s: want true or false, not %q", name, value))
		}
	}
	if configDir == "" {
		return list, warnings
	}
	path := filepath.Join(configDir, "feature.yaml")
	docs, err := parseFile(path, env)
	var names []strict.Text
	if err == nil {
		err = decode(docs, &names)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		warnings = append(warnings, err.Error())
	}
	for _, name := range names {
		set(name.Value, true, name.Place.String())
	}
	return list, warnings
}
