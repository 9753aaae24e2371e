// Package status answers what an operator asks of a host: does it work
// (Look), why is this address banned (Explain), what is set up wrongly
// (Examine). It computes answers from what others have asked the running
// processes for; roles/cli collects that and prints them. It opens nothing but
// files.
package status

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cs/platform/metric"
	"cs/platform/order"
	"cs/roles/api"
)

const (
	// silentMachine and silentBouncer are how long an account may be silent until
	// something is wrong with it: machines send a heartbeat each minute,
	// bouncers ask at least that often.
	silentMachine = 2 * time.Minute
	silentBouncer = 5 * time.Minute
	// forgotten is how long after its last sign of life an account is no concern
	// any more: somebody has taken it out of use.
	forgotten = 24 * time.Hour
	// lagging is how old a line may be when it is read.
	lagging = time.Minute
	// poorly is the share of lines below which nobody seems to understand a log.
	poorly   = 0.01
	fewLines = 100
	// drifted is the share of the wanted prefixes below which a firewall doesn't
	// do what it should.
	drifted = 0.99
)

// Seen is what was found out about a host.
type Seen struct {
	Now     time.Time
	Pages   [][]metric.Sample // of the running processes
	ServesL bool              // it is to have a LAPI
	LAPI    error             // why the LAPI doesn't answer; nil: it does

	Machines []api.Machine
	Bouncers []api.Bouncer
	Usage    []api.Usage // that bouncers have reported
	Firewall *Firewall   // the bouncer of this host; nil: there is none
}

// Firewall is what a running bouncer says of itself (roles/bouncer.Status).
type Firewall struct {
	Backend     string         `json:"backend"`
	Version     string         `json:"version"`
	Desired     int64          `json:"desired"`
	Enforced    int64          `json:"enforced"`
	Ratio       float64        `json:"enforced_ratio"`
	Unenforced  map[string]int `json:"unenforced"`
	Trouble     string         `json:"trouble"`
	LastPull    time.Time      `json:"last_pull"`
	PullTrouble string         `json:"pull_trouble"`
}

// Report is the state of a host.
type Report struct {
	OK        bool       `json:"ok"`
	Problems  []Problem  `json:"problems"`
	LAPI      string     `json:"lapi"` // "ok", or what is wrong
	Processes []Process  `json:"processes"`
	Sources   []Source   `json:"sources"`
	Buckets   int64      `json:"buckets"`
	Scenarios int        `json:"scenarios"` // with buckets
	Overflows int64      `json:"overflows"`
	Decisions []Decision `json:"decisions"`
	Machines  []Account  `json:"machines"`
	Bouncers  []Account  `json:"bouncers"`
}

// Problem is something that is wrong, and what helps.
type Problem struct {
	What string `json:"what"`
	Fix  string `json:"fix,omitempty"`
}

// Process is a running process.
type Process struct {
	Version    string    `json:"version,omitempty"`
	Started    time.Time `json:"started"`
	Memory     int64     `json:"memory_bytes"`
	Goroutines int64     `json:"goroutines"`
}

// Source is a log that is read.
type Source struct {
	Name   string   `json:"name"`
	Read   int64    `json:"read"`
	Parsed int64    `json:"parsed"`
	Ratio  float64  `json:"parsed_ratio"`
	Lag    *float64 `json:"lag_seconds,omitempty"` // age of the last line when it was read; nil: unknown

	LastLine *time.Time `json:"last_line,omitempty"` // when lines came last
	Dropped  int64      `json:"dropped,omitempty"`   // lines that were lost before they could be read
}

// Decision counts the decisions of an origin and a type.
type Decision struct {
	Origin string `json:"origin"`
	Type   string `json:"type"`
	Count  int64  `json:"count"`
}

// Account is a machine or a bouncer.
type Account struct {
	Name     string     `json:"name"`
	Type     string     `json:"type,omitempty"`
	Version  string     `json:"version,omitempty"`
	LastSeen *time.Time `json:"last_seen"`
	Pending  bool       `json:"pending,omitempty"`
	// Of firewalls that say so: what they should block, and what they do.
	Wanted   *int64   `json:"wanted,omitempty"`
	Enforced *int64   `json:"enforced,omitempty"`
	Ratio    *float64 `json:"enforced_ratio,omitempty"`
}

// LocalFirewall is the name of the bouncer of this host at a LAPI in the same process.
const LocalFirewall = "firewall"

// Look judges what was seen.
func Look(s *Seen) Report {
	r := Report{Problems: []Problem{}, Processes: []Process{}, Sources: []Source{}, Decisions: []Decision{}, Machines: []Account{}, Bouncers: []Account{}}
	r.lapi(s)
	for _, page := range s.Pages {
		r.Processes = append(r.Processes, processOf(page))
	}
	if len(s.Pages) == 0 && s.Firewall == nil {
		r.problem("no process of this host runs, or none that we may ask", "start it: systemctl start crowdsec, or cs run; look at its log if it ends")
	}
	samples := slices.Concat(s.Pages...)
	r.sources(samples)
	r.counts(samples)
	r.machines(s)
	r.bouncers(s)
	r.OK = len(r.Problems) == 0
	return r
}

