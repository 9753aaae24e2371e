package remediate

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"strings"

	"cs/decisions"
	"cs/platform/order"
)

// tenth is a time, in tenths of a second after Reconciler.base. There are 13
// years of them; what ends later is taken to end then.
type tenth uint32

// bans is the wanted decisions, by ID, by prefix and in the order in which they
// end, and what the kernel was given for each prefix. It is a decisions.Set with
// less in it: one address takes about 55 bytes in all, no pointers among them.
type bans struct {
	limit   int
	refused uint64
	len     int

	chunks []*banChunk // the records, by index; 0 means "none"
	used   uint32      // records up to here have been in use
	free   uint32      // first of the free records, chained by next
	wide   [][16]byte  // IPv6 addresses of records
	spare  []uint32    // of wide, free

	byID     index
	byPrefix index      // of the first records of prefixes
	heap     order.Heap // by end; heap[0] ends first
	seed     uint64

	kinds  []banKind
	kindOf map[decisions.SavedKind]uint16
	noKind []uint16 // free numbers

	// A whole set comes decision by decision; those with another mark than round
	// were not in it.
	round  bool
	marked int // with this round's mark, since it began

	items int                   // prefixes with an item
	loose map[netip.Prefix]item // items of prefixes that no decision is about: folded ones, and of those whose last has just gone
}

// ban is a record: one decision, and if it is the first on its prefix the item
// of that.
type ban struct {
	id      [2]uint32 // both halves: 8 bytes in one would align the record to 8
	until   tenth
	applied tenth
	addr    uint32 // IPv4 address, or index in wide
	next    uint32 // on the same prefix: ends earlier, or at once and counts less
	pos     uint32 // in the heap
	kind    uint16
	given   uint8
	bits    uint8
	flags   uint8
}

const (
	banIPv6   = 1 << iota
	banMark       // see bans.round
	banItem       // the first on its prefix, and that has an item
	banOut        // two bits: why the item is left out
	banOutBit = 3 // where they begin
)

type banChunk [banChunkSize]ban

const banChunkSize = 16 << 10 / 36

// item is what is known of one prefix beside its decisions.
type item struct {
	applied tenth // end that the kernel was given, 0 if it has not got the prefix
	given   uint8 // origin that the kernel was given
	out     uint8 // why it is left out
}

// banKind is what a decision has in common with many others.
type banKind struct {
	decisions.SavedKind
	origin uint8 // its number
	class  uint8
	count  int
}

// newBans returns room for at most limit decisions; 0 means as many as records
// have numbers.
func newBans(limit int) *bans {
	if limit <= 0 || limit > maxBans {
		limit = maxBans
	}
	return &bans{limit: limit, kindOf: map[decisions.SavedKind]uint16{}, loose: map[netip.Prefix]item{}, seed: rand.Uint64()}
}

func (b *bans) at(i uint32) *ban { return &b.chunks[i/banChunkSize][i%banChunkSize] }

func (r *ban) number() int64 { return int64(uint64(r.id[0])<<32 | uint64(r.id[1])) }

// prefix returns what a record is about.
func (b *bans) prefix(r *ban) netip.Prefix {
	if r.flags&banIPv6 != 0 {
		return netip.PrefixFrom(netip.AddrFrom16(b.wide[r.addr]), int(r.bits))
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], r.addr)
	return netip.PrefixFrom(netip.AddrFrom4(a), int(r.bits))
}

// decision makes a decision of a record, without the times.
func (b *bans) decision(r *ban) decisions.Decision {
	k, p := &b.kinds[r.kind], b.prefix(r)
	d := decisions.Decision{ID: r.number(), Origin: k.Origin, Scenario: k.Scenario, Type: k.Type, Scope: decisions.ScopeRange, Value: p.String()}
	if p.IsSingleIP() {
		d.Scope, d.Value = decisions.ScopeIP, p.Addr().String()
	}
	return d
}

// get returns the record of a decision, 0 if there is none.
func (b *bans) get(id int64) uint32 {
	if len(b.byID.slots) == 0 {
		return 0
	}
	want := [2]uint32{uint32(uint64(id) >> 32), uint32(id)}
	h := b.hashID(want)
	for s := b.byID.home(h); ; s = b.byID.after(s) {
		slot := b.byID.slots[s]
		if slot == 0 {
			return 0
		}
		if i := slot >> tagBits; slot&tagMask == tag(h) && b.at(i).id == want {
			return i
		}
	}
}

