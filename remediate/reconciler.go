package remediate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"sync"
	"time"

	"cs/decisions"
)

const (
	// tick is how often a Reconciler looks whether the structure is still
	// there and whether something has ended.
	tick = time.Second
	// batch is how many changes are handed to the kernel at a time; it bounds
	// the memory of a large delta.
	batch = 2000
	// minSlack and slackShare: a time that moved by less is left as it is in the
	// kernel, so that a list that is imported again costs nothing.
	minSlack   = 30 * time.Second
	slackShare = 100
	// lateMargin is how long before the kernel drops an entry that has to stay
	// its time is moved.
	lateMargin = 3 * time.Second
	// maxEnding bounds the prefixes whose connections are still to be ended; those
	// of more end when the peers give up.
	maxEnding = 10_000
	// maxRetry bounds the pause between two attempts to load after errors.
	maxRetry = 30 * time.Second
)

// The shrink guard: a full delta that takes away more than this is believed
// only when a second one agrees, because a server that fails in the middle of
// its reply can look like one that lifted half of its bans.
const (
	shrinkShare = 2                // more than one in two
	shrinkMin   = 1000             // and more than this many
	shrinkLeft  = 10 * time.Minute // with more than this to go
)

// Config says what a Reconciler works with.
type Config struct {
	Kernel Kernel
	// Fallbacks are tried in turn when the Kernel can't be opened.
	Fallbacks []Kernel
	// Wanted picks the decisions to enforce; nil takes bans that are not simulated.
	Wanted func(*decisions.Decision) bool
	// TrustFull believes a full delta that lifts most bans, whatever the shrink
	// guard thinks of it.
	TrustFull bool
	// MaxDecisions bounds the memory for decisions, 0 means no limit. At the limit
	// new ones are refused and counted.
	MaxDecisions int
	// MaxEntries is how many prefixes the kernel may get, 0 means no limit.
	// Above it the less important ones are left out and counted: manual
	// decisions stay before local ones, those before lists, those before the
	// community's; within a class those that end later stay.
	MaxEntries int
	// Deadline, unless zero, ends every entry by then, also in the kernel: a trial
	// ends by itself, even if this process does not live to see it.
	Deadline time.Time
	// EndConnections ends what a newly blocked address has open, where the kernel can.
	EndConnections bool
	// MaxLengths bounds the number of prefix lengths of a family in the kernel,
	// where each costs a lookup for every packet; 0 means no limit. A further
	// length is written as prefixes of the next longer one.
	MaxLengths int
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
	// Applied, if set, is told what the kernel has just taken. The changes are
	// valid during the call, which must not call the Reconciler.
	Applied func(changes []Change, at time.Time)
	// Loaded, if set, is told that n entries were loaded as a whole, and why;
	// err is nil when it worked. The call must not call the Reconciler.
	Loaded func(why string, n int, took time.Duration, err error)
}

// Stats are the numbers of a Reconciler.
type Stats struct {
	Decisions int    // held, of wanted types
	Refused   uint64 // kept out by MaxDecisions
	Wanted    int    // prefixes that should be blocked
	Applied   int    // prefixes that the kernel was given
	// Unenforced counts what is not blocked though it should be, by the reason.
	Unenforced map[string]int
	Ended      uint64 // connections that were ended
	Repairs    uint64 // loads because somebody else changed the structure
	Errors     uint64 // failed calls of the kernel
	Loaded     bool   // a delta was applied, or tried; before, nothing in the kernel is ours
	Healthy    bool   // loaded, and the last call worked
	Trouble    string // of the last call that didn't work, while not healthy
}

// EnforcedRatio is the share of what should be blocked that the kernel was
// given, 1 unless something is wrong.
func (s *Stats) EnforcedRatio() float64 {
	missing := 0
	for _, n := range s.Unenforced {
		missing += n
	}
	switch all := s.Applied + missing; {
	case !s.Loaded:
		return 0
	case all == 0:
		return 1
	default:
		return float64(s.Applied) / float64(all)
	}
}

