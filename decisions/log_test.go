package decisions

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// row is a decision on 1.2.3.4, unless value says otherwise.
func row(id int64, until time.Duration, change ...func(*Decision)) Decision {
	d := Decision{ID: id, Scope: ScopeIP, Value: "1.2.3.4", Type: "ban", Origin: OriginCrowdsec, Scenario: "s", Until: t0.Add(until)}
	for _, c := range change {
		c(&d)
	}
	return d
}

func captcha(d *Decision)           { d.Type = "captcha" }
func on(v string) func(*Decision)   { return func(d *Decision) { d.Value = v } }
func from(o string) func(*Decision) { return func(d *Decision) { d.Origin = o } }

// told asks for the change since c and returns the IDs as "new;deleted".
func told(l *Log, q Query, c *Cursor, now time.Time) string {
	l.Advance(now)
	to := l.Mark(now)
	var added []string
	for _, d := range l.Again(q, *c, to, now) {
		added = append(added, fmt.Sprint(d.ID))
	}
	l.page = 2
	for after, more := c.ID, true; more; {
		after, more = l.New(q, after, to.ID, now, func(r *Row) { added = append(added, fmt.Sprint(r.ID)) })
	}
	var gone []string
	for _, d := range l.Deleted(q, *c, to) {
		gone = append(gone, fmt.Sprint(d.ID))
	}
	*c = to
	return strings.Join(added, " ") + ";" + strings.Join(gone, " ")
}

