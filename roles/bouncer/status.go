package bouncer

import (
	"context"
	"maps"
	"slices"
	"time"

	"cs/remediate"
)

// Status is what a running bouncer tells of itself.
type Status struct {
	Backend string    `json:"backend"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`

	// What should be blocked, in prefixes, what is, and why the rest is not.
	Desired       int            `json:"desired"`
	Enforced      int            `json:"enforced"`
	EnforcedRatio float64        `json:"enforced_ratio"`
	Unenforced    map[string]int `json:"unenforced"`
	Healthy       bool           `json:"healthy"`
	Trouble       string         `json:"trouble,omitempty"`

	Decisions int           `json:"decisions"`
	Origins   []OriginState `json:"origins"`
	Processed []FamilyCount `json:"processed,omitempty"`

	// The LAPI.
	LastPull    time.Time `json:"last_pull"` // zero: never
	PullTrouble string    `json:"pull_trouble,omitempty"`
	Pulls       uint64    `json:"pulls"`
	Failures    uint64    `json:"pull_failures"`
	Resyncs     uint64    `json:"resyncs"`
	Suspect     uint64    `json:"suspect_lists"` // full lists that were not believed

	// From a decision to its place in the packet filter, the last one and the
	// longest of the last minutes; 0: not known.
	Lag        float64 `json:"lag_seconds"`
	LongestLag float64 `json:"longest_lag_seconds"`

	Guards  []Guard  `json:"guards"`
	Ports   []string `json:"ignored_ports,omitempty"` // to which nobody is blocked
	Repairs uint64   `json:"repairs"`
	Errors  uint64   `json:"errors"`
	Ended   uint64   `json:"ended_connections"`
}

// OriginState is what is blocked for an origin, and what that has stopped since
// this process began.
type OriginState struct {
	Origin  string `json:"origin"`
	IPv4    int    `json:"ipv4"`
	IPv6    int    `json:"ipv6"`
	Packets uint64 `json:"dropped_packets"`
	Bytes   uint64 `json:"dropped_bytes"`
}

// FamilyCount is what was looked at.
type FamilyCount struct {
	Type    string `json:"ip_type"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// pulls is what is known of the feed.
type pulls struct {
	last              time.Time
	trouble           string
	count, failures   uint64
	resyncs, suspects uint64
}

// lag is how long bans took.
type lag struct {
	last, longest time.Duration
	at            time.Time // of the longest
}

// lagMemory is for how long the longest lag is told.
const lagMemory = 15 * time.Minute

func (l *lag) add(d time.Duration, now time.Time) {
	l.last = d
	if d >= l.longest || now.Sub(l.at) > lagMemory {
		l.longest, l.at = d, now
	}
}

// Status tells how things are.
func (b *Bouncer) Status(ctx context.Context) Status {
	s, _ := b.look(ctx)
	return s
}

// look is Status, and how many prefixes of each length are blocked.
func (b *Bouncer) look(ctx context.Context) (Status, map[remediate.Length]int) {
	st := b.r.Stats()
	name, _ := b.r.Chosen()
	s := Status{
		Backend: name, Version: b.cfg.Usage.Version, Started: b.started,
		Desired: st.Wanted, Enforced: st.Applied, EnforcedRatio: st.EnforcedRatio(), Unenforced: st.Unenforced,
		Healthy: st.Healthy, Trouble: st.Trouble, Decisions: st.Decisions,
		Repairs: st.Repairs, Errors: st.Errors, Ended: st.Ended,
	}
	s.Origins = []OriginState{} // "[]" for scripts
	totals := b.totals(ctx)
	census, lengths := b.r.Census()
	byOrigin := map[string]*OriginState{}
	origin := func(key string) *OriginState {
		if byOrigin[key] == nil {
			byOrigin[key] = &OriginState{Origin: key}
		}
		return byOrigin[key]
	}
	for key, n := range census {
		o := origin(key)
		o.IPv4, o.IPv6 = n.IPv4, n.IPv6
	}
	for _, key := range sortedKeys(totals) {
		c := totals[key]
		if key.origin == "" {
			s.Processed = append(s.Processed, FamilyCount{ipType(key.ipv6), c.Packets, c.Bytes})
			continue
		}
		o := origin(key.origin)
		o.Packets += c.Packets
		o.Bytes += c.Bytes
	}
	for _, key := range slices.Sorted(maps.Keys(byOrigin)) {
		s.Origins = append(s.Origins, *byOrigin[key])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.pulls
	s.LastPull, s.PullTrouble, s.Pulls, s.Failures, s.Resyncs, s.Suspect = p.last, p.trouble, p.count, p.failures, p.resyncs, p.suspects
	s.Lag, s.LongestLag = b.lag.last.Seconds(), b.lag.longest.Seconds()
	s.Guards, s.Ports = append([]Guard{}, b.guarded...), b.ports()
	return s, lengths
}

// ports tells to which ports nobody is blocked.
func (b *Bouncer) ports() (list []string) {
	for _, p := range b.cfg.IgnorePorts {
		list = append(list, p.String())
	}
	return list
}

// totals reads the counters; they go on over a reset of the kernel's. What can't
// be read now is as it was.
func (b *Bouncer) totals(ctx context.Context) map[counted]remediate.Counter {
	b.meterMu.Lock()
	defer b.meterMu.Unlock()
	_ = b.meter.read(ctx)
	return maps.Clone(b.meter.total)
}
