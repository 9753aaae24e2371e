package lapi

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/roles/api"
	"cs/storage"
)

// alertFilter is what a query for alerts asks for (GET /v1/alerts).
type alertFilter struct {
	storage.AlertFilter
	withoutDecisions bool
}

// parseAlertFilter reads a query. Keys that nobody knows are an error: a typo
// in the query of a deletion would delete too much. Of a repeated key the
// first value counts.
func parseAlertFilter(q url.Values, now time.Time, limited bool) (alertFilter, error) {
	var f alertFilter
	if limited {
		f.Limit = 100
	}
	var tests []func(*decisions.Alert) bool
	test := func(t func(*decisions.Alert) bool) { tests = append(tests, t) }
	var places []netip.Prefix
	contains, includeCAPI := true, true

	for key, values := range q {
		v := values[0]
		var err error
		switch key {
		case "scope":
			scope := decisions.NormalScope(v)
			test(func(a *decisions.Alert) bool { return a.Source.Scope == scope })
		case "value":
			test(func(a *decisions.Alert) bool { return a.Source.Value == v })
		case "scenario":
			test(func(a *decisions.Alert) bool {
				return a.Scenario == v || hasDecision(a, func(d *decisions.Decision) bool { return d.Scenario == v })
			})
		case "ip", "range":
			p, perr := decisions.ParsePrefix(v)
			if perr != nil {
				return f, fmt.Errorf("unable to convert '%s' to int: invalid ip address '%s': invalid ip address / range", v, v)
			}
			places = append(places, p)
		case "contains":
			if contains, err = strconv.ParseBool(v); err != nil {
				return f, notBool(v, err)
			}
		case "since", "until", "created_before":
			d, derr := api.ParseDuration(v)
			if derr != nil {
				return f, fmt.Errorf("while parsing duration: %w: unable to parse duration", derr)
			}
			at := now.Add(-d)
			switch key {
			case "since":
				f.Since = at
			case "until":
				f.Until = at
			default:
				test(func(a *decisions.Alert) bool { return !a.Created.After(at) })
			}
		case "decision_type":
			test(func(a *decisions.Alert) bool {
				return hasDecision(a, func(d *decisions.Decision) bool { return d.Type == v })
			})
		case "origin":
			test(func(a *decisions.Alert) bool {
				return hasDecision(a, func(d *decisions.Decision) bool { return d.Origin == v })
			})
		case "include_capi":
			includeCAPI = v != "false"
		case "has_active_decision":
			active, berr := strconv.ParseBool(v)
			if berr != nil {
				return f, notBool(v, berr)
			}
			if active {
				test(func(a *decisions.Alert) bool {
					return hasDecision(a, func(d *decisions.Decision) bool { return !d.Until.Before(now) })
				})
			} else {
				test(func(a *decisions.Alert) bool { return len(a.Decisions) == 0 })
			}
		case "simulated":
			if v == "false" {
				test(func(a *decisions.Alert) bool { return !a.Simulated })
			}
		case "kind":
			test(func(a *decisions.Alert) bool { return a.Kind == v })
		case "limit":
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return f, fmt.Errorf("bad limit in parameters: [%s]: unable to query", v)
			}
			if limited {
				f.Limit = n
			}
		case "sort":
			f.Oldest = strings.EqualFold(v, "ASC")
		case "with_decisions":
			with, err := strconv.ParseBool(v)
			if err != nil {
				return f, notBool(v, err)
			}
			f.withoutDecisions = !with
		default:
			return f, fmt.Errorf("filter parameter '%s' is unknown (=%s): invalid filter", key, v)
		}
	}
	if !includeCAPI && !q.Has("origin") {
		test(func(a *decisions.Alert) bool { return !fromLists(a) })
	}
	for _, p := range places {
		test(func(a *decisions.Alert) bool {
			return hasDecision(a, func(d *decisions.Decision) bool {
				held, ok := d.Prefix()
				return ok && inside(p, held, contains)
			})
		})
	}
	if len(tests) > 0 {
		f.Match = func(a *decisions.Alert) bool {
			return !slices.ContainsFunc(tests, func(t func(*decisions.Alert) bool) bool { return !t(a) })
		}
	}
	return f, nil
}

// inside tells whether a decision's prefix contains what was asked for, or,
// without contains, lies in it.
func inside(asked, held netip.Prefix, contains bool) bool {
	if contains {
		asked, held = held, asked
	}
	return asked.Bits() <= held.Bits() && asked.Contains(held.Addr())
}

// fromLists tells whether an alert only records the pull of a list.
func fromLists(a *decisions.Alert) bool {
	if len(a.Decisions) == 0 {
		return strings.HasPrefix(a.Source.Scope, "lists:") || a.Source.Scope == "crowdsecurity/community-blocklist"
	}
	return hasDecision(a, func(d *decisions.Decision) bool {
		return d.Origin == decisions.OriginCAPI || d.Origin == decisions.OriginLists
	})
}

func hasDecision(a *decisions.Alert, f func(*decisions.Decision) bool) bool {
	for i := range a.Decisions {
		if f(&a.Decisions[i]) {
			return true
		}
	}
	return false
}

func notBool(v string, err error) error {
	return fmt.Errorf("'%s' is not a boolean: %w: unable to parse type", v, err)
}
