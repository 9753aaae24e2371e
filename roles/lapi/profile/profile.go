// Package profile turns an alert without decisions into one with them: what to
// do about whom, for how long. The rules are a profiles.yaml as CrowdSec
// (upstream) reads it, or built-in ones. roles/lapi calls it for every alert of
// an agent; it knows nothing of stores or of HTTP.
package profile

import (
	"fmt"
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
}

// template is what a rule makes decisions of.
type template struct {
	kind     string
	scope    string // "": the alert's
	origin   string
	duration time.Duration
}

// Decide returns the decisions for an alert that has none: those of the first
// rule that matches and has some. They last from the end of the alert on, so
// those of a replayed log may be over already. A rule whose filter breaks is
// passed over and told of in errs.
func (p *Profiles) Decide(a *decisions.Alert, now time.Time) (decided []decisions.Decision, errs []error) {
	x := p.ctxs.Get().(*expr.Ctx)
	defer p.ctxs.Put(x)
	x.Now = now
	x.Vars = append(x.Vars[:0], a)
	defer clear(x.Vars)
	for i := range p.rules {
		r := &p.rules[i]
		matched, err := r.matches(x)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot apply profile %q: %w", r.name, err))
		}
		if !matched {
			continue
		}
		if len(r.decisions) > 0 {
			decided, err := r.decide(a, x, now)
			if err != nil {
				errs = append(errs, fmt.Errorf("cannot compute the duration of profile %q: %w", r.name, err))
			}
			return decided, errs
		}
		if r.last {
			break
		}
	}
	return nil, errs
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
