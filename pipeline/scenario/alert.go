package scenario

import (
	"slices"
	"strconv"
	"time"

	"cs/decisions"
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

// telling is the memory of an overflow with one source, as nearly all have.
type telling struct {
	overflow Overflow
	alert    [1]decisions.Alert
	names    [2]string
}

// told is what a Runner needs to tell of an overflow, kept for the next.
type told struct {
	metas   []decisions.KeyValue
	sources []decisions.Source
	ids     []string // keys, but one for all spellings of an address
	spelt   string   // the address that was read last, and
	addr    string   // how it is written
}

// tellAlerts turns the full bucket in r.overflow into alerts. Without a source there
// are none: nobody could be punished. text is that of the overflow.
func (r *Runner) tellAlerts(sc *Scenario, text string, replay bool) *Overflow {
	s, o, t := r.set, &r.overflow, &r.told
	zone := time.UTC
	if n := o.Len(); replay && n > 0 { // times are those of the log, in its zone
		last := text[len(text)-len(o.Record(n-1)):]
		if t, err := time.Parse(time.RFC3339, textOf(last, isTimestamp)); err == nil {
			zone = t.Location()
		}
	}
	at := func(ns int64) time.Time { return time.Unix(0, ns).In(zone) }
	room := &telling{overflow: Overflow{At: at(o.At), Reprocess: sc.reprocess}}
	out := &room.overflow
	out.Keys, out.Spelt, out.Alerts = room.names[0:0:1], room.names[1:1:2], room.alert[:0]
	defer func() {
		clear(t.metas)
		clear(t.sources)
		clear(t.ids)
		*t = told{t.metas[:0], t.sources[:0], t.ids[:0], "", ""}
	}()
	add := func(id, key, spelt string, src *decisions.Source) {
		j := slices.Index(t.ids, id)
		if j < 0 {
			j = len(t.ids)
			t.ids, t.sources = append(t.ids, id), append(t.sources, decisions.Source{})
			out.Keys, out.Spelt = append(out.Keys, key), append(out.Spelt, spelt)
		}
		t.sources[j], out.Keys[j], out.Spelt[j] = *src, key, spelt // the last event's details win
	}
	events := make([]decisions.Event, o.Len())
	ends := make([]int, 0, 16) // of their metas
	var k kept
	for i := range events {
		n := len(o.Record(i))
		k.reset()
		t.metas = s.codec.read(&k, text[:n], t.metas)
		text = text[n:]
		ends = append(ends, len(t.metas))
		events[i].Timestamp = k.timestamp
		if k.overflow {
			sc.takeOver(&k, add)
			continue
		}
		ip := k.source.IP
		if !sc.source(&k, t) {
			return &Overflow{At: out.At}
		}
		key := k.source.Value
		if k.source.Scope == decisions.ScopeIP {
			key = ip
		}
		add(k.source.Value, key, ip, &k.source)
	}
	metas, from := slices.Clone(t.metas), 0
	for i, end := range ends {
		if end > from {
			events[i].Meta = metas[from:end:end]
		}
		from = end
	}
	who := strconv.Itoa(len(t.sources)) + " sources"
	if len(t.sources) == 1 {
		who = t.ids[0]
	}
	for i := range t.sources {
		out.Alerts = append(out.Alerts, decisions.Alert{
			UUID:            s.newUUID(),
			Scenario:        sc.name,
			Message:         sc.message(who, o.Total, time.Duration(o.At-o.First), at(o.Last)),
			Kind:            "crowdsec",
			Capacity:        int32(sc.spec.Capacity),
			Leakspeed:       sc.leakspeed,
			EventsCount:     int32(o.Total),
			Remediation:     sc.remediation,
			Simulated:       sc.simulated,
			ScenarioHash:    sc.hash,
			ScenarioVersion: sc.version,
			Source:          t.sources[i],
			Events:          events,
			StartAt:         at(o.First),
			StopAt:          at(o.At),
			Created:         at(o.At),
		})
	}
	return out
}

// message says who did what: "%s %s performed '%s' (%d events over %s) at %s".
func (sc *Scenario) message(who string, total int, over time.Duration, at time.Time) string {
	b := make([]byte, 0, 256)
	b = append(append(append(b, sc.scope...), ' '), who...)
	b = append(append(append(b, " performed '"...), sc.name...), "' ("...)
	b = strconv.AppendInt(b, int64(total), 10)
	b = append(append(append(b, " events over "...), over.String()...), ") at "...)
	return string(at.AppendFormat(b, "2006-01-02 15:04:05.999999999 -0700 MST"))
}

// takeOver adds the sources of an overflow that became an event: those that the
// scenario is about, or the ranges of addresses.
func (sc *Scenario) takeOver(k *kept, add func(id, key, spelt string, src *decisions.Source)) {
	for i := range k.sources {
		s := &k.sources[i]
		switch {
		case s.source.Scope == sc.scope:
			add(s.key, s.key, s.source.IP, &s.source)
		case sc.scope == decisions.ScopeRange && s.source.Scope == decisions.ScopeIP:
			s.source.Scope, s.source.Value = sc.scope, s.source.Range
			if sc.scopeValue != nil {
				s.source.Value = clean(k.scopeValue)
			}
			if s.source.Value != "" {
				add(s.source.Value, s.source.Value, s.source.IP, &s.source)
			}
		}
	}
}

// source makes k.source whom a kept event is about. It is false if there is no alert
// because of it.
func (sc *Scenario) source(k *kept, t *told) bool {
	src := &k.source
	if sc.scope != decisions.ScopeIP && sc.scope != decisions.ScopeRange {
		*src = decisions.Source{Scope: sc.scope, Value: clean(k.scopeValue)}
		return k.hasValue
	}
	src.Scope = sc.scope
	if src.IP != t.spelt || src.IP == "" {
		addr, err := decisions.ParseAddr(src.IP)
		if err != nil {
			return false
		}
		// A server that listens on both families logs ::ffff:192.0.2.1 for an IPv4
		// client, whose packets no ban of that address would stop.
		t.spelt, t.addr = src.IP, addr.String()
	}
	src.IP = t.addr
	if src.Range != "" {
		p, err := decisions.ParsePrefix(src.Range)
		if err != nil {
			return false
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
		return k.hasValue
	}
	return true
}

func degrees(s string) float32 {
	f, err := strconv.ParseFloat(s, 32)
	if err != nil {
		return 0
	}
	return float32(f)
}
