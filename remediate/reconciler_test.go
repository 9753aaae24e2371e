package remediate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cs/decisions"
	"cs/remediate"
	"cs/remediate/remediatetest"
)

func decision(id int64, origin, value string, left time.Duration) decisions.Decision {
	d := decisions.Decision{
		ID: id, Origin: origin, Scenario: "tor-exit", Scope: decisions.ScopeIP, Type: "ban",
		Value: value, Created: time.Now(), Until: time.Now().Add(left),
	}
	if strings.Contains(value, "/") {
		d.Scope = decisions.ScopeRange
	}
	return d
}

// A story is a reconciler that runs in front of a fake kernel, in a bubble of
// fake time.
type story struct {
	*testing.T
	kernel *remediatetest.Fake
	r      *remediate.Reconciler
}

// tell runs a story. The reconciler has loaded the decisions.
func tell(t *testing.T, cfg remediate.Config, begin []decisions.Decision, f func(s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &story{T: t, kernel: remediatetest.NewFake(time.Now)}
		cfg.Kernel = s.kernel
		s.r = remediate.New(cfg)
		if _, err := s.r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.r.Run(ctx)
		for i := range begin { // made before the bubble's time began
			begin[i].Created = time.Now()
		}
		s.full(begin...)
		f(s)
	})
}

func (s *story) full(list ...decisions.Decision) remediate.Diff {
	s.Helper()
	return s.apply(decisions.Delta{Full: true, New: list})
}

func (s *story) add(list ...decisions.Decision) remediate.Diff {
	s.Helper()
	return s.apply(decisions.Delta{New: list})
}

func (s *story) lift(ids ...int64) remediate.Diff {
	s.Helper()
	var d decisions.Delta
	for _, id := range ids {
		d.Deleted = append(d.Deleted, decisions.Decision{ID: id})
	}
	return s.apply(d)
}

func (s *story) apply(d decisions.Delta) remediate.Diff {
	s.Helper()
	diff, err := s.r.Apply(s.Context(), d)
	if err != nil {
		s.Fatal(err)
	}
	synctest.Wait()
	return diff
}

func (s *story) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// blocks compares what is blocked with "prefix origin" texts.
func (s *story) blocks(want ...string) {
	s.Helper()
	var got []string
	for p, e := range s.kernel.Entries() {
		got = append(got, p.String()+" "+e.Origin)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("blocked are %q, want %q", got, want)
	}
}

func TestLongestDecisionWins(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		s.add(decision(1, "crowdsec", "1.2.3.4", time.Hour))
		s.blocks("1.2.3.4/32 crowdsec")
		s.add(decision(2, "CAPI", "1.2.3.4", 2*time.Hour))
		s.blocks("1.2.3.4/32 CAPI")
		s.add(decision(3, "lists", "::ffff:1.2.3.4", 2*time.Hour)) // ends with 2, counts more
		s.blocks("1.2.3.4/32 lists:tor-exit")
		s.lift(3, 2)
		s.blocks("1.2.3.4/32 crowdsec")
		s.lift(2) // again
		s.blocks("1.2.3.4/32 crowdsec")
		s.lift(1)
		s.blocks()
	})
}

func TestUnwantedAreLeftAlone(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		captcha, simulated := decision(1, "crowdsec", "1.2.3.1", time.Hour), decision(2, "crowdsec", "1.2.3.2", time.Hour)
		captcha.Type, simulated.Simulated = "captcha", true
		country, nonsense, over := decision(3, "crowdsec", "CN", time.Hour), decision(4, "crowdsec", "nonsense", time.Hour), decision(5, "crowdsec", "1.2.3.5", -time.Second)
		country.Scope = decisions.ScopeCountry
		s.add(captcha, simulated, country, nonsense, over, decision(6, "crowdsec", "1.2.3.0/30", time.Hour))
		s.blocks("1.2.3.0/30 crowdsec")
		// A decision may move, and may become unwanted.
		s.add(decision(6, "crowdsec", "1.2.4.0/30", time.Hour))
		s.blocks("1.2.4.0/30 crowdsec")
		moved := decision(6, "crowdsec", "1.2.4.0/30", time.Hour)
		moved.Type = "captcha"
		s.add(moved)
		s.blocks()
	})
}

