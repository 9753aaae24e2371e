package decisions

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"cs/platform/order"
)

const (
	// maxEnded bounds the memory of what has ended: about 330 bytes each, so
	// 20 MiB at most. At the bound the oldest end is forgotten, and a follower
	// that has not heard of it gets the whole set instead of a change.
	maxEnded = 64 << 10
	// KeepEnded is for how long an end is remembered. Some bouncers keep no
	// timers: one that was cut off for days must still hear of every end.
	KeepEnded = 7 * 24 * time.Hour
	// endOverlap repeats the ends of the last two seconds, as CrowdSec's LAPI
	// does: clients are used to it, and an answer that got lost after it was
	// written is made up for.
	endOverlap = 2 * time.Second
	// leastLife is what a decision must have left to be announced: some
	// bouncers read "0s" as "for ever".
	leastLife = time.Second
	// setBack is by how much the clock must have gone back for those decisions to
	// be readmitted that had ended by its former time only. Callers may differ
	// by less in what they take for now.
	setBack = 5 * time.Second
)

// Log is the live decisions together with the order in which they came and
// went, so that any number of followers can be told what changed since they
// last asked. A follower's place is a Cursor; the log keeps no state for it.
//
// Decisions must be added in the order of their IDs, which is the order in
// which the store committed them. Then everything up to an ID has been seen by
// whoever has seen that ID, and nothing is missed for having committed late.
//
// A Log is safe for concurrent use. Reading hands out pages, so that no lock
// is held while a slow follower is served.
type Log struct {
	mu      sync.RWMutex
	set     *Set
	order   []int64  // IDs of the live decisions, rising; some may have ended
	records []uint32 // where each of them is in the set
	ended   []end    // oldest first, by rising stamp
	lastID  int64
	last    time.Time // the newest stamp given
	swept   time.Time // when decisions ended by themselves last
	horizon time.Time // ends up to this stamp may have been forgotten
	starved bool      // some may be in the store only
	changed chan struct{}
	page    int              // rowsPerPage, smaller in tests
	version uint64           // counts the changes
	blocks  map[int64]uint64 // by number: the version of the last change
}

// end is one decision that is over. Its Until is when that happened.
type end struct {
	d     Decision
	over  netip.Prefix // its addresses; zero if it is about something else
	was   time.Time    // when it would have ended by itself; zero if not known
	stamp time.Time    // unique and rising
	// unheard: it was over before anybody could hear of it, so there is nothing
	// to take back. It is kept for those who count what was decided.
	unheard bool
	// forgotten: its alert was deleted. Whoever may enforce it must hear of the
	// end, but it isn't history any more.
	forgotten bool
}

// Cursor is a follower's place in the log. The zero value is that of one who
// knows nothing.
type Cursor struct {
	ID int64     // the greatest decision ID told
	At time.Time // ends up to this stamp were told
}

// Query is what a follower wants to hear of.
type Query struct {
	// Kind selects decisions by what they share with others, Want by
	// all there is; nil means all. They must not keep their argument. A Want
	// costs some allocations for each decision, a Kind none.
	Kind func(*Kind) bool
	Want func(*Decision) bool
	// Longest hides every decision that another one, with the same scope,
	// value and type, outlasts; the other must be wanted too, and of those that
	// end at once the newest is told. If the longest is deleted, the one then
	// longest is told again.
	Longest bool
}

// NewLog returns an empty log that holds at most limit live decisions (0: no
// limit; see NewSet for what happens at it).
func NewLog(limit int) *Log {
	return &Log{set: NewSet(limit), changed: make(chan struct{}), page: rowsPerPage, blocks: make(map[int64]uint64)}
}

// Restore adds a decision from the store, in the order of the IDs, before
// there are followers. One that has ended at now is remembered as an end.
func (l *Log) Restore(d Decision, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.Active(now) {
		l.add(d)
		return
	}
	l.lastID = max(l.lastID, d.ID)
	l.ended = append(l.ended, newEnd(d))
}

