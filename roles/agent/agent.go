// Package agent is the role that reads logs: sources feed lines to the engine
// (cs/pipeline), and the alerts that come out go through an outbox, with a
// spool on disk, to the LAPI. It finds the host's usual logs when nobody names
// any.
//
// It knows nothing of decisions or firewalls. roles/run and the command in
// this package start it.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/node"
	"cs/pipeline/source"
	"cs/platform"
	"cs/roles/api"
	"cs/roles/config"
)

const (
	heartbeatEvery = time.Minute // LAPIs call a machine inactive after two
	advanceEvery   = 500 * time.Millisecond
	// idleEvery is the same while there is nothing to advance: no line came, and no bucket
	// lives. It falls together with the looks of the file sources.
	idleEvery = 5 * time.Second
	// saveEvery is how often positions are written while lines come in. An
	// alert carries them as well, so after a crash only lines are read again
	// that nothing came of yet, and a router's flash is spared.
	saveEvery  = 5 * time.Second
	statsEvery = time.Minute
	// bucketsEvery is how often the buckets are written, if they changed: what
	// a crash makes the agent forget.
	bucketsEvery = time.Minute
	// startTime is how long Run waits for its sources until it says that it is
	// ready without them.
	startTime = time.Second
	// drainTime bounds the delivery at the end of a replay; what is left stays
	// in the spool.
	drainTime = 30 * time.Second
	// loadingGCPercent is for the start, when all that is there goes on being used.
	loadingGCPercent = 200
	// itemMemory is about what loading an item takes for a moment.
	itemMemory = 128 << 10
	// sourcePause is between two attempts with a source that failed.
	sourcePause = 10 * time.Second
)

// Files in the data directory.
const (
	positionsName = "positions.json"
	spoolName     = "spool"
	rejectedName  = "rejected-alerts.jsonl"
)

// LAPI takes alerts. *api.Client is one over the wire, *lapi.Local in process.
type LAPI interface {
	// SendAlerts returns when all alerts are stored. An alert that it has
	// already taken, by UUID, is no error.
	SendAlerts(ctx context.Context, alerts []decisions.Alert) error
	// Heartbeat says that we live. It also proves that the LAPI lets us in.
	Heartbeat(ctx context.Context) error
	// Report tells what was read and what is installed. An old LAPI gives an
	// *api.Error with status 404.
	Report(ctx context.Context, report api.ComponentMetrics) error
}

// Other is a further LAPI. What is away or slow there holds up nothing elsewhere.
type Other struct {
	// Name tells it from the others, also in the next process.
	Name string
	// Connect returns the link to it. scenarios are those that a login reports.
	Connect func(scenarios func() []string) (LAPI, error)
}

// Engine turns lines into alerts; *pipeline.Engine does.
type Engine interface {
	Process(batch []event.Line, now time.Time)
	Advance(now time.Time)
	Scenarios() []string
	Stats() pipeline.Stats
	Buckets() []pipeline.ScenarioStats
	SaveState(w io.Writer) error
	LoadState(r io.Reader, now time.Time) error
	Stashes() *node.Stashes
}

// Config is what an Agent needs.
type Config struct {
	// DataDir keeps positions and the spool.
	DataDir string
	// Stateless keeps nothing in DataDir: alerts wait in memory, and where logs
	// were read to is forgotten.
	Stateless bool
	LAPI      LAPI
	// Others get every alert as well.
	Others []Other
	// Inputs are the logs to read, and Faults what is wrong with others, which
	// are left out.
	Inputs []config.Acquisition
	Faults []error
	// Engine says what the engine is made of, but for Content, Alert and Warn.
	Engine pipeline.Options
	// Content reads what to load into the engine, with what is faulty in it. It is
	// called by New and Reload, and what it returns is not kept: it is larger than
	// what is compiled of it.
	Content    func() (hub.Content, []error)
	SpoolBytes int64
	// MemoryLimit bounds the memory of the process; 0: nothing does. It is Engine's
	// to bound the buckets.
	MemoryLimit int64
	// FromStart reads logs that were never seen from their start.
	FromStart bool
	Version   string // of the program, for reports
	Log       *slog.Logger
	// Stdin is what the input "-" reads.
	Stdin io.Reader
	// Ready, if set, is called once the sources read.
	Ready func()

	// load makes the engine; nil is pipeline.Load. Tests set it.
	load func(alert func(decisions.Alert)) (Engine, []error)
	// Those of above; tests shorten them.
	saveEvery, bucketsEvery time.Duration
}

