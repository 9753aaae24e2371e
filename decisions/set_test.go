package decisions

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// slowSet is the obvious twin of Set.
type slowSet struct{ list []Decision }

func (s *slowSet) upsert(d Decision) {
	s.delete(d.ID)
	s.list = append(s.list, d)
}

func (s *slowSet) delete(id int64) {
	s.list = slices.DeleteFunc(s.list, func(d Decision) bool { return d.ID == id })
}

func (s *slowSet) get(id int64) (Decision, bool) {
	i := slices.IndexFunc(s.list, func(d Decision) bool { return d.ID == id })
	if i < 0 {
		return Decision{}, false
	}
	return s.list[i], true
}

func (s *slowSet) ids(match func(*Decision) bool) (ids []int64) {
	for i := range s.list {
		if match(&s.list[i]) {
			ids = append(ids, s.list[i].ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func collect(visit func(func(*Decision) bool)) (ids []int64) {
	visit(func(d *Decision) bool { ids = append(ids, d.ID); return true })
	slices.Sort(ids)
	return ids
}

// TestSetAgainstSlow runs random operations on both and compares every answer.
func TestSetAgainstSlow(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fast, slow := NewSet(0), &slowSet{}
		start := time.Unix(1_700_000_000, 0).UTC()
		now := start
		prefix := func() netip.Prefix {
			if rng.IntN(4) == 0 {
				a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(rng.IntN(8))})
				p, _ := a.Prefix([]int{32, 64, 126, 128}[rng.IntN(4)])
				return p
			}
			p, _ := netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(2)), byte(rng.IntN(16))}).Prefix([]int{8, 24, 30, 32, 32}[rng.IntN(5)])
			return p
		}
		for step := range 2000 {
			switch op := rng.IntN(10); {
			case op < 5:
				d := Decision{
					ID: int64(rng.IntN(60)), AlertID: int64(rng.IntN(5)), Type: []string{"ban", "captcha"}[rng.IntN(2)],
					Origin: OriginCrowdsec, Scenario: fmt.Sprint("s", rng.IntN(3)), Simulated: rng.IntN(9) == 0,
					Until: now.Add(time.Duration(rng.IntN(600)) * time.Second),
					UUID:  []string{"", NewUUID(), strings.ToUpper(NewUUID()), "no UUID"}[rng.IntN(4)],
				}
				if rng.IntN(2) == 0 {
					d.Created = now.UTC()
				}
				if rng.IntN(5) == 0 {
					d.Scope, d.Value = ScopeCountry, []string{"FR", "DE", ""}[rng.IntN(3)]
				} else {
					p := prefix()
					d.Scope, d.Value = ScopeRange, p.String()
					switch a := p.Addr(); { // other spellings of the same
					case p.IsSingleIP() && rng.IntN(2) == 0:
						d.Scope, d.Value = ScopeIP, a.String()
					case rng.IntN(4) == 0:
						d.Value = strings.ToUpper(d.Value)
					case rng.IntN(4) == 0 && a.Is4():
						d.Value = fmt.Sprintf("::ffff:%v/%d", a, p.Bits()+96)
					}
				}
				fast.Upsert(d)
				slow.upsert(d)
			case op < 7:
				id := int64(rng.IntN(60))
				want, known := slow.get(id)
				if got, ok := fast.Get(id); got != want || ok != known || fast.Has(id) != known {
					t.Fatalf("seed %d step %d: Get(%d) = %+v, %v; want %+v, %v", seed, step, id, got, ok, want, known)
				}
				slow.delete(id)
				if got, ok := fast.Delete(id); got != want || ok != known {
					t.Fatalf("seed %d step %d: Delete(%d) = %+v, %v; want %+v, %v", seed, step, id, got, ok, want, known)
				}
			case op < 8:
				now = now.Add(time.Duration(rng.IntN(120)) * time.Second)
				var gone []Decision
				fast.Expire(now, func(d Decision) { gone = append(gone, d) })
				if !slices.IsSortedFunc(gone, func(a, b Decision) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.ID, b.ID)) }) {
					t.Fatalf("seed %d step %d: expired out of order", seed, step)
				}
				want := slow.ids(func(d *Decision) bool { return !d.Active(now) })
				if len(want) != len(gone) {
					t.Fatalf("seed %d step %d: %d expired, want %d", seed, step, len(gone), len(want))
				}
				for _, id := range want {
					slow.delete(id)
				}
			default:
				p := prefix()
				equal := func(what string, got, want []int64) {
					t.Helper()
					if !slices.Equal(got, want) {
						t.Fatalf("seed %d step %d: %s of %v: %v, want %v", seed, step, what, p, got, want)
					}
				}
				of := func(d *Decision) netip.Prefix { q, _ := d.Prefix(); return q }
				contains := func(a, b netip.Prefix) bool {
					return a.IsValid() && a.Bits() <= b.Bits() && a.Contains(b.Addr())
				}
				equal("covering", collect(func(f func(*Decision) bool) { fast.Covering(p, f) }),
					slow.ids(func(d *Decision) bool { return contains(of(d), p) }))
				equal("covered", collect(func(f func(*Decision) bool) { fast.Covered(p, f) }),
					slow.ids(func(d *Decision) bool { q := of(d); return q.IsValid() && contains(p, q) }))
				equal("holders", collect(func(f func(*Decision) bool) { fast.Holders(p, f) }),
					slow.ids(func(d *Decision) bool { return of(d) == p }))
				equal("country", collect(func(f func(*Decision) bool) { fast.Named(ScopeCountry, "FR", f) }),
					slow.ids(func(d *Decision) bool { return d.Scope == ScopeCountry && d.Value == "FR" }))
				like := Decision{Scope: ScopeIP, Value: p.Addr().String(), Type: "ban"}
				equal("about", collect(func(f func(*Decision) bool) { fast.About(&like, now, f) }), slow.ids(func(d *Decision) bool {
					return d.Scope == like.Scope && d.Value == like.Value && d.Type == like.Type && d.Until.After(now)
				}))
				owned := fast.OfAlerts(map[int64]bool{1: true, 3: true})
				slices.Sort(owned)
				equal("of alerts", owned, slow.ids(func(d *Decision) bool { return d.AlertID == 1 || d.AlertID == 3 }))
				var tally Tally
				for _, d := range slow.list {
					if d.Type == "ban" {
						tally.Add(d.ID)
					}
				}
				if got := fast.Tally(func(k *Kind) bool { return k.Type == "ban" }); got != tally {
					t.Fatalf("seed %d step %d: tally %v, want %v", seed, step, got, tally)
				}
				equal("all", collect(fast.All), slow.ids(func(*Decision) bool { return true }))
			}
			if fast.Len() != len(slow.list) {
				t.Fatalf("seed %d step %d: Len %d, want %d", seed, step, fast.Len(), len(slow.list))
			}
		}
	}
}

