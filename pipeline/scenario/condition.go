package scenario

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"cs/pipeline/bucket"
	"cs/pipeline/enrich"
	"cs/pipeline/event"
	"cs/pipeline/expr"
)

// inspected is a bucket as the expressions about buckets see it, beside evt. It
// is read when somebody asks for a part of it: most conditions find out from
// the event alone, or from the last few, that it is not what they wait for.
type inspected struct {
	codec    *codec
	scenario *Scenario
	table    *bucket.Table
	replay   bool
	over     bool // it is an overflow, not a bucket that lives
	bucket   *bucket.Overflow
	pour     *bucket.Pour // that led to it, unless it is over
	zone     enrich.Zone  // of the time that was read last
	changed  bool         // others poured into it before all of it was read

	// The events of a queue, made for the longest one so far; and by their number
	// the list of them.
	events []any // *queued
	lists  []any // []any
}

// queued is an event of a queue: a record that is read as far as somebody asks.
// Its texts are views of the record.
type queued struct {
	in *inspected
	i  int
}

// conditionEnv names the parts of a bucket as upstream does.
func conditionEnv(schema *event.Schema) *expr.Env {
	field := func(s event.Space) func(string) func(*queued) string {
		return func(key string) func(*queued) string {
			slot, err := schema.Intern(s, key)
			if err != nil { // too many: no event has it
				return func(*queued) string { return "" }
			}
			return func(q *queued) string { return q.text(uint64(firstSlot) + uint64(slot)) }
		}
	}
	of := func(s event.Space) expr.Member {
		return expr.Texts(s.String(), func(q *queued) map[string]string { return q.fields(s) }, field(s))
	}
	unix := func(name string, get func(*bucket.Overflow) int64) expr.Member {
		return expr.Moment(name, func(l *leaky) time.Time { return time.Unix(0, get(l.bucket)).UTC() })
	}
	return expr.NewEnv().
		Var("queue",
			expr.Boxed[*queue, []*queued]("Queue", (*queue).all),
			expr.Field("L", func(q *queue) int { return q.scenario.spec.Kept() }),
			expr.BoxedMethod[*queue, []*queued]("GetQueue", (*queue).all)).
		Var("leaky",
			expr.Field("Mode", func(l *leaky) int { return mode(l.replay) }),
			expr.Field("Limiter", func(l *leaky) limiter { return limiter{} }),
			expr.Field("Queue", func(l *leaky) *queue { return (*queue)(l) }),
			expr.Field("Mapkey", (*leaky).mapkey),
			expr.Field("Uuid", (*leaky).uuid),
			unix("First_ts", func(o *bucket.Overflow) int64 { return o.First }),
			unix("Last_ts", func(o *bucket.Overflow) int64 { return o.Last }),
			expr.Moment("Ovflw_ts", func(l *leaky) time.Time {
				if !l.over {
					return time.Time{}
				}
				return time.Unix(0, l.bucket.At).UTC()
			}),
			expr.Int("Total_count", func(l *leaky) int { return l.bucket.Total }),
			expr.Field("Duration", func(l *leaky) time.Duration { return l.scenario.spec.Life() }),
			expr.Field("Factory", func(l *leaky) *Scenario { return l.scenario })).
		Type(
			expr.Field("Name", func(s *Scenario) string { return s.name }),
			expr.Field("Type", func(s *Scenario) string { return s.kind }),
			expr.Field("Filter", func(s *Scenario) string { return s.filterText }),
			expr.Field("Capacity", func(s *Scenario) int { return s.spec.Capacity }),
			expr.Field("CacheSize", func(s *Scenario) int { return s.spec.CacheSize })).
		Type(
			of(event.Parsed), of(event.Meta), of(event.Enriched),
			expr.Field("Type", (*queued).kind),
			expr.Method("GetType", func(q *queued) string { return kindNames[q.kind()] }),
			expr.Field("ExpectMode", func(q *queued) int { return mode(q.in.replay) }),
			expr.Field("Whitelisted", func(*queued) bool { return false }), // those that are don't come here
			expr.Field("Process", func(*queued) bool { return true }),
			expr.Moment("Time", (*queued).time),
			expr.Text("MarshaledTime", func(q *queued) string { return q.text(isTimestamp) }),
			expr.TextOf("GetMeta", field(event.Meta))).
		Type(keptMembers()...)
}

// queue and leaky are the two names of a bucket.
type (
	queue inspected
	leaky inspected
)

// limiter stands for the tokens of a bucket: it is there, and that is all that can
// be said of it.
type limiter struct{}

func mode(replay bool) int {
	if replay {
		return int(event.Replay)
	}
	return int(event.Live)
}

// kindNames are the types of events.
var kindNames = [...]string{"log", "overflow"}

// kind returns the type of the event.
func (q *queued) kind() int {
	for rest := q.record(); len(rest) > 0; {
		var number, n uint64
		number, rest = uvarint(rest)
		n, rest = uvarint(rest)
		if rest = rest[n:]; number == isOverflow {
			return 1
		}
	}
	return 0
}

// all are the events that the bucket holds, the oldest first: a []any.
func (q *queue) all() any {
	n := q.bucket.Len()
	q.make(n)
	return q.lists[n]
}

// make has the lists for up to n events ready, and at once those for most queues.
func (q *queue) make(n int) {
	if n < len(q.lists) {
		return
	}
	n = max(n, bucket.MaxLookedAt+1, 2*len(q.lists)) // a bucket grows by one event at a time
	room := make([]queued, n)
	q.events, q.lists = make([]any, n), make([]any, n+1)
	for i := range room {
		room[i] = queued{(*inspected)(q), i}
		q.events[i] = &room[i]
	}
	for i := range q.lists {
		q.lists[i] = q.events[:i:i]
	}
}

