// Package bouncer is the role that blocks: it follows a feed of decisions and
// makes the host's packet filter equal to it, through remediate. It keeps
// enforcing while the feed is away, and saves what it knows so that it can do so from
// its start.
//
// It decides nothing: who is banned is the LAPI's business, how packets are
// dropped remediate's. roles/run and the command in this package start it.
package bouncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/platform/metric"
	"cs/remediate"
)

// Feed tells what is banned. *api.Stream is one over the wire, *lapi.Feed one in process.
// A feed with a method Resync() is asked for the whole set now and then.
type Feed interface {
	// Next blocks until there is something to tell or the poll interval has
	// passed; then the delta is empty. The first delta is Full. After an error
	// the bouncer pauses and calls again.
	Next(ctx context.Context) (decisions.Delta, error)
}

// What is done with the bans at the end.
const (
	Keep  = "keep"  // they stay until they end: an upgrade must not open the door
	Clean = "clean" // they are removed
)

const (
	// defaultInterval is how often the LAPI is asked, and the longest pause after errors.
	defaultInterval = 10 * time.Second
	firstPause      = time.Second
	// The saved set is written at once after a change, saveBurst times in a row
	// and every saveGap while changes go on: flash wears out, and a kill must lose
	// little. A large set is written less often, so that saving takes at most a
	// twentieth of the time, but every maxSaveGap.
	saveBurst  = 4
	saveGap    = 2 * time.Second
	saveShare  = 20
	maxSaveGap = time.Minute
	// firstAnswer is how long the feed may take, when an earlier process's bans
	// are still in force, until the saved set is used: what was decided in the
	// seconds before a crash is not in it.
	firstAnswer = 5 * time.Second
	// resyncEvery is how often the whole set is asked for; suspectAgain how soon,
	// if the last one was not believed.
	resyncEvery  = 6 * time.Hour
	suspectAgain = 30 * time.Second
	// largeList is a number of decisions whose list is worth giving memory back for.
	largeList = 10_000
	// unready is for how long a kernel that refuses is waited for until the service manager is told
	// that we are ready: to start us again would not help, and end the rest of the process.
	unready = 30 * time.Second
	// maxLoads is how many loads are told of in a minute.
	maxLoads = 10
	// clockSlack is how far the clock and the time of a file may be apart.
	clockSlack = time.Minute
	// closeTime bounds the work in the kernel at the end.
	closeTime = time.Second
)

// savedName is the file of the saved set in the data directory.
const savedName = "bouncer.saved"

// Config is what a Bouncer needs.
type Config struct {
	Feed   Feed
	Kernel remediate.Kernel
	// Fallbacks are tried in turn when the Kernel can't be opened.
	Fallbacks []remediate.Kernel
	// Places name what the Kernel keeps in the packet filter: another one with the
	// same takes over from it.
	Places []string
	// SavedPath is the file of the saved set; empty saves nothing.
	SavedPath string
	// Types of decisions to enforce, in lower case; empty takes "ban".
	Types []string
	// NoIPv4 and NoIPv6: the Kernel leaves a family alone.
	NoIPv4, NoIPv6 bool
	// OnStop is Keep (also when empty) or Clean.
	OnStop string
	// Resync is how often the whole set is asked for, in case a delta was lost; 0
	// takes six hours. With TrustResync one that lifts most bans is believed at once.
	Resync      time.Duration
	TrustResync bool
	// GiveUp ends Run with an error when the feed's first answer is one.
	GiveUp bool
	// Interval is the longest pause after errors of the feed; 0 takes defaultInterval.
	Interval time.Duration
	// MaxDecisions, MaxEntries, MaxLengths are limits, see remediate.Config.
	MaxDecisions, MaxEntries, MaxLengths int
	Log                                  *slog.Logger
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
	// Ignore lists prefixes that are never blocked, and Guards, if set, finds more
	// of them now and then.
	Ignore []netip.Prefix
	Guards func() []Guard
	// IgnorePorts are ports to which the Kernel blocks nobody.
	IgnorePorts []remediate.Ports
	// EndConnections ends what newly blocked addresses have open.
	EndConnections bool
	// Deadline, unless zero, ends every ban by then.
	Deadline time.Time
	// ControlPath is the socket on which questions are answered; empty: none.
	ControlPath string
	// Metrics is the TCP address of the page for Prometheus; empty: none.
	Metrics string
	// Usage says how the LAPI is told what was done; without a Report it isn't.
	Usage Usage
	// Ready, if set, is called when everything that is known is enforced, and State is
	// told in a line how things are whenever that changes.
	Ready func()
	State func(string)
	// Stopping, if set, is told how things are before the kernel is given up.
	Stopping func(Status)
	// Applied, if set, is told what the kernel has just taken. The changes are
	// valid during the call.
	Applied func(changes []remediate.Change, at time.Time)
}

