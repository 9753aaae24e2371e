package nft

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/remediate"
	"cs/remediate/remediatetest"
)

var modelSteps = flag.Int("model-steps", 10_000, "steps of the model test")

// model is the desired state, kept in the dullest way.
type model struct {
	list map[int64]decisions.Decision
	now  time.Time
}

// winner returns the decision that p is blocked for: the last to end, and of
// two that end at once that of the more important origin.
func (m *model) winner(p netip.Prefix) (w decisions.Decision, ok bool) {
	class := map[string]int{"cscli": 0, "crowdsec": 1, "lists": 2, "CAPI": 3}
	for _, d := range m.list {
		dp, _ := d.Prefix()
		if dp != p || !d.Active(m.now) {
			continue
		}
		if !ok || d.Until.After(w.Until) || d.Until.Equal(w.Until) && class[d.Origin] < class[w.Origin] {
			w, ok = d, true
		}
	}
	return w, ok
}

// covered tells whether any decision is about an address.
func (m *model) covered(a netip.Addr) bool {
	for _, d := range m.list {
		if p, _ := d.Prefix(); p.Contains(a) && d.Active(m.now) {
			return true
		}
	}
	return false
}

func (m *model) all() (out []decisions.Decision) {
	for _, d := range m.list {
		if d.Active(m.now) {
			out = append(out, d)
		}
	}
	return out
}

// TestKernelIsTheModel plays random stories: bans are added, extended, shortened
// and lifted, end by themselves; strangers flush the ruleset, delete tables and
// elements; processes are killed, LAPIs restart. After them the kernel, asked
// for each element, holds what the model says, and nothing else.
func TestKernelIsTheModel(t *testing.T) {
	steps := *modelSteps
	if testing.Short() {
		steps = min(steps, 1200)
	}
	own := setOnlyConfig()
	f := func(name string, share int, cfg Config, vandals ...[]string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &story{T: t, lab: remediatetest.Netns(t), cfg: cfg, r: rand.New(rand.NewPCG(7, uint64(share))), vandals: vandals}
			s.play(steps * share / 100)
		})
	}
	f("map, owner", 30, Config{}, []string{"flush", "ruleset"})
	f("map, plain", 30, Config{Plain: true}, []string{"flush", "ruleset"}, []string{"delete", "table", "inet", "crowdsec"},
		[]string{"flush", "map", "inet", "crowdsec", "v4_32"}, []string{"flush", "chain", "inet", "crowdsec", "ipv4"})
	f("map before Linux 6.3", 10, Config{Plain: true, noDestroy: true}, []string{"flush", "ruleset"})
	f("sets, plain", 20, Config{Plain: true, Layout: LayoutSets}, []string{"flush", "ruleset"}, []string{"delete", "table", "ip6", "crowdsec6"})
	f("set-only", 10, own, []string{"flush", "set", "ip", "own", "crowdsec-blacklists"})
}

// story is one run of the model test.
type story struct {
	*testing.T
	lab     *remediatetest.Namespace
	cfg     Config
	r       *rand.Rand
	vandals [][]string
	m       model
	next    int64
	k       remediate.Kernel
	rec     *remediate.Reconciler
}

func (s *story) clock() time.Time { return s.m.now }

// universe are the prefixes of the story, some inside others.
func (s *story) universe() (out []netip.Prefix) {
	for i := range 40 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i * 3)}), 32))
	}
	for i := range 6 {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(110 + i), 0}), 24))
		out = append(out, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/48", i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:1::%d/128", i)))
	}
	return append(out, netip.MustParsePrefix("203.0.0.0/16"), netip.MustParsePrefix("2001:db8::/32"))
}

func (s *story) decision(p netip.Prefix) decisions.Decision {
	origins := []string{"cscli", "crowdsec", "CAPI", "lists"}
	s.next++
	d := decisions.Decision{
		ID: s.next, Type: "ban", Scope: decisions.ScopeRange, Value: p.String(), Origin: origins[s.r.IntN(len(origins))], Scenario: "tor",
		Until: s.m.now.Add(time.Duration(20+s.r.IntN(4000)) * time.Minute),
	}
	if p.IsSingleIP() {
		d.Scope, d.Value = decisions.ScopeIP, p.Addr().String()
		if p.Addr().Is4() && s.r.IntN(4) == 0 {
			d.Value = "::ffff:" + d.Value
		}
	}
	return d
}

