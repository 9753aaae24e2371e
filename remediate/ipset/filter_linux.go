package ipset

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cs/remediate"
	"cs/remediate/conntrack"
)

const (
	// maxOrigins bounds the sets of a family, each of which costs a lookup for every packet. What
	// is of later origins goes to one set "other".
	maxOrigins = 32
	// batch bounds the memory of a load.
	batch = 4000
	// fullCheck is how often everything is looked at, though nothing seems changed.
	fullCheck = time.Minute
	// rearm is how long before the longest time of a set those that last longer get it again.
	rearm = time.Hour

	otherOrigin = "other"
)

// Filter is the chain and the sets of one process in one network namespace:
// the one of the thread that calls Open. It is not safe for concurrent use, as remediate.Kernel says.
type Filter struct {
	cfg  Config
	now  func() time.Time
	run  runner
	conn *conn
	// ports is how many rules there are for ports that are ignored.
	ports int

	families []*family
	loaded   bool
	checked  time.Time // when everything was looked at last
	stamp    stamp     // what it looked like then
	// long holds what lasts longer than a set can say, until the next time it is added.
	long   map[netip.Prefix]remediate.Entry
	rearms time.Time
}

// family is our part of one of the two families.
type family struct {
	v6       bool
	prefix   string // of sets' names
	chains   []string
	tables   *tables // nil when the rules are the operator's
	revision uint8
	sets     []originSet
	rules    string                       // our chain as iptables printed it after the last change
	base     map[string]remediate.Counter // by origin: what rules that were replaced had counted
	ignore   []netip.Prefix
}

// originSet is the set of one origin.
type originSet struct{ origin, name string }

// find returns the set that entries of an origin go to; when there is none, the
// origin to make one for.
func find(sets []originSet, origin string) (name, missing string) {
	for _, s := range sets {
		if s.origin == origin {
			return s.name, ""
		}
	}
	if len(sets) >= maxOrigins-1 && origin != otherOrigin {
		return find(sets, otherOrigin)
	}
	return "", origin
}

// stamp is what one can see of the rules without listing them.
type stamp struct {
	info       [2]tableInfo
	generation uint32
}

// New returns a Filter that has not touched the kernel yet.
func New(cfg Config) (*Filter, error) {
	if cfg.Set4 == "" {
		cfg.Set4 = "crowdsec-blacklists"
	}
	if cfg.Set6 == "" {
		cfg.Set6 = "crowdsec6-blacklists"
	}
	if cfg.Set4 == cfg.Set6 {
		return nil, fmt.Errorf("cannot use set %s for both families", cfg.Set4)
	}
	for _, name := range []string{cfg.Set4, cfg.Set6} {
		if len(name) > 27 || strings.ContainsAny(name, " \t\r\n\"'") { // 31, less what is appended
			return nil, fmt.Errorf("cannot name a set %q: want up to 27 bytes without spaces", name)
		}
	}
	switch cfg.Action {
	case "", Drop, Reject, Tarpit, Log:
	default:
		return nil, fmt.Errorf("cannot use action %q: known are %s, %s, %s, %s", cfg.Action, Drop, Reject, Tarpit, Log)
	}
	if len(cfg.LogPrefix) > 29 || strings.ContainsAny(cfg.LogPrefix, "\n\r\"") {
		return nil, fmt.Errorf("cannot log with prefix %q: want up to 29 bytes in one line without quotes", cfg.LogPrefix)
	}
	for _, chain := range slices.Concat(cfg.Chains4, cfg.Chains6) {
		if chain == "" || strings.HasPrefix(chain, "-") || strings.ContainsAny(chain, " \t\r\n") {
			return nil, fmt.Errorf("cannot use chain %q", chain)
		}
	}
	if len(cfg.IgnorePorts) > 0 && cfg.SetOnly {
		return nil, errors.New("cannot ignore ports: the rules are yours")
	}
	f := &Filter{cfg: cfg, now: cfg.Now, run: run}
	for _, p := range cfg.IgnorePorts {
		f.ports += len(p.Protos())
	}
	if f.now == nil {
		f.now = time.Now
	}
	usual := []string{"INPUT", "FORWARD", "DOCKER-USER"}
	add := func(v6, off bool, prefix string, chains []string) {
		if chains == nil {
			chains = usual
		}
		if !off {
			f.families = append(f.families, &family{v6: v6, prefix: prefix, chains: chains, base: map[string]remediate.Counter{}})
		}
	}
	add(false, cfg.NoIPv4, cfg.Set4, cfg.Chains4)
	add(true, cfg.NoIPv6, cfg.Set6, cfg.Chains6)
	if len(f.families) == 0 {
		return nil, errors.New("cannot block with both IPv4 and IPv6 left alone")
	}
	return f, nil
}