// Reconciler keeps a Kernel equal to a set of decisions. Its methods may be
// called from any goroutine.
type Reconciler struct {
	kernel Kernel
	passed error // of the kernels before it that could not be opened
	cfg    Config
	now    func() time.Time
	base   time.Time // times are kept as distances from it, 8 bytes each and monotonic

	mu       sync.Mutex
	set      *decisions.Set
	items    map[netip.Prefix]item
	origins  origins
	folds    folds
	ignored  []netip.Prefix // never blocked
	ending   []netip.Prefix // whose connections are to be ended
	endedAt  time.Duration  // when that was done last
	left     [3]int         // items by why they are left out
	deadline time.Duration  // 0: none
	trouble  string
	pending  []Change
	late     lateHeap
	capacity capacity
	applied  int  // items with applied != 0
	loaded   bool // a Load was asked for; before, what an earlier process left is not touched
	broken   bool // the kernel is not what the mirror says
	why      string
	retryAt  time.Duration
	pause    time.Duration
	suspect  int // length of the last full delta that the shrink guard did not believe, -1 if none
	stats    Stats
}

// item is one prefix of the mirror.
type item struct {
	until   time.Duration // wanted end
	applied time.Duration // end that the kernel was given, 0 if it has not got the prefix
	origin  uint16        // wanted origin key
	given   uint16        // origin key that the kernel was given
	out     uint8         // why it is left out
}

// Why an item is left out.
const (
	outNot     = iota
	outFull    // by the capacity rule
	outIgnored // it covers an address that is never blocked
)

// Reasons in Stats.Unenforced.
const (
	reasonCapacity  = "no room in the packet filter"
	reasonIgnored   = "covers an address that is never blocked"
	reasonDecisions = "too many decisions"
)

// Diff says what one delta changed.
type Diff struct {
	Added, Replaced, Removed int
	// Suspect: the delta would have lifted so many bans that it was not
	// believed. The caller should ask for a full one again in a while.
	Suspect bool
}

// New returns a Reconciler that has not touched its kernel yet.
func New(cfg Config) *Reconciler {
	r := &Reconciler{
		kernel: cfg.Kernel, cfg: cfg, now: cfg.Now,
		set:      decisions.NewSet(cfg.MaxDecisions),
		items:    make(map[netip.Prefix]item),
		folds:    folds{max: cfg.MaxLengths},
		capacity: capacity{max: cfg.MaxEntries},
		suspect:  -1,
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.cfg.Wanted == nil {
		r.cfg.Wanted = bans
	}
	// One second back, so that no end that is wanted has the distance 0.
	r.base = r.now().Add(-time.Second)
	if !cfg.Deadline.IsZero() {
		r.deadline = cfg.Deadline.Sub(r.base)
	}
	return r
}

// bans picks the decisions that a packet filter enforces by default.
func bans(d *decisions.Decision) bool { return d.Type == "ban" && !d.Simulated }

// Open opens the kernel. live tells that an earlier process's bans are still
// in force: there is time to ask for the decisions before the first Apply.
func (r *Reconciler) Open(ctx context.Context) (live bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var failed []error
	for _, k := range append([]Kernel{r.cfg.Kernel}, r.cfg.Fallbacks...) {
		if live, err = k.Open(ctx); err == nil {
			r.kernel, r.passed = k, errors.Join(failed...)
			return live, nil
		}
		failed = append(failed, fmt.Errorf("cannot open %s: %w", k.Name(), err))
	}
	return false, errors.Join(failed...)
}

// Chosen returns the name of the backend in use, and why it is not one that
// goes before it.
func (r *Reconciler) Chosen() (name string, passed error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kernel.Name(), r.passed
}

// Close gives up the kernel; with remove nothing is blocked any more.
func (r *Reconciler) Close(ctx context.Context, remove bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = false
	if err := r.kernel.Close(ctx, remove); err != nil {
		return fmt.Errorf("cannot close %s: %w", r.kernel.Name(), err)
	}
	return nil
}

// Apply takes a delta of the decisions and makes the kernel follow. The
// desired state has taken the delta even when the kernel fails; then Run tries
// again by itself.
func (r *Reconciler) Apply(ctx context.Context, delta decisions.Delta) (Diff, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.at()
	var diff Diff
	var touched []netip.Prefix
	if delta.Full {
		touched, diff.Suspect = r.replace(delta.New, now)
	} else {
		for i := range delta.Deleted {
			if d, ok := r.set.Delete(delta.Deleted[i].ID); ok {
				touched = r.touch(touched, &d)
			}
		}
		touched = r.upsert(touched, delta.New)
	}
	first := !r.loaded
	r.loaded = true
	if first {
		r.broken, r.why = true, "start"
	}
	c := collector{ctx: ctx, r: r, diff: &diff}
	for _, p := range touched {
		c.settle(p, now)
	}
	c.rebalance(now)
	c.flush()
	if r.broken && r.at() >= r.retryAt {
		return diff, r.load(ctx)
	}
	if c.err == nil {
		c.err = r.end(ctx)
	}
	return diff, c.err
}

// Run keeps the kernel true until ctx ends: it ends what has ended, looks each
// second, and whenever the kernel says so, whether the structure is still
// there, and loads again after an error.
func (r *Reconciler) Run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-r.kernel.Changed():
		}
		r.Tick(ctx)
	}
}

