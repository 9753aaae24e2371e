package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
	"cs/roles/engine"
	"cs/roles/status"
)

// Status shows on one screen whether this host is protected.
type Status struct{}

// errNotWell is for monitoring: the exit code is 1.
var errNotWell = errors.New("something is wrong")

// Run shows it. Anything wrong is an error.
func (c *Status) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	report := status.Look(s.see(ctx))
	switch s.format {
	case raw:
		return errNoRaw
	case jsonText:
		err = s.json(report, "  ")
	default:
		err = s.text(s.statusText(&report))
	}
	if err == nil && !report.OK {
		return errNotWell
	}
	return err
}

// see asks all that can be asked on this host.
func (s *session) see(ctx context.Context) *status.Seen {
	seen := &status.Seen{Now: s.now(), ServesL: s.file.ServesLAPI(), Firewall: s.firewall(ctx)}
	for _, p := range s.runningPages(ctx) {
		seen.Pages = append(seen.Pages, p.samples)
	}
	if len(seen.Pages) == 0 {
		if url := s.file.MetricsURL(); url != "" {
			if p, err := readPage(ctx, url); err == nil {
				seen.Pages = append(seen.Pages, p.samples)
			}
		}
	}
	l, err := s.runningLAPI(ctx)
	if err == nil {
		err = l.Login(ctx)
		l.Close()
	}
	seen.LAPI = err
	if running, _ := listens(ctx, s.socket); !running || !seen.ServesL {
		return seen
	}
	a := api.NewAdmin(s.socket)
	for _, ask := range []func() error{
		func() (err error) { seen.Machines, err = a.Machines(ctx); return err },
		func() (err error) { seen.Bouncers, err = a.Bouncers(ctx); return err },
		func() (err error) { seen.Usage, err = a.Usage(ctx); return err },
	} {
		if err := ask(); err != nil && seen.LAPI == nil {
			seen.LAPI = err
		}
	}
	return seen
}

// statusText is the screen.
func (s *session) statusText(r *status.Report) string {
	var b strings.Builder
	now := s.now()
	if r.OK {
		b.WriteString("All is well.\n")
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "%s  %s\n", warning, plain(p.What))
		if p.Fix != "" {
			fmt.Fprintf(&b, "    -> %s\n", plain(p.Fix))
		}
	}
	for _, p := range r.Processes {
		fmt.Fprintf(&b, "\nProcess    %s, up %s, %s of memory\n", plain(first(p.Version, "cs")), age(now, p.Started), bytesText(p.Memory))
	}
	fmt.Fprintf(&b, "Local API  %s\n", plain(r.LAPI))
	fmt.Fprintf(&b, "Buckets    %d, of %d scenarios; %d overflowed so far\n", r.Buckets, r.Scenarios, r.Overflows)
	if len(r.Sources) > 0 {
		t := s.table("Source", "Lines", "Parsed", "Lag", "Last line")
		t.right = []int{1, 2, 3, 4}
		for _, src := range r.Sources {
			lag := "-"
			if src.Lag != nil {
				lag = time.Duration(*src.Lag * float64(time.Second)).Round(100 * time.Millisecond).String()
			}
			parsed := "-"
			if src.Read > 0 {
				parsed = fmt.Sprintf("%.1f%%", 100*src.Ratio)
			}
			last := "never"
			if src.LastLine != nil {
				last = age(now, *src.LastLine) + " ago"
			}
			t.add(src.Name, count(float64(src.Read), false), parsed, lag, last)
		}
		b.WriteString("\n" + t.light())
	}
	if len(r.Decisions) > 0 {
		t := s.table("Decisions of", "Type", "In force")
		t.right = []int{2}
		for _, d := range r.Decisions {
			t.add(d.Origin, d.Type, count(float64(d.Count), false))
		}
		b.WriteString("\n" + t.light())
	}
	for _, group := range []struct {
		title string
		list  []status.Account
	}{{"Machine", r.Machines}, {"Bouncer", r.Bouncers}} {
		if len(group.list) == 0 {
			continue
		}
		t := s.table(group.title, "Version", "Last seen", "Enforced")
		t.right = []int{2, 3}
		for _, a := range group.list {
			seen := "never"
			if a.LastSeen != nil {
				seen = age(now, *a.LastSeen) + " ago"
			}
			if a.Pending {
				seen = "pending"
			}
			enforced := "-"
			switch {
			case a.Ratio != nil:
				enforced = fmt.Sprintf("%.1f%% of %d", 100**a.Ratio, *a.Wanted)
			case a.Enforced != nil:
				enforced = count(float64(*a.Enforced), false)
			}
			t.add(a.Name, a.Version, seen, enforced)
		}
		b.WriteString("\n" + t.light())
	}
	return b.String()
}