const seeDoctor = "cs doctor looks for the reason"

func (r *Report) problem(what, fix string) { r.Problems = append(r.Problems, Problem{what, fix}) }

func (r *Report) lapi(s *Seen) {
	r.LAPI = "ok"
	if s.LAPI != nil {
		r.LAPI = s.LAPI.Error()
		r.problem("the local API doesn't answer: "+r.LAPI, seeDoctor)
	}
}

func processOf(page []metric.Sample) (p Process) {
	for _, m := range page {
		switch m.Name {
		case "cs_info":
			p.Version = m.Labels["version"]
		case "process_start_time_seconds":
			p.Started = time.Unix(int64(m.Value), 0).UTC()
		case "process_resident_memory_bytes":
			p.Memory = int64(m.Value)
		case "go_memstats_sys_bytes":
			if p.Memory == 0 {
				p.Memory = int64(m.Value)
			}
		case "go_goroutines":
			p.Goroutines = int64(m.Value)
		}
	}
	return p
}

func (r *Report) sources(samples []metric.Sample) {
	found := make(map[string]*Source)  // what was read, by file
	meters := make(map[string]*Source) // what is configured, which may be many files
	silent := make(map[string]bool)
	of := func(list map[string]*Source, m *metric.Sample) *Source {
		name := m.Labels["source"]
		if list[name] == nil {
			list[name] = &Source{Name: name}
		}
		return list[name]
	}
	for i := range samples {
		m := &samples[i]
		if m.Labels["source"] == "" {
			continue
		}
		_, hits := strings.CutSuffix(m.Name, "source_hits_total")
		switch {
		case hits && strings.HasPrefix(m.Name, "cs_"):
			of(found, m).Read += int64(m.Value)
		case m.Name == "cs_parser_hits_ok_total":
			of(found, m).Parsed += int64(m.Value)
		case m.Name == "cs_source_lag_seconds":
			of(meters, m).Lag = &m.Value
		case m.Name == "cs_source_last_line_timestamp_seconds":
			of(meters, m).LastLine = seen(unix(m.Value))
		case m.Name == "cs_source_dropped_total":
			of(meters, m).Dropped += int64(m.Value)
		case m.Name == "cs_source_unparsed" && m.Value > 0:
			r.problem(fmt.Sprintf("no line of %s is understood any more", m.Labels["source"]),
				"the format of the log has changed, or a parser is gone: cs explain -f FILE -t TYPE shows why")
		case m.Name == "cs_source_silent" && m.Value > 0:
			silent[m.Labels["source"]] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meters)) {
		r.meter(meters[name], silent[name])
		known := false
		for file, s := range found {
			if readBy(file, name) {
				known = true
				s.Lag, s.LastLine = meters[name].Lag, meters[name].LastLine
			}
		}
		if !known {
			found[name] = meters[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		s := found[name]
		if s.Read > 0 {
			s.Ratio = round(float64(s.Parsed) / float64(s.Read))
		}
		r.Sources = append(r.Sources, *s)
		if s.Read >= fewLines && s.Ratio < poorly {
			r.problem(fmt.Sprintf("hardly a line of %s is understood (%d of %d)", s.Name, s.Parsed, s.Read),
				"the type label of its acquisition doesn't fit, or a parser is missing: cs explain -f FILE -t TYPE shows why")
		}
	}
}

// meter judges a source as it is configured.
func (r *Report) meter(s *Source, silent bool) {
	if s.Lag != nil && *s.Lag > lagging.Seconds() {
		r.problem(fmt.Sprintf("%s is read %s late", s.Name, time.Duration(*s.Lag*float64(time.Second)).Round(time.Second)),
			"the machine is overloaded, or the clocks of the log and of this host differ")
	}
	if silent {
		r.problem(s.Name+" has been silent for much longer than it usually is", "look whether the service still logs there")
	}
	if s.Dropped > 0 {
		r.problem(fmt.Sprintf("%d lines of %s were lost before they could be read", s.Dropped, s.Name), "the machine is overloaded: look at its load, and at what sends so much")
	}
}

// readBy tells whether a file is read because of a source, whose name is a list
// of patterns of paths; they may be relative to a directory that we don't know.
func readBy(file, source string) bool {
	for pattern := range strings.SplitSeq(source, ",") {
		if file == pattern {
			return true
		}
		at := file
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Clean(pattern)
			for cut := strings.Count(filepath.ToSlash(at), "/") - strings.Count(filepath.ToSlash(pattern), "/"); cut > 0; cut-- {
				_, at, _ = strings.Cut(filepath.ToSlash(at), "/")
			}
		}
		if ok, err := filepath.Match(pattern, filepath.FromSlash(at)); err == nil && ok {
			return true
		}
	}
	return false
}

func unix(seconds float64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(seconds * 1e6))
}

