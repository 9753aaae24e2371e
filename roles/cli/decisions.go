package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

// Decisions groups the commands about decisions. They are clients of a LAPI,
// which tells a machine about decisions only within the alerts that own them.
type Decisions struct {
	List   DecisionsList   `cmd:"" help:"List active decisions."`
	Add    DecisionsAdd    `cmd:"" help:"Ban an address, a range or anything else by hand."`
	Delete DecisionsDelete `cmd:"" aliases:"remove" help:"Lift decisions."`
	Import DecisionsImport `cmd:"" help:"Add many decisions from a file."`
}

// DecisionsList lists the decisions within the alerts that have active ones.
type DecisionsList struct {
	All       bool     `short:"a" help:"Include community and subscribed blocklists, without a limit."`
	Since     duration `placeholder:"AGE" help:"Alerts not older than this (30m, 7d)."`
	Until     duration `placeholder:"AGE" help:"Alerts older than this."`
	Type      string   `short:"t" help:"Type of decision (ban, captcha)."`
	Scope     string   `help:"Scope (ip, range, country, as, or another)."`
	Origin    string   `help:"Origin (crowdsec, cscli, lists, CAPI)."`
	Value     string   `short:"v" help:"Value within its scope."`
	Scenario  string   `short:"s" help:"Scenario."`
	IP        string   `short:"i" name:"ip" help:"Decisions that cover this address."`
	Range     string   `short:"r" help:"Decisions that cover this range."`
	Limit     number   `short:"l" default:"100" help:"Most alerts to look at; 0: all."`
	NoSimu    bool     `help:"Leave simulated decisions out."`
	Machine   bool     `short:"m" help:"Show the machine that raised the alert."`
	Contained bool     `help:"Decisions within the given range instead."`
}

// Run lists. It asks for alerts and folds what their decisions repeat.
func (c *DecisionsList) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	q := query{"has_active_decision": {"true"}}
	q.page(c.All, c.Limit)
	q.age("since", c.Since)
	q.age("until", c.Until)
	q.text("scope", decisions.NormalScope(c.Scope))
	q.text("value", c.Value)
	q.text("scenario", c.Scenario)
	q.text("decision_type", c.Type)
	q.text("origin", c.Origin)
	q.text("ip", c.IP)
	q.text("range", c.Range)
	if c.NoSimu {
		q.text("simulated", "false")
	}
	if c.Contained {
		q.text("contains", "false")
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	known, both := folder{}, newShared()
	skipped := 0
	from := map[origin]*origin{}
	var list []ofAlert
	err = s.list(func(f func(*api.Alert, []decisionRow) error) error {
		return lapi.eachAlert(ctx, q, both, func(r *decisionRow) bool {
			fresh := known.isNew(r)
			if !fresh {
				skipped++
			}
			return fresh
		}, f)
	}, func(a *api.Alert, ds []decisionRow) {
		if len(ds) == 0 {
			return
		}
		key := origin{a.Source.Country, asText(a), a.MachineID}
		if from[key] == nil {
			from[key] = &key
		}
		list = append(list, ofAlert{a.ID, int64(a.EventsCount), from[key], ds})
	})
	if err != nil {
		return fmt.Errorf("unable to retrieve decisions: %w", apiError(err))
	}
	known = nil
	switch {
	case s.format == jsonText:
		return nil
	case s.format == raw:
		header := "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id"
		if c.Machine {
			header += ",machine"
		}
		return s.rows(header, c.cells(list, func(a *ofAlert, d *decisionRow, k *decisionKind) []string {
			return []string{itoa(d.id), k.origin, k.scope + ":" + d.value, k.scenario, k.kind, a.country, a.as,
				itoa(a.events), d.duration, strconv.FormatBool(k.simulated), itoa(a.id)}
		}))
	case len(list) == 0:
		return s.text("No active decisions\n")
	}
	t := s.table("ID", "Source", "Scope:Value", "Reason", "Action", "Country", "AS", "Events", "expiration", "Alert ID")
	if c.Machine {
		t.header = append(t.header, "Machine")
	}
	t.more = c.cells(list, func(a *ofAlert, d *decisionRow, k *decisionKind) []string {
		return []string{itoa(d.id), k.origin, k.scope + ":" + d.value, k.scenario, simulated(k.simulated) + k.kind, a.country, a.as,
			itoa(a.events), d.duration, itoa(a.id)}
	})
	if err := s.boxed(t); err != nil || skipped == 0 {
		return err
	}
	return s.text(fmt.Sprintf("%d duplicated entries skipped\n", skipped))
}

