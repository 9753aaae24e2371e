package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cs/platform/order"
	"cs/remediate"
	"cs/remediate/netlink"
)

const (
	defaultTable = "crowdsec"

	// maxElements and maxBatch bound a transaction: with any listener in the
	// namespace the kernel keeps about 8.5 KB for each element until it ends.
	// More would not be faster.
	maxElements = 2000
	maxBatch    = 190 << 10 // fits the usual send buffer of 208 KB
	// bulk: above so many changes it would cost more to have them announced to our
	// own listener than to miss what a stranger does to an element meanwhile.
	bulk = 500
	// maxList bounds an element list, whose length has 16 bits.
	maxList = 60 << 10
	// maxLabel bounds an origin in the name of a counter or set.
	maxLabel = 128
	// maxIgnore bounds the list of what is never blocked: its elements go in one
	// transaction, ignoreChunk in a message.
	maxIgnore   = 5000
	ignoreChunk = 500
	// goingSoon: elements that the kernel drops within this time are not
	// deleted where deleting an absent one is an error.
	goingSoon = 5 * time.Second
	// maxPass bounds the sets that one rule looks into: the kernel takes at most
	// 128 expressions (NFT_RULE_MAXEXPRS), and each set needs three.
	maxPass = 40
	// logRate is how many dropped packets are logged in a second.
	logRate = 10
)

// table is one table of the kernel, in the network namespace of the thread
// that calls Open. It is not safe for concurrent use, as remediate.Kernel says.
type table struct {
	cfg     Config
	name    string
	proto   uint8
	sets    bool    // LayoutSets
	fams    []uint8 // the families in it
	ignore  [len(families)][]netip.Prefix
	now     func() time.Time
	changed chan struct{}

	conn       *conn
	watch      *watcher
	destroy    bool // the kernel knows NFT_MSG_DESTROYSETELEM
	tx         transaction
	generation int
	slots      map[slot]string // names of the maps or sets of this generation
	origins    map[string]*origin
	labels     []string        // of the origins, by number
	known      map[string]bool // counters that exist
	attached   bool            // the rules look into the sets of this generation
	nextID     uint32
	expected   uint64 // fingerprint of the structure
	checkedAt  uint32 // generation of the ruleset when it was last found in order
	groups     map[slot]*group
	passed     map[string]remediate.Counter // what rules that count begin with, as counters returns it
}

// origin is one origin of decisions.
type origin struct {
	number   uint16 // in LayoutSets, otherwise 0
	counters [len(families)]string
}

// group is what a transaction does to one map or set.
type group struct{ del, add []elem }

// newTable returns a table for the given families that has not touched the
// kernel yet.
func newTable(cfg Config, changed chan struct{}, fams ...uint8) (*table, error) {
	t := &table{
		cfg: cfg, name: cfg.Name, proto: unix.NFPROTO_INET, sets: cfg.Layout == LayoutSets, fams: fams,
		now: cfg.Now, changed: changed,
	}
	switch {
	case t.sets:
		t.name, t.proto = cfg.family(fams[0]).Table, families[fams[0]].proto
	case t.name == "":
		t.name = defaultTable
	}
	t.tx.proto = t.proto
	if t.now == nil {
		t.now = time.Now
	}
	return t, t.setIgnore(nil)
}

// family returns what was configured for a family.
func (c *Config) family(f uint8) *Family {
	if f == 0 {
		return &c.IPv4
	}
	return &c.IPv6
}

// setIgnore makes the list of what is never blocked from the configured one and more.
func (t *table) setIgnore(more []netip.Prefix) error {
	var lists [len(families)][]netip.Prefix
	for _, p := range slices.Concat(t.cfg.Ignore, more) {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
		lists[familyOf(p)] = append(lists[familyOf(p)], p)
	}
	for i := range lists {
		if lists[i] = disjoint(lists[i]); len(lists[i]) > maxIgnore {
			return fmt.Errorf("cannot ignore %d prefixes: the table has room for %d", len(lists[i]), maxIgnore)
		}
	}
	t.ignore = lists
	return nil
}

