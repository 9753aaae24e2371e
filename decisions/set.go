package decisions

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"cs/platform/order"
)

// Set is the live decisions: by ID, by address, by scope and value for other
// scopes, and in the order in which they end. One prefix may be held by many
// decisions, of several origins and types.
//
// A decision takes about 120 bytes in it, a quarter of what a Decision with its
// texts does (set_test.go measures it), and no pointers, so that the garbage
// collector has nothing to look through. What is handed out is made anew each
// time, so a copy may be kept and changed; the pointer that a callback gets is
// good during the call only.
//
// A Set is not safe for concurrent use, but for reading. A callback must not
// change the set.
type Set struct {
	base   time.Time // ends are kept as distances from it, by the monotonic clock where there is one
	chunks []*chunk  // the records, by index; 0 means "none"
	used   uint32    // records up to here have been in use
	free   uint32    // first of the free records, chained by next
	odd    map[uint32]oddTexts
	byID   index
	newest int64 // the greatest ID there has been
	kinds  []sharedKind
	kindOf map[Kind]uint32 // index in kinds
	noKind []uint32        // indexes that are free
	// The first of the holders of a prefix: they are chained, the longest first,
	// since an address that goes on attacking gets one ban after the other. Nearly
	// all are single addresses, for which a trie would take ten times the room of an index.
	single4 index
	single6 map[[16]byte]uint32
	trie    bart.Table[uint32] // the wider ones
	named   map[named]uint32   // scopes that are no addresses
	heap    order.Heap         // by end; heap[0] ends first
	limit   int
	refused uint64
}

// chunk is a piece of the records. They are not in one slice, because that
// would be copied, and be too large by a quarter, whenever it grows.
type chunk [chunkSize]record

const chunkSize = 186 // of 88 bytes each: 16 KiB, for which Go's allocator wastes nothing

// record is a Decision made small: what many share is a number, and texts that
// follow from numbers are kept as those.
type record struct {
	id      int64
	alert   int64
	until   time.Duration // after Set.base; what is centuries away is cut
	created int64         // nanoseconds since 1970, noTime for the zero time
	uuid    [16]byte
	addr    [16]byte // IPv4 is mapped
	kind    uint32
	next    uint32 // in its chain: ends earlier, or at once and came earlier
	prev    uint32
	pos     uint32 // in the heap
	bits    uint8  // of the prefix
	flags   uint8
}

// Flags of a record.
const (
	isPrefix = 1 << iota // it is about the prefix of addr and bits
	isIPv4
	hasUUID   // uuid is set
	fullValue // the value is spelt as a prefix, though it is one address
	isOdd     // the value or the UUID are not in their usual form, but in Set.odd
)

const noTime = math.MinInt64

// Kind is what a decision has in common with a million others.
type Kind struct {
	Origin, Scenario, Scope, Type string
	Simulated                     bool
}

// sharedKind is a Kind and which decisions are of it. It has an address of its
// own, so that a Row may point to it.
type sharedKind struct {
	*Kind
	Tally
}

// oddTexts are those of the texts that a record can't hold.
type oddTexts struct{ value, uuid string }

type named struct{ scope, value string }

// NewSet returns a set that holds at most limit decisions; 0 means no limit.
// At the limit new decisions are refused, and counted: what is banned already
// stays banned.
func NewSet(limit int) *Set {
	s := &Set{
		base: time.Now().UTC(), // just some time not far from those to come
		odd:  make(map[uint32]oddTexts), kindOf: make(map[Kind]uint32),
		single6: make(map[[16]byte]uint32), named: make(map[named]uint32), limit: limit,
	}
	s.byID = newIndex(func(i uint32) uint64 { return uint64(s.at(i).id) })
	s.single4 = newIndex(func(i uint32) uint64 { return uint64(binary.BigEndian.Uint32(s.at(i).addr[12:])) })
	return s
}

// Len returns the number of decisions.
func (s *Set) Len() int { return s.byID.n }

// Refused returns how many decisions the limit kept out.
func (s *Set) Refused() uint64 { return s.refused }