func TestBansEnd(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		s.add(decision(1, "crowdsec", "1.2.3.4", time.Minute), decision(2, "cscli", "1.2.3.5", time.Hour),
			decision(3, "crowdsec", "1.2.3.6", time.Minute), decision(4, "CAPI", "1.2.3.6", time.Hour))
		s.sleep(time.Minute + time.Second)
		s.blocks("1.2.3.5/32 cscli", "1.2.3.6/32 CAPI")
		if st := s.r.Stats(); st.Decisions != 2 || st.Wanted != 2 || st.Applied != 2 || !st.Healthy {
			s.Errorf("%+v", st)
		}
	})
}

// A list that is imported again moves all ends by a little: that must cost
// nothing, and still nobody may get free early.
func TestSmallMovesCostNothing(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		s.add(decision(1, "CAPI", "1.2.3.4", 10*time.Hour), decision(2, "CAPI", "1.2.3.5", time.Minute), decision(3, "CAPI", "1.2.3.6", time.Minute))
		diff := s.add(decision(1, "CAPI", "1.2.3.4", 10*time.Hour+5*time.Minute), // less than 1 %
			decision(2, "CAPI", "1.2.3.5", 80*time.Second),
			decision(3, "CAPI", "1.2.3.6", 45*time.Second))
		if diff != (remediate.Diff{}) {
			s.Errorf("the kernel was given %+v", diff)
		}
		if diff := s.add(decision(1, "CAPI", "1.2.3.4", 11*time.Hour)); diff.Replaced != 1 {
			s.Errorf("an hour more changed %+v", diff)
		}
		if diff := s.add(decision(1, "CAPI", "1.2.3.4", 10*time.Hour)); diff.Replaced != 1 {
			s.Errorf("an hour less changed %+v", diff)
		}
		s.sleep(46 * time.Second)
		s.blocks("1.2.3.4/32 CAPI", "1.2.3.5/32 CAPI")
		s.sleep(30 * time.Second) // beyond the end that the kernel was given first
		s.blocks("1.2.3.4/32 CAPI", "1.2.3.5/32 CAPI")
		s.sleep(5 * time.Second)
		s.blocks("1.2.3.4/32 CAPI")
	})
}

func TestFullListReplaces(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		s.full(decision(1, "crowdsec", "1.2.3.4", time.Hour), decision(2, "crowdsec", "1.2.3.5", time.Hour))
		loads, _, _ := s.kernel.Calls()
		diff := s.full(decision(2, "crowdsec", "1.2.3.5", time.Hour), decision(3, "crowdsec", "1.2.3.6", time.Hour))
		if diff != (remediate.Diff{Added: 1, Removed: 1}) {
			s.Errorf("got %+v", diff)
		}
		s.blocks("1.2.3.5/32 crowdsec", "1.2.3.6/32 crowdsec")
		if now, _, _ := s.kernel.Calls(); now != loads {
			s.Error("everything was loaded again")
		}
	})
}

// A list in parts: what is new is blocked at once, what is not in it until the
// end. A part of one that was given up lifts nothing.
func TestFullListInParts(t *testing.T) {
	one, two, three := decision(1, "crowdsec", "1.2.3.4", time.Hour), decision(2, "CAPI", "1.2.3.5", time.Hour), decision(3, "CAPI", "1.2.3.6", time.Hour)
	tell(t, remediate.Config{}, []decisions.Decision{one, two}, func(s *story) {
		part := func(n int, more bool, list ...decisions.Decision) remediate.Diff {
			return s.apply(decisions.Delta{Full: true, Part: n, More: more, New: list})
		}
		part(0, true, three)
		s.blocks("1.2.3.4/32 crowdsec", "1.2.3.5/32 CAPI", "1.2.3.6/32 CAPI")
		part(0, true, two)
		if diff := part(2, false, one); !diff.Again {
			t.Error("a part is missing, and nobody asks again")
		}
		s.blocks("1.2.3.4/32 crowdsec", "1.2.3.5/32 CAPI", "1.2.3.6/32 CAPI")
		part(0, true, two)
		if diff := part(1, false); diff != (remediate.Diff{Removed: 2}) {
			t.Errorf("%+v", diff)
		}
		s.blocks("1.2.3.5/32 CAPI")
	})
}