func age(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return max(now.Sub(then), 0).Truncate(time.Second).String()
}

// bytesText is a size: "21.4 MB".
func bytesText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// Why tells why an address is banned.
type Why struct {
	IP []string `arg:"" optional:"" name:"ip" help:"Address or range."`
}

// Run shows decisions, alerts, the lines of the logs, and how to make an exception.
func (c *Why) Run(ctx context.Context, env *platform.Env, g *Globals) (err error) {
	s, ip, err := openFor(env, g, c.IP)
	if err != nil {
		return err
	}
	if s.format == raw {
		return errNoRaw
	}
	filter := "ip"
	switch _, prefix := netip.ParsePrefix(ip); {
	case prefix == nil:
		filter = "range"
	default:
		if _, err := netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("%q is no address or range", ip)
		}
	}
	l, err := s.lapi(ctx)
	if err != nil {
		return err
	}
	defer l.done(&err)
	// In force, from whatever list, and what was detected lately.
	var alerts []api.Alert
	known := make(map[int64]bool)
	for _, q := range []query{
		{"has_active_decision": {"true"}, "limit": {"0"}, filter: {ip}},
		{"include_capi": {"false"}, "limit": {"10"}, filter: {ip}},
	} {
		// Alerts that import lists have the decisions about others, too.
		err := l.eachAlert(ctx, q, newShared(), covers(ip), func(a *api.Alert, rows []decisionRow) error {
			if known[a.ID] {
				return nil
			}
			known[a.ID] = true
			for i := range rows {
				a.Decisions = append(a.Decisions, rows[i].wire())
			}
			alerts = append(alerts, *a)
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot ask for alerts: %w", apiError(err))
		}
	}
	allowed, err := l.Allowlisted(ctx, ip)
	if err != nil {
		s.debug("cannot ask for allowlists: %v", err)
	}
	reason := status.Explain(ip, alerts, allowed, status.NewLogs(ip).Line)
	if _, err := l.Allowlist(ctx, status.Trusted); err == nil { // it can't be created twice
		reason.Commands = slices.DeleteFunc(reason.Commands, func(c string) bool { return strings.HasPrefix(c, "cs allowlists create") })
	}
	for i, c := range reason.Commands {
		reason.Commands[i] = s.command(c)
	}
	if reason.File != "" {
		r, err := g.Resolve(env, func(*config.File) {})
		if err != nil {
			return globalError{err}
		}
		reason.File = filepath.Join(r.ContentDir(), "parsers", reason.File)
	}
	if s.format == jsonText {
		return s.json(reason, "  ")
	}
	return s.text(whyText(&reason))
}

// covers tells which decisions are about an address or a range: those without
// one, of a country for example, are taken to be.
func covers(ip string) func(*decisionRow) bool {
	want, err := decisions.ParsePrefix(ip)
	return func(r *decisionRow) bool {
		p, notAddress := decisions.ParsePrefix(r.value)
		return err != nil || notAddress != nil || p.Overlaps(want)
	}
}

func whyText(r *status.Reason) string {
	var b strings.Builder
	switch {
	case r.Banned:
		fmt.Fprintf(&b, "%s is banned.\n", plain(r.IP))
	case len(r.Decisions) > 0:
		fmt.Fprintf(&b, "%s is not banned, it would be but for simulation.\n", plain(r.IP))
	default:
		fmt.Fprintf(&b, "%s is not banned.\n", plain(r.IP))
	}
	if r.Allowed != "" {
		fmt.Fprintf(&b, "It is on an allowlist: %s\n", plain(r.Allowed))
	}
	for _, d := range r.Decisions {
		simulated := ""
		if d.Simulated {
			simulated = "(simul)"
		}
		fmt.Fprintf(&b, "\n%s%s of %s:%s for %s\n  by %s (%s), decision %d of alert %d\n", simulated, plain(d.Type), plain(d.Scope), plain(d.Value),
			plain(d.Duration), plain(d.Scenario), plain(d.Origin), d.ID, d.AlertID)
	}
	for _, a := range r.Alerts {
		fmt.Fprintf(&b, "\nAlert %d: %s\n", a.ID, plain(first(a.Message, a.Scenario)))
		fmt.Fprintf(&b, "  scenario   %s\n  threshold  %s\n  from       %s to %s, %d events", plain(a.Scenario), plain(a.Threshold), plain(a.Start), plain(a.Stop), a.Events)
		if a.Machine != "" {
			fmt.Fprintf(&b, ", seen by %s", plain(a.Machine))
		}
		b.WriteString("\n")
		for _, m := range a.Context {
			fmt.Fprintf(&b, "  %s: %s\n", plain(m.Key), plain(m.Value))
		}
		for _, l := range a.Lines {
			if l.Text != "" {
				fmt.Fprintf(&b, "  %s: %s\n", plain(l.Source), plain(l.Text))
				continue
			}
			fmt.Fprintf(&b, "  %s %s", plain(l.Time), plain(l.Source))
			for _, f := range l.Facts {
				fmt.Fprintf(&b, " %s=%s", plain(f.Key), plain(f.Value))
			}
			b.WriteString("\n")
		}
	}
	if len(r.Commands) > 0 {
		b.WriteString("\nTo let it in:\n")
		for _, c := range r.Commands {
			b.WriteString("  " + plain(c) + "\n")
		}
	}
	if r.Exception != "" {
		b.WriteString("\nTo detect nothing by it any more (the agent takes it over by itself):\n")
		fmt.Fprintf(&b, "  mkdir -p %s\n  cat > %s <<'EOF'\n", plain(quoted(filepath.Dir(r.File))), plain(quoted(r.File)))
		b.WriteString(plainLines(r.Exception) + "EOF\n")
	}
	return b.String()
}

