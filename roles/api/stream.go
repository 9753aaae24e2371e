package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cs/decisions"
)

const (
	defaultInterval = 10 * time.Second
	// silence is for how long the server may send nothing while it owes us
	// something. An old one under load takes its time for the first byte.
	silence = 45 * time.Second
	// maxStream and maxStreamed bound one answer. At the bound it is an error:
	// a part of the set taken for the whole would unban the rest.
	maxStream   = 512 << 20
	maxStreamed = 2_000_000
)

// StreamConfig says which decisions to follow; empty lists mean no restriction.
type StreamConfig struct {
	Interval               time.Duration // between polls; 0: 10 s
	Scopes                 []string      // empty: ip, range
	Origins                []string
	ScenariosContaining    []string
	ScenariosNotContaining []string
}

// Stream follows the decisions of a LAPI: the whole set first, then changes.
// It is for one goroutine.
//
// Our own server holds a request open until there is news, hands out a cursor
// to continue from, tells of every decision, and what all we know should come to,
// so that we ask for everything again if it doesn't. An upstream one is polled,
// keeps the place itself, and tells only of the longest decision about one
// (scope, type, value); against it, a decision's ID here stands for these
// three, so that the next one about the same replaces it and an end removes it.
type Stream struct {
	c        *Client
	interval time.Duration
	silence  time.Duration // how long the server may take; tests take less
	query    url.Values
	full     bool // ask for the whole set
	known    bool // whose server it is was found out, and no error came since
	wait     time.Duration
	cursor   string
	held     held // what our own server has told
	open     *answer
	due      time.Time
}

// Stream returns a follower that begins with the whole set.
func (c *Client) Stream(conf StreamConfig) *Stream {
	s := &Stream{c: c, interval: conf.Interval, silence: silence, query: url.Values{}, full: true}
	if s.interval <= 0 {
		s.interval = defaultInterval
	}
	for key, list := range map[string][]string{
		"scopes":                   conf.Scopes,
		"origins":                  conf.Origins,
		"scenarios_containing":     conf.ScenariosContaining,
		"scenarios_not_containing": conf.ScenariosNotContaining,
	} {
		if len(list) > 0 {
			s.query.Set(key, strings.Join(list, ","))
		}
	}
	return s
}

// Resync makes the next answer the whole set.
func (s *Stream) Resync() { s.full = true }

// Next returns the next change. It blocks until there is something to tell or
// the poll interval has passed (then the delta is empty). The first delta is
// Full, and comes in parts while it is being read; their calls must have one
// context. After an error call it again; nothing is lost by it.
func (s *Stream) Next(ctx context.Context) (decisions.Delta, error) {
	delta, err := s.step(ctx)
	if err != nil {
		// By the next time it may be another server.
		s.known, s.due = false, time.Time{}
		return decisions.Delta{}, fmt.Errorf("cannot follow the decisions: %w", err)
	}
	s.due = s.c.now().Add(s.interval)
	return delta, nil
}

func (s *Stream) step(ctx context.Context) (decisions.Delta, error) {
	if s.open != nil {
		return s.read()
	}
	if !s.known {
		if err := s.probe(ctx); err != nil {
			return decisions.Delta{}, err
		}
	}
	if wait := s.due.Sub(s.c.now()); wait > 0 && !s.full && s.wait == 0 {
		if err := s.c.sleep(ctx, wait); err != nil {
			return decisions.Delta{}, err
		}
	}
	if err := s.ask(ctx); err != nil {
		return decisions.Delta{}, err
	}
	return s.read()
}

// probe finds out whether the server is one of ours.
func (s *Stream) probe(ctx context.Context) error {
	var wait time.Duration
	err := s.c.exchange(ctx, asBouncer, "HEAD", PathStream, nil, nil, func(r *http.Response) error {
		wait = offeredWait(r)
		return nil
	})
	var refused *Error
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusMethodNotAllowed) {
		err = nil // some proxies and old servers let only GET through
	}
	if err != nil {
		return err
	}
	if (wait > 0) != (s.wait > 0) {
		s.full, s.cursor = true, ""
	}
	s.wait, s.known = wait, true
	return nil
}