// ofAlert is the decisions of an alert, with what is shown of it.
type ofAlert struct {
	id, events int64
	*origin
	decisions []decisionRow
}

// origin is where an alert comes from: many come from the same.
type origin struct{ country, as, machine string }

func (c *DecisionsList) cells(list []ofAlert, cells func(*ofAlert, *decisionRow, *decisionKind) []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for i := range list {
			a := &list[i]
			for j := range a.decisions {
				row := cells(a, &a.decisions[j], a.decisions[j].kind)
				if c.Machine {
					row = append(row, a.machine)
				}
				if !yield(row) {
					return
				}
			}
		}
	}
}

// simulated is put before the action of a decision that isn't enforced.
func simulated(is bool) string {
	if is {
		return "(simul)"
	}
	return ""
}

// asText is the autonomous system of an alert: number, blank, name.
func asText(a *api.Alert) string {
	return strings.TrimSpace(a.Source.ASNumber + " " + a.Source.ASName)
}

// DecisionsAdd makes one decision by hand.
type DecisionsAdd struct {
	IP              string   `short:"i" name:"ip" help:"Address (same as --scope ip --value …)."`
	Range           string   `short:"r" help:"Range (same as --scope range --value …)."`
	Duration        duration `short:"d" default:"4h" help:"How long (30m, 4h, 7d)."`
	Value           string   `short:"v" help:"Value within the scope."`
	Scope           string   `default:"Ip" help:"Scope (ip, range, country, as, username, …)."`
	Reason          string   `short:"R" help:"Why; shown as the scenario."`
	Type            string   `short:"t" default:"ban" help:"Type (ban, captcha, or another)."`
	BypassAllowlist bool     `short:"B" help:"Add it even if the value is on an allowlist."`
}

// Run checks the value, asks the allowlists and posts one alert with one decision.
func (c *DecisionsAdd) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	scope, value, err := c.target()
	if err != nil {
		return err
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	if !c.BypassAllowlist && (scope == decisions.ScopeIP || scope == decisions.ScopeRange) {
		item, err := lapi.Allowlisted(ctx, value)
		if err != nil && !errors.Is(err, api.ErrNotFound) { // a server without lists has nothing on them
			// The lists are a safety net; without them a ban by hand must still be possible.
			s.problem("failed to check if the value is in an allowlist: %v", apiError(err))
		} else if item != "" {
			return fmt.Errorf("%s is allowlisted by item %s, use --bypass-allowlist to add the decision anyway", value, item)
		}
	}
	reason := c.Reason
	if reason == "" {
		reason = fmt.Sprintf("manual '%s' from '%s'", c.Type, lapi.cred.Login)
	}
	now := s.now().UTC().Format(time.RFC3339)
	ids, err := lapi.PostAlerts(ctx, []api.Alert{{
		CreatedAt:   now,
		StartAt:     now,
		StopAt:      now,
		Kind:        decisions.OriginCscli,
		EventsCount: 1,
		Events:      []api.Event{},
		Leakspeed:   "0",
		Message:     reason,
		Scenario:    reason,
		Remediation: true,
		// Whatever the scope, ip holds the value, as upstream sends it.
		Source: api.Source{Scope: scope, Value: value, IP: value},
		Decisions: []api.Decision{{
			Duration: first(c.Duration.text, "0s"),
			Origin:   decisions.OriginCscli,
			Scenario: reason,
			Scope:    scope,
			Type:     c.Type,
			Value:    value,
		}},
	}})
	if err != nil {
		return apiError(err)
	}
	if len(ids) == 0 {
		return errNotKept
	}
	s.info("Decision successfully added")
	return nil
}

