// Package wfp blocks prefixes with the Windows Filtering Platform, by calls of
// fwpuclnt.dll. It is a remediate.Kernel.
//
// Filters of a provider and a sublayer of our own block what comes in from the listed
// addresses, whatever the Windows Firewall is set to, on all profiles. One filter holds up to 1024
// addresses: conditions of one field are alternatives. A change replaces the filters whose
// addresses change, in one transaction; what is in force during it is the old state or the new one.
// Blocks can't be overridden by other programs' permits (FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT).
// What is ignored is permitted by a filter before them, which ends the search in our sublayer only:
// others still may block it.
//
// Filters have no times: entries stay until they are removed. How long filters outlive the
// process is Config.Lifetime's choice; Close with remove leaves nothing of ours behind.
//
// With Config.Rules the filters are rules of the Windows Firewall instead,
// which administrators see ("netsh advfirewall firewall show rule", wf.msc), made by netsh. That is slower and
// for thousands of addresses, not for hundreds of thousands; and it works only while that firewall is on.
package wfp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"time"

	"cs/remediate"
)

// How long filters last.
const (
	Persistent  = "persistent"   // until they are removed; in force as soon as the filtering engine is
	UntilReboot = "until-reboot" // or until the filtering engine is restarted
	WithProcess = "with-process" // the system removes them when the process ends, however it ends
)

// txFilters bounds the filters of a transaction.
const txFilters = 64

// Config is what a Filter needs. The zero value is usable.
type Config struct {
	// Lifetime is Persistent (also when empty), UntilReboot or WithProcess.
	Lifetime string
	// Outbound also blocks connections to the addresses.
	Outbound bool
	// Rules makes rules of the Windows Firewall.
	Rules bool
	// NoIPv4 and NoIPv6 leave a family alone.
	NoIPv4, NoIPv6 bool
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}

// engine is what we need of a filtering engine. Its errors are of type status.
// Changes between begin and commit happen together or, after abort, not at all.
type engine interface {
	begin() error
	commit() error
	abort() error
	addProvider() error
	deleteProvider() error
	addSublayer() error
	deleteSublayer() error
	addFilter(f *filter) error
	deleteFilter(key uint64) error
	// remotes returns the addresses of a filter, false if it isn't there.
	remotes(key uint64) ([]netip.Prefix, bool, error)
	// filters returns the keys of all filters of our provider.
	filters() ([]uint64, error)
	close() error

	// limit is how many addresses of a family a filter may have.
	limit(v6 bool) int
	// ignores tells whether filters that permit go before those that block. If they don't, addFilter
	// leaves out of a filter what setIgnore said last.
	ignores() bool
	setIgnore(list []netip.Prefix)
	// written returns how a filter has an address: in parts, if it can't have it as it is.
	written(p netip.Prefix) []netip.Prefix
	// pace is the least time between two looks at what is there.
	pace() time.Duration
}

// filter is one filter, or one rule.
type filter struct {
	key     uint64
	layer   layer
	permit  bool // end the search; blocks otherwise
	remotes []netip.Prefix
}

// layer is where a filter looks: connections that come in are checked before they are
// accepted, and again when filters change.
type layer uint8

const (
	inbound4 layer = iota
	inbound6
	outbound4
	outbound6
)

func (l layer) v6() bool { return l&1 == 1 }

// Filter is our filters. It is not safe for concurrent use, as remediate.Kernel says.
type Filter struct {
	cfg  Config
	now  func() time.Time
	open func(Config) (engine, error)
	e    engine

	loaded  bool
	checked time.Time
	next    uint64 // key of the next filter
	layers  [2][]layer
	buckets [2][]*bucket
	where   map[netip.Prefix]*bucket
	keys    []uint64 // of all filters, while they are checked one after the other
	ignore  []netip.Prefix
	permits []uint64 // keys of the filters that let pass what is ignored
}

// bucket is the addresses of one filter in each layer of a family.
type bucket struct {
	family  int
	members []netip.Prefix
	keys    []uint64 // of its filters, none yet when empty
	touched bool
}

