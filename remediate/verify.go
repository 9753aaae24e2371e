package remediate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"cs/decisions"
)

const (
	// verifyPart is how many entries are asked for before others get their turn:
	// a ban must not wait for a proof.
	verifyPart = 64
	// timeSlack is how far the time left of an entry in the kernel may be from what
	// it was given; clocks tick at different rates.
	timeSlack = 2 * time.Second
)

// Verdict is what Verify found.
type Verdict struct {
	Asked       int          `json:"asked"`        // entries that should be there
	AskedAbsent int          `json:"asked_absent"` // neighbours of them, which should not
	Structure   bool         `json:"structure"`    // rules and sets are as we made them
	Vouched     bool         `json:"vouched"`      // the packet filter itself says that all is in place, and can't be asked for entries
	Differences []Difference `json:"differences"`
}

// Difference is an entry of which the kernel says something else than it should.
type Difference struct {
	Prefix netip.Prefix `json:"prefix"`
	Origin string       `json:"origin"`
	Where  string       `json:"where,omitempty"`
	What   string       `json:"what"`
}

// Verify asks the kernel for up to n entries, some of them at random if there
// are more, and for as many neighbours that nothing should be about. The error is
// errors.ErrUnsupported if it can't be asked at all.
func (r *Reconciler) Verify(ctx context.Context, n int) (Verdict, error) {
	v := Verdict{Differences: []Difference{}}
	r.mu.Lock()
	if !r.loaded {
		r.mu.Unlock()
		return v, errors.New("cannot verify: nothing was loaded yet")
	}
	k, ok := r.kernel.(Probing)
	if !ok {
		defer r.mu.Unlock()
		return r.vouch(ctx)
	}
	list := r.sample(n)
	v.Structure = !r.broken
	if v.Structure {
		fine, err := r.kernel.Check(ctx)
		v.Structure = fine && err == nil
	}
	r.mu.Unlock()

	for len(list) > 0 {
		part := list[:min(verifyPart, len(list))]
		list = list[len(part):]
		if err := r.verify(ctx, k, part, &v); err != nil {
			return v, err
		}
	}
	return v, nil
}

// vouch asks a kernel that can't be asked for entries.
func (r *Reconciler) vouch(ctx context.Context) (v Verdict, err error) {
	v.Differences = []Difference{}
	known := false
	if k, ok := r.kernel.(Vouching); ok {
		if v.Structure, known, err = k.Vouch(ctx); err != nil {
			return v, fmt.Errorf("cannot verify: %w", err)
		}
	}
	if !known {
		return v, fmt.Errorf("cannot verify: %s can't tell what it blocks: %w", r.kernel.Name(), errors.ErrUnsupported)
	}
	v.Vouched = v.Structure
	v.Structure = v.Structure && !r.broken
	return v, nil
}

// sample returns up to n prefixes that the kernel was given, at random if there
// are more.
func (r *Reconciler) sample(n int) (list []netip.Prefix) {
	seen := 0
	for p, first := range r.bans.eachItem() { // reservoir sampling (Vitter 1985, algorithm R)
		it, _ := r.bans.item(p, first)
		if it.applied == 0 {
			continue
		}
		seen++
		if len(list) < n {
			list = append(list, p)
		} else if i := rand.IntN(seen); i < n {
			list[i] = p
		}
	}
	return list
}

// audit asks now and then for some entries, in turn: what somebody took away where
// no guard looks is noticed within a day.
func (r *Reconciler) audit(ctx context.Context) {
	k, ok := r.kernel.(Audited)
	if !ok || r.broken || !r.loaded || r.at() < r.auditAt {
		return
	}
	r.auditAt = r.at() + auditEvery
	var list []netip.Prefix
	i := r.audited
	for range r.bans.used {
		if i++; i > r.bans.used {
			i = 1
		}
		if d := r.bans.at(i); d.applied != 0 && d.flags&banItem != 0 {
			list = append(list, r.bans.prefix(d))
		}
		if len(list) == min(max(r.applied/auditShare, minAudit), maxAudit) {
			break
		}
	}
	r.audited = i
	var v Verdict
	switch err := r.ask(ctx, k, list, &v); {
	case err != nil:
		r.fail("check failed")
		r.trouble = err.Error()
	case len(v.Differences) > 0:
		// A kernel in which they never are must not have us load each minute.
		r.auditPause = min(4*max(r.auditPause, auditEvery), maxPause)
		r.repair("entries are not as they were given")
	default:
		r.auditPause = 0
	}
}

// verify is ask for when nobody else is looking.
func (r *Reconciler) verify(ctx context.Context, k Probing, list []netip.Prefix, v *Verdict) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ask(ctx, k, list, v)
}

