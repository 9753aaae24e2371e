package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cs/remediate"
)

const (
	defaultTable = "crowdsec"

	// maxElements and maxBatch bound a transaction: with any listener in the
	// namespace the kernel keeps about 8.5 KB for each element until it ends.
	// More would not be faster.
	maxElements = 2000
	maxBatch    = 190 << 10 // fits the usual send buffer of 208 KB
	// maxList bounds an element list, whose length has 16 bits.
	maxList = 60 << 10
	// maxCounter bounds the name of a counter.
	maxCounter = 128
	// goingSoon: elements that the kernel drops within this time are not
	// deleted where deleting an absent one is an error.
	goingSoon = 5 * time.Second
)

// Table is the table of one process in one network namespace: the one of the
// thread that calls Open. It is not safe for concurrent use, as remediate.Kernel says.
type Table struct {
	cfg     Config
	name    string
	hooks   []string
	ignore  [len(families)][]netip.Prefix
	now     func() time.Time
	changed chan struct{}

	conn       *conn
	watch      *watcher
	destroy    bool // the kernel knows NFT_MSG_DESTROYSETELEM
	tx         transaction
	generation int
	maps       map[length]bool
	names      map[string]string // origin -> counter that exists
	known      map[string]bool   // counters that exist
	attached   bool              // the rules look into the maps of this generation
	nextID     uint32
	expected   uint64 // fingerprint of the structure
	checkedAt  uint32 // generation of the ruleset when it was last found in order
	groups     map[length]*group
}

// group is what a transaction does to one map.
type group struct{ del, add []elem }

// New returns a Table that has not touched the kernel yet.
func New(cfg Config) (*Table, error) {
	t := &Table{cfg: cfg, name: cfg.Name, hooks: cfg.Hooks, now: cfg.Now, changed: make(chan struct{}, 1)}
	if t.name == "" {
		t.name = defaultTable
	}
	if len(t.hooks) == 0 {
		t.hooks = []string{"prerouting"}
	}
	for _, h := range t.hooks {
		if _, ok := hooks[h]; !ok {
			return nil, fmt.Errorf("cannot use hook %q: known are %s", h, strings.Join(slices.Sorted(maps.Keys(hooks)), ", "))
		}
	}
	if cfg.Action != "" && cfg.Action != Drop && cfg.Action != Reject {
		return nil, fmt.Errorf("cannot use action %q: known are %s, %s", cfg.Action, Drop, Reject)
	}
	for _, p := range cfg.Ignore {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
		t.ignore[familyOf(p)] = append(t.ignore[familyOf(p)], p)
	}
	for i := range t.ignore {
		t.ignore[i] = disjoint(t.ignore[i])
	}
	if t.now == nil {
		t.now = time.Now
	}
	return t, nil
}

// disjoint sorts prefixes and leaves out those inside others.
func disjoint(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare) // a prefix comes before what is in it
	var out []netip.Prefix
	for _, p := range list {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// Name returns "nftables".
func (t *Table) Name() string { return "nftables" }

// Changed delivers a value after somebody else changed the table.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// Open opens the netlink sockets. live tells that the table is there already.
func (t *Table) Open(ctx context.Context) (live bool, err error) {
	if err := t.Close(ctx, false); err != nil { // open already
		return false, err
	}
	c, err := dial()
	if err != nil {
		return false, err
	}
	t.conn = c
	if _, err := t.rulesetGeneration(); err != nil {
		t.conn = nil
		c.close()
		if errors.Is(err, unix.EPERM) {
			return false, fmt.Errorf("cannot use nftables without root or CAP_NET_ADMIN: %w", err)
		}
		return false, fmt.Errorf("cannot use nftables: %w", err)
	}
	f, err := t.inspect()
	if err != nil {
		t.conn = nil
		c.close()
		return false, err
	}
	// Without the watch, Check notices most of what it would.
	t.watch, _ = startWatch(t.name, c.pid, t.changed)
	return f.exists, nil
}

// Load makes the table block exactly the entries. If the table exists, new
// maps are filled beside those in use and the rules are swapped in one
// transaction; otherwise the rules come first and the entries follow.
func (t *Table) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	// A load would be announced to our own listener, at twice its cost.
	t.watch.pause()
	defer t.watch.resume()
	err := t.load(ctx, entries)
	if err == nil {
		err = t.remember()
	}
	return err
}

func (t *Table) load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	f, err := t.inspect()
	if err != nil {
		return err
	}
	t.forget()
	if !f.exists {
		if err := t.create(); err != nil {
			return fmt.Errorf("cannot make table inet %s: %w", t.name, err)
		}
		return t.fill(ctx, entries)
	}
	if err := t.adopt(f); err != nil {
		return fmt.Errorf("cannot take over table inet %s: %w", t.name, err)
	}
	if err := t.fill(ctx, entries); err != nil {
		return err
	}
	if err := t.swap(f); err != nil {
		return fmt.Errorf("cannot swap the rules of table inet %s: %w", t.name, err)
	}
	return nil
}

