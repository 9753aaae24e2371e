package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"cs/platform"
	"cs/platform/metric"
	"cs/platform/order"
	"cs/roles/api"
)

// Metrics groups the commands about what the running processes have counted.
type Metrics struct {
	All  MetricsAll  `cmd:"" default:"withargs" hidden:"" help:"Show all."`
	Show MetricsShow `cmd:"" help:"Show numbers of the running processes."`
	List MetricsList `cmd:"" help:"List the sections there are."`
}

// MetricsAll shows all sections.
type MetricsAll struct {
	URL    string `short:"u" name:"url" placeholder:"URL" help:"Page of metrics to read (default: the running processes)."`
	NoUnit bool   `help:"Show numbers in full."`
}

// Run shows them.
func (c *MetricsAll) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	return (&MetricsShow{MetricsAll: *c}).Run(ctx, env, g)
}

// MetricsShow shows sections.
type MetricsShow struct {
	MetricsAll `embed:""`
	Sections   []string `arg:"" optional:"" name:"section" help:"Sections, or engine, lapi, appsec for several (default: all)."`
}

// A section is one table of metrics. rows turns the samples of a page into
// cells; the leading keys of each are names, and the last holds the number.
type section struct {
	name, title, description string
	keys                     []string // columns of names
	columns                  []string // and of numbers
	fields                   []string // the keys of the numbers in JSON; none: there is one
	// of returns the names and the column of a sample, and false if it isn't
	// of this section.
	of func(metric.Sample) (names []string, column int, ok bool)
}

// series makes the func of a section out of names of metrics, one for each
// column ("" for none), and the labels that are the names of a row.
func series(names []string, labels ...string) func(metric.Sample) ([]string, int, bool) {
	return func(m metric.Sample) ([]string, int, bool) {
		i := slices.IndexFunc(names, func(list string) bool { return slices.Contains(strings.Fields(list), m.Name) })
		if i < 0 {
			return nil, 0, false
		}
		row := make([]string, len(labels))
		for k, l := range labels {
			row[k] = m.Labels[l]
		}
		return row, i, true
	}
}