// errNotKept: a LAPI leaves out of its answer what it silently dropped.
var errNotKept = errors.New("the local API accepted the request but kept no decision: is the value on an allowlist?")

// target returns whom the decision is about. An address is checked here, so
// that a slip of the finger is told before anything is sent.
func (c *DecisionsAdd) target() (scope, value string, err error) {
	scope, value = decisions.NormalScope(c.Scope), c.Value
	switch {
	case c.IP != "":
		scope, value = decisions.ScopeIP, c.IP
	case c.Range != "":
		scope, value = decisions.ScopeRange, c.Range
	case scope == "" || value == "":
		return "", "", &usageError{"missing arguments, a value is required (--ip, --range or --scope and --value)"}
	}
	switch scope {
	case decisions.ScopeIP:
		if _, err := decisions.ParseAddr(value); err != nil {
			return "", "", fmt.Errorf("%s is not a valid ip: %w", value, err)
		}
	case decisions.ScopeRange:
		if !strings.Contains(value, "/") { // in the words of the standard library, which scripts match on
			return "", "", fmt.Errorf("%s is not a valid range: netip.ParsePrefix(%q): no '/'", value, value)
		}
		if _, err := decisions.ParsePrefix(value); err != nil {
			return "", "", fmt.Errorf("%s is not a valid range: %w", value, err)
		}
	}
	return scope, value, nil
}

// DecisionsDelete lifts decisions: they end now, and bouncers are told.
type DecisionsDelete struct {
	IP        string `short:"i" name:"ip" help:"Decisions that cover this address."`
	Range     string `short:"r" help:"Decisions that cover this range."`
	Type      string `short:"t" help:"Type of decision."`
	Value     string `short:"v" help:"Value within its scope."`
	Scenario  string `short:"s" help:"Scenario."`
	Origin    string `help:"Origin (crowdsec, cscli, lists, CAPI)."`
	ID        string `name:"id" help:"The decision with this number."`
	All       bool   `help:"All decisions."`
	Contained bool   `help:"Decisions within the given range instead."`
}

// Run lifts one decision by its number, or those that match all filters.
func (c *DecisionsDelete) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	q := query{}
	q.text("ip", c.IP)
	q.text("range", c.Range)
	q.text("type", c.Type)
	q.text("value", c.Value)
	q.text("scenario", c.Scenario)
	q.text("origin", c.Origin)
	if len(q) == 0 && c.ID == "" && !c.All {
		return &usageError{"at least one filter or --all must be specified"}
	}
	if c.All {
		q = query{}
	}
	if c.Contained {
		q.text("contains", "false")
	}
	var id int64
	if c.ID != "" {
		if id, err = strconv.ParseInt(c.ID, 10, 64); err != nil {
			return fmt.Errorf("id '%s' is not an integer: %w", c.ID, err)
		}
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	n := 1
	if c.ID != "" {
		err = lapi.DeleteDecision(ctx, id)
	} else {
		n, err = lapi.DeleteDecisions(ctx, url.Values(q))
	}
	if err != nil {
		return fmt.Errorf("unable to delete decisions: %w", apiError(err))
	}
	s.info("%d decision(s) deleted", n)
	return nil
}

// query is what is asked of the LAPI; parameters that were not given are left out.
type query url.Values

func (q query) text(name, value string) {
	if value != "" {
		q[name] = []string{value}
	}
}

func (q query) age(name string, d duration) {
	if d.d != 0 {
		q.text(name, d.d.String())
	}
}

// page asks for the community's and subscribed lists too and for everything,
// or for neither.
func (q query) page(all bool, limit number) {
	if all {
		limit = 0
	}
	q.text("include_capi", strconv.FormatBool(all))
	q.text("limit", itoa(int64(limit)))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// orEmpty makes JSON show [] instead of null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return slices.Clip(list)
}
