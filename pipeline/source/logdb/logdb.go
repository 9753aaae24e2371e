// Package logdb has the sources that ask databases of logs: loki and
// victorialogs. In mode tail the newest line that was delivered is remembered,
// so that a restart goes on behind it.
package logdb

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cs/pipeline/event"
	"cs/pipeline/source"
	"cs/platform/strict"
)

// Keys are those of an acquisition (spec engine §7).
type Keys struct {
	URL                string        `yaml:"url"`
	Prefix             string        `yaml:"prefix"`
	Query              string        `yaml:"query"`
	Limit              int           `yaml:"limit"` // lines of one answer
	DelayFor           time.Duration `yaml:"delay_for"`
	Since              time.Duration `yaml:"since"` // in mode cat: from when on, back from now
	Headers            strict.Map    `yaml:"headers"`
	WaitForReady       time.Duration `yaml:"wait_for_ready"`
	MaxFailureDuration time.Duration `yaml:"max_failure_duration"`
	NoReadyCheck       bool          `yaml:"no_ready_check"`
	Auth               struct {
		Username string `yaml:"username"`
		Password string `yaml:"password"`
	} `yaml:"auth"`
}

const (
	maxDelay = 5 * time.Second
	maxLimit = 50_000
	maxReply = 256 << 20
	maxError = 1 << 10

	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	askTime    = time.Minute
)

// database is what both sources have in common.
type database struct {
	keys    Keys
	spec    *source.Spec
	kind    string
	base    *url.URL
	http    http.Client
	trouble *source.Throttle
	now     func() time.Time
	pause   time.Duration // the first one; tests make it short

	mark *source.Mark
	pos  source.Position
	at   place
}

// place is how far a log was read: the time of the newest line, and hashes of
// the lines of that time.
type place struct {
	ns   int64
	seen []uint64
}

// maxSeen bounds the lines of one time that are told apart.
const maxSeen = 4096

func open(spec *source.Spec, kind string, k Keys) (*database, error) {
	err := spec.Decode(&k, func(d *source.DSN) { readDSN(d, &k) })
	if err != nil {
		return nil, err
	}
	db := &database{keys: k, spec: spec, kind: kind, trouble: source.NewThrottle(spec.Report), now: time.Now, pause: firstPause}
	if k.URL == "" {
		return nil, spec.Errorf("url", "there is none")
	}
	if db.base, err = url.Parse(k.URL); err != nil || db.base.Host == "" || db.base.Scheme != "http" && db.base.Scheme != "https" {
		return nil, spec.Errorf("url", "want http://HOST[:PORT] or https://…")
	}
	switch {
	case k.Query == "":
		return nil, spec.Errorf("query", "there is none")
	case k.Limit < 1 || k.Limit > maxLimit:
		return nil, spec.Errorf("limit", "want a number from 1 to %d, not %d", maxLimit, k.Limit)
	case k.DelayFor < 0 || k.DelayFor > maxDelay:
		return nil, spec.Errorf("delay_for", "want a duration up to %v, not %v", maxDelay, k.DelayFor)
	case k.Since < 0:
		return nil, spec.Errorf("since", "%v is in the future", k.Since)
	}
	db.base = db.base.JoinPath(k.Prefix)
	return db, nil
}

// readDSN reads SCHEME://[USER:PASSWORD@]HOST[/PREFIX]?query=… with the
// parameters that are named below.
func readDSN(d *source.DSN, k *Keys) {
	u, err := url.Parse("//" + d.Target)
	if err != nil || u.Host == "" {
		d.Fail("it has no host")
		return
	}
	if u.User != nil {
		k.Auth.Username = u.User.Username()
		k.Auth.Password, _ = u.User.Password()
	}
	secure := false
	d.Bool("ssl", &secure)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	k.URL, k.Prefix = scheme+"://"+u.Host, u.Path
	d.Text("query", &k.Query)
	d.Int("limit", &k.Limit)
	d.Duration("since", &k.Since)
	d.Duration("delay_for", &k.DelayFor)
	d.Duration("wait_for_ready", &k.WaitForReady)
	d.Duration("max_failure_duration", &k.MaxFailureDuration)
	d.Bool("no_ready_check", &k.NoReadyCheck)
}

// Name returns what is asked where.
func (db *database) Name() string { return db.kind + " " + db.base.Redacted() + " " + db.keys.Query }

// errRefused is an answer that no other try will change.
var errRefused = errors.New("the query is refused")

