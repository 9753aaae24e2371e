package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

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
	query    url.Values
	full     bool // ask for the whole set
	known    bool // whose server it is was found out, and no error came since
	wait     time.Duration
	cursor   string
	held     held // what our own server has told
	due      time.Time
}

// Stream returns a follower that begins with the whole set.
func (c *Client) Stream(conf StreamConfig) *Stream {
	s := &Stream{c: c, interval: conf.Interval, query: url.Values{}, full: true}
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
// Full. After an error call it again; nothing is lost by it.
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
	return s.poll(ctx)
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

func (s *Stream) poll(ctx context.Context) (decisions.Delta, error) {
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
	defer cancel(nil)
	quiet := time.AfterFunc(held+silence, func() { cancel(errSilent) })
	defer quiet.Stop()
	req, err := s.c.request(ctx, asBouncer, "GET", PathStream, query, nil)
	if err != nil {
		return decisions.Delta{}, err
	}
	resp, err := s.c.http.Do(req)
	if err != nil {
		s.lost()
		return decisions.Delta{}, reachable(because(ctx, err))
	}
	defer closeBody(resp)
	if resp.StatusCode != http.StatusOK {
		return decisions.Delta{}, readError(resp)
	}
	body := &watched{r: io.LimitReader(resp.Body, maxStream), quiet: quiet}
	delta, err := decodeStream(body, s.c.now(), s.wait == 0)
	if err != nil {
		s.lost()
		return decisions.Delta{}, fmt.Errorf("cannot read the answer: %w", because(ctx, err))
	}
	if (offeredWait(resp) > 0) != (s.wait > 0) {
		s.full = true
		return decisions.Delta{}, errors.New("another server has taken over")
	}
	delta.Full = s.full || resp.Header.Get(HeaderFull) == "true"
	if delta.Full {
		delta.Deleted = nil // what is not in New is not banned
	}
	s.cursor = resp.Header.Get(HeaderCursor)
	s.full = s.wait > 0 && s.cursor == ""
	if s.wait > 0 {
		s.held.take(&delta)
		if !s.held.agrees(resp.Header.Get(HeaderTally)) {
			s.held.wrong, s.full = 0, true
		}
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
	r     io.Reader
	quiet *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.quiet.Reset(silence)
	}
	return n, err
}

// streamed is one decision as a bouncer is told it.
type streamed struct {
	Duration string `json:"duration"`
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Scenario string `json:"scenario"`
	Scope    string `json:"scope"`
	Type     string `json:"type"`
	UUID     string `json:"uuid"`
	Value    string `json:"value"`
}

// decodeStream reads {"new": […], "deleted": […]}; either may be null or
// absent. Anything else, an end too early above all, is an error. With
// byValue the IDs are made of what the decisions are about.
func decodeStream(r io.Reader, now time.Time, byValue bool) (decisions.Delta, error) {
	var delta decisions.Delta
	dec := json.NewDecoder(r)
	if err := expect(dec, json.Delim('{')); err != nil {
		return delta, err
	}
	texts := make(interner)
	left := maxStreamed
	var raw json.RawMessage
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return delta, err
		}
		list := &delta.New
		switch key {
		case "new":
		case "deleted":
			list = &delta.Deleted
		default:
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return delta, unexpected(err)
			}
			continue
		}
		err = eachElement(dec, func() error {
			var w streamed
			if err := dec.Decode(&raw); err != nil {
				return unexpected(err)
			}
			if err := w.read(raw); err != nil {
				return err
			}
			if left--; left < 0 {
				return fmt.Errorf("more than %d decisions in one answer", maxStreamed)
			}
			length, err := ParseDuration(w.Duration)
			if err != nil {
				return err
			}
			d := decisions.Decision{
				ID:       w.ID,
				UUID:     strings.Clone(w.UUID), // it may be a part of all of raw
				Origin:   texts.get(w.Origin),
				Scenario: texts.get(w.Scenario),
				Scope:    texts.get(decisions.NormalScope(w.Scope)),
				Type:     texts.get(w.Type),
				Value:    strings.Clone(w.Value),
				Until:    now.Add(length),
			}
			if byValue {
				d.ID = valueID(&d)
			}
			*list = append(*list, d)
			return nil
		})
		if err != nil {
			return delta, err
		}
	}
	return delta, expect(dec, json.Delim('}'))
}

var streamedShape = shape[streamed]{0, []field[streamed]{
	{"duration", func(s *scanner, d *streamed) { d.Duration = s.string() }},
	{"id", func(s *scanner, d *streamed) { d.ID = s.number(64) }},
	{"origin", func(s *scanner, d *streamed) { d.Origin = s.string() }},
	{"scenario", func(s *scanner, d *streamed) { d.Scenario = s.string() }},
	{"scope", func(s *scanner, d *streamed) { d.Scope = s.string() }},
	{"type", func(s *scanner, d *streamed) { d.Type = s.string() }},
	{"uuid", func(s *scanner, d *streamed) { d.UUID = s.string() }},
	{"value", func(s *scanner, d *streamed) { d.Value = s.string() }},
}}

// read reads one decision, whose texts may be parts of one text after it.
func (w *streamed) read(raw []byte) error {
	s := scanner{text: string(raw)}
	if object(&s, &streamedShape, w); !s.lost && s.next() == 0 {
		return nil
	}
	*w = streamed{}
	return unexpected(json.Unmarshal(raw, w))
}

// eachElement calls f for each element of the array that comes next, or not at
// all for null.
func eachElement(dec *json.Decoder, f func() error) error {
	open, err := dec.Token()
	if err != nil {
		return unexpected(err)
	}
	if open == nil {
		return nil
	}
	if open != json.Delim('[') {
		return fmt.Errorf("unexpected %v where an array should be", open)
	}
	for dec.More() {
		if err := f(); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim(']'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return unexpected(err)
	}
	if got != want {
		return fmt.Errorf("unexpected %v where %v should be", got, want)
	}
	return nil
}

// unexpected says that an end came too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// valueID makes an ID of what a decision is about.
func valueID(d *decisions.Decision) int64 {
	b := make([]byte, 0, 96)
	for _, s := range []string{d.Scope, d.Type, d.Value} {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ':'), s...)
	}
	return max(1, int64(xxhash.Sum64(b)&math.MaxInt64))
}

// interner keeps one copy of the texts that a hundred thousand decisions share.
type interner map[string]string

func (m interner) get(s string) string {
	if known, ok := m[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(m) < 4096 {
		m[s] = s
	}
	return s
}