var sections = []section{
	{
		name: "acquisition", title: "Acquisition Metrics",
		description: "Measures the lines read, parsed, and unparsed per datasource.",
		keys:        []string{"Source"},
		columns:     []string{"Lines read", "Lines parsed", "Lines unparsed", "Lines poured to bucket", "Lines whitelisted"},
		fields:      []string{"reads", "parsed", "unparsed", "pour", "whitelisted"},
		of:          acquisition,
	}, {
		name: "alerts", title: "Local API Alerts", description: "Tracks the total number of past and present alerts for the installed scenarios.",
		keys: []string{"Reason"}, columns: []string{"Count"},
		of: series([]string{"cs_alerts"}, "reason"),
	}, {
		name: "appsec-engine", title: "Appsec Metrics", description: "Measures the number of parsed and blocked requests by the AppSec Component.",
		keys: []string{"Appsec Engine"}, columns: []string{"Processed", "Blocked"}, fields: []string{"processed", "blocked"},
		of: series([]string{"cs_appsec_reqs_total", "cs_appsec_block_total"}, "appsec_engine"),
	}, {
		name: "appsec-rule", title: "Appsec Rules Metrics", description: "Provides “per AppSec Component” information about the number of matches for loaded AppSec Rules.",
		keys: []string{"Appsec Engine", "Rule ID"}, columns: []string{"Triggered"}, fields: []string{"triggered"},
		of: series([]string{"cs_appsec_rule_hits"}, "appsec_engine", "rule_name"),
	}, {
		name: "bouncers", title: "Bouncer Metrics", description: "Measures the activity of bouncers, as they report it.",
	}, {
		name: "decisions", title: "Local API Decisions", description: "Provides information about all currently active decisions. Includes both local (crowdsec) and global decisions (CAPI), and lists subscriptions (lists).",
		keys: []string{"Reason", "Origin", "Action"}, columns: []string{"Count"},
		of: series([]string{"cs_active_decisions"}, "reason", "origin", "action"),
	}, {
		name: "lapi", title: "Local API Metrics", description: "Monitors the requests made to local API routes.",
		keys: []string{"Route", "Method"}, columns: []string{"Hits"},
		of: series([]string{"cs_lapi_route_requests_total"}, "route", "method"),
	}, {
		name: "lapi-bouncer", title: "Local API Bouncers Metrics", description: "Tracks total hits to remediation component related API routes.",
		keys: []string{"Bouncer", "Route", "Method"}, columns: []string{"Hits"},
		of: series([]string{"cs_lapi_bouncer_requests_total"}, "bouncer", "route", "method"),
	}, {
		name: "lapi-decisions", title: "Local API Bouncers Decisions", description: "Tracks the number of empty/non-empty answers from LAPI to bouncers that are working in \"live\" mode.",
		keys: []string{"Bouncer"}, columns: []string{"Empty answers", "Non-empty answers"}, fields: []string{"Empty", "NonEmpty"},
		of: series([]string{"cs_lapi_decisions_ko_total", "cs_lapi_decisions_ok_total"}, "bouncer"),
	}, {
		name: "lapi-machine", title: "Local API Machines Metrics", description: "Tracks the number of calls to the local API from each registered machine.",
		keys: []string{"Machine", "Route", "Method"}, columns: []string{"Hits"},
		of: series([]string{"cs_lapi_machine_requests_total"}, "machine", "route", "method"),
	}, {
		name: "parsers", title: "Parser Metrics", description: "Tracks the number of events processed by each parser and indicates success of failure. Zero parsed lines means the parser is not installed or there's a mistake in the acquisition configuration.",
		keys: []string{"Parsers"}, columns: []string{"Hits", "Parsed", "Unparsed"}, fields: []string{"hits", "parsed", "unparsed"},
		of: series([]string{"cs_node_hits_total", "cs_node_hits_ok_total", "cs_node_hits_ko_total"}, "name"),
	}, {
		name: "scenarios", title: "Scenario Metrics", description: "Measure events in different scenarios. Current count is the number of buckets during metrics collection. Overflows are past event-producing buckets, while Expired are the ones that didn’t receive enough events to Overflow.",
		keys: []string{"Scenario"}, columns: []string{"Current Count", "Overflows", "Instantiated", "Poured", "Expired"},
		fields: []string{"curr_count", "overflow", "instantiation", "pour", "underflow"},
		of: series([]string{"cs_buckets", "cs_bucket_overflowed_total", "cs_bucket_instantiation_total cs_bucket_created_total",
			"cs_bucket_poured_total", "cs_bucket_underflowed_total"}, "name"),
	}, {
		name: "stash", title: "Parser Stash Metrics", description: "Tracks the status of stashes that might be created by various parsers and scenarios.",
		keys: []string{"Name", "Type"}, columns: []string{"Items"},
		of: series([]string{"cs_cache_size"}, "name", "type"),
	}, {
		name: "whitelists", title: "Whitelist Metrics", description: "Tracks the number of events processed and possibly whitelisted by each parser whitelist.",
		keys: []string{"Whitelist", "Reason"}, columns: []string{"Hits", "Whitelisted"}, fields: []string{"hits", "whitelisted"},
		of: series([]string{"cs_node_wl_hits_total", "cs_node_wl_hits_ok_total"}, "name", "reason"),
	},
}

// sectionOf returns the section of a name.
func sectionOf(name string) *section {
	i := slices.IndexFunc(sections, func(w section) bool { return w.name == name })
	return &sections[i]
}

// groups name several sections.
var groups = map[string][]string{
	"engine": {"acquisition", "parsers", "scenarios", "stash", "whitelists"},
	"lapi":   {"alerts", "decisions", "lapi", "lapi-bouncer", "lapi-decisions", "lapi-machine"},
	"appsec": {"appsec-engine", "appsec-rule"},
}

// acquisition takes the samples with a source: a row is "file:/var/log/auth.log".
func acquisition(m metric.Sample) (row []string, column int, ok bool) {
	kind := first(m.Labels["type"], m.Labels["datasource_type"])
	switch m.Name {
	case "cs_parser_hits_ok_total":
		column = 1
	case "cs_parser_hits_ko_total":
		column = 2
	case "cs_bucket_poured_total":
		column = 3
	case "cs_node_wl_hits_ok_total":
		column = 4
	default:
		middle, found := strings.CutPrefix(m.Name, "cs_")
		if !found {
			return nil, 0, false
		}
		if kind, ok = strings.CutSuffix(middle, "source_hits_total"); !ok {
			return nil, 0, false
		}
		switch kind { // as it is called elsewhere
		case "winevtlog":
			kind = "wineventlog"
		case "k8saudit":
			kind = "k8s-audit"
		}
	}
	source := m.Labels["source"]
	if source == "" {
		return nil, 0, false
	}
	if kind != "" {
		source = kind + ":" + source
	}
	return []string{source}, column, true
}