// Tick does once what Run does each second. Errors are counted and told to
// Config.Loaded; the next Tick tries again.
func (r *Reconciler) Tick(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.at()
	var touched []netip.Prefix
	r.set.Expire(r.base.Add(now), func(d decisions.Decision) { touched = r.touch(touched, &d) })
	c := collector{ctx: ctx, r: r, diff: new(Diff)}
	for _, p := range touched {
		c.settle(p, now)
	}
	for {
		p, ok := r.late.due(now + lateMargin)
		if !ok {
			break
		}
		c.extend(p)
	}
	c.rebalance(now)
	c.flush()
	if !r.loaded {
		return
	}
	if !r.broken {
		ok, err := r.kernel.Check(ctx)
		if err != nil {
			r.fail("check failed")
			r.trouble = err.Error()
		} else if !ok {
			r.stats.Repairs++
			r.broken, r.why = true, "changed by somebody else"
		}
	}
	if r.broken && r.at() >= r.retryAt {
		_ = r.load(ctx) // counted and told there
	}
	if err := r.end(ctx); err != nil {
		r.trouble = err.Error()
	}
}

// end ends the connections of what was blocked lately, once in a tick: the
// kernel's list of connections may be long.
func (r *Reconciler) end(ctx context.Context) error {
	if len(r.ending) == 0 || r.at() < r.endedAt+tick {
		return nil
	}
	list := r.ending
	r.ending, r.endedAt = nil, r.at()
	k, ok := r.kernel.(Ending)
	if !ok {
		return nil
	}
	n, err := k.End(ctx, list)
	r.stats.Ended += uint64(n)
	if err != nil {
		r.stats.Errors++
		return fmt.Errorf("cannot end connections: %w", err)
	}
	return nil
}

// mark notes why an item is left out, or that it is not.
func (r *Reconciler) mark(it *item, out uint8) {
	r.left[it.out]--
	r.left[out]++
	it.out = out
}

// Stats returns the current numbers.
func (r *Reconciler) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Decisions, s.Refused = r.set.Len(), r.set.Refused()
	s.Wanted, s.Applied = len(r.items), r.applied
	s.Loaded = r.loaded
	s.Healthy = r.loaded && !r.broken
	if !s.Healthy {
		s.Trouble = r.trouble
	}
	s.Unenforced = make(map[string]int)
	for reason, n := range map[string]int{
		reasonCapacity: r.left[outFull], reasonIgnored: r.left[outIgnored], reasonDecisions: int(min(s.Refused, math.MaxInt32)),
	} {
		if n > 0 {
			s.Unenforced[reason] = n
		}
	}
	if l, ok := r.kernel.(Limited); ok {
		for reason, n := range l.Unenforced() {
			s.Unenforced[reason] += n
			s.Applied -= n
		}
	}
	if missing := s.Wanted - r.applied - r.left[outFull] - r.left[outIgnored]; missing > 0 && !s.Healthy {
		s.Unenforced["the packet filter refuses"] = missing
	}
	return s
}

// AppendSaved appends the wanted decisions that are in force, as
// decisions.Save takes them.
func (r *Reconciler) AppendSaved(b []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set.AppendSaved(b, r.now())
}

// at returns the time as a distance from base.
func (r *Reconciler) at() time.Duration { return r.now().Sub(r.base) }

// upsert adds decisions to the set and appends the prefixes they touch.
func (r *Reconciler) upsert(touched []netip.Prefix, list []decisions.Decision) []netip.Prefix {
	now := r.now()
	for i := range list {
		d := &list[i]
		if _, isAddr := d.Prefix(); !isAddr {
			continue
		}
		// What a known decision was before may have been another prefix.
		if old, ok := r.set.Get(d.ID); ok {
			touched = r.touch(touched, &old)
		}
		if !r.cfg.Wanted(d) {
			r.set.Delete(d.ID)
			continue
		}
		kept := *d
		kept.UUID = "" // 52 bytes for each that nobody asks for
		// An end that came as a wall clock time is taken by today's wall clock.
		// That may have been set since base (a router starts in the past): the
		// distance from base's would be years.
		kept.Until = now.Add(d.Until.Sub(now))
		if r.set.Upsert(kept) {
			touched = r.touch(touched, d)
		}
	}
	return touched
}

