package pipeline

import (
	"fmt"
	"time"

	"cs/pipeline/count"
	"cs/pipeline/event"
	"cs/pipeline/expr"
	"cs/pipeline/node"
	"cs/pipeline/scenario"
)

// maxReprocessed bounds the overflows that one line may lead to, by scenarios
// about overflows whose overflows go through the scenarios again.
const maxReprocessed = 100

// aftermath is what a worker needs to handle overflows: an event of its own,
// because an overflow is an event, too, and the line's is still in use.
type aftermath struct {
	ctx   expr.Ctx
	parse *node.Runner
	pour  *scenario.Runner
}

func (e *Engine) newAftermath(w *worker) *aftermath {
	a := &aftermath{}
	a.ctx.Event = event.New(e.schema)
	a.ctx.Stash = e.stashes
	a.parse = node.NewRunner(e.after, &a.ctx, w.failed)
	a.parse.Counts = count.New(len(e.after.Labels()) * node.Counted)
	a.pour = e.set.NewRunner(&a.ctx, w.overflow, w.failed)
	e.trace(a.parse, a.pour, &a.ctx)
	return a
}

// overflow remembers what a scenario has to tell until the line is through:
// the scenarios' runner is in use.
func (w *worker) overflow(o *scenario.Overflow) { w.overflows = append(w.overflows, o) }

// settle runs the postoverflows, sends the alerts and gives the overflows that
// want it to the scenarios.
func (w *worker) settle(now time.Time) {
	for i := 0; i < len(w.overflows); i++ { // reprocessing adds to them
		if i == maxReprocessed {
			w.failed(w.overflows[i].Alerts[0].Scenario,
				fmt.Errorf("cannot reprocess overflow: more than %d follow from one line", maxReprocessed))
			break
		}
		w.settleOne(w.overflows[i], now)
	}
	clear(w.overflows)
	w.overflows = w.overflows[:0]
}

func (w *worker) settleOne(o *scenario.Overflow, now time.Time) {
	e := w.engine
	if e.after.Len() > 0 || o.Reprocess || e.opt.Tracer != nil {
		if w.after == nil {
			w.after = e.newAftermath(w)
		}
		a := w.after
		ev := a.ctx.Event
		ev.Reset(event.Line{Mode: event.Live}) // also during a replay
		ev.Time = now
		ev.MarshaledTime = o.At.Format(time.RFC3339Nano)
		a.ctx.Now, a.ctx.Alert, a.ctx.Sources = now, &o.Alerts[0], o.Keys
		a.ctx.Alerts, a.ctx.Mapkey, a.ctx.Reprocess = o.Alerts, o.Mapkey, o.Reprocess
		a.parse.Run() // an overflow that no stage understands is one all the same
		e.collectAfter(a)
		if e.opt.Tracer != nil {
			e.opt.Tracer.Overflowed(ev, o)
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
		if e.opt.Tracer != nil {
			e.opt.Tracer.Arrived(w.after.ctx.Event)
		}
		w.after.pour.RunOverflow(o, now)
	}
}