// Run shows the sections, without the empty ones unless they are named.
func (c *MetricsShow) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	if s.format == raw {
		return errNoRaw
	}
	wanted, err := wantedSections(c.Sections)
	if err != nil {
		return err
	}
	samples, err := s.samples(ctx, c.URL)
	if err != nil {
		return err
	}
	var usage []api.Usage
	if slices.ContainsFunc(wanted, func(w *section) bool { return w.name == "bouncers" }) && s.file.ServesLAPI() {
		usage = s.bouncerUsage(ctx)
	}
	if s.format == jsonText {
		out := make(map[string]any)
		for _, w := range wanted {
			if w.name == "bouncers" {
				out[w.name] = usageTree(usage)
				continue
			}
			out[w.name] = w.tree(samples)
		}
		return s.json(out, " ")
	}
	for _, w := range wanted {
		if w.name == "bouncers" {
			if err := s.usageTables(usage, c.NoUnit); err != nil {
				return err
			}
			continue
		}
		if err := s.sectionTable(w, samples, len(c.Sections) > 0, c.NoUnit); err != nil {
			return err
		}
	}
	return nil
}

func wantedSections(names []string) (list []*section, err error) {
	want := make(map[string]bool)
	for _, name := range names {
		known := slices.ContainsFunc(sections, func(s section) bool { return s.name == name })
		if _, group := groups[name]; !known && !group {
			return nil, fmt.Errorf("unknown metrics type: %s", name)
		}
		for _, part := range groups[name] {
			want[part] = true
		}
		if known {
			want[name] = true
		}
	}
	for i := range sections {
		if len(names) == 0 || want[sections[i].name] {
			list = append(list, &sections[i])
		}
	}
	return list, nil
}

// samples returns the numbers at a URL, or those of the running processes, or
// else those of the page that the configuration names.
func (s *session) samples(ctx context.Context, url string) (samples []metric.Sample, err error) {
	if url == "" && s.file.Cscli.PrometheusURI == "" {
		for _, p := range s.runningPages(ctx) {
			samples = append(samples, p.samples...)
		}
		if samples != nil {
			return samples, nil
		}
	}
	if url = first(url, s.file.MetricsURL()); url == "" {
		if s.file.Prometheus != nil {
			return nil, errors.New("prometheus is not enabled, can't show metrics")
		}
		return nil, fmt.Errorf("nothing runs: there is no process behind %s, and no prometheus section in the configuration", s.socket)
	}
	p, err := readPage(ctx, url)
	if err != nil {
		s.warn("fetching metrics: %v", err)
	}
	return p.samples, nil
}

// bouncerUsage returns what bouncers have reported to the LAPI of this host.
func (s *session) bouncerUsage(ctx context.Context) (list []api.Usage) {
	err := s.admin(ctx, mustExist, func(a *api.Admin) (err error) {
		list, err = a.Usage(ctx)
		return err
	})
	if err != nil {
		s.debug("no reports of bouncers: %v", err)
	}
	return slices.DeleteFunc(list, func(u api.Usage) bool { return u.Bouncer == "" })
}

// rows adds up the samples of a section: by the names of a row, joined.
func (w *section) rows(samples []metric.Sample) map[string][]float64 {
	const none = -1
	rows := make(map[string][]float64)
	for _, m := range samples {
		names, column, ok := w.of(m)
		if !ok {
			continue
		}
		key := strings.Join(names, "\x00")
		row := rows[key]
		if row == nil {
			row = slices.Repeat([]float64{none}, len(w.columns))
			rows[key] = row
		}
		row[column] = max(row[column], 0) + m.Value
	}
	return rows
}

// tree is the section as JSON: an object for each name, down to the numbers.
func (w *section) tree(samples []metric.Sample) map[string]any {
	out := make(map[string]any)
	for key, row := range w.rows(samples) {
		at, names := out, strings.Split(key, "\x00")
		if w.name == "stash" { // upstream's shape
			out[names[0]] = map[string]any{"Type": names[1], "Count": int64(row[0])}
			continue
		}
		for _, name := range names[:len(names)-1] {
			next, ok := at[name].(map[string]any)
			if !ok {
				next = make(map[string]any)
				at[name] = next
			}
			at = next
		}
		last := names[len(names)-1]
		if len(w.fields) == 0 {
			at[last] = int64(row[0])
			continue
		}
		numbers := make(map[string]int64)
		for i, field := range w.fields {
			numbers[field] = int64(max(row[i], 0))
		}
		at[last] = numbers
	}
	return out
}

func (s *session) sectionTable(w *section, samples []metric.Sample, named, noUnit bool) error {
	rows := w.rows(samples)
	if len(rows) == 0 && !named {
		return nil
	}
	t := s.table(append(slices.Clone(w.keys), w.columns...)...)
	t.title = w.title
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		cells := strings.Split(key, "\x00")
		for _, n := range rows[key] {
			cells = append(cells, count(n, noUnit))
		}
		t.add(cells...)
	}
	return s.text(t.boxed())
}

