package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/gaissmai/bart"
	"golang.org/x/sys/unix"

	"cs/remediate"
	"cs/remediate/netlink"
)

const (
	// maxAtomic is how many elements are replaced in one transaction when a set is
	// loaded; the others follow. Packets never see a set of up to this size empty.
	maxAtomic = 10_000
	// maxExpand bounds how many addresses a range becomes in a set without
	// intervals: a /24.
	maxExpand = 8
	// samples is how many elements are asked for when the ruleset has changed.
	samples = 4
)

// setOnly keeps the contents of sets in an operator's own table, as upstream's
// mode of that name does. Any kind of set of addresses will do:
//
//	set x { type ipv4_addr; flags timeout; }            # single addresses; ranges up to a /24 are spelt out
//	set x { type ipv4_addr; flags interval,timeout; }   # ranges, as disjoint intervals
//	set x { type ipv4_addr; flags interval; }           # what has ended is deleted by us
//
// A set that is missing is made, of the first kind.
type setOnly struct {
	cfg    Config
	family uint8
	name   string // of the table
	proto  uint8  // of the table: ip, ip6 or inet
	now    func() time.Time
	base   time.Time
	ignore []netip.Prefix

	conn      *conn
	tx        transaction
	destroy   bool
	loaded    bool
	sets      map[string]*ownedSet // by name
	checkedAt uint32
	left      map[string]map[netip.Prefix]bool // what is not enforced, by the reason
}

// ownedSet is a set whose contents are ours.
type ownedSet struct {
	name     string
	handle   uint64
	interval bool
	timeout  bool
	given    bart.Table[uint32] // the prefixes, and when they end, in units after setOnly.base
	size     int                // of given
	holes    []netip.Prefix     // never blocked, disjoint and sorted
}

// unit is how exactly the ends of entries are known: it lets ten years fit.
const unit = 100 * time.Millisecond

// segment is one element, or pair of elements, of a set.
type segment struct {
	from, to netip.Addr // both included
	until    uint32
}