// ask asks for a few entries, as they are wanted by now.
func (r *Reconciler) ask(ctx context.Context, k Probing, list []netip.Prefix, v *Verdict) error {
	now := r.at()
	var ask []Entry
	var ends []time.Duration // 0: it should be absent
	for _, p := range list {
		it, ok := r.bans.item(p, r.bans.first(p))
		if !ok || it.applied.after() <= now+timeSlack {
			continue // it has gone since, or may go any moment
		}
		if slices.ContainsFunc(r.ignored, func(i netip.Prefix) bool { return i.Bits() <= p.Bits() && i.Contains(p.Addr()) }) {
			continue // never blocked, whether it is there or not
		}
		origin := r.origins.keys[it.given]
		ask, ends = append(ask, Entry{Prefix: p, Origin: origin}), append(ends, it.applied.after())
		next := nextPrefix(p)
		neighbour := netip.PrefixFrom(next, p.Bits())
		if next.IsValid() && !r.covers(neighbour) {
			ask, ends = append(ask, Entry{Prefix: neighbour, Origin: origin}), append(ends, 0)
		}
	}
	found, err := k.Probe(ctx, ask)
	if err != nil {
		return fmt.Errorf("cannot verify: %w", err)
	}
	for i, f := range found {
		what := ""
		if ends[i] == 0 {
			v.AskedAbsent++
			if f.Present {
				what = "it is blocked, and nothing says that it should be"
			}
		} else {
			v.Asked++
			left := ends[i] - now
			switch diff := max(f.Left-left, left-f.Left); {
			case !f.Present && !leavesOut(k, ask[i].Prefix):
				what = "it is not blocked"
			case f.Present && f.Left != 0 && diff > timeSlack+left/slackShare:
				what = fmt.Sprintf("it ends in %v instead of %v", f.Left.Round(time.Second), left.Round(time.Second))
			}
		}
		if what != "" {
			v.Differences = append(v.Differences, Difference{ask[i].Prefix, ask[i].Origin, f.Where, what})
		}
	}
	return nil
}

// leavesOut tells whether the kernel can't hold an entry, and says so.
func leavesOut(k any, p netip.Prefix) bool {
	l, ok := k.(Limited)
	return ok && l.LeavesOut(p)
}

func (r *Reconciler) wants(p netip.Prefix) bool {
	_, ok := r.bans.item(p, r.bans.first(p))
	return ok
}

// covers tells whether a prefix of the mirror has the first address of p: some kernels are
// asked for that.
func (r *Reconciler) covers(p netip.Prefix) bool {
	for bits := p.Addr().BitLen(); bits >= 0; bits-- {
		if r.wants(netip.PrefixFrom(p.Addr(), bits).Masked()) {
			return true
		}
	}
	return false
}

// Explanation is why packets from an address pass or don't.
type Explanation struct {
	Address   netip.Addr           `json:"address"`
	Blocked   bool                 `json:"blocked"`            // the kernel has an element that drops its packets
	Ignored   []netip.Prefix       `json:"ignored,omitempty"`  // what lets it pass before elements are looked at
	Decisions []decisions.Decision `json:"-"`                  // those that cover it, the longest prefixes first
	Elements  []Element            `json:"elements,omitempty"` // what should drop its packets
}

// Element is one entry of the kernel, and what it says about it.
type Element struct {
	Prefix     netip.Prefix `json:"prefix"`
	Origin     string       `json:"origin"`
	Where      string       `json:"where,omitempty"`
	Present    bool         `json:"present"`
	Left       float64      `json:"left_seconds"`         // as the kernel says
	Unenforced string       `json:"unenforced,omitempty"` // why it was not given to the kernel
}

// Explain tells what is known about an address, and asks the kernel for each
// entry that covers it.
func (r *Reconciler) Explain(ctx context.Context, a netip.Addr) (Explanation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := Explanation{Address: a}
	for _, p := range r.ignored {
		if p.Contains(a) {
			e.Ignored = append(e.Ignored, p)
		}
	}
	k, probing := r.kernel.(Probing)
	for bits := a.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(a, bits).Masked()
		first := r.bans.first(p)
		for i := first; i != 0; i = r.bans.at(i).next {
			d := r.bans.decision(r.bans.at(i))
			d.Until = r.now().Add(r.bans.at(i).until.after() - r.at())
			e.Decisions = append(e.Decisions, d)
		}
		it, ok := r.bans.item(p, first)
		if !ok {
			continue
		}
		el := Element{Prefix: p, Origin: r.origins.keys[it.given]}
		switch {
		case it.out == outFull:
			el.Unenforced = reasonCapacity
		case it.out == outIgnored:
			el.Unenforced = reasonIgnored
		case it.applied == 0:
			el.Unenforced = "not given to the kernel yet"
		case probing && r.loaded:
			found, err := k.Probe(ctx, []Entry{{Prefix: p, Origin: el.Origin}})
			if err != nil {
				return e, fmt.Errorf("cannot ask the kernel: %w", err)
			}
			el.Where, el.Present, el.Left = found[0].Where, found[0].Present, found[0].Left.Seconds()
		default: // it was told so
			el.Present, el.Left = true, (it.applied.after() - r.at()).Seconds()
		}
		e.Blocked = e.Blocked || el.Present
		e.Elements = append(e.Elements, el)
	}
	e.Blocked = e.Blocked && len(e.Ignored) == 0
	return e, nil
}
