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
	// calm is how often at least it looks though the kernel would tell.
	calm = 10 * time.Second
	// batch is how many changes are handed to the kernel at a time; it bounds
	// the memory of a large delta.
	batch = 2000
	// minSlack and slackShare: a time that moved by less is left as it is in the
	// kernel, so that a list that is imported again costs nothing.
	minSlack   = tenth(30 * time.Second / tenthOf)
	slackShare = 100
	// lateMargin is how long before the kernel drops an entry that has to stay
	// its time is moved.
	lateMargin = tenth(3 * time.Second / tenthOf)
	// maxSpent is how long loading may take in all before repairs wait, repairShare times
	// as long as the last load took: then somebody changes what is ours again and again,
	// another bouncer perhaps, and both would load all the time. Rest pays it off.
	maxSpent    = 6 * time.Second
	repairShare = 10
	// auditEvery is how often some entries are asked for, of all of them one in
	// auditShare, so that each has its turn once a day.
	auditEvery = time.Minute
	auditShare = 24 * 60
	maxPause   = 24 * time.Hour
	minAudit   = 16
	maxAudit   = 2000
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
	// Fallbacks are tried in turn when the Kernel can't be opened, or turns out not
	// to be able to do what is needed when it loads for the first time.
	Fallbacks []Kernel
	// Wanted picks the decisions to enforce; nil takes bans that are not simulated.
	Wanted func(*decisions.Decision) bool
	// NoIPv4 and NoIPv6 leave out what is about a family.
	NoIPv4, NoIPv6 bool
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
	// Slept tells for how long the machine has slept since some time. Now stands still
	// meanwhile, and so do the times in the kernel. nil: never.
	Slept func() time.Duration
	// Applied, if set, is told what the kernel has just taken. The changes are
	// valid during the call, which must not call the Reconciler.
	Applied func(changes []Change, at time.Time)
	// Took, if set, is told how long the kernel took for some changes.
	Took func(time.Duration)
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
	next   []Kernel // fallbacks that are left
	passed error    // of the kernels before it that are of no use
	cfg    Config
	now    func() time.Time
	base   time.Time // times are kept as distances from it, 4 bytes each and monotonic
	slept  time.Duration

	woken chan struct{}

	mu         sync.Mutex
	bans       *bans
	origins    origins
	live       bool // what an earlier process left is in force
	part       int  // of the whole set that is being told: the one that comes next
	had        int  // items before it began
	folds      folds
	ignored    []netip.Prefix // never blocked
	ending     []netip.Prefix // whose connections are to be ended
	endedAt    time.Duration  // when that was done last
	left       [3]int         // items by why they are left out
	deadline   tenth          // 0: none
	trouble    string
	pending    []Change
	expanded   []netip.Prefix // kept for its memory
	touched    []touch        // as well, from one part of a whole set to the next
	late       lateHeap
	capacity   capacity
	applied    int           // items with applied != 0
	loaded     bool          // a Load was asked for; before, what an earlier process left is not touched
	worked     bool          // a Load did
	took       time.Duration // the last one
	spent      time.Duration // on loads lately
	spentAt    time.Duration
	auditAt    time.Duration // the next one
	auditPause time.Duration // until then, while what was found comes back
	audited    uint32        // the last record that was asked for
	broken     bool          // the kernel is not what the mirror says
	why        string
	retryAt    time.Duration
	pause      time.Duration
	suspect    int // length of the last full delta that the shrink guard did not believe, -1 if none
	stats      Stats
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
	// believed.
	Suspect bool
	// Again: the caller should ask for a full one again in a while.
	Again bool
}