func TestForeignFlushIsRepaired(t *testing.T) {
	f := func(name string, deaf bool, foreign func(*remediatetest.Fake), within time.Duration) {
		t.Run(name, func(t *testing.T) {
			tell(t, remediate.Config{}, nil, func(s *story) {
				if deaf {
					s.kernel.Deafen()
				}
				s.add(decision(1, "crowdsec", "1.2.3.4", time.Hour))
				s.sleep(time.Minute + 123*time.Millisecond)
				foreign(s.kernel)
				s.sleep(within)
				s.blocks("1.2.3.4/32 crowdsec")
				if ok, err := s.kernel.Check(s.Context()); !ok || err != nil {
					s.Errorf("the structure is not repaired: %v", err)
				}
				s.sleep(time.Minute)
				if st := s.r.Stats(); st.Repairs != 1 || !st.Healthy {
					s.Errorf("%+v", st)
				}
			})
		})
	}
	f("flush, told", false, (*remediatetest.Fake).Flush, 0)
	f("flush, not told", true, (*remediatetest.Fake).Flush, time.Second)
	f("a rule, told", false, (*remediatetest.Fake).Alter, 0)
	f("a rule, not told", true, (*remediatetest.Fake).Alter, time.Second)
}

func TestErrorsAreHealed(t *testing.T) {
	f := func(name string, errs ...error) {
		t.Run(name, func(t *testing.T) {
			tell(t, remediate.Config{}, nil, func(s *story) {
				s.add(decision(1, "crowdsec", "1.2.3.4", time.Hour))
				s.kernel.Fail(errs...)
				// The error may be told; the ban must not be forgotten.
				_, _ = s.r.Apply(s.Context(), decisions.Delta{New: []decisions.Decision{decision(2, "crowdsec", "1.2.3.5", time.Hour)}})
				s.sleep(time.Duration(1<<len(errs)) * time.Second)
				s.blocks("1.2.3.4/32 crowdsec", "1.2.3.5/32 crowdsec")
				if st := s.r.Stats(); !st.Healthy || st.Errors != uint64(len(errs)) {
					s.Errorf("%+v", st)
				}
			})
		})
	}
	f("busy once", remediatetest.ErrBusy)
	f("gone", remediatetest.ErrGone, remediatetest.ErrGone)
	f("four times", remediatetest.ErrBusy, remediatetest.ErrBusy, remediatetest.ErrBusy, remediatetest.ErrBusy)
}

// A kernel that refuses for an hour is not asked all the time.
// TestSleepingMachine: what ended while the machine slept is lifted when it wakes up, and the
// kernel, whose times stood still too, gets those that are left.
func TestSleepingMachine(t *testing.T) {
	var slept atomic.Int64
	cfg := remediate.Config{Slept: func() time.Duration { return time.Duration(slept.Load()) }}
	tell(t, cfg, nil, func(s *story) {
		s.add(decision(1, "crowdsec", "1.2.3.4", time.Hour), decision(2, "crowdsec", "1.2.3.5", 3*time.Hour))
		s.sleep(time.Minute)
		slept.Add(int64(2 * time.Hour))
		s.sleep(11 * time.Second)
		s.blocks("1.2.3.5/32 crowdsec")
		left := time.Until(s.kernel.Entries()[netip.MustParsePrefix("1.2.3.5/32")].Until)
		if want := time.Hour - 71*time.Second; left > want || left < want-time.Second {
			s.Errorf("%v left, want %v", left, want)
		}
		e, err := s.r.Explain(s.Context(), netip.MustParseAddr("1.2.3.5"))
		if err != nil || len(e.Decisions) != 1 || time.Until(e.Decisions[0].Until) != left {
			s.Errorf("explained as %+v, %v", e, err)
		}
		s.add(decision(3, "crowdsec", "1.2.3.6", time.Hour))
		s.sleep(time.Hour - 2*time.Second)
		s.blocks("1.2.3.6/32 crowdsec")
		s.sleep(3 * time.Second)
		s.blocks()
	})
}

