package decisions

import (
	"net/netip"
	"time"
	"unique"

	"github.com/gaissmai/bart"
)

// Set is the live decisions: by ID, by address in a prefix trie, by scope and
// value for other scopes, and in the order in which they end. One prefix may
// be held by many decisions, of several origins and types.
//
// A Set is not safe for concurrent use. Decisions handed to a callback are
// owned by the set: they must not be changed, nor kept after the callback
// returns, and the callback must not change the set.
type Set struct {
	recs    []record // slab; index 0 means "none"
	free    uint32   // first of the free records, chained by next
	byID    map[int64]uint32
	trie    bart.Table[uint32] // prefix -> first of its holders, chained by next
	named   map[named]uint32   // the same for scopes that are no addresses
	heap    []uint32           // by Until; heap[0] ends first
	limit   int
	refused uint64
}

type record struct {
	d      Decision
	prefix netip.Prefix // invalid for named scopes
	next   uint32
	pos    int32 // in the heap
}

type named struct{ scope, value string }

// NewSet returns a set that holds at most limit decisions; 0 means no limit.
// At the limit new decisions are refused, and counted: what is banned already
// stays banned.
func NewSet(limit int) *Set {
	return &Set{recs: make([]record, 1), byID: make(map[int64]uint32), named: make(map[named]uint32), limit: limit}
}

// Len returns the number of decisions.
func (s *Set) Len() int { return len(s.byID) }

// Refused returns how many decisions the limit kept out.
func (s *Set) Refused() uint64 { return s.refused }

// Upsert adds a decision, or replaces the one with the same ID. It reports
// false if the limit refused it, or if it is an Ip or Range decision whose
// value is no address.
func (s *Set) Upsert(d Decision) bool {
	var p netip.Prefix
	if d.Scope == ScopeIP || d.Scope == ScopeRange {
		var ok bool
		if p, ok = d.Prefix(); !ok {
			return false
		}
	}
	if _, known := s.byID[d.ID]; known {
		s.Delete(d.ID)
	} else if s.limit > 0 && len(s.byID) >= s.limit {
		s.refused++
		return false
	}
	// A million decisions share a handful of these texts.
	d.Origin = unique.Make(d.Origin).Value()
	d.Scenario = unique.Make(d.Scenario).Value()
	d.Scope = unique.Make(d.Scope).Value()
	d.Type = unique.Make(d.Type).Value()

	i := s.free
	if i != 0 {
		s.free = s.recs[i].next
	} else {
		i = uint32(len(s.recs))
		s.recs = append(s.recs, record{})
	}
	r := &s.recs[i]
	*r = record{d: d, prefix: p}
	r.next = s.first(r)
	s.setFirst(r, i)
	s.byID[d.ID] = i
	r.pos = int32(len(s.heap))
	s.heap = append(s.heap, i)
	s.up(len(s.heap) - 1)
	return true
}

// Get returns the decision with an ID.
func (s *Set) Get(id int64) (Decision, bool) {
	i, ok := s.byID[id]
	if !ok {
		return Decision{}, false
	}
	return s.recs[i].d, true
}

// Delete removes the decision with an ID and returns it.
func (s *Set) Delete(id int64) (Decision, bool) {
	i, ok := s.byID[id]
	if !ok {
		return Decision{}, false
	}
	r := &s.recs[i]
	if head := s.first(r); head == i {
		s.setFirst(r, r.next)
	} else {
		for head != 0 {
			h := &s.recs[head]
			if h.next == i {
				h.next = r.next
				break
			}
			head = h.next
		}
	}
	s.unheap(int(r.pos))
	delete(s.byID, id)
	d := r.d
	*r = record{next: s.free}
	s.free = i
	return d, true
}

// Expire removes the decisions that have ended at now, in the order of their
// ends, and hands each to gone, which may be nil.
func (s *Set) Expire(now time.Time, gone func(Decision)) {
	for len(s.heap) > 0 {
		d := &s.recs[s.heap[0]].d
		if d.Active(now) {
			return
		}
		out, _ := s.Delete(d.ID)
		if gone != nil {
			gone(out)
		}
	}
}

// NextExpiry returns the earliest end of a decision.
func (s *Set) NextExpiry() (time.Time, bool) {
	if len(s.heap) == 0 {
		return time.Time{}, false
	}
	return s.recs[s.heap[0]].d.Until, true
}

// Covering calls f for the decisions whose prefix contains p, the longest
// prefixes first, until f returns false.
func (s *Set) Covering(p netip.Prefix, f func(*Decision) bool) {
	for _, head := range s.trie.Supernets(p) {
		if !s.each(head, f) {
			return
		}
	}
}

// Covered calls f for the decisions whose prefix lies in p until f returns false.
func (s *Set) Covered(p netip.Prefix, f func(*Decision) bool) {
	for _, head := range s.trie.Subnets(p) {
		if !s.each(head, f) {
			return
		}
	}
}

// Holders calls f for the decisions on exactly p until f returns false.
func (s *Set) Holders(p netip.Prefix, f func(*Decision) bool) {
	if head, ok := s.trie.Get(p); ok {
		s.each(head, f)
	}
}

// Named calls f for the decisions on a value of a scope that is no address,
// until f returns false.
func (s *Set) Named(scope, value string, f func(*Decision) bool) {
	s.each(s.named[named{scope, value}], f)
}

// All calls f for every decision, in no particular order, until f returns false.
func (s *Set) All(f func(*Decision) bool) {
	for _, i := range s.heap {
		if !f(&s.recs[i].d) {
			return
		}
	}
}

func (s *Set) each(i uint32, f func(*Decision) bool) bool {
	for ; i != 0; i = s.recs[i].next {
		if !f(&s.recs[i].d) {
			return false
		}
	}
	return true
}

// first returns the head of the chain that r belongs to, 0 if there is none.
func (s *Set) first(r *record) uint32 {
	if r.prefix.IsValid() {
		i, _ := s.trie.Get(r.prefix)
		return i
	}
	return s.named[named{r.d.Scope, r.d.Value}]
}

func (s *Set) setFirst(r *record, i uint32) {
	switch {
	case r.prefix.IsValid() && i == 0:
		s.trie.Delete(r.prefix)
	case r.prefix.IsValid():
		s.trie.Insert(r.prefix, i)
	case i == 0:
		delete(s.named, named{r.d.Scope, r.d.Value})
	default:
		s.named[named{r.d.Scope, r.d.Value}] = i
	}
}

// The heap is container/heap's, written out: that one would cost an interface
// value for every push and hide the positions that Delete needs.

func (s *Set) less(i, j int) bool {
	a, b := &s.recs[s.heap[i]].d, &s.recs[s.heap[j]].d
	if c := a.Until.Compare(b.Until); c != 0 {
		return c < 0
	}
	return a.ID < b.ID
}

func (s *Set) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.recs[s.heap[i]].pos = int32(i)
	s.recs[s.heap[j]].pos = int32(j)
}

func (s *Set) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !s.less(i, parent) {
			return
		}
		s.swap(i, parent)
		i = parent
	}
}

func (s *Set) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if child+1 < len(s.heap) && s.less(child+1, child) {
			child++
		}
		if !s.less(child, i) {
			return
		}
		s.swap(i, child)
		i = child
	}
}

func (s *Set) unheap(i int) {
	last := len(s.heap) - 1
	if i != last {
		s.swap(i, last)
	}
	s.heap = s.heap[:last]
	if i != last {
		s.down(i)
		s.up(i)
	}
}