// forget starts from a table of which nothing is known.
func (t *Table) forget() {
	t.maps, t.names, t.known = map[length]bool{}, map[string]string{}, map[string]bool{}
	t.attached, t.generation = false, 0
}

// create makes the structure where there was none.
func (t *Table) create() error {
	flags := uint32(flagOwner | flagPersist)
	if t.cfg.noOwner {
		flags = 0
	}
	for {
		t.begin()
		t.tx.newTable(t.name, flags)
		t.structure()
		err := t.conn.commit(&t.tx)
		if flags != 0 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
			// The kernel doesn't know the flags. Owner alone would not do: the table
			// would go away with the process.
			flags = 0
			t.forget()
			continue
		}
		if err == nil {
			t.attached = true
			t.probeDestroy()
		}
		return err
	}
}

// adopt takes over the table and starts a generation of maps beside the one in use.
func (t *Table) adopt(f *found) error {
	t.generation = f.generation()
	if f.flags&flagPersist != 0 {
		// A plain table can't be given an owner later; it stays plain.
		t.begin()
		t.tx.newTable(t.name, flagOwner|flagPersist)
		if err := t.conn.commit(&t.tx); err != nil {
			return err
		}
	}
	for name := range f.counters {
		t.known[name] = true
	}
	// What a load that failed half-way has left is in no rule's use. The maps in
	// use stay: the kernel refuses to delete them.
	for name := range f.sets {
		t.begin()
		t.tx.delSet(t.name, name)
		if t.conn.commit(&t.tx) == nil {
			delete(f.sets, name)
		}
	}
	t.probeDestroy()
	return nil
}

// swap replaces all chains by ours, which look into the new maps, and removes
// the old maps: packets meet the old rules or the new ones.
func (t *Table) swap(f *found) error {
	t.begin()
	for name := range f.chains {
		t.tx.delRules(t.name, name)
	}
	for name := range f.chains {
		t.tx.delChain(t.name, name)
	}
	for name := range f.sets {
		t.tx.delSet(t.name, name)
	}
	t.structure()
	if err := t.conn.commit(&t.tx); err != nil {
		return err
	}
	t.attached = true
	return nil
}

// structure appends what the table consists of, without what exists already.
func (t *Table) structure() {
	tx := &t.tx
	for i := range families {
		f := &families[i]
		if !t.known[f.processed] {
			tx.newCounter(t.name, f.processed)
			t.known[f.processed] = true
		}
		host := length{uint8(i), uint8(8 * f.keyLen)}
		if !t.maps[host] {
			t.addMap(host)
		}
		tx.newChain(t.name, f.name)
		tx.rule(t.name, f.name, func(r ruleWriter) { r.count(f.processed) })
		if len(t.ignore[i]) > 0 {
			id := t.id()
			tx.newIgnore(t.name, f, t.generation, id, t.ignore[i])
			tx.rule(t.name, f.name, func(r ruleWriter) {
				r.isFamily(f)
				r.source(f, 8*f.keyLen)
				r.lookup(named(f.ignoreName, t.generation), id)
				r.verdict(unix.NFT_RETURN, "")
			})
		}
		var lengths []int
		for l := range t.maps {
			if int(l.family) == i {
				lengths = append(lengths, int(l.bits))
			}
		}
		slices.Sort(lengths)
		for _, bits := range slices.Backward(lengths) {
			t.blockRule(length{uint8(i), uint8(bits)})
		}
	}
	for _, h := range t.hooks {
		tx.newHookChain(t.name, h)
		for i := range families {
			f := &families[i]
			tx.rule(t.name, h, func(r ruleWriter) {
				r.isFamily(f)
				r.verdict(unix.NFT_JUMP, f.name)
			})
		}
	}
}

func (t *Table) addMap(l length) {
	t.tx.newMap(t.name, l, t.generation, t.id())
	t.maps[l] = true
}

// blockRule appends the rule that drops what is in a map.
func (t *Table) blockRule(l length) {
	f := &families[l.family]
	t.tx.rule(t.name, f.name, func(r ruleWriter) {
		r.isFamily(f)
		r.source(f, int(l.bits))
		r.countByMap(l.mapName(t.generation))
		if t.cfg.Action == Reject {
			r.reject()
		} else {
			r.verdict(verdictDrop, "")
		}
	})
}