// Doctor finds the usual mistakes.
type Doctor struct{}

// Run prints what it finds and what to do about it.
func (c *Doctor) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	file, err := g.Load(env)
	if err != nil {
		// With a broken file nothing else can be looked at.
		p, perr := newPrinter(env.Stdout, env.Stderr, g, &config.Cscli{})
		if perr != nil {
			return perr
		}
		return p.findings([]status.Finding{{Check: "configuration", Status: status.Bad, What: err.Error(), Fix: "correct the file"}})
	}
	s, err := open(env, g)
	if err != nil {
		return err
	}
	p := &status.Patient{Seen: *s.see(ctx), File: file, Env: env}
	quiet := *env
	quiet.Log = slog.New(slog.DiscardHandler)
	p.Faults = g.Check(ctx, &quiet, &g.Flags)
	if r, err := g.Resolve(&quiet, func(*config.File) {}); err == nil && r.Agent.Enabled {
		content, _ := engine.Content("", r) // its faults are among the others
		p.Blind = content.Blind()
	}
	if path := config.UpstreamPath(); exists(path) {
		p.Upstream = path
	}
	if client, _ := env.LookupEnv("SSH_CLIENT"); client != "" {
		p.SSHClient, _, _ = strings.Cut(client, " ")
		s.askAbout(ctx, p)
	}
	return s.findings(status.Examine(p))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// askAbout asks the LAPI about the operator's address.
func (s *session) askAbout(ctx context.Context, p *status.Patient) {
	l, err := s.runningLAPI(ctx)
	if err != nil {
		p.SSHClient = ""
		return
	}
	defer l.Close()
	reason, err := l.Allowlisted(ctx, p.SSHClient)
	if err != nil {
		p.SSHClient = ""
		return
	}
	p.Allowed = reason != ""
	q := query{"has_active_decision": {"true"}, "limit": {"0"}, "ip": {p.SSHClient}}
	_ = l.eachAlert(ctx, q, newShared(), covers(p.SSHClient), func(_ *api.Alert, rows []decisionRow) error {
		for i := range rows {
			p.Banned = p.Banned || !rows[i].kind.simulated && !strings.HasPrefix(rows[i].duration, "-")
		}
		return nil
	}) // what can't be asked is told by another check
}

// findings prints what a doctor found; anything bad is an error.
func (p *printer) findings(list []status.Finding) (err error) {
	bad := false
	for _, f := range list {
		bad = bad || f.Status == status.Bad
	}
	switch p.format {
	case jsonText:
		err = p.json(struct {
			OK       bool             `json:"ok"`
			Findings []status.Finding `json:"findings"`
		}{!bad, list}, "  ")
	case raw:
		var rows [][]string
		for _, f := range list {
			rows = append(rows, []string{f.Check, f.Status, f.What, f.Fix})
		}
		err = p.csv("check,status,what,fix", rows)
	default:
		marks := map[string]string{status.Good: yes, status.Doubtful: warning, status.Bad: no}
		var b strings.Builder
		for _, f := range list {
			fmt.Fprintf(&b, "%s  %s: %s\n", marks[f.Status], f.Check, plainLines(f.What))
			if f.Fix != "" {
				fmt.Fprintf(&b, "    -> %s\n", plain(f.Fix))
			}
		}
		err = p.text(b.String())
	}
	if err == nil && bad {
		return errNotWell
	}
	return err
}
