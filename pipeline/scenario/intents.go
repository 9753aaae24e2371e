package scenario

import (
	"time"

	"cs/pipeline/bucket"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// Intents are events that scenarios want, with all that is needed to pour them:
// lines may be judged by several workers at once, each with Intents of its own,
// and poured later in the order in which they were read. The zero value is
// ready; it keeps its memory. Not safe for concurrent use.
type Intents struct {
	events []judged
	pours  []intent
	text   []byte // records are cut from it
	copies []*earlier
	ncopy  int // of copies in use
}

// judged is an event that at least one scenario wants.
type judged struct {
	end   int          // of its intents: they begin where those of the event before end
	kept  *earlier     // the event; nil if nobody asks for it any more,
	event *event.Event // or if it is still there
	stage string       // of event
	now   time.Time
}

// earlier is an event that is no longer there.
type earlier struct{ event event.Copy }

// intent is what a document wants to do with an event.
type intent struct {
	pour bucket.Pour
	open bool // the document that made the bucket completes it
}

// maxIntentText is what Intents keep of their records when they are reset.
const maxIntentText = 1 << 20

// Len returns the number of events.
func (in *Intents) Len() int { return len(in.events) }

// Reset forgets all events.
func (in *Intents) Reset() {
	clear(in.events)
	clear(in.pours)
	in.events, in.pours, in.ncopy = in.events[:0], in.pours[:0], 0
	if in.text = in.text[:0]; cap(in.text) > maxIntentText {
		in.text = nil
	}
}

// Cut forgets the events from the n-th on.
func (in *Intents) Cut(n int) {
	if n == len(in.events) {
		return
	}
	pours := 0
	if n > 0 {
		pours = in.events[n-1].end
	}
	clear(in.events[n:])
	clear(in.pours[pours:])
	in.events, in.pours = in.events[:n], in.pours[:pours]
}

// keep puts the event of x aside.
func (in *Intents) keep(x *expr.Ctx) *earlier {
	if in.ncopy == len(in.copies) {
		in.copies = append(in.copies, new(earlier))
	}
	k := in.copies[in.ncopy]
	in.ncopy++
	k.event.Take(x.Event)
	return k
}

// Run gives the event to all scenarios whose filter it passes. All filters run
// before the first bucket sees the event, because a filter may set a Meta.
func (r *Runner) Run(now time.Time) { r.run(now, nil) }

// RunOverflow gives an overflow, as the event that it became, to all scenarios
// whose filter it passes. The Alert of Expr is its first.
func (r *Runner) RunOverflow(o *Overflow, now time.Time) { r.run(now, o) }

func (r *Runner) run(now time.Time, o *Overflow) {
	r.own.Reset()
	if !r.judge(&r.own, now, o) {
		return
	}
	for i := range r.own.pours {
		r.pour(&r.own, &r.own.pours[i], r.Expr)
	}
}

// Judge is the first half of Run: if a scenario wants the event, a log event,
// it is added to in, for Pour. Judge touches no bucket, so what it does not see is
// the events before it. With stays, the event is not changed until it is poured.
func (r *Runner) Judge(in *Intents, now time.Time, stays bool) {
	if !r.judge(in, now, nil) {
		return
	}
	first := 0
	if n := len(in.events); n > 1 {
		first = in.events[n-2].end
	}
	for i := range in.pours[first:] {
		p := &in.pours[first+i]
		if p.open || r.set.scenarios[p.pour.Spec].asksEvent {
			j := &in.events[len(in.events)-1]
			j.stage, j.now = r.Expr.Stage, r.Expr.Now
			if stays {
				j.event = r.Expr.Event
			} else {
				j.kept = in.keep(r.Expr)
			}
			return
		}
	}
}

// Touch brings the buckets of all events of in into the processor's cache: before
// many are poured. It changes nothing.
func (r *Runner) Touch(in *Intents) {
	r.set.table.Touch(len(in.pours), func(i int) *bucket.Pour { return &in.pours[i].pour })
}

// Pour is the second half of Run, for the i-th event of in, which any Runner of
// the Set may have judged. The event of Expr plays no part, nor is it what Trace
// is told of.
func (r *Runner) Pour(in *Intents, i int) {
	e := &in.events[i]
	x := r.Expr
	if e.kept != nil {
		if r.again == nil {
			r.again = event.New(r.set.codec.schema)
		}
		e.kept.event.Restore(r.again)
		e.event = r.again
	}
	if e.event != nil {
		x = &r.late
		x.Event, x.Stash, x.Stage, x.Now = e.event, r.Expr.Stash, e.stage, e.now
	}
	first := 0
	if i > 0 {
		first = in.events[i-1].end
	}
	for k := range in.pours[first:e.end] {
		r.pour(in, &in.pours[first+k], x)
	}
	if e.kept != nil {
		r.again.Reset(event.Line{})
	}
}

// judge adds the event of Expr to in if a scenario wants it.
func (r *Runner) judge(in *Intents, now time.Time, o *Overflow) bool {
	r.hits = r.hits[:0]
	r.set.index.Run(r.Expr, r.visit)
	if len(r.hits) == 0 {
		return false
	}
	r.Poured++
	e := r.Expr.Event
	p := bucket.Pour{Time: nanos(now)}
	switch e.Line.Mode {
	case event.Replay:
		t, ok := enrich.RFC3339(e.MarshaledTime)
		p.Replay, p.NoTime = true, !ok
		if ok {
			p.Time = nanos(t)
		}
	case event.CatchUp:
		p.Time = nanos(enrich.Written(e))
	}
	start := len(in.text)
	in.text = r.set.codec.appendEvent(in.text, e)
	if o != nil {
		in.text = r.set.codec.appendOverflow(in.text, o)
	}
	in.text = r.appendDetails(in.text)
	p.Record = in.text[start:len(in.text):len(in.text)] // stays if in.text moves
	for _, i := range r.hits {
		p.Spec = i
		r.Counts.Add(i)
		sc := r.set.scenarios[i]
		group := ""
		if sc.groupBy != nil {
			var err error
			if group, _, err = sc.groupBy.Text(r.Expr); err != nil {
				r.failed(sc, err)
				continue
			}
		}
		p.Key = r.set.table.Key(group)
		in.pours = append(in.pours, intent{pour: p, open: sc.shared})
		if !sc.shared {
			r.complete(in, &in.pours[len(in.pours)-1].pour, sc, r.Expr, group)
		}
	}
	in.events = append(in.events, judged{end: len(in.pours)})
	return true
}

// complete evaluates what the scenario says about the event beside its bucket's
// key.
func (r *Runner) complete(in *Intents, p *bucket.Pour, sc *Scenario, x *expr.Ctx, group string) {
	if sc.distinct != nil {
		value, _, err := sc.distinct.Text(x)
		if err != nil {
			r.failed(sc, err) // and the event counts
		} else {
			p.HasDistinct, p.Distinct = true, r.set.table.Value(value)
		}
	}
	if sc.cancelOn != nil {
		var err error
		if p.Cancel, err = sc.cancelOn.Bool(x); err != nil {
			r.failed(sc, err) // and the bucket goes on
		}
	}
	if sc.scopeValue == nil && !sc.inspects && !r.set.mapkeys {
		return
	}
	start := len(in.text)
	in.text = append(in.text, p.Record...)
	if sc.scopeValue != nil {
		value, _, err := sc.scopeValue.Text(x)
		if err != nil {
			r.failed(sc, err) // and an alert will lack its source
		} else {
			in.text = r.set.codec.appendScopeValue(in.text, value)
		}
	}
	if sc.inspects || r.set.mapkeys {
		in.text = appendText(in.text, isGroup, group)
	}
	if sc.inspects {
		in.text = sc.appendQueued(in.text, x)
	}
	p.Record = in.text[start:len(in.text):len(in.text)]
}

// pour does what was intended. x has the event, unless nobody asks for it.
func (r *Runner) pour(in *Intents, it *intent, x *expr.Ctx) {
	p, table := &it.pour, r.set.table
	sc := r.set.scenarios[p.Spec]
	if it.open { // the bucket obeys the document that made it
		group := ""
		if sc.groupBy != nil {
			group, _, _ = sc.groupBy.Text(x) // as when it was judged
		}
		sc = r.set.scenarios[table.Owner(p)]
		r.complete(in, p, sc, x, group)
	}
	if r.Trace != nil {
		r.Trace(sc.name)
	}
	outcome := table.Pour(p, &r.overflow)
	if outcome == bucket.Ended {
		r.overflowed(p.Key, p.Replay)
		outcome = table.Pour(p, &r.overflow)
	}
	switch {
	case outcome == bucket.Overflowed,
		outcome == bucket.Poured && sc.spec.Condition && r.fulfilled(sc, p, x) && table.Overflow(p, &r.overflow):
		r.overflowed(p.Key, p.Replay)
	}
}
