package expr

import (
	"hash/maphash"
	"net/netip"
	"unsafe"
)

// memo remembers what a function made of a text, so that the dozens of filters
// that look at Upper(evt.Meta.http_path) compute it once a line.
//
// It is keyed by where the text lies, not by what it says: within one line the
// bytes at an address don't change (a view of the line, a constant, or the
// arena, which only grows), and a field that is set anew lies elsewhere.
type memo struct {
	epoch  uint64
	in     string
	out    string
	labels map[string]string // of a label: what it was looked up in
}

// memoOf returns the number of the memo of an expression.
func (c *Compiler) memoOf(key string) int {
	k, ok := c.memos[key]
	if !ok {
		if c.memos == nil {
			c.memos = make(map[string]int)
		}
		k = len(c.memos)
		c.memos[key] = k
	}
	return k
}

// memoised wraps a function of a text that costs more than a comparison.
func (u *unit) memoised(name string, a value, f func(*Ctx, string) string) value {
	in := a.str
	if a.konst {
		return text(func(x *Ctx) string { return f(x, in(x)) })
	}
	if a.key == "" {
		return text(func(x *Ctx) string { return f(x, in(x)) })
	}
	key := name + "(" + a.key + ")"
	k := u.memoOf(key)
	v := text(func(x *Ctx) string {
		s := in(x)
		m := &x.memo[k]
		if m.epoch == x.epoch && sameText(m.in, s) {
			return m.out
		}
		out := f(x, s)
		*m = memo{epoch: x.epoch, in: s, out: out}
		return out
	})
	v.key = key
	return v
}

// sameText tells whether two texts are the same bytes of memory.
func sameText(a, b string) bool {
	return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b)
}

// label is evt.Line.Labels.name. All lines of an acquisition have one map of
// labels, which nobody changes: what was found in it stays.
func (u *unit) label(name string) value {
	key := labelsKey + "." + name
	k := u.memoOf(key)
	v := text(func(x *Ctx) string {
		m := &x.memo[k]
		if labels := x.Event.Line.Labels; !sameMap(m.labels, labels) {
			m.labels, m.out = labels, labels[name]
		}
		return m.out
	})
	v.key = key
	return v
}

const labelsKey = "evt.Line.Labels"

// sameMap tells whether two maps are one.
func sameMap(a, b map[string]string) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}

// parsed remembers the address that a text is: several filters ask the same
// about one text.
type parsed struct {
	epoch uint64
	in    string
	addr  netip.Addr
	ok    bool
}

// address is the function address with a memory of one text.
func (x *Ctx) address(s string) (netip.Addr, bool) {
	p := &x.parsed
	if p.epoch != x.epoch || !sameText(p.in, s) {
		*p = parsed{epoch: x.epoch, in: s}
		p.addr, p.ok = address(s)
	}
	return p.addr, p.ok
}

// verdicts remember the answers to one costly question about a text from line to
// line: the same agents come again and again. A text that takes the cell of
// another one displaces it.
type verdicts struct {
	seed  maphash.Seed
	cells [256]verdict
}

// verdict takes four cache lines. The text is compared as a whole, so that no
// two texts are taken for one.
type verdict struct {
	hash uint64
	n    uint8
	yes  bool
	text [246]byte
}

// minRecalled is the length from which on remembering is worth the while.
const minRecalled = 16

// recalled makes a condition that asks a question about a text, if it was not
// asked about the same text lately. The answer must depend on nothing else.
func (u *unit) recalled(of value, ask func(*Ctx, string) bool) value {
	k := u.questions
	u.questions++
	f := of.str
	return boolean(func(x *Ctx) bool {
		s := f(x)
		if len(s) < minRecalled || len(s) > len(verdict{}.text) {
			return ask(x, s)
		}
		for k >= len(x.verdicts) {
			x.verdicts = append(x.verdicts, nil)
		}
		v := x.verdicts[k]
		if v == nil {
			v = &verdicts{seed: maphash.MakeSeed()}
			x.verdicts[k] = v
		}
		hash := maphash.String(v.seed, s)
		c := &v.cells[hash%uint64(len(v.cells))]
		if c.hash != hash || string(c.text[:c.n]) != s {
			c.hash, c.n, c.yes = hash, uint8(len(s)), ask(x, s)
			copy(c.text[:], s)
		}
		return c.yes
	})
}