// TestQuarrel: against somebody who changes the rules as soon as they are made we
// don't load all the time, but always again.
func TestQuarrel(t *testing.T) {
	tell(t, remediate.Config{}, []decisions.Decision{decision(1, "crowdsec", "1.2.3.4", time.Hour)}, func(s *story) {
		s.kernel.Takes(100 * time.Millisecond)
		before, _, _ := s.kernel.Calls()
		end := time.Now().Add(2 * time.Minute)
		for time.Now().Before(end) {
			s.kernel.Flush()
			s.sleep(10 * time.Millisecond)
		}
		loads, _, _ := s.kernel.Calls()
		if n := loads - before; n < 150 || n > 250 { // 60 at once, then one in a second
			s.Errorf("%d loads in two minutes", n)
		}
		s.sleep(2 * time.Second)
		s.blocks("1.2.3.4/32 crowdsec")
		// Peace makes it quick again.
		s.sleep(2 * time.Minute)
		s.kernel.Flush()
		s.sleep(110 * time.Millisecond)
		s.blocks("1.2.3.4/32 crowdsec")
	})
}

// TestIgnoreIsTriedAgain: what the kernel refused to never block is told to it again.
func TestIgnoreIsTriedAgain(t *testing.T) {
	k := &refusing{Fake: remediatetest.NewFake(time.Now), err: errors.New("no room")}
	r := remediate.New(remediate.Config{Kernel: k})
	if _, err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := []netip.Prefix{netip.MustParsePrefix("1.2.3.4/32")}
	for range 2 {
		if err := r.SetIgnore(t.Context(), list); !errors.Is(err, k.err) {
			t.Errorf("got %v", err)
		}
	}
	k.err = nil
	if err := r.SetIgnore(t.Context(), list); err != nil || len(k.list) != 1 {
		t.Errorf("got %v, %v", k.list, err)
	}
}

// refusing is a Fake that can let packets pass before it looks at entries, unless it errs.
type refusing struct {
	*remediatetest.Fake
	err  error
	list []netip.Prefix
}

func (k *refusing) Ignore(_ context.Context, list []netip.Prefix) error {
	if k.err == nil {
		k.list = list
	}
	return k.err
}

// TestAudit: an entry that somebody took away where nobody looks is back within a day.
func TestAudit(t *testing.T) {
	var begin []decisions.Decision
	for i := range 3000 {
		begin = append(begin, decision(int64(i+1), "CAPI", netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)}).String(), 1000*time.Hour))
	}
	tell(t, remediate.Config{}, begin, func(s *story) {
		s.kernel.Deafen()
		s.sleep(24 * time.Hour)
		if loads, _, _ := s.kernel.Calls(); loads != 1 {
			s.Errorf("%d loads", loads)
		}
		s.kernel.Meddle(func(m map[netip.Prefix]time.Time) { delete(m, netip.MustParsePrefix("1.2.7.7/32")) })
		s.sleep(24 * time.Hour)
		if _, there := s.kernel.Entries()[netip.MustParsePrefix("1.2.7.7/32")]; !there {
			s.Error("it is still away")
		}
	})
}

