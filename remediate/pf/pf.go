// Package pf blocks prefixes with tables of pf, the packet filter of FreeBSD
// and OpenBSD. It is a remediate.Kernel.
//
// It speaks to pf through pfctl, which every such system has and whose words,
// other than the structures of its ioctls, are the same on all. With rules of ours, an anchor holds everything:
//
//	table <crowdsec-blacklists> persist
//	table <crowdsec6-blacklists> persist
//	block drop in quick inet from <crowdsec-blacklists> to any label "crowdsec"
//	block drop in quick inet6 from <crowdsec6-blacklists> to any label "crowdsec"
//
// and the main ruleset must call it, before anything that lets packets pass:
//
//	anchor "crowdsec"
//
// Without that nothing would be blocked, so Load refuses. What is ignored
// is in the tables too, negated: the longest prefix decides. With Config.TablesOnly
// the operator has declared the tables and has rules that use them, as upstream's firewall bouncer wants it.
//
// Tables have no times: entries stay until they are removed. pf empties tables when others
// reload their rules (pfSense's "Apply"); Check counts what is in them. The
// limit of table entries is read and respected.
package pf

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"cs/remediate"
)

const (
	// checkEvery is how often the tables are counted: each time is a process.
	checkEvery = 3 * time.Second
	// batch bounds what one pfctl is told.
	batch = 20_000
	// maxKills bounds the processes that end the connections of one batch of bans.
	maxKills = 200
)

// Config is what a Filter needs. The zero value is usable.
type Config struct {
	// Anchor that holds tables and rules; empty takes "crowdsec", or the main
	// ruleset with TablesOnly.
	Anchor string
	// Table4 and Table6 are names of tables; empty takes "crowdsec-blacklists" and
	// "crowdsec6-blacklists". At most 31 bytes.
	Table4, Table6 string
	// NoIPv4 and NoIPv6 leave a family alone.
	NoIPv4, NoIPv6 bool
	// TablesOnly leaves rules to the operator.
	TablesOnly bool
	// Reject answers blocked packets instead of dropping them.
	Reject bool
	// Log has blocked packets logged to pflog.
	Log bool
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}

// Filter is the tables of one process. It is not safe for concurrent use, as remediate.Kernel says.
type Filter struct {
	cfg     Config
	now     func() time.Time
	ctl     ctl
	tables  []*table
	ignore  []netip.Prefix
	open    bool
	loaded  bool
	checked time.Time
}

// table is one of the two.
type table struct {
	name  string
	v6    bool
	count int // of entries that pf said it has after the last change
}

// New returns a Filter that has not touched pf yet.
func New(cfg Config) (*Filter, error) {
	if cfg.Anchor == "" && !cfg.TablesOnly {
		cfg.Anchor = "crowdsec"
	}
	if cfg.Table4 == "" {
		cfg.Table4 = "crowdsec-blacklists"
	}
	if cfg.Table6 == "" {
		cfg.Table6 = "crowdsec6-blacklists"
	}
	if cfg.Table4 == cfg.Table6 {
		return nil, fmt.Errorf("cannot use table %s for both families", cfg.Table4)
	}
	for _, name := range []string{cfg.Table4, cfg.Table6} {
		if len(name) > 31 || !plain(name) {
			return nil, fmt.Errorf("cannot name a table %q: want up to 31 letters, digits, '-', '_' and '.'", name)
		}
	}
	if cfg.Anchor != "" && !plain(strings.ReplaceAll(cfg.Anchor, "/", "")) {
		return nil, fmt.Errorf("cannot use anchor %q: want letters, digits, '-', '_', '.' and '/'", cfg.Anchor)
	}
	f := &Filter{cfg: cfg, now: cfg.Now, ctl: ctl{run: run, anchor: cfg.Anchor}}
	if f.now == nil {
		f.now = time.Now
	}
	if !cfg.NoIPv4 {
		f.tables = append(f.tables, &table{name: cfg.Table4})
	}
	if !cfg.NoIPv6 {
		f.tables = append(f.tables, &table{name: cfg.Table6, v6: true})
	}
	if len(f.tables) == 0 {
		return nil, errors.New("cannot block with both IPv4 and IPv6 left alone")
	}
	return f, nil
}

