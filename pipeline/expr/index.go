package expr

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

	"cs/pipeline/match"
	"cs/platform/order"
)

// Index runs many filters over one event and evaluates only those that may be
// true. What texts must be equal to selects candidates through tables; then
// one pass over each text tells which of the literals occur in it that the
// candidates need. Few are left: of the 700 filters of the public hub a web
// request reaches some 20, and of them only what the tables don't know is
// evaluated. It is immutable and shared by all workers.
type Index struct {
	filters []filter
	tables  []table
	gates   []gate
	free    match.Bits // filters without a gate
	needs   Program    // the scratch memory that the subjects want
}

// filter is what is left to do for a candidate.
type filter struct {
	prog *Program
	rest func(*Ctx) bool // conditions that the tables don't decide; nil: evaluate all of it
}

// table tells from a text which filters may be true.
type table struct {
	subject *subject
	look    match.Bits // filters that ask for the text
	blocks  uint64     // of look
	words   *lexicon
	sets    []match.Bits // by word: the filters that may be true
	blank   match.Bits   // the same for "": most fields of most events are empty
	others  match.Bits   // the same for all other texts
}

// gate tells from a text which filters may be true.
type gate struct {
	subject  *subject
	look     match.Bits // filters behind the gate
	blocks   uint64     // of look
	folded   match.Bits // those among them that don't mind the case
	folds    bool       // there are such
	quick    match.Bits // those that are evaluated quickly
	literals *match.Literals
	rare     []byte    // one of them is in each literal, and they are in few texts; nil: not known
	opens    []members // by literal

	// kin are gates whose subject is an unescaped form of this one: mostly the same
	// text, in which their literals are found in the same pass.
	kin    []int
	joint  *match.Literals // those of the gate, and of its kin behind them
	whose  []int8          // by literal of joint: index in kin, -1 for the gate itself
	opened []members       // by literal of joint
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

// NewIndex makes an index of filters; visits name them by their position. A nil
// filter is always true.
func NewIndex(progs []*Program) *Index {
	n := len(progs)
	ix := &Index{filters: make([]filter, n), free: match.NewBits(n)}
	for i, p := range progs {
		if p == nil {
			p = &Program{src: "true", val: constant(true)}
		}
		ix.filters[i] = filter{prog: p, rest: p.undecided()}
		ix.needs.memos = max(ix.needs.memos, p.memos)
	}
	ix.addTables(n)
	ix.addGates(n)
	return ix
}

// undecided returns what is left of a condition when its exact clues hold.
func (p *Program) undecided() func(*Ctx) bool {
	if p.val.bool == nil {
		return nil
	}
	var rest []conjunct
	for _, c := range p.val.conjuncts() {
		if c.exact == nil {
			rest = append(rest, c)
		}
	}
	return all(rest)
}

// asked is a clue of a filter.
type asked struct {
	filter int
	clue   clue
}

func (ix *Index) addTables(n int) {
	var keys []string
	asks := make(map[string][]asked)
	for i := range ix.filters {
		for _, c := range ix.filters[i].prog.val.clues {
			if c.subject == nil {
				continue
			}
			k := c.subject.key
			if asks[k] == nil {
				keys = append(keys, k)
			}
			asks[k] = append(asks[k], asked{i, c})
		}
	}
	for _, k := range keys {
		ix.tables = append(ix.tables, newTable(asks[k], n))
	}
	// The text that most filters ask for first: it leaves the fewest.
	order.Stable(ix.tables, func(a, b table) int { return count(b.look) - count(a.look) })
}

func newTable(asks []asked, n int) table {
	t := table{subject: asks[0].clue.subject, look: match.NewBits(n)}
	values := make(map[string][]int) // who says so, by value
	var texts []string
	for k, a := range asks {
		t.look.Add(a.filter)
		for _, v := range a.clue.values {
			if values[v] == nil {
				texts = append(texts, v)
			}
			values[v] = append(values[v], k)
		}
	}
	t.blocks = blocksOf(t.look)
	named := make([]bool, len(asks)) // the text is among the values of the clue
	allowed := func() match.Bits {
		set := everyone(n)
		for k, a := range asks {
			if named[k] == a.clue.but {
				set[a.filter>>6] &^= 1 << (a.filter & 63)
			}
		}
		return set
	}
	t.others = allowed()
	ids := make([]int32, len(texts))
	known := make(map[string]int32) // sets by their bits: many texts have the same
	for i, v := range texts {
		for _, k := range values[v] {
			named[k] = true
		}
		set := allowed()
		for _, k := range values[v] {
			named[k] = false
		}
		id, ok := known[bitsKey(set)]
		if !ok {
			id = int32(len(t.sets))
			known[bitsKey(set)] = id
			t.sets = append(t.sets, set)
		}
		ids[i] = id
	}
	t.words = newLexicon(texts, ids)
	t.blank = t.others
	if id := t.words.find(""); id >= 0 {
		t.blank = t.sets[id]
	}
	return t
}

func (ix *Index) addGates(n int) {
	type text struct {
		gate  *gate
		ids   map[string]int
		texts []string
	}
	bySubject := make(map[string]*text)
	var keys []string
	var texts [][]string
	for i := range ix.filters {
		var clues []clue // tables see to the others
		for _, c := range ix.filters[i].prog.val.clues {
			if c.subject == nil {
				clues = append(clues, c)
			}
		}
		best, ok := bestClue(clues)
		if !ok {
			ix.free.Add(i)
			continue
		}
		for _, nd := range best.needles {
			t := bySubject[nd.subject.key]
			if t == nil {
				t = &text{gate: &gate{subject: nd.subject, look: match.NewBits(n), folded: match.NewBits(n), quick: match.NewBits(n)}, ids: make(map[string]int)}
				bySubject[nd.subject.key] = t
				keys = append(keys, nd.subject.key)
			}
			t.gate.look.Add(i)
			if nd.fold {
				t.gate.folded.Add(i)
				t.gate.folds = true
			}
			if !nd.fold && (best.quick || len(best.needles) <= 3) {
				t.gate.quick.Add(i)
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
		t.gate.rare = rareIn(t.texts)
		texts = append(texts, t.texts)
		t.gate.blocks = blocksOf(t.gate.look)
		for id := range t.gate.opens {
			t.gate.opens[id].pack(n)
		}
		ix.gates = append(ix.gates, *t.gate)
	}
	ix.joinKin(texts)
}

// joinKin finds the kin of gates, whose literals are texts.
func (ix *Index) joinKin(texts [][]string) {
	for i := range ix.gates {
		g := &ix.gates[i]
		joint := texts[i]
		for k := range ix.gates {
			if key := ix.gates[k].subject.key; k < maxKinGates && (key == "pathunescape("+g.subject.key+")" || key == "queryunescape("+g.subject.key+")") {
				g.kin = append(g.kin, k)
				joint = slices.Concat(joint, texts[k])
			}
		}
		if g.kin == nil {
			continue
		}
		g.joint = match.NewLiterals(joint, true)
		g.opened = g.opens
		for range g.opens {
			g.whose = append(g.whose, -1)
		}
		for j, k := range g.kin {
			g.opened = slices.Concat(g.opened, ix.gates[k].opens)
			for range ix.gates[k].opens {
				g.whose = append(g.whose, int8(j))
			}
		}
	}
}

// maxKinGates is the number of gates that may be kin of others: sets of them are
// kept in 64 bits.
const maxKinGates = 64

// Run evaluates the filters in their order and visits those that are true
// (err is nil) or failed. A failure never hides the event from the others.
// visit may evaluate other programs with x.
func (ix *Index) Run(x *Ctx, visit func(i int, err error)) {
	base := len(x.sets)
	may := x.set(len(ix.filters))
	ix.candidates(x, may)
	for i := next(may, 0); i >= 0; i = next(may, i+1) {
		f := &ix.filters[i]
		if ok, err := f.eval(x); ok || err != nil {
			visit(i, err)
		}
		if f.prog.acts { // it may have changed what the others look at
			ix.candidates(x, may)
		}
	}
	x.sets = x.sets[:base]
}

// First returns the first filter in their order that is true (err is nil) or
// fails, -1 when there is none.
func (ix *Index) First(x *Ctx) (int, error) {
	base := len(x.sets)
	may := x.set(len(ix.filters))
	ix.candidates(x, may)
	i := next(may, 0)
	for ; i >= 0; i = next(may, i+1) {
		f := &ix.filters[i]
		if ok, err := f.eval(x); ok || err != nil {
			x.sets = x.sets[:base]
			return i, err
		}
		if f.prog.acts {
			ix.candidates(x, may)
		}
	}
	x.sets = x.sets[:base]
	return i, nil
}

// eval evaluates what the tables don't decide of a candidate.
func (f *filter) eval(x *Ctx) (bool, error) {
	if f.rest == nil {
		return f.prog.Bool(x)
	}
	x.begin(f.prog)
	ok := f.rest(x)
	if x.err != nil {
		return false, f.prog.failed(x)
	}
	return ok, nil
}

// candidates finds the filters that may be true or fail.
func (ix *Index) candidates(x *Ctx, may match.Bits) {
	x.begin(&ix.needs)
	n := len(ix.filters)
	fill(may, n)
	blocks := ^uint64(0) // of may, at least
	for i := range ix.tables {
		t := &ix.tables[i]
		if blocks&t.blocks == 0 || !meet(may, t.look, blocks&t.blocks) {
			continue
		}
		set := t.blank
		if s := t.subject.text(x); s != "" {
			set = t.others
			if id := t.words.find(s); id >= 0 {
				set = t.sets[id]
			}
		}
		blocks = intersect(may, set)
	}
	if blocks == 0 || len(ix.gates) == 0 {
		return
	}
	base := len(x.sets)
	open := x.set(n)
	copy(open, ix.free)
	passed := uint64(0) // with those that they are kin of
	for i := range ix.gates {
		g := &ix.gates[i]
		if blocks&g.blocks != 0 && passed&(1<<i) == 0 && meet(may, g.look, blocks&g.blocks) {
			passed |= ix.pass(g, x, may, open)
		}
	}
	intersect(may, open)
	x.sets = x.sets[:base]
}

// bytesPerFilter is how many bytes a gate searches in the time that it takes to
// evaluate a quick filter.
const bytesPerFilter = 8

// pass adds to open the candidates that a gate lets through, and those that its
// kin do, if it did their work, too: those are returned.
func (ix *Index) pass(g *gate, x *Ctx, may, open match.Bits) (passed uint64) {
	s := g.subject.text(x)
	if s == "" {
		return 0 // no needle is empty
	}
	if g.folds && hasForeign(s) {
		for k := range open {
			open[k] |= g.folded[k]
		}
	}
	if g.isQuicker(may, len(s)) {
		for k := range open {
			open[k] |= may[k] & g.look[k]
		}
		return 0
	}
	if g.rare != nil && !slices.ContainsFunc(g.rare, func(c byte) bool { return strings.IndexByte(s, c) >= 0 }) {
		return 0
	}
	base := len(x.sets)
	literals, opens := g.literals, g.opens
	if g.kin != nil {
		literals, opens = g.joint, g.opened
		for _, k := range g.kin {
			d := &ix.gates[k]
			if !sameText(d.subject.text(x), s) {
				continue
			}
			passed |= 1 << k
			if d.folds && hasForeign(s) {
				for w := range open {
					open[w] |= d.folded[w]
				}
			}
		}
	}
	found := x.set(literals.Len())
	literals.Find(s, found)
	for id := range found.All {
		if g.kin != nil && g.whose[id] >= 0 && passed&(1<<g.kin[g.whose[id]]) == 0 {
			continue // its text is another one
		}
		opens[id].addTo(open)
	}
	x.sets = x.sets[:base]
	return passed
}

// isQuicker tells whether evaluating all candidates behind the gate is quicker
// than searching a text of length n for the literals.
func (g *gate) isQuicker(may match.Bits, n int) bool {
	n += bytesPerFilter // to begin a search takes some time
	for k := range may {
		w := may[k] & g.look[k]
		if w&^g.quick[k] != 0 {
			return false
		}
		if n -= bits.OnesCount64(w) * bytesPerFilter; n < 0 {
			return false
		}
	}
	return true
}

// rareIn returns bytes that logs are not full of, one of which is in each of the
// literals; nil if more than a few would be needed.
func rareIn(literals []string) (some []byte) {
	const rare, most = "$`{}<>|\\^#!%", 3
	for range most {
		best, count := byte(0), 0
		for _, c := range []byte(rare) {
			n := 0
			for _, l := range literals {
				if strings.IndexByte(l, c) >= 0 {
					n++
				}
			}
			if n > count {
				best, count = c, n
			}
		}
		if count == 0 {
			return nil
		}
		some = append(some, best)
		literals = slices.DeleteFunc(slices.Clone(literals), func(l string) bool { return strings.IndexByte(l, best) >= 0 })
		if len(literals) == 0 {
			return some
		}
	}
	return nil
}

// Candidates are the filters of an Index that may be true of an event or fail,
// for somebody who goes through them and changes the event on the way. They
// belong to one worker.
type Candidates struct {
	index *Index
	may   match.Bits
	texts []string // what the subjects of the index were
}

// Candidates returns room for the candidates of an event.
func (ix *Index) Candidates() *Candidates {
	return &Candidates{index: ix, may: match.NewBits(len(ix.filters)), texts: make([]string, len(ix.tables)+len(ix.gates))}
}

// Find looks for the candidates among all filters.
func (c *Candidates) Find(x *Ctx) {
	ix := c.index
	ix.candidates(x, c.may)
	for i := range ix.tables {
		c.texts[i] = ix.tables[i].subject.text(x)
	}
	for i := range ix.gates {
		c.texts[len(ix.tables)+i] = ix.gates[i].subject.text(x)
	}
}

// Renew is Find for an event that may have changed since.
func (c *Candidates) Renew(x *Ctx) {
	ix := c.index
	x.begin(&ix.needs)
	for i, was := range c.texts {
		var s *subject
		if i < len(ix.tables) {
			s = ix.tables[i].subject
		} else {
			s = ix.gates[i-len(ix.tables)].subject
		}
		if !sameText(s.text(x), was) {
			c.Find(x)
			return
		}
	}
}

// Next returns the first candidate from i on, -1 when there is none.
func (c *Candidates) Next(i int) int { return next(c.may, i) }

// Test evaluates the filter of a candidate. Nobody else may have changed the
// event since Find or Renew; a filter that does so renews the candidates.
func (c *Candidates) Test(x *Ctx, i int) (bool, error) {
	f := &c.index.filters[i]
	ok, err := f.eval(x)
	if f.prog.acts {
		c.Renew(x)
	}
	return ok, err
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
	for len(s) >= 8 {
		if load8(s)&0x8080808080808080 != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Sets have summaries: bit k says that there is something in the words k, k+64,
// k+128 … of a set. Most sets of filters are empty but for a few words.

func blocksOf(b match.Bits) (blocks uint64) {
	for k, w := range b {
		if w != 0 {
			blocks |= 1 << (k & 63)
		}
	}
	return blocks
}

// meet tells whether two sets have a common member in some blocks.
func meet(a, b match.Bits, blocks uint64) bool {
	for ; blocks != 0; blocks &= blocks - 1 {
		for k := bits.TrailingZeros64(blocks); k < len(a); k += 64 {
			if a[k]&b[k] != 0 {
				return true
			}
		}
	}
	return false
}

// intersect leaves in a what is in b, too, and returns its blocks.
func intersect(a, b match.Bits) (blocks uint64) {
	for k := range a {
		if a[k] &= b[k]; a[k] != 0 {
			blocks |= 1 << (k & 63)
		}
	}
	return blocks
}

// fill makes b the numbers below n.
func fill(b match.Bits, n int) {
	for k := range b {
		b[k] = ^uint64(0)
	}
	if r := n & 63; r != 0 {
		b[len(b)-1] = 1<<r - 1
	}
}

func everyone(n int) match.Bits {
	b := match.NewBits(n)
	fill(b, n)
	return b
}

// bitsKey returns a text that stands for the members of a set.
func bitsKey(b match.Bits) string {
	key := make([]byte, 0, 8*len(b))
	for _, w := range b {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	return string(key)
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