// New returns a Filter that has not touched the system yet.
func New(cfg Config) (*Filter, error) {
	switch cfg.Lifetime {
	case "":
		cfg.Lifetime = Persistent
	case Persistent, UntilReboot, WithProcess:
	default:
		return nil, fmt.Errorf("cannot keep filters %q: known are %s, %s, %s", cfg.Lifetime, Persistent, UntilReboot, WithProcess)
	}
	if cfg.Rules && cfg.Lifetime != Persistent {
		return nil, fmt.Errorf("cannot keep rules of the Windows Firewall %q: they are always %s", cfg.Lifetime, Persistent)
	}
	f := &Filter{cfg: cfg, now: cfg.Now, open: openEngine}
	if cfg.Rules {
		f.open = openRules
	}
	if f.now == nil {
		f.now = time.Now
	}
	for family, off := range []bool{cfg.NoIPv4, cfg.NoIPv6} {
		if off {
			continue
		}
		f.layers[family] = append(f.layers[family], inbound4+layer(family))
		if cfg.Outbound {
			f.layers[family] = append(f.layers[family], outbound4+layer(family))
		}
	}
	if f.layers[0] == nil && f.layers[1] == nil {
		return nil, errors.New("cannot block with both IPv4 and IPv6 left alone")
	}
	return f, nil
}

// Name returns "wfp", or "windows-rules".
func (f *Filter) Name() string {
	if f.cfg.Rules {
		return "windows-rules"
	}
	return "wfp"
}

// Changed returns nil: Check looks.
func (f *Filter) Changed() <-chan struct{} { return nil }

// Open opens the engine. live tells that filters of ours are in force.
func (f *Filter) Open(ctx context.Context) (live bool, err error) {
	if err := f.Close(ctx, false); err != nil { // open already
		return false, err
	}
	if f.e, err = f.open(f.cfg); err != nil {
		f.e = nil
		return false, err
	}
	keys, err := f.e.filters()
	if err != nil {
		f.e.close()
		f.e = nil
		return false, fmt.Errorf("cannot look for filters of ours: %w", err)
	}
	return len(keys) > 0, nil
}

// Load adds filters with the entries beside those in force, and then removes
// those.
func (f *Filter) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	if f.e == nil {
		return os.ErrClosed
	}
	f.loaded = false
	err := f.load(ctx, entries)
	if err != nil {
		if errors.Is(err, errSession) { // the engine was started again; the next load has a session that works
			f.e.close()
			e, oerr := f.open(f.cfg)
			if oerr != nil {
				return errors.Join(err, oerr)
			}
			f.e = e
		}
		return err
	}
	f.loaded, f.checked = true, f.now()
	return nil
}

func (f *Filter) load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	old, err := f.e.filters()
	if err != nil {
		return fmt.Errorf("cannot look for filters of ours: %w", err)
	}
	for _, key := range old {
		f.next = max(f.next, key+1)
	}
	f.buckets, f.where, f.keys = [2][]*bucket{}, map[netip.Prefix]*bucket{}, nil
	f.e.setIgnore(f.ignore)
	w := &writer{ctx: ctx, f: f}
	w.do("add our provider", f.e.addProvider, errExists)
	w.do("add our sublayer", f.e.addSublayer, errExists)
	w.permit()
	now := f.now()
	var full *bucket
	for e := range entries {
		if w.err != nil {
			break
		}
		if !e.Until.After(now) {
			continue
		}
		b := f.put(e.Prefix)
		if b == nil {
			continue
		}
		if full != nil && full != b && len(full.members) >= f.e.limit(full.family == 1) {
			w.bucket(full)
		}
		full = b
	}
	for _, list := range f.buckets {
		for _, b := range list {
			if b.touched {
				w.bucket(b)
			}
		}
	}
	for _, key := range old {
		w.delete(key)
	}
	return w.finish()
}

// writer makes changes in transactions of bounded size. After an error it does nothing.
type writer struct {
	ctx  context.Context
	f    *Filter
	n    int // calls in the transaction
	open bool
	err  error
}