func newSetOnly(cfg Config, family uint8) *setOnly {
	s := &setOnly{cfg: cfg, family: family, name: cfg.family(family).Table, now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.base = s.now()
	_ = s.Ignore(context.Background(), nil)
	return s
}

// Name returns "nftables".
func (s *setOnly) Name() string { return "nftables" }

// Changed returns nil: Check looks each second.
func (s *setOnly) Changed() <-chan struct{} { return nil }

func (s *setOnly) has(p netip.Prefix) bool { return familyOf(p) == int(s.family) }

// Open opens a socket. live tells that a set has elements.
func (s *setOnly) Open(ctx context.Context) (live bool, err error) {
	if err := s.Close(ctx, false); err != nil { // open already
		return false, err
	}
	if s.conn, err = connect(); err != nil || s.findTable() != nil {
		return false, err // without a table, the first Load fails and is tried again
	}
	for _, name := range s.setNames() {
		live = live || s.holdsAny(name)
	}
	return live, nil
}

// holdsAny tells whether a set has elements. It begins to list them, on a
// socket that it gives up as soon as the first ones come.
func (s *setOnly) holdsAny(name string) (any bool) {
	c, err := dial()
	if err != nil {
		return false
	}
	defer c.Close()
	var e encoder
	at := e.Begin(subsys|unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, 1, s.proto, 0)
	e.Str(unix.NFTA_SET_ELEM_LIST_TABLE, s.name)
	e.Str(unix.NFTA_SET_ELEM_LIST_SET, name)
	e.End(at)
	if c.Send(e.B) != nil {
		return false
	}
	b, err := c.Receive(0)
	if err != nil {
		return false
	}
	for m := range netlink.Messages(b) {
		any = any || m.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && len(m.Attrs().Find(unix.NFTA_SET_ELEM_LIST_ELEMENTS)) > 0
	}
	return any
}

// Load makes the sets hold exactly the entries.
func (s *setOnly) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	s.loaded, s.sets, s.left = false, map[string]*ownedSet{}, map[string]map[netip.Prefix]bool{}
	gen, err := s.conn.rulesetGeneration()
	if err != nil {
		return err
	}
	if err := s.findTable(); err != nil {
		return err
	}
	for _, name := range s.setNames() {
		if err := s.findSet(name); err != nil {
			return err
		}
	}
	_, err = inChunks(entries, func(chunk []remediate.Change) error {
		for i := range chunk {
			s.put(&chunk[i])
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, set := range s.sets {
		if err := s.fill(ctx, set); err != nil {
			return fmt.Errorf("cannot fill set %s of table %s: %w", set.name, s.name, err)
		}
	}
	s.loaded, s.checkedAt = true, gen
	return nil
}

// findTable finds out which family the operator's table has.
func (s *setOnly) findTable() error {
	for _, proto := range []uint8{families[s.family].proto, unix.NFPROTO_INET} {
		err := s.conn.dump(unix.NFT_MSG_GETTABLE, 0, proto, func(e *encoder) { e.Str(unix.NFTA_TABLE_NAME, s.name) }, func(netlink.Message) {})
		if err == nil {
			s.proto, s.tx.proto = proto, proto
			s.probeDestroy()
			return nil
		}
		if !isGone(err) {
			return fmt.Errorf("cannot find table %s: %w", s.name, err)
		}
	}
	return fmt.Errorf("cannot find table %s, whose set we are to fill (set-only): %w", s.name, unix.ENOENT)
}

func (s *setOnly) probeDestroy() {
	s.begin()
	s.tx.elems(msgDestroySetElem, s.name, "no-such-set", 4, make([]elem, 1))
	s.destroy = isGone(s.conn.commit(&s.tx)) && !s.cfg.noDestroy
}

// setNames returns the names of all sets that origins may have.
func (s *setOnly) setNames() []string {
	f := s.cfg.family(s.family)
	names := []string{f.Set}
	if rest := f.SetPerOrigin["*"]; rest != "" {
		names[0] = rest
	}
	for origin, name := range f.SetPerOrigin {
		if origin != "*" {
			names = append(names, name)
		}
	}
	return names
}

// setOf returns the set of an origin.
func (s *setOnly) setOf(origin string) *ownedSet {
	f := s.cfg.family(s.family)
	kind, _, _ := strings.Cut(origin, ":")
	for _, key := range []string{origin, kind, "*"} {
		if name := f.SetPerOrigin[key]; name != "" {
			return s.sets[name]
		}
	}
	return s.sets[f.Set]
}

// findSet finds out what a set can hold, or makes it.
func (s *setOnly) findSet(name string) error {
	set := &ownedSet{name: name, holes: s.ignore}
	for made := false; ; made = true {
		var keyLen uint32
		err := s.getSet(name, func(a netlink.Attrs) {
			flags := a.U32(unix.NFTA_SET_FLAGS)
			set.interval, set.timeout = flags&unix.NFT_SET_INTERVAL != 0, flags&unix.NFT_SET_TIMEOUT != 0
			set.handle, keyLen = a.U64(setHandle), a.U32(unix.NFTA_SET_KEY_LEN)
			if flags&(unix.NFT_SET_MAP|unix.NFT_SET_OBJECT|unix.NFT_SET_CONSTANT) != 0 {
				keyLen = 0
			}
		})
		switch {
		case err == nil && int(keyLen) != families[s.family].keyLen:
			return fmt.Errorf("cannot use set %s of table %s: it is not a set of %s addresses that may be changed", name, s.name, families[s.family].name)
		case err == nil:
			s.sets[name] = set
			return nil
		case !isGone(err) || made:
			return fmt.Errorf("cannot look at set %s of table %s: %w", name, s.name, err)
		}
		s.begin()
		s.tx.newSet(s.name, name, unix.NFT_SET_TIMEOUT, families[s.family].keyType, families[s.family].keyLen, 1)
		if err := s.conn.commit(&s.tx); err != nil {
			return fmt.Errorf("cannot make set %s of table %s: %w", name, s.name, err)
		}
	}
}

func (s *setOnly) getSet(name string, found func(netlink.Attrs)) error {
	return s.conn.dump(unix.NFT_MSG_GETSET, 0, s.proto, func(e *encoder) {
		e.Str(unix.NFTA_SET_TABLE, s.name)
		e.Str(unix.NFTA_SET_NAME, name)
	}, func(m netlink.Message) { found(m.Attrs()) })
}

// put notes an entry as given, unless its set can't hold it.
func (s *setOnly) put(c *remediate.Change) {
	if !s.has(c.Prefix) {
		return
	}
	set := s.setOf(c.Origin)
	for _, reason := range reasons {
		delete(s.left[reason], c.Prefix)
	}
	switch {
	case len(remediate.Subtract(nil, c.Prefix, s.ignore)) == 0:
		s.leaveOut(reasonIgnored, c.Prefix)
		return
	case !set.interval && c.Prefix.Addr().BitLen()-c.Prefix.Bits() > maxExpand:
		s.leaveOut(reasonTooLarge, c.Prefix)
		return
	}
	left := (c.Until.Sub(s.base) + unit - 1) / unit
	if _, known := set.given.Get(c.Prefix); !known {
		set.size++
	}
	set.given.Insert(c.Prefix, uint32(min(max(left, 1), math.MaxUint32)))
}

// Why entries are not enforced.
const (
	reasonTooLarge = "range too large for a set without intervals"
	reasonIgnored  = "lies in what is never blocked"
)

var reasons = []string{reasonTooLarge, reasonIgnored}

func (s *setOnly) leaveOut(reason string, p netip.Prefix) {
	if s.left[reason] == nil {
		s.left[reason] = map[netip.Prefix]bool{}
	}
	s.left[reason][p] = true
}

// Unenforced counts the entries that the sets can't hold, by the reason.
func (s *setOnly) Unenforced() map[string]int {
	out := map[string]int{}
	for reason, list := range s.left {
		if len(list) > 0 {
			out[reason] = len(list)
		}
	}
	return out
}

// LeavesOut tells whether the sets can't hold an entry.
func (s *setOnly) LeavesOut(p netip.Prefix) bool {
	return s.left[reasonTooLarge][p] || s.left[reasonIgnored][p]
}

// drop forgets an entry.
func (s *setOnly) drop(set *ownedSet, p netip.Prefix) {
	if _, known := set.given.Get(p); known {
		set.size--
		set.given.Delete(p)
	}
	for _, reason := range reasons {
		delete(s.left[reason], p)
	}
}

// fill replaces the contents of a set.
func (s *setOnly) fill(ctx context.Context, set *ownedSet) error {
	list := make([]prefixUntil, 0, set.size)
	for p, until := range set.given.All() {
		list = append(list, prefixUntil{p, until})
	}
	elems := s.elems(set, set.segments(list))
	s.begin()
	s.tx.flushSet(s.name, set.name)
	for first := true; first || len(elems) > 0; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := maxElements
		if first {
			n = maxAtomic
		} else {
			s.begin()
		}
		n = min(n, len(elems))
		if n < len(elems) && elems[n].end {
			n-- // not between the ends of an interval
		}
		s.tx.elems(unix.NFT_MSG_NEWSETELEM, s.name, set.name, families[s.family].keyLen, elems[:n])
		if err := s.conn.commit(&s.tx); err != nil {
			return err
		}
		elems = elems[n:]
	}
	return nil
}

// cut takes holes out of segments; both are disjoint and sorted.
func cut(list []segment, holes []netip.Prefix) []segment {
	if len(holes) == 0 {
		return list
	}
	var out []segment
	for _, one := range list {
		for len(holes) > 0 && lastOf(holes[0]).Less(one.from) {
			holes = holes[1:]
		}
		for _, h := range holes {
			if one.to.Less(h.Addr()) {
				break
			}
			if one.from.Less(h.Addr()) {
				out = append(out, segment{one.from, h.Addr().Prev(), one.until})
			}
			if one.from = lastOf(h).Next(); !one.from.IsValid() {
				break
			}
		}
		if one.from.IsValid() && !one.to.Less(one.from) {
			out = append(out, one)
		}
	}
	return out
}

type prefixUntil struct {
	prefix netip.Prefix
	until  uint32
}

// segments returns the elements that prefixes become, in the order of their
// addresses.
func (set *ownedSet) segments(list []prefixUntil) []segment {
	sort.Slice(list, func(i, j int) bool { return list[i].prefix.Compare(list[j].prefix) < 0 })
	if !set.timeout {
		for i := range list {
			list[i].until = 0
		}
	}
	segments := cut(sweep(list), set.holes)
	if set.interval {
		return segments
	}
	var hosts []segment
	for _, one := range segments {
		for a := one.from; a.IsValid() && a.Compare(one.to) <= 0; a = a.Next() {
			hosts = append(hosts, segment{a, a, one.until})
		}
	}
	return hosts
}

// sweep turns sorted prefixes, of which some are inside others, into disjoint
// intervals: what several cover ends with the last of them.
func sweep(list []prefixUntil) (out []segment) {
	outermost := 0 // the first segment of the outermost prefix, beyond which none is joined
	emit := func(from, to netip.Addr, until uint32) {
		if n := len(out); n > outermost && out[n-1].until == until && out[n-1].to.Next() == from {
			out[n-1].to = to
			return
		}
		out = append(out, segment{from, to, until})
	}
	type open struct {
		last  netip.Addr
		until uint32
	}
	var stack []open
	var at netip.Addr // what comes before is told; invalid: the family has ended
	closeBefore := func(first netip.Addr) {
		for len(stack) > 0 {
			top := stack[len(stack)-1]
			if first.IsValid() && top.last.Compare(first) >= 0 {
				break
			}
			if at.IsValid() && at.Compare(top.last) <= 0 {
				emit(at, top.last, top.until)
				at = top.last.Next()
			}
			stack = stack[:len(stack)-1]
		}
	}
	for _, p := range list {
		first := p.prefix.Addr()
		closeBefore(first)
		until := p.until
		if n := len(stack); n > 0 {
			if at.Compare(first) < 0 {
				emit(at, first.Prev(), stack[n-1].until)
			}
			until = max(until, stack[n-1].until)
		} else {
			outermost = len(out)
		}
		at = first
		last := first
		if end := afterLast(p.prefix); end.IsValid() {
			last = end.Prev()
		} else {
			last = lastOf(p.prefix)
		}
		stack = append(stack, open{last, until})
	}
	closeBefore(netip.Addr{})
	return out
}

// lastOf returns the last address of p.
func lastOf(p netip.Prefix) netip.Addr {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return a
}

// elems spells segments as the kernel wants them.
func (s *setOnly) elems(set *ownedSet, list []segment) (out []elem) {
	now := s.now()
	for _, one := range list {
		m := elem{key: key(one.from)}
		if set.timeout {
			left := s.base.Add(time.Duration(one.until) * unit).Sub(now)
			if left <= 0 {
				continue
			}
			m.timeout = uint64(max(left.Milliseconds(), 1))
		}
		out = append(out, m)
		if set.interval {
			if end := one.to.Next(); end.IsValid() { // or it stays open
				out = append(out, elem{key: key(end), end: true})
			}
		}
	}
	return out
}

// keys spells segments that are deleted. With expired false those that the
// kernel may have dropped are left out.
func (s *setOnly) keys(set *ownedSet, list []segment, expired bool) (out []elem) {
	for _, one := range list {
		if set.timeout && !expired && s.base.Add(time.Duration(one.until)*unit).Sub(s.now()) <= goingSoon {
			continue
		}
		out = append(out, elem{key: key(one.from)})
		if set.interval {
			if end := one.to.Next(); end.IsValid() {
				out = append(out, elem{key: key(end), end: true})
			}
		}
	}
	return out
}

// Apply makes the changes.
func (s *setOnly) Apply(ctx context.Context, changes []remediate.Change) error {
	if !s.loaded {
		return errors.New("the set was not loaded")
	}
	for chunk := range slices.Chunk(changes, maxElements) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.apply(chunk); err != nil {
			return fmt.Errorf("cannot change %d entries of table %s: %w", len(chunk), s.name, err)
		}
	}
	return nil
}

// apply compares what the elements around the changes are before and after.
func (s *setOnly) apply(changes []remediate.Change) error {
	touched := map[*ownedSet][]netip.Prefix{}
	for i := range changes {
		c := &changes[i]
		if !s.has(c.Prefix) {
			continue
		}
		for _, origin := range []string{c.Origin, c.Was} {
			if origin != "" || c.Was == "" {
				set := s.setOf(origin)
				touched[set] = append(touched[set], c.Prefix)
			}
		}
	}
	before := map[*ownedSet][]segment{}
	for set, list := range touched {
		touched[set] = set.regions(list)
		before[set] = set.inside(touched[set])
	}
	for i := range changes {
		c := &changes[i]
		if !s.has(c.Prefix) {
			continue
		}
		if c.Was != "" {
			s.drop(s.setOf(c.Was), c.Prefix)
		}
		if c.Op == remediate.Remove {
			s.drop(s.setOf(c.Origin), c.Prefix)
		} else {
			s.put(c)
		}
	}
	keyLen := families[s.family].keyLen
	for set, regions := range touched {
		gone, come := diff(before[set], set.inside(regions))
		s.begin()
		if s.destroy {
			s.tx.elems(msgDestroySetElem, s.name, set.name, keyLen, s.keys(set, gone, true))
		} else {
			s.tx.elems(unix.NFT_MSG_DELSETELEM, s.name, set.name, keyLen, s.keys(set, gone, false))
		}
		s.tx.elems(unix.NFT_MSG_NEWSETELEM, s.name, set.name, keyLen, s.elems(set, come))
		if s.tx.empty() {
			continue
		}
		if err := s.conn.commit(&s.tx); err != nil {
			return err
		}
	}
	return nil
}

// regions widens prefixes to the widest that covers them, and leaves out those
// inside others: outside of them no element changes.
func (set *ownedSet) regions(list []netip.Prefix) []netip.Prefix {
	for i, p := range list {
		for wider := range set.given.Supernets(p) {
			if wider.Bits() < list[i].Bits() {
				list[i] = wider
			}
		}
	}
	return disjoint(list)
}

// inside returns the elements in some regions.
func (set *ownedSet) inside(regions []netip.Prefix) (out []segment) {
	for _, region := range regions {
		var list []prefixUntil
		for p, until := range set.given.Subnets(region) {
			list = append(list, prefixUntil{p, until})
		}
		out = append(out, set.segments(list)...)
	}
	return out
}

// diff returns what is only in the first list and only in the second. Both are
// sorted by their first addresses.
func diff(old, new []segment) (gone, come []segment) {
	for len(old) > 0 || len(new) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(new) == 0:
			order = -1
		default:
			order = old[0].from.Compare(new[0].from)
		}
		switch {
		case order < 0:
			gone, old = append(gone, old[0]), old[1:]
		case order > 0:
			come, new = append(come, new[0]), new[1:]
		default:
			if old[0] != new[0] {
				gone, come = append(gone, old[0]), append(come, new[0])
			}
			old, new = old[1:], new[1:]
		}
	}
	return gone, come
}