// New returns a Reconciler that has not touched its kernel yet.
func New(cfg Config) *Reconciler {
	r := &Reconciler{
		kernel: cfg.Kernel, cfg: cfg, now: cfg.Now,
		bans:     newBans(cfg.MaxDecisions),
		folds:    folds{max: cfg.MaxLengths},
		capacity: capacity{max: cfg.MaxEntries},
		suspect:  -1,
		woken:    make(chan struct{}, 1),
		broken:   true, why: "start", // the kernel has nothing of ours
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.cfg.Wanted == nil {
		r.cfg.Wanted = isBan
	}
	// One second back, so that no end that is wanted has the distance 0.
	r.base = r.now().Add(-time.Second)
	if r.cfg.Slept != nil {
		r.slept = r.cfg.Slept()
	}
	if !cfg.Deadline.IsZero() {
		r.deadline = tenths(cfg.Deadline.Sub(r.base))
	}
	return r
}

// isBan picks the decisions that a packet filter enforces by default.
func isBan(d *decisions.Decision) bool { return d.Type == "ban" && !d.Simulated }

// Open opens the kernel. live tells that an earlier process's bans are still
// in force: there is time to ask for the decisions before the first Apply.
func (r *Reconciler) Open(ctx context.Context) (live bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next, r.passed = append([]Kernel{r.cfg.Kernel}, r.cfg.Fallbacks...), nil
	if r.live, err = r.openNext(ctx); err != nil {
		return false, err
	}
	return r.live, nil
}

// openNext opens the first kernel of those that are left that can be opened.
func (r *Reconciler) openNext(ctx context.Context) (live bool, err error) {
	for len(r.next) > 0 {
		k := r.next[0]
		r.next = r.next[1:]
		if live, err = k.Open(ctx); err == nil {
			r.kernel = k
			return live, nil
		}
		r.passed = errors.Join(r.passed, fmt.Errorf("cannot open %s: %w", k.Name(), err))
	}
	return false, r.passed
}

// fallBack takes the next kernel, because the one in use can't do what is needed.
func (r *Reconciler) fallBack(ctx context.Context, why error) bool {
	if r.worked || len(r.next) == 0 || !errors.Is(why, errors.ErrUnsupported) {
		return false
	}
	old := r.kernel
	r.passed = errors.Join(r.passed, why)
	if _, err := r.openNext(ctx); err != nil {
		return false // the old one stays, and says why
	}
	_ = old.Close(ctx, true) // what it has made by then is of no use
	if k, ok := r.kernel.(Ignoring); ok && k.Ignore(ctx, r.ignored) != nil {
		return false
	}
	for p, first := range r.bans.eachItem() {
		it, _ := r.bans.item(p, first)
		if ignored := r.ignores(p); ignored != (it.out == outIgnored) {
			r.mark(&it, outNot)
			if ignored {
				r.mark(&it, outIgnored)
			}
			r.bans.setItem(p, first, it)
		}
	}
	return true
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
//
// A full one may come in parts: what is new is enforced at once, what is not in
// it is lifted after the last. While an earlier process's bans are in force they
// stay until then.
func (r *Reconciler) Apply(ctx context.Context, delta decisions.Delta) (Diff, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wake()
	now := r.tenth()
	var diff Diff
	c := collector{ctx: ctx, r: r, diff: &diff, quiet: delta.More || delta.Part > 0}
	if delta.Full && delta.Part == 0 {
		r.bans.begin()
		r.part, r.had = 0, r.bans.items
	}
	touched := r.touched
	if !delta.Full {
		for i := range delta.Deleted {
			if d := r.bans.get(delta.Deleted[i].ID); d != 0 {
				touched = r.touch(touched, r.bans.prefix(r.bans.at(d)), nil)
				r.bans.remove(d)
			}
		}
	}
	touched = r.upsert(touched, delta.New)
	c.settleAll(touched, now)
	if r.touched = nil; delta.More {
		clear(touched)
		r.touched = touched[:0]
	}
	switch {
	case !delta.Full:
	case delta.Part != r.part: // of another one than has begun
		diff.Again = !delta.More
	case delta.More:
		r.part++
	default:
		r.part = -1
		r.finish(&c, now)
	}
	if !r.loaded && delta.More && r.live {
		return diff, nil
	}
	r.loaded = true
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

// Run keeps the kernel true until ctx ends: it ends what has ended, looks whether
// the structure is still there whenever the kernel says that it was changed, or
// else each second, and loads again after an error.
func (r *Reconciler) Run(ctx context.Context) {
	t := time.NewTimer(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.woken:
			t.Reset(r.rest())
			continue
		case <-t.C:
		case <-r.changed():
		}
		r.Tick(ctx)
		t.Reset(r.rest())
	}
}

func (r *Reconciler) changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kernel.Changed()
}

// wake makes Run think again about for how long there is nothing to do.
func (r *Reconciler) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// rest returns for how long there is nothing to do unless the kernel says so.
func (r *Reconciler) rest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.at()
	if r.broken && r.retryAt > at {
		return max(min(r.retryAt-at, tick), tick/10)
	}
	if r.kernel.Changed() == nil || r.broken || len(r.ending) > 0 {
		return tick
	}
	wait := calm
	if i := r.bans.earliest(); i != 0 {
		wait = min(wait, r.bans.at(i).until.after()-at)
	}
	if len(r.late) > 0 {
		wait = min(wait, (r.late[0].at-lateMargin).after()-at)
	}
	return max(wait, tick)
}