// Bouncer enforces what its feed says.
type Bouncer struct {
	cfg       Config
	r         *remediate.Reconciler
	log       *slog.Logger
	now       func() time.Time
	report    reporter
	changed   chan struct{}      // something to save
	works     chan struct{}      // a load did
	resync    chan time.Duration // in how long the whole set is to be asked for
	readyOnce sync.Once
	stateMu   sync.Mutex
	told      string            // to State
	took      *metric.Histogram // of changes in the kernel
	started   time.Time
	parts     remediate.Diff // of the whole set that is being told

	loads      int // since loadsSince
	loadsSince time.Time

	meterMu sync.Mutex
	meter   meter

	mu      sync.Mutex
	guarded []Guard
	pulls   pulls
	lag     lag
	arrived time.Time // when the last delta did
}

// New returns a Bouncer that has not touched anything yet.
func New(cfg Config) (*Bouncer, error) {
	switch cfg.OnStop {
	case "":
		cfg.OnStop = Keep
	case Keep, Clean:
	default:
		return nil, fmt.Errorf("cannot use %q for what to do at the end: known are %s, %s", cfg.OnStop, Keep, Clean)
	}
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Resync <= 0 {
		cfg.Resync = resyncEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.Types) == 0 {
		cfg.Types = []string{"ban"}
	}
	b := &Bouncer{
		cfg: cfg, log: cfg.Log, now: cfg.Now,
		report:  reporter{log: cfg.Log, now: cfg.Now},
		changed: make(chan struct{}, 1),
		works:   make(chan struct{}, 1),
		resync:  make(chan time.Duration, 1),
		took:    metric.NewHistogram(100*time.Microsecond, time.Millisecond, 10*time.Millisecond, 100*time.Millisecond, time.Second),
		started: cfg.Now(),
	}
	b.r = remediate.New(remediate.Config{
		Kernel:       cfg.Kernel,
		Fallbacks:    cfg.Fallbacks,
		Wanted:       b.wanted,
		NoIPv4:       cfg.NoIPv4,
		NoIPv6:       cfg.NoIPv6,
		TrustFull:    cfg.TrustResync,
		MaxDecisions: cfg.MaxDecisions,
		MaxEntries:   cfg.MaxEntries,
		MaxLengths:   cfg.MaxLengths,
		Deadline:     cfg.Deadline,
		Now:          cfg.Now,
		Slept:        platform.Slept,

		EndConnections: cfg.EndConnections,
		Applied:        b.applied,
		Took:           b.took.Observe,
		Loaded:         b.loaded,
	})
	b.meter = meter{count: b.r.Counters, started: b.started, last: b.started}
	return b, nil
}

// Stats returns the numbers of the reconciler.
func (b *Bouncer) Stats() remediate.Stats { return b.r.Stats() }

func (b *Bouncer) wanted(d *decisions.Decision) bool {
	if d.Simulated {
		return false
	}
	for _, t := range b.cfg.Types {
		if strings.EqualFold(t, d.Type) {
			return true
		}
	}
	return false
}