// first returns the first record on exactly p, 0 if there is none.
func (b *bans) first(p netip.Prefix) uint32 {
	if len(b.byPrefix.slots) == 0 {
		return 0
	}
	h := b.hashPrefix(p)
	for s := b.byPrefix.home(h); ; s = b.byPrefix.after(s) {
		slot := b.byPrefix.slots[s]
		if slot == 0 {
			return 0
		}
		if i := slot >> tagBits; slot&tagMask == tag(h) && b.prefix(b.at(i)) == p {
			return i
		}
	}
}

// put adds a decision on p, or replaces the one with its ID, which must be about
// p too. It reports false if the limit refused it.
func (b *bans) put(d *decisions.Decision, p netip.Prefix, until tenth, o *origins) bool {
	if i := b.get(d.ID); i != 0 {
		if r := b.at(i); r.next == 0 && b.first(p) == i { // alone on it: a list that comes again
			b.marks(r)
			if k := &b.kinds[r.kind]; k.SavedKind != (decisions.SavedKind{Origin: d.Origin, Scenario: d.Scenario, Type: d.Type}) {
				b.leaveKind(r.kind)
				r.kind = b.joinKind(d, o)
			}
			if r.until != until {
				r.until = until
				b.heap.Fix((*byEnd)(b), r.pos)
			}
			return true
		}
		b.remove(i)
	} else if b.len >= b.limit {
		b.refused++
		return false
	}
	i := b.take()
	r := b.at(i)
	*r = ban{id: [2]uint32{uint32(uint64(d.ID) >> 32), uint32(d.ID)}, until: until, bits: uint8(p.Bits()), kind: b.joinKind(d, o)}
	if p.Addr().Is4() {
		a := p.Addr().As4()
		r.addr = binary.BigEndian.Uint32(a[:])
	} else {
		r.flags, r.addr = banIPv6, b.takeWide(p.Addr().As16())
	}
	if !b.round {
		r.flags |= banMark // other than that of the round, until it is marked
	}
	b.marks(r)
	b.len++
	b.byID.insert(i, b.hashID(r.id), func(i uint32) uint64 { return b.hashID(b.at(i).id) })
	b.link(i, p)
	b.heap.Push((*byEnd)(b), i)
	return true
}

// begin begins a whole set.
func (b *bans) begin() {
	if b.marked < b.len { // the one before was not finished, or not believed: its mark is on some only
		for i := range b.all() {
			r := b.at(i)
			if r.flags &^= banMark; b.round {
				r.flags |= banMark
			}
		}
	}
	b.round, b.marked, b.refused = !b.round, 0, 0
}

// marks notes that a record is in the whole set of this round.
func (b *bans) marks(r *ban) {
	if b.seen(r) {
		return
	}
	r.flags ^= banMark
	b.marked++
}

func (b *bans) seen(r *ban) bool { return (r.flags&banMark != 0) == b.round }

// all yields the records that are in use. Removing one meanwhile is fine.
func (b *bans) all() func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for i := uint32(1); i <= b.used; i++ {
			if b.at(i).until != 0 && !yield(i) {
				return
			}
		}
	}
}

func (b *bans) take() uint32 {
	if i := b.free; i != 0 {
		b.free = b.at(i).next
		return i
	}
	b.used++
	if int(b.used/banChunkSize) == len(b.chunks) {
		b.chunks = append(b.chunks, new(banChunk))
	}
	return b.used
}

func (b *bans) takeWide(a [16]byte) uint32 {
	if n := len(b.spare); n > 0 {
		i := b.spare[n-1]
		b.spare, b.wide[i] = b.spare[:n-1], a
		return i
	}
	b.wide = append(b.wide, a)
	return uint32(len(b.wide) - 1)
}

// remove takes a record out. The item of the prefix goes to the next one, or is loose.
func (b *bans) remove(i uint32) {
	r := b.at(i)
	p := b.prefix(r)
	if first := b.first(p); first != i {
		before := b.at(first)
		for before.next != i {
			before = b.at(before.next)
		}
		before.next = r.next
	} else if r.next != 0 {
		b.byPrefix.replace(i, r.next, b.hashPrefix(p))
		b.moveItem(r, b.at(r.next))
	} else {
		b.byPrefix.remove(i, b.hashPrefix(p), func(i uint32) uint64 { return b.hashPrefix(b.prefix(b.at(i))) })
		if r.flags&banItem != 0 {
			b.loose[p] = item{r.applied, r.given, r.flags >> banOutBit}
		}
	}
	b.byID.remove(i, b.hashID(r.id), func(i uint32) uint64 { return b.hashID(b.at(i).id) })
	b.heap.Remove((*byEnd)(b), r.pos)
	b.leaveKind(r.kind)
	if r.flags&banIPv6 != 0 {
		b.spare = append(b.spare, r.addr)
	}
	if b.seen(r) {
		b.marked--
	}
	b.len--
	*r = ban{next: b.free}
	b.free = i
}

