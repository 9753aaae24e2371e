package match

import (
	"regexp/syntax"
	"slices"
)

// thread is one of the ways in which an expression may go on: the instruction
// that comes next and the number of its registers in builder.vectors.
type thread struct{ pc, regs uint32 }

// none is no report.
const none = -1

// threads are what a state of a forward automaton stands for: what is known
// behind a rune.
type threads struct {
	list    []thread // most preferred first
	before  kind     // of the rune; edge if that doesn't matter
	partial bool     // ways have been dropped that may count if all of list fail
	set     uint8    // register that gets the position of the rune, 0: none
	report  int      // number of the registers of a match that ends there, or none
}

// builder computes transitions of a forward automaton.
type builder struct {
	code    *code
	certain []int     // see code.certain; nil: follow all threads
	vectors [][]uint8 // registers by capture slot, 0: unset
	numbers map[string]uint32

	// State of a step.
	now    uint32   // number of the step
	seen   []uint32 // by instruction: the last step that has looked at it
	taken  []uint32 // by instruction: the last step that has made it a thread
	class  int      // of the rune; -1 at the end of the text
	holds  syntax.EmptyOp
	slots  []uint32 // set on the way from the thread to the instruction looked at
	regs   uint32   // of the thread
	fresh  uint8    // the register that slots are set to
	used   bool     // whether a thread uses it
	list   []thread
	report int // number of the registers to report, or none
}

func newBuilder(c *code, certain []int) *builder {
	return &builder{
		code:    c,
		certain: certain,
		numbers: map[string]uint32{},
		seen:    make([]uint32, len(c.insts)),
		taken:   make([]uint32, len(c.insts)),
	}
}

// unset returns the number of the registers of a thread that has begun.
func (b *builder) unset() uint32 {
	return b.number(make([]uint8, b.code.slots))
}

// number returns the number of a list of registers, which it may keep.
func (b *builder) number(v []uint8) uint32 {
	n, ok := b.numbers[string(v)]
	if !ok {
		n = uint32(len(b.vectors))
		b.vectors = append(b.vectors, v)
		b.numbers[string(v)] = n
	}
	return n
}

// step computes where a state leads on a column. It fails if the registers do
// not suffice. The list is valid until the next step.
func (b *builder) step(s *threads, column uint32) (to threads, ok bool) {
	b.now++
	b.class, to.before = -1, edge
	if column != b.code.endOfText() {
		b.class, to.before = int(column), b.code.kind[column]
	}
	b.holds = holding(s.before, to.before)

	var busy [registers]bool
	busy[0] = true
	for _, th := range s.list {
		for _, r := range b.vectors[th.regs] {
			busy[r] = true
		}
	}
	fresh := slices.Index(busy[:], false)
	if fresh < 0 {
		return threads{}, false
	}

	b.fresh, b.list, b.report, b.used = uint8(fresh), b.list[:0], none, false
	for _, th := range s.list {
		b.regs = th.regs
		if b.follow(th.pc) {
			break // a match: less preferred threads don't count any more
		}
	}
	// A match is preferred to what has been dropped before, not to what is now.
	to.list, to.report, to.partial = b.list, b.report, s.partial && b.report == none
	if n := b.enough(to.list); n < len(to.list) {
		to.list, to.partial = to.list[:n], true
	}
	if slices.ContainsFunc(to.list, func(t thread) bool { return b.code.ends[t.pc] }) {
		to.report = none // every step from the next state finds a longer one
	}
	if b.used || to.report != none && slices.Contains(b.vectors[to.report], b.fresh) {
		to.set = b.fresh
	}
	return to, true
}

// lead is how many more certain runes a preferred thread has taken before it is
// trusted to get on.
const lead = 4

// enough returns how many of the threads are worth following: those up to one
// that waits in a part of the expression which a preferred one has left far
// behind. A way like .*? in front of a literal could go on to the end of most
// texts, although what is behind the literal has been found long ago.
func (b *builder) enough(list []thread) int {
	if b.certain == nil {
		return len(list)
	}
	for i, th := range list {
		for _, preferred := range list[:i] {
			if preferred.pc > th.pc && b.certain[preferred.pc] >= b.certain[th.pc]+lead {
				return i
			}
		}
	}
	return len(list)
}

// follow goes from an instruction to all that take the rune, the preferred
// ways first. It tells whether it came upon a match.
func (b *builder) follow(pc uint32) bool {
	for {
		if b.seen[pc] == b.now {
			return false
		}
		b.seen[pc] = b.now
		in := &b.code.insts[pc]
		switch in.op {
		case opAlt:
			if b.follow(in.out) {
				return true
			}
			pc = in.arg
		case opCapture:
			b.slots = append(b.slots, in.arg)
			found := b.follow(in.out)
			b.slots = b.slots[:len(b.slots)-1]
			return found
		case opAssert:
			if syntax.EmptyOp(in.arg)&^b.holds != 0 {
				return false
			}
			pc = in.out
		case opMatch:
			used := b.used
			b.report = int(b.registers())
			b.used = used
			return true
		case opRune:
			if b.class >= 0 && b.code.sets[in.set].has(b.class) && b.taken[in.out] != b.now {
				b.taken[in.out] = b.now
				b.list = append(b.list, thread{in.out, b.registers()})
			}
			return false
		default:
			return false
		}
	}
}

// registers returns the number of the thread's registers after the slots are
// set.
func (b *builder) registers() uint32 {
	if len(b.slots) == 0 {
		return b.regs
	}
	v := append([]uint8(nil), b.vectors[b.regs]...)
	for _, slot := range b.slots {
		v[slot] = b.fresh
	}
	b.used = true
	return b.number(v)
}
