package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"cs/decisions"
	"cs/pipeline/source"
	"cs/roles/api"
)

const (
	// window is how many alerts are sent at once; it doubles, up to maxWindow,
	// while the LAPI refuses all of them.
	window    = 100
	maxWindow = 6400
	// patience is how many requests a round may make before the first alert gets through: a
	// LAPI that refuses everything is ill, and must not be asked for each alert.
	patience = 16
	// maxUnspooled bounds the alerts kept in memory while the disk takes none;
	// beyond it the oldest are dropped and counted.
	maxUnspooled = 1000

	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second

	// maxRejected bounds the file of rejected alerts; there is one older one.
	maxRejected = 4 << 20
)

// outbox brings alerts to one LAPI: each once, in order, whatever happens to
// us or to it. Without a spool they wait in memory.
type outbox struct {
	name         string // "" of the first LAPI
	lapi         LAPI
	spool        *spool // nil: none
	queue        *spoolReader
	rejectedPath string
	log          *slog.Logger
	now          func() time.Time

	wake  chan struct{} // there is something to send
	retry chan struct{} // the LAPI is back
	greet chan struct{} // it may be another one

	mu        sync.Mutex
	unspooled []item
	lost      int // dropped from memory, and not told yet
	dropped   int // all of them, and those from the spool
	sent      int
	rejected  int
}

// item is an alert on its way. at is its place in the spool; the zero place is
// memory.
type item struct {
	alert decisions.Alert
	at    cursor
	bad   error // it can't be decoded
}

func newOutbox(lapi LAPI, sp *spool, rejectedPath string, log *slog.Logger) *outbox {
	o := &outbox{
		lapi: lapi, spool: sp, rejectedPath: rejectedPath, log: log, now: time.Now,
		wake: make(chan struct{}, 1), retry: make(chan struct{}, 1), greet: make(chan struct{}, 1),
	}
	if sp != nil {
		o.queue = sp.spoolReader
	}
	return o
}

// another returns the outbox of a further LAPI: the same spool, and a place in it of its own.
func (o *outbox) another(name string, lapi LAPI) (next *outbox, err error) {
	key := fmt.Sprintf("%016x", xxhash.Sum64String(name))
	next = newOutbox(lapi, o.spool, o.rejectedPath, o.log.With("lapi", name))
	next.name = name
	if o.spool != nil {
		if next.queue, err = o.spool.reader(key); err != nil {
			return nil, err
		}
	}
	if ext := filepath.Ext(o.rejectedPath); o.rejectedPath != "" {
		next.rejectedPath = strings.TrimSuffix(o.rejectedPath, ext) + "-" + key + ext
	}
	return next, nil
}

// put gives alerts to all outboxes of one spool, with the positions behind the lines they
// came from. When it returns they survive the process. Its error says that they are in
// memory only; then positions must not be saved.
func put(all []*outbox, alerts []decisions.Alert, moves source.Moves) error {
	err := all[0].write(alerts, moves)
	for _, o := range all {
		if err != nil || o.spool == nil {
			o.keep(alerts)
		}
		poke(o.wake)
	}
	return err
}

// keep takes alerts into memory.
func (o *outbox) keep(alerts []decisions.Alert) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range alerts {
		o.unspooled = append(o.unspooled, item{alert: a})
	}
	if n := len(o.unspooled) - maxUnspooled; n > 0 {
		o.lost += n
		o.unspooled = append(o.unspooled[:0:0], o.unspooled[n:]...)
	}
}

func (o *outbox) write(alerts []decisions.Alert, moves source.Moves) error {
	if o.spool == nil {
		return nil
	}
	var frames []frame
	for i := range alerts {
		b, err := json.Marshal(&alerts[i])
		if err != nil {
			return fmt.Errorf("cannot encode an alert: %w", err)
		}
		frames = append(frames, frame{kind: kindAlert, payload: b})
	}
	b, err := json.Marshal(moves)
	if err != nil {
		return fmt.Errorf("cannot encode positions: %w", err)
	}
	return o.spool.append(append(frames, frame{kind: kindMoves, payload: b})...)
}

// sync returns when all alerts are on disk or with the LAPI.
func (o *outbox) sync() error {
	o.mu.Lock()
	n := len(o.unspooled)
	o.mu.Unlock()
	if o.spool == nil {
		return nil
	}
	if n > 0 {
		return fmt.Errorf("%d alerts are in memory only", n)
	}
	return o.spool.sync()
}