// disjoint sorts prefixes and leaves out those inside others.
func disjoint(list []netip.Prefix) []netip.Prefix {
	order.Sort(list, netip.Prefix.Compare) // a prefix comes before what is in it
	var out []netip.Prefix
	for _, p := range list {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// String names the table as nft does.
func (t *table) String() string {
	family := "inet"
	if t.sets {
		family = "ip"
		if t.proto == unix.NFPROTO_IPV6 {
			family = "ip6"
		}
	}
	return "table " + family + " " + t.name
}

// Name returns "nftables".
func (t *table) Name() string { return "nftables" }

// Changed delivers a value after somebody else changed the table; nil if the
// kernel doesn't tell us.
func (t *table) Changed() <-chan struct{} {
	if !t.watch.told() {
		return nil
	}
	return t.changed
}

// Open opens the netlink sockets. live tells that the table is there already.
func (t *table) Open(ctx context.Context) (live bool, err error) {
	if err := t.Close(ctx, false); err != nil { // open already
		return false, err
	}
	c, err := connect()
	if err != nil {
		return false, err
	}
	t.conn = c
	f, err := t.inspect()
	if err != nil {
		t.conn = nil
		c.Close()
		return false, err
	}
	// Without the watch, Check notices most of what it would, within a second.
	t.watch, _ = startWatch(t.proto, t.name, c.Pid, t.changed)
	return f.exists, nil
}

// connect opens a socket to nf_tables and finds out whether that is there.
func connect() (*conn, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	if _, err := c.rulesetGeneration(); err != nil {
		c.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("cannot use nftables without root or CAP_NET_ADMIN: %w", err)
		}
		return nil, fmt.Errorf("cannot use nftables: %w", err)
	}
	return c, nil
}

// Load makes the table block exactly the entries. If the table exists, new
// sets are filled beside those in use and the rules are swapped in one
// transaction; otherwise the rules come first and the entries follow.
func (t *table) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	// A load would be announced to our own listener, at twice its cost.
	t.watch.pause()
	defer t.watch.resume()
	defer t.watch.forget()
	err := t.load(ctx, entries)
	if err == nil {
		err = t.remember()
	}
	return err
}

func (t *table) load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	f, err := t.inspect()
	if err != nil {
		return err
	}
	if !f.exists {
		t.forget(0)
		if err := t.create(); err != nil {
			return fmt.Errorf("cannot make %v: %w", t, err)
		}
		return t.fill(ctx, entries)
	}
	for {
		generation := f.generation()
		if t.sets && !f.has(0) {
			generation = 0
		}
		t.forget(generation)
		if err := t.adopt(ctx, f); err != nil {
			return fmt.Errorf("cannot take over %v: %w", t, err)
		}
		if err := t.fill(ctx, entries); err != nil {
			return err
		}
		if err := t.swap(f); err != nil {
			return fmt.Errorf("cannot swap the rules of %v: %w", t, err)
		}
		// The names of sets are known to others: fill those that have just become
		// free, too.
		if !t.sets || t.generation == 0 {
			return nil
		}
		if f, err = t.inspect(); err != nil {
			return err
		}
	}
}

// has tells whether there are sets of a generation.
func (f *found) has(generation int) bool {
	suffix := named("", generation)
	for name := range f.sets {
		n, err := strconv.Atoi(name[strings.LastIndexByte(name, '.')+1:])
		if generation == 0 && (err != nil || n == 0) || generation > 0 && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// forget starts from a table of which nothing is known.
func (t *table) forget(generation int) {
	t.slots, t.origins, t.known = map[slot]string{}, map[string]*origin{}, map[string]bool{}
	t.labels, t.attached, t.generation = t.labels[:0], false, generation
}

// create makes the structure where there was none.
func (t *table) create() error {
	flags := uint32(flagOwner | flagPersist)
	if t.cfg.Plain {
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
			t.forget(0)
			continue
		}
		if err == nil {
			t.attached = true
			t.probeDestroy()
		}
		if slices.Contains(t.hooks(), "ingress") { // an interface may come later
			return err
		}
		return unsupported(err)
	}
}

// unsupported finds out whether an error says that the kernel doesn't know something that
// tables are made of: family inet, maps to counters, an expression.
func unsupported(err error) error {
	for _, errno := range []syscall.Errno{unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ENOENT, unix.EINVAL} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: this kernel lacks a part of nftables: %w", errors.ErrUnsupported, err)
		}
	}
	return err
}

// adoptTries is how often a table is taken over from an owner that may be about to go.
const (
	adoptTries = 20
	adoptPause = 10 * time.Millisecond
)

