package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
)

// Alerts groups the commands about alerts. They are clients of a LAPI.
type Alerts struct {
	List    AlertsList    `cmd:"" help:"List alerts, the newest first."`
	Inspect AlertsInspect `cmd:"" help:"Show all about alerts."`
	Delete  AlertsDelete  `cmd:"" aliases:"remove" help:"Forget alerts and their decisions."`
	Flush   AlertsFlush   `cmd:"" help:"Forget old alerts now."`
}

// AlertsList lists alerts.
type AlertsList struct {
	All       bool     `short:"a" help:"Include community and subscribed blocklists, without a limit."`
	Since     duration `placeholder:"AGE" help:"Alerts not older than this (30m, 7d)."`
	Until     duration `placeholder:"AGE" help:"Alerts older than this."`
	IP        string   `short:"i" name:"ip" help:"Alerts with a decision that covers this address."`
	Range     string   `short:"r" help:"Alerts with a decision that covers this range."`
	Scenario  string   `short:"s" help:"Scenario."`
	Type      string   `help:"Type of decision (ban, captcha)."`
	Scope     string   `help:"Scope (ip, range, country, as, or another)."`
	Value     string   `short:"v" help:"Value within its scope."`
	Origin    string   `help:"Origin of decisions (crowdsec, cscli, lists, CAPI)."`
	Kind      string   `help:"Kind of alert (crowdsec, waf, cscli, capi, papi)."`
	Contained bool     `help:"Decisions within the given range instead."`
	Machine   bool     `short:"m" help:"Show the machine that raised the alert."`
	Limit     number   `short:"l" default:"50" help:"Most alerts to show; 0: all."`
}

// Run lists.
func (c *AlertsList) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	q := query{}
	q.page(c.All, c.Limit)
	q.age("since", c.Since)
	q.age("until", c.Until)
	q.text("scope", decisions.NormalScope(c.Scope))
	q.text("value", c.Value)
	q.text("scenario", c.Scenario)
	q.text("decision_type", c.Type)
	q.text("origin", c.Origin)
	q.text("kind", c.Kind)
	q.text("ip", c.IP)
	q.text("range", c.Range)
	if c.Contained {
		q.text("contains", "false")
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	header := strings.Fields("ID value reason country as decisions created_at kind")
	if s.format == raw {
		header = strings.Split("id,scope,value,reason,country,as,decisions,created_at,kind", ",")
	}
	if c.Machine {
		header = append(header, "machine")
	}
	both := newShared()
	var rows [][]string
	err = s.list(func(f func(*api.Alert, []decisionRow) error) error { return lapi.eachAlert(ctx, q, both, nil, f) }, func(a *api.Alert, ds []decisionRow) {
		row := make([]string, 0, len(header))
		// The column of tables is called created_at but has always shown the start.
		row = append(row, itoa(a.ID), subject(a, len(ds)), both.text(a.Scenario), both.text(a.Source.Country), both.text(asText(a)), both.text(decisionCounts(ds)), utc(a.StartAt), both.text(a.Kind))
		if s.format == raw {
			row[1], row[6] = a.Source.Value, utc(a.CreatedAt)
			row = slices.Insert(row, 1, both.text(a.Source.Scope))
		}
		if c.Machine {
			row = append(row, both.text(a.MachineID))
		}
		rows = append(rows, row)
	})
	switch {
	case err != nil:
		return fmt.Errorf("unable to list alerts: %w", apiError(err))
	case s.format == jsonText:
		return nil
	case s.format == raw:
		return s.csv(strings.Join(header, ","), rows)
	case len(rows) == 0:
		return s.text("No active alerts\n")
	}
	t := s.table(header...)
	t.rows = rows
	return s.boxed(t)
}

// subject is whom an alert with so many decisions is about; an import is about
// many.
func subject(a *api.Alert, decisions int) string {
	switch {
	case decisions > 1:
		return fmt.Sprintf("%s (%d Ips)", a.Source.Scope, decisions)
	case a.Source.Value != "":
		return a.Source.Scope + ":" + a.Source.Value
	}
	return a.Source.Scope
}

// decisionCounts says how many decisions of each type an alert has: "ban:1 captcha:2".
func decisionCounts(list []decisionRow) string {
	counts := map[string]int{}
	for i := range list {
		k := list[i].kind
		counts[simulated(k.simulated)+k.kind]++
	}
	var words []string
	for kind, n := range counts {
		words = append(words, fmt.Sprintf("%s:%d", kind, n))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// utc shows a time of the wire as tables do; what is no time is shown as it is.
func utc(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return stamp(t)
}

// AlertsDelete forgets alerts for good. Our LAPI tells bouncers that their
// decisions have ended; CrowdSec's doesn't, so those of its bouncers stay until
// they end by themselves (see 'decisions delete').
type AlertsDelete struct {
	Scope     string `help:"Scope (ip, range, country, as, or another)."`
	Value     string `short:"v" help:"Value within its scope."`
	Scenario  string `short:"s" help:"Scenario."`
	IP        string `short:"i" name:"ip" help:"Alerts with a decision that covers this address."`
	Range     string `short:"r" help:"Alerts with a decision that covers this range."`
	ID        string `name:"id" help:"The alert with this number."`
	All       bool   `short:"a" help:"All alerts."`
	Contained bool   `help:"Decisions within the given range instead."`
}

// Run deletes one alert by its number, or those that match all filters.
func (c *AlertsDelete) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	q := query{}
	q.text("scope", decisions.NormalScope(c.Scope))
	q.text("value", c.Value)
	q.text("scenario", c.Scenario)
	q.text("ip", c.IP)
	q.text("range", c.Range)
	if len(q) == 0 && c.ID == "" && !c.All {
		return &usageError{"at least one filter or --all must be specified"}
	}
	if c.All {
		q = query{}
	}
	if c.Contained {
		q.text("contains", "false")
	}
	q.text("limit", "0") // a server that minds the limit must not stop at its default
	var id int64
	if c.ID != "" {
		if id, err = strconv.ParseInt(c.ID, 10, 64); err != nil {
			return fmt.Errorf("bad alert id %s", c.ID)
		}
	}
	lapi, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer lapi.done(&err)
	n := 1
	if c.ID != "" {
		err = lapi.DeleteAlert(ctx, id)
	} else {
		n, err = lapi.DeleteAlerts(ctx, url.Values(q))
	}
	if err != nil {
		return fmt.Errorf("unable to delete alert: %w", apiError(err))
	}
	s.info("%d alert(s) deleted", n)
	return nil
}