// offeredWait is for how long the server would wait for news; 0: it is not ours.
func offeredWait(r *http.Response) time.Duration {
	d, err := ParseDuration(r.Header.Get(HeaderWait))
	if err != nil {
		return 0
	}
	return max(d, 0)
}

// answer is one that is being read.
type answer struct {
	resp   *http.Response
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	quiet  *time.Timer // gives up a sender that has fallen silent
	body   *streamReader
	full   bool
	part   int
}

func (a *answer) close() {
	a.quiet.Stop()
	closeBody(a.resp)
	a.cancel(nil)
}

// ask sends the next request and opens its answer.
func (s *Stream) ask(ctx context.Context) (err error) {
	query := url.Values{}
	for key, v := range s.query {
		query[key] = v
	}
	if s.full {
		query.Set("startup", "true")
	}
	held := time.Duration(0)
	if s.wait > 0 {
		query.Set("dedup", "false")
		query.Set("tally", "true")
		if !s.full {
			held = min(s.wait, s.interval)
			query.Set("wait", held.String())
			query.Set("cursor", s.cursor)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	quiet := time.AfterFunc(held+s.silence, func() { cancel(errSilent) })
	defer func() {
		if err != nil {
			quiet.Stop()
			cancel(nil)
		}
	}()
	req, err := s.c.request(ctx, asBouncer, "GET", PathStream, query, nil)
	if err != nil {
		return err
	}
	resp, err := s.c.http.Do(req)
	if err != nil {
		s.lost()
		return reachable(because(ctx, err))
	}
	a := &answer{resp: resp, ctx: ctx, cancel: cancel, quiet: quiet, full: s.full || resp.Header.Get(HeaderFull) == "true"}
	switch {
	case resp.StatusCode != http.StatusOK:
		err = readError(resp)
		defer s.c.renew()
	case (offeredWait(resp) > 0) != (s.wait > 0):
		s.full = true
		err = errors.New("another server has taken over")
	}
	if err != nil {
		closeBody(resp)
		return err
	}
	a.body = newStreamReader(&watched{r: io.LimitReader(resp.Body, maxStream), quiet: quiet, silence: s.silence}, s.c.now(), s.wait == 0)
	s.open = a
	return nil
}

// read reads the next part of the answer, all of it if it is no whole set.
func (s *Stream) read() (decisions.Delta, error) {
	a := s.open
	delta := decisions.Delta{Full: a.full, Part: a.part}
	limit := maxStreamed
	if a.full {
		limit = partSize
		if a.part > 0 {
			delta.New = make([]decisions.Decision, 0, partSize)
		}
	}
	a.quiet.Reset(s.silence)
	more, err := a.body.read(&delta, limit)
	if err != nil {
		s.open = nil
		a.close()
		s.lost()
		return decisions.Delta{}, fmt.Errorf("cannot read the answer: %w", because(a.ctx, err))
	}
	if a.full {
		delta.Deleted = nil // what is not in New is not banned
	}
	if s.wait > 0 {
		s.held.take(&delta)
	}
	if more {
		a.quiet.Stop() // it's our turn
		a.part++
		delta.More = true
		return delta, nil
	}
	s.open = nil
	a.close()
	s.cursor = a.resp.Header.Get(HeaderCursor)
	s.full = s.wait > 0 && s.cursor == ""
	if s.wait > 0 && !s.held.agrees(a.resp.Header.Get(HeaderTally)) {
		s.held.wrong, s.full = 0, true
	}
	return delta, nil
}

// lost notes that an answer may have been given that we didn't get. An
// upstream server then thinks that we know what it said.
func (s *Stream) lost() {
	if s.wait == 0 {
		s.full = true
	}
}

var errSilent = errors.New("the server sends nothing")

// because prefers why a context was cancelled to the fact that it was.
func because(ctx context.Context, err error) error {
	if context.Cause(ctx) == errSilent {
		return errSilent
	}
	return err
}

// watched is a body whose sender is given up when it falls silent.
type watched struct {
	r       io.Reader
	quiet   *time.Timer
	silence time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.quiet.Reset(w.silence)
	}
	return n, err
}