// Upsert adds a decision, or replaces the one with the same ID. It reports
// false if the limit refused it, or if it is an Ip or Range decision whose
// value is no address.
func (s *Set) Upsert(d Decision) bool {
	_, ok := s.upsert(&d)
	return ok
}

// upsert does the same, and returns the number of the record.
func (s *Set) upsert(d *Decision) (i uint32, ok bool) {
	var p netip.Prefix
	if d.Scope == ScopeIP || d.Scope == ScopeRange {
		if p, ok = d.Prefix(); !ok {
			return 0, false
		}
	}
	if d.ID <= s.newest && s.Has(d.ID) {
		s.Delete(d.ID)
	} else if s.limit > 0 && s.Len() >= s.limit {
		s.refused++
		return 0, false
	}
	s.newest = max(s.newest, d.ID)
	i = s.take()
	s.pack(i, d, p)
	s.link(i)
	s.byID.put(uint64(d.ID), i)
	s.heap.Push((*byEnd)(s), i)
	return i, true
}

// reserve makes room for n more decisions.
func (s *Set) reserve(n int) {
	if s.limit > 0 {
		n = min(n, s.limit-s.Len())
	}
	s.byID.reserve(n)
	s.single4.reserve(n)
	s.heap = slices.Grow(s.heap, n)
}

// Tally returns what the IDs of the decisions of some kinds come to; nil means
// all kinds.
func (s *Set) Tally(wanted func(*Kind) bool) (t Tally) {
	for i := range s.kinds {
		if k := &s.kinds[i]; k.Count > 0 && (wanted == nil || wanted(k.Kind)) {
			t.Count += k.Count
			t.Sum += k.Sum
		}
	}
	return t
}

// EachKind calls f for each kind and the number of its decisions. f must not
// change the kind.
func (s *Set) EachKind(f func(k *Kind, n int)) {
	for i := range s.kinds {
		if k := &s.kinds[i]; k.Count > 0 {
			f(k.Kind, k.Count)
		}
	}
}

// take returns a record that is free.
func (s *Set) take() uint32 {
	if i := s.free; i != 0 {
		s.free = s.at(i).next
		return i
	}
	s.used++
	if int(s.used/chunkSize) == len(s.chunks) {
		s.chunks = append(s.chunks, new(chunk))
	}
	return s.used
}

// Get returns the decision with an ID.
func (s *Set) Get(id int64) (d Decision, ok bool) {
	i := s.byID.find(uint64(id))
	if i == 0 {
		return Decision{}, false
	}
	s.unpack(i, &d)
	return d, true
}

// link puts a record into its chain. A new ban mostly ends last.
func (s *Set) link(i uint32) {
	r, next := s.at(i), s.first(i)
	for next != 0 && s.less(i, next) {
		r.prev, next = next, s.at(next).next
	}
	if r.next = next; next != 0 {
		s.at(next).prev = i
	}
	if r.prev != 0 {
		s.at(r.prev).next = i
	} else {
		s.setFirst(i, i)
	}
}

// unlink takes a record out of its chain.
func (s *Set) unlink(i uint32) {
	r := s.at(i)
	if r.next != 0 {
		s.at(r.next).prev = r.prev
	}
	if r.prev != 0 {
		s.at(r.prev).next = r.next
	} else {
		s.setFirst(i, r.next)
	}
}

// alone tells whether no other decision is about the same as a record.
func (s *Set) alone(i uint32) bool { return s.at(i).prev == 0 && s.at(i).next == 0 }

// less tells whether record i ends before j, or at once and came earlier.
func (s *Set) less(i, j uint32) bool {
	a, b := s.at(i), s.at(j)
	return a.until < b.until || a.until == b.until && a.id < b.id
}

// Row returns the decision with an ID, without making texts of it. It is good
// until the next change of the set.
func (s *Set) Row(id int64) (Row, bool) {
	i := s.byID.find(uint64(id))
	if i == 0 {
		return Row{}, false
	}
	return s.row(i), true
}

