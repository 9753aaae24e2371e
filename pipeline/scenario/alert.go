package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"cs/decisions"
	"cs/pipeline/bucket"
)

// Overflow is what a scenario has to tell when one of its buckets is full.
type Overflow struct {
	// Alerts has one alert for each source, in the order in which they came up.
	// They share their events.
	Alerts []decisions.Alert

	// Keys tell the sources apart: Alerts[i] is about Keys[i], which is the
	// Value of its source as the log spelt it, and stays when a postoverflow
	// changes that. Spelt[i] is its address as the log spelt it.
	Keys, Spelt []string

	Mapkey    string    // the name of the bucket, if somebody asks for it
	At        time.Time // of the overflow
	Reprocess bool      // the scenarios want to see it as an event
}

// tell turns a full bucket into alerts. Without a source there are
// none: nobody could be punished.
func (s *Set) tell(sc *Scenario, o *bucket.Overflow, replay bool) *Overflow {
	zone := time.UTC
	if n := o.Len(); replay && n > 0 { // times are those of the log, in its zone
		if t, err := time.Parse(time.RFC3339, textIn(o.Record(n-1), isTimestamp)); err == nil {
			zone = t.Location()
		}
	}
	at := func(ns int64) time.Time { return time.Unix(0, ns).In(zone) }
	out := &Overflow{At: at(o.At), Reprocess: sc.reprocess}
	var sources []decisions.Source
	var ids []string // keys, but one for all spellings of an address
	events := make([]decisions.Event, 0, o.Len())
	for i := range o.Len() {
		k := s.codec.read(o.Record(i))
		add := func(id, key, spelt string, src decisions.Source) {
			j := slices.Index(ids, id)
			if j < 0 {
				j = len(ids)
				ids, sources = append(ids, id), append(sources, src)
				out.Keys, out.Spelt = append(out.Keys, key), append(out.Spelt, spelt)
			}
			sources[j], out.Keys[j], out.Spelt[j] = src, key, spelt // the last event's details win
		}
		if k.overflow {
			sc.takeOver(&k, add)
		} else if src, ok := sc.source(&k); ok {
			key := src.Value
			if src.Scope == decisions.ScopeIP {
				key = k.source.IP
			}
			add(src.Value, key, k.source.IP, src)
		} else {
			return &Overflow{At: out.At}
		}
		for j := range k.event.Meta {
			k.event.Meta[j].Value = clean(k.event.Meta[j].Value)
		}
		events = append(events, k.event)
	}
	who := fmt.Sprintf("%d sources", len(sources))
	if len(sources) == 1 {
		who = ids[0]
	}
	for _, src := range sources {
		out.Alerts = append(out.Alerts, decisions.Alert{
			UUID:     s.newUUID(),
			Scenario: sc.name,
			Message: fmt.Sprintf("%s %s performed '%s' (%d events over %s) at %s", sc.scope, who, sc.name,
				o.Total, time.Duration(o.At-o.First), at(o.Last)),
			Kind:            "crowdsec",
			Capacity:        int32(sc.spec.Capacity),
			Leakspeed:       sc.spec.Leakspeed.String(),
			EventsCount:     int32(o.Total),
			Remediation:     sc.remediation,
			Simulated:       sc.simulated,
			ScenarioHash:    sc.hash,
			ScenarioVersion: sc.version,
			Source:          src,
			Events:          events,
			StartAt:         at(o.First),
			StopAt:          at(o.At),
			Created:         at(o.At),
		})
	}
	return out
}

// takeOver adds the sources of an overflow that became an event: those that the
// scenario is about, or the ranges of addresses.
func (sc *Scenario) takeOver(k *kept, add func(id, key, spelt string, src decisions.Source)) {
	for _, s := range k.sources {
		switch {
		case s.source.Scope == sc.scope:
			add(s.key, s.key, s.source.IP, s.source)
		case sc.scope == decisions.ScopeRange && s.source.Scope == decisions.ScopeIP:
			s.source.Scope, s.source.Value = sc.scope, s.source.Range
			if sc.scopeValue != nil {
				s.source.Value = clean(k.scopeValue)
			}
			if s.source.Value != "" {
				add(s.source.Value, s.source.Value, s.source.IP, s.source)
			}
		}
	}
}

// source returns whom a kept event is about. ok is false if there is no alert
// because of it.
func (sc *Scenario) source(k *kept) (src decisions.Source, ok bool) {
	if sc.scope != decisions.ScopeIP && sc.scope != decisions.ScopeRange {
		return decisions.Source{Scope: sc.scope, Value: clean(k.scopeValue)}, k.hasValue
	}
	src = k.source
	src.Scope = sc.scope
	addr, err := decisions.ParseAddr(src.IP)
	if err != nil {
		return src, false
	}
	// A server that listens on both families logs ::ffff:192.0.2.1 for an IPv4
	// client, whose packets no ban of that address would stop.
	src.IP = addr.String()
	if src.Range != "" {
		p, err := decisions.ParsePrefix(src.Range)
		if err != nil {
			return src, false
		}
		src.Range = p.String()
	}
	switch {
	case sc.scope == decisions.ScopeIP:
		src.Value = src.IP
	case sc.scopeValue == nil:
		src.Value = src.Range
	default:
		src.Value = clean(k.scopeValue)
		return src, k.hasValue
	}
	return src, true
}

func degrees(s string) float32 {
	f, err := strconv.ParseFloat(s, 32)
	if err != nil {
		return 0
	}
	return float32(f)
}
