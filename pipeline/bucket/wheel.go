package bucket

import "math/bits"

// wheel orders the live cells by their end: a hierarchical timing wheel
// (Varghese and Lauck, 1987). Level n has 512 slots of 512^n ticks each; a cell
// lies on the lowest level on which its slot differs from the current one, and
// moves down when the current tick reaches its slot.
//
// The end of a bucket moves away with each event, which the wheel is not
// told: a cell that comes up too early is put back. Replayed cells lie on no
// wheel: no clock ends them.
//
// A slot has several lists, its lanes, which are walked side by side: each step
// of a walk waits for memory.
type wheel struct {
	cur  int64 // cells of earlier ticks have been handed out
	occ  [levels][slots / 64]uint64
	head [levels * slots][lanes]int32
}

const (
	tickBits  = 29 // 537 ms
	levelBits = 9
	levels    = 4 // 4 * 9 + 29 bits: all times from 1970 on
	slots     = 1 << levelBits
	lanes     = 4
)

func tickOf(ns int64) int64 { return max(ns, 0) >> tickBits }

func (w *wheel) init() {
	for i := range w.head {
		for l := range lanes {
			w.head[i][l] = none
		}
	}
}

// slotOf returns the slot for a tick. A past tick is due in the current one.
func (w *wheel) slotOf(tick int64) uint16 {
	tick = max(tick, w.cur)
	level := 0
	if x := uint64(tick ^ w.cur); x != 0 {
		level = (bits.Len64(x) - 1) / levelBits
	}
	return uint16(level<<levelBits | int(tick>>(levelBits*level)&(slots-1)))
}

// first returns the first slot in use, with its first tick, or none. A slot that
// the current tick has reached comes before the slots of lower levels, to which its
// cells move.
func (w *wheel) first() (slot int, start int64) {
	for level := levels - 1; level > 0; level-- {
		at := int(w.cur >> (levelBits * level) & (slots - 1))
		if w.occ[level][at/64]>>(at%64)&1 == 1 {
			return level<<levelBits | at, w.cur
		}
	}
	for level := range levels {
		at := int(w.cur >> (levelBits * level) & (slots - 1))
		word := at / 64
		for m := w.occ[level][word] >> (at & 63) << (at & 63); ; m = w.occ[level][word] {
			if m != 0 {
				i := word*64 + bits.TrailingZeros64(m)
				pos := w.cur>>(levelBits*level)&^(slots-1) | int64(i)
				return level<<levelBits | i, pos << (levelBits * level)
			}
			if word++; word == slots/64 {
				break
			}
		}
	}
	return int(none), 0
}

// link puts a cell onto the wheel.
func (t *Table) link(i int32) {
	c := t.at(i)
	if c.replayed() {
		return
	}
	w := &t.wheel
	slot := w.slotOf(tickOf(t.endOf(c)))
	head := &w.head[slot][i%lanes]
	c.setSlot(slot)
	c.prev, c.next = none, *head
	if c.next >= 0 {
		t.at(c.next).prev = i
	}
	*head = i
	w.occ[slot>>levelBits][slot%slots/64] |= 1 << (slot & 63)
}

func (t *Table) unlink(i int32) {
	c := t.at(i)
	if c.replayed() {
		return
	}
	if c.next >= 0 {
		t.at(c.next).prev = c.prev
	}
	if c.prev >= 0 {
		t.at(c.prev).next = c.next
		return
	}
	w, slot := &t.wheel, c.slot()
	w.head[slot][i%lanes] = c.next
	if w.head[slot] == [lanes]int32{none, none, none, none} {
		w.occ[slot>>levelBits][slot%slots/64] &^= 1 << (slot & 63)
	}
}

// progress is what a part of Advance found.
type progress uint8

const (
	idle progress = iota // nothing is due any more
	busy                 // there is more, but others may want the table
	rang                 // a counter overflowed
)

// advance looks at some cells of the first slot, if that begins at a tick or
// before. It removes those that are over and puts the others where they belong.
func (t *Table) advance(limit int64, out *Overflow) (Key, progress) {
	w := &t.wheel
	slot, start := w.first()
	if slot < 0 || start > limit {
		w.cur = max(w.cur, limit)
		return 0, idle
	}
	w.cur = start

	var cells [touchAtOnce]int32
	n := 0
	for next := w.head[slot]; n <= len(cells)-lanes && next != [lanes]int32{none, none, none, none}; {
		for l, i := range next {
			if i >= 0 {
				cells[n] = i
				n++
				next[l] = t.at(i).next
			}
		}
	}
	var hashes [touchAtOnce]uint32
	for k, i := range cells[:n] {
		hashes[k] = hashOf(t.at(i).key)
	}
	t.touched += t.index.touch(hashes[:n])
	for _, i := range cells[:n] {
		c := t.at(i)
		if slot >= slots || tickOf(t.endOf(c)) > start {
			t.unlink(i)
			t.link(i)
			continue
		}
		if t.ticks(c) {
			k := Key(Key(c.key).of(ident(t.specs[c.spec].Share, false, false)))
			t.ring(i, out)
			return k, rang
		}
		if !c.silent() {
			t.counts[c.spec].Underflowed++
		}
		t.remove(i)
	}
	return 0, busy
}