// TestTimelineOfOneValue is what CrowdSec's LAPI tells in the same case, but for one improvement:
// when the longest is deleted the one that survives it is told again.
func TestTimelineOfOneValue(t *testing.T) {
	l, c, now := NewLog(0), Cursor{}, t0
	q := Query{Longest: true}
	step := func(want string) {
		t.Helper()
		now = now.Add(10 * time.Second)
		if got := told(l, q, &c, now); got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	step(";")
	l.Add([]Decision{row(40, 4*time.Hour)}, now)
	step("40;")
	l.Add([]Decision{row(41, 24*time.Hour, from(OriginCAPI))}, now)
	step("41;")
	l.Add([]Decision{row(42, time.Hour, from(OriginCscli))}, now)
	step(";") // shorter from birth
	l.Add([]Decision{row(43, time.Hour, captcha)}, now)
	step("43;")
	fresh := Cursor{}
	if got := told(l, q, &fresh, now); got != "41 43;" {
		t.Fatalf("a restarted bouncer is told %q", got)
	}
	l.End([]int64{40}, now)
	step(";") // shadowed
	l.End([]int64{41}, now)
	step("42;") // upstream tells nothing here
	now = t0.Add(time.Hour + time.Minute)
	step(";42 43")
	l.Add([]Decision{row(60, 30*time.Hour, from(OriginCAPI))}, now)
	step("60;")
}

func TestWithoutDeduplicationEverythingIsTold(t *testing.T) {
	l, c, now := NewLog(0), Cursor{}, t0
	l.Add([]Decision{row(1, time.Hour), row(2, 2*time.Hour)}, now)
	if got := told(l, Query{}, &c, now); got != "1 2;" {
		t.Fatalf("told %q", got)
	}
	l.End([]int64{2}, now.Add(time.Minute))
	if got := told(l, Query{}, &c, now.Add(time.Minute)); got != ";2" {
		t.Fatalf("told %q", got)
	}
}

// TestHiddenByForeign is upstream's issue 3373: what the follower doesn't want
// to hear of must not hide what it wants.
func TestHiddenByForeign(t *testing.T) {
	l, c := NewLog(0), Cursor{}
	l.Add([]Decision{row(1, 24*time.Hour, from(OriginCAPI)), row(2, time.Hour, from(OriginCscli))}, t0)
	q := Query{Longest: true, Want: func(d *Decision) bool { return d.Origin == OriginCscli }}
	if got := told(l, q, &c, t0); got != "2;" {
		t.Fatalf("told %q", got)
	}
	now := t0.Add(2 * time.Hour)
	if got := told(l, q, &c, now); got != ";2" {
		t.Fatalf("told %q", got)
	}
}

func TestEndsAreRepeatedForTwoSeconds(t *testing.T) {
	l, c, now := NewLog(0), Cursor{}, t0
	l.Add([]Decision{row(1, time.Hour)}, now)
	told(l, Query{}, &c, now)
	l.End([]int64{1}, now)
	for i, want := range []string{";1", ";1", ";"} {
		now = now.Add(1500 * time.Millisecond)
		if got := told(l, Query{}, &c, now); got != want {
			t.Fatalf("poll %d: told %q, want %q", i, got, want)
		}
	}
	if n := l.End([]int64{1}, now); n != 1 {
		t.Fatalf("ending it again: %d", n)
	}
	if got := told(l, Query{}, &c, now); got != ";1" {
		t.Fatalf("after ending it again told %q", got)
	}
}

func TestAlmostOverIsNotAnnounced(t *testing.T) {
	l, c := NewLog(0), Cursor{}
	l.Add([]Decision{row(1, 900*time.Millisecond), row(2, -time.Hour)}, t0)
	if got := told(l, Query{}, &c, t0); got != ";" {
		t.Fatalf("told %q", got)
	}
}

func TestKnows(t *testing.T) {
	l := NewLog(0)
	l.Restored(100, t0)
	f := func(c Cursor, want bool) {
		t.Helper()
		if got := l.Knows(c); got != want {
			t.Fatalf("%+v: %v", c, got)
		}
	}
	f(Cursor{}, false)
	f(Cursor{ID: 100, At: t0}, true)
	f(Cursor{ID: 101, At: t0}, false) // of another store
	f(Cursor{ID: 100, At: t0.Add(-KeepEnded - time.Second)}, false)
}

func TestEndedIsBounded(t *testing.T) {
	l, c := NewLog(0), Cursor{}
	told(l, Query{}, &c, t0)
	id := int64(0)
	for range maxEnded/1000 + 2 {
		ds := make([]Decision, 1000)
		ids := make([]int64, len(ds))
		for i := range ds {
			id++
			ds[i], ids[i] = row(id, time.Hour, on(fmt.Sprintf("10.%d.%d.%d", id>>16, id>>8&255, id&255))), id
		}
		l.Add(ds, t0)
		l.End(ids, t0)
	}
	if n := len(l.ended); n > maxEnded {
		t.Fatalf("%d ends are remembered", n)
	}
	if l.Knows(c) {
		t.Fatal("a cursor from before the bound is still good")
	}
	told(l, Query{}, &c, t0)
	if !l.Knows(c) {
		t.Fatal("a fresh cursor is not good")
	}
	if n := len(l.order); n > 2000+64 {
		t.Fatalf("%d IDs are kept for no live decision", n)
	}
}

func TestClockSetBack(t *testing.T) {
	l, c := NewLog(0), Cursor{}
	l.Add([]Decision{row(1, time.Hour), row(2, time.Hour, on("5.6.7.8"))}, t0)
	told(l, Query{}, &c, t0)
	past := t0.Add(-30 * time.Minute)
	l.End([]int64{1}, past)
	if got := told(l, Query{}, &c, past); got != ";1" {
		t.Fatalf("told %q", got)
	}
}

// A clock that goes ahead and back ends nothing for good, but what somebody ended.
func TestClockAheadAndBack(t *testing.T) {
	l, c := NewLog(4), Cursor{}
	rows := []Decision{row(1, time.Hour), row(2, time.Hour, on("5.6.7.8")), row(3, 48*time.Hour, on("9.9.9.9"))}
	l.Add(rows, t0)
	told(l, Query{}, &c, t0)
	l.End([]int64{2}, t0)
	ahead := t0.Add(24 * time.Hour)
	if got := told(l, Query{}, &c, ahead); got != ";1 2" {
		t.Fatalf("told %q", got)
	}
	if l.Room() != 0 {
		t.Fatal("nobody waits for room")
	}
	back := t0.Add(time.Minute)
	l.Advance(back)
	if l.Room() != 3 {
		t.Fatalf("room for %d", l.Room())
	}
	rows[1].Until = t0
	l.Readmit(rows, true, back)
	if l.Knows(c) {
		t.Fatal("followers must get the whole set")
	}
	if got, want := l.Mark(back), int64(3); got.ID != want || !l.Has(1) || l.Has(2) || !l.Has(3) || !slices.IsSorted(l.order) {
		t.Fatalf("at %v in force: %v %v %v", got, l.Has(1), l.Has(2), l.Has(3))
	}
	c = Cursor{}
	if got := told(l, Query{}, &c, back); got != "1 3;2" {
		t.Fatalf("told %q", got)
	}
	if got := told(l, Query{}, &c, t0.Add(2*time.Hour)); got != ";1" {
		t.Fatalf("told %q", got)
	}
}

// TestClockSetBackOverARestart: what ended after the restart seems to have ended
// before the follower last asked.
func TestClockSetBackOverARestart(t *testing.T) {
	l := NewLog(0)
	l.Add([]Decision{row(1, time.Hour), row(2, 2*time.Hour)}, t0)
	c := l.Mark(t0.Add(30 * time.Minute))
	l = NewLog(0)
	past := t0.Add(time.Minute)
	l.Restore(row(1, time.Hour), past)
	l.Restore(row(2, 2*time.Hour), past)
	l.Restored(2, past)
	l.End([]int64{1}, past)
	if l.Knows(c) {
		t.Fatal("a cursor of the future is taken for one that has heard of everything")
	}
}

func TestChangedWakes(t *testing.T) {
	l := NewLog(0)
	ch := l.Changed()
	select {
	case <-ch:
		t.Fatal("woken by nothing")
	default:
	}
	l.Add([]Decision{row(1, time.Hour)}, t0)
	select {
	case <-ch:
	default:
		t.Fatal("not woken by a new decision")
	}
	ch = l.Changed()
	l.Advance(t0.Add(2 * time.Hour))
	select {
	case <-ch:
	default:
		t.Fatal("not woken by an end")
	}
}

// What is told costs no memory, however many decisions there are: one row and
// the caller's function escape for a page.
func TestNewAllocatesForAPageOnly(t *testing.T) {
	l := NewLog(0)
	for id := range int64(2 * rowsPerPage) {
		l.Add([]Decision{row(id+1, time.Hour, on(fmt.Sprintf("10.0.%d.%d", id>>8, id&255)))}, t0)
	}
	q := Query{Longest: true, Kind: func(k *Kind) bool { return k.Scope == ScopeIP }}
	n, text := 0, make([]byte, 0, 1<<20)
	f := func(r *Row) {
		n++
		text = r.AppendUUID(r.AppendValue(text[:0]))
	}
	allocs := testing.AllocsPerRun(20, func() {
		n = 0
		for after, more := int64(0), true; more; {
			after, more = l.New(q, after, 2*rowsPerPage, t0, f)
		}
	})
	if allocs > 6 || n != 2*rowsPerPage {
		t.Fatalf("%v allocations for %d decisions", allocs, n)
	}
}

// model is the obvious twin: a list of rows, and what is in force is found by
// looking at all of them.
type model struct{ rows []Decision }

func (m *model) live(q Query, now time.Time) map[int64]Decision {
	out := make(map[int64]Decision)
	for _, d := range m.rows {
		if d.Active(now) && q.selects(&d) {
			out[d.ID] = d
		}
	}
	return out
}

// follower is a bouncer that keeps what it was told.
type follower struct {
	q      Query
	cursor Cursor
	byID   map[int64]time.Time  // without deduplication
	byWhat map[string]time.Time // with it: a ban for each scope, value and type
}

func (f *follower) poll(l *Log, now time.Time) {
	l.Advance(now)
	to := l.Mark(now)
	from := f.cursor
	if !l.Knows(from) {
		from = Cursor{}
		f.byID, f.byWhat = map[int64]time.Time{}, map[string]time.Time{}
	}
	what := func(d *Decision) string { return d.Scope + "/" + d.Value + "/" + d.Type }
	for _, d := range l.Deleted(f.q, from, to) {
		delete(f.byID, d.ID)
		delete(f.byWhat, what(&d))
	}
	tell := func(d *Decision) {
		f.byID[d.ID] = d.Until
		f.byWhat[what(d)] = d.Until
	}
	for _, d := range l.Again(f.q, from, to, now) {
		tell(&d)
	}
	l.page = 3
	for after, more := from.ID, true; more; {
		after, more = l.New(f.q, after, to.ID, now, func(r *Row) { d := r.Decision(); tell(&d) })
	}
	f.cursor = to
}

// check compares what the follower enforces with what it should.
func (f *follower) check(m *model, now time.Time) error {
	live := m.live(f.q, now)
	if !f.q.Longest {
		for id, d := range live {
			if until, ok := f.byID[id]; d.Until.Sub(now) >= leastLife && (!ok || !until.Equal(d.Until)) {
				return fmt.Errorf("decision %d until %v is in force, enforced: %v until %v", id, d.Until, ok, until)
			}
		}
		for id, until := range f.byID {
			if _, ok := live[id]; !ok && until.After(now) {
				return fmt.Errorf("decision %d is enforced, but over", id)
			}
		}
		return nil
	}
	longest := make(map[string]time.Time)
	for _, d := range live {
		key := d.Scope + "/" + d.Value + "/" + d.Type
		if d.Until.After(longest[key]) {
			longest[key] = d.Until
		}
	}
	for key, until := range longest {
		if got := f.byWhat[key]; until.Sub(now) >= leastLife && !got.Equal(until) {
			return fmt.Errorf("%s should be enforced until %v, is until %v", key, until, got)
		}
	}
	for key, until := range f.byWhat {
		if _, ok := longest[key]; !ok && until.After(now) {
			return fmt.Errorf("%s is enforced until %v, but over", key, until)
		}
	}
	return nil
}

// TestFollowersAgainstModel plays random lives of decisions and compares what
// followers of all kinds make of the log with the model, over restarts too.
func TestFollowersAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		if err := playFollowers(rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func playFollowers(r *rand.Rand) error {
	cscli := func(d *Decision) bool { return d.Origin == OriginCscli }
	followers := []*follower{
		{q: Query{}}, {q: Query{Longest: true}}, {q: Query{Want: cscli}}, {q: Query{Want: cscli, Longest: true}},
		{q: Query{Kind: func(k *Kind) bool { return k.Origin != OriginCscli }, Longest: true}},
	}
	l, m, now := NewLog(0), &model{}, t0
	id := int64(0)
	for range 80 {
		now = now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			var batch []Decision
			for range 1 + r.IntN(3) {
				id++
				d := row(id, 0, on(fmt.Sprintf("10.0.0.%d", r.IntN(3))), from([]string{OriginCscli, OriginCAPI}[r.IntN(2)]))
				if r.IntN(4) == 0 {
					d.Type = "captcha"
				}
				if r.IntN(5) == 0 {
					d.Scope, d.Value = ScopeCountry, "FR"
				}
				d.Until = now.Add(time.Duration(r.IntN(40)) * time.Second)
				batch = append(batch, d)
			}
			l.Add(batch, now)
			m.rows = append(m.rows, batch...)
		case 4, 5:
			var ids []int64
			for i := range m.rows {
				if d := &m.rows[i]; d.Active(now) && r.IntN(3) == 0 {
					d.Until = now
					ids = append(ids, d.ID)
				}
			}
			l.End(ids, now)
		case 6:
			if r.IntN(3) > 0 {
				continue
			}
			l = NewLog(0) // a restart: only the rows and the cursors are left
			for _, d := range m.rows {
				l.Restore(d, now)
			}
			l.Restored(id, now)
		default:
			f := followers[r.IntN(len(followers))]
			f.poll(l, now)
			if err := f.check(m, now); err != nil {
				return err
			}
		}
	}
	// In the end everybody knows the same.
	for _, f := range followers {
		f.poll(l, now)
		if err := f.check(m, now); err != nil {
			return err
		}
	}
	if !slices.IsSorted(l.order) {
		return fmt.Errorf("the order is broken: %v", l.order)
	}
	return nil
}

// What had no room comes into force when there is some, and every follower
// hears of it, although its ID is one that they have passed.
func TestReadmit(t *testing.T) {
	l := NewLog(2)
	if n := l.Add([]Decision{row(1, time.Minute), row(2, time.Hour), row(3, time.Hour), row(4, time.Minute)}, t0); n != 2 {
		t.Fatalf("%d refused", n)
	}
	if l.Room() != 0 || l.Has(3) {
		t.Fatal("there is no room yet")
	}
	told := l.Mark(t0)
	now := t0.Add(2 * time.Minute)
	l.Advance(now)
	if l.Room() != 1 || !l.Knows(told) {
		t.Fatalf("room for %d", l.Room())
	}
	if n := l.Readmit([]Decision{row(2, time.Hour), row(3, time.Hour), row(4, time.Minute)}, true, now); n != 1 || !l.Has(3) || l.Has(4) {
		t.Fatalf("%d let in", n)
	}
	if l.Room() != 0 || l.Knows(told) {
		t.Fatal("followers must get the whole set")
	}
	var page []Decision
	l.New(Query{}, 0, l.Mark(now).ID, now, func(r *Row) { page = append(page, r.Decision()) })
	if len(page) != 2 || page[0].ID != 2 || page[1].ID != 3 {
		t.Fatalf("told %v", page)
	}
	if !l.Knows(l.Mark(now)) {
		t.Fatal("who knows the whole set needs changes only")
	}
}

// A decision that was over from the start counts as decided, and is told to nobody.
func TestOverFromTheStart(t *testing.T) {
	l := NewLog(0)
	c := l.Mark(t0)
	l.Add([]Decision{row(1, -time.Minute)}, t0)
	n := 0
	l.EndedCovering(netip.MustParsePrefix("1.2.3.4/32"), func(d *Decision) bool { n++; return d.ID == 1 })
	l.EndedCovering(netip.MustParsePrefix("1.2.3.0/24"), func(d *Decision) bool { n++; return true }) // it is inside
	l.EndedCovering(netip.MustParsePrefix("1.2.3.5/32"), func(d *Decision) bool { n++; return true })
	to := l.Mark(t0)
	if n != 1 || l.HasNews(Query{}, c, to, t0) || len(l.Deleted(Query{}, c, to)) != 0 {
		t.Fatalf("%d ends, told %v", n, l.Deleted(Query{}, c, to))
	}
}

// TestBlocksAgainstModel holds the versions of blocks against what they are
// for: as long as one stays the same, so does what New tells of the block.
func TestBlocksAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 2))
		l, now, id := NewLog(0), t0, int64(0)
		queries := []Query{
			{}, {Longest: true},
			{Longest: true, Kind: func(k *Kind) bool { return k.Origin == OriginCscli }},
			{Longest: true, Kind: func(k *Kind) bool { return k.Type == "ban" }},
		}
		type kept struct {
			version uint64
			told    string
		}
		known := make(map[string]kept)
		for range 60 {
			switch rng.IntN(4) {
			case 0, 1:
				id += int64(1 + rng.IntN(3000)) // so that there are some blocks
				d := row(id, time.Duration(1+rng.IntN(30))*time.Minute, on(fmt.Sprint("10.0.0.", rng.IntN(3))))
				d.Until = now.Add(time.Duration(1+rng.IntN(30)) * time.Minute)
				d.Origin = []string{OriginCscli, OriginCAPI}[rng.IntN(2)]
				d.Type = []string{"ban", "captcha"}[rng.IntN(2)]
				l.Add([]Decision{d}, now)
			case 2:
				if len(l.order) > 0 {
					l.End([]int64{l.order[rng.IntN(len(l.order))]}, now)
				}
			default:
				now = now.Add(time.Duration(rng.IntN(300)) * time.Second)
				l.Advance(now)
			}
			for i, q := range queries {
				for after := int64(0); ; {
					b, ok := l.BlockAfter(after)
					if !ok {
						break
					}
					after = b.Last
					var told []string
					for at, more := b.First-1, true; more; {
						at, more = l.New(q, at, b.Last, now, func(r *Row) { told = append(told, fmt.Sprint(r.ID)) })
					}
					key := fmt.Sprint(i, b.First)
					was, ok := known[key]
					is := kept{b.Version, strings.Join(told, " ")}
					if ok && was.version == is.version && is.told != was.told {
						t.Fatalf("seed %d: block %d tells %q instead of %q, and has not changed", seed, b.First, is.told, was.told)
					}
					known[key] = is
				}
			}
		}
	}
}
