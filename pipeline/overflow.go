package pipeline

import (
	"fmt"
	"net/netip"
	"time"

	"cs/decisions"
	"cs/pipeline/count"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/node"
	"cs/pipeline/scenario"
)

// maxReprocessed bounds the overflows that one may lead to, by scenarios
// about overflows whose overflows go through the scenarios again.
const maxReprocessed = 100

// aftermath is what a worker needs to handle overflows: an event of its own,
// because an overflow is an event, too, and the line's is still in use.
type aftermath struct {
	ctx   expr.Ctx
	parse *node.Runner
	pour  *scenario.Runner
	of    *scenario.Overflow
}

func (e *Engine) newAftermath(w *worker) *aftermath {
	a := &aftermath{}
	a.ctx.Event = event.New(e.schema)
	a.ctx.Stash = e.stashes
	a.parse = node.NewRunner(e.after, &a.ctx, w.failed)
	a.parse.Counts = count.New(len(e.after.Labels()) * node.Counted)
	a.pour = e.set.NewRunner(&a.ctx, w.overflow, w.failed)
	a.watch(w.tracer)
	return a
}

func (a *aftermath) watch(t Tracer) { watch(t, a.parse, a.pour, &a.ctx, &a.of) }

// overflow remembers what a scenario has to tell until the line is through:
// the scenarios' runner is in use.
func (w *worker) overflow(o *scenario.Overflow) { w.overflows = append(w.overflows, o) }

// maxPending bounds the overflows that wait to be settled together.
const maxPending = 64

// settle settles what overflowed with a line. If postoverflows ask for the names of
// addresses, it only begins to ask: that takes as long for many addresses as for one.
// Whoever calls it sees to settleAll.
func (w *worker) settle(now time.Time) {
	if len(w.overflows) == 0 {
		return
	}
	e := w.engine
	together := e.after.AskNames() && w.tracer == nil
	for _, o := range w.overflows {
		src := &o.Alerts[0].Source
		if ip, err := netip.ParseAddr(src.IP); together && err == nil && src.Scope == decisions.ScopeIP {
			e.lookups.ExpectNames(ip)
		}
	}
	w.pending = append(w.pending, w.overflows...)
	clear(w.overflows)
	w.overflows = w.overflows[:0]
	if !together || len(w.pending) >= maxPending {
		w.settleAll(now)
	}
}

// settleAll runs the postoverflows, sends the alerts and gives the overflows that
// want it to the scenarios.
func (w *worker) settleAll(now time.Time) {
	for _, o := range w.pending {
		w.overflows = append(w.overflows, o)
		for i := 0; i < len(w.overflows); i++ { // reprocessing adds to them
			if i == maxReprocessed {
				w.failed(w.overflows[i].Alerts[0].Scenario,
					fmt.Errorf("cannot reprocess overflow: more than %d follow from one", maxReprocessed))
				break
			}
			w.settleOne(w.overflows[i], now)
		}
		clear(w.overflows)
		w.overflows = w.overflows[:0]
	}
	clear(w.pending)
	w.pending = w.pending[:0]
}

func (w *worker) settleOne(o *scenario.Overflow, now time.Time) {
	e := w.engine
	if e.after.Len() > 0 || o.Reprocess || w.tracer != nil {
		if w.after == nil {
			w.after = e.newAftermath(w)
		}
		a := w.after
		ev := a.ctx.Event
		a.of = o
		ev.Reset(event.Line{Mode: event.Live}) // also during a replay
		ev.Time = now.UTC()
		ev.MarshaledTime = o.At.Format(time.RFC3339Nano)
		a.ctx.Now, a.ctx.Alert, a.ctx.Sources = now, &o.Alerts[0], o.Keys
		a.ctx.Alerts, a.ctx.Mapkey, a.ctx.Reprocess = o.Alerts, o.Mapkey, o.Reprocess
		a.parse.Run() // an overflow that no stage understands is one all the same
		if w.tracer != nil {
			w.tracer.Overflowed(ev, o)
		}
		if ev.Whitelisted {
			e.pardoned.Add(1)
			return
		}
	}
	for _, alert := range o.Alerts {
		e.alerts.Add(1)
		if e.opt.Alert != nil {
			e.opt.Alert(alert)
		}
	}
	if o.Reprocess {
		if w.tracer != nil {
			w.tracer.Arrived(w.after.ctx.Event)
		}
		w.after.pour.RunOverflow(o, now)
	}
}
