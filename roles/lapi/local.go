package lapi

import (
	"context"
	"slices"
	"time"

	"cs/decisions"
	"cs/roles/api"
)

// feedInterval is how long Feed.Next waits for news before it says that there
// are none: a sign of life, as a poll would be.
const feedInterval = 10 * time.Second

// feedPart is how many decisions are told at a time, or a page of the log more.
const feedPart = 4096

// Local is the server for an agent in the same process: what a Client does
// over HTTP, as function calls.
type Local struct {
	s       *Server
	machine string
}

// Local returns the link for an agent. Its machine is made when it is first
// heard of; nobody can log in as it from outside.
func (s *Server) Local(machineID string) *Local { return &Local{s: s, machine: machineID} }

// SendAlerts stores alerts and returns when they are on disk.
func (l *Local) SendAlerts(ctx context.Context, alerts []decisions.Alert) error {
	if err := l.s.ensureMachine(ctx, l.machine); err != nil {
		return err
	}
	own := slices.Clone(alerts) // accept changes them
	for i := range own {
		own[i].Decisions = slices.Clone(own[i].Decisions)
		own[i].Events = slices.Clone(own[i].Events)
		own[i].Meta = slices.Clone(own[i].Meta)
	}
	_, err := l.s.accept(ctx, l.machine, own)
	return err
}

// Heartbeat notes that the agent lives.
func (l *Local) Heartbeat(ctx context.Context) error {
	if err := l.s.ensureMachine(ctx, l.machine); err != nil {
		return err
	}
	l.s.machines.heartbeat(l.machine, l.s.now())
	return nil
}

// Report takes a report of usage of the agent.
func (l *Local) Report(ctx context.Context, report api.ComponentMetrics) error {
	if err := l.s.ensureMachine(ctx, l.machine); err != nil {
		return err
	}
	return l.s.reported(ctx, reporter{Name: l.machine}, report)
}

// Feed is the server for a bouncer in the same process. It is for one goroutine.
type Feed struct {
	s     *Server
	name  string
	at    decisions.Cursor
	query decisions.Query
	whole *news // the whole set that is being told, from where it goes on
	part  int   // of it
}

// Feed returns the link for a bouncer, which hears of addresses and ranges. It
// starts with the whole set. Its row is made when it first asks; nobody has a
// key for it.
func (s *Server) Feed(bouncerName string) *Feed {
	f := decisionFilter{scopes: streamScopes}
	return &Feed{s: s, name: bouncerName, query: f.query(false)}
}

// Report takes a report of usage of the bouncer. It may be called from any goroutine.
func (f *Feed) Report(ctx context.Context, report api.ComponentMetrics) error {
	return f.s.reported(ctx, reporter{Bouncer: true, Name: f.name}, report)
}

// Resync makes the next delta the whole set.
func (f *Feed) Resync() { f.at, f.whole = decisions.Cursor{}, nil }

// Next returns the next change. It blocks until there is one, or for ten
// seconds (then the delta is empty). The first delta is Full. Many decisions come
// in parts, so that they are never in memory all at once.
func (f *Feed) Next(ctx context.Context) (decisions.Delta, error) {
	if err := f.s.ensureBouncer(ctx, f.name); err != nil {
		return decisions.Delta{}, err
	}
	n := f.whole
	if n == nil {
		n = &news{s: f.s, query: f.query, from: f.at}
		full, wait := !f.s.decisions.Knows(f.at), feedInterval
		if full {
			n.from, wait = decisions.Cursor{}, 0
		}
		if err := n.await(ctx, wait); err != nil {
			return decisions.Delta{}, err
		}
		if full {
			f.whole, f.part = n, 0
		}
	}
	delta := decisions.Delta{Full: f.whole != nil}
	at, more := n.from.ID, true
	for more && len(delta.New) < feedPart {
		if err := ctx.Err(); err != nil {
			return decisions.Delta{}, err
		}
		at, more = f.s.decisions.New(n.query, at, n.to.ID, n.now, func(r *decisions.Row) { delta.New = append(delta.New, r.Decision()) })
	}
	if delta.Full {
		delta.Part, delta.More = f.part, more
		f.part++
		if more {
			n.from.ID = at
			return delta, nil
		}
		f.whole = nil
	} else {
		delta.Deleted = f.s.decisions.Deleted(n.query, n.from, n.to)
	}
	f.at = n.to
	if more {
		f.at.ID = at // the rest is news, too
	}
	f.s.bouncers.told(f.name, f.at)
	return delta, nil
}