// Name returns "iptables", or "ipset" when the rules are the operator's.
func (f *Filter) Name() string {
	if f.cfg.SetOnly {
		return "ipset"
	}
	return "iptables"
}

// Changed returns nil: nobody tells of changes, Check looks.
func (f *Filter) Changed() <-chan struct{} { return nil }

// Open opens the sockets and finds the programs. live tells that a chain of
// ours is there already, or that the operator's sets are.
func (f *Filter) Open(ctx context.Context) (live bool, err error) {
	if err := f.Close(ctx, false); err != nil { // open already
		return false, err
	}
	if f.conn, err = dial(); err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			f.shut()
		}
	}()
	names, err := f.conn.names()
	if errors.Is(err, unix.EPERM) {
		return false, fmt.Errorf("cannot use ipset without root or CAP_NET_ADMIN: %w", err)
	}
	if err != nil {
		return false, err
	}
	for _, fam := range f.families {
		if fam.revision, err = f.conn.revision(fam.v6); err != nil {
			return false, err
		}
		if f.cfg.SetOnly {
			ours, err := f.conn.has(fam.prefix, canary(fam.v6))
			if err != nil {
				return false, err
			}
			live = live || ours
			continue
		}
		if fam.tables, err = findTables(ctx, f.run, fam.v6); err != nil {
			return false, err
		}
		there, err := fam.tables.exists(ctx, chainName)
		if err != nil {
			return false, err
		}
		live = live || there && slices.ContainsFunc(slices.Collect(maps.Keys(names)), fam.owns)
	}
	return live, nil
}

// owns tells whether a set is one that we, or upstream's bouncer, make.
func (fam *family) owns(name string) bool {
	n, ok := strings.CutPrefix(name, fam.prefix+"-")
	if !ok {
		return false
	}
	i, err := strconv.Atoi(n)
	return err == nil && i >= 0
}

// of returns the family of a prefix, nil if it is left alone.
func (f *Filter) of(p netip.Prefix) *family {
	for _, fam := range f.families {
		if fam.v6 == p.Addr().Is6() {
			return fam
		}
	}
	return nil
}

// Load fills sets beside those in use and replaces the rules.
func (f *Filter) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	if f.conn == nil {
		return os.ErrClosed
	}
	f.loaded = false
	f.long, f.rearms = map[netip.Prefix]remediate.Entry{}, f.now().Add(maxTimeout*time.Second-rearm)
	l := &loader{f: f, fresh: map[*family][]originSet{}, lists: map[string][]elem{}}
	err := l.start()
	if err == nil {
		err = l.fill(ctx, entries)
	}
	if err == nil {
		for _, fam := range f.families {
			if err = l.switchTo(ctx, fam); err != nil {
				break
			}
		}
	}
	if err != nil {
		l.giveUp()
		return err
	}
	f.loaded = true
	return f.remember(ctx)
}

// loader is one load.
type loader struct {
	f     *Filter
	names map[string]bool         // of all sets
	fresh map[*family][]originSet // the sets that are made
	lists map[string][]elem       // by set, not added yet
	n     int                     // in them
	total int
}

