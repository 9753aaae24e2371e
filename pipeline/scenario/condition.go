package scenario

import (
	"time"

	"cs/pipeline/bucket"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// queue is what conditions see beside evt: the events that a bucket holds, the
// oldest first.
type queue struct{ events []*queued }

// queued is an event of a queue.
type queued struct {
	fields        [event.Enriched + 1]map[string]string // Parsed, Meta, Enriched
	time          time.Time
	marshaledTime string
}

// conditionEnv names the parts of a queue as upstream does.
func conditionEnv() *expr.Env {
	of := func(s event.Space) func(*queued) map[string]string {
		return func(q *queued) map[string]string { return q.fields[s] }
	}
	events := func(q *queue) []*queued { return q.events }
	return expr.NewEnv().
		Var("queue",
			expr.Field("Queue", events),
			expr.Method("GetQueue", events)).
		Type(
			expr.Field("Parsed", of(event.Parsed)),
			expr.Field("Meta", of(event.Meta)),
			expr.Field("Enriched", of(event.Enriched)),
			expr.Field("Time", func(q *queued) time.Time { return q.time }),
			expr.Field("MarshaledTime", func(q *queued) string { return q.marshaledTime }),
			expr.Method1("GetMeta", func(q *queued, key string) string { return q.fields[event.Meta][key] }))
}

// fulfilled evaluates the condition of a bucket that took an event and did
// not overflow by itself. Unlike everything before it this allocates, for all
// the events of the bucket.
func (r *Runner) fulfilled(sc *Scenario, o *bucket.Overflow) bool {
	q := &queue{events: make([]*queued, o.Len())}
	for i := range q.events {
		q.events[i] = r.set.codec.readQueued(o.Record(i))
	}
	r.condition.Event, r.condition.Stash, r.condition.Now = r.Expr.Event, r.Expr.Stash, r.Expr.Now
	r.condition.Vars = append(r.condition.Vars[:0], q)
	ok, err := sc.condition.Bool(&r.condition)
	r.condition.Vars[0] = nil
	if err != nil {
		r.failed(sc, err)
	}
	return ok && err == nil
}

// appendQueued appends what only conditions want to know of an event.
func (c *codec) appendQueued(b []byte, e *event.Event) []byte {
	b = appendNumber(b, isTime)
	n := len(b)
	b = append(b, 0)
	b = appendNumber(b, uint64(nanos(e.Time)))
	b[n] = byte(len(b) - n - 1)
	for _, s := range c.others {
		if e.Has(s) {
			b = appendText(b, firstSlot+uint64(s), e.Get(s))
		}
	}
	return b
}

func (c *codec) readQueued(b []byte) *queued {
	q := &queued{}
	for i := range q.fields {
		q.fields[i] = map[string]string{}
	}
	c.each(b, func(number uint64, text string) {
		switch number {
		case isTimestamp:
			q.marshaledTime = text
		case isTime:
			ns, _ := uvarint(text)
			q.time = time.Unix(0, int64(ns)).UTC()
		case isScopeValue:
		default:
			space, name := c.schema.Name(event.Slot(number - firstSlot))
			q.fields[space][name] = text
		}
	})
	return q
}