// Restored ends the restoring. lastID is the greatest ID that was ever given.
func (l *Log) Restored(lastID int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID = max(l.lastID, lastID)
	order.Stable(l.ended, func(a, b end) int { return a.d.Until.Compare(b.d.Until) })
	for i := range l.ended {
		l.ended[i].stamp = l.stamp(l.ended[i].d.Until)
	}
	if len(l.ended) > 0 {
		l.swept = now
	}
	l.horizon = now.Add(-KeepEnded)
	l.forget(now)
	if now.After(l.last) {
		l.last = now
	}
}

// Add adds decisions that the store has committed, in the order of their IDs.
// It returns how many the limit refused; those are in force nowhere until
// Readmit finds room for them.
func (l *Log) Add(ds []Decision, now time.Time) (refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	if len(ds) >= manyAdded {
		l.set.reserve(len(ds))
		l.order, l.records = slices.Grow(l.order, len(ds)), slices.Grow(l.records, len(ds))
	}
	for _, d := range ds {
		if !d.Active(now) { // never in force: a replayed log
			l.lastID = max(l.lastID, d.ID)
			if len(l.ended) < maxEnded/2 { // it must not drive out what bouncers have to hear
				e := newEnd(d.clone())
				e.stamp, e.unheard = l.stamp(now), true
				l.ended = append(l.ended, e)
			}
			continue
		}
		if !l.add(d) {
			refused++
		}
	}
	l.wake()
	return refused
}

// manyAdded is how many decisions at once make it worth while to make room for
// them beforehand. For fewer it would be made too often.
const manyAdded = 4096

// Room returns for how many decisions there is room that were refused, or that
// have ended by a clock that was set back since: 0 if there were none, or as
// long as less than a 16th of all is free.
func (l *Log) Room() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if free := l.set.limit - l.set.Len(); l.starved && free > 0 && free >= l.set.limit/16 {
		return free
	}
	return 0
}

// Readmit adds decisions of the store, in the order of their IDs, of which it
// leaves out those that it has; all says that there are no others. It
// returns how many it added. Since followers have been told more than those
// IDs, each gets the whole set then.
func (l *Log) Readmit(ds []Decision, all bool, now time.Time) (added int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	l.starved = !all
	l.compact() // of those that are taken up again the old places go
	for _, d := range ds {
		if d.ID > l.lastID || !d.Active(now) || l.set.Has(d.ID) {
			continue
		}
		i, ok := l.set.upsert(&d)
		if !ok {
			l.starved = l.starved || l.full()
			continue
		}
		l.order, l.records = append(l.order, d.ID), append(l.records, i)
		l.touched(&d)
		added++
	}
	if added > 0 {
		slices.Sort(l.order)
		for at, id := range l.order {
			l.records[at] = l.set.byID.find(uint64(id))
		}
		l.ended = slices.DeleteFunc(l.ended, func(e end) bool { return l.set.Has(e.d.ID) })
		l.horizon = l.stamp(now)
		l.wake()
	}
	return added
}

// Has tells whether a decision is in force.
func (l *Log) Has(id int64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.set.Has(id)
}

// EndOfAlerts ends the decisions of alerts that were deleted, and returns how
// many there were.
func (l *Log) EndOfAlerts(alerts map[int64]bool, now time.Time) int {
	l.mu.RLock()
	ids := l.set.OfAlerts(alerts)
	l.mu.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	if len(ids) > 0 {
		n = l.endAll(ids, now)
	}
	for i := range l.ended {
		if e := &l.ended[i]; alerts[e.d.AlertID] {
			e.forgotten = true
		}
	}
	return n
}

// End ends decisions before their time, on a decision of somebody. One that
// has ended already is told once more. It returns how many it knew.
func (l *Log) End(ids []int64, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endAll(ids, now)
}

