package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cs/pipeline"
)

const (
	// Of a source of which lines were understood, so many lines in a row of which none was, over
	// so long, are an alarm: its format has changed, or its parser is gone.
	unparsedLines = 200
	unparsedTime  = 10 * time.Minute
	// understood is how many lines must have been understood before.
	understood = 20
)

// unparsed finds sources of which no line is understood any more. It belongs to one goroutine.
type unparsed struct{ by map[string]*understanding }

type understanding struct {
	lines, parsed uint64 // so far
	since         uint64 // lines when one was understood last …
	at            time.Time
	alarmed       bool
}

// check takes the counters of now and returns what is to be said, once for each source, and
// which sources are not understood.
func (u *unparsed) check(traffic []pipeline.Traffic, now time.Time) (alarms []error, names []string) {
	if u.by == nil {
		u.by = make(map[string]*understanding)
	}
	sums := make(map[string]understanding)
	for _, t := range traffic {
		if t.Module == "" {
			continue // events of postoverflows
		}
		s := sums[t.Source]
		s.lines, s.parsed = s.lines+t.Lines, s.parsed+t.Parsed
		sums[t.Source] = s
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		s, k := sums[name], u.by[name]
		if k == nil {
			k = &understanding{at: now}
			u.by[name] = k
		}
		k.lines = s.lines
		switch {
		case s.parsed > k.parsed:
			k.parsed, k.since, k.at, k.alarmed = s.parsed, s.lines, now, false
		case k.parsed >= understood && k.lines-k.since >= unparsedLines && now.Sub(k.at) >= unparsedTime && !k.alarmed:
			k.alarmed = true
			alarms = append(alarms, fmt.Errorf("none of the last %d lines of %s was understood, and of those before %d were: has its format changed?",
				k.lines-k.since, name, k.parsed))
		}
		if k.alarmed {
			names = append(names, name)
		}
	}
	maps.DeleteFunc(u.by, func(name string, _ *understanding) bool { _, ok := sums[name]; return !ok })
	return alarms, names
}
