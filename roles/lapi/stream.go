package lapi

import (
	"context"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/roles/api"
)

// longestWait is for how long a request of the stream may wait for news.
const longestWait = 30 * time.Second

// flushOver is how many bytes of an answer go out at a time.
const flushOver = 64 << 10

// compressFrom is of how many decisions an answer is compressed, for those who
// have asked for that: about 200 kB. For less it isn't worth while.
const compressFrom = 1024

// streamScopes is what a bouncer hears of that names no scopes.
var streamScopes = []string{decisions.ScopeIP, decisions.ScopeRange}

// probeStream answers HEAD: the key is good. Ours learn from it that they may wait.
func (s *Server) probeStream(w http.ResponseWriter, _ *http.Request, _ string) {
	w.Header().Set(api.HeaderWait, longestWait.String())
}

// usual is what a bouncer hears of that names nothing at all, as most do.
var (
	usual      = decisionFilter{contains: true, scopes: streamScopes}
	usualQuery = usual.query(true)
)

// streamDecisions tells a bouncer what changed since it last asked, or
// everything. The place in the log is that of its row, or the
// cursor that it brings along.
func (s *Server) streamDecisions(w http.ResponseWriter, r *http.Request, bouncer string) {
	q := parseParams(r.URL.RawQuery)
	f, wanted := &usual, usualQuery
	if len(q) > 0 {
		other, err := parseDecisionFilter(q, streamScopes)
		if err != nil {
			// Upstream answers 200 and two empty arrays, which a starting bouncer
			// takes for "nothing is banned".
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		f, wanted = &other, other.query(q.Get("dedup") != "false")
	}
	a := streamAnswer{news: news{s: s, query: wanted}, out: streamWriter{w: w, coding: plain}}
	own := q.Get("cursor")
	if own != "" {
		a.from = s.parseCursor(own)
	} else {
		a.from = s.bouncers.place(bouncer)
	}
	full := q.Get("startup") == "true" || !s.decisions.Knows(a.from)
	if full {
		a.from = decisions.Cursor{}
	}
	a.counts = full || q.Has("tally")
	wait, err := api.ParseDuration(q.Get("wait"))
	if err != nil || full {
		wait = 0
	}
	if wait > 0 {
		giveTime(http.NewResponseController(w), longestWait+writeTime)
	}
	if err := a.await(r.Context(), min(wait, longestWait)); err != nil {
		return // the client has gone
	}
	h := w.Header()
	h["Content-Type"] = streamType
	h["X-Cs-Wait"] = offeredWait
	h[api.HeaderCursor] = []string{s.formatCursor(a.to)}
	if full {
		h.Set(api.HeaderFull, "true")
	}
	if q.Has("tally") && !a.query.Longest && a.query.Want == nil {
		h.Set(api.HeaderTally, api.FormatTally(a.tally))
	}
	if full && a.query.Want == nil && a.tally.Count >= compressFrom {
		a.out.coding = acceptedCoding(r.Header)
		a.kept = s.pieces.view(&a.news, a.out.coding, f.text(a.query.Longest))
	}
	if a.write(r.Context()) == nil {
		s.bouncers.told(bouncer, a.to)
	}
}

// Headers of every answer. They are shared, and never changed.
var (
	streamType  = []string{"application/json"}
	offeredWait = []string{longestWait.String()}
	chunked     = []string{"chunked"} // upstream's answers are, however short
)

// news is what a bouncer is told from one place in the log to another.
type news struct {
	s        *Server
	query    decisions.Query
	from, to decisions.Cursor
	counts   bool
	tally    decisions.Tally // what it knows then, if that counts
	now      time.Time
}

// streamAnswer is news on their way to a bouncer.
type streamAnswer struct {
	news
	kept *view // if all that is new is sent from what is kept
	out  streamWriter
}

// await finds the place to tell up to: now, or as soon as there is something to
// tell, or at the end of the wait.
func (a *news) await(ctx context.Context, wait time.Duration) error {
	a.mark()
	if wait <= 0 || a.s.decisions.HasNews(a.query, a.from, a.to, a.now) {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := a.s.decisions.Changed()
		if a.mark(); a.s.decisions.HasNews(a.query, a.from, a.to, a.now) {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *news) mark() {
	a.now = a.s.now()
	a.s.decisions.Advance(a.now)
	if a.counts {
		a.to, a.tally = a.s.decisions.MarkTally(a.query.Kind, a.now)
	} else {
		a.to = a.s.decisions.Mark(a.now)
	}
}

// write sends the answer. The literal text between the two arrays, with its
// spaces, is upstream's.
func (a *streamAnswer) write(ctx context.Context) error {
	room := buffers.Get().(*[flushOver + 16<<10]byte)
	defer buffers.Put(room)
	log, out := a.s.decisions, &a.out
	out.buf = room[:0]
	out.begin(`{"new": [`)
	for _, d := range log.Again(a.query, a.from, a.to, a.now) {
		out.buf = api.AppendDecision(out.next(), &d, a.now, true)
	}
	if a.counts && a.tally.Count >= compressFrom { // it will take a while
		if err := out.flush(); err != nil {
			return err
		}
	}
	var err error
	if a.kept != nil {
		err = a.kept.write(ctx, a)
	} else {
		err = a.encode(ctx, a.from.ID, a.to.ID)
	}
	if err != nil {
		return err
	}
	out.begin(`], "deleted": [`)
	for _, d := range log.Deleted(a.query, a.from, a.to) {
		out.buf = api.AppendDecision(out.next(), &d, a.now, true)
		if err := out.flushIfLong(ctx); err != nil {
			return err
		}
	}
	out.begin(`]}`)
	return out.end()
}

// encode sends the decisions that came after one up to another.
func (a *streamAnswer) encode(ctx context.Context, after, upTo int64) error {
	rows, out := api.Rows{Now: a.now, WithUUID: true}, &a.out
	for more := true; more; {
		after, more = a.s.decisions.New(a.query, after, upTo, a.now, func(r *decisions.Row) { out.buf = rows.Append(out.next(), r) })
		if err := out.flushIfLong(ctx); err != nil {
			return err
		}
	}
	return nil
}

// streamWriter writes the two arrays of an answer, and sends them when they
// get long.
type streamWriter struct {
	w      http.ResponseWriter
	coding *coding
	buf    []byte // what is to be sent
	comma  bool   // another element needs one before it
	begun  bool   // something has been sent
	sum    uint32 // of what was sent, before it was compressed
	length int64
}

// buffers are for answers that are being written.
var buffers = sync.Pool{New: func() any { return new([flushOver + 16<<10]byte) }}

func (o *streamWriter) begin(text string) {
	o.buf = append(o.buf, text...)
	o.comma = false
}

// next returns what to append the next element to.
func (o *streamWriter) next() []byte {
	if o.comma {
		o.buf = append(o.buf, ',')
	}
	o.comma = true
	return o.buf
}

// flushIfLong sends what there is if that is much.
func (o *streamWriter) flushIfLong(ctx context.Context) error {
	if len(o.buf) < flushOver {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return o.flush()
}

// flush sends what there is.
func (o *streamWriter) flush() error {
	body := o.buf
	o.buf = o.buf[:0]
	if len(body) == 0 {
		return nil
	}
	if o.coding.pack != nil {
		if err := o.announce(crc32.ChecksumIEEE(body), int64(len(body))); err != nil {
			return err
		}
		body = o.coding.pack(nil, body)
	}
	return o.send(body)
}

// announce counts a compressed piece that is about to be sent, by what it was before.
// It begins the body if it is the first.
func (o *streamWriter) announce(sum uint32, length int64) error {
	if o.coding.tail != nil {
		o.sum = joinSums(o.sum, sum, length)
		o.length += length
	}
	if o.begun {
		return nil
	}
	o.w.Header().Set("Content-Encoding", o.coding.name)
	o.w.Header().Set("Vary", "Accept-Encoding")
	return o.send(o.coding.head)
}

// send sends bytes. net/http cuts them into chunks.
func (o *streamWriter) send(b []byte) error {
	conn := http.NewResponseController(o.w)
	giveTime(conn, writeTime)
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	if o.begun {
		return nil
	}
	o.begun = true
	return conn.Flush() // the first of it at once
}

// end sends what is left. If that is all, in one packet.
func (o *streamWriter) end() error {
	if !o.begun && o.coding.pack == nil {
		o.w.Header()["Transfer-Encoding"] = chunked
		giveTime(http.NewResponseController(o.w), writeTime)
		_, err := o.w.Write(o.buf)
		return err
	}
	if err := o.flush(); err != nil {
		return err
	}
	if o.coding.tail != nil {
		if err := o.send(o.coding.tail(o.sum, o.length)); err != nil {
			return err
		}
	}
	// An answer that the client has not got doesn't count.
	return http.NewResponseController(o.w).Flush()
}

// A cursor on the wire is "epoch.id.nanoseconds": the epoch names the store,
// so that the cursor of another one is taken for what it is, unknown.

func (s *Server) formatCursor(c decisions.Cursor) string {
	var room [64]byte
	b := append(append(room[:0], s.epoch...), '.')
	b = append(strconv.AppendInt(b, c.ID, 10), '.')
	return string(strconv.AppendInt(b, c.At.UnixNano(), 10))
}

// parseCursor returns the zero cursor for what it doesn't understand.
func (s *Server) parseCursor(text string) decisions.Cursor {
	epoch, rest, _ := strings.Cut(text, ".")
	id, at, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseInt(id, 10, 64)
	ns, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || epoch != s.epoch || n < 0 {
		return decisions.Cursor{}
	}
	return decisions.Cursor{ID: n, At: time.Unix(0, ns)}
}
