//go:build !bouncer_only

package config

import (
	"fmt"
	"net/url"
	"strings"
)

// ParseDSN reads the name of a source that is read once, from start to end, as
// -dsn and "explain --dsn" take it: SOURCE://WHAT. What it says beside log_level is
// checked when the source is made.
func ParseDSN(dsn string) (Acquisition, error) {
	kind, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return Acquisition{}, fmt.Errorf("cannot read %q: want SOURCE://WHAT, such as file:///var/log/auth.log", dsn)
	}
	_, query, ok := strings.Cut(rest, "?")
	if !ok {
		query = rest // of journalctl, which has no other part
	}
	a := Acquisition{Source: kind, Cat: true, Labels: map[string]string{}, DSN: dsn}
	values, _ := url.ParseQuery(query)
	var err error
	if a.LogLevel, err = sourceLevel(values.Get("log_level")); err != nil {
		return Acquisition{}, fmt.Errorf("cannot read a DSN of source %s: log_level: %w", kind, err)
	}
	return a, nil
}

// ParseLabels reads labels of lines in the form k:v[,k:v].
func ParseLabels(list string) (map[string]string, error) {
	labels := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		k, v, ok := strings.Cut(pair, ":")
		if !ok || strings.Contains(v, ":") {
			return nil, fmt.Errorf("%q is not of the form key:value", pair)
		}
		labels[k] = v
	}
	return labels, nil
}