// replace makes the set equal to list, unless the shrink guard doubts it; then
// the additions are taken and the rest is kept.
func (r *Reconciler) replace(list []decisions.Decision, now time.Duration) (touched []netip.Prefix, suspect bool) {
	old := r.set
	r.set = decisions.NewSet(r.cfg.MaxDecisions)
	touched = r.upsert(nil, list)
	n, lost := r.set.Len(), 0
	for p, it := range r.items {
		if it.until-now > shrinkLeft && !r.winner(p, now).ok {
			lost++
		}
	}
	doubt := lost > shrinkMin && lost > len(r.items)/shrinkShare
	if doubt && !r.cfg.TrustFull && !agree(n, r.suspect) {
		r.suspect = n
		r.set = old
		return r.upsert(nil, list), true
	}
	r.suspect = -1
	for p := range r.items {
		touched = append(touched, p)
	}
	return touched, false
}

// agree tells whether two full deltas are of the same length within 1 %.
func agree(a, b int) bool {
	if b < 0 {
		return false
	}
	return max(a-b, b-a) <= max(a, b)/100
}

// touch appends the prefixes of the mirror that a decision has a say in.
func (r *Reconciler) touch(list []netip.Prefix, d *decisions.Decision) []netip.Prefix {
	p, ok := d.Prefix()
	if !ok {
		return list
	}
	return r.folds.expand(list, p)
}

// win is the decision that a prefix is blocked for.
type win struct {
	ok       bool
	until    time.Duration
	origin   uint16
	created  time.Time
	scenario string
}

// winner returns the decision on p that ends last; of two that end together
// the one of the more important origin.
func (r *Reconciler) winner(p netip.Prefix, now time.Duration) win {
	var w win
	better := func(d *decisions.Decision) bool {
		until := d.Until.Sub(r.base)
		if r.deadline > 0 {
			until = min(until, r.deadline)
		}
		if until <= now || w.ok && until < w.until {
			return true
		}
		id := r.origins.id(d)
		if w.ok && until == w.until && r.origins.class[id] >= r.origins.class[w.origin] {
			return true
		}
		w = win{ok: true, until: until, origin: id, created: d.Created, scenario: d.Scenario}
		return true
	}
	r.set.Holders(p, better)
	r.folds.sources(p, func(q netip.Prefix) { r.set.Holders(q, better) })
	return w
}

// entries yields what the kernel should have, the important classes first,
// and notes it as given.
func (r *Reconciler) entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for class := uint8(0); class < classes; class++ {
			for p, it := range r.items {
				if it.out != outNot || r.origins.class[it.origin] != class {
					continue
				}
				if !yield(Entry{Prefix: p, Origin: r.origins.keys[it.origin], Until: r.base.Add(it.until)}) {
					return
				}
				if it.applied == 0 { // a kernel may go through them more than once
					r.applied++
				}
				it.applied, it.given = it.until, it.origin
				r.items[p] = it
			}
		}
	}
}

// load makes the kernel equal to the desired state from memory.
func (r *Reconciler) load(ctx context.Context) error {
	now := r.at()
	for p, it := range r.items {
		it.applied = 0
		r.items[p] = it
	}
	r.applied, r.late = 0, nil
	r.capacity.choose(r)
	err := r.kernel.Load(ctx, r.entries())
	took := r.at() - now
	if err == nil {
		r.broken, r.pause, r.retryAt = false, 0, 0
	} else {
		r.capacity.learn(err, r.applied)
		r.fail(r.why)
		r.trouble = err.Error()
		err = fmt.Errorf("cannot load %d entries into %s: %w", len(r.items), r.kernel.Name(), err)
	}
	if r.cfg.Loaded != nil {
		r.cfg.Loaded(r.why, r.applied, took, err)
	}
	return err
}

// fail notes that a call of the kernel failed and when to try again: at once
// for the first time, then after pauses that double.
func (r *Reconciler) fail(why string) {
	r.stats.Errors++
	r.broken, r.why = true, why
	r.retryAt = r.at() + r.pause
	r.pause = min(max(2*r.pause, tick), maxRetry)
}

