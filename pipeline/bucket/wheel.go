package bucket

import "math/bits"

// wheel orders cells by their end: a hierarchical timing wheel (Varghese and
// Lauck, 1987). Level n has 64 slots of 64^n ticks each; a cell lies on the
// lowest level on which its slot differs from the current one, and moves down
// when the current tick reaches its slot.
//
// The end of a bucket moves away with each event, which the wheel is not
// told: a cell that comes up too early is put back.
type wheel struct {
	cur  int64 // cells of earlier ticks have been handed out
	occ  [levels]uint64
	head [levels * 64]int32
}

const (
	tickBits = 27 // 134 ms
	levels   = 6  // 6 * 6 + 27 bits: all times from 1970 on
	maxTick  = int64(1)<<(6*levels) - 1
)

func tickOf(ns int64) int64 { return max(ns, 0) >> tickBits }

func (w *wheel) init() {
	for i := range w.head {
		w.head[i] = none
	}
}

// slotOf returns the slot for a tick. A past tick is due in the current one.
func (w *wheel) slotOf(tick int64) uint16 {
	tick = max(tick, w.cur)
	level := 0
	if x := uint64(tick ^ w.cur); x != 0 {
		level = (bits.Len64(x) - 1) / 6
	}
	return uint16(level<<6 | int(tick>>(6*level)&63))
}

// link puts a cell into the wheel of its clock.
func (s *shard) link(i int32) {
	c := s.at(i)
	w := s.wheelOf(c)
	c.slot = w.slotOf(tickOf(s.endOf(c)))
	c.prev, c.next = none, w.head[c.slot]
	if c.next >= 0 {
		s.at(c.next).prev = i
	}
	w.head[c.slot] = i
	w.occ[c.slot>>6] |= 1 << (c.slot & 63)
}

func (s *shard) unlink(i int32) {
	c := s.at(i)
	if c.next >= 0 {
		s.at(c.next).prev = c.prev
	}
	if c.prev >= 0 {
		s.at(c.prev).next = c.next
		return
	}
	w := s.wheelOf(c)
	w.head[c.slot] = c.next
	if c.next < 0 {
		w.occ[c.slot>>6] &^= 1 << (c.slot & 63)
	}
}

func (s *shard) wheelOf(c *cell) *wheel { return &s.wheels[c.id>>1&1] }

// due returns the cell that ends first, if that is not after the tick limit,
// and none otherwise. The cell stays linked.
func (s *shard) due(w *wheel, limit int64) int32 {
	for {
		if m := w.occ[0] >> (w.cur & 63); m != 0 {
			tick := w.cur + int64(bits.TrailingZeros64(m))
			if tick > limit {
				w.cur = max(w.cur, limit)
				return none
			}
			w.cur = tick
			i := w.head[tick&63]
			c := s.at(i)
			if tickOf(s.endOf(c)) <= tick {
				return i
			}
			s.unlink(i)
			s.link(i)
			continue
		}
		level, start := w.upper()
		if level == 0 || start > limit {
			if limit < maxTick {
				w.cur = max(w.cur, limit)
			}
			return none
		}
		w.cur = start
		slot := level<<6 | int(start>>(6*level)&63)
		for w.head[slot] >= 0 {
			i := w.head[slot]
			s.unlink(i)
			s.link(i)
		}
	}
}

// upper returns the first slot in use above level 0: its level, 0 for none,
// and its first tick.
func (w *wheel) upper() (level int, start int64) {
	for l := 1; l < levels; l++ {
		at := w.cur >> (6 * l) & 63
		if m := w.occ[l] >> at; m != 0 {
			pos := w.cur>>(6*l) + int64(bits.TrailingZeros64(m))
			return l, pos << (6 * l)
		}
	}
	return 0, 0
}