func round(f float64) float64 { return math.Round(f*10000) / 10000 }

func (r *Report) counts(samples []metric.Sample) {
	type key struct{ origin, typ string }
	kinds := make(map[key]int64)
	for i := range samples {
		m := &samples[i]
		switch m.Name {
		case "cs_buckets":
			r.Buckets += int64(m.Value)
			if m.Value > 0 {
				r.Scenarios++
			}
		case "cs_bucket_overflowed_total":
			r.Overflows += int64(m.Value)
		case "cs_active_decisions":
			kinds[key{m.Labels["origin"], m.Labels["action"]}] += int64(m.Value)
		}
	}
	for k, n := range kinds {
		r.Decisions = append(r.Decisions, Decision{k.origin, k.typ, n})
	}
	order.Sort(r.Decisions, func(a, b Decision) int {
		return strings.Compare(a.Origin+"\x00"+a.Type, b.Origin+"\x00"+b.Type)
	})
}

func (r *Report) machines(s *Seen) {
	for i := range s.Machines {
		m := &s.Machines[i]
		if m.Name == api.SocketMachine {
			continue // commands of this host
		}
		a := Account{Name: m.Name, Version: m.Version, Pending: !m.Validated, LastSeen: seen(m.LastHeartbeat)}
		r.Machines = append(r.Machines, a)
		switch silent := s.Now.Sub(m.LastHeartbeat); {
		case a.Pending:
			r.problem("machine "+m.Name+" waits to be let in", "cs machines validate "+m.Name)
		case !m.LastHeartbeat.IsZero() && silent > silentMachine && silent < forgotten:
			r.problem(fmt.Sprintf("machine %s has been silent for %s", m.Name, silent.Round(time.Second)), "look at it, or cs machines delete "+m.Name)
		}
	}
}

func seen(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (r *Report) bouncers(s *Seen) {
	reported := make(map[string]int64)
	for _, u := range s.Usage {
		for _, item := range u.Items {
			if item.Name == "active_decisions" {
				reported[u.Bouncer] += int64(item.Value)
			}
		}
	}
	named := false
	for i := range s.Bouncers {
		b := &s.Bouncers[i]
		a := Account{Name: b.Name, Type: b.Type, Version: b.Version, LastSeen: seen(b.LastPull)}
		if b.Name == LocalFirewall && s.Firewall != nil {
			named = true
			r.firewall(&a, s.Firewall)
		} else if n, ok := reported[b.Name]; ok {
			a.Enforced = &n
		}
		r.Bouncers = append(r.Bouncers, a)
		silent := s.Now.Sub(b.LastPull)
		if !b.LastPull.IsZero() && silent > silentBouncer && silent < forgotten {
			r.problem(fmt.Sprintf("bouncer %s has not asked for decisions for %s", b.Name, silent.Round(time.Second)), "look at it, or cs bouncers delete "+b.Name)
		}
	}
	if s.Firewall != nil && !named {
		a := Account{Name: LocalFirewall, Version: s.Firewall.Version, LastSeen: seen(s.Firewall.LastPull)}
		r.firewall(&a, s.Firewall)
		r.Bouncers = append(r.Bouncers, a)
	}
	asked := s.Firewall != nil || slices.ContainsFunc(s.Bouncers, func(b api.Bouncer) bool { return s.Now.Sub(b.LastPull) < forgotten })
	switch {
	case !s.ServesL || s.LAPI != nil:
	case len(r.Bouncers) == 0:
		r.problem("nobody enforces the decisions: there is no bouncer", "cs bouncer-firewall --token TOKEN on each machine to protect, or cs bouncers add NAME")
	case !asked:
		r.problem("nobody enforces the decisions: no bouncer has asked for them within a day", "start one; if it runs, look at its log, its URL and its key")
	}
}

func (r *Report) firewall(a *Account, f *Firewall) {
	ratio := round(f.Ratio)
	a.Type, a.Wanted, a.Enforced, a.Ratio = f.Backend, &f.Desired, &f.Enforced, &ratio
	if ratio < drifted {
		why := f.Trouble
		for _, reason := range slices.Sorted(maps.Keys(f.Unenforced)) {
			why = strings.TrimPrefix(fmt.Sprintf("%s, %d: %s", why, f.Unenforced[reason], reason), ", ")
		}
		r.problem(fmt.Sprintf("the firewall blocks %d of %d prefixes (%s)", f.Enforced, f.Desired, why), "cs bouncer-firewall verify, and its log, tell what is missing")
	}
	if f.PullTrouble != "" {
		r.problem("the firewall hears nothing of new decisions: "+f.PullTrouble, seeDoctor)
	}
}