// count is a number in a table: "-" for none, "1.23k" above a thousand.
func count(n float64, noUnit bool) string {
	if n < 0 || n == 0 && !noUnit {
		return "-"
	}
	if noUnit || n < 1000 {
		return strconv.FormatFloat(math.Round(n), 'f', -1, 64)
	}
	units := "kMGTPE"
	i := -1
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64) + units[i:i+1]
}

// origins are spelled out in tables.
var origins = map[string]string{
	"CAPI": "CAPI (community blocklist)", "cscli": "cscli (manual decisions)", "crowdsec": "crowdsec (security engine)",
	"cscli-import": "cscli-import (imported decisions)", "lists": "lists (subscribed blocklists)", "console": "console (decisions from the console)",
}

// usageTree is bouncer -> origin -> metric -> unit -> number.
func usageTree(list []api.Usage) map[string]map[string]map[string]map[string]int64 {
	out := make(map[string]map[string]map[string]map[string]int64)
	for _, u := range list {
		b := make(map[string]map[string]map[string]int64)
		for _, item := range u.Items {
			origin := item.Labels["origin"]
			if b[origin] == nil {
				b[origin] = make(map[string]map[string]int64)
			}
			if b[origin][item.Name] == nil {
				b[origin][item.Name] = make(map[string]int64)
			}
			b[origin][item.Name][item.Unit] += int64(item.Value)
		}
		out[u.Bouncer] = b
	}
	return out
}

// usageTables shows a table for each bouncer: a row for each origin, a column
// for each number, and the sums.
func (s *session) usageTables(list []api.Usage, noUnit bool) error {
	tree := usageTree(list)
	for _, u := range list {
		b := tree[u.Bouncer]
		type column struct{ metric, unit string }
		sums := make(map[column]float64)
		for _, numbers := range b {
			for name, units := range numbers {
				for unit, n := range units {
					sums[column{name, unit}] += float64(n)
				}
			}
		}
		columns := slices.Collect(maps.Keys(sums))
		order.Sort(columns, func(a, b column) int { return strings.Compare(a.metric+"\x00"+a.unit, b.metric+"\x00"+b.unit) })
		t := s.table("Origin")
		t.title = fmt.Sprintf("Bouncer Metrics (%s) since %s", u.Bouncer, u.Since.UTC().Format("2006-01-02 15:04:05 -0700 MST"))
		t.groups = []string{""}
		for i, c := range columns {
			name := c.metric
			if i > 0 && columns[i-1].metric == name {
				name = ""
			}
			t.groups = append(t.groups, name)
			t.header = append(t.header, unitName(c.unit))
		}
		row := func(name string, of func(column) float64) {
			cells := []string{name}
			for _, c := range columns {
				cells = append(cells, count(of(c), noUnit))
			}
			t.add(cells...)
		}
		for _, origin := range slices.Sorted(maps.Keys(b)) {
			if origin == "" && onlyProcessed(b[origin]) {
				continue // what was looked at has no origin: it is in the sum
			}
			row(first(origins[origin], origin), func(c column) float64 { return float64(b[origin][c.metric][c.unit]) })
		}
		row("Total", func(c column) float64 { return sums[c] })
		if err := s.text(t.boxed()); err != nil {
			return err
		}
	}
	return nil
}

func onlyProcessed(numbers map[string]map[string]int64) bool {
	for name := range numbers {
		if name != "processed" {
			return false
		}
	}
	return true
}

func unitName(unit string) string {
	switch unit {
	case "ip":
		return "IPs"
	case "byte", "packet", "request":
		return unit + "s"
	}
	return unit
}

// MetricsList lists the sections.
type MetricsList struct{}

// Run lists.
func (c *MetricsList) Run(ctx context.Context, env *platform.Env, g *Globals) error {
	s, err := open(env, g)
	if err != nil {
		return err
	}
	switch s.format {
	case raw:
		return errNoRaw
	case jsonText:
		type entry struct {
			Type        string `json:"type"`
			Title       string `json:"title"`
			Description string `json:"description"`
		}
		var list []entry
		for _, w := range sections {
			list = append(list, entry{w.name, w.title, w.description})
		}
		return s.json(list, " ")
	}
	t := s.table("Type", "Title", "Description")
	for _, w := range sections {
		t.add(w.name, w.title, w.description)
	}
	return s.text(t.boxed())
}