func (w *writer) do(what string, call func() error, fine ...error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil && w.open && w.n >= txFilters {
		w.commit()
	}
	if w.err == nil && !w.open {
		w.n = 0
		if w.err = w.f.e.begin(); w.err != nil {
			w.err = fmt.Errorf("cannot begin a transaction: %w", w.err)
		}
		w.open = w.err == nil
	}
	if w.err != nil {
		return
	}
	w.n++
	if err := call(); err != nil && !slices.ContainsFunc(fine, func(f error) bool { return errors.Is(err, f) }) {
		w.err = fmt.Errorf("cannot %s: %w", what, err)
	}
}

func (w *writer) add(fl *filter) {
	w.do(fmt.Sprintf("add a filter of %d addresses", len(fl.remotes)), func() error { return w.f.e.addFilter(fl) })
}

func (w *writer) delete(key uint64) {
	w.do("remove a filter", func() error { return w.f.e.deleteFilter(key) })
}

func (w *writer) commit() {
	if err := w.f.e.commit(); err != nil {
		w.err = fmt.Errorf("cannot commit: %w", err)
		return
	}
	w.open = false
}

// finish commits, or takes back what was not committed.
func (w *writer) finish() error {
	if w.err == nil && w.open {
		w.commit()
	}
	if w.open {
		_ = w.f.e.abort() // the first error counts
	}
	return w.err
}

// permit adds the filters of what is ignored.
func (w *writer) permit() {
	f := w.f
	f.permits = nil
	if !f.e.ignores() {
		return
	}
	for family, layers := range f.layers {
		var list []netip.Prefix
		for _, p := range f.ignore {
			if familyOf(p) == family {
				list = append(list, p)
			}
		}
		for chunk := range slices.Chunk(list, f.e.limit(family == 1)) {
			for _, l := range layers {
				key := f.key()
				w.add(&filter{key: key, layer: l, permit: true, remotes: chunk})
				f.permits = append(f.permits, key)
			}
		}
	}
}

// Ignore replaces what is never blocked. Rules of the Windows Firewall can't
// except anything, so that the change takes a load.
func (f *Filter) Ignore(ctx context.Context, list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
	}
	if f.ignore = slices.Clone(list); !f.loaded {
		return nil
	}
	if !f.e.ignores() {
		f.loaded = false
		return remediate.ErrReload
	}
	w := &writer{ctx: ctx, f: f}
	old := f.permits
	w.permit()
	for _, key := range old {
		w.delete(key)
	}
	err := w.finish()
	f.loaded = err == nil
	return err
}

// bucket replaces a bucket's filters. The new ones come first, for engines without transactions.
func (w *writer) bucket(b *bucket) {
	old := b.keys
	b.keys, b.touched = nil, false
	if len(b.members) > 0 {
		for _, l := range w.f.layers[b.family] {
			key := w.f.key()
			w.add(&filter{key: key, layer: l, remotes: b.members})
			b.keys = append(b.keys, key)
		}
	}
	for _, key := range old {
		w.delete(key)
	}
}

func (f *Filter) key() uint64 {
	f.next++
	return f.next - 1
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1
	}
	return 0
}

// put adds a prefix to a bucket with room and returns it; nil if it is there already or not to be blocked.
func (f *Filter) put(p netip.Prefix) *bucket {
	family := familyOf(p)
	if f.layers[family] == nil || f.where[p] != nil {
		return nil
	}
	limit := f.e.limit(family == 1)
	list := f.buckets[family]
	var b *bucket
	if n := len(list); n > 0 && len(list[n-1].members) < limit {
		b = list[n-1]
	}
	if b == nil {
		// One that others have left room in, if there is much: the next ones go there, too.
		for i, c := range list {
			if len(c.members) <= limit/2 {
				b = c
				list[i], list[len(list)-1] = list[len(list)-1], c
				break
			}
		}
	}
	if b == nil {
		b = &bucket{family: family}
		f.buckets[family] = append(list, b)
	}
	b.members = append(b.members, p)
	b.touched = true
	f.where[p] = b
	return b
}