// TestAuditGivesUp: where entries never are as they were given, loading them again and again
// is no help.
func TestAuditGivesUp(t *testing.T) {
	tell(t, remediate.Config{}, []decisions.Decision{decision(1, "crowdsec", "1.2.3.4", time.Hour)}, func(s *story) {
		for range 24 * 60 {
			s.kernel.Meddle(func(m map[netip.Prefix]time.Time) { clear(m) })
			s.sleep(time.Minute)
		}
		if loads, _, _ := s.kernel.Calls(); loads < 4 || loads > 8 {
			s.Errorf("%d loads in a day", loads)
		}
	})
}

// TestFallsBack: a backend that can't do what is needed is left for the next one, which
// gets what is never blocked, too; one that worked is not.
func TestFallsBack(t *testing.T) {
	first, second := remediatetest.NewFake(time.Now), remediatetest.NewFake(time.Now)
	r := remediate.New(remediate.Config{Kernel: first, Fallbacks: []remediate.Kernel{second}})
	if _, err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.SetIgnore(t.Context(), []netip.Prefix{netip.MustParsePrefix("1.2.3.4/32")}); err != nil {
		t.Fatal(err)
	}
	first.Fail(fmt.Errorf("no such map: %w", errors.ErrUnsupported))
	list := []decisions.Decision{decision(1, "crowdsec", "1.2.3.0/24", time.Hour), decision(2, "crowdsec", "1.2.4.5", time.Hour)}
	if _, err := r.Apply(t.Context(), decisions.Delta{Full: true, New: list}); err != nil {
		t.Fatal(err)
	}
	if n, m := len(first.Entries()), len(second.Entries()); n != 0 || m != 1 {
		t.Errorf("the first has %d, the second %d", n, m)
	}
	if _, passed := r.Chosen(); passed == nil || !strings.Contains(passed.Error(), "no such map") {
		t.Errorf("passed because of %v", passed)
	}
	second.Flush()
	second.Fail(nil, errors.ErrUnsupported)
	r.Tick(t.Context())
	r.Tick(t.Context())
	if st := r.Stats(); !st.Healthy || len(second.Entries()) != 1 {
		t.Errorf("%+v", st)
	}
}

func TestRetriesAreRare(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		for range 10000 {
			s.kernel.Fail(remediatetest.ErrBusy)
		}
		before, _, _ := s.kernel.Calls()
		s.sleep(time.Hour)
		after, _, _ := s.kernel.Calls()
		if n := after - before; n < 100 || n > 150 {
			s.Errorf("%d attempts in an hour, want one every 30 s", n)
		}
		if _, err := s.r.Apply(s.Context(), decisions.Delta{New: []decisions.Decision{decision(2, "crowdsec", "1.2.3.5", time.Hour)}}); err != nil {
			s.Errorf("the delta itself is fine, but: %v", err)
		}
	})
}

// Before the first delta nothing of what an earlier process left is touched.
func TestNothingIsTouchedBeforeTheFirstDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := remediatetest.NewFake(time.Now)
		r := remediate.New(remediate.Config{Kernel: k})
		if _, err := r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.Run(ctx)
		if loads, applies, _ := k.Calls(); loads+applies != 0 {
			t.Errorf("%d loads, %d applies", loads, applies)
		}
	})
}

