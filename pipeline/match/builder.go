package match

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
)

// thread is one of the ways in which an expression may go on: the instruction
// that comes next and the number of its registers in builder.vectors.
type thread struct{ pc, regs uint32 }

// transition is what the builder finds out about a state and a column.
type transition struct {
	list   []thread // of the next state
	before kind     // of the rune before that
	set    int16    // register that gets the position, -1: none
	report int64    // number of the registers to report, -1: none
}

// builder computes transitions of a forward automaton.
type builder struct {
	code    *code
	vectors [][]int16 // registers by capture slot, -1: unset
	numbers map[string]uint32

	// State of a step.
	now    uint32   // number of the step
	seen   []uint32 // by instruction: the last step that has looked at it
	taken  []uint32 // by instruction: the last step that has made it a thread
	class  int      // of the rune; -1 at the end of the text
	holds  syntax.EmptyOp
	slots  []uint32 // set on the way from the thread to the instruction looked at
	regs   uint32   // of the thread
	fresh  int16    // the register that slots are set to
	used   bool     // whether a thread uses it
	list   []thread
	report int64 // number of the registers to report, -1: none
	key    []byte
}

func newBuilder(c *code) *builder {
	return &builder{
		code:    c,
		numbers: map[string]uint32{},
		seen:    make([]uint32, len(c.insts)),
		taken:   make([]uint32, len(c.insts)),
	}
}

// unset returns the number of the registers of a thread that has begun.
func (b *builder) unset() uint32 {
	v := make([]int16, b.code.slots)
	for i := range v {
		v[i] = -1
	}
	return b.number(v)
}

// number returns the number of a list of registers, which it may keep.
func (b *builder) number(v []int16) uint32 {
	b.key = b.key[:0]
	for _, r := range v {
		b.key = binary.LittleEndian.AppendUint16(b.key, uint16(r))
	}
	n, ok := b.numbers[string(b.key)]
	if !ok {
		n = uint32(len(b.vectors))
		b.vectors = append(b.vectors, v)
		b.numbers[string(b.key)] = n
	}
	return n
}

// step computes where a state leads on a column. It fails if the registers do
// not suffice. The list is valid until the next step.
func (b *builder) step(s *threads, column uint32) (to transition, ok bool) {
	b.now++
	b.class, to.before = -1, edge
	if column != b.code.endOfText() {
		b.class, to.before = int(column), b.code.kind[column]
	}
	b.holds = holding(s.before, to.before)

	var busy [registers + 1]bool
	for l := s.list; l != ""; l = l[8:] {
		for _, r := range b.vectors[le32(l[4:])] {
			busy[r+1] = true // the first stands for unset ones
		}
	}
	b.fresh = 0
	for busy[b.fresh+1] {
		if b.fresh++; b.fresh == registers {
			return transition{}, false
		}
	}

	b.list, b.report, b.used = b.list[:0], -1, false
	for l := s.list; l != ""; l = l[8:] {
		b.regs = le32(l[4:])
		if b.follow(le32(l)) {
			break // a match: less preferred threads don't count any more
		}
	}
	to.list, to.report, to.set = b.list, b.report, -1
	if slices.ContainsFunc(to.list, func(t thread) bool { return b.code.ends[t.pc] }) {
		to.report = -1 // every step from the next state finds a longer one
	}
	if b.used || to.report >= 0 && slices.Contains(b.vectors[to.report], b.fresh) {
		to.set = b.fresh
	}
	return to, true
}

func le32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
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
			b.report = int64(b.registers())
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
	v := append([]int16(nil), b.vectors[b.regs]...)
	for _, slot := range b.slots {
		v[slot] = b.fresh
	}
	b.used = true
	return b.number(v)
}