// Run sends until ctx ends.
func (o *outbox) Run(ctx context.Context) {
	var s sender
	for {
		more, err := s.round(ctx, o)
		if ctx.Err() != nil {
			return
		}
		o.tellDropped()
		switch {
		case err != nil:
			s.failures++
			wait := s.pause()
			if text := err.Error(); text != s.told || s.failures%20 == 0 {
				o.log.Warn("cannot deliver alerts now; they wait", "waiting", o.pending(), "err", err, "retry_in", wait.Round(time.Millisecond))
				s.told = text
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			case <-o.retry:
			}
		case more:
		default:
			select {
			case <-ctx.Done():
				return
			case <-o.wake:
			}
		}
	}
}

// drain sends what waits and returns when there is nothing left, when the
// LAPI doesn't take it, or when ctx ends. It must not run beside Run.
func (o *outbox) drain(ctx context.Context) error {
	var s sender
	for {
		more, err := s.round(ctx, o)
		if err != nil || !more {
			return err
		}
	}
}

// next returns the oldest alerts that wait, at most n.
func (o *outbox) next(n int) (items []item, err error) {
	if o.spool != nil {
		frames, err := o.queue.peek(n)
		if err != nil {
			return nil, err
		}
		for _, fr := range frames {
			it := item{at: fr.end}
			if err := json.Unmarshal(fr.payload, &it.alert); err != nil {
				it.bad = fmt.Errorf("BUG: a spooled alert can't be decoded: %w", err)
				it.alert = decisions.Alert{UUID: fmt.Sprint("bad at ", fr.end), Message: string(fr.payload)}
			}
			items = append(items, it)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	k := min(len(o.unspooled), n-len(items))
	return append(items, o.unspooled[:k]...), nil
}

// settle says that the first of the items are dealt with.
func (o *outbox) settle(items []item) error {
	last := cursor{}
	o.mu.Lock()
	for _, it := range items {
		if it.at != (cursor{}) {
			last = it.at
		} else if len(o.unspooled) > 0 && o.unspooled[0].alert.UUID == it.alert.UUID {
			o.unspooled = o.unspooled[1:]
		}
	}
	o.mu.Unlock()
	if last == (cursor{}) {
		return nil
	}
	return o.queue.settle(last)
}

func (o *outbox) pending() int {
	o.mu.Lock()
	n := len(o.unspooled)
	o.mu.Unlock()
	if o.spool != nil {
		n += o.queue.pending()
	}
	return n
}

// counts are what has become of alerts.
type counts struct{ waiting, sent, rejected, dropped int }

func (o *outbox) counts() counts {
	waiting := o.pending()
	o.mu.Lock()
	defer o.mu.Unlock()
	return counts{waiting, o.sent, o.rejected, o.dropped}
}

// tellDropped confesses what a bound has cost.
func (o *outbox) tellDropped() {
	o.mu.Lock()
	n := o.lost
	o.lost = 0
	o.mu.Unlock()
	if o.spool != nil {
		n += o.queue.takeDropped()
	}
	if n > 0 {
		o.mu.Lock()
		o.dropped += n
		o.mu.Unlock()
		o.log.Error("the spool is full: the oldest alerts are dropped", "alerts", n)
	}
}

// reject gives an alert up and keeps it in a file.
func (o *outbox) reject(a *decisions.Alert, cause error) {
	o.mu.Lock()
	o.rejected++
	o.mu.Unlock()
	o.log.Error("the LAPI refuses an alert; it is given up", "scenario", a.Scenario, "source", a.Source.Value, "kept_in", o.rejectedPath, "err", cause)
	if o.rejectedPath == "" {
		return
	}
	if err := o.keepRejected(a, cause); err != nil {
		o.log.Error("cannot keep the rejected alert", "err", err)
	}
}

func (o *outbox) keepRejected(a *decisions.Alert, cause error) error {
	line, err := json.Marshal(struct {
		Time  time.Time
		Cause string
		Alert *decisions.Alert
	}{o.now(), cause.Error(), a})
	if err != nil {
		return err
	}
	if fi, err := os.Stat(o.rejectedPath); err == nil && fi.Size() > maxRejected {
		if err := os.Rename(o.rejectedPath, o.rejectedPath+".old"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(o.rejectedPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// sender is the state of one loop of sending.
type sender struct {
	delivered map[string]bool // UUIDs behind one that is not settled
	fruitless int             // rounds in which everything was refused
	failures  int             // rounds that failed, in a row
	told      string
}

func (s *sender) pause() time.Duration {
	d := min(firstPause<<min(s.failures-1, 10), maxPause)
	return d/2 + rand.N(d) // half to one and a half
}

// round sends one window. more tells that there may be others.
//
// A refused batch is split until the alerts at fault stand alone. They are
// given up when the LAPI says that they are wrong, or when it has taken others
// and still refuses them.
func (s *sender) round(ctx context.Context, o *outbox) (more bool, err error) {
	size := min(window<<min(s.fruitless, 10), maxWindow)
	items, err := o.next(size)
	if err != nil || len(items) == 0 {
		return false, err
	}
	r := &attempt{ctx: ctx, lapi: o.lapi, left: patience << min(s.fruitless, 10), done: map[string]bool{}}
	var open []item
	for _, it := range items {
		switch {
		case s.delivered[it.alert.UUID]:
			r.done[it.alert.UUID] = true
		case it.bad != nil:
			o.reject(&it.alert, it.bad)
			r.done[it.alert.UUID] = true
		default:
			open = append(open, it)
		}
	}
	err = r.send(open)
	for _, it := range r.refused {
		rejection := it.err
		if !errors.Is(it.err, api.ErrRejected) {
			if r.passed == 0 {
				continue
			}
			if rejection = r.try([]item{it.item}); rejection == nil {
				continue
			}
			if away(rejection) {
				err = rejection
				break
			}
		}
		o.reject(&it.item.alert, rejection)
		r.done[it.item.alert.UUID] = true
	}
	o.mu.Lock()
	o.sent += r.passed
	o.mu.Unlock()

	n := 0
	for n < len(items) && r.done[items[n].alert.UUID] {
		n++
	}
	if n > 0 {
		if serr := o.settle(items[:n]); serr != nil {
			o.log.Error("alerts may be sent again after a restart", "err", serr)
		}
	}
	s.delivered = map[string]bool{}
	for _, it := range items[n:] {
		if r.done[it.alert.UUID] {
			s.delivered[it.alert.UUID] = true
		}
	}
	switch {
	case n == len(items):
		s.fruitless, s.failures, s.told = 0, 0, ""
		return true, nil
	case err == nil && len(r.refused) > 0:
		err = r.refused[0].err
	}
	if r.passed == 0 && err != nil && !away(err) {
		s.fruitless++
	}
	return n > 0 && err == nil, err
}

// attempt is one round's sending.
type attempt struct {
	ctx     context.Context
	lapi    LAPI
	left    int // requests until something must have passed
	passed  int
	done    map[string]bool // UUIDs
	refused []refusal
}

type refusal struct {
	item item
	err  error
}

// try sends items in one request.
func (t *attempt) try(items []item) error {
	alerts := make([]decisions.Alert, len(items))
	for i := range items {
		alerts[i] = items[i].alert
	}
	if err := t.lapi.SendAlerts(t.ctx, alerts); err != nil {
		return err
	}
	t.passed += len(items)
	for _, it := range items {
		t.done[it.alert.UUID] = true
	}
	return nil
}

// send sends items and collects those that are refused. Its error says that it
// makes no sense to go on.
func (t *attempt) send(items []item) error {
	if len(items) == 0 {
		return nil
	}
	err := t.try(items)
	if err == nil {
		return nil
	}
	if away(err) || t.ctx.Err() != nil {
		return err
	}
	if len(items) == 1 {
		t.refused = append(t.refused, refusal{items[0], err})
		return nil
	}
	if t.left--; t.left <= 0 && t.passed == 0 {
		return err
	}
	mid := len(items) / 2
	if err := t.send(items[:mid]); err != nil {
		return err
	}
	return t.send(items[mid:])
}

// away tells errors that say nothing about the alerts: the LAPI can't be
// reached, doesn't know us, or has no time.
func away(err error) bool {
	if errors.Is(err, api.ErrUnreachable) || errors.Is(err, api.ErrDenied) || errors.Is(err, api.ErrNotFound) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var said *api.Error
	if !errors.As(err, &said) {
		return false
	}
	switch said.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity, http.StatusInternalServerError:
		return false
	}
	return true
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