// Run enforces until ctx ends. The error says why it could not begin.
func (b *Bouncer) Run(ctx context.Context) error {
	live, err := b.r.Open(ctx)
	if err != nil {
		return err
	}
	name, passed := b.r.Chosen()
	log := b.log
	if passed != nil {
		log = log.With("because", passed)
	}
	log.Info("bouncer starts", "backend", name)
	ctx, stopRun := context.WithCancel(ctx)
	defer stopRun()
	var gaveUp error
	feedCtx, stop := context.WithCancel(ctx)
	deltas := make(chan decisions.Delta)
	failed := make(chan error, 1) // the feed's first answer, if that is an error
	var work sync.WaitGroup
	b.setIgnore(ctx)
	work.Go(func() { b.guard(feedCtx) })
	work.Go(func() { b.control(feedCtx) })
	work.Go(func() { b.serveMetrics(feedCtx) })
	work.Go(func() { b.follow(feedCtx, deltas, failed) })
	work.Go(func() { b.r.Run(feedCtx) })
	work.Go(func() { b.reports(feedCtx) })

	settled := false // what can be known is
	var late <-chan time.Time
	ready := func() {
		if !settled {
			settled, late = true, time.After(unready)
		}
		b.ready(false)
	}
	if !live {
		b.meterMu.Lock()
		b.meter.primed = true // no earlier process has counted
		b.meterMu.Unlock()
		// Nobody is blocked yet: better a set that is a little old than none.
		if b.applySaved(ctx) > 0 {
			ready()
		} else {
			b.apply(ctx, decisions.Delta{Full: true})
		}
	}
	patience := time.After(firstAnswer)

	var heard time.Time // when a delta came last
	var saveTimer <-chan time.Time
	var saving chan time.Duration // one at a time, and not in the way of the next ban
	gap := saveGap
	var due time.Time // of the next save if they came evenly
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case d := <-deltas:
			b.apply(ctx, d)
			if heard = b.now(); d.More {
				continue
			}
			live = false
			ready()
			if n := len(d.New); d.Full && (n > largeList || d.Part > 0) {
				go debug.FreeOSMemory() // what a list comes in takes room, too
			}
		case err := <-failed:
			if b.cfg.GiveUp {
				gaveUp = fmt.Errorf("the first pull failed, and retry_initial_connect is false: %w", err)
				stopRun()
				continue
			}
			ready()
		case <-patience:
			if live {
				if b.now().Sub(heard) < firstAnswer { // it is about to tell
					patience = time.After(firstAnswer)
					continue
				}
				b.applySaved(ctx)
			}
			ready()
		case <-b.works:
			if settled {
				b.ready(false)
			}
		case <-late:
			b.ready(true)
		case <-b.unsaved(saveTimer == nil && saving == nil):
			now := b.now()
			if earliest := now.Add(-saveBurst * gap); due.Before(earliest) {
				due = earliest
			}
			due = due.Add(gap)
			saveTimer = time.After(due.Sub(now))
		case <-saveTimer:
			saveTimer, saving = nil, make(chan time.Duration, 1)
			work.Go(func() { saving <- b.save() })
		case took := <-saving:
			saving = nil
			gap = min(max(saveGap, saveShare*took), maxSaveGap)
		}
	}
	stop()
	work.Wait()
	b.save()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if b.cfg.Stopping != nil {
		b.cfg.Stopping(b.Status(closing))
	}
	b.mu.Lock()
	remove := b.cfg.OnStop == Clean
	b.mu.Unlock()
	return errors.Join(gaveUp, b.r.Close(closing, remove))
}

// apply hands one delta to the reconciler. Its errors are told by loaded, and
// the reconciler tries again by itself.
func (b *Bouncer) apply(ctx context.Context, d decisions.Delta) {
	b.mu.Lock()
	b.arrived = b.now()
	b.mu.Unlock()
	diff, err := b.r.Apply(ctx, d)
	if err != nil && ctx.Err() == nil {
		b.log.Error("cannot enforce now, trying again", "err", err)
	}
	b.meterMu.Lock()
	if !b.meter.primed {
		_ = b.meter.read(ctx) // what an earlier process has counted, it has told
	}
	b.meterMu.Unlock()
	if diff.Suspect {
		b.mu.Lock()
		b.pulls.suspects++
		b.mu.Unlock()
		b.log.Warn("the LAPI's full list would lift most bans; keeping them until a second list agrees",
			"again_in", suspectAgain)
	}
	if diff.Again {
		b.askAgain(suspectAgain)
	}
	if !d.More && (d.Full || len(d.New)+len(d.Deleted) > 0) {
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}
	b.tellParts(d, diff)
}