// Agent reads logs and reports attacks.
type Agent struct {
	cfg       Config
	log       *slog.Logger
	outboxes  []*outbox         // of LAPI, and of each of the others
	positions *source.Positions // nil without a data directory
	inputs    []*input          // to begin with
	changes   chan change       // from Reload to read
	stopped   chan struct{}     // closed when nobody takes them any more
	reloading sync.Mutex        // held during Reload
	faults    map[string]bool   // what is wrong with the content and the inputs of now

	// processing is held for reading while lines are processed, and for writing while the
	// alerts of the moment are put into the outbox: no line is half done then,
	// so the positions say exactly which lines the alerts came from. It also guards
	// engine, which a reload exchanges.
	processing sync.RWMutex
	engine     Engine
	before     []pipeline.ScenarioStats // of engines that are gone
	gone       pipeline.Stats           // likewise
	raised     alerts

	bucketsOf uint64 // events poured when the buckets were saved; of tick, and then of close

	meters  *pipeline.Meters // of all engines
	sources source.Meters    // of the inputs
	about   about

	strange atomic.Pointer[[]string] // sources of which no line is understood any more

	lines atomic.Int64
	idle  atomic.Bool   // tick sleeps for long
	awake chan struct{} // ends that
}

// about is what a report tells of the agent beside numbers.
type about struct {
	sync.Mutex
	hub     api.HubItems
	sources map[string]int64 // inputs by kind of source
}

// alerts are those that the engine raised and that are not yet in the outbox.
type alerts struct {
	mu   sync.Mutex
	list []decisions.Alert
	any  atomic.Bool
}

// New loads the engine and opens what is kept in the data directory. Content
// that is faulty is logged and left out. Nothing is read yet.
func New(cfg Config) (*Agent, error) {
	a := &Agent{cfg: cfg, log: cfg.Log, meters: pipeline.NewMeters(), changes: make(chan change), stopped: make(chan struct{}), awake: make(chan struct{}, 1)}
	platform.LimitMemory(cfg.MemoryLimit)
	defer platform.GrowHeap(loadingGCPercent)()
	var errs []error
	a.engine, a.about.hub, errs = a.load(cfg)
	a.faults = a.tellFaults(append(errs, cfg.Faults...))

	var sp *spool
	rejected := ""
	if !cfg.Stateless {
		if err := platform.MakeDir(cfg.DataDir); err != nil {
			return nil, fmt.Errorf("cannot make the data directory: %w", err)
		}
		var err error
		if sp, err = openSpool(filepath.Join(cfg.DataDir, spoolName), cfg.SpoolBytes); err != nil {
			return nil, err
		}
		if sp.damaged > 0 {
			a.log.Error("the spool was damaged, alerts may be lost", "bytes", sp.damaged)
		}
		rejected = filepath.Join(cfg.DataDir, rejectedName)
	}
	if !cfg.Stateless {
		a.loadBuckets()
	}
	a.outboxes = []*outbox{newOutbox(cfg.LAPI, sp, rejected, a.log)}
	for _, other := range cfg.Others {
		lapi, err := other.Connect(a.Scenarios)
		var next *outbox
		if err == nil {
			next, err = a.outboxes[0].another(other.Name, lapi)
		}
		if err != nil {
			if sp != nil {
				err = errors.Join(err, sp.close())
			}
			return nil, err
		}
		a.outboxes = append(a.outboxes, next)
	}
	if sp != nil {
		if err := a.openPositions(sp); err != nil {
			return nil, errors.Join(err, sp.close())
		}
	}
	for _, acq := range cfg.Inputs {
		in, err := a.newInput(acq)
		if err != nil {
			a.log.Error("something is left out", "err", err)
			a.faults[err.Error()] = true
			continue
		}
		a.inputs = append(a.inputs, in)
	}
	if len(a.inputs) == 0 {
		err := errNoInputs
		if sp != nil {
			err = errors.Join(err, sp.close())
		}
		return nil, err
	}
	return a, nil
}