func (l *loader) start() (err error) {
	if l.names, err = l.f.conn.names(); err != nil {
		return err
	}
	for _, fam := range l.f.families {
		if !l.f.cfg.SetOnly {
			continue
		}
		typ, v6, err := l.f.conn.describe(fam.prefix)
		switch {
		case err != nil:
			return err
		case typ != "" && (typ != typeName || v6 != fam.v6):
			want := "ipset create " + fam.prefix + " " + typeName + " timeout 0"
			if fam.v6 {
				want += " family inet6"
			}
			return fmt.Errorf("cannot use set %s of type %s, which holds no ranges or another family: make it with %q", fam.prefix, typ, want)
		}
		if typ == "" {
			if err := l.make(fam.prefix, fam); err != nil {
				return err
			}
		}
		if err := l.f.conn.destroy(fam.prefix + "-new"); err != nil { // of a load that was cut short
			return err
		}
		if err := l.make(fam.prefix+"-new", fam); err != nil {
			return err
		}
		l.fresh[fam] = []originSet{{name: fam.prefix + "-new"}}
		for _, p := range fam.ignore {
			for _, half := range halves(p) {
				l.lists[fam.prefix+"-new"] = append(l.lists[fam.prefix+"-new"], elem{prefix: half, except: true})
			}
		}
	}
	return nil
}

func (l *loader) make(name string, fam *family) error {
	return l.f.conn.create(name, fam.v6, fam.revision, !l.f.cfg.NoTimeouts)
}

// set returns the set that entries of an origin go to.
func (l *loader) set(fam *family, origin string) (string, error) {
	if l.f.cfg.SetOnly {
		return l.fresh[fam][0].name, nil
	}
	name, missing := find(l.fresh[fam], origin)
	if missing == "" {
		return name, nil
	}
	name = fam.freeName(l.names)
	if err := l.make(name, fam); err != nil {
		return "", err
	}
	l.fresh[fam] = append(l.fresh[fam], originSet{missing, name})
	return name, nil
}

// freeName returns a name for a set that no set has yet, and takes it.
func (fam *family) freeName(taken map[string]bool) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s-%d", fam.prefix, i); !taken[name] {
			taken[name] = true
			return name
		}
	}
}

func (l *loader) fill(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	now := l.f.now()
	for e := range entries {
		fam := l.f.of(e.Prefix)
		if fam == nil || l.f.excepted(fam, e.Prefix) {
			continue
		}
		seconds, ok := l.f.seconds(e, now)
		if !ok {
			continue
		}
		name, err := l.set(fam, e.Origin)
		if err != nil {
			return err
		}
		for _, p := range halves(e.Prefix) {
			l.lists[name] = append(l.lists[name], elem{prefix: p, seconds: seconds})
			l.n++
		}
		if l.n >= batch {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
	}
	return l.flush(ctx)
}

func (l *loader) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for name, list := range l.lists {
		if err := l.f.conn.change(cmdAdd, name, list); err != nil {
			return fmt.Errorf("cannot load entries after the first %d: %w", l.total, err)
		}
		l.total += len(list)
		l.lists[name] = list[:0]
	}
	l.n = 0
	return nil
}

// switchTo makes the rules look into the sets that were filled, and removes the old ones.
func (l *loader) switchTo(ctx context.Context, fam *family) error {
	fresh := l.fresh[fam]
	if l.f.cfg.SetOnly {
		name := fresh[0].name
		if err := l.f.conn.swap(name, fam.prefix); err != nil {
			return err
		}
		fam.sets = []originSet{{name: fam.prefix}}
		delete(l.fresh, fam)
		return l.f.conn.destroy(name)
	}
	fam.carry(ctx, l.f.ports)
	if err := fam.tables.replace(ctx, l.f.cfg.chains(fam.ignore, fresh)); err != nil {
		return err
	}
	fam.sets = fresh
	delete(l.fresh, fam) // in use now
	if err := fam.tables.jump(ctx, fam.chains); err != nil {
		return err
	}
	for name := range l.names {
		if !fam.owns(name) || slices.ContainsFunc(fam.sets, func(s originSet) bool { return s.name == name }) {
			continue
		}
		if err := l.f.conn.destroy(name); err != nil && !errors.Is(err, errInUse) { // by a rule of somebody else's
			return err
		}
	}
	return nil
}

// giveUp removes the sets that a failed load has made and nobody uses.
func (l *loader) giveUp() {
	for _, sets := range l.fresh {
		for _, set := range sets {
			_ = l.f.conn.destroy(set.name) // the next load tries again
		}
	}
}