func (l *Log) endAll(ids []int64, now time.Time) int {
	l.expire(now)
	n := 0
	for _, id := range ids {
		if d, ok := l.set.Delete(id); ok {
			was := d.Until
			d.Until = now
			l.end(d, was, now)
			n++
			continue
		}
		i := slices.IndexFunc(l.ended, func(e end) bool { return e.d.ID == id })
		if i < 0 {
			continue
		}
		again := l.ended[i]
		l.ended = slices.Delete(l.ended, i, i+1)
		again.d.Until = now
		l.end(again.d, again.was, now)
		n++
	}
	l.wake()
	return n
}

// Advance ends the decisions whose time is over and returns when the next
// one's will be; zero if there is none.
func (l *Log) Advance(now time.Time) time.Time {
	l.mu.RLock()
	next, ok := l.set.NextExpiry()
	back := l.swept.Sub(now) > setBack
	l.mu.RUnlock()
	if !back && (!ok || next.After(now)) {
		return next
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	l.forget(now)
	l.wake()
	next, _ = l.set.NextExpiry()
	return next
}

// Changed returns a channel that is closed at the next change. Take it before
// looking for news.
func (l *Log) Changed() <-chan struct{} {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changed
}

// Mark returns the place after everything that has happened until now.
func (l *Log) Mark(now time.Time) Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Cursor{ID: l.lastID, At: l.stamp(now)}
}

// MarkTally is Mark, together with what a follower of all decisions of some
// kinds then knows. It knows a little less or more for about a second: of what
// has less than that left it isn't told, and what ends while it is told
// something is left out.
func (l *Log) MarkTally(wanted func(*Kind) bool, now time.Time) (Cursor, Tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Cursor{ID: l.lastID, At: l.stamp(now)}, l.set.Tally(wanted)
}

// Knows tells whether the changes since c can still be told. Otherwise the
// follower needs everything: it is new, was away for too long, or comes from
// another store, or from before a restart during which the clock was set back,
// so that what has ended since seems to have ended before.
func (l *Log) Knows(c Cursor) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return !c.At.IsZero() && c.ID <= l.lastID && !c.At.Before(l.horizon) && !c.At.After(l.last)
}

// rowsPerPage is for how many decisions the log is locked at a time.
const rowsPerPage = 512

// New calls f with what to announce to a follower that knows everything up to
// the ID after: live decisions in the order of their IDs, up to the ID upTo. It
// takes a page of the log at a time: ask again with the returned next until more
// is false. f is called with the log locked, and must be quick.
func (l *Log) New(q Query, after, upTo int64, now time.Time, f func(*Row)) (next int64, more bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if after >= l.lastID { // who polls has mostly been told everything
		return upTo, false
	}
	i, _ := slices.BinarySearch(l.order, after+1)
	last := min(i+l.page, len(l.order))
	row, ok := Row{}, false // out of the loop, since f makes it escape
	for ; i < last; i++ {
		if l.order[i] > upTo {
			return upTo, false
		}
		after = l.order[i]
		if row, ok = l.set.rowAt(l.records[i], after); ok && l.tells(&q, &row, now) {
			f(&row)
		}
	}
	if last < len(l.order) {
		return after, true
	}
	return upTo, false
}

// blockBits is the size of a block: 4096 IDs.
const blockBits = 12

// A Block is a range of IDs. Its version changes when what New tells of them
// does, but for the time that goes by.
type Block struct {
	First, Last int64
	Version     uint64
}

// BlockAfter returns the block of the first live decision with an ID above
// after, if there is one.
func (l *Log) BlockAfter(after int64) (Block, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i, _ := slices.BinarySearch(l.order, after+1)
	if i == len(l.order) {
		return Block{}, false
	}
	n := l.order[i] >> blockBits
	return Block{First: n << blockBits, Last: (n+1)<<blockBits - 1, Version: l.blocks[n]}, true
}

// Blocks returns about how many blocks there are.
func (l *Log) Blocks() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.blocks)
}