// probeDestroy finds out whether the kernel can delete elements that are not there.
func (t *Table) probeDestroy() {
	t.destroy = false
	if t.cfg.noDestroy || !t.maps[length{0, 32}] && !t.probeMap() {
		return
	}
	t.begin()
	t.tx.elems(msgDestroySetElem, t.name, length{0, 32}.mapName(t.generation), 4, make([]elem, 1)) // 0.0.0.0
	t.destroy = t.conn.commit(&t.tx) == nil
}

func (t *Table) probeMap() bool {
	t.begin()
	t.addMap(length{0, 32})
	if t.conn.commit(&t.tx) != nil {
		delete(t.maps, length{0, 32})
		return false
	}
	return true
}

// fill adds entries in transactions of bounded size.
func (t *Table) fill(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	chunk := make([]remediate.Change, 0, maxElements)
	n := 0
	for e := range entries {
		chunk = append(chunk, remediate.Change{Entry: e, Op: remediate.Add})
		if len(chunk) == maxElements {
			if err := t.apply(ctx, chunk); err != nil {
				return fmt.Errorf("cannot load entries after the first %d: %w", n, err)
			}
			n += len(chunk)
			chunk = chunk[:0]
		}
	}
	if err := t.apply(ctx, chunk); err != nil {
		return fmt.Errorf("cannot load entries after the first %d: %w", n, err)
	}
	return nil
}

// Apply makes the changes, at most 2000 elements in a transaction.
func (t *Table) Apply(ctx context.Context, changes []remediate.Change) error {
	if !t.attached {
		return errors.New("the table was not loaded")
	}
	for chunk := range slices.Chunk(changes, maxElements) {
		if err := t.apply(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// apply makes changes of at most maxElements elements.
func (t *Table) apply(ctx context.Context, changes []remediate.Change) error {
	if len(changes) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.ensure(changes); err != nil {
		return err
	}
	t.begin()
	t.encode(changes)
	if t.tx.empty() {
		return nil
	}
	if len(t.tx.b) > maxBatch && len(changes) > 1 {
		return t.halves(ctx, changes)
	}
	err := t.conn.commit(&t.tx)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST):
	case t.destroy && errors.Is(err, unix.ENOENT):
		// Not an element: the table or a map has gone.
	case len(changes) > 1:
		return t.halves(ctx, changes)
	default:
		return t.alone(changes[0], err)
	}
	return fmt.Errorf("cannot change %d elements of table inet %s: %w", len(changes), t.name, err)
}

func (t *Table) halves(ctx context.Context, changes []remediate.Change) error {
	half := len(changes) / 2
	if err := t.apply(ctx, changes[:half]); err != nil {
		return err
	}
	return t.apply(ctx, changes[half:])
}

// alone makes the one change that the kernel refused because its element is
// not there, though it should be, or is there, though it should not.
func (t *Table) alone(c remediate.Change, err error) error {
	f, ierr := t.inspect()
	if ierr != nil {
		return ierr
	}
	if _, ok := f.sets[lengthOf(c.Prefix).mapName(t.generation)]; !ok {
		return fmt.Errorf("cannot change %s: %w", c.Prefix, err)
	}
	switch {
	case c.Op == remediate.Remove:
		return nil // it is not there
	case c.Op == remediate.Replace && errors.Is(err, unix.ENOENT):
		c.Op = remediate.Add
	case c.Op == remediate.Add && errors.Is(err, unix.EEXIST):
		c.Op = remediate.Replace
	default:
		return fmt.Errorf("cannot change %s: %w", c.Prefix, err)
	}
	t.begin()
	t.encode([]remediate.Change{c})
	if err := t.conn.commit(&t.tx); err != nil {
		return fmt.Errorf("cannot change %s: %w", c.Prefix, err)
	}
	return nil
}

// ensure makes the maps and counters that changes need.
func (t *Table) ensure(changes []remediate.Change) error {
	t.begin()
	structural := false
	for i := range changes {
		c := &changes[i]
		if c.Op == remediate.Remove {
			continue
		}
		if _, ok := t.names[c.Origin]; !ok {
			name := counterName(c.Origin)
			if !t.known[name] {
				t.tx.newCounter(t.name, name)
				t.known[name] = true
			}
			t.names[c.Origin] = name
		}
		if l := lengthOf(c.Prefix); !t.maps[l] {
			t.addMap(l)
			if t.attached {
				t.blockRule(l)
				structural = true
			}
		}
	}
	if t.tx.empty() {
		return nil
	}
	if err := t.conn.commit(&t.tx); err != nil {
		// Nothing of it exists. The next Load finds out what does.
		t.attached = false
		return fmt.Errorf("cannot add maps and counters to table inet %s: %w", t.name, err)
	}
	if structural {
		return t.remember()
	}
	return nil
}

// encode appends the changes to the transaction: deletions first, then
// additions, so that an element that is replaced never is absent for a packet.
func (t *Table) encode(changes []remediate.Change) {
	now := t.now()
	if t.groups == nil {
		t.groups = map[length]*group{}
	}
	for i := range changes {
		c := &changes[i]
		l := lengthOf(c.Prefix)
		g := t.groups[l]
		if g == nil {
			g = &group{}
			t.groups[l] = g
		}
		var m elem
		copy(m.key[:], c.Prefix.Addr().AsSlice())
		left := c.Until.Sub(now)
		switch c.Op {
		case remediate.Remove:
			if (t.destroy || left > goingSoon) && t.maps[l] {
				g.del = append(g.del, m)
			}
			continue
		case remediate.Replace:
			g.del = append(g.del, m)
		}
		if left > 0 {
			m.timeout = uint64(max(left.Milliseconds(), 1))
			m.counter = t.names[c.Origin]
			g.add = append(g.add, m)
		}
	}
	del := unix.NFT_MSG_DELSETELEM
	if t.destroy {
		del = msgDestroySetElem
	}
	for l, g := range t.groups {
		keyLen := families[l.family].keyLen
		t.tx.elems(del, t.name, l.mapName(t.generation), keyLen, g.del)
		g.del = g.del[:0]
	}
	for l, g := range t.groups {
		keyLen := families[l.family].keyLen
		t.tx.elems(unix.NFT_MSG_NEWSETELEM, t.name, l.mapName(t.generation), keyLen, g.add)
		clear(g.add) // let go of the names
		g.add = g.add[:0]
	}
}

// counterName makes an origin fit to name a counter.
func counterName(origin string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' {
			return '_'
		}
		return r
	}, origin)
	if len(name) > maxCounter {
		name = strings.ToValidUTF8(name[:maxCounter], "")
	}
	if name == "" {
		name = "unknown"
	}
	return name
}

