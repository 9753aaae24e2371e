package lapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/roles/api"
)

// longestWait is for how long a request of the stream may wait for news.
const longestWait = 30 * time.Second

// flushOver is how many bytes of an answer go out at a time.
const flushOver = 32 << 10

// streamScopes is what a bouncer hears of that names no scopes.
var streamScopes = []string{decisions.ScopeIP, decisions.ScopeRange}

// probeStream answers HEAD: the key is good. Ours learn from it that they may wait.
func (s *Server) probeStream(w http.ResponseWriter, _ *http.Request, _ string) {
	w.Header().Set(api.HeaderWait, longestWait.String())
}

// streamDecisions tells a bouncer what changed since it last asked, or
// everything. The place in the log is that of its row, or the
// cursor that it brings along.
func (s *Server) streamDecisions(w http.ResponseWriter, r *http.Request, bouncer string) {
	q := r.URL.Query()
	f, err := parseDecisionFilter(q, streamScopes)
	if err != nil {
		// Upstream answers 200 and two empty arrays, which a starting bouncer
		// takes for "nothing is banned".
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	query := decisions.Query{Want: f.wants, Longest: q.Get("dedup") != "false"}
	from := s.bouncers.place(bouncer)
	if text := q.Get("cursor"); text != "" {
		from = s.parseCursor(text)
	}
	full := q.Get("startup") == "true" || !s.decisions.Knows(from)
	if full {
		from = decisions.Cursor{}
	}
	conn := http.NewResponseController(w)
	now := s.now()
	s.decisions.Advance(now)
	to := s.decisions.Mark(now)
	if wait, err := api.ParseDuration(q.Get("wait")); err == nil && wait > 0 && !full {
		giveTime(conn, longestWait+writeTime)
		if to, err = s.await(r.Context(), query, from, min(wait, longestWait)); err != nil {
			return // the client has gone
		}
		now = s.now()
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(api.HeaderWait, longestWait.String())
	h.Set(api.HeaderCursor, s.formatCursor(to))
	if full {
		h.Set(api.HeaderFull, "true")
	}
	out := streamWriter{w: w, conn: conn, now: now}
	out.begin(`{"new": [`)
	for _, d := range s.decisions.Again(query, from, to, now) {
		out.add(&d)
	}
	s.eachPage(query, from.ID, to.ID, now, func(page []decisions.Decision) bool {
		for i := range page {
			out.add(&page[i])
		}
		return (len(out.buf) < flushOver || out.flush()) && r.Context().Err() == nil
	})
	out.begin(`], "deleted": [`)
	for _, d := range s.decisions.Deleted(query, from, to) {
		out.add(&d)
	}
	out.begin(`]}`)
	if out.flush() && r.Context().Err() == nil {
		s.bouncers.told(bouncer, to)
	}
}

// await returns the place to tell up to: as soon as there is something to tell
// after from, or at the end of the wait.
func (s *Server) await(ctx context.Context, q decisions.Query, from decisions.Cursor, wait time.Duration) (decisions.Cursor, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := s.decisions.Changed()
		now := s.now()
		to := s.decisions.Mark(now)
		if s.decisions.HasNews(q, from, to, now) {
			return to, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return to, nil
		case <-ctx.Done():
			return to, ctx.Err()
		}
	}
}

// streamWriter writes the two arrays of an answer. The literal text between
// them, with its spaces, is upstream's.
type streamWriter struct {
	w     http.ResponseWriter
	conn  *http.ResponseController
	now   time.Time
	buf   []byte
	comma bool
	err   error
}

func (o *streamWriter) begin(text string) {
	o.buf = append(o.buf, text...)
	o.comma = false
}

func (o *streamWriter) add(d *decisions.Decision) {
	if o.comma {
		o.buf = append(o.buf, ',')
	}
	o.comma = true
	o.buf = api.AppendDecision(o.buf, d, o.now, true)
}

// flush sends what has been added and tells whether that went well.
func (o *streamWriter) flush() bool {
	if o.err == nil {
		giveTime(o.conn, writeTime)
		_, o.err = o.w.Write(o.buf)
		if err := o.conn.Flush(); o.err == nil {
			o.err = err
		}
	}
	o.buf = o.buf[:0]
	return o.err == nil
}

// A cursor on the wire is "epoch.id.nanoseconds": the epoch names the store,
// so that the cursor of another one is taken for what it is, unknown.

func (s *Server) formatCursor(c decisions.Cursor) string {
	return fmt.Sprintf("%s.%d.%d", s.epoch, c.ID, c.At.UnixNano())
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