var errNoInputs = errors.New("no datasource enabled: there is no log to read")

// Scenarios returns the names that a login reports.
func (a *Agent) Scenarios() []string { return a.current().Scenarios() }

// current returns the engine of the moment.
func (a *Agent) current() Engine {
	a.processing.RLock()
	defer a.processing.RUnlock()
	return a.engine
}

// load makes the engine that cfg describes. The errors name content that is left out.
func (a *Agent) load(cfg Config) (Engine, api.HubItems, []error) {
	if cfg.load != nil {
		e, errs := cfg.load(a.raise)
		return e, nil, errs
	}
	opt := cfg.Engine
	var errs []error
	opt.Content, errs = cfg.Content()
	installed := hubItems(opt.Content)
	defer platform.HugeHeap(len(opt.Content.Items) * itemMemory)()
	opt.Alert, opt.Meters = a.raise, a.meters
	opt.Warn = func(message string) { a.log.Warn("content is doubtful", "warning", message) }
	e, faulty := pipeline.Load(opt)
	return e, installed, append(errs, faulty...)
}

// tellFaults logs what is wrong with content and inputs and returns it as a set.
func (a *Agent) tellFaults(errs []error) map[string]bool {
	faults := make(map[string]bool)
	for _, err := range errs {
		a.log.Error("something is left out", "err", err)
		faults[err.Error()] = true
	}
	return faults
}

// openPositions reads how far each log was read: what was saved, and what was
// put into the spool with an alert since.
func (a *Agent) openPositions(sp *spool) error {
	path := filepath.Join(a.cfg.DataDir, positionsName)
	var err error
	a.positions, err = source.OpenPositions(path, a.barrier, time.Now)
	if err != nil {
		a.log.Error("logs are read as on the first start", "err", err)
		if err := os.Rename(path, path+".bad"); err != nil {
			a.log.Error("cannot put the damaged file aside", "err", err)
		}
	}
	return sp.each(kindMoves, func(payload []byte) {
		moves, err := source.DecodeMoves(payload)
		if err != nil {
			a.log.Error("BUG: positions in the spool can't be decoded", "err", err)
			return
		}
		a.positions.Restore(moves)
	})
}

// barrier returns when what came out of all lines processed so far is on disk.
func (a *Agent) barrier() error {
	if err := a.commit(); err != nil {
		return err
	}
	for _, o := range a.outboxes {
		if err := o.sync(); err != nil {
			return err
		}
	}
	return nil
}

// raise takes an alert from the engine.
func (a *Agent) raise(alert decisions.Alert) {
	if alert.UUID == "" {
		alert.UUID = decisions.NewUUID()
	}
	a.raised.mu.Lock()
	defer a.raised.mu.Unlock()
	a.raised.list = append(a.raised.list, alert)
	a.raised.any.Store(true)
}

// process is the sink of all sources.
func (a *Agent) process(_ context.Context, batch []event.Line, done func()) error {
	a.processing.RLock()
	a.engine.Process(batch, time.Now())
	done()
	a.processing.RUnlock()
	a.lines.Add(int64(len(batch)))
	if a.idle.Load() && a.idle.CompareAndSwap(true, false) {
		poke(a.awake)
	}
	if !a.raised.any.Load() {
		return nil
	}
	if err := a.commit(); err != nil {
		// The alerts are in memory and will be sent; positions stay where they
		// are until then.
		a.log.Error("alerts can't be kept on disk", "err", err)
	}
	return nil
}