// A collector gathers the changes of one call and hands them to the kernel.
type collector struct {
	ctx  context.Context
	r    *Reconciler
	diff *Diff
	err  error
}

// settle makes the mirror of p what it should be and notes the change needed.
func (c *collector) settle(p netip.Prefix, now time.Duration) {
	r := c.r
	w := r.winner(p, now)
	it, known := r.items[p]
	if !w.ok {
		if known {
			r.left[it.out]--
			delete(r.items, p)
			c.remove(p, it)
		}
		return
	}
	if !known {
		r.left[outNot]++
	}
	it.until, it.origin = w.until, w.origin
	switch {
	case it.applied == 0:
		switch {
		case r.ignores(p):
			r.mark(&it, outIgnored)
		case !r.capacity.admit(r, it):
			r.mark(&it, outFull)
		default:
			r.mark(&it, outNot)
			c.give(p, &it, Add, w)
		}
	case it.given != it.origin || !near(it.applied, it.until, now):
		c.give(p, &it, Replace, w)
	case it.until > it.applied:
		r.late.push(lateItem{at: it.applied, prefix: p})
	}
	r.items[p] = it
}

// extend moves the time of an entry that the kernel is about to drop though
// it is wanted for a little longer.
func (c *collector) extend(late lateItem) {
	r := c.r
	it, ok := r.items[late.prefix]
	if !ok || it.applied != late.at || it.until <= it.applied {
		return
	}
	c.give(late.prefix, &it, Replace, win{})
	r.items[late.prefix] = it
}

// rebalance lets the capacity rule decide again where that is due.
func (c *collector) rebalance(now time.Duration) {
	r := c.r
	if r.broken || !r.capacity.due(r) {
		return
	}
	r.capacity.choose(r)
	for p, it := range r.items { // room first
		if it.out == outFull && it.applied != 0 {
			c.remove(p, it)
			it.applied = 0
			r.items[p] = it
		}
	}
	for p, it := range r.items {
		if it.out == outNot && it.applied == 0 && it.until > now {
			c.give(p, &it, Add, win{})
			r.items[p] = it
		}
	}
}

func (c *collector) give(p netip.Prefix, it *item, op Op, w win) {
	r := c.r
	var was string
	if op == Add {
		r.applied++
		c.diff.Added++
		if r.cfg.EndConnections && !r.broken && len(r.ending) < maxEnding {
			r.ending = append(r.ending, p)
		}
	} else {
		was = r.origins.keys[it.given]
		c.diff.Replaced++
	}
	it.applied, it.given = it.until, it.origin
	c.note(Change{
		Op: op, Was: was, Created: w.created, Scenario: w.scenario,
		Entry: Entry{Prefix: p, Origin: r.origins.keys[it.origin], Until: r.base.Add(it.until)},
	})
}

func (c *collector) remove(p netip.Prefix, it item) {
	if it.applied == 0 {
		return
	}
	r := c.r
	r.applied--
	c.diff.Removed++
	c.note(Change{Op: Remove, Entry: Entry{Prefix: p, Origin: r.origins.keys[it.given], Until: r.base.Add(it.applied)}})
}

func (c *collector) note(ch Change) {
	if c.r.broken {
		return // the next load knows
	}
	c.r.pending = append(c.r.pending, ch)
	if len(c.r.pending) >= batch {
		c.flush()
	}
}

// flush hands the gathered changes to the kernel.
func (c *collector) flush() {
	r := c.r
	changes := r.pending
	r.pending = r.pending[:0]
	if len(changes) == 0 || r.broken {
		return
	}
	err := r.kernel.Apply(c.ctx, changes)
	if err != nil {
		// How much of a first batch fitted, the load that follows will find out.
		if before := r.applied - len(changes); before > r.applied/2 {
			r.capacity.learn(err, before)
		}
		r.fail("apply failed")
		r.trouble = err.Error()
		c.err = fmt.Errorf("cannot apply %d changes to %s: %w", len(changes), r.kernel.Name(), err)
	} else if r.cfg.Applied != nil {
		r.cfg.Applied(changes, r.base.Add(r.at()))
	}
	clear(changes) // let go of the texts
}

// near tells whether two ends are so close that the kernel may keep the old one.
func near(old, new, now time.Duration) bool {
	diff := max(old-new, new-old)
	return diff <= max(minSlack, (new-now)/slackShare)
}