// link puts a record into the chain of its prefix.
func (b *bans) link(i uint32, p netip.Prefix) {
	r, first := b.at(i), b.first(p)
	if first == 0 {
		b.byPrefix.insert(i, b.hashPrefix(p), func(i uint32) uint64 { return b.hashPrefix(b.prefix(b.at(i))) })
		if len(b.loose) > 0 {
			if it, ok := b.loose[p]; ok {
				delete(b.loose, p)
				r.setItem(it)
			}
		}
		return
	}
	head := b.at(first)
	if b.counts(r, head) {
		r.next = first
		b.byPrefix.replace(first, i, b.hashPrefix(p))
		b.moveItem(head, r)
		return
	}
	before := head
	for before.next != 0 && !b.counts(r, b.at(before.next)) {
		before = b.at(before.next)
	}
	r.next, before.next = before.next, i
}

// counts tells whether x ends later than y, or at once and is of a more important origin.
func (b *bans) counts(x, y *ban) bool {
	if x.until != y.until {
		return x.until > y.until
	}
	return b.kinds[x.kind].class < b.kinds[y.kind].class
}

func (b *bans) moveItem(from, to *ban) {
	if from.flags&banItem != 0 {
		to.setItem(item{from.applied, from.given, from.flags >> banOutBit})
		from.flags &= banIPv6 | banMark
		from.applied = 0
	}
}

func (r *ban) setItem(it item) {
	r.applied, r.given = it.applied, it.given
	r.flags = r.flags&(banIPv6|banMark) | banItem | it.out<<banOutBit
}

// item returns the item of p, whose first record is first.
func (b *bans) item(p netip.Prefix, first uint32) (it item, ok bool) {
	if first == 0 {
		if len(b.loose) > 0 {
			it, ok = b.loose[p]
		}
		return it, ok
	}
	r := b.at(first)
	if r.flags&banItem == 0 {
		return it, false
	}
	return item{r.applied, r.given, r.flags >> banOutBit}, true
}

func (b *bans) setItem(p netip.Prefix, first uint32, it item) {
	if _, ok := b.item(p, first); !ok {
		b.items++
	}
	if first == 0 {
		b.loose[p] = it
	} else {
		b.at(first).setItem(it)
	}
}

func (b *bans) dropItem(p netip.Prefix, first uint32) {
	b.items--
	if first == 0 {
		delete(b.loose, p)
	} else {
		r := b.at(first)
		r.flags &= banIPv6 | banMark
		r.applied = 0
	}
}

// eachItem yields the prefixes that have an item, and their first records. Items
// may be changed and dropped meanwhile.
func (b *bans) eachItem() func(func(netip.Prefix, uint32) bool) {
	return func(yield func(netip.Prefix, uint32) bool) {
		for i := uint32(1); i <= b.used; i++ {
			if r := b.at(i); r.flags&banItem != 0 && !yield(b.prefix(r), i) {
				return
			}
		}
		for p := range b.loose {
			if !yield(p, 0) {
				return
			}
		}
	}
}

// joinKind returns the number of the kind of a decision.
func (b *bans) joinKind(d *decisions.Decision, o *origins) uint16 {
	texts := decisions.SavedKind{Origin: d.Origin, Scenario: d.Scenario, Type: d.Type}
	i, ok := b.kindOf[texts]
	if !ok && len(b.noKind) == 0 && len(b.kinds) == 1<<16 {
		// So many reasons nobody reads. They are one of what there is.
		i, ok = 0, true
	}
	if !ok {
		texts = decisions.SavedKind{Origin: strings.Clone(d.Origin), Scenario: strings.Clone(d.Scenario), Type: strings.Clone(d.Type)}
		id := o.id(texts.Origin, texts.Scenario)
		k := banKind{SavedKind: texts, origin: id, class: o.class[id]}
		if n := len(b.noKind); n > 0 {
			i, b.noKind = b.noKind[n-1], b.noKind[:n-1]
			b.kinds[i] = k
		} else {
			i = uint16(len(b.kinds))
			b.kinds = append(b.kinds, k)
		}
		b.kindOf[texts] = i
	}
	b.kinds[i].count++
	return i
}

