package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"cs/decisions"
	"cs/pipeline/expr"
	"cs/platform/strict"
	"cs/roles/api"
)

// maxFile bounds profiles.yaml.
const maxFile = 1 << 20

// builtIn are upstream's packaged profiles.
const builtIn = `name: default_ip_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == "Ip"
decisions:
 - type: ban
   duration: 4h
on_success: break
---
name: default_range_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == "Range"
decisions:
 - type: ban
   duration: 4h
on_success: break
`

// document is a profile as it is typed.
type document struct {
	Name          string        `yaml:"name"`
	Debug         bool          `yaml:"debug"` // accepted; there is no trace of expressions
	Filters       []strict.Text `yaml:"filters"`
	Decisions     []typed       `yaml:"decisions"`
	DurationExpr  strict.Text   `yaml:"duration_expr"`
	OnSuccess     strict.Text   `yaml:"on_success"`
	OnFailure     strict.Text   `yaml:"on_failure"` // has no effect upstream either
	OnError       strict.Text   `yaml:"on_error"`   // but for "apply", a profile in error is passed over
	Notifications []strict.Text `yaml:"notifications"`
}

type typed struct {
	Type     strict.Text `yaml:"type"`
	Duration strict.Text `yaml:"duration"`
	Scope    string      `yaml:"scope"`
	Origin   string      `yaml:"origin"`
	// Accepted and without effect, as upstream.
	Simulated bool   `yaml:"simulated"`
	Value     string `yaml:"value"`
	Scenario  string `yaml:"scenario"`
}

// Default bans the addresses and ranges of alerts that ask for remediation for
// four hours.
func Default(h History) *Profiles {
	p, err := parse("built-in profiles", []byte(builtIn), h, nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return p
}

// Load reads profiles.yaml. The documents of a file beside it with ".local" at
// the end come first. The error lists everything that is wrong, with file,
// line and key. What is understood but has no effect is told to warn, which may be nil.
func Load(path string, h History, warn func(error)) (*Profiles, error) {
	if warn == nil {
		warn = func(error) {}
	}
	local, err := read(path + ".local")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	main, err := read(path)
	if err != nil {
		return nil, err
	}
	first, err := parse(path+".local", local, h, warn)
	rest, err2 := parse(path, main, h, warn)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	rest.rules = append(first.rules, rest.rules...)
	if len(rest.rules) == 0 {
		return nil, fmt.Errorf("zero profiles loaded for LAPI: %s holds none", path)
	}
	return rest, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the profiles: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the profiles: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("cannot read the profiles: %s is larger than %d bytes", path, maxFile)
	}
	return text, nil
}

func parse(path string, text []byte, h History, warn func(error)) (*Profiles, error) {
	docs, err := strict.Parse(path, text)
	if err != nil {
		return nil, err
	}
	p := &Profiles{ctxs: sync.Pool{New: func() any { return new(expr.Ctx) }}}
	c := &expr.Compiler{Env: environment(h)}
	var errs []error
	for _, doc := range docs {
		var d document
		if err := doc.Decode(&d); err != nil {
			errs = append(errs, err)
			continue
		}
		r, wrong := d.compile(c, doc.Place())
		errs = append(errs, wrong...)
		p.rules = append(p.rules, r)
		if d.OnFailure.Value != "" {
			warn(d.OnFailure.Place.Errorf("on_failure has no effect"))
		}
		switch d.OnError.Value {
		case "", "continue", "break", "apply", "ignore":
		default: // upstream doesn't look at it before there is an error
			warn(d.OnError.Place.Errorf("on_error: %q has no effect, want one of continue, break, apply, ignore", d.OnError.Value))
		}
	}
	return p, errors.Join(errs...)
}

func (d *document) compile(c *expr.Compiler, at strict.Place) (rule, []error) {
	r := rule{name: d.Name, last: d.OnSuccess.Value == "break", applied: d.OnError.Value == "apply"}
	for _, n := range d.Notifications {
		r.notify = append(r.notify, n.Value)
	}
	var errs []error
	fail := func(at strict.Place, format string, args ...any) { errs = append(errs, at.Errorf(format, args...)) }
	if len(d.Filters) == 0 {
		fail(at, "the profile %q has no filters", d.Name)
	}
	for _, f := range d.Filters {
		program, err := c.CompileBool(f.Value)
		if err != nil {
			fail(f.Place, "%w", err)
			continue
		}
		r.filters = append(r.filters, program)
	}
	if d.DurationExpr.Value != "" {
		program, err := c.Compile(d.DurationExpr.Value)
		if err != nil {
			fail(d.DurationExpr.Place, "%w", err)
		}
		r.duration = program
	}
	for _, t := range d.Decisions {
		m := template{kind: t.Type.Value, scope: decisions.NormalScope(t.Scope), origin: decisions.OriginCrowdsec, duration: defaultBan}
		if t.Origin != "" {
			m.origin += "/" + t.Origin
		}
		if m.kind == "" {
			fail(at, "a decision of profile %q has no type", d.Name)
		}
		if t.Duration.Value != "" {
			length, err := api.ParseDuration(t.Duration.Value)
			if err != nil {
				fail(t.Duration.Place, "%w", err)
			}
			if err == nil && length <= 0 {
				fail(t.Duration.Place, "a decision must last for some time, not %s", t.Duration.Value)
			}
			m.duration = length
		}
		r.decisions = append(r.decisions, m)
	}
	oneOf := func(t strict.Text, words ...string) {
		for _, w := range words {
			if t.Value == w {
				return
			}
		}
		fail(t.Place, "want one of %q, not %q", words[1:], t.Value)
	}
	oneOf(d.OnSuccess, "", "continue", "break")
	oneOf(d.OnFailure, "", "continue", "break", "apply")
	return r, errs
}

// environment is what filters and durations may use beside the functions of
// package expr: Alert, and what was decided earlier about an address.
func environment(h History) *expr.Env {
	count := func(value string, counts func(*decisions.Decision) bool) (n int) {
		h.Earlier(value, func(d *decisions.Decision) bool {
			if counts(d) {
				n++
			}
			return true
		})
		return n
	}
	return expr.NewEnv().
		Var("Alert", expr.AlertMembers()...).
		Func("GetDecisionsCount", func(value string) int {
			return count(value, func(*decisions.Decision) bool { return true })
		}).
		Func("GetActiveDecisionsCount", func(value string) int {
			now := h.Now()
			return count(value, func(d *decisions.Decision) bool { return d.Active(now) })
		}).
		Func("GetDecisionsSinceCount", func(value, since string) (int, error) {
			d, err := api.ParseDuration(since)
			if err != nil {
				return 0, err
			}
			from := h.Now().Add(-d)
			return count(value, func(d *decisions.Decision) bool { return d.Created.After(from) }), nil
		}).
		Func("GetActiveDecisionsTimeLeft", func(value string) (left time.Duration) {
			now := h.Now()
			h.Earlier(value, func(d *decisions.Decision) bool {
				left = max(left, d.Until.Sub(now))
				return true
			})
			return left
		})
}