// touched notes that a decision has come or gone, which may hide or show others
// about the same.
func (l *Log) touched(d *Decision) {
	l.version++
	l.blocks[d.ID>>blockBits] = l.version
	l.set.EachHidden(d, func(id int64) { l.blocks[id>>blockBits] = l.version })
}

// Again returns the older decisions (IDs up to c's) to announce once more,
// because one that outlasted them was deleted after c and not after upTo.
func (l *Log) Again(q Query, c, upTo Cursor, now time.Time) []Decision {
	if !q.Longest {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []Decision
	for i := len(l.ended) - 1; i >= 0 && l.ended[i].stamp.After(c.At); i-- {
		e := &l.ended[i]
		if e.stamp.After(upTo.At) || e.d.ID > c.ID || !e.concerns(&q) {
			continue
		}
		l.set.About(&e.d, now, func(d *Decision) bool {
			if !e.was.IsZero() && e.was.Before(d.Until) || d.ID > c.ID {
				return true // it was never hidden, or is told as new
			}
			if row, _ := l.set.Row(d.ID); l.tells(&q, &row, now) &&
				!slices.ContainsFunc(out, func(o Decision) bool { return o.ID == d.ID }) {
				out = append(out, *d)
			}
			return true
		})
	}
	order.Sort(out, func(a, b Decision) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Deleted returns what to take back from a follower at c: the wanted decisions
// that ended since (with a little overlap) and not after upTo, by ID.
// With q.Longest one is left out as long as another one with the same scope,
// value and type is in force, or ended later. Who knows nothing isn't told of
// those whose alerts were deleted.
func (l *Log) Deleted(q Query, c, upTo Cursor) []Decision {
	l.mu.RLock()
	defer l.mu.RUnlock()
	since := c.At
	if !since.IsZero() {
		since = since.Add(-endOverlap)
	}
	type about struct{ scope, value, kind string }
	var later map[about]time.Time // end of the last one about the same
	var out []Decision
	for i := len(l.ended) - 1; i >= 0 && l.ended[i].stamp.After(since); i-- {
		e := &l.ended[i]
		if !e.stamp.After(c.At) && !e.d.Until.After(since) || !e.concerns(&q) {
			continue
		}
		if q.Longest {
			key := about{e.d.Scope, e.d.Value, e.d.Type}
			if at, ok := later[key]; ok && at.After(e.d.Until) {
				continue
			}
			if later == nil {
				later = make(map[about]time.Time)
			}
			later[key] = e.d.Until
			if l.outlasted(&q, &e.d) {
				continue
			}
		}
		if !e.stamp.After(upTo.At) && !(e.forgotten && c.At.IsZero()) {
			out = append(out, e.d)
		}
	}
	order.Sort(out, func(a, b Decision) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// HasNews tells whether a follower at c would be told anything up to upTo. With
// q.Longest it may say so for what then turns out to be hidden.
func (l *Log) HasNews(q Query, c, upTo Cursor, now time.Time) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i := len(l.order)
	if c.ID < l.lastID {
		i, _ = slices.BinarySearch(l.order, c.ID+1)
	}
	for ; i < len(l.order) && l.order[i] <= upTo.ID; i++ {
		if row, ok := l.set.rowAt(l.records[i], l.order[i]); ok && l.tells(&q, &row, now) {
			return true
		}
	}
	for i := len(l.ended) - 1; i >= 0 && l.ended[i].stamp.After(c.At); i-- {
		e := &l.ended[i]
		if !e.stamp.After(upTo.At) && e.concerns(&q) {
			return true
		}
	}
	return false
}

// View calls f with the live decisions. f must neither keep nor change them,
// and be quick: changes wait for it.
func (l *Log) View(f func(*Set)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	f(l.set)
}

// EndedCovering calls f for the decisions that ended lately and whose prefix
// contains p, until it returns false.
func (l *Log) EndedCovering(p netip.Prefix, f func(*Decision) bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := range l.ended {
		e := &l.ended[i]
		if e.over.IsValid() && e.over.Bits() <= p.Bits() && e.over.Contains(p.Addr()) && !f(&e.d) {
			return
		}
	}
}

func newEnd(d Decision) end {
	e := end{d: d}
	e.over, _ = d.Prefix()
	return e
}

// concerns tells whether a follower may want to hear of an end.
func (e *end) concerns(q *Query) bool { return !e.unheard && q.selects(&e.d) }

// selects tells whether a decision is wanted.
func (q *Query) selects(d *Decision) bool {
	if q.Kind != nil && !q.Kind(&Kind{d.Origin, d.Scenario, d.Scope, d.Type, d.Simulated}) {
		return false
	}
	return q.Want == nil || q.Want(d)
}

// wants tells the same of a row.
func (q *Query) wants(r *Row) bool {
	if q.Kind != nil && !q.Kind(r.Kind) {
		return false
	}
	if q.Want == nil {
		return true
	}
	d := r.Decision()
	return q.Want(&d)
}

// tells says whether a live decision is to be announced.
func (l *Log) tells(q *Query, r *Row, now time.Time) bool {
	return r.Until.Sub(now) >= leastLife && q.wants(r) && !(q.Longest && r.outlasted(q))
}

// outlasted tells whether a wanted live decision about the same ends later.
func (l *Log) outlasted(q *Query, d *Decision) (found bool) {
	l.set.About(d, d.Until, func(o *Decision) bool {
		found = q.selects(o)
		return !found
	})
	return found
}

func (l *Log) add(d Decision) bool {
	if d.ID <= l.lastID {
		panic("BUG: decisions added out of the order of their IDs")
	}
	l.lastID = d.ID
	i, ok := l.set.upsert(&d)
	if !ok {
		l.starved = l.starved || l.full()
		return false
	}
	if len(l.order) > 64 && len(l.order) > 2*l.set.Len() {
		l.compact()
	}
	l.order, l.records = append(l.order, d.ID), append(l.records, i)
	if l.version++; l.set.alone(i) { // as most are
		l.blocks[d.ID>>blockBits] = l.version
	} else {
		l.touched(&d)
	}
	return true
}

// compact forgets the IDs of decisions that have ended.
func (l *Log) compact() {
	left, n := make(map[int64]uint64), 0
	for at, i := range l.records {
		if id := l.order[at]; l.set.at(i).id == id {
			left[id>>blockBits] = l.blocks[id>>blockBits]
			l.order[n], l.records[n] = id, i
			n++
		}
	}
	l.order, l.records = l.order[:n], l.records[:n]
	l.blocks = left
}

func (l *Log) full() bool { return l.set.limit > 0 && l.set.Len() >= l.set.limit }

func (l *Log) expire(now time.Time) {
	if l.swept.Sub(now) > setBack {
		l.swept, l.starved = now, true
	}
	l.set.Expire(now, func(d Decision) {
		l.swept = now
		l.end(d, d.Until, now)
	})
}

func (l *Log) end(d Decision, was, now time.Time) {
	gone := d
	if !was.IsZero() {
		gone.Until = was
	}
	l.touched(&gone)
	e := newEnd(d)
	e.was, e.stamp = was, l.stamp(now)
	l.ended = append(l.ended, e)
	l.forget(now)
}

// stamp makes a time unique and rising, whatever the clock does.
func (l *Log) stamp(t time.Time) time.Time {
	if !t.After(l.last) {
		t = l.last.Add(1)
	}
	l.last = t
	return t
}

// forget drops ends that are too old or too many, in batches, so that the
// copying is paid for once in a while.
func (l *Log) forget(now time.Time) {
	n := 0
	if len(l.ended) > maxEnded {
		n = len(l.ended) - maxEnded*7/8
	}
	for n < len(l.ended) && l.ended[n].stamp.Before(now.Add(-KeepEnded)) {
		n++
	}
	if n == 0 {
		return
	}
	if h := l.ended[n-1].stamp; h.After(l.horizon) {
		l.horizon = h
	}
	l.ended = slices.Delete(l.ended, 0, n)
}

func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}