// record returns the record of an event. It is valid until that of an older one is
// asked for.
func (q *queued) record() string {
	b := q.in.bucket
	if q.i >= b.Len() {
		return "" // of another bucket: somebody kept it
	}
	if q.i < b.Missing() && !q.in.table.Complete(q.in.pour, b) {
		q.in.changed = true
		return ""
	}
	rec := b.Record(q.i)
	return unsafe.String(unsafe.SliceData(rec), len(rec))
}

func (l *leaky) mapkey() string { return l.scenario.mapkey(l.codec, l.bucket) }

// uuid tells the bucket from others, also from earlier ones of that name.
func (l *leaky) uuid() string {
	sum := sha1.Sum(strconv.AppendInt([]byte(l.mapkey()), l.bucket.First, 10))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// mapkey is upstream's name of a bucket.
func (sc *Scenario) mapkey(c *codec, b *bucket.Overflow) string {
	group := ""
	if n := b.Len(); n > 0 {
		group = textIn(b.Record(n-1), isGroup)
	}
	sum := sha1.Sum([]byte(sc.filterText + "\x00" + group + "\x00" + sc.name))
	return hex.EncodeToString(sum[:])
}

// inspect makes r.inspected show the bucket in r.overflow. p is nil if it is over.
func (r *Runner) inspect(sc *Scenario, p *bucket.Pour, replay bool) {
	in := &r.inspected
	in.codec, in.scenario, in.table, in.bucket = &r.set.codec, sc, r.set.table, &r.overflow
	in.pour, in.over, in.replay, in.changed = p, p == nil, replay, false
}

// fulfilled evaluates the conditions of a bucket that took the event of of and
// did not overflow by itself.
func (r *Runner) fulfilled(sc *Scenario, p *bucket.Pour, of *expr.Ctx) bool {
	if r.overflow.Len() < sc.least && sc.hypothesis == nil {
		return false // without evaluating what reads the whole queue
	}
	r.inspect(sc, p, p.Replay)
	x := &r.condition
	x.Event, x.Alert, x.Stash, x.Now = of.Event, of.Alert, of.Stash, of.Now
	x.Sources, x.Stage = of.Sources, of.Stage
	x.Vars = append(x.Vars[:0], (*queue)(&r.inspected), (*leaky)(&r.inspected))
	x.Forget() // the records of another bucket were where those of this one are
	ok := false
	if sc.condition != nil {
		ok = r.isTrue(sc, sc.condition, x)
	}
	if !ok && sc.hypothesis != nil {
		ok = r.likely(sc, p)
	}
	r.inspected.pour = nil
	return ok && !r.inspected.changed // who poured meanwhile has seen more
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

// appendQueued appends what only expressions about buckets want to know of the event
// of x: when it was, fields, and what else they mention.
func (sc *Scenario) appendQueued(b []byte, x *expr.Ctx) []byte {
	b = appendTime(b, isTime, x.Event.Time)
	if len(sc.fields) > 0 {
		for s := range x.Event.Among(sc.fields) {
			b = appendText(b, uint64(firstSlot)+uint64(s), x.Event.Get(s))
		}
	}
	for _, part := range sc.parts {
		b = part.keep(b, x)
	}
	return b
}

// appendTime appends a time as a number, and behind it the offset of its zone, if it has one.
func appendTime(b []byte, number uint64, t time.Time) []byte {
	b = appendNumber(b, number)
	n := len(b)
	b = append(b, 0) // the length fits one byte
	b = appendNumber(b, uint64(nanos(t)))
	if _, offset := t.Zone(); offset != 0 {
		b = binary.AppendVarint(b, int64(offset))
	}
	b[n] = byte(len(b) - n - 1)
	return b
}

// text returns the text with a number, the last one if there are several, "" if
// there is none.
func (q *queued) text(number uint64) string { return textOf(q.record(), number) }

// textIn is textOf for a record that is about to change.
func textIn(record []byte, number uint64) string { return textOf(string(record), number) }

// textOf returns the text with a number in a record, as text does.
func textOf(record string, number uint64) (text string) {
	for rest := record; len(rest) > 0; {
		var k, n uint64
		k, rest = uvarint(rest)
		n, rest = uvarint(rest)
		if k == number {
			text = rest[:n]
		}
		rest = rest[n:]
	}
	return text
}

// fields returns all fields of a space.
func (q *queued) fields(space event.Space) map[string]string {
	return q.in.codec.fieldsOf(q.record(), space)
}

func (c *codec) fieldsOf(record string, space event.Space) map[string]string {
	fields := map[string]string{}
	c.each(strings.Clone(record), func(number uint64, text string) {
		if number >= uint64(firstSlot) && number < firstContext {
			if of, name := c.schema.Name(event.Slot(number - uint64(firstSlot))); of == space {
				fields[name] = text
			}
		}
	})
	return fields
}

// time is when the event was parsed, or in a replay when it happened, in the zone of
// the log.
func (q *queued) time() time.Time { return q.timeOf(isTime) }

func (q *queued) timeOf(number uint64) time.Time {
	text := q.text(number)
	if text == "" {
		return time.Time{}
	}
	ns, offset := readTime(text)
	return q.in.zone.Of(time.Unix(0, ns), offset)
}

// readTime reads what appendTime wrote.
func readTime(text string) (ns int64, offset int) {
	n, rest := uvarint(text)
	if rest != "" {
		zigzag, _ := uvarint(rest)
		offset = int(int64(zigzag>>1) ^ -int64(zigzag&1))
	}
	return int64(n), offset
}
