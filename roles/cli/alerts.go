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
	alerts, err := lapi.Alerts(ctx, url.Values(q))
	if err != nil {
		return fmt.Errorf("unable to list alerts: %w", apiError(err))
	}
	switch s.format {
	case jsonText:
		return s.json(orEmpty(alerts), " ")
	case raw:
		header := "id,scope,value,reason,country,as,decisions,created_at,kind"
		if c.Machine {
			header += ",machine"
		}
		return s.csv(header, c.rows(alerts, func(a *api.Alert) []string {
			return []string{itoa(a.ID), a.Source.Scope, a.Source.Value, a.Scenario, a.Source.Country, asText(a),
				decisionCounts(a), utc(a.CreatedAt), a.Kind}
		}))
	}
	if len(alerts) == 0 {
		return s.text("No active alerts\n")
	}
	t := s.table("ID", "value", "reason", "country", "as", "decisions", "created_at", "kind")
	if c.Machine {
		t.header = append(t.header, "machine")
	}
	t.rows = c.rows(alerts, func(a *api.Alert) []string {
		// The column is called created_at but has always shown the start.
		return []string{itoa(a.ID), subject(a), a.Scenario, a.Source.Country, asText(a), decisionCounts(a), utc(a.StartAt), a.Kind}
	})
	return s.text(t.boxed())
}

func (c *AlertsList) rows(alerts []api.Alert, row func(*api.Alert) []string) [][]string {
	rows := make([][]string, len(alerts))
	for i := range alerts {
		rows[i] = row(&alerts[i])
		if c.Machine {
			rows[i] = append(rows[i], alerts[i].MachineID)
		}
	}
	return rows
}

// subject is whom an alert is about; an import is about many.
func subject(a *api.Alert) string {
	switch {
	case len(a.Decisions) > 1:
		return fmt.Sprintf("%s (%d Ips)", a.Source.Scope, len(a.Decisions))
	case a.Source.Value != "":
		return a.Source.Scope + ":" + a.Source.Value
	}
	return a.Source.Scope
}

// decisionCounts says how many decisions of each type an alert has: "ban:1 captcha:2".
func decisionCounts(a *api.Alert) string {
	counts := map[string]int{}
	for _, d := range a.Decisions {
		counts[simulated(d.Simulated)+d.Type]++
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
