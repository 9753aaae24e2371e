//go:build !bouncer_only

package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ParseDSN reads the name of a source that is read once, from start to end, as
// -dsn and "explain --dsn" take it:
//
//	file://GLOB[?max_buffer_size=BYTES]
//	journalctl://filters=F1&filters=F2[&since=S]
//
// Both take log_level, too, which means nothing here: one level is for all.
func ParseDSN(dsn string) (Acquisition, error) {
	fail := func(format string, args ...any) (Acquisition, error) {
		return Acquisition{}, fmt.Errorf("cannot read %q: %w", dsn, fmt.Errorf(format, args...))
	}
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return fail("want SOURCE://WHAT, such as file:///var/log/auth.log")
	}
	a := Acquisition{Source: scheme, Cat: true, Labels: map[string]string{}}
	query := rest
	if scheme == "file" {
		var path string
		path, query, _ = strings.Cut(rest, "?")
		if path == "" {
			return fail("it has no path")
		}
		a.Globs = []string{path}
	} else if scheme != "journalctl" {
		if slices.Contains(notYet, scheme) {
			return fail("%s datasource does not support command-line acquisition", scheme)
		}
		return fail("unknown source %s; want file or journalctl", scheme)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return fail("%w", err)
	}
	for key, v := range values {
		switch {
		case key == "log_level":
		case key == "max_buffer_size" && scheme == "file":
			if a.MaxLineSize, err = strconv.Atoi(v[0]); err != nil || a.MaxLineSize < 1 || a.MaxLineSize > maxLine {
				return fail("max_buffer_size: want a number of bytes from 1 to %d, not %q", maxLine, v[0])
			}
		case key == "filters" && scheme == "journalctl":
			a.JournalFilter = v
		case key == "since" && scheme == "journalctl":
			a.JournalSince = v[0]
		default:
			return fail("unknown parameter %s", key)
		}
	}
	if scheme == "journalctl" && len(a.JournalFilter) == 0 {
		return fail("it has no filters, so every line of the journal would be read")
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