func (s *story) open() {
	s.Helper()
	k, err := New(s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.k = k
	s.rec = remediate.New(remediate.Config{Kernel: k, Now: s.clock, TrustFull: true})
	s.lab.Do(func() { _, err = s.rec.Open(s.Context()) })
	if err != nil {
		s.Fatal(err)
	}
}

// applyParts tells a whole set in three parts.
func (s *story) applyParts(list []decisions.Decision) {
	for part := range 3 {
		n := len(list) / (3 - part)
		s.apply(decisions.Delta{Full: true, Part: part, More: part < 2, New: list[:n]})
		list = list[n:]
	}
}

func (s *story) apply(d decisions.Delta) {
	s.Helper()
	if _, err := s.rec.Apply(s.Context(), d); err != nil {
		s.Logf("apply: %v", err) // after vandals; the next tick repairs
	}
}

func (s *story) play(steps int) {
	// The kernel's own timeouts stay out of it: the story's clock runs ahead.
	s.m = model{list: map[int64]decisions.Decision{}, now: time.Now()}
	if s.cfg.IPv4.SetOnly {
		ruleset(s.T, s.lab, operators("interval,timeout"))
	}
	universe := s.universe()
	s.open()
	s.apply(decisions.Delta{Full: true})
	for step := range steps {
		p := universe[s.r.IntN(len(universe))]
		dirty := false
		switch n := s.r.IntN(1000); {
		case n < 450: // ban
			d := s.decision(p)
			s.m.list[d.ID] = d
			s.apply(decisions.Delta{New: []decisions.Decision{d}})
		case n < 600: // extend or shorten one
			if d, ok := s.any(); ok {
				d.Until = s.m.now.Add(time.Duration(20+s.r.IntN(4000)) * time.Minute)
				s.m.list[d.ID] = d
				s.apply(decisions.Delta{New: []decisions.Decision{d}})
			}
		case n < 850: // lift one
			if d, ok := s.any(); ok {
				delete(s.m.list, d.ID)
				s.apply(decisions.Delta{Deleted: []decisions.Decision{d}})
			}
		case n < 950: // some end
			s.m.now = s.m.now.Add(time.Duration(s.r.IntN(60)) * time.Minute)
			s.rec.Tick(s.Context())
		case n < 960: // a LAPI restarts, or a resync
			s.applyParts(s.m.all())
		case n < 985: // a neighbour reloads the firewall
			args := s.vandals[s.r.IntN(len(s.vandals))]
			if _, err := s.lab.Try("nft", args...); err == nil {
				s.repaired()
				dirty = true
			}
		default: // SIGKILL: sockets close, nothing is taken back
			path := filepath.Join(s.TempDir(), "saved")
			err := platform.ReplaceFile(path, 0o600, func(w io.Writer) error {
				saved := decisions.NewSavedWriter(w)
				return errors.Join(s.rec.Save(saved), saved.Close())
			})
			if err != nil {
				s.Fatal(err)
			}
			var saved []decisions.Decision
			if err := decisions.Load(path, s.m.now, func(part []decisions.Decision) error {
				saved = append(saved, part...)
				return nil
			}); err != nil {
				s.Fatal(err)
			}
			if err := s.k.Close(s.Context(), false); err != nil {
				s.Fatal(err)
			}
			s.open()
			s.apply(decisions.Delta{Full: true, New: saved})
			s.applyParts(s.m.all())
			dirty = true
		}
		if dirty || step%50 == 0 || step == steps-1 {
			if s.compare(universe); s.Failed() {
				s.Fatalf("at step %d", step)
			}
		}
	}
	if err := s.rec.Close(context.Background(), true); err != nil {
		s.Error(err)
	}
}

// any returns one of the decisions in force.
func (s *story) any() (decisions.Decision, bool) {
	for _, d := range s.m.list { // in an order that differs each time
		if d.Active(s.m.now) {
			return d, true
		}
		delete(s.m.list, d.ID)
	}
	return decisions.Decision{}, false
}

// repaired lets the reconciler notice what was done to its structure, for which
// it has a second.
func (s *story) repaired() {
	s.Helper()
	before := s.rec.Stats().Repairs
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		s.rec.Tick(s.Context())
		if st := s.rec.Stats(); st.Healthy && (st.Repairs > before || s.owned()) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not repaired: %+v", s.rec.Stats())
		}
	}
}

// owned tells whether the kernel keeps vandals away from our table.
func (s *story) owned() bool { return !s.cfg.Plain && !s.cfg.IPv4.SetOnly }

// compare asks the kernel for every prefix under every origin.
func (s *story) compare(universe []netip.Prefix) {
	s.Helper()
	s.rec.Tick(s.Context())
	keys := []string{"cscli", "crowdsec", "CAPI", "lists:tor"}
	for _, p := range universe {
		w, wanted := s.m.winner(p)
		for _, key := range keys {
			found, err := s.k.(remediate.Probing).Probe(s.Context(), []remediate.Entry{{Prefix: p, Origin: key}})
			if err != nil {
				s.Fatal(err)
			}
			mine := w.Origin
			if mine == "lists" {
				mine = "lists:tor"
			}
			want := wanted && mine == key
			if s.cfg.IPv4.SetOnly { // one set, whoever asked for it
				want = s.m.covered(p.Addr())
			}
			if found[0].Present != want {
				s.Errorf("%s for %s is in the kernel: %v, want %v (%+v)", p, key, found[0].Present, want, w)
			}
		}
	}
}