func TestCapacity(t *testing.T) {
	addr := func(i int) string { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String() }
	tell(t, remediate.Config{MaxEntries: 100}, nil, func(s *story) {
		count := func() map[string]int {
			n := map[string]int{}
			for _, e := range s.kernel.Entries() {
				n[e.Origin]++
			}
			return n
		}
		var list []decisions.Decision
		for i := range 200 {
			list = append(list, decision(int64(i), "CAPI", addr(i), time.Hour+time.Duration(i)*time.Minute))
		}
		s.full(list...)
		if st := s.r.Stats(); st.Wanted != 200 || st.Applied+st.Unenforced["no room in the packet filter"] != 200 || st.Applied > 100 || st.Applied < 98 {
			s.Errorf("%+v", st)
		}
		if _, ok := s.kernel.Entries()[netip.MustParsePrefix(addr(199)+"/32")]; !ok {
			s.Error("the one that ends last was left out")
		}
		for i := range 60 { // one at a time, as in an attack
			s.add(decision(int64(1000+i), "crowdsec", addr(1000+i), time.Minute))
		}
		s.add(decision(2000, "cscli", addr(2000), time.Minute))
		if n := count(); n["crowdsec"] != 60 || n["cscli"] != 1 || len(s.kernel.Entries()) > 100 {
			s.Errorf("blocked are %v", n)
		}
		list = list[:0]
		for i := range 150 {
			list = append(list, decision(int64(3000+i), "lists", addr(3000+i), time.Hour))
		}
		s.add(list...)
		if n := count(); n["crowdsec"] != 60 || n["cscli"] != 1 || n["lists:tor-exit"] < 37 || n["CAPI"] > 1 {
			s.Errorf("blocked are %v", n)
		}
		s.sleep(2 * time.Minute) // the short ones have ended: the others get in
		if n := count(); n["lists:tor-exit"] < 98 {
			s.Errorf("blocked are %v", n)
		}
		for i := range 150 {
			s.lift(int64(3000 + i))
		}
		if n := count(); n["CAPI"] < 98 {
			s.Errorf("blocked are %v", n)
		}
	})
}

func TestFullKernelTeachesTheLimit(t *testing.T) {
	tell(t, remediate.Config{}, nil, func(s *story) {
		s.kernel.Limit(500)
		var list []decisions.Decision
		for i := range 1000 {
			origin := "CAPI"
			if i < 50 {
				origin = "crowdsec"
			}
			list = append(list, decision(int64(i), origin, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(), time.Hour))
		}
		_, _ = s.r.Apply(s.Context(), decisions.Delta{New: list})
		s.sleep(10 * time.Second)
		st := s.r.Stats()
		if !st.Healthy || st.Applied < 300 || st.Applied > 500 || st.Unenforced["no room in the packet filter"] != 1000-st.Applied {
			s.Errorf("%+v", st)
		}
		local := 0
		for _, e := range s.kernel.Entries() {
			if e.Origin == "crowdsec" {
				local++
			}
		}
		if local != 50 {
			s.Errorf("%d of 50 local bans are in force", local)
		}
	})
}

func TestRareLengthsAreFolded(t *testing.T) {
	tell(t, remediate.Config{MaxLengths: 2}, nil, func(s *story) {
		s.add(decision(1, "crowdsec", "10.0.0.1", time.Hour), decision(2, "CAPI", "10.1.0.0/24", time.Hour))
		s.add(decision(3, "CAPI", "10.2.0.0/22", time.Hour))
		s.blocks("10.0.0.1/32 crowdsec", "10.1.0.0/24 CAPI", "10.2.0.0/24 CAPI", "10.2.1.0/24 CAPI", "10.2.2.0/24 CAPI", "10.2.3.0/24 CAPI")
		s.add(decision(4, "cscli", "10.2.1.0/24", 2*time.Hour))
		s.lift(3)
		s.blocks("10.0.0.1/32 crowdsec", "10.1.0.0/24 CAPI", "10.2.1.0/24 cscli")
		s.add(decision(5, "cscli", "10.0.0.0/8", time.Hour)) // 65,536 prefixes would be too many
		s.blocks("10.0.0.1/32 crowdsec", "10.1.0.0/24 CAPI", "10.2.1.0/24 cscli", "10.0.0.0/8 cscli")
		s.add(decision(6, "cscli", "255.255.254.0/23", time.Hour))
		s.lift(1, 2, 4, 5)
		s.blocks("255.255.254.0/24 cscli", "255.255.255.0/24 cscli")
	})
}