// rowAt is Row for who knows the number that the record had when the decision
// was added.
func (s *Set) rowAt(i uint32, id int64) (Row, bool) {
	if s.at(i).id != id {
		return Row{}, false
	}
	return s.row(i), true
}

// Has tells whether there is a decision with an ID.
func (s *Set) Has(id int64) bool {
	return s.byID.find(uint64(id)) != 0
}

// Delete removes the decision with an ID and returns it.
func (s *Set) Delete(id int64) (d Decision, ok bool) {
	i := s.byID.find(uint64(id))
	if i == 0 {
		return Decision{}, false
	}
	s.unpack(i, &d)
	s.unlink(i)
	r := s.at(i)
	s.heap.Remove((*byEnd)(s), r.pos)
	s.byID.remove(uint64(id))
	delete(s.odd, i)
	s.leaveKind(r.kind, id)
	*r = record{next: s.free}
	s.free = i
	return d, true
}

// Expire removes the decisions that have ended at now, in the order of their
// ends, and hands each to gone, which may be nil.
func (s *Set) Expire(now time.Time, gone func(Decision)) {
	for len(s.heap) > 0 {
		r := s.at(s.heap[0])
		if s.end(r).After(now) {
			return
		}
		d, _ := s.Delete(r.id)
		if gone != nil {
			gone(d)
		}
	}
}

// NextExpiry returns the earliest end of a decision.
func (s *Set) NextExpiry() (time.Time, bool) {
	if len(s.heap) == 0 {
		return time.Time{}, false
	}
	return s.end(s.at(s.heap[0])), true
}

// Covering calls f for the decisions whose prefix contains p, the longest
// prefixes first, until f returns false.
func (s *Set) Covering(p netip.Prefix, f func(*Decision) bool) {
	if p.IsSingleIP() && !s.each(s.holder(p), f) {
		return
	}
	for _, head := range s.trie.Supernets(p) {
		if !s.each(head, f) {
			return
		}
	}
}

// Covered calls f for the decisions whose prefix lies in p, in no particular
// order, until f returns false. It may look at all single addresses.
func (s *Set) Covered(p netip.Prefix, f func(*Decision) bool) {
	if p.IsSingleIP() {
		s.each(s.holder(p), f)
		return
	}
	for _, head := range s.trie.Subnets(p) {
		if !s.each(head, f) {
			return
		}
	}
	if p.Addr().Is6() {
		for a, head := range s.single6 {
			if p.Contains(netip.AddrFrom16(a)) && !s.each(head, f) {
				return
			}
		}
		return
	}
	first, n := key4(p.Addr()), uint64(1)<<(32-p.Bits())
	if n > uint64(s.single4.n) {
		s.single4.each(func(head uint32) bool { return s.single4.key(head)-first >= n || s.each(head, f) })
		return
	}
	for a := first; a < first+n; a++ {
		if !s.each(s.single4.find(a), f) {
			return
		}
	}
}

// Holders calls f for the decisions on exactly p until f returns false.
func (s *Set) Holders(p netip.Prefix, f func(*Decision) bool) { s.each(s.holder(p), f) }

// holder returns the first of those who hold exactly p, 0 if nobody does.
func (s *Set) holder(p netip.Prefix) (head uint32) {
	switch {
	case !p.IsSingleIP():
		head, _ = s.trie.Get(p)
	case p.Addr().Is4():
		head = s.single4.find(key4(p.Addr()))
	default:
		head = s.single6[p.Addr().As16()]
	}
	return head
}

