// Package notify tells people and programs of alerts: over HTTP, to Slack or
// Splunk, by e-mail, or in a file. It reads the files that CrowdSec (upstream)
// has for its plug-ins, but starts no processes: each kind is a few lines here.
//
// roles/lapi hands it the alerts that a profile has named it for. What can't be
// delivered in time is dropped and logged, and never holds up an alert.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cs/decisions"
	"cs/platform/strict"
	"cs/roles/api"
)

const (
	// maxQueued bounds the alerts that wait at one instance. At the bound the
	// oldest goes, and is counted.
	maxQueued = 1000
	// maxQueuedBytes bounds the same in bytes of JSON; of one alert, maxAlertBytes of
	// decisions and as many of events are told, the first ones.
	maxQueuedBytes = 16 << 20
	maxAlertBytes  = 1 << 20
	// checkEvery is how often a queue is looked at, as upstream does.
	checkEvery = time.Second
	// An attempt that failed is repeated after a second, then two, up to longestPause,
	// with some chance in it; for giveUp if no number of attempts is set.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	giveUp       = 5 * time.Minute
	// defaultTimeout is for how long one attempt may take.
	defaultTimeout = 5 * time.Second
	// lastTime is for what is left in the queues when the server stops.
	lastTime = 300 * time.Millisecond
	maxFile  = 1 << 20
)

// Instance is one document of a notification file: what is sent, how, and when.
type Instance struct {
	Name, Type string
	GroupWait  time.Duration
	Threshold  int // alerts in a message; 0: one
	MaxRetry   int // 0: for five minutes
	Timeout    time.Duration
	Format     string
	Keys       map[string]any // all that was typed

	text   formatter
	sender sender
}

// sender delivers a message. A lasting error isn't worth another attempt.
type sender interface {
	send(ctx context.Context, text string) error
}

// formatter makes the text of a message.
type formatter interface {
	format(alerts []Alert) (string, error)
}

// lasting is an error that another attempt won't mend: who was asked has answered.
type lasting struct{ error }

// types are the known ones.
var types = map[string]func(*options) sender{
	"http": newHTTP, "slack": newSlack, "splunk": newSplunk, "sentinel": newSentinel,
	"email": newEmail, "file": newFile, "dummy": newDummy,
}

// Load reads the files *.yaml and *.yml of a directory and prepares the
// instances that used names. env is for the variables in the values of a type's
// own keys. The error lists all that is wrong. A key that no type knows is left
// alone. Of two with one name the last counts, and warn, which may be nil, is told.
func Load(dir string, used []string, env func(string) (string, bool), warn func(error)) (map[string]*Instance, error) {
	if warn == nil {
		warn = func(error) {}
	}
	all := make(map[string]*Instance)
	var errs []error
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, load(path, all, used, env, warn))
		}
	}
	for _, name := range used {
		if all[name] == nil {
			errs = append(errs, fmt.Errorf("config file for plugin %s not found in %s", name, dir))
		}
	}
	return all, errors.Join(errs...)
}

// Names returns the names of the instances in the files of a directory.
func Names(dir string) ([]string, error) {
	all, err := Load(dir, nil, nil, nil)
	return slices.Sorted(maps.Keys(all)), err
}