// commit puts the raised alerts into the outbox, together with the positions
// behind the lines they came from.
func (a *Agent) commit() error {
	a.processing.Lock()
	defer a.processing.Unlock()
	a.raised.mu.Lock()
	list := a.raised.list
	a.raised.list = nil
	a.raised.any.Store(false)
	a.raised.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	err := put(a.outboxes, list, a.positions.Moves())
	for i := range list {
		a.log.Info("alert", "scenario", list[i].Scenario, "source", list[i].Source.Value, "message", list[i].Message)
	}
	return err
}

// Run reads and reports until ctx ends, or until all inputs have come to their
// end and their alerts are delivered. Trouble with a source or with the LAPI
// is logged and tried again.
func (a *Agent) Run(ctx context.Context) error {
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	var background, sender sync.WaitGroup
	sending, stopSending := context.WithCancel(back)
	for _, o := range a.outboxes {
		sender.Go(func() { o.Run(sending) })
		background.Go(func() { o.heartbeat(sending) })
		if !a.cfg.Stateless { // and of lines that somebody looks at
			background.Go(func() { a.reports(sending, o) })
		}
	}
	background.Go(func() { a.tick(back) })

	err := a.read(ctx)

	stopSending()
	sender.Wait()
	if ctx.Err() == nil {
		last, cancel := context.WithTimeout(ctx, drainTime)
		for _, o := range a.outboxes {
			if derr := o.drain(last); derr != nil {
				err = errors.Join(err, fmt.Errorf("cannot deliver %d alerts: %w", o.pending(), derr))
			}
		}
		cancel()
	}
	stopBack()
	background.Wait()
	a.logStats()
	return errors.Join(err, a.close())
}

// read runs the sources until they end or ctx does. Its error is about those
// that were given up before.
func (a *Agent) read(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(a.stopped)
	r := &readers{a: a, ctx: ctx, ended: make(chan *input)}
	for _, in := range a.inputs {
		r.run(in)
	}
	a.inputs = nil // one that is exchanged must not stay alive
	r.count()
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	for _, in := range r.list {
		select {
		case <-in.started:
		case <-timeout.C:
			timeout.Reset(0)
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		a.log.Info("Starting processing data")
		if a.cfg.Ready != nil {
			a.cfg.Ready()
		}
	}
	var errs []error
	for len(r.list) > 0 {
		select {
		case <-ctx.Done():
			r.wait()
			return nil // what was given up was logged, and others went on
		case in := <-r.ended:
			if i := slices.Index(r.list, in); i >= 0 { // it wasn't exchanged
				r.list = slices.Delete(r.list, i, i+1)
				errs = append(errs, in.err)
			}
		case c := <-a.changes:
			c.done <- a.apply(r, c)
		}
	}
	return errors.Join(errs...)
}

// heartbeat logs in and then shows that we live.
func (o *outbox) heartbeat(ctx context.Context) {
	var s sender
	connected := false
	for {
		err := o.lapi.Heartbeat(ctx)
		wait := heartbeatEvery
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if !connected {
				o.log.Info("the LAPI lets us in")
				poke(o.retry)
			}
			connected, s = true, sender{}
		default:
			connected = false
			s.failures++
			wait = s.pause()
			if text := err.Error(); text != s.told || s.failures%20 == 0 {
				o.log.Error("cannot connect to the LAPI; reading goes on", "err", err)
				s.told = text
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-o.greet:
			connected, s = false, sender{}
		case <-time.After(wait):
		}
	}
}

// tick does what is due now and then, with one timer: waking up is what costs most on an idle
// machine.
func (a *Agent) tick(ctx context.Context) {
	begin := time.Now()
	save := due{every: cmp.Or(a.cfg.saveEvery, saveEvery), last: begin}
	buckets := due{every: cmp.Or(a.cfg.bucketsEvery, bucketsEvery), last: begin}
	stats := due{every: statsEvery, last: begin}
	timer := time.NewTimer(0)
	defer timer.Stop()
	lines := int64(-1)
	var strange unparsed
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.awake:
		case <-timer.C:
		}
		now := time.Now()
		a.processing.RLock() // so that no alert of it is half raised either
		a.engine.Advance(now)
		live := a.engine.Stats().Buckets.Buckets
		a.processing.RUnlock()
		if save.now(now) {
			a.save()
		}
		if buckets.now(now) && !a.cfg.Stateless {
			if err := a.saveBuckets(); err != nil {
				a.log.Error("after a crash some attackers begin anew", "err", err)
			}
		}
		if stats.now(now) {
			a.sources.CheckSilence(now)
			alarms, names := strange.check(a.meters.Traffic(), now)
			for _, err := range alarms {
				a.log.Error("trouble with a log", "err", err)
			}
			a.strange.Store(&names)
			a.logStats()
		}
		every := min(advanceEvery, save.every, buckets.every)
		idle := live == 0 && a.lines.Load() == lines
		if lines = a.lines.Load(); idle {
			every = min(idleEvery, save.every, buckets.every)
		}
		a.idle.Store(idle)
		timer.Reset(every - time.Duration(now.UnixNano()%int64(every)))
	}
}