func key4(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

// Named calls f for the decisions on a value of a scope that is no address,
// until f returns false.
func (s *Set) Named(scope, value string, f func(*Decision) bool) {
	s.each(s.named[named{scope, value}], f)
}

// About calls f for the decisions with d's scope, value and type that end after
// a time, until f returns false.
func (s *Set) About(d *Decision, after time.Time, f func(*Decision) bool) {
	var i uint32
	if p, ok := d.Prefix(); ok {
		i = s.holder(p)
	} else {
		i = s.named[named{d.Scope, d.Value}]
	}
	for ; i != 0; i = s.at(i).next {
		r := s.at(i)
		if !s.end(r).After(after) { // of most there is only one: d itself
			continue
		}
		if k := s.kinds[r.kind]; k.Scope != d.Scope || k.Type != d.Type {
			continue
		}
		var o Decision
		s.unpack(i, &o)
		if o.Value == d.Value && !f(&o) {
			return
		}
	}
}

// EachHidden calls f for the IDs of the decisions that d, by its coming, hides
// from some follower of Query.Longest, or by its going shows. Behind one
// of the same kind all are hidden from whoever wants d, with it or without.
func (s *Set) EachHidden(d *Decision, f func(int64)) {
	var i uint32
	if p, ok := d.Prefix(); ok {
		i = s.holder(p)
	} else {
		i = s.named[named{d.Scope, d.Value}]
	}
	for ; i != 0; i = s.at(i).next {
		r := s.at(i)
		if r.id == d.ID || s.end(r).After(d.Until) {
			continue
		}
		f(r.id)
		if k := s.kinds[r.kind]; *k.Kind == (Kind{d.Origin, d.Scenario, d.Scope, d.Type, d.Simulated}) {
			if row := s.row(i); string(row.AppendValue(nil)) == d.Value {
				return
			}
		}
	}
}

// All calls f for every decision, in no particular order, until f returns false.
func (s *Set) All(f func(*Decision) bool) {
	var d Decision
	for _, i := range s.heap {
		s.unpack(i, &d)
		if !f(&d) {
			return
		}
	}
}

// OfAlerts returns the IDs of the decisions that belong to alerts, in no
// particular order.
func (s *Set) OfAlerts(alerts map[int64]bool) (ids []int64) {
	for _, i := range s.heap {
		if r := s.at(i); alerts[r.alert] {
			ids = append(ids, r.id)
		}
	}
	return ids
}

func (s *Set) each(i uint32, f func(*Decision) bool) bool {
	var d Decision
	for ; i != 0; i = s.at(i).next {
		s.unpack(i, &d)
		if !f(&d) {
			return false
		}
	}
	return true
}

func (s *Set) at(i uint32) *record { return &s.chunks[i/chunkSize][i%chunkSize] }

// end returns when a decision ends.
func (s *Set) end(r *record) time.Time { return s.base.Add(r.until) }

// pack fills a record with a decision, whose prefix is p if it has one.
func (s *Set) pack(i uint32, d *Decision, p netip.Prefix) {
	r := record{
		until: d.Until.Sub(s.base), id: d.ID, alert: d.AlertID, created: noTime,
		kind: s.joinKind(Kind{d.Origin, d.Scenario, d.Scope, d.Type, d.Simulated}, d.ID),
	}
	if !d.Created.IsZero() {
		r.created = d.Created.UnixNano()
	}
	odd := oddTexts{value: d.Value}
	if p.IsValid() {
		r.flags |= isPrefix
		if p.Addr().Is4() {
			r.flags |= isIPv4
		}
		r.addr, r.bits = p.Addr().As16(), uint8(p.Bits())
		if strings.Contains(d.Value, "/") {
			r.flags |= fullValue
		}
		var room [64]byte
		if string(r.appendValue(room[:0])) == d.Value {
			odd.value = ""
		}
	}
	if b, ok := parseUUID(d.UUID); ok && uuidText(b) == d.UUID {
		r.flags |= hasUUID
		r.uuid = b
	} else {
		odd.uuid = d.UUID
	}
	if odd != (oddTexts{}) {
		r.flags |= isOdd
		// They may be parts of a request's body, too.
		s.odd[i] = oddTexts{strings.Clone(odd.value), strings.Clone(odd.uuid)}
	}
	*s.at(i) = r
}

// unpack makes the decision of a record.
func (s *Set) unpack(i uint32, d *Decision) {
	r := s.at(i)
	k := s.kinds[r.kind]
	*d = Decision{
		ID: r.id, AlertID: r.alert, Until: s.end(r),
		Origin: k.Origin, Scenario: k.Scenario, Scope: k.Scope, Type: k.Type, Simulated: k.Simulated,
	}
	if r.created != noTime {
		d.Created = time.Unix(0, r.created).UTC()
	}
	if r.flags&isOdd != 0 {
		odd := s.odd[i]
		d.Value, d.UUID = odd.value, odd.uuid
	}
	// Both texts in one allocation.
	var room [96]byte
	text := room[:0]
	if d.Value == "" && r.flags&isPrefix != 0 {
		text = r.appendValue(text)
	}
	n := len(text)
	if r.flags&hasUUID != 0 {
		text = appendUUID(text, r.uuid)
	}
	if len(text) == 0 {
		return
	}
	both := string(text)
	if n > 0 {
		d.Value = both[:n]
	}
	if n < len(both) {
		d.UUID = both[n:]
	}
}

// joinKind returns the number of a kind that a decision is of.
func (s *Set) joinKind(k Kind, id int64) uint32 {
	i, ok := s.kindOf[k]
	if !ok {
		// The decision's texts may be parts of a request's body.
		own := &Kind{strings.Clone(k.Origin), strings.Clone(k.Scenario), strings.Clone(k.Scope), strings.Clone(k.Type), k.Simulated}
		if n := len(s.noKind); n > 0 {
			i, s.noKind = s.noKind[n-1], s.noKind[:n-1]
			s.kinds[i].Kind = own
		} else {
			i = uint32(len(s.kinds))
			s.kinds = append(s.kinds, sharedKind{Kind: own})
		}
		s.kindOf[*own] = i
	}
	s.kinds[i].Add(id)
	return i
}

// leaveKind notes that a decision of a kind is gone.
func (s *Set) leaveKind(i uint32, id int64) {
	k := &s.kinds[i]
	if k.Remove(id); k.Count == 0 {
		delete(s.kindOf, *k.Kind)
		k.Kind = nil
		s.noKind = append(s.noKind, i)
	}
}

// prefix returns the addresses of a record that is about some.
func (r *record) prefix() netip.Prefix {
	a := netip.AddrFrom16(r.addr)
	if r.flags&isIPv4 != 0 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(r.bits))
}