// Check tells whether the sets are those that were filled, and when the ruleset
// has changed, whether some elements are still there.
func (s *setOnly) Check(ctx context.Context) (bool, error) {
	if !s.loaded {
		return false, nil
	}
	gen, err := s.conn.rulesetGeneration()
	if err != nil || gen == s.checkedAt {
		return err == nil, err
	}
	for _, set := range s.sets {
		var handle uint64
		if err := s.getSet(set.name, func(a netlink.Attrs) { handle = a.U64(setHandle) }); err != nil && !isGone(err) {
			return false, err
		}
		if handle != set.handle {
			return false, nil
		}
		asked := 0
		for p, until := range set.given.All() {
			if asked++; asked > samples {
				break
			}
			a, ok := set.sample(p)
			if !ok {
				continue
			}
			st, err := s.conn.ask(s.proto, s.name, set.name, families[s.family].keyLen, elem{key: key(a)})
			if err != nil {
				return false, err
			}
			ends := s.base.Add(time.Duration(until) * unit)
			if !st.present && (!set.timeout || ends.Sub(s.now()) > goingSoon) {
				return false, nil
			}
		}
	}
	s.checkedAt = gen
	return true, nil
}

// sample returns an address of p that a set has to have.
func (set *ownedSet) sample(p netip.Prefix) (a netip.Addr, ok bool) {
	parts := remediate.Subtract(nil, p, set.holes)
	if len(parts) == 0 {
		return a, false
	}
	return parts[0].Addr(), true
}