// askAgain has the whole set asked for in a while.
func (b *Bouncer) askAgain(in time.Duration) {
	select {
	case b.resync <- in:
	default:
	}
}

// tellParts logs what a whole set that came in parts has changed.
func (b *Bouncer) tellParts(d decisions.Delta, diff remediate.Diff) {
	switch {
	case d.Part == 0 && !d.More:
		return
	case d.Part == 0:
		b.parts = remediate.Diff{}
	}
	b.parts.Added += diff.Added
	b.parts.Replaced += diff.Replaced
	b.parts.Removed += diff.Removed
	if !d.More {
		b.log.Info("whole list applied", "added", b.parts.Added, "changed", b.parts.Replaced, "lifted", b.parts.Removed)
	}
}

// ready tells, once, that what can be enforced is: the rules are there, and
// the feed has answered, or does not while we have a set to go on with. While the kernel
// refuses it tells nothing, unless that has taken too long.
func (b *Bouncer) ready(anyway bool) {
	if s := b.r.Stats(); !s.Healthy && !anyway {
		return
	} else if !s.Healthy {
		b.log.Warn("not all bans are in force", "trouble", s.Trouble)
	}
	b.readyOnce.Do(func() {
		b.log.Info("bouncer is ready", "prefixes", b.r.Stats().Applied)
		if b.cfg.Ready != nil {
			b.cfg.Ready()
		}
		b.tellState()
	})
}

// tellState tells how things are if it is another story than before.
func (b *Bouncer) tellState() {
	if b.cfg.State == nil {
		return
	}
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	s := b.r.Stats()
	text := fmt.Sprintf("enforcing %d of %d prefixes", s.Applied, s.Wanted)
	if s.Trouble != "" {
		text += "; " + s.Trouble
	}
	b.mu.Lock()
	p := b.pulls
	b.mu.Unlock()
	switch {
	case p.trouble != "" && p.last.IsZero():
		text += "; the LAPI has not answered yet"
	case p.trouble != "":
		text += fmt.Sprintf("; the LAPI has not answered since %s", p.last.Format(time.DateTime))
	}
	if text != b.told {
		b.told = text
		b.cfg.State(text)
	}
}

// unsaved returns the channel that says that there is something to save, nil
// while that has to wait.
func (b *Bouncer) unsaved(now bool) <-chan struct{} {
	if !now {
		return nil
	}
	return b.changed
}

// follow reads the feed until ctx ends.
func (b *Bouncer) follow(ctx context.Context, out chan<- decisions.Delta, failed chan<- error) {
	resyncer, _ := b.cfg.Feed.(interface{ Resync() })
	again := b.now().Add(jitter(b.cfg.Resync))
	pause := firstPause
	var since time.Time
	var failures int
	for {
		select {
		case wait := <-b.resync:
			again = b.now().Add(wait)
		default:
		}
		if resyncer != nil && !b.now().Before(again) {
			again = b.now().Add(jitter(b.cfg.Resync))
			resyncer.Resync()
			b.mu.Lock()
			b.pulls.resyncs++
			b.mu.Unlock()
		}
		d, err := b.cfg.Feed.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		b.pulled(err)
		if err != nil {
			if failures++; failures == 1 {
				since = b.now()
				select {
				case failed <- err:
				default:
				}
				b.log.Warn("cannot follow the LAPI; bans stay in force", "err", err)
			} else if failures%60 == 0 {
				b.log.Warn("still cannot follow the LAPI; bans stay in force", "err", err, "since", since, "attempts", failures)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(jitter(pause)):
			}
			pause = min(2*pause, max(b.cfg.Interval, firstPause))
			continue
		}
		if failures > 0 {
			b.log.Info("following the LAPI again", "after", b.now().Sub(since).Round(time.Second))
			failures, pause = 0, firstPause
		}
		if !d.Full && len(d.New)+len(d.Deleted) == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case out <- d:
		}
	}
}

