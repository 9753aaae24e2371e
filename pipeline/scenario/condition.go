package scenario

import (
	"crypto/sha1"
	"encoding/hex"
	"time"

	"cs/pipeline/bucket"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// inspected is a bucket as the expressions about buckets see it, beside evt. It
// is read when somebody asks for a part of it: most conditions find out from
// the event alone that it is not what they wait for.
type inspected struct {
	codec    *codec
	scenario *Scenario
	replay   bool
	over     bool // it is an overflow, not a bucket that lives
	bucket   *bucket.Overflow
	queue    []*queued
}

// queued is an event of a queue.
type queued struct {
	fields        [event.Enriched + 1]map[string]string // Parsed, Meta, Enriched
	time          time.Time
	marshaledTime string
	group         string
}

// conditionEnv names the parts of a bucket as upstream does.
func conditionEnv() *expr.Env {
	of := func(s event.Space) func(*queued) map[string]string {
		return func(q *queued) map[string]string { return q.fields[s] }
	}
	unix := func(get func(*bucket.Overflow) int64) func(*leaky) time.Time {
		return func(l *leaky) time.Time { return time.Unix(0, get(l.bucket)).UTC() }
	}
	return expr.NewEnv().
		Var("queue",
			expr.Field("Queue", (*queue).events),
			expr.Field("L", func(q *queue) int { return q.scenario.spec.Kept() }),
			expr.Method("GetQueue", (*queue).events)).
		Var("leaky",
			expr.Field("Mode", func(l *leaky) int {
				if l.replay {
					return int(event.Replay)
				}
				return int(event.Live)
			}),
			expr.Field("Queue", func(l *leaky) *queue { return (*queue)(l) }),
			expr.Field("Mapkey", (*leaky).mapkey),
			expr.Field("First_ts", unix(func(o *bucket.Overflow) int64 { return o.First })),
			expr.Field("Last_ts", unix(func(o *bucket.Overflow) int64 { return o.Last })),
			expr.Field("Ovflw_ts", func(l *leaky) time.Time {
				if !l.over {
					return time.Time{}
				}
				return time.Unix(0, l.bucket.At).UTC()
			}),
			expr.Field("Total_count", func(l *leaky) int { return l.bucket.Total }),
			expr.Field("Duration", func(l *leaky) time.Duration { return l.scenario.spec.Life() }),
			expr.Field("Factory", func(l *leaky) *Scenario { return l.scenario })).
		Type(
			expr.Field("Name", func(s *Scenario) string { return s.name }),
			expr.Field("Type", func(s *Scenario) string { return s.kind }),
			expr.Field("Filter", func(s *Scenario) string { return s.filterText }),
			expr.Field("Capacity", func(s *Scenario) int { return s.spec.Capacity }),
			expr.Field("CacheSize", func(s *Scenario) int { return s.spec.CacheSize })).
		Type(
			expr.Field("Parsed", of(event.Parsed)),
			expr.Field("Meta", of(event.Meta)),
			expr.Field("Enriched", of(event.Enriched)),
			expr.Field("Time", func(q *queued) time.Time { return q.time }),
			expr.Field("MarshaledTime", func(q *queued) string { return q.marshaledTime }),
			expr.Method1("GetMeta", func(q *queued, key string) string { return q.fields[event.Meta][key] }))
}

// queue and leaky are the two names of a bucket.
type (
	queue inspected
	leaky inspected
)

// events are those that the bucket holds, the oldest first.
func (q *queue) events() []*queued {
	if q.queue == nil {
		q.queue = make([]*queued, q.bucket.Len())
		for i := range q.queue {
			q.queue[i] = q.codec.readQueued(q.bucket.Record(i))
		}
	}
	return q.queue
}

// mapkey is upstream's name of a bucket.
func (l *leaky) mapkey() string {
	group := ""
	if n := l.bucket.Len(); n > 0 {
		group = l.codec.readQueued(l.bucket.Record(n - 1)).group
	}
	sum := sha1.Sum([]byte(l.scenario.filterText + "\x00" + group + "\x00" + l.scenario.name))
	return hex.EncodeToString(sum[:])
}

// inspect makes r.inspected show the bucket in r.overflow.
func (r *Runner) inspect(sc *Scenario, replay, over bool) {
	r.inspected = inspected{codec: &r.set.codec, scenario: sc, replay: replay, over: over, bucket: &r.overflow}
}

// fulfilled evaluates the conditions of a bucket that took the event of of and
// did not overflow by itself.
func (r *Runner) fulfilled(sc *Scenario, p *bucket.Pour, of *expr.Ctx) bool {
	if r.overflow.Len() < sc.least && sc.hypothesis == nil {
		return false // without evaluating what reads the whole queue
	}
	r.inspect(sc, p.Replay, false)
	x := &r.condition
	x.Event, x.Alert, x.Stash, x.Now = of.Event, of.Alert, of.Stash, of.Now
	x.Sources, x.Stage = of.Sources, of.Stage
	x.Vars = append(x.Vars[:0], (*queue)(&r.inspected), (*leaky)(&r.inspected))
	ok := false
	if sc.condition != nil {
		ok = r.isTrue(sc, sc.condition, x)
	}
	if !ok && sc.hypothesis != nil {
		ok = r.likely(sc, p)
	}
	r.inspected = inspected{}
	return ok
}

// isTrue evaluates an expression about a bucket. One that fails is told, and
// not true.
func (r *Runner) isTrue(sc *Scenario, p *expr.Program, x *expr.Ctx) bool {
	ok, err := p.Bool(x)
	if err != nil {
		r.failed(sc, err)
	}
	return ok && err == nil
}

// appendQueued appends what only expressions about buckets want to know of an
// event.
func (c *codec) appendQueued(b []byte, e *event.Event, group string) []byte {
	b = appendNumber(b, isTime)
	n := len(b)
	b = append(b, 0)
	b = appendNumber(b, uint64(nanos(e.Time)))
	b[n] = byte(len(b) - n - 1)
	b = appendText(b, isGroup, group)
	for s := range e.Among(c.others) {
		b = appendText(b, uint64(firstSlot)+uint64(s), e.Get(s))
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
		case isGroup:
			q.group = text
		default:
			if number >= uint64(firstSlot) && number < firstContext {
				space, name := c.schema.Name(event.Slot(number - uint64(firstSlot)))
				q.fields[space][name] = text
			}
		}
	})
	return q
}