// plain tells whether a name needs no quotes in any of pf's texts.
func plain(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

// Name returns "pf".
func (f *Filter) Name() string { return "pf" }

// Changed returns nil: nobody tells of changes, Check looks.
func (f *Filter) Changed() <-chan struct{} { return nil }

// Open finds out whether pf can be used. live tells that a table of ours has
// something in it.
func (f *Filter) Open(ctx context.Context) (live bool, err error) {
	if _, err := f.ctl.limit(ctx); err != nil {
		return false, fmt.Errorf("cannot use pf: %w", err)
	}
	counts, err := f.ctl.counts(ctx)
	if err != nil {
		return false, err
	}
	for _, t := range f.tables {
		live = live || counts[t.name] > 0
	}
	f.open, f.loaded = true, false
	return live, nil
}

func (f *Filter) of(p netip.Prefix) *table {
	for _, t := range f.tables {
		if t.v6 == p.Addr().Is6() {
			return t
		}
	}
	return nil
}

// Load makes the rules, then makes each table hold exactly the entries, in one step.
func (f *Filter) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	if !f.open {
		return os.ErrClosed
	}
	f.loaded = false
	if err := f.structure(ctx); err != nil {
		return err
	}
	limit, err := f.ctl.limit(ctx)
	if err != nil {
		return err
	}
	lists, n := map[*table][]netip.Prefix{}, len(f.ignore)
	now := f.now()
	for e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := f.of(e.Prefix)
		if t == nil || f.ignored(e.Prefix) || !e.Until.After(now) {
			continue
		}
		if n++; limit > 0 && n > limit {
			return fmt.Errorf("%w: pf takes %d table entries (see \"set limit table-entries\" in pf.conf)", remediate.ErrFull, limit)
		}
		lists[t] = append(lists[t], e.Prefix)
	}
	for _, t := range f.tables {
		if err := f.ctl.replace(ctx, t.name, lists[t], f.negated(t)); err != nil {
			return err
		}
	}
	counts, err := f.ctl.counts(ctx)
	if err != nil {
		return err
	}
	for _, t := range f.tables {
		t.count = counts[t.name]
		if want := len(lists[t]) + len(f.negated(t)); t.count < want {
			return fmt.Errorf("pf took %d of %d entries of table %s", t.count, want, t.name)
		}
	}
	f.loaded, f.checked = true, f.now()
	return nil
}

// structure makes the anchor's rules, or finds the operator's tables.
func (f *Filter) structure(ctx context.Context) error {
	if f.cfg.TablesOnly {
		counts, err := f.ctl.counts(ctx)
		if err != nil {
			return err
		}
		for _, t := range f.tables {
			if _, ok := counts[t.name]; !ok {
				where := "pf.conf"
				if f.cfg.Anchor != "" {
					where = "anchor " + f.cfg.Anchor
				}
				return fmt.Errorf("cannot block: table <%s> is not declared in %s: add \"table <%s> persist\" and rules that use it", t.name, where, t.name)
			}
		}
		return nil
	}
	called, err := f.ctl.called(ctx)
	if err != nil {
		return err
	}
	if !called {
		return fmt.Errorf("cannot block: the main ruleset does not call our anchor: add the line 'anchor %q' to pf.conf, before rules that pass packets", f.cfg.Anchor)
	}
	return f.ctl.rules(ctx, f.rules())
}

// rules returns the anchor's rules.
func (f *Filter) rules() string {
	var b strings.Builder
	for _, t := range f.tables {
		fmt.Fprintf(&b, "table <%s> persist\n", t.name)
	}
	action, log := "drop", ""
	if f.cfg.Reject {
		action = "return"
	}
	if f.cfg.Log {
		log = " log"
	}
	for _, t := range f.tables {
		family := "inet"
		if t.v6 {
			family = "inet6"
		}
		fmt.Fprintf(&b, "block %s in%s quick %s from <%s> to any label \"crowdsec\"\n", action, log, family, t.name)
	}
	return b.String()
}