func TestSetLimit(t *testing.T) {
	s := NewSet(2)
	at := time.Unix(1000, 0)
	add := func(id int64, value string) bool {
		return s.Upsert(Decision{ID: id, Scope: ScopeIP, Value: value, Until: at})
	}
	if !add(1, "192.0.2.1") || !add(2, "192.0.2.2") || add(3, "192.0.2.3") {
		t.Fatal("the limit must hold two and refuse the third")
	}
	if !add(2, "192.0.2.9") {
		t.Fatal("replacing one at the limit must work")
	}
	if s.Refused() != 1 || s.Len() != 2 {
		t.Fatalf("refused %d, len %d", s.Refused(), s.Len())
	}
	if add(4, "not an address") || s.Refused() != 1 {
		t.Fatal("a value that is no address must be refused without counting")
	}
	if next, ok := s.NextExpiry(); !ok || !next.Equal(at) {
		t.Fatalf("next expiry %v %v", next, ok)
	}
}

func TestParsePrefix(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := ParsePrefix(in)
		if want == "" {
			if err == nil {
				t.Fatalf("%q: got %v, want an error", in, got)
			}
			return
		}
		if err != nil || got.String() != want {
			t.Fatalf("%q: got %v, %v; want %s", in, got, err, want)
		}
	}
	f("1.2.3.4", "1.2.3.4/32")
	f("1.2.3.4/24", "1.2.3.0/24")
	f("::ffff:1.2.3.4", "1.2.3.4/32")
	f("::ffff:1.2.3.4/120", "1.2.3.0/24")
	f("2001:db8::1/64", "2001:db8::/64")
	f("0.0.0.0/0", "0.0.0.0/0")
	f("::/0", "::/0")
	f("::ffff:0:0/95", "")
	f("fe80::1%eth0", "")
	f("1.2.3", "")
	f("1.2.3.4/33", "")
	f("", "")
}

// FuzzParsePrefix checks that what is accepted is masked, unmapped and reads
// back as itself.
func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "::ffff:1.2.3.4/97", "2001:db8::/32", "fe80::1%x", "1.2.3.4/-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrefix(s)
		if err != nil {
			return
		}
		if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("%q: %v is not in normal form", s, p)
		}
		if again, err := ParsePrefix(p.String()); err != nil || again != p {
			t.Fatalf("%q: %v reads back as %v, %v", s, p, again, err)
		}
	})
}

// many calls f with n decisions on different addresses, as an agent's.
func many(n int, now time.Time, f func(Decision)) {
	for i := range n {
		v := uint32(i+1) * 2654435761
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		f(Decision{
			ID: int64(i + 1), AlertID: int64(i + 1), UUID: NewUUID(), Scope: ScopeIP, Value: a.String(), Type: "ban", Origin: OriginCrowdsec,
			Scenario: fmt.Sprint("crowdsecurity/s", i%20), Created: now, Until: now.Add(time.Hour + time.Duration(v)*time.Microsecond),
		})
	}
}

// TestMemoryOfADecision holds a log of 100,000 decisions against its budget.
func TestMemoryOfADecision(t *testing.T) {
	const n, budget = 100_000, 128 // bytes each; measured 120 on 64 bits
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	l, now := NewLog(0), time.Unix(1_700_000_000, 0)
	before := heap()
	many(n, now, func(d Decision) { l.Add([]Decision{d}, now) })
	used := (heap() - before) / n
	t.Logf("%d bytes a decision", used)
	if used > budget {
		t.Fatalf("%d bytes a decision, the budget is %d", used, budget)
	}
	if got := l.set.Len(); got != n {
		t.Fatalf("%d decisions, want %d", got, n)
	}
}

func BenchmarkSetUpsert(b *testing.B) {
	s := NewSet(0)
	until := time.Unix(2_000_000_000, 0)
	for i := range b.N {
		v := uint32(i) * 2654435761
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		s.Upsert(Decision{ID: int64(i), Scope: ScopeIP, Value: a.String(), Until: until})
	}
}

func ExampleSet_Covering() {
	s := NewSet(0)
	until := time.Now().Add(time.Hour)
	s.Upsert(Decision{ID: 1, Scope: ScopeRange, Value: "203.0.113.0/24", Type: "ban", Until: until})
	s.Upsert(Decision{ID: 2, Scope: ScopeIP, Value: "203.0.113.7", Type: "captcha", Until: until})
	s.Covering(netip.MustParsePrefix("203.0.113.7/32"), func(d *Decision) bool {
		fmt.Println(d.Type, d.Value)
		return true
	})
	// Output:
	// captcha 203.0.113.7
	// ban 203.0.113.0/24
}