// pulled notes what came of asking the feed.
func (b *Bouncer) pulled(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pulls.count++
	if err != nil {
		b.pulls.failures++
		b.pulls.trouble = err.Error()
		return
	}
	b.pulls.last, b.pulls.trouble = b.now(), ""
}

// jitter returns between half of d and d, so that many bouncers that lost
// their LAPI at the same time do not come back at the same time.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// savedGCPercent is how much the heap may grow between collections while a saved set
// is enforced: most of what is made then stays.
const savedGCPercent = 200

// applySaved enforces the saved decisions and returns how many there are.
func (b *Bouncer) applySaved(ctx context.Context) (n int) {
	if b.cfg.SavedPath == "" {
		return 0
	}
	defer platform.GrowHeap(savedGCPercent)() // to read it leaves little behind
	d := decisions.Delta{Full: true, More: true}
	// A machine without a clock of its own starts in the past: no earlier than the set was saved.
	var behind time.Duration
	if fi, err := os.Stat(b.cfg.SavedPath); err == nil {
		behind = max(fi.ModTime().Sub(b.now()), 0)
	}
	if behind > clockSlack {
		b.log.Warn("the clock is wrong: it is before the bans were saved", "by", behind.Round(time.Second))
	}
	err := decisions.Load(b.cfg.SavedPath, b.now().Add(behind), func(list []decisions.Decision) error {
		for i := range list {
			list[i].Until = list[i].Until.Add(-behind)
		}
		d.New = list
		b.apply(ctx, d)
		n += len(list)
		d.Part++
		return ctx.Err()
	})
	if n > 0 && err == nil {
		d.New, d.More = nil, false
		b.apply(ctx, d)
		debug.FreeOSMemory()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		b.log.Warn("starting without the saved set", "err", err)
	}
	return n
}

// save writes the saved set and returns how long that took.
func (b *Bouncer) save() time.Duration {
	if b.cfg.SavedPath == "" || !b.r.Stats().Loaded {
		return 0 // what an earlier process saved is better than nothing
	}
	start := time.Now()
	err := platform.MakeDir(filepath.Dir(b.cfg.SavedPath))
	if err == nil {
		err = platform.ReplaceFile(b.cfg.SavedPath, 0o600, func(w io.Writer) error {
			saved := decisions.NewSavedWriter(w)
			if err := b.r.Save(saved); err != nil {
				return err
			}
			return saved.Close()
		})
	}
	if fi, serr := os.Stat(b.cfg.SavedPath); err == nil && serr == nil {
		if now := b.now(); fi.ModTime().Sub(now).Abs() > clockSlack { // a clock of our own
			err = os.Chtimes(b.cfg.SavedPath, now, now)
		}
	}
	if err != nil {
		b.log.Error("a restart without the LAPI would not know all bans", "err", err)
	}
	return time.Since(start)
}

func (b *Bouncer) applied(changes []remediate.Change, at time.Time) {
	b.report.changes(changes, at)
	b.mu.Lock()
	for i := range changes {
		c := &changes[i]
		since := c.Created
		if since.IsZero() {
			since = b.arrived // an upstream LAPI doesn't tell
		}
		if c.Op == remediate.Add && !since.IsZero() {
			b.lag.add(at.Sub(since), at)
		}
	}
	b.mu.Unlock()
	if b.cfg.Applied != nil {
		b.cfg.Applied(changes, at)
	}
}

// loaded logs what was loaded. Its calls don't overlap.
func (b *Bouncer) loaded(why string, n int, took time.Duration, err error) {
	if err == nil {
		select {
		case b.works <- struct{}{}:
		default:
		}
	}
	now := b.now()
	if b.loads++; now.Sub(b.loadsSince) > time.Minute {
		b.loads, b.loadsSince = 1, now
	}
	switch {
	case b.loads > maxLoads:
	case err != nil:
		b.log.Error("cannot load the bans, trying again", "reason", why, "err", err)
	default:
		b.log.Info("bans loaded", "reason", why, "prefixes", n, "took", took.Round(time.Millisecond/10))
	}
	if b.loads == maxLoads {
		b.log.Warn("the bans are loaded again and again: does another bouncer change the same tables? no more of it is told for a minute", "reason", why)
	}
}
