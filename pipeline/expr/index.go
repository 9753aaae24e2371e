package expr

import (
	"math/bits"
	"slices"

	"cs/pipeline/event"
	"cs/pipeline/match"
)

// Index runs many filters over one event and evaluates only those that may be
// true. What fields must be equal to selects candidates through tables; then
// one pass over each text tells which of the literals occur in it that the
// candidates need. Few are left: of the 700 filters of the public hub a web
// request reaches some 20. It is immutable and shared by all workers.
type Index struct {
	progs  []*Program
	tables []table
	gates  []gate
	free   match.Bits // filters without a gate
	needs  Program    // the scratch memory that the subjects of gates want
}

// table tells from the value of a field which filters may be true.
type table struct {
	field  event.Slot
	look   match.Bits // filters that ask for the field
	others match.Bits // those that don't
	values map[string]*members
}

// gate tells from a text which filters may be true.
type gate struct {
	subject  *subject
	look     match.Bits // filters behind the gate
	folded   match.Bits // those among them that don't mind the case
	literals *match.Literals
	opens    []members // by literal
}

// members are some of n filters, as a list or, when they are many, as a set.
type members struct {
	list []int32
	set  match.Bits
}

// add puts i into the list, unless it is its last.
func (m *members) add(i int) {
	if k := len(m.list); k == 0 || m.list[k-1] != int32(i) {
		m.list = append(m.list, int32(i))
	}
}

// pack chooses the form that is smaller.
func (m *members) pack(n int) {
	if len(m.list) > n/32 {
		m.set = match.NewBits(n)
		for _, i := range m.list {
			m.set.Add(int(i))
		}
		m.list = nil
	}
}

func (m *members) addTo(b match.Bits) {
	for k, w := range m.set {
		b[k] |= w
	}
	for _, i := range m.list {
		b.Add(int(i))
	}
}

// NewIndex makes an index of filters; visits name them by their position.
func NewIndex(progs []*Program) *Index {
	n := len(progs)
	ix := &Index{progs: progs, free: match.NewBits(n)}
	tables := make(map[event.Slot]*table)
	for i, p := range progs {
		ix.needs.memos = max(ix.needs.memos, p.memos)
		for _, c := range p.val.clues {
			if !c.isField {
				continue
			}
			t := tables[c.field]
			if t == nil {
				t = &table{field: c.field, look: match.NewBits(n), others: match.NewBits(n), values: make(map[string]*members)}
				tables[c.field] = t
			}
			if t.look.Has(i) {
				continue // a second condition on the field is left to the filter
			}
			t.look.Add(i)
			for _, v := range c.values {
				m := t.values[v]
				if m == nil {
					m = &members{}
					t.values[v] = m
				}
				m.add(i)
			}
		}
	}
	for _, t := range tables {
		for i := range n {
			if !t.look.Has(i) {
				t.others.Add(i)
			}
		}
		for _, m := range t.values {
			m.pack(n)
		}
		ix.tables = append(ix.tables, *t)
	}
	// The field that most filters ask for first: it leaves the fewest.
	slices.SortFunc(ix.tables, func(a, b table) int {
		if d := count(b.look) - count(a.look); d != 0 {
			return d
		}
		return int(a.field) - int(b.field)
	})
	ix.addGates(n)
	return ix
}