func (t *Table) begin() {
	t.conn.seq++
	t.tx.reset(t.conn.seq)
}

func (t *Table) id() uint32 {
	t.nextID++
	return t.nextID
}

// remember takes the structure as it is for what Check expects.
func (t *Table) remember() error {
	gen, err := t.rulesetGeneration()
	if err != nil {
		return err
	}
	f, err := t.inspect()
	if err != nil {
		return err
	}
	if !f.exists {
		return fmt.Errorf("cannot find table inet %s: somebody removed it", t.name)
	}
	t.expected, t.checkedAt = f.fingerprint(), gen
	return nil
}

// Check looks at the generation of the ruleset and, when that has moved, at the
// structure of the table. A foreign change of elements is noticed by the watch only.
func (t *Table) Check(context.Context) (bool, error) {
	if !t.attached || t.watch.foreign() {
		return false, nil
	}
	// The number is read before the structure: a change in between is met at the next check.
	gen, err := t.rulesetGeneration()
	if err != nil {
		return false, err
	}
	if gen == t.checkedAt {
		return true, nil
	}
	f, err := t.inspect()
	if err != nil {
		return false, err
	}
	if f.fingerprint() != t.expected {
		return false, nil
	}
	t.checkedAt = gen
	return true, nil
}

// rulesetGeneration returns a number that moves with each change of the
// namespace's ruleset.
func (t *Table) rulesetGeneration() (uint32, error) {
	var gen uint32
	err := t.conn.dump(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil, func(m message) {
		gen = m.attrs().u32(unix.NFTA_GEN_ID)
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read the ruleset's generation: %w", err)
	}
	return gen, nil
}

// Counters returns the counters of the table, sorted by name. They start at
// zero when the table had to be made anew.
func (t *Table) Counters(context.Context) ([]remediate.Counter, error) {
	if t.conn == nil {
		return nil, errors.New("cannot read counters: the table is not open")
	}
	byName, err := t.counters()
	if err != nil {
		return nil, fmt.Errorf("cannot read counters of table inet %s: %w", t.name, err)
	}
	out := slices.Collect(maps.Values(byName))
	slices.SortFunc(out, func(a, b remediate.Counter) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Close closes the sockets. With remove the table goes away; otherwise the
// elements in it block until their times have come.
func (t *Table) Close(_ context.Context, remove bool) error {
	if t.conn == nil {
		return nil
	}
	var err error
	if remove {
		t.begin()
		t.tx.delTable(t.name)
		if err = t.conn.commit(&t.tx); isGone(err) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("cannot remove table inet %s: %w", t.name, err)
		}
	}
	t.watch.stop()
	t.watch = nil
	err = errors.Join(err, t.conn.close())
	t.conn, t.attached = nil, false
	return err
}

func isGone(err error) bool { return errors.Is(err, unix.ENOENT) }