func TestShrinkGuard(t *testing.T) {
	many := func(n int) (list []decisions.Decision) {
		for i := range n {
			list = append(list, decision(int64(i), "CAPI", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(), time.Hour))
		}
		return list
	}
	f := func(name string, had, next int, suspect bool) {
		t.Run(name, func(t *testing.T) {
			tell(t, remediate.Config{}, nil, func(s *story) {
				s.full(many(had)...)
				fresh := decision(1<<20, "crowdsec", "192.0.2.1", time.Hour)
				for i, doubt := range []bool{suspect, false} {
					diff := s.full(append(many(next), fresh)...)
					want := next + 1
					if doubt {
						want = had + 1
					}
					if got := len(s.kernel.Entries()); diff.Suspect != doubt || got != want {
						s.Errorf("list %d: suspect %v, %d blocked; want %v, %d", i, diff.Suspect, got, doubt, want)
					}
				}
			})
		})
	}
	f("few", 900, 0, false)
	f("less than half", 3000, 1600, false)
	f("more than half", 3000, 1400, true)
	f("all", 3000, 0, true)
	t.Run("deltas go on", func(t *testing.T) {
		tell(t, remediate.Config{}, nil, func(s *story) {
			s.full(many(3000)...)
			if !s.full().Suspect {
				s.Error("an empty list was believed")
			}
			s.lift(7)
			if n := len(s.kernel.Entries()); n != 2999 {
				s.Errorf("%d are blocked", n)
			}
		})
	})
}

func TestApplied(t *testing.T) {
	var got []string
	cfg := remediate.Config{Applied: func(changes []remediate.Change, at time.Time) {
		for _, c := range changes {
			got = append(got, fmt.Sprintf("%d %v %s %v", c.Op, c.Prefix, c.Scenario, at.Sub(c.Created)))
		}
	}}
	tell(t, cfg, nil, func(s *story) {
		d := decision(1, "crowdsec", "1.2.3.4", time.Hour)
		s.sleep(250 * time.Millisecond)
		s.add(d)
		if want := []string{"0 1.2.3.4/32 tor-exit 250ms"}; !slices.Equal(got, want) {
			s.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDryRunPrints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		r := remediate.New(remediate.Config{Kernel: remediate.NewDryRun(&out, nil)})
		if _, err := r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		many := []decisions.Decision{decision(1, "CAPI", "1.2.3.4", time.Hour)}
		for _, d := range []decisions.Delta{
			{Full: true, New: many},
			{New: []decisions.Decision{decision(2, "crowdsec", "2001:db8::/32", 4*time.Hour)}, Deleted: many},
			{New: []decisions.Decision{decision(2, "crowdsec", "2001:db8::/32", 8*time.Hour)}},
		} {
			if _, err := r.Apply(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		const want = `would block 1.2.3.4/32 for 1h0m0s (CAPI)
would load 1 entries
would unblock 1.2.3.4/32 for 1h0m0s (CAPI)
would block 2001:db8::/32 for 4h0m0s (crowdsec)
would change 2001:db8::/32 for 8h0m0s (crowdsec)
`
		if out.String() != want {
			t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
		}
	})
}

// TestAgainstSlow does random things to a reconciler and to a list of
// decisions that is searched from end to end.
func TestAgainstSlow(t *testing.T) {
	f := func(seed uint64, lengths int, strict bool) {
		t.Run(fmt.Sprint(seed, " ", lengths), func(t *testing.T) {
			tell(t, remediate.Config{MaxLengths: lengths}, nil, func(s *story) {
				if strict {
					s.kernel.Strict()
				}
				rnd := rand.New(rand.NewPCG(seed, 1))
				slow := map[int64]decisions.Decision{}
				origins := []string{"CAPI", "crowdsec", "cscli", "lists"}
				some := func() decisions.Decision {
					bits := 24 + rnd.IntN(9)
					p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(rnd.IntN(2)), byte(rnd.IntN(256))}), bits).Masked()
					d := decision(rnd.Int64N(200), origins[rnd.IntN(4)], p.String(), time.Duration(1+rnd.IntN(600))*time.Second)
					if rnd.IntN(10) == 0 {
						d.Type = "captcha"
					}
					return d
				}
				for range 150 {
					var delta decisions.Delta
					switch rnd.IntN(12) {
					case 0:
						s.sleep(time.Duration(rnd.IntN(100)) * time.Second)
					case 1:
						s.kernel.Fail(remediatetest.ErrBusy)
					case 2:
						s.kernel.Flush()
					case 3:
						delta.Full = true
						clear(slow)
						fallthrough
					default:
						for range rnd.IntN(20) {
							d := some()
							slow[d.ID] = d
							delta.New = slices.DeleteFunc(delta.New, func(o decisions.Decision) bool { return o.ID == d.ID })
							delta.New = append(delta.New, d)
						}
						if !delta.Full {
							for range rnd.IntN(10) {
								id := rnd.Int64N(200)
								if slices.ContainsFunc(delta.New, func(o decisions.Decision) bool { return o.ID == id }) {
									continue
								}
								delta.Deleted = append(delta.Deleted, decisions.Decision{ID: id})
								delete(slow, id)
							}
						}
						deltas := []decisions.Delta{delta}
						if n := len(delta.New); delta.Full && rnd.IntN(3) > 0 { // in parts, perhaps after an attempt that was not finished
							deltas = nil
							if rnd.IntN(2) == 0 {
								deltas = append(deltas, decisions.Delta{Full: true, More: true, New: delta.New[:n/3]})
							}
							deltas = append(deltas, decisions.Delta{Full: true, More: true, New: delta.New[:n/2]}, decisions.Delta{Full: true, Part: 1, New: delta.New[n/2:]})
						}
						for _, delta := range deltas {
							if _, err := s.r.Apply(s.Context(), delta); err != nil && !errors.Is(err, remediatetest.ErrBusy) {
								t.Fatal(err)
							}
						}
					}
					s.sleep(2 * time.Second) // ends are a tick late, repairs too
					compare(s, slow, lengths > 0)
					if t.Failed() {
						return
					}
				}
			})
		})
	}
	for seed := range uint64(4) {
		f(seed, 0, seed%2 == 0)
		f(seed, 3, false)
	}
}