// take removes a prefix from its bucket and returns that; nil if it was in none.
func (f *Filter) take(p netip.Prefix) *bucket {
	b := f.where[p]
	if b == nil {
		return nil
	}
	delete(f.where, p)
	i := slices.Index(b.members, p)
	b.members[i] = b.members[len(b.members)-1]
	b.members = b.members[:len(b.members)-1]
	b.touched = true
	return b
}

// Apply makes the changes.
func (f *Filter) Apply(ctx context.Context, changes []remediate.Change) error {
	if f.e == nil || !f.loaded {
		return errors.New("the filters were not loaded")
	}
	now := f.now()
	var touched []*bucket
	for i := range changes {
		c := &changes[i]
		var b *bucket
		if c.Op == remediate.Remove || !c.Until.After(now) {
			b = f.take(c.Prefix)
		} else {
			b = f.put(c.Prefix)
		}
		if b != nil && (len(touched) == 0 || touched[len(touched)-1] != b) {
			touched = append(touched, b)
		}
	}
	w := &writer{ctx: ctx, f: f}
	for _, b := range touched {
		if b.touched {
			w.bucket(b)
		}
	}
	f.keys = nil
	if err := w.finish(); err != nil {
		f.loaded = false // what is in the buckets is not in the filters
		return err
	}
	return nil
}

// checkAtOnce bounds the filters that one Check looks for.
const checkAtOnce = 8

// Check looks for some of the filters each time, one after the other.
func (f *Filter) Check(context.Context) (bool, error) {
	if f.e == nil {
		return false, os.ErrClosed
	}
	now := f.now()
	if !f.loaded || now.Sub(f.checked) < f.e.pace() {
		return f.loaded, nil
	}
	f.checked = now
	if len(f.keys) == 0 {
		f.keys = slices.Clone(f.permits)
		for _, list := range f.buckets {
			for _, b := range list {
				f.keys = append(f.keys, b.keys...)
			}
		}
	}
	for range min(checkAtOnce, len(f.keys)) {
		key := f.keys[len(f.keys)-1]
		f.keys = f.keys[:len(f.keys)-1]
		if _, ok, err := f.e.remotes(key); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// Probe asks for the filters of entries, and whether they have their addresses.
func (f *Filter) Probe(_ context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	if f.e == nil {
		return nil, os.ErrClosed
	}
	have := map[*bucket]map[netip.Prefix]int{} // in how many layers
	for _, e := range entries {
		b := f.where[e.Prefix]
		if b == nil || have[b] != nil {
			continue
		}
		have[b] = map[netip.Prefix]int{}
		for _, key := range b.keys {
			list, _, err := f.e.remotes(key)
			if err != nil {
				return nil, fmt.Errorf("cannot ask for a filter: %w", err)
			}
			for _, p := range list {
				have[b][p]++
			}
		}
	}
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		family := familyOf(e.Prefix)
		for b, in := range have {
			all := b.family == family
			for _, p := range f.e.written(e.Prefix) {
				all = all && in[p] >= len(f.layers[family])
			}
			out[i].Present = out[i].Present || all
		}
		out[i].Where = f.Name()
	}
	return out, nil
}

// Close gives up the engine. With remove, all that is ours goes.
func (f *Filter) Close(ctx context.Context, remove bool) error {
	if f.e == nil {
		return nil
	}
	var err error
	if remove {
		err = f.remove(ctx)
	}
	if cerr := f.e.close(); err == nil {
		err = cerr
	}
	f.e, f.loaded = nil, false
	return err
}

func (f *Filter) remove(ctx context.Context) error {
	keys, err := f.e.filters()
	if err != nil {
		return fmt.Errorf("cannot look for filters of ours: %w", err)
	}
	w := &writer{ctx: ctx, f: f}
	for _, key := range keys {
		w.delete(key)
	}
	w.do("remove our sublayer", f.e.deleteSublayer, errNoSublayer)
	w.do("remove our provider", f.e.deleteProvider, errNoProvider)
	return w.finish()
}
