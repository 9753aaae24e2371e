// Package profile turns an alert without decisions into one with them: what to
// do about whom, for how long. The rules are a profiles.yaml as CrowdSec
// (upstream) reads it, or built-in ones. roles/lapi calls it for every alert of
// an agent; it knows nothing of stores or of HTTP.
package profile

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline/expr"
	"cs/roles/api"
)

// defaultBan is for how long a decision lasts that says nothing of it.
const defaultBan = 4 * time.Hour

// Profiles is an ordered list of rules. It is safe for concurrent use.
type Profiles struct {
	rules []rule
	ctxs  sync.Pool // of *expr.Ctx: they are scratch memory of one evaluation
}

// History tells expressions what was decided earlier.
type History interface {
	// Earlier calls f for the decisions in force, and those that ended lately,
	// whose addresses contain a value, until f returns false.
	Earlier(value string, f func(*decisions.Decision) bool)
	// Now is the time by which they are in force or not.
	Now() time.Time
}

// rule is one document of profiles.yaml.
type rule struct {
	name      string
	filters   []*expr.Program
	decisions []template
	duration  *expr.Program // may be nil
	last      bool          // a match ends the search, even one without decisions
	applied   bool          // an error counts as a match, but decides nothing
	notify    []string
}

// template is what a rule makes decisions of.
type template struct {
	kind     string
	scope    string // "": the alert's
	origin   string
	duration time.Duration
}

// Outcome is what the rules make of an alert.
type Outcome struct {
	Decisions []decisions.Decision
	Notify    []string // the notifications to send, each once
}

// Decide applies the rules to an alert. An alert without decisions gets those
// of the first rule that matches and has some; they last from the end of the
// alert on, so those of a replayed log may be over already. Every rule that
// matches may name notifications. A rule whose filter breaks is passed
// over and told of in errs.
func (p *Profiles) Decide(a *decisions.Alert, now time.Time) (out Outcome, errs []error) {
	x := p.ctxs.Get().(*expr.Ctx)
	defer p.ctxs.Put(x)
	x.Now = now
	x.Vars = append(x.Vars[:0], a)
	defer clear(x.Vars)
	undecided := len(a.Decisions) == 0
	for i := range p.rules {
		r := &p.rules[i]
		matched, err := r.matches(x)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot apply profile %q: %w", r.name, err))
			matched = r.applied
		}
		if !matched {
			continue
		}
		for _, name := range r.notify {
			if !slices.Contains(out.Notify, name) {
				out.Notify = append(out.Notify, name)
			}
		}
		if undecided && err == nil && len(r.decisions) > 0 {
			undecided = false
			if out.Decisions, err = r.decide(a, x, now); err != nil {
				errs = append(errs, fmt.Errorf("cannot compute the duration of profile %q: %w", r.name, err))
			}
		}
		if r.last {
			break
		}
	}
	return out, errs
}

// Notifications returns the names of all notifications that rules name.
func (p *Profiles) Notifications() (names []string) {
	for i := range p.rules {
		names = append(names, p.rules[i].notify...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *rule) matches(x *expr.Ctx) (bool, error) {
	for _, f := range r.filters {
		if yes, err := f.Bool(x); err != nil || yes {
			return yes && err == nil, err
		}
	}
	return false, nil
}

// decide makes the decisions. When the duration can't be computed those of the
// file stand.
func (r *rule) decide(a *decisions.Alert, x *expr.Ctx, now time.Time) (out []decisions.Decision, err error) {
	var computed time.Duration
	if r.duration != nil {
		var v any
		if v, err = r.duration.Any(x); err == nil {
			computed, err = api.ParseDuration(fmt.Sprint(v))
		}
		if err == nil && computed <= 0 {
			err = fmt.Errorf("a decision must last for some time, not %v", v)
		}
	}
	for _, t := range r.decisions {
		d := decisions.Decision{
			UUID:      decisions.NewUUID(),
			Origin:    t.origin,
			Scenario:  a.Scenario,
			Scope:     t.scope,
			Type:      t.kind,
			Value:     a.Source.Value,
			Simulated: a.Simulated,
			Created:   now,
			Until:     a.StopAt.Add(t.duration),
		}
		if d.Scope == "" {
			d.Scope = a.Source.Scope
		}
		if r.duration != nil && err == nil {
			d.Until = a.StopAt.Add(computed)
		}
		out = append(out, d)
	}
	return out, err
}