// Ignore replaces the prefixes, beside those of the configuration, that no
// element covers: the rules are not ours, so that they are holes in what covers them. If
// that changes anything it takes a load.
func (s *setOnly) Ignore(_ context.Context, list []netip.Prefix) error {
	before := s.ignore
	s.ignore = nil
	for _, p := range slices.Concat(s.cfg.Ignore, list) {
		if s.has(p) {
			s.ignore = append(s.ignore, p)
		}
	}
	s.ignore = disjoint(s.ignore)
	if !s.loaded {
		return nil
	}
	for _, p := range slices.Concat(before, s.ignore) {
		if slices.Contains(before, p) == slices.Contains(s.ignore, p) || !s.touches(p) {
			continue
		}
		s.loaded = false
		return remediate.ErrReload
	}
	return nil
}

// touches tells whether some entry, enforced or not, overlaps p.
func (s *setOnly) touches(p netip.Prefix) bool {
	for _, set := range s.sets {
		if set.given.OverlapsPrefix(p) {
			return true
		}
	}
	for q := range s.left[reasonIgnored] {
		if q.Overlaps(p) {
			return true
		}
	}
	return false
}

// Probe asks the kernel for one address each of entries, the first that is not ignored. What several cover is one
// element there, which ends with the last of them: that is allowed for.
func (s *setOnly) Probe(_ context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		if !s.loaded || !s.has(e.Prefix) {
			continue
		}
		set := s.setOf(e.Origin)
		out[i].Where = "table " + s.name + " " + set.name
		a, ok := set.sample(e.Prefix)
		if !ok {
			continue
		}
		own, given := set.given.Get(e.Prefix)
		last := own
		for _, until := range set.given.Supernets(netip.PrefixFrom(a, a.BitLen())) {
			last = max(last, until)
		}
		st, err := s.conn.ask(s.proto, s.name, set.name, families[s.family].keyLen, elem{key: key(a)})
		if err != nil {
			return nil, fmt.Errorf("cannot ask set %s of table %s for %s: %w", set.name, s.name, e.Prefix, err)
		}
		out[i].Present, out[i].Left = st.present, st.left
		if st.left > 0 && given {
			out[i].Left = max(st.left-time.Duration(last-own)*unit, unit)
		}
	}
	return out, nil
}

// Audited implements remediate.Audited.
func (s *setOnly) Audited() {}

// Counters returns nothing: the rules are not ours.
func (s *setOnly) Counters(context.Context) ([]remediate.Counter, error) { return nil, nil }

func (s *setOnly) begin() {
	s.conn.seq++
	s.tx.reset(s.conn.seq)
}

// Close closes the socket. With remove the sets are emptied.
func (s *setOnly) Close(_ context.Context, remove bool) (err error) {
	if s.conn == nil {
		return nil
	}
	if remove && s.loaded {
		for _, set := range s.sets {
			s.begin()
			s.tx.flushSet(s.name, set.name)
			if one := s.conn.commit(&s.tx); !isGone(one) {
				err = errors.Join(err, one)
			}
		}
	}
	err = errors.Join(err, s.conn.Close())
	s.conn, s.loaded = nil, false
	return err
}
