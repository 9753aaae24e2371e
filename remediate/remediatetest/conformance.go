package remediatetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cs/remediate"
)

// Backend is a packet filter to be tested.
type Backend struct {
	// New returns the Kernel of a new process, not opened yet.
	New func() remediate.Kernel
	// In runs f where Open has to be called; nil calls it as it is.
	In func(f func())
	// Blocked tells whether a packet from an address is dropped. The suite uses
	// addresses in Net4 and Net6.
	Blocked func(netip.Addr) bool
	// Flush removes everything, as another program would; nil where that can't be done.
	Flush func()
	// Step is how much later than told an entry may end, where times are coarse.
	Step time.Duration
	// Lasting: entries don't end by themselves; the Reconciler removes them.
	Lasting bool
}

// Conformance runs the suite that every backend passes. start makes a packet
// filter with nothing in it.
func Conformance(t *testing.T, start func(t *testing.T) Backend) {
	run := func(name string, f func(s *suite)) {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, b: start(t)}
			if s.b.In == nil {
				s.b.In = func(f func()) { f() }
			}
			f(s)
		})
	}

	run("loads", func(s *suite) {
		k, live := s.open()
		if live {
			s.Error("live before anything was loaded")
		}
		s.load(k, s.e("203.0.113.4/32"), s.e("203.0.114.0/24"), s.e("2001:db8::5/128"), s.e("2001:db8:1::/48"))
		s.blocked("203.0.113.4", "203.0.114.0", "203.0.114.255", "2001:db8::5", "2001:db8:1:ff::1")
		s.passes("203.0.113.3", "203.0.113.5", "203.0.113.255", "203.0.115.0", "2001:db8::4", "2001:db8:2::")
		s.check(k, true)
	})

	run("loads nothing", func(s *suite) {
		k, _ := s.open()
		s.load(k)
		s.passes("203.0.113.4", "2001:db8::5")
		s.check(k, true)
	})

	run("every length", func(s *suite) {
		k, _ := s.open()
		s.load(k)
		together := func(region string, lengths ...int) {
			var adds, removes []remediate.Change
			at := netip.MustParsePrefix(region).Addr()
			for _, bits := range lengths {
				p := netip.PrefixFrom(after(at, bits, 1), bits) // with room behind it
				at = after(at, bits, 3)
				adds = append(adds, s.change(remediate.Add, p.String(), "CAPI", time.Hour))
				removes = append(removes, s.change(remediate.Remove, p.String(), "CAPI", time.Hour))
			}
			s.apply(k, adds...)
			for i := range adds {
				s.blocked(adds[i].Prefix.Addr().String(), last(adds[i].Prefix).String())
				s.passes(last(adds[i].Prefix).Next().String())
			}
			s.apply(k, removes...)
			for i := range adds {
				s.passes(adds[i].Prefix.Addr().String())
			}
		}
		// Each needs two bits more than the one before.
		together("202.128.0.0/9", 9)
		together("203.0.0.0/8", 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32)
		together("203.0.0.0/9", 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
		together("2001:db7:8000::/33", 33)
		together("2001:db8::/32", 34, 38, 43, 48, 53, 58, 64, 68, 73, 78, 83, 88, 93, 98, 103, 108, 113, 118, 123, 126, 128)
		s.check(k, true)
	})

	run("nested ranges", func(s *suite) {
		k, _ := s.open()
		s.load(k, s.e("203.0.0.0/16"), s.e("203.0.113.0/24"), s.e("203.0.113.4/32"))
		s.apply(k, s.change(remediate.Remove, "203.0.0.0/16", "crowdsec", time.Hour))
		s.blocked("203.0.113.4", "203.0.113.5")
		s.passes("203.0.112.1")
		s.apply(k, s.change(remediate.Remove, "203.0.113.0/24", "crowdsec", time.Hour))
		s.blocked("203.0.113.4")
		s.passes("203.0.113.5")
	})

	run("what is done is done", func(s *suite) {
		k, _ := s.open()
		s.load(k)
		add := s.change(remediate.Add, "203.0.113.4/32", "crowdsec", time.Hour)
		remove := s.change(remediate.Remove, "203.0.113.4/32", "crowdsec", time.Hour)
		other := s.change(remediate.Replace, "203.0.113.4/32", "CAPI", time.Hour)
		other.Was = "crowdsec"
		s.apply(k, add)
		s.apply(k, add)
		s.apply(k, other)
		s.apply(k, other)
		s.blocked("203.0.113.4")
		remove.Origin = "CAPI"
		s.apply(k, remove)
		s.passes("203.0.113.4")
		s.apply(k, remove)
		// Alone and among others.
		s.apply(k, remove, s.change(remediate.Add, "203.0.113.5/32", "crowdsec", time.Hour),
			s.change(remediate.Remove, "203.0.114.0/24", "crowdsec", time.Hour))
		s.blocked("203.0.113.5")
		s.apply(k, s.change(remediate.Replace, "203.0.113.4/32", "crowdsec", time.Hour),
			s.change(remediate.Replace, "203.0.113.5/32", "crowdsec", time.Hour))
		s.blocked("203.0.113.4", "203.0.113.5")
	})

	run("times", func(s *suite) {
		k, _ := s.open()
		short := 2500 * time.Millisecond // time for a loaded machine to ask before it is over
		s.load(k, s.e("203.0.113.1/32"), s.entry("203.0.113.2/32", "crowdsec", short))
		s.apply(k,
			s.change(remediate.Add, "203.0.113.3/32", "crowdsec", short),
			s.change(remediate.Add, "203.0.113.4/32", "crowdsec", short),
			s.change(remediate.Replace, "203.0.113.1/32", "crowdsec", short), // shortened
		)
		moved := s.change(remediate.Replace, "203.0.113.4/32", "cscli", time.Hour) // and of another origin
		moved.Was = "crowdsec"
		s.apply(k,
			s.change(remediate.Replace, "203.0.113.3/32", "crowdsec", 3650*24*time.Hour), // extended
			moved,
		)
		s.blocked("203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4")
		ended := []remediate.Change{s.change(remediate.Remove, "203.0.113.1/32", "crowdsec", 0), s.change(remediate.Remove, "203.0.113.2/32", "crowdsec", 0)}
		if s.b.Lasting {
			s.apply(k, ended...)
		} else {
			time.Sleep(short + s.b.Step + 50*time.Millisecond)
		}
		s.passes("203.0.113.1", "203.0.113.2")
		s.blocked("203.0.113.3", "203.0.113.4")
		// Removing what has ended by itself is fine.
		s.apply(k, ended...)
		s.apply(k, s.change(remediate.Add, "203.0.113.1/32", "crowdsec", time.Hour))
		s.blocked("203.0.113.1")
		s.check(k, true)
	})

	run("loads again", func(s *suite) {
		k, _ := s.open()
		s.load(k, s.e("203.0.113.1/32"), s.e("203.0.114.0/24"))
		for range 3 {
			s.load(k, s.e("203.0.113.2/32"), s.e("203.0.115.0/24"))
			s.blocked("203.0.113.2", "203.0.115.1")
			s.passes("203.0.113.1", "203.0.114.1")
			s.check(k, true)
		}
	})

	run("the next process", func(s *suite) {
		k, _ := s.open()
		s.load(k, s.e("203.0.113.1/32"))
		s.close(k, false)
		s.blocked("203.0.113.1")
		k, live := s.open()
		if !live {
			s.Error("what the first process left is not found")
		}
		s.blocked("203.0.113.1")
		s.load(k, s.e("203.0.113.2/32"))
		s.passes("203.0.113.1")
		s.blocked("203.0.113.2")
		s.apply(k, s.change(remediate.Add, "203.0.116.0/22", "CAPI", time.Hour))
		s.blocked("203.0.119.1")
		s.close(k, true)
		s.passes("203.0.113.1", "203.0.113.2", "203.0.119.1")
		if _, live := s.open(); live {
			s.Error("something was left")
		}
	})

	run("many", func(s *suite) {
		k, _ := s.open()
		s.load(k)
		var changes []remediate.Change
		for i := range 9000 {
			a := netip.AddrFrom4([4]byte{203, 1, byte(i >> 8), byte(i)})
			changes = append(changes, s.change(remediate.Add, netip.PrefixFrom(a, 32).String(), fmt.Sprintf("lists:%0100d", i%20), time.Hour))
		}
		s.apply(k, changes...)
		s.blocked("203.1.0.0", "203.1.35.39")
		s.passes("203.1.35.40")
		for i := range changes {
			changes[i].Op = remediate.Remove
		}
		s.apply(k, changes[1:]...)
		s.blocked("203.1.0.0")
		s.passes("203.1.0.1", "203.1.35.39")
	})

	run("stops when told", func(s *suite) {
		k, _ := s.open()
		s.load(k)
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		entries := func(yield func(remediate.Entry) bool) {
			for i := range 1 << 20 {
				if !yield(s.entry(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}), 32).String(), "CAPI", time.Hour)) {
					return
				}
			}
		}
		if err := k.Load(ctx, entries); err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("got %v", err)
		}
	})

	run("can be asked", func(s *suite) {
		k, _ := s.open()
		p, ok := k.(remediate.Probing)
		if !ok {
			s.Skip("it can't")
		}
		ask := func(want bool, prefixes ...string) {
			s.Helper()
			var list []remediate.Entry
			for _, text := range prefixes {
				list = append(list, s.e(text))
			}
			found, err := p.Probe(s.Context(), list)
			if err != nil {
				s.Fatal(err)
			}
			for i := range found {
				if found[i].Present != want {
					s.Errorf("%s in %s: %v, want %v", prefixes[i], found[i].Where, found[i].Present, want)
				}
			}
		}
		all := []string{"203.0.113.4/32", "203.0.114.0/24", "2001:db8::5/128", "2001:db8:1::/48"}
		s.load(k, s.e(all[0]), s.e(all[1]), s.e(all[2]), s.e(all[3]))
		ask(true, all...)
		ask(false, "203.0.113.5/32", "203.0.115.0/24", "2001:db8::6/128", "2001:db8:2::/48")
		s.apply(k, s.change(remediate.Remove, all[0], "crowdsec", time.Hour), s.change(remediate.Add, "203.0.113.9/32", "crowdsec", time.Hour))
		ask(true, "203.0.113.9/32", all[1])
		ask(false, all[0])
	})

	run("others remove it", func(s *suite) {
		if s.b.Flush == nil {
			s.Skip("nobody else can")
		}
		k, _ := s.open()
		s.load(k, s.e("203.0.113.1/32"))
		s.b.Flush()
		if k.Changed() != nil {
			select {
			case <-k.Changed():
			case <-time.After(time.Second):
				s.Error("the removal was not noticed within a second")
			}
		}
		s.check(k, false)
		if err := k.Apply(s.Context(), []remediate.Change{s.change(remediate.Add, "203.0.113.2/32", "crowdsec", time.Hour)}); err == nil {
			s.Error("a change of what is gone worked")
		}
		s.load(k, s.e("203.0.113.1/32"))
		s.blocked("203.0.113.1")
		s.check(k, true)
	})
}