// ask sends a GET request; the body is the caller's to close.
func (db *database) ask(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := db.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range db.keys.Headers {
		req.Header.Set(h.Key, h.Value.Value)
	}
	if db.keys.Auth.Username != "" || db.keys.Auth.Password != "" {
		req.SetBasicAuth(db.keys.Auth.Username, db.keys.Auth.Password)
	}
	resp, err := db.http.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // the query is long and in the name of the source
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	if c := resp.StatusCode; c >= 400 && c < 500 && c != http.StatusTooManyRequests && c != http.StatusRequestTimeout {
		err = fmt.Errorf("%w: %w", errRefused, err)
	}
	return nil, err
}

// ready waits until the server says that it is.
func (db *database) ready(ctx context.Context, path string) error {
	if db.keys.NoReadyCheck {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, db.keys.WaitForReady, errors.New("it took too long"))
	defer cancel()
	for {
		body, err := db.ask(ctx, path, nil)
		if err == nil {
			return body.Close()
		}
		if errors.Is(err, errRefused) {
			return nil // it has no such page, and answers
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach %s: %w (%w)", db.base.Host, context.Cause(ctx), err)
		case <-time.After(db.pause):
		}
	}
}

// resume takes over the position of an earlier process, or begins at start.
func (db *database) resume(start time.Time) {
	if db.at.ns != 0 {
		return
	}
	db.at = place{ns: start.UnixNano()}
	if db.spec.Once {
		return
	}
	db.pos.Key = db.kind + ":" + db.spec.Labels["type"] + ":" + db.base.Redacted() + " " + db.keys.Query
	if saved := db.spec.Positions.Saved(db.pos.Key); len(saved) > 0 {
		if at, ok := parsePlace(saved[len(saved)-1].Cursor); ok {
			db.at = at
		}
		db.spec.Positions.Forget(db.pos.Key)
	}
	db.pos.Cursor = db.at.String()
	db.mark = db.spec.Positions.Track(db.pos)
}

func (p place) String() string {
	var b strings.Builder
	b.WriteString(strconv.FormatInt(p.ns, 10))
	for _, h := range p.seen {
		b.WriteByte(' ')
		b.WriteString(strconv.FormatUint(h, 36))
	}
	return b.String()
}

func parsePlace(text string) (p place, ok bool) {
	for i, word := range strings.Fields(text) {
		var err error
		if i == 0 {
			p.ns, err = strconv.ParseInt(word, 10, 64)
		} else {
			var h uint64
			h, err = strconv.ParseUint(word, 36, 64)
			p.seen = append(p.seen, h)
		}
		if err != nil || p.ns < 0 || i > maxSeen {
			return place{}, false
		}
	}
	return p, p.ns > 0
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = io.WriteString(h, p)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// sinkError tells trouble with the sink from trouble with the server.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// deliver hands a batch over; next is how far the log is read then.
func (db *database) deliver(ctx context.Context, b *source.Batch, out source.Sink, next place) error {
	now := db.now()
	if b.Len() > 0 && !db.spec.Once {
		db.spec.Meter.SetBehind(now.Sub(time.Unix(0, next.ns)))
	}
	pos := db.pos
	pos.Cursor = next.String()
	done := func() {
		db.at, db.pos = next, pos
		db.mark.Set(pos)
	}
	return b.Deliver(ctx, func(ctx context.Context, batch []event.Line, done func()) error {
		if err := out(ctx, batch, done); err != nil {
			return &sinkError{err}
		}
		return nil
	}, now, done)
}

// patiently calls f, which returns whether it found something, until ctx ends,
// or, with once, it succeeds: with a pause that grows while there is nothing, and
// over failures as long as max_failure_duration allows.
func (db *database) patiently(ctx context.Context, once bool, f func() (some bool, err error)) error {
	var failing time.Time
	for pause := db.pause; ; {
		some, err := f()
		var refused *sinkError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused):
			return refused.err
		case err == nil && once:
			return nil
		case err == nil:
			failing = time.Time{}
		case errors.Is(err, errRefused):
			return fmt.Errorf("cannot query %s: %w", db.base.Host, err)
		default:
			if failing.IsZero() {
				failing = db.now()
			}
			if d := db.now().Sub(failing); d >= db.keys.MaxFailureDuration {
				return fmt.Errorf("cannot query %s for %v: %w", db.base.Host, d.Round(time.Millisecond), err)
			}
			db.trouble.Report(fmt.Errorf("cannot query %s, trying again: %w", db.base.Host, err))
		}
		if some {
			pause = db.pause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}
