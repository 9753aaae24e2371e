package match

import (
	"regexp/syntax"
)

// backtracker runs a code directly. It remembers every pair of instruction and
// position that has failed, which makes it linear in the length of the text,
// and needs a bit of memory for each pair. It serves the texts for which the
// automata are full.
type backtracker struct {
	visited []uint32
	jobs    []job
	steps   int // pairs visited; for tests
	slots   []int32
}

// job is something to be tried later: an instruction at a position, or, where
// restore is set, the putting back of a slot.
type job struct {
	pc      uint32
	pos     int32
	restore bool // slot pc gets back the value pos
}

// maxVisited bounds backtracker.visited, in bits: 2 MiB. Longer texts are for
// the standard library.
const maxVisited = 1 << 24

// fits tells whether there is memory for a text of n bytes.
func (b *backtracker) fits(c *code, n int) bool { return (n + 1) <= maxVisited/len(c.insts) }

// find searches s from pos on, a border of runes.
func (b *backtracker) find(c *code, s string, pos int, anchored bool, caps []int32) bool {
	words := (len(c.insts)*(len(s)-pos+1) + 31) / 32
	if cap(b.visited) < words {
		b.visited = make([]uint32, words)
	}
	b.visited = b.visited[:words]
	clear(b.visited)
	if cap(b.slots) < c.slots {
		b.slots = make([]int32, c.slots)
	}
	b.slots = b.slots[:c.slots]
	for start := pos; ; {
		for i := range b.slots {
			b.slots[i] = -1
		}
		if end := b.from(c, s, pos, start); end >= 0 {
			if caps != nil {
				caps[0], caps[1] = int32(start), int32(end)
				copy(caps[2:], b.slots)
			}
			return true
		}
		if anchored || start == len(s) {
			return false
		}
		_, width := c.decode(s[start:])
		start += width
	}
}

// from tries a match that begins at start and returns its end, or -1.
func (b *backtracker) from(c *code, s string, base, start int) int {
	n := len(s) - base + 1
	b.jobs = append(b.jobs[:0], job{pc: c.start, pos: int32(start)})
	for len(b.jobs) > 0 {
		j := b.jobs[len(b.jobs)-1]
		b.jobs = b.jobs[:len(b.jobs)-1]
		if j.restore {
			b.slots[j.pc] = j.pos
			continue
		}
		pc, pos := j.pc, int(j.pos)
	way:
		for {
			bit := int(pc)*n + pos - base
			if b.visited[bit>>5]&(1<<(bit&31)) != 0 {
				break
			}
			b.visited[bit>>5] |= 1 << (bit & 31)
			b.steps++
			in := &c.insts[pc]
			switch in.op {
			case opAlt:
				b.jobs = append(b.jobs, job{pc: in.arg, pos: int32(pos)})
			case opCapture:
				b.jobs = append(b.jobs, job{pc: in.arg, pos: b.slots[in.arg], restore: true})
				b.slots[in.arg] = int32(pos)
			case opAssert:
				after := edge
				if pos < len(s) {
					class, _ := c.decode(s[pos:])
					after = c.kind[class]
				}
				if syntax.EmptyOp(in.arg)&^holding(c.kindBefore(s, pos), after) != 0 {
					break way
				}
			case opRune:
				if pos == len(s) {
					break way
				}
				class, width := c.decode(s[pos:])
				if !c.sets[in.set].has(int(class)) {
					break way
				}
				pos += width
			case opMatch:
				return pos
			default:
				break way
			}
			pc = in.out
		}
	}
	return -1
}