// Tick does once what Run does now and then. Errors are counted and told to
// Config.Loaded; the next Tick tries again.
func (r *Reconciler) Tick(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeUp()
	now := r.tenth()
	var touched []touch
	for {
		i := r.bans.earliest()
		if i == 0 || r.bans.at(i).until > now {
			break
		}
		touched = r.touch(touched, r.bans.prefix(r.bans.at(i)), nil)
		r.bans.remove(i)
	}
	c := collector{ctx: ctx, r: r, diff: new(Diff)}
	c.settleAll(touched, now)
	for {
		p, ok := r.late.due(now + lateMargin)
		if !ok {
			break
		}
		c.extend(p, now)
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
			r.repair("changed by somebody else")
		}
	}
	r.audit(ctx)
	if r.broken && r.at() >= r.retryAt {
		_ = r.load(ctx) // counted and told there
	}
	if err := r.end(ctx); err != nil {
		r.trouble = err.Error()
	}
}

// repair has everything loaded, because the kernel is not what the mirror says.
func (r *Reconciler) repair(why string) {
	at := r.at()
	r.spent, r.spentAt = max(r.spent-(at-r.spentAt)/repairShare, 0), at
	if r.spent > maxSpent {
		r.retryAt = at + min(repairShare*r.took, maxRetry)
	}
	r.stats.Repairs++
	r.broken, r.why = true, why
}