// suite is one test of the suite.
type suite struct {
	*testing.T
	b Backend
}

func (s *suite) open() (remediate.Kernel, bool) {
	s.Helper()
	k := s.b.New()
	var live bool
	var err error
	s.b.In(func() { live, err = k.Open(s.Context()) })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { k.Close(context.Background(), false) })
	return k, live
}

func (s *suite) close(k remediate.Kernel, remove bool) {
	s.Helper()
	if err := k.Close(s.Context(), remove); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) load(k remediate.Kernel, list ...remediate.Entry) {
	s.Helper()
	if err := k.Load(s.Context(), slices.Values(list)); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) apply(k remediate.Kernel, changes ...remediate.Change) {
	s.Helper()
	if err := k.Apply(s.Context(), changes); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) check(k remediate.Kernel, want bool) {
	s.Helper()
	if ok, err := k.Check(s.Context()); err != nil || ok != want {
		s.Errorf("the structure is in order: %v, %v; want %v", ok, err, want)
	}
}

func (s *suite) blocked(addrs ...string) {
	s.Helper()
	for _, a := range addrs {
		if !s.b.Blocked(netip.MustParseAddr(a)) {
			s.Errorf("%s is not blocked", a)
		}
	}
}

func (s *suite) passes(addrs ...string) {
	s.Helper()
	for _, a := range addrs {
		if s.b.Blocked(netip.MustParseAddr(a)) {
			s.Errorf("%s is blocked", a)
		}
	}
}

func (s *suite) entry(prefix, origin string, left time.Duration) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: time.Now().Add(left)}
}

func (s *suite) e(prefix string) remediate.Entry { return s.entry(prefix, "crowdsec", time.Hour) }

func (s *suite) change(op remediate.Op, prefix, origin string, left time.Duration) remediate.Change {
	return remediate.Change{Op: op, Entry: s.entry(prefix, origin, left)}
}

// after returns the address that is n prefixes of a length behind a.
func after(a netip.Addr, bits, n int) netip.Addr {
	b := a.AsSlice()
	for i, carry := bits-1, n; i >= 0 && carry > 0; i, carry = i-1, carry>>1 {
		mask := byte(0x80 >> (i % 8))
		if carry&1 == 0 {
			continue
		}
		if b[i/8]&mask != 0 {
			carry += 2
		}
		b[i/8] ^= mask
	}
	a, _ = netip.AddrFromSlice(b)
	return a
}

// last returns the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
