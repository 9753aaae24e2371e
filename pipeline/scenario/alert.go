package scenario

import (
	"fmt"
	"strconv"
	"time"

	"cs/decisions"
	"cs/pipeline/bucket"
)

// alerts turns an overflow into one alert for each of its sources (spec §5.6).
// Without a source there is none: nobody could be punished.
func (s *Set) alerts(sc *Scenario, o *bucket.Overflow, emit func(decisions.Alert)) {
	var sources []decisions.Source
	events := make([]decisions.Event, 0, o.Len())
	for i := range o.Len() {
		k := s.codec.read(o.Record(i))
		src, ok := sc.source(&k)
		if !ok {
			return
		}
		known := false
		for j := range sources {
			if sources[j].Value == src.Value {
				sources[j], known = src, true // the last event's details win
			}
		}
		if !known {
			sources = append(sources, src)
		}
		for j := range k.event.Meta {
			k.event.Meta[j].Value = clean(k.event.Meta[j].Value)
		}
		events = append(events, k.event)
	}
	at := func(ns int64) time.Time { return time.Unix(0, ns).UTC() }
	who := fmt.Sprintf("%d sources", len(sources))
	if len(sources) == 1 {
		who = sources[0].Value
	}
	for _, src := range sources {
		emit(decisions.Alert{
			UUID:     s.newUUID(),
			Scenario: sc.name,
			Message: fmt.Sprintf("%s %s performed '%s' (%d events over %s) at %s", sc.scope, who, sc.name,
				o.Total, time.Duration(o.At-o.First), at(o.Last)),
			Kind:        "crowdsec",
			Capacity:    int32(sc.spec.Capacity),
			Leakspeed:   sc.spec.Leakspeed.String(),
			EventsCount: int32(o.Total),
			Remediation: sc.remediation,
			Source:      src,
			Events:      events,
			StartAt:     at(o.First),
			StopAt:      at(o.At),
			Created:     at(o.At),
		})
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
	if _, err := decisions.ParseAddr(src.IP); err != nil {
		return src, false
	}
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