// carry adds what the rules have counted to what earlier ones had.
func (fam *family) carry(ctx context.Context, ports int) {
	counted, err := fam.tables.counters(ctx)
	if err != nil {
		return // no chain yet
	}
	fam.base = fam.byOrigin(counted, ports)
	fam.sets = nil // their rules count from 0 soon
}

// byOrigin adds the counters of the rules to what was counted before them. What was looked at has no
// origin.
func (fam *family) byOrigin(counted []remediate.Counter, ports int) map[string]remediate.Counter {
	out := maps.Clone(fam.base)
	before := 1 + len(fam.ignore) + ports     // rules
	if len(counted) != before+len(fam.sets) { // not the rules that we made
		return out
	}
	add := func(origin string, c remediate.Counter) {
		sum := out[origin]
		out[origin] = remediate.Counter{Origin: origin, IPv6: fam.v6, Packets: sum.Packets + c.Packets, Bytes: sum.Bytes + c.Bytes}
	}
	add("", counted[0])
	for i, s := range fam.sets {
		add(s.origin, counted[before+i])
	}
	return out
}

// Counters returns what was looked at and, by origin, what was dropped. There
// is nothing to say when the rules are the operator's.
func (f *Filter) Counters(ctx context.Context) (list []remediate.Counter, err error) {
	for _, fam := range f.families {
		if fam.tables == nil || !f.loaded {
			continue
		}
		counted, err := fam.tables.counters(ctx)
		if err != nil {
			return nil, err
		}
		list = slices.AppendSeq(list, maps.Values(fam.byOrigin(counted, f.ports)))
	}
	return list, nil
}

// Ignore replaces what is never blocked. In sets of the operator's it is an
// exception ("nomatch"), which an entry within it must not be stronger than: that takes a load.
func (f *Filter) Ignore(ctx context.Context, list []netip.Prefix) error {
	var lists [2][]netip.Prefix
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
		i := p.Addr().BitLen() / 128
		if !slices.Contains(lists[i], p) {
			lists[i] = append(lists[i], p)
		}
	}
	was := f.loaded
	for _, fam := range f.families {
		ignore := lists[0]
		if fam.v6 {
			ignore = lists[1]
		}
		if slices.Equal(ignore, fam.ignore) {
			continue
		}
		if f.loaded && f.cfg.SetOnly {
			f.loaded = false
		}
		if !f.loaded {
			fam.ignore = ignore
			continue
		}
		sets := fam.sets
		fam.carry(ctx, f.ports)
		fam.ignore = ignore
		if err := fam.tables.replace(ctx, f.cfg.chains(ignore, sets)); err != nil {
			f.loaded = false
			return err
		}
		fam.sets = sets
	}
	switch {
	case f.loaded:
		return f.remember(ctx)
	case was:
		return remediate.ErrReload
	}
	return nil
}

// excepted tells whether a prefix must stay out of an operator's set, because it lies in
// one that is never blocked.
func (f *Filter) excepted(fam *family, p netip.Prefix) bool {
	return f.cfg.SetOnly && slices.ContainsFunc(fam.ignore, func(i netip.Prefix) bool { return i.Bits() <= p.Bits() && i.Contains(p.Addr()) })
}

// seconds returns the time that a set is given for an entry, false if it has ended.
func (f *Filter) seconds(e remediate.Entry, now time.Time) (uint32, bool) {
	left := e.Until.Sub(now)
	if left <= 0 {
		return 0, false
	}
	if f.cfg.NoTimeouts {
		return 0, true
	}
	s := int64((left + time.Second - 1) / time.Second)
	if s <= maxTimeout {
		delete(f.long, e.Prefix)
		return uint32(s), true
	}
	f.long[e.Prefix] = e
	return maxTimeout, true
}