func load(path string, all map[string]*Instance, used []string, env func(string) (string, bool), warn func(error)) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("cannot read the notifications of %s: %w", path, err)
	}
	docs, err := strict.Parse(path, text)
	if err != nil {
		return err
	}
	var errs []error
	for i, doc := range docs {
		keys := make(map[string]any)
		if err := doc.Decode(&keys); err != nil {
			errs = append(errs, err)
			continue
		}
		// Once more for the scalars as they are typed: a password of digits is no
		// number. It complains of what is none, which keys has.
		scalars := make(map[string]strict.Text)
		_ = doc.Decode(&scalars)
		o := options{keys: keys, scalars: scalars, env: env}
		in := &Instance{
			Type: o.literal("type"), Name: o.literal("name"), Format: o.literal("format"),
			GroupWait: o.duration("group_wait", 0), Threshold: o.number("group_threshold", 0),
			MaxRetry: o.number("max_retry", 0), Timeout: o.duration("timeout", defaultTimeout), Keys: keys,
		}
		fail := func(err error) { errs = append(errs, doc.Place().Errorf("%w", err)) }
		if in.Type == "" {
			errs = append(errs, fmt.Errorf("error in %s: document %d: missing required field 'type'", path, i))
			continue
		}
		if all[in.Name] != nil {
			warn(doc.Place().Errorf("this notification %q takes the place of another one", in.Name))
		}
		all[in.Name] = in
		if !slices.Contains(used, in.Name) {
			continue
		}
		make1 := types[in.Type]
		if make1 == nil {
			fail(fmt.Errorf("notification %q: unknown type %q", in.Name, in.Type))
			continue
		}
		in.sender = make1(&o)
		if in.text, err = parseFormat(in.Format); err != nil {
			o.errs = append(o.errs, fmt.Errorf("format: %w", err))
		}
		for _, err := range o.errs {
			fail(fmt.Errorf("notification %q: %w", in.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Broker brings alerts to instances. Run must run for anything to be sent.
type Broker struct {
	queues map[string]*queue
	log    *slog.Logger
	now    func() time.Time
}

// queue is what waits at one instance.
type queue struct {
	*Instance
	mu      sync.Mutex
	alerts  [][]byte  // as JSON: their texts may be parts of a large request
	size    int       // of all
	since   time.Time // of the last message
	dropped int
}

// NewBroker returns a broker for instances that Load has prepared.
func NewBroker(instances map[string]*Instance, log *slog.Logger, now func() time.Time) *Broker {
	b := &Broker{queues: make(map[string]*queue), log: log, now: now}
	for name, in := range instances {
		if in.sender != nil {
			b.queues[name] = &queue{Instance: in, since: now()}
		}
	}
	return b
}

// Tell queues an alert for an instance. It doesn't wait.
func (b *Broker) Tell(name string, a *decisions.Alert) {
	q := b.queues[name]
	if q == nil {
		return
	}
	short := *a
	short.Decisions = fitting(a.Decisions, func(d *decisions.Decision) int {
		return len(d.Value) + len(d.Scope) + len(d.Type) + len(d.Scenario) + len(d.Origin)
	})
	short.Events = fitting(a.Events, func(e *decisions.Event) (n int) {
		for _, kv := range e.Meta {
			n += len(kv.Key) + len(kv.Value)
		}
		return n
	})
	text, err := json.Marshal(newAlert(&short, b.now()))
	if err != nil {
		b.log.Error("cannot tell of an alert", "notification", name, "alert", a.ID, "err", err)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.alerts) > 0 && (len(q.alerts) >= maxQueued || q.size+len(text) > maxQueuedBytes) {
		q.size -= len(q.alerts[0])
		q.alerts = slices.Delete(q.alerts, 0, 1)
		q.dropped++
	}
	q.alerts = append(q.alerts, text)
	q.size += len(text)
}

// fitting returns the first elements of a list, as many as have about
// maxAlertBytes.
func fitting[T any](list []T, size func(*T) int) []T {
	const each = 64 // for keys and numbers
	n := 0
	for i := range list {
		if n += each + size(&list[i]); n > maxAlertBytes {
			return list[:i]
		}
	}
	return list
}

// Run sends until ctx ends, then what is left, in one message for each instance.
func (b *Broker) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, q := range b.queues {
		work.Go(func() { b.serve(ctx, q) })
	}
	work.Wait()
}

func (b *Broker) serve(ctx context.Context, q *queue) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, message := range q.due(b.now()) {
				b.deliver(ctx, q, message)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
			defer cancel()
			if rest := q.take(); len(rest) > 0 {
				if err := q.attempt(last, rest); err != nil {
					b.log.Error("notifications are lost", "notification", q.Name, "alerts", len(rest), "err", err)
				}
			}
			return
		}
	}
}

// due returns the messages that are to be sent now.
func (q *queue) due(now time.Time) (messages [][]Alert) {
	q.mu.Lock()
	waited := now.Sub(q.since) >= q.GroupWait
	ready := len(q.alerts) > 0
	switch {
	case q.GroupWait > 0 && q.Threshold > 0:
		ready = ready && (waited || len(q.alerts) >= q.Threshold)
	case q.GroupWait > 0:
		ready = ready && waited
	case q.Threshold > 0:
		ready = len(q.alerts) >= q.Threshold
	}
	q.mu.Unlock()
	if waited {
		q.since = now
	}
	if !ready {
		return nil
	}
	q.since = now
	return slices.Collect(slices.Chunk(q.take(), max(q.Threshold, 1)))
}

func (q *queue) take() []Alert {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := make([]Alert, len(q.alerts))
	for i, text := range q.alerts {
		if err := json.Unmarshal(text, &taken[i]); err != nil {
			panic(fmt.Sprintf("BUG: an alert from JSON: %v", err))
		}
	}
	q.alerts, q.size = nil, 0
	return taken
}

// deliver sends a message, with repetitions.
func (b *Broker) deliver(ctx context.Context, q *queue, message []Alert) {
	began, pause := b.now(), firstPause
	for attempt := 1; ; attempt++ {
		err := q.attempt(ctx, message)
		if err == nil || ctx.Err() != nil {
			break
		}
		var final lasting
		over := attempt > q.MaxRetry
		if q.MaxRetry <= 0 {
			over = b.now().Sub(began) >= giveUp
		}
		if over || errors.As(err, &final) {
			b.log.Error("cannot send a notification", "notification", q.Name, "alerts", len(message), "attempts", attempt, "err", err)
			break
		}
		select {
		case <-time.After(pause*7/10 + rand.N(pause*6/10)):
		case <-ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
	q.mu.Lock()
	dropped := q.dropped
	q.dropped = 0
	q.mu.Unlock()
	if dropped > 0 {
		b.log.Error("too many notifications at once, the oldest were dropped", "notification", q.Name, "alerts", dropped)
	}
}

// attempt sends a message once. Its error holds no secrets: an URL, of which
// Slack's are one, is left out.
func (in *Instance) attempt(ctx context.Context, message []Alert) error {
	text, err := in.text.format(message)
	if err != nil {
		return lasting{fmt.Errorf("cannot write the text: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	err = in.sender.send(ctx, text)
	var named *url.Error
	if errors.As(err, &named) {
		err = fmt.Errorf("cannot reach the server: %w", named.Err)
	}
	return err
}

// Test sends a made-up alert, as "cscli notifications test" does.
func (in *Instance) Test(ctx context.Context, a *decisions.Alert, now time.Time) error {
	if in.sender == nil {
		return fmt.Errorf("notification %q is not in use", in.Name)
	}
	return in.attempt(ctx, []Alert{newAlert(a, now)})
}

// Alert is an alert as templates see it: the fields have the names of
// upstream's, and as JSON it is what the API says.
type Alert struct {
	api.Alert
	Source Source `json:"source"`
}

// Source is whom an alert is about.
type Source struct {
	AsName    string  `json:"as_name,omitempty"`
	AsNumber  string  `json:"as_number,omitempty"`
	Cn        string  `json:"cn,omitempty"`
	IP        string  `json:"ip,omitempty"`
	Latitude  float32 `json:"latitude,omitempty"`
	Longitude float32 `json:"longitude,omitempty"`
	Range     string  `json:"range,omitempty"`
	Scope     string  `json:"scope"`
	Value     string  `json:"value"`
}

func newAlert(a *decisions.Alert, now time.Time) Alert {
	w := api.FromAlert(a, now)
	s := w.Source
	return Alert{Alert: w, Source: Source{
		AsName: s.ASName, AsNumber: s.ASNumber, Cn: s.Country, IP: s.IP, Latitude: s.Latitude, Longitude: s.Longitude,
		Range: s.Range, Scope: s.Scope, Value: s.Value,
	}}
}