func (ix *Index) addGates(n int) {
	type text struct {
		gate  *gate
		ids   map[string]int
		texts []string
	}
	bySubject := make(map[string]*text)
	var keys []string
	for i, p := range ix.progs {
		var clues []clue // tables see to fields
		for _, c := range p.val.clues {
			if !c.isField {
				clues = append(clues, c)
			}
		}
		needles, ok := bestNeedles(clues)
		if !ok {
			ix.free.Add(i)
			continue
		}
		for _, nd := range needles {
			t := bySubject[nd.subject.key]
			if t == nil {
				t = &text{gate: &gate{subject: nd.subject, look: match.NewBits(n), folded: match.NewBits(n)}, ids: make(map[string]int)}
				bySubject[nd.subject.key] = t
				keys = append(keys, nd.subject.key)
			}
			t.gate.look.Add(i)
			if nd.fold {
				t.gate.folded.Add(i)
			}
			id, ok := t.ids[nd.text]
			if !ok {
				id = len(t.texts)
				t.ids[nd.text] = id
				t.texts = append(t.texts, nd.text)
				t.gate.opens = append(t.gate.opens, members{})
			}
			t.gate.opens[id].add(i)
		}
	}
	for _, k := range keys {
		t := bySubject[k]
		t.gate.literals = match.NewLiterals(t.texts, true)
		for id := range t.gate.opens {
			t.gate.opens[id].pack(n)
		}
		ix.gates = append(ix.gates, *t.gate)
	}
}

// Run evaluates the filters in their order and visits those that are true
// (err is nil) or failed. A failure never hides the event from the others.
// visit may evaluate other programs with x.
func (ix *Index) Run(x *Ctx, visit func(i int, err error)) {
	base := len(x.sets)
	may := x.set(len(ix.progs))
	ix.candidates(x, may)
	for i := next(may, 0); i >= 0; i = next(may, i+1) {
		p := ix.progs[i]
		if ok, err := p.Bool(x); ok || err != nil {
			visit(i, err)
		}
		if p.acts { // it may have changed what the others look at
			ix.candidates(x, may)
		}
	}
	x.sets = x.sets[:base]
}

// candidates finds the filters that may be true or fail.
func (ix *Index) candidates(x *Ctx, may match.Bits) {
	x.begin(&ix.needs)
	for i := range may {
		may[i] = ^uint64(0)
	}
	if r := len(ix.progs) & 63; r != 0 {
		may[len(may)-1] = 1<<r - 1
	}
	base := len(x.sets)
	open := x.set(len(ix.progs))
	for i := range ix.tables {
		t := &ix.tables[i]
		if !meet(may, t.look) {
			continue
		}
		copy(open, t.others)
		if m := t.values[x.Event.Get(t.field)]; m != nil {
			m.addTo(open)
		}
		for k := range may {
			may[k] &= open[k]
		}
	}
	copy(open, ix.free)
	for i := range ix.gates {
		g := &ix.gates[i]
		if meet(may, g.look) {
			g.pass(x, open)
		}
	}
	for k := range may {
		may[k] &= open[k]
	}
	x.sets = x.sets[:base]
}

// pass adds the filters that the gate lets through.
func (g *gate) pass(x *Ctx, open match.Bits) {
	s := g.subject.str(x)
	if !isASCII(s) {
		// Upper and Lower turn some letters beyond ASCII into ASCII ones
		// (U+017F, U+0131, U+212A), which the folding of the literals misses
		for k := range open {
			open[k] |= g.folded[k]
		}
	}
	base := len(x.sets)
	found := x.set(g.literals.Len())
	g.literals.Find(s, found)
	for id := range found.All {
		g.opens[id].addTo(open)
	}
	x.sets = x.sets[:base]
}

// set lends an empty set for the numbers below n, until x.sets is cut again.
func (x *Ctx) set(n int) match.Bits {
	base, words := len(x.sets), (n+63)/64
	x.sets = slices.Grow(x.sets, words)[:base+words]
	s := x.sets[base : base+words : base+words]
	clear(s)
	return match.Bits(s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func meet(a, b match.Bits) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

func count(b match.Bits) int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// next returns the first member from i on, -1 when there is none.
func next(b match.Bits, i int) int {
	for k := i >> 6; k < len(b); k++ {
		w := b[k]
		if k == i>>6 {
			w &= ^uint64(0) << (i & 63)
		}
		if w != 0 {
			return k<<6 + bits.TrailingZeros64(w)
		}
	}
	return -1
}