// adopt takes over the table, to start a generation of sets beside the one in use.
func (t *table) adopt(ctx context.Context, f *found) error {
	if f.flags&flagPersist != 0 {
		// A plain table can't be given an owner later; it stays plain.
		for try := 1; ; try++ {
			t.begin()
			t.tx.newTable(t.name, flagOwner|flagPersist)
			err := t.conn.commit(&t.tx)
			if err == nil {
				break
			}
			// The socket of an owner that was killed may take a moment to go.
			if !errors.Is(err, unix.EPERM) || try == adoptTries {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(adoptPause):
			}
		}
	}
	for name := range f.counters {
		t.known[name] = true
	}
	// What a load that failed half-way has left is in no rule's use. The sets in
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

// swap replaces all chains by ours, which look into the new sets, and removes
// the old sets: packets meet the old rules or the new ones.
func (t *table) swap(f *found) error {
	t.keepCounting()
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

// hooks returns where packets are looked at.
func (t *table) hooks() (list []string) {
	for _, i := range t.fams {
		for _, h := range t.cfg.family(i).Hooks {
			if !slices.Contains(list, h) {
				list = append(list, h)
			}
		}
	}
	switch {
	case len(list) > 0:
		return list
	case len(t.cfg.Hooks) == 0:
		return []string{"prerouting"}
	}
	return t.cfg.Hooks
}

// Names that others don't look for.

func (t *table) ignoreName(family uint8) string {
	if t.sets {
		return named(t.cfg.family(family).Chain+"-ignore", t.generation)
	}
	return named(families[family].ignore, t.generation)
}

func (t *table) interfacesName() string {
	if t.sets {
		return named(t.cfg.family(t.fams[0]).Chain+"-interfaces", t.generation)
	}
	return named("interfaces", t.generation)
}

// denyChain is the chain in which packets end that are logged.
func (t *table) denyChain() string {
	if t.sets {
		return t.cfg.family(t.fams[0]).Chain + "-deny"
	}
	return "deny"
}

func (t *table) hookChain(hook string) string {
	if t.sets {
		return t.cfg.family(t.fams[0]).Chain + "-" + hook
	}
	return hook
}

func (t *table) processed(family uint8) string {
	if t.sets {
		return "processed"
	}
	return "processed-" + families[family].name
}

// setName returns the name of a slot's map or set.
func (t *table) setName(s slot) string {
	f := &families[s.family]
	if !t.sets {
		return named(f.short+"_"+strconv.Itoa(int(s.bits)), t.generation)
	}
	name := t.cfg.family(s.family).Set + "-" + t.labels[s.origin]
	if int(s.bits) < 8*f.keyLen {
		name += "-" + strconv.Itoa(int(s.bits))
	}
	return named(name, t.generation)
}

// structure appends what the table consists of, without what exists already.
func (t *table) structure() {
	tx := &t.tx
	if t.cfg.Log {
		tx.newChain(t.name, t.denyChain())
		tx.rule(t.name, t.denyChain(), func(r ruleWriter) {
			r.atMost(logRate)
			r.log(t.cfg.LogPrefix)
		})
		tx.rule(t.name, t.denyChain(), t.deny)
	}
	names := uint32(0) // set of interfaces
	if len(t.cfg.Interfaces) > 0 {
		names = t.id()
		tx.newNames(t.name, t.interfacesName(), names, t.cfg.Interfaces)
	}
	for _, i := range t.fams {
		if t.sets {
			t.counter(t.processed(i))
		}
		tx.newSet(t.name, t.ignoreName(i), unix.NFT_SET_INTERVAL, families[i].keyType, families[i].keyLen, t.id())
		tx.fillIgnore(t.name, t.ignoreName(i), t.ignore[i])
		if host := (slot{i, uint8(8 * families[i].keyLen), 0}); !t.sets && t.slots[host] == "" {
			t.addSet(host)
		}
		if !t.sets {
			tx.newChain(t.name, families[i].name)
		}
	}
	for _, h := range t.hooks() {
		t.newHookChain(h)
		t.hookRules(h, names)
	}
	if !t.sets {
		for _, i := range t.fams {
			t.blockRules(families[i].name, i)
		}
	}
}

// rulesAnew replaces the rules that look at source addresses.
func (t *table) rulesAnew() {
	t.keepCounting()
	for _, h := range t.hooks() {
		t.tx.delRules(t.name, t.hookChain(h))
		t.hookRules(h, 0)
	}
	if !t.sets {
		for _, i := range t.fams {
			t.tx.delRules(t.name, families[i].name)
			t.blockRules(families[i].name, i)
		}
	}
}

// keepCounting has the next rules that count go on from what there is. Where that can't
// be read they begin anew, and the transaction shows what is wrong.
func (t *table) keepCounting() {
	if !t.sets {
		t.passed, _ = t.counters()
	}
}

// sortedSlots returns the slots of a family as the rules stand: narrow prefixes first.
func (t *table) sortedSlots(family uint8) []slot {
	list := make([]slot, 0, len(t.slots))
	for s := range t.slots {
		if s.family == family {
			list = append(list, s)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].bits != list[j].bits {
			return list[i].bits > list[j].bits
		}
		return list[i].origin < list[j].origin
	})
	return list
}

// newHookChain makes the chain of a hook.
func (t *table) newHookChain(name string) {
	h := hooks[name]
	priority := h.priority
	if p := t.cfg.family(t.fams[0]).Priority; p != nil {
		priority = *p
	} else if name == "prerouting" && t.cfg.Conntrack != "" && t.cfg.Conntrack != All {
		priority = afterConntrack
	}
	var devices []string
	if name == "ingress" {
		devices = t.cfg.Interfaces
	}
	t.tx.newHookChain(t.name, t.hookChain(name), h, priority, devices)
}

// hookRules appends the rules of a hook. interfaces is the number of their set
// in this transaction, 0 if it exists.
func (t *table) hookRules(name string, interfaces uint32) {
	tx, h, chain := &t.tx, hooks[name], t.hookChain(name)
	leave := func(build func(ruleWriter)) {
		tx.rule(t.name, chain, func(r ruleWriter) {
			build(r)
			r.verdict(unix.NFT_RETURN, "")
		})
	}
	if len(t.cfg.Interfaces) > 0 && name != "ingress" {
		leave(func(r ruleWriter) {
			r.interfaceName(h.out)
			r.lookup(t.interfacesName(), interfaces, true)
		})
	}
	switch {
	case name == "ingress": // before all tracking
	case t.cfg.Conntrack == NewOnly:
		leave(ruleWriter.ofOldConnection)
	case t.cfg.Conntrack == Original:
		leave(ruleWriter.isReply)
	}
	for _, i := range t.fams {
		t.passRule(chain, i)
	}
	if t.sets {
		t.blockRules(chain, t.fams[0])
		return
	}
	for _, i := range t.fams {
		tx.rule(t.name, chain, func(r ruleWriter) {
			r.isFamily(&families[i])
			r.verdict(unix.NFT_GOTO, families[i].name)
		})
	}
}

// passRule appends the rule that counts the packets of a family and lets go, at
// once, those from nobody in the sets. Most are, and each further rule would cost
// them as much as a set does.
func (t *table) passRule(chain string, i uint8) {
	f, slots := &families[i], t.sortedSlots(i)
	t.tx.rule(t.name, chain, func(r ruleWriter) {
		t.isFamily(r, f)
		if t.sets {
			r.count(t.processed(i))
		} else { // a counter with a name takes 0.06 µs more
			r.countHere(t.passed[t.processed(i)])
			delete(t.passed, t.processed(i))
		}
		if len(slots) > maxPass {
			return
		}
		for _, s := range slots {
			r.source(f, int(s.bits))
			r.lookup(t.slots[s], 0, true)
		}
		r.verdict(unix.NFT_RETURN, "")
	})
}

// blockRules appends the rules that drop what is in the sets of a family, unless
// it or where it goes is ignored.
func (t *table) blockRules(chain string, i uint8) {
	f := &families[i]
	t.tx.rule(t.name, chain, func(r ruleWriter) {
		t.isFamily(r, f)
		r.source(f, 8*f.keyLen)
		r.lookup(t.ignoreName(i), 0, false)
		r.verdict(unix.NFT_RETURN, "")
	})
	for _, p := range t.cfg.IgnorePorts {
		for _, proto := range p.Protos() {
			t.tx.rule(t.name, chain, func(r ruleWriter) {
				t.isFamily(r, f)
				r.toPorts(proto, p)
				r.verdict(unix.NFT_RETURN, "")
			})
		}
	}
	for _, s := range t.sortedSlots(i) {
		t.blockRule(chain, s)
	}
}

// isFamily is needed where the table is of both, for nft to list the rule.
func (t *table) isFamily(r ruleWriter, f *family) {
	if !t.sets {
		r.isFamily(f)
	}
}

// counter makes a counter unless it exists.
func (t *table) counter(name string) {
	if !t.known[name] {
		t.tx.newCounter(t.name, name)
		t.known[name] = true
	}
}

func (t *table) addSet(s slot) {
	f, name := &families[s.family], t.setName(s)
	if t.sets {
		t.tx.newSet(t.name, name, unix.NFT_SET_TIMEOUT, f.keyType, f.keyLen, t.id())
	} else {
		t.tx.newMap(t.name, name, f, t.id())
	}
	t.slots[s] = name
}

// blockRule appends the rule that drops what is in a map or set.
func (t *table) blockRule(chain string, s slot) {
	f := &families[s.family]
	t.tx.rule(t.name, chain, func(r ruleWriter) {
		t.isFamily(r, f)
		r.source(f, int(s.bits))
		if t.sets {
			r.lookup(t.slots[s], 0, false)
			r.count(t.counterName(s.family, t.labels[s.origin]))
		} else {
			r.countByMap(t.slots[s])
		}
		if t.cfg.Log {
			r.verdict(unix.NFT_GOTO, t.denyChain())
		} else {
			t.deny(r)
		}
	})
}

// deny ends a packet.
func (t *table) deny(r ruleWriter) {
	if t.cfg.Action == Reject {
		r.reject()
	} else {
		r.verdict(verdictDrop, "")
	}
}

// probeDestroy finds out whether the kernel can delete elements that are not
// there: if it knows the message it says that there is no such set.
func (t *table) probeDestroy() {
	t.begin()
	t.tx.elems(msgDestroySetElem, t.name, "no-such-set", 4, make([]elem, 1))
	t.destroy = isGone(t.conn.commit(&t.tx)) && !t.cfg.noDestroy
}

// fill adds entries in transactions of bounded size.
func (t *table) fill(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	n, err := inChunks(entries, func(chunk []remediate.Change) error { return t.apply(ctx, chunk) })
	if err != nil {
		return fmt.Errorf("cannot load entries after the first %d: %w", n, err)
	}
	return nil
}

// inChunks calls apply with additions of the entries, maxElements at a time, and
// returns how many there were before an error.
func inChunks(entries iter.Seq[remediate.Entry], apply func([]remediate.Change) error) (n int, err error) {
	chunk := make([]remediate.Change, 0, maxElements)
	for e := range entries {
		chunk = append(chunk, remediate.Change{Entry: e, Op: remediate.Add})
		if len(chunk) == maxElements {
			if err := apply(chunk); err != nil {
				return n, err
			}
			n += len(chunk)
			chunk = chunk[:0]
		}
	}
	return n, apply(chunk)
}

// Apply makes the changes, at most 2000 elements in a transaction.
func (t *table) Apply(ctx context.Context, changes []remediate.Change) error {
	if !t.attached {
		return errors.New("the table was not loaded")
	}
	if len(changes) > bulk {
		t.watch.pause()
		defer t.watch.resume()
	}
	for chunk := range slices.Chunk(changes, maxElements) {
		if err := t.apply(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// apply makes changes of at most maxElements elements.
func (t *table) apply(ctx context.Context, changes []remediate.Change) error {
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
	if len(t.tx.B) > maxBatch && len(changes) > 1 {
		return t.halves(ctx, changes)
	}
	err := t.conn.commit(&t.tx)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST):
	case t.destroy && errors.Is(err, unix.ENOENT):
		// Not an element: the table or a set has gone.
	case len(changes) > 1:
		return t.halves(ctx, changes)
	default:
		return t.alone(changes[0], err)
	}
	return fmt.Errorf("cannot change %d elements of %v: %w", len(changes), t, err)
}

func (t *table) halves(ctx context.Context, changes []remediate.Change) error {
	half := len(changes) / 2
	if err := t.apply(ctx, changes[:half]); err != nil {
		return err
	}
	return t.apply(ctx, changes[half:])
}

// alone makes the one change that the kernel refused because its element is
// not there, though it should be, or is there, though it should not.
func (t *table) alone(c remediate.Change, err error) error {
	f, ierr := t.inspect()
	if ierr != nil {
		return ierr
	}
	if _, ok := f.sets[t.slots[t.slotOf(c.Prefix, c.Origin)]]; !ok {
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

// has tells whether the table is for a family.
func (t *table) has(p netip.Prefix) bool { return slices.Contains(t.fams, uint8(familyOf(p))) }

// slotOf returns where a prefix of a known origin is kept.
func (t *table) slotOf(p netip.Prefix, from string) slot {
	s := slot{family: uint8(familyOf(p)), bits: uint8(p.Bits())}
	if o := t.origins[from]; o != nil {
		s.origin = o.number
	}
	return s
}

// ensure makes the sets and counters that changes need.
func (t *table) ensure(changes []remediate.Change) error {
	t.begin()
	structural := false
	for i := range changes {
		c := &changes[i]
		if c.Op == remediate.Remove || !t.has(c.Prefix) {
			continue
		}
		if t.origins[c.Origin] == nil {
			t.addOrigin(c.Origin)
		}
		if s := t.slotOf(c.Prefix, c.Origin); t.slots[s] == "" {
			t.addSet(s)
			structural = t.attached
		}
	}
	if structural {
		t.rulesAnew()
	}
	if t.tx.empty() {
		return nil
	}
	if err := t.conn.commit(&t.tx); err != nil {
		// Nothing of it exists. The next Load finds out what does.
		t.attached = false
		return fmt.Errorf("cannot add sets and counters to %v: %w", t, err)
	}
	if structural {
		return t.remember()
	}
	return nil
}

// addOrigin makes the counters of an origin.
func (t *table) addOrigin(key string) {
	o, l := new(origin), label(key)
	if t.sets {
		// Set and counter have a name that others know; two origins that come to
		// the same name share them.
		l = strings.Replace(l, ":", "-", 1)
		n := slices.Index(t.labels, l)
		if n < 0 {
			n = len(t.labels)
			t.labels = append(t.labels, l)
		}
		o.number = uint16(n)
	}
	for _, i := range t.fams {
		o.counters[i] = t.counterName(i, l)
		t.counter(o.counters[i])
	}
	t.origins[key] = o
}

func (t *table) counterName(family uint8, label string) string {
	if t.sets {
		return t.cfg.family(family).Set + "-" + label
	}
	return label + "-" + families[family].name
}

// encode appends the changes to the transaction: deletions first, then
// additions, so that an element that is replaced never is absent for a packet.
func (t *table) encode(changes []remediate.Change) {
	now := t.now()
	if t.groups == nil {
		t.groups = map[slot]*group{}
	}
	at := func(s slot) *group {
		g := t.groups[s]
		if g == nil {
			g = &group{}
			t.groups[s] = g
		}
		return g
	}
	for i := range changes {
		c := &changes[i]
		if !t.has(c.Prefix) {
			continue
		}
		s := t.slotOf(c.Prefix, c.Origin)
		m := elem{key: key(c.Prefix.Addr())}
		left := c.Until.Sub(now)
		switch c.Op {
		case remediate.Remove:
			if (t.destroy || left > goingSoon) && t.slots[s] != "" {
				g := at(s)
				g.del = append(g.del, m)
			}
			continue
		case remediate.Replace:
			was := s
			if c.Was != "" {
				was = t.slotOf(c.Prefix, c.Was)
			}
			if t.slots[was] != "" {
				g := at(was)
				g.del = append(g.del, m)
			}
		}
		if left > 0 {
			m.timeout = uint64(max(left.Milliseconds(), 1))
			if !t.sets {
				m.counter = t.origins[c.Origin].counters[s.family]
			}
			g := at(s)
			g.add = append(g.add, m)
		}
	}
	del := unix.NFT_MSG_DELSETELEM
	if t.destroy {
		del = msgDestroySetElem
	}
	for s, g := range t.groups {
		t.tx.elems(del, t.name, t.slots[s], families[s.family].keyLen, g.del)
		g.del = g.del[:0]
	}
	for s, g := range t.groups {
		t.tx.elems(unix.NFT_MSG_NEWSETELEM, t.name, t.slots[s], families[s.family].keyLen, g.add)
		clear(g.add) // let go of the names
		g.add = g.add[:0]
	}
}

// key returns an address as the kernel keeps it.
func key(a netip.Addr) (k [16]byte) {
	if a.Is4() {
		four := a.As4()
		copy(k[:], four[:])
		return k
	}
	return a.As16()
}

// label makes an origin fit to be a part of a name.
func label(origin string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' {
			return '_'
		}
		return r
	}, origin)
	if len(name) > maxLabel {
		name = strings.ToValidUTF8(name[:maxLabel], "")
	}
	if name == "" {
		name = "unknown"
	}
	return name
}

func (t *table) begin() {
	t.conn.seq++
	t.tx.reset(t.conn.seq)
}

func (t *table) id() uint32 {
	t.nextID++
	return t.nextID
}

// remember takes the structure as it is for what Check expects.
func (t *table) remember() error {
	gen, err := t.conn.rulesetGeneration()
	if err != nil {
		return err
	}
	f, err := t.inspect()
	if err != nil {
		return err
	}
	if !f.exists {
		return fmt.Errorf("cannot find %v: somebody removed it", t)
	}
	t.expected, t.checkedAt = f.fingerprint(), gen
	return nil
}

// Check looks at the generation of the ruleset and, when that has moved, at the
// structure of the table. A foreign change of elements is noticed by the watch only.
func (t *table) Check(context.Context) (bool, error) {
	if !t.attached || t.watch.foreign() {
		return false, nil
	}
	// The number is read before the structure: a change in between is met at the next check.
	gen, err := t.conn.rulesetGeneration()
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

// Ignore replaces what is never blocked, beside what the configuration says.
func (t *table) Ignore(_ context.Context, list []netip.Prefix) error {
	if err := t.setIgnore(list); err != nil || !t.attached {
		return err
	}
	t.begin()
	for _, i := range t.fams {
		t.tx.flushSet(t.name, t.ignoreName(i))
		t.tx.fillIgnore(t.name, t.ignoreName(i), t.ignore[i])
	}
	if err := t.conn.commit(&t.tx); err != nil {
		return fmt.Errorf("cannot change what %v ignores: %w", t, err)
	}
	return nil
}

// Probe asks the kernel for single elements.
func (t *table) Probe(_ context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	if t.conn == nil {
		return nil, errors.New("the table is not open")
	}
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		s := t.slotOf(e.Prefix, e.Origin)
		if t.slots[s] == "" || t.sets && t.origins[e.Origin] == nil {
			continue
		}
		f := &families[s.family]
		st, err := t.conn.ask(t.proto, t.name, t.slots[s], f.keyLen, elem{key: key(e.Prefix.Addr())})
		if err != nil {
			return nil, fmt.Errorf("cannot ask %v for %s: %w", t, e.Prefix, err)
		}
		// In a map the element names its origin by its counter.
		same := t.sets || t.origins[e.Origin] != nil && t.origins[e.Origin].counters[s.family] == st.counter
		out[i] = remediate.Found{Present: st.present && same, Left: st.left, Where: t.String() + " " + t.slots[s]}
	}
	return out, nil
}

// Audited implements remediate.Audited.
func (t *table) Audited() {}

// Counters returns the counters of the table. They start at zero when the
// table had to be made anew.
func (t *table) Counters(context.Context) (out []remediate.Counter, err error) {
	if t.conn == nil {
		return nil, errors.New("the table is not open")
	}
	byName, err := t.counters()
	if err != nil {
		return nil, fmt.Errorf("cannot read counters of %v: %w", t, err)
	}
	for _, i := range t.fams {
		keys := map[string]string{t.processed(i): ""}
		for key, o := range t.origins {
			keys[o.counters[i]] = key
		}
		for name, key := range keys {
			if c, ok := byName[name]; ok {
				c.Origin, c.IPv6 = key, i == 1
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// rulesetGeneration returns a number that moves with each change of the
// namespace's ruleset.
func (c *conn) rulesetGeneration() (uint32, error) {
	var gen uint32
	err := c.dump(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil, func(m netlink.Message) {
		gen = m.Attrs().U32(unix.NFTA_GEN_ID)
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read the ruleset's generation: %w", err)
	}
	return gen, nil
}

// Close closes the sockets. With remove the table goes away; otherwise the
// elements in it block until their times have come.
func (t *table) Close(_ context.Context, remove bool) error {
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
			err = fmt.Errorf("cannot remove %v: %w", t, err)
		}
	}
	t.watch.stop()
	t.watch = nil
	err = errors.Join(err, t.conn.Close())
	t.conn, t.attached = nil, false
	return err
}

func isGone(err error) bool { return errors.Is(err, unix.ENOENT) }