func (b *bans) leaveKind(i uint16) {
	k := &b.kinds[i]
	if k.count--; k.count == 0 {
		delete(b.kindOf, k.SavedKind)
		*k = banKind{}
		b.noKind = append(b.noKind, i)
	}
}

// earliest returns the record that ends first, 0 if there is none.
func (b *bans) earliest() uint32 {
	if len(b.heap) == 0 {
		return 0
	}
	return b.heap[0]
}

// byEnd is bans as their heap sees them.
type byEnd bans

// Sooner is order.Records'.
func (b *byEnd) Sooner(i, j uint32) bool { return (*bans)(b).at(i).until < (*bans)(b).at(j).until }

// Moved is order.Records'.
func (b *byEnd) Moved(i, pos uint32) { (*bans)(b).at(i).pos = pos }

// hashID and hashPrefix are seeded: whoever gets himself banned by many
// addresses must not choose where they come to lie.

func (b *bans) hashID(id [2]uint32) uint64 { return fold(uint64(id[0])<<32|uint64(id[1]), b.seed) }

func (b *bans) hashPrefix(p netip.Prefix) uint64 {
	if p.Addr().Is4() {
		a := p.Addr().As4()
		return fold(uint64(binary.BigEndian.Uint32(a[:]))<<8|uint64(p.Bits()), b.seed)
	}
	a := p.Addr().As16()
	return fold(binary.BigEndian.Uint64(a[8:])^uint64(p.Bits()), fold(binary.BigEndian.Uint64(a[:8]), b.seed))
}

// fold multiplies and folds the halves onto each other, as wyhash does.
func fold(x, seed uint64) uint64 {
	hi, lo := bits.Mul64(x^seed^0xa0761d6478bd642f, seed|1)
	hi, lo = bits.Mul64(hi^lo, 0xe7037ed1a0b428db)
	return hi ^ lo
}

// index finds records by a hash: a table with linear probing (Knuth, The Art of
// Computer Programming 6.4, algorithms L and R) of their numbers, and in the low
// bits some of the hash, so that other records are seldom looked at. It takes a
// third of the memory of a map. 0 is free.
type index struct {
	slots []uint32
	n     int
}

const (
	tagBits = 8
	tagMask = 1<<tagBits - 1
	maxBans = 1<<(32-tagBits) - 1
)

// tag is the part of a hash that a slot holds; the home comes from the other end.
func tag(h uint64) uint32 { return uint32(h >> (64 - tagBits)) }

func (x *index) home(h uint64) int  { return int(h & uint64(len(x.slots)-1)) }
func (x *index) after(slot int) int { return (slot + 1) & (len(x.slots) - 1) }

// insert adds a record that is not in it.
func (x *index) insert(i uint32, h uint64, hash func(uint32) uint64) {
	if x.n >= len(x.slots)/16*13 {
		old := x.slots
		x.slots = make([]uint32, max(64, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				x.set(o>>tagBits, hash(o>>tagBits))
			}
		}
	}
	x.set(i, h)
	x.n++
}

func (x *index) set(i uint32, h uint64) {
	s := x.home(h)
	for x.slots[s] != 0 {
		s = x.after(s)
	}
	x.slots[s] = i<<tagBits | tag(h)
}

func (x *index) find(i uint32, h uint64) int {
	s := x.home(h)
	for x.slots[s]>>tagBits != i {
		s = x.after(s)
	}
	return s
}

// replace puts another record with the same hash in the place of one.
func (x *index) replace(i, by uint32, h uint64) { x.slots[x.find(i, h)] = by<<tagBits | tag(h) }

// remove takes a record out, and moves up those that would have had its place.
func (x *index) remove(i uint32, h uint64, hash func(uint32) uint64) {
	gap := x.find(i, h)
	x.slots[gap] = 0
	x.n--
	for s := x.after(gap); x.slots[s] != 0; s = x.after(s) {
		// It may move if its home is not between the gap and where it is.
		if home := x.home(hash(x.slots[s] >> tagBits)); (s-home)&(len(x.slots)-1) >= (s-gap)&(len(x.slots)-1) {
			x.slots[gap], x.slots[s] = x.slots[s], 0
			gap = s
		}
	}
}