// wakeUp moves the time by as much as the machine has slept since the last call. The
// kernel's times have to be set again then.
func (r *Reconciler) wakeUp() {
	if r.cfg.Slept == nil {
		return
	}
	slept := r.cfg.Slept()
	if slept-r.slept < tick {
		return
	}
	r.base = r.base.Add(r.slept - slept)
	r.slept = slept
	if r.loaded {
		r.broken, r.why = true, "the machine has slept"
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
	s.Decisions, s.Refused = r.bans.len, r.bans.refused
	s.Wanted, s.Applied = r.bans.items, r.applied
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

// Save writes the wanted decisions, some at a time: nothing waits for the file.
// What changes meanwhile may be in it or not.
func (r *Reconciler) Save(w *decisions.SavedWriter) error {
	for i, more := uint32(1), true; more; {
		r.mu.Lock()
		now, at := r.now(), r.at()
		for n := 0; n < batch && i <= r.bans.used; n++ {
			if d := r.bans.at(i); d.until != 0 {
				k := &r.bans.kinds[d.kind]
				w.Add(int(d.kind), &k.SavedKind, r.bans.prefix(d), d.number(), now.Add(d.until.after()-at))
			}
			i++
		}
		more = i <= r.bans.used
		r.mu.Unlock()
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// at returns the time as a distance from base.
func (r *Reconciler) at() time.Duration { return r.now().Sub(r.base) }

// tenth returns it as a tenth that is over.
func (r *Reconciler) tenth() tenth { return tenth(r.at() / tenthOf) }

const tenthOf = time.Second / 10

// tenths returns the first tenth that is not before a distance from base.
func tenths(d time.Duration) tenth {
	return tenth(min(max((d+tenthOf-1)/tenthOf, 1), math.MaxUint32))
}

// after returns the distance from Reconciler.base.
func (t tenth) after() time.Duration { return time.Duration(t) * tenthOf }

// touch is a prefix of the mirror that a decision has a say in.
type touch struct {
	prefix netip.Prefix
	fresh  *decisions.Decision // it has just come; may be nil
}

// touch appends the prefixes of the mirror that a decision on p has a say in.
func (r *Reconciler) touch(list []touch, p netip.Prefix, fresh *decisions.Decision) []touch {
	r.expanded = r.folds.expand(r.expanded[:0], p)
	for _, q := range r.expanded {
		list = append(list, touch{q, fresh})
	}
	return list
}

// upsert adds decisions to the set and appends the prefixes they touch.
func (r *Reconciler) upsert(touched []touch, list []decisions.Decision) []touch {
	now, at := r.now(), r.at()
	for i := range list {
		d := &list[i]
		p, isAddr := d.Prefix()
		if !isAddr {
			continue
		}
		wanted := r.cfg.Wanted(d)
		if r.cfg.NoIPv4 && p.Addr().Is4() || r.cfg.NoIPv6 && p.Addr().Is6() {
			wanted = false
		}
		// What a known decision was before may have been another prefix.
		if old := r.bans.get(d.ID); old != 0 {
			q := r.bans.prefix(r.bans.at(old))
			if q != p || !wanted {
				touched = r.touch(touched, q, nil)
			}
			if !wanted {
				r.bans.remove(old)
				continue
			}
		} else if !wanted {
			continue
		}
		// An end that came as a wall clock time is taken by today's wall clock.
		// That may have been set since base (a router starts in the past): the
		// distance from base's would be years.
		until := tenths(at + d.Until.Sub(now))
		if r.deadline > 0 {
			until = min(until, r.deadline)
		}
		if r.bans.put(d, p, until, &r.origins) {
			touched = r.touch(touched, p, d)
		}
	}
	return touched
}

// finish lifts what was not in the whole set that has just been told, unless the
// shrink guard doubts it; then that is kept.
func (r *Reconciler) finish(c *collector, now tenth) {
	n, lost := r.bans.marked, 0
	if n < r.bans.len {
		for p, first := range r.bans.eachItem() {
			if w := r.winner(p, first, now); w.ok && (w.until-now).after() > shrinkLeft && !r.told(p, first) {
				lost++
			}
		}
	}
	if lost > shrinkMin && lost > r.had/shrinkShare && !r.cfg.TrustFull && !agree(n, r.suspect) {
		r.suspect = n
		c.diff.Suspect, c.diff.Again = true, true
		return
	}
	r.suspect = -1
	if n == r.bans.len {
		return
	}
	var touched []touch
	for i := range r.bans.all() {
		d := r.bans.at(i)
		if r.bans.seen(d) {
			continue
		}
		touched = r.touch(touched, r.bans.prefix(d), nil)
		r.bans.remove(i)
		if len(touched) >= batch {
			c.settleAll(touched, now)
			touched = touched[:0]
		}
	}
	c.settleAll(touched, now)
	// What the limit refused may have room now.
	c.diff.Again = r.bans.refused > 0
}

// told tells whether some decision on a prefix was in the whole set.
func (r *Reconciler) told(p netip.Prefix, first uint32) bool {
	for i := first; i != 0; i = r.bans.at(i).next {
		if r.bans.seen(r.bans.at(i)) {
			return true
		}
	}
	told := false
	r.folds.sources(p, func(q netip.Prefix) {
		for i := r.bans.first(q); i != 0; i = r.bans.at(i).next {
			told = told || r.bans.seen(r.bans.at(i))
		}
	})
	return told
}

// agree tells whether two full deltas are of the same length within 1 %.
func agree(a, b int) bool {
	if b < 0 {
		return false
	}
	return max(a-b, b-a) <= max(a, b)/100
}

// win is the decision that a prefix is blocked for.
type win struct {
	ok    bool
	until tenth
	kind  *banKind
	id    int64
}

// winner returns the decision on p, whose first record is first, that ends last;
// of two that end together the one of the more important origin.
func (r *Reconciler) winner(p netip.Prefix, first uint32, now tenth) (w win) {
	better := func(i uint32) {
		if i == 0 {
			return
		}
		d := r.bans.at(i)
		k := &r.bans.kinds[d.kind]
		if d.until <= now || w.ok && (d.until < w.until || d.until == w.until && k.class >= w.kind.class) {
			return
		}
		w = win{ok: true, until: d.until, kind: k, id: d.number()}
	}
	better(first)
	r.folds.sources(p, func(q netip.Prefix) { better(r.bans.first(q)) })
	return w
}

// entries yields what the kernel should have, the important classes first,
// and notes it as given.
func (r *Reconciler) entries(now tenth) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		var present [classes]bool
		for i := range r.bans.kinds {
			if k := &r.bans.kinds[i]; k.count > 0 {
				present[k.class] = true
			}
		}
		for class := range present {
			if !present[class] {
				continue
			}
			for p, first := range r.bans.eachItem() {
				it, _ := r.bans.item(p, first)
				if it.out != outNot {
					continue
				}
				w := r.winner(p, first, now)
				if !w.ok || int(w.kind.class) != class {
					continue
				}
				if !yield(Entry{Prefix: p, Origin: r.origins.keys[w.kind.origin], Until: r.base.Add(w.until.after())}) {
					return
				}
				if it.applied == 0 { // a kernel may go through them more than once
					r.applied++
				}
				it.applied, it.given = w.until, w.kind.origin
				r.bans.setItem(p, first, it)
			}
		}
	}
}

// load makes the kernel equal to the desired state from memory.
func (r *Reconciler) load(ctx context.Context) error {
	began, now := r.at(), r.tenth()
	for p, first := range r.bans.eachItem() {
		it, _ := r.bans.item(p, first)
		it.applied = 0
		r.bans.setItem(p, first, it)
	}
	r.applied, r.late = 0, nil
	r.capacity.choose(r, now)
	err := r.kernel.Load(ctx, r.entries(now))
	r.took = r.at() - began
	r.spent += r.took
	if err == nil {
		r.broken, r.worked, r.pause, r.retryAt = false, true, 0, 0
		r.auditAt = r.at() + max(r.auditPause, auditEvery)
	} else {
		r.capacity.learn(err, r.applied)
		r.fail(r.why)
		r.trouble = err.Error()
		err = fmt.Errorf("cannot load %d entries into %s: %w", r.bans.items, r.kernel.Name(), err)
	}
	if r.cfg.Loaded != nil {
		r.cfg.Loaded(r.why, r.applied, r.took, err)
	}
	if err != nil && r.fallBack(ctx, err) {
		r.why = "the backend before it can't"
		return r.load(ctx)
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
	ctx   context.Context
	r     *Reconciler
	diff  *Diff
	quiet bool // a large list: nobody wants to be told of each
	err   error
}

func (c *collector) settleAll(list []touch, now tenth) {
	for i := range list {
		c.settle(list[i].prefix, now, list[i].fresh)
	}
	c.flush()
}

// settle makes the mirror of p what it should be and notes the change needed.
func (c *collector) settle(p netip.Prefix, now tenth, fresh *decisions.Decision) {
	r := c.r
	first := r.bans.first(p)
	w := r.winner(p, first, now)
	it, known := r.bans.item(p, first)
	if !w.ok {
		if known {
			r.left[it.out]--
			r.bans.dropItem(p, first)
			c.remove(p, it)
		}
		return
	}
	if !known {
		r.left[outNot]++
	}
	switch {
	case it.applied == 0:
		switch {
		case r.ignores(p):
			r.mark(&it, outIgnored)
		case !r.capacity.admit(r, w):
			r.mark(&it, outFull)
		default:
			r.mark(&it, outNot)
			c.give(p, &it, Add, w, fresh)
		}
	case it.given != w.kind.origin || !near(it.applied, w.until, now):
		c.give(p, &it, Replace, w, fresh)
	case w.until > it.applied:
		r.late.push(lateItem{at: it.applied, prefix: p})
	}
	r.bans.setItem(p, first, it)
}

// extend moves the time of an entry that the kernel is about to drop though
// it is wanted for a little longer.
func (c *collector) extend(late lateItem, now tenth) {
	r := c.r
	first := r.bans.first(late.prefix)
	it, ok := r.bans.item(late.prefix, first)
	w := r.winner(late.prefix, first, now)
	if !ok || !w.ok || it.applied != late.at || w.until <= it.applied {
		return
	}
	c.give(late.prefix, &it, Replace, w, nil)
	r.bans.setItem(late.prefix, first, it)
}

// rebalance lets the capacity rule decide again where that is due.
func (c *collector) rebalance(now tenth) {
	r := c.r
	if r.broken || !r.capacity.due(r) {
		return
	}
	c.flush() // what came and has to go must not be in one batch
	r.capacity.choose(r, now)
	for p, first := range r.bans.eachItem() { // room first
		if it, _ := r.bans.item(p, first); it.out == outFull && it.applied != 0 {
			c.remove(p, it)
			it.applied = 0
			r.bans.setItem(p, first, it)
		}
	}
	for p, first := range r.bans.eachItem() {
		if it, _ := r.bans.item(p, first); it.out == outNot && it.applied == 0 {
			if w := r.winner(p, first, now); w.ok {
				c.give(p, &it, Add, w, nil)
				r.bans.setItem(p, first, it)
			}
		}
	}
}

func (c *collector) give(p netip.Prefix, it *item, op Op, w win, fresh *decisions.Decision) {
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
	it.applied, it.given = w.until, w.kind.origin
	ch := Change{
		Op: op, Was: was, Scenario: w.kind.Scenario,
		Entry: Entry{Prefix: p, Origin: r.origins.keys[it.given], Until: r.base.Add(w.until.after())},
	}
	if fresh != nil && fresh.ID == w.id {
		ch.Created = fresh.Created
	}
	c.note(ch)
}

func (c *collector) remove(p netip.Prefix, it item) {
	if it.applied == 0 {
		return
	}
	r := c.r
	r.applied--
	c.diff.Removed++
	c.note(Change{Op: Remove, Entry: Entry{Prefix: p, Origin: r.origins.keys[it.given], Until: r.base.Add(it.applied.after())}})
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
	began := r.at()
	err := r.kernel.Apply(c.ctx, changes)
	if r.cfg.Took != nil {
		r.cfg.Took(r.at() - began)
	}
	if err != nil {
		// How much of a first batch fitted, the load that follows will find out.
		if before := r.applied - len(changes); before > r.applied/2 {
			r.capacity.learn(err, before)
		}
		r.fail("apply failed")
		r.trouble = err.Error()
		c.err = fmt.Errorf("cannot apply %d changes to %s: %w", len(changes), r.kernel.Name(), err)
	} else if r.cfg.Applied != nil && !c.quiet {
		r.cfg.Applied(changes, r.base.Add(r.at()))
	}
	clear(changes) // let go of the texts
}

// near tells whether two ends are so close that the kernel may keep the old one.
func near(old, new, now tenth) bool {
	diff := max(old, new) - min(old, new)
	return diff <= max(minSlack, (new-now)/slackShare)
}