// due tells when a period is over.
type due struct {
	every time.Duration
	last  time.Time
}

func (d *due) now(now time.Time) bool {
	if now.Sub(d.last) < d.every-d.every/10 { // the timer is not exact
		return false
	}
	d.last = now
	return true
}

// save writes the positions, and forgets what they make superfluous.
func (a *Agent) save() {
	if a.positions == nil {
		return
	}
	if err := a.positions.Save(); err != nil {
		a.log.Error("after a restart some lines will be read again", "err", err)
		return
	}
	if err := a.outboxes[0].spool.trim(); err != nil {
		a.log.Error("the spool doesn't shrink", "err", err)
	}
}

// stats returns the counters, those of engines that are gone included.
func (a *Agent) stats() pipeline.Stats {
	a.processing.RLock()
	defer a.processing.RUnlock()
	return addStats(a.gone, a.engine.Stats())
}

func addStats(gone, now pipeline.Stats) pipeline.Stats {
	now.Lines += gone.Lines
	now.Parsed += gone.Parsed
	now.Whitelisted += gone.Whitelisted
	now.Poured += gone.Poured
	now.Alerts += gone.Alerts
	now.Pardoned += gone.Pardoned
	now.Stale += gone.Stale
	now.Failures += gone.Failures
	now.Buckets.Evicted += gone.Buckets.Evicted
	now.Buckets.Dropped += gone.Buckets.Dropped
	now.LastFailure = cmp.Or(now.LastFailure, gone.LastFailure)
	return now
}

func (a *Agent) logStats() {
	s := a.stats()
	a.log.Info("since the start", "lines", a.lines.Load(), "parsed", s.Parsed, "poured", s.Poured, "alerts", s.Alerts)
	for _, o := range a.outboxes {
		c := o.counts()
		o.log.Info("delivery since the start", "sent", c.sent, "waiting", c.waiting, "rejected", c.rejected)
	}
	if s.Failures > 0 {
		a.log.Warn("expressions of the content failed", "times", s.Failures, "last", s.LastFailure)
	}
}

// close keeps what must survive.
func (a *Agent) close() error {
	err := a.commit()
	a.save()
	if !a.cfg.Stateless {
		err = errors.Join(err, a.saveBuckets())
	}
	if sp := a.outboxes[0].spool; sp != nil {
		err = errors.Join(err, sp.close())
	}
	return err
}