// Ignore replaces what is never blocked. What lies in it must not be in the
// tables, so that the change takes a load.
func (f *Filter) Ignore(_ context.Context, list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
	}
	if f.ignore = slices.Clone(list); !f.loaded {
		return nil
	}
	f.loaded = false
	return remediate.ErrReload
}

// ignored tells whether a prefix lies in one that is never blocked.
func (f *Filter) ignored(p netip.Prefix) bool {
	return slices.ContainsFunc(f.ignore, func(i netip.Prefix) bool { return i.Bits() <= p.Bits() && i.Contains(p.Addr()) })
}

// negated returns what is ignored of a table's family. Of nested prefixes all are listed.
func (f *Filter) negated(t *table) (list []netip.Prefix) {
	for _, p := range f.ignore {
		if p.Addr().Is6() == t.v6 && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// Apply makes the changes. Of several to one prefix the last one counts.
func (f *Filter) Apply(ctx context.Context, changes []remediate.Change) error {
	if !f.loaded {
		return errors.New("the tables were not loaded")
	}
	for chunk := range slices.Chunk(changes, batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.apply(ctx, chunk); err != nil {
			f.loaded = false
			return err
		}
	}
	return nil
}

func (f *Filter) apply(ctx context.Context, changes []remediate.Change) error {
	last := make(map[netip.Prefix]int, len(changes))
	for i := range changes {
		last[changes[i].Prefix] = i
	}
	adds, dels := map[*table][]netip.Prefix{}, map[*table][]netip.Prefix{}
	var fresh []netip.Prefix
	now := f.now()
	for i := range changes {
		c := &changes[i]
		t := f.of(c.Prefix)
		if t == nil || last[c.Prefix] != i || f.ignored(c.Prefix) {
			continue
		}
		if c.Op == remediate.Remove || !c.Until.After(now) {
			dels[t] = append(dels[t], c.Prefix)
			continue
		}
		adds[t] = append(adds[t], c.Prefix)
		if c.Op == remediate.Add {
			fresh = append(fresh, c.Prefix)
		}
	}
	for _, t := range f.tables {
		// There are ways to say a command that make a table that is missing.
		if len(adds[t])+len(dels[t]) > 0 {
			if ok, err := f.inOrder(ctx, t); err != nil {
				return err
			} else if !ok {
				return fmt.Errorf("somebody removed or changed table %s", t.name)
			}
		}
		if list := dels[t]; len(list) > 0 {
			n, err := f.ctl.change(ctx, t.name, "delete", list)
			if err != nil {
				return err
			}
			t.count -= n
		}
		if list := adds[t]; len(list) > 0 {
			n, err := f.ctl.change(ctx, t.name, "add", list)
			if err != nil {
				return err
			}
			t.count += n
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return f.killStates(ctx, fresh)
}

// inOrder tells whether a table has as many entries as we gave it.
func (f *Filter) inOrder(ctx context.Context, t *table) (bool, error) {
	counts, err := f.ctl.counts(ctx)
	if err != nil {
		return false, err
	}
	n, ok := counts[t.name]
	return ok && n == t.count, nil
}

// killStates ends the connections of newly blocked prefixes: pf passes what
// belongs to one without asking the rules.
func (f *Filter) killStates(ctx context.Context, fresh []netip.Prefix) error {
	set := make(map[netip.Prefix]bool, len(fresh))
	var lengths [2][129]bool
	for _, p := range fresh {
		set[p] = true
		lengths[p.Addr().BitLen()/128][p.Bits()] = true
	}
	states, err := f.ctl.run(ctx, nil, "-s", "states")
	if err != nil {
		return err
	}
	hit := map[netip.Prefix]bool{}
	for line := range strings.Lines(states) {
		for a := range stateAddrs(line) {
			for bits := 0; bits <= a.BitLen(); bits++ {
				if !lengths[a.BitLen()/128][bits] {
					continue
				}
				if p, _ := a.Prefix(bits); set[p] && !f.ignored(netip.PrefixFrom(a, a.BitLen())) {
					hit[p] = true
				}
			}
		}
	}
	kills := 0
	for p := range hit {
		if kills++; kills > maxKills {
			break
		}
		all := "0.0.0.0/0"
		if p.Addr().Is6() {
			all = "::/0"
		}
		for _, args := range [][]string{{"-k", value(p)}, {"-k", all, "-k", value(p)}} {
			if _, err := f.ctl.run(ctx, nil, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// stateAddrs yields the addresses of a line of "pfctl -s states":
//
//	all tcp 192.0.2.1:22 <- 203.0.113.4:50000       ESTABLISHED:ESTABLISHED
//	all tcp 2001:db8::1[22] <- 2001:db8:1::5[50000]       ESTABLISHED:ESTABLISHED
//	all udp 10.0.0.2:53 (192.0.2.1:53) <- 203.0.113.4:999       SINGLE:MULTIPLE
func stateAddrs(line string) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, word := range strings.Fields(line) {
			word = strings.Trim(word, "()")
			host, _, v6 := strings.Cut(word, "[")
			if !v6 {
				if i := strings.LastIndexByte(word, ':'); i >= 0 && strings.Count(word, ":") == 1 {
					host = word[:i]
				}
			}
			if a, err := netip.ParseAddr(host); err == nil && !yield(a.Unmap().WithZone("")) {
				return
			}
		}
	}
}

// Check tells whether the tables hold as much as they were given and the
// rules that use them are there.
func (f *Filter) Check(ctx context.Context) (bool, error) {
	if !f.open {
		return false, os.ErrClosed
	}
	if !f.loaded {
		return false, nil
	}
	now := f.now()
	if now.Sub(f.checked) < checkEvery {
		return true, nil
	}
	for _, t := range f.tables {
		if ok, err := f.inOrder(ctx, t); err != nil || !ok {
			return false, err
		}
	}
	if !f.cfg.TablesOnly {
		called, err := f.ctl.called(ctx)
		if err != nil || !called {
			return false, err
		}
		rules, err := f.ctl.ruleCount(ctx)
		if err != nil || rules < len(f.tables) {
			return false, err
		}
	}
	f.checked = now
	return true, nil
}

// Probe looks for entries in the tables, which it has listed.
func (f *Filter) Probe(ctx context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	if !f.open {
		return nil, os.ErrClosed
	}
	lists := map[*table]map[netip.Prefix]bool{}
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		t := f.of(e.Prefix)
		if t == nil {
			continue
		}
		if lists[t] == nil {
			list, err := f.ctl.show(ctx, t.name)
			if err != nil {
				return nil, err
			}
			lists[t] = list
		}
		out[i] = remediate.Found{Present: lists[t][e.Prefix], Where: "table <" + t.name + ">"}
	}
	return out, nil
}

// Close does nothing but, with remove, take the anchor's content away or empty the operator's tables.
func (f *Filter) Close(ctx context.Context, remove bool) error {
	if !f.open {
		return nil
	}
	f.open, f.loaded = false, false
	if !remove {
		return nil
	}
	for _, t := range f.tables {
		if err := f.ctl.empty(ctx, t.name); err != nil {
			return err
		}
	}
	if f.cfg.TablesOnly {
		return nil
	}
	return f.ctl.remove(ctx)
}

// value returns an address without the length of a single one.
func value(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// prefixLines returns prefixes one a line, as pfctl reads them.
func prefixLines(b *bytes.Buffer, before string, list []netip.Prefix) {
	for _, p := range list {
		b.WriteString(before)
		b.WriteString(value(p))
		b.WriteByte('\n')
	}
}

// number returns the number in the first word of a line that has a text in it.
func number(text, with string) (n int, found bool) {
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		if !strings.Contains(in.Text(), with) {
			continue
		}
		word, _, _ := strings.Cut(strings.TrimSpace(in.Text()), " ")
		word, _, _ = strings.Cut(word, "/") // "2/3 addresses added."
		if n, err := strconv.Atoi(word); err == nil {
			return n, true
		}
	}
	return 0, false
}