// compare checks that the kernel blocks what the decisions say.
func compare(s *story, slow map[int64]decisions.Decision, folded bool) {
	s.Helper()
	now := time.Now()
	want := map[netip.Prefix]decisions.Decision{}
	edge := map[netip.Prefix]bool{} // ended within the last tick, or just about to
	for _, d := range slow {
		p, _ := d.Prefix()
		left := d.Until.Sub(now)
		if d.Type != "ban" || left < -2*time.Second {
			continue
		}
		if left <= 0 {
			edge[p] = true
			continue
		}
		if o, ok := want[p]; !ok || d.Until.After(o.Until) {
			want[p] = d
		}
	}
	got := s.kernel.Entries()
	if folded {
		for a := range 512 {
			addr := netip.AddrFrom4([4]byte{10, 0, byte(a >> 8), byte(a)})
			blocked, maybe := false, false
			for p := range want {
				blocked = blocked || p.Contains(addr)
			}
			for p := range edge {
				maybe = maybe || p.Contains(addr)
			}
			if is := s.kernel.Blocked(addr); is != blocked && !maybe {
				s.Errorf("%v is blocked: %v, want %v", addr, is, blocked)
			}
		}
		return
	}
	for p, d := range want {
		e, ok := got[p]
		if !ok {
			s.Errorf("%v is not blocked for %v", p, d.Until.Sub(now))
		} else if diff := e.Until.Sub(d.Until).Abs(); diff > 30*time.Second {
			s.Errorf("%v is blocked for %v, want %v", p, e.Until.Sub(now), d.Until.Sub(now))
		}
	}
	for p, e := range got {
		if _, ok := want[p]; !ok && !edge[p] {
			s.Errorf("%v is blocked for %v, for nothing", p, e.Until.Sub(now))
		}
	}
}