// Apply makes the changes. Of several to one prefix the last one counts.
func (f *Filter) Apply(ctx context.Context, changes []remediate.Change) error {
	if !f.loaded {
		return errors.New("the sets were not loaded")
	}
	if ok, err := f.Check(ctx); err != nil {
		return err
	} else if !ok {
		return errors.New("somebody removed our rules or sets")
	}
	for chunk := range slices.Chunk(changes, batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.apply(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (f *Filter) apply(ctx context.Context, changes []remediate.Change) error {
	if err := f.ensure(ctx, changes); err != nil {
		return err
	}
	last := make(map[netip.Prefix]int, len(changes))
	for i := range changes {
		last[changes[i].Prefix] = i
	}
	now := f.now()
	adds, dels := map[string][]elem{}, map[string][]elem{}
	var order []string // of sets with additions
	for i := range changes {
		c := &changes[i]
		fam := f.of(c.Prefix)
		if fam == nil || last[c.Prefix] != i || f.excepted(fam, c.Prefix) {
			continue
		}
		target := ""
		seconds, ok := f.seconds(c.Entry, now)
		if c.Op != remediate.Remove && ok {
			target = f.target(fam, c.Origin)
			for _, p := range halves(c.Prefix) {
				if len(adds[target]) == 0 {
					order = append(order, target)
				}
				adds[target] = append(adds[target], elem{prefix: p, seconds: seconds})
			}
		} else {
			delete(f.long, c.Prefix)
		}
		if target != "" && (c.Op == remediate.Add || c.Was == "" || c.Was == c.Origin) {
			continue
		}
		for _, s := range fam.sets { // in any, so that it does not matter which one it is in
			if s.name != target {
				for _, p := range halves(c.Prefix) {
					dels[s.name] = append(dels[s.name], elem{prefix: p})
				}
			}
		}
	}
	// Additions first, so that what moves to another set is always in one.
	for _, name := range order {
		if err := f.conn.change(cmdAdd, name, adds[name]); err != nil {
			return err
		}
	}
	for name, list := range dels {
		if err := f.conn.change(cmdDel, name, list); err != nil {
			return err
		}
	}
	return nil
}

// target returns the set that entries of an origin go to, which is there.
func (f *Filter) target(fam *family, origin string) string {
	if f.cfg.SetOnly {
		return fam.prefix
	}
	name, _ := find(fam.sets, origin)
	return name
}

// ensure makes the sets that changes need, and the rules that look into them.
func (f *Filter) ensure(ctx context.Context, changes []remediate.Change) error {
	if f.cfg.SetOnly {
		return nil
	}
	more := map[*family][]originSet{}
	var names map[string]bool
	for i := range changes {
		c := &changes[i]
		fam := f.of(c.Prefix)
		if fam == nil || c.Op == remediate.Remove {
			continue
		}
		sets := more[fam]
		if sets == nil {
			sets = fam.sets
		}
		_, missing := find(sets, c.Origin)
		if missing == "" {
			continue
		}
		if names == nil {
			var err error
			if names, err = f.conn.names(); err != nil {
				return err
			}
		}
		s := originSet{missing, fam.freeName(names)}
		if err := f.conn.create(s.name, fam.v6, fam.revision, !f.cfg.NoTimeouts); err != nil {
			return err // what was made before it the next load removes
		}
		more[fam] = append(slices.Clone(sets), s)
	}
	if len(more) == 0 {
		return nil
	}
	for fam, sets := range more {
		fam.carry(ctx, f.ports)
		if err := fam.tables.replace(ctx, f.cfg.chains(fam.ignore, sets)); err != nil {
			f.loaded = false
			return err
		}
		fam.sets = sets
	}
	return f.remember(ctx)
}

// Probe looks for entries in the sets of their origins.
func (f *Filter) Probe(_ context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	if f.conn == nil {
		return nil, os.ErrClosed
	}
	found := make([]remediate.Found, len(entries))
	for i, e := range entries {
		fam := f.of(e.Prefix)
		if fam == nil {
			continue
		}
		set := f.target(fam, e.Origin)
		if found[i].Where = "set " + set; set == "" {
			found[i].Where = "no set"
			continue
		}
		found[i].Present = true
		for _, half := range halves(e.Prefix) {
			there, err := f.conn.has(set, half)
			if err != nil {
				return nil, err
			}
			found[i].Present = found[i].Present && there
		}
	}
	return found, nil
}

// End ends the connections that addresses in the prefixes have begun.
func (f *Filter) End(ctx context.Context, prefixes []netip.Prefix) (ended int, err error) {
	if f.conn == nil {
		return 0, os.ErrClosed
	}
	for _, fam := range f.families {
		n, one := conntrack.End(ctx, f.conn.request, fam.v6, prefixes)
		ended, err = ended+n, errors.Join(err, one)
	}
	return ended, err
}

// Audited implements remediate.Audited.
func (f *Filter) Audited() {}

// Check tells whether sets, chain and jumps are as they were left. The rules are listed only when
// their table looks changed, and once a minute.
func (f *Filter) Check(ctx context.Context) (bool, error) {
	if f.conn == nil {
		return false, os.ErrClosed
	}
	for _, fam := range f.families {
		for _, s := range fam.sets {
			if ok, err := f.conn.has(s.name, canary(fam.v6)); err != nil || !ok {
				return false, err
			}
		}
	}
	if err := f.rearm(); err != nil {
		return false, err
	}
	if f.cfg.SetOnly {
		return f.loaded, nil
	}
	s, err := f.look()
	if err != nil {
		return false, err
	}
	now := f.now()
	if s == f.stamp && now.Sub(f.checked) < fullCheck {
		return f.loaded, nil
	}
	for _, fam := range f.families {
		if ok, err := fam.inOrder(ctx); err != nil || !ok {
			return false, err
		}
	}
	f.stamp, f.checked = s, now
	return f.loaded, nil
}

// inOrder tells whether our chain has its rules and is jumped to.
func (fam *family) inOrder(ctx context.Context) (bool, error) {
	rules, err := fam.tables.rules(ctx)
	if err != nil || rules != fam.rules {
		return false, err
	}
	for _, chain := range fam.chains {
		there, err := fam.tables.jumps(ctx, chain)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		if there, err = fam.tables.exists(ctx, chain); err != nil || there {
			return false, err
		}
	}
	return true, nil
}

// remember notes what the rules look like now.
func (f *Filter) remember(ctx context.Context) (err error) {
	if f.cfg.SetOnly {
		return nil
	}
	for _, fam := range f.families {
		if fam.rules, err = fam.tables.rules(ctx); err != nil {
			return err
		}
	}
	f.checked = f.now()
	f.stamp, err = f.look()
	return err
}

// look takes the stamp of the rules as they are.
func (f *Filter) look() (s stamp, err error) {
	for i, fam := range f.families {
		if fam.tables.nft {
			s.generation, err = f.conn.generation()
		} else {
			s.info[i], err = fam.tables.info()
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// rearm adds again what lasts longer than a set can say, before it is dropped.
func (f *Filter) rearm() error {
	now := f.now()
	if len(f.long) == 0 || now.Before(f.rearms) {
		return nil
	}
	f.rearms = now.Add(maxTimeout*time.Second - rearm)
	for p, e := range f.long {
		fam := f.of(p)
		seconds, ok := f.seconds(e, now)
		if !ok {
			delete(f.long, p)
			continue
		}
		for _, half := range halves(p) {
			if err := f.conn.change(cmdAdd, f.target(fam, e.Origin), []elem{{prefix: half, seconds: seconds}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close gives up the sockets. With remove it takes rules and sets away, or
// empties the sets that are the operator's.
func (f *Filter) Close(ctx context.Context, remove bool) error {
	if f.conn == nil {
		return nil
	}
	defer f.shut()
	if !remove {
		return nil
	}
	names, err := f.conn.names()
	if err != nil {
		return err
	}
	for _, fam := range f.families {
		if f.cfg.SetOnly {
			// The rules that use it want it to be there.
			if names[fam.prefix] {
				err = f.empty(fam)
			}
		} else if err = fam.tables.remove(ctx, fam.chains); err == nil {
			for name := range names {
				if fam.owns(name) {
					err = errors.Join(err, f.conn.destroy(name))
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty leaves nothing in the operator's set.
func (f *Filter) empty(fam *family) error {
	f.conn.begin(cmdFlush, unix.NLM_F_ACK, unix.AF_UNSPEC)
	f.conn.Str(attrName, fam.prefix)
	if err := f.conn.do(nil); err != nil {
		return fmt.Errorf("cannot empty set %s: %w", fam.prefix, err)
	}
	return nil
}

func (f *Filter) shut() {
	for _, fam := range f.families {
		if fam.tables != nil {
			fam.tables.close()
			fam.tables = nil
		}
		fam.sets = nil
	}
	f.conn.Close()
	f.conn, f.loaded = nil, false
}