// appendValue appends the usual spelling of the prefix.
func (r *record) appendValue(b []byte) []byte {
	p := r.prefix()
	if p.IsSingleIP() && r.flags&fullValue == 0 {
		return p.Addr().AppendTo(b)
	}
	return p.AppendTo(b)
}

// name returns the key of a record that is about something else.
func (s *Set) name(i uint32) named { return named{s.kinds[s.at(i).kind].Scope, s.odd[i].value} }

// first returns the head of the chain that a record belongs to, 0 if there is none.
func (s *Set) first(i uint32) (head uint32) {
	if r := s.at(i); r.flags&isPrefix != 0 {
		return s.holder(r.prefix())
	}
	return s.named[s.name(i)]
}

// setFirst makes head the first of the chain that record i belongs to.
func (s *Set) setFirst(i, head uint32) {
	r := s.at(i)
	if r.flags&isPrefix == 0 {
		put(s.named, s.name(i), head)
		return
	}
	switch p := r.prefix(); {
	case p.IsSingleIP() && r.flags&isIPv4 != 0:
		if key := key4(p.Addr()); head == 0 {
			s.single4.remove(key)
		} else {
			s.single4.put(key, head)
		}
	case p.IsSingleIP():
		put(s.single6, r.addr, head)
	case head == 0:
		s.trie.Delete(p)
	default:
		s.trie.Insert(p, head)
	}
}

// put sets the head of a chain; 0 takes it away.
func put[K comparable](m map[K]uint32, key K, head uint32) {
	if head == 0 {
		delete(m, key)
	} else {
		m[key] = head
	}
}

// byEnd is a Set as its heap sees it.
type byEnd Set

// Sooner is order.Records'.
func (s *byEnd) Sooner(i, j uint32) bool {
	a, b := (*Set)(s).at(i), (*Set)(s).at(j)
	if a.until != b.until {
		return a.until < b.until
	}
	return a.id < b.id
}

// Moved is order.Records'.
func (s *byEnd) Moved(i, pos uint32) { (*Set)(s).at(i).pos = pos }
