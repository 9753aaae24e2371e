// Package export keeps bans in a file that other programs read: packet filters
// with rules of the operator's, web servers, DNS servers. It is a
// remediate.Kernel.
//
// The file is always whole: it is written beside and renamed into place. It
// has no prefix that another one covers and none that lies in an ignored one; where a
// ban covers an ignored prefix, what is left around it is listed. Ends of
// bans are not in it: a ban that ends is taken out. Formats:
//
//	plain    203.0.113.4                     one address or range a line
//	nft      flush set inet filter banned4   a script for "nft -f": fills two sets of the operator's,
//	         add element … { 203.0.113.4 }   with "flags interval"; in one transaction
//	ipset    create … swap … destroy …       a script for "ipset restore": fills two sets hash:net by a swap
//	dnsmasq  bogus-nxdomain=203.0.113.4      a file for conf-dir: answers with a banned address become "no such name"
//
// A command can be run after each write, to have the file read. When it fails
// the file is written, and the command run, again later.
package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"cs/decisions"
	"cs/platform"
	"cs/platform/order"
	"cs/remediate"
	"cs/remediate/exec"
)

// Formats of the file.
const (
	Plain   = "plain"
	Nft     = "nft"
	Ipset   = "ipset"
	Dnsmasq = "dnsmasq"
)

// Config says what is written where.
type Config struct {
	Path   string
	Format string // Plain when empty
	// Set4 and Set6 name the sets of Nft ("inet filter banned4") and Ipset ("banned4"). Empty takes
	// crowdsec-blacklists and crowdsec6-blacklists, of table "inet crowdsec" for Nft.
	Set4, Set6 string
	// Command, if not empty, is run after each write: a program and its arguments.
	Command []string
	// Every is the least time between two writes; what changes meanwhile is
	// written with the next one. 0 writes each change at once.
	Every time.Duration
	// Now is the clock; nil takes time.Now.
	Now func() time.Time
}

// File is the file. It is not safe for concurrent use, as remediate.Kernel says.
type File struct {
	cfg     Config
	command exec.Program
	now     func() time.Time
	open    bool
	loaded  bool
	entries map[netip.Prefix]struct{}
	ignore  []netip.Prefix
	dirty   bool
	written time.Time
	stat    os.FileInfo // of what was written
}

// New returns a File that has not touched the disk yet.
func New(cfg Config) (*File, error) {
	if cfg.Path == "" {
		return nil, errors.New("cannot write bans to a file without its path")
	}
	switch cfg.Format {
	case "":
		cfg.Format = Plain
	case Plain, Nft, Ipset, Dnsmasq:
	default:
		return nil, fmt.Errorf("cannot write format %q: known are %s, %s, %s, %s", cfg.Format, Plain, Nft, Ipset, Dnsmasq)
	}
	table := ""
	if cfg.Format == Nft {
		table = "inet crowdsec "
	}
	if cfg.Set4 == "" {
		cfg.Set4 = table + "crowdsec-blacklists"
	}
	if cfg.Set6 == "" {
		cfg.Set6 = table + "crowdsec6-blacklists"
	}
	for _, name := range []string{cfg.Set4, cfg.Set6} {
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`{};"'`, r) }) ||
			cfg.Format == Ipset && (strings.Contains(name, " ") || len(name) > 27) {
			return nil, fmt.Errorf("cannot use a set named %q", name)
		}
	}
	f := &File{cfg: cfg, now: cfg.Now}
	if f.now == nil {
		f.now = time.Now
	}
	if len(cfg.Command) > 0 {
		f.command = exec.Program{Path: cfg.Command[0], Args: cfg.Command[1:]}
	}
	return f, nil
}

// Name returns "export".
func (f *File) Name() string { return "export" }

// Changed returns nil: Check looks.
func (f *File) Changed() <-chan struct{} { return nil }

// Open tells whether the file is there already.
func (f *File) Open(context.Context) (live bool, err error) {
	_, err = os.Stat(f.cfg.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot write bans: %w", err)
	}
	f.open, f.loaded = true, false
	return err == nil, nil
}

// Load writes the file.
func (f *File) Load(ctx context.Context, entries iter.Seq[remediate.Entry]) error {
	if !f.open {
		return os.ErrClosed
	}
	f.loaded, f.entries = false, map[netip.Prefix]struct{}{}
	now := f.now()
	for e := range entries {
		if e.Until.After(now) {
			f.entries[e.Prefix] = struct{}{}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if err := f.write(ctx); err != nil {
		return err
	}
	f.loaded = true
	return nil
}

// Apply makes the changes, and writes the file unless that was done a moment ago.
func (f *File) Apply(ctx context.Context, changes []remediate.Change) error {
	if !f.loaded {
		return errors.New("the file was not written as a whole")
	}
	if !f.same() {
		return fmt.Errorf("somebody removed or changed %s", f.cfg.Path)
	}
	now := f.now()
	for i := range changes {
		c := &changes[i]
		_, there := f.entries[c.Prefix]
		switch {
		case c.Op == remediate.Remove || !c.Until.After(now):
			delete(f.entries, c.Prefix)
			f.dirty = f.dirty || there
		case !there:
			f.entries[c.Prefix] = struct{}{}
			f.dirty = true
		}
	}
	return f.settle(ctx)
}

// Ignore replaces what is never blocked.
func (f *File) Ignore(ctx context.Context, list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("cannot ignore %v: it is no masked prefix", p)
		}
	}
	f.ignore = slices.Clone(list)
	if !f.loaded {
		return nil
	}
	f.dirty = true
	return f.settle(ctx)
}

// settle writes what was changed, when it is time.
func (f *File) settle(ctx context.Context) error {
	if !f.dirty || f.cfg.Every > 0 && f.now().Sub(f.written) < f.cfg.Every {
		return nil
	}
	return f.write(ctx)
}

func (f *File) write(ctx context.Context) error {
	f.written = f.now() // also of a failure: it is not tried over and over
	if err := platform.WriteFile(f.cfg.Path, f.text(), 0o644); err != nil {
		return err
	}
	var err error
	if f.stat, err = os.Stat(f.cfg.Path); err != nil {
		return fmt.Errorf("cannot write bans: %w", err)
	}
	if f.command.Path != "" {
		if err := f.command.Run(ctx, nil); err != nil {
			return err
		}
	}
	f.dirty = false
	return nil
}

// same tells whether the file is the one that was written.
func (f *File) same() bool {
	now, err := os.Stat(f.cfg.Path)
	return err == nil && f.stat != nil && os.SameFile(now, f.stat) && now.Size() == f.stat.Size() && now.ModTime().Equal(f.stat.ModTime())
}

// Probe reads the file back, and tells whether it has what covers the entries.
func (f *File) Probe(ctx context.Context, entries []remediate.Entry) ([]remediate.Found, error) {
	if !f.loaded {
		return nil, errors.New("the file was not written as a whole")
	}
	if f.dirty {
		if err := f.write(ctx); err != nil {
			return nil, err
		}
	}
	have, err := f.read()
	if err != nil {
		return nil, err
	}
	covered := func(p netip.Prefix) bool {
		for bits := p.Bits(); bits >= 0; bits-- {
			if wider, _ := p.Addr().Prefix(bits); have[wider] {
				return true
			}
		}
		return false
	}
	out := make([]remediate.Found, len(entries))
	for i, e := range entries {
		parts := remediate.Subtract(nil, e.Prefix, f.ignore)
		out[i] = remediate.Found{Present: len(parts) > 0, Where: f.cfg.Path}
		for _, p := range parts {
			ok := covered(p)
			if !ok && p.Bits() == 0 { // as ipset has it
				low, high := remediate.Halves(p)
				ok = have[low] && have[high]
			}
			out[i].Present = out[i].Present && ok
		}
	}
	return out, nil
}

// read returns the prefixes that the file has.
func (f *File) read() (map[netip.Prefix]bool, error) {
	text, err := os.ReadFile(f.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read bans back: %w", err)
	}
	have := make(map[netip.Prefix]bool, len(f.entries))
	for line := range strings.Lines(string(text)) {
		words := strings.FieldsFunc(line, func(r rune) bool { return r <= ' ' || r == '=' || r == ',' || r == '{' || r == '}' })
		for _, word := range words {
			if p, err := decisions.ParsePrefix(word); err == nil {
				have[p] = true
			}
		}
	}
	return have, nil
}

// Check tells whether the file is as it was written, and writes what was put
// off.
func (f *File) Check(ctx context.Context) (bool, error) {
	if !f.open {
		return false, os.ErrClosed
	}
	if !f.loaded || !f.same() {
		return false, nil
	}
	return true, f.settle(ctx)
}

// Close writes what was put off. With remove, an empty list is written for the command, if
// there is one, and the file is removed.
func (f *File) Close(ctx context.Context, remove bool) error {
	if !f.open {
		return nil
	}
	f.open = false
	if !remove {
		if f.loaded && f.dirty && f.same() {
			return f.write(ctx)
		}
		return nil
	}
	f.entries = nil
	err := f.write(ctx)
	if rerr := os.Remove(f.cfg.Path); err == nil && rerr != nil {
		err = fmt.Errorf("cannot remove the bans: %w", rerr)
	}
	return err
}

// list returns the prefixes of the file, sorted: no two overlap.
func (f *File) list() []netip.Prefix {
	all := make([]netip.Prefix, 0, len(f.entries))
	for p := range f.entries {
		all = append(all, p)
	}
	order.Sort(all, netip.Prefix.Compare) // a prefix comes before what is in it
	out := all[:0:0]
	for _, p := range all {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
	}
	if len(f.ignore) == 0 {
		return out
	}
	kept := out[:0:0]
	for _, p := range out {
		kept = remediate.Subtract(kept, p, f.ignore)
	}
	return kept
}

// text returns the content of the file.
func (f *File) text() []byte {
	list := f.list()
	first6, _ := slices.BinarySearchFunc(list, true, func(p netip.Prefix, _ bool) int {
		if p.Addr().Is4() {
			return -1
		}
		return 1
	})
	var b bytes.Buffer
	switch f.cfg.Format {
	case Nft:
		nftScript(&b, f.cfg.Set4, list[:first6])
		nftScript(&b, f.cfg.Set6, list[first6:])
	case Ipset:
		ipsetScript(&b, f.cfg.Set4, "inet", list[:first6])
		ipsetScript(&b, f.cfg.Set6, "inet6", list[first6:])
	case Dnsmasq:
		for _, p := range list {
			b.WriteString("bogus-nxdomain=")
			writeValue(&b, p)
			b.WriteByte('\n')
		}
	default:
		for _, p := range list {
			writeValue(&b, p)
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// nftChunk bounds the elements of one command, which nft reads as a whole.
const nftChunk = 1000

func nftScript(b *bytes.Buffer, set string, list []netip.Prefix) {
	fmt.Fprintf(b, "flush set %s\n", set)
	for chunk := range slices.Chunk(list, nftChunk) {
		fmt.Fprintf(b, "add element %s {", set)
		for i, p := range chunk {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte(' ')
			writeValue(b, p)
		}
		b.WriteString(" }\n")
	}
}

func ipsetScript(b *bytes.Buffer, set, family string, list []netip.Prefix) {
	const maxElem = 1 << 27 // ipset takes memory for what is there
	fmt.Fprintf(b, "create %s-new hash:net family %s maxelem %d -exist\nflush %s-new\n", set, family, maxElem, set)
	for _, p := range list {
		if p.Bits() == 0 { // ipset has no such length
			low, high := remediate.Halves(p)
			fmt.Fprintf(b, "add %s-new %s\nadd %s-new %s\n", set, low, set, high)
			continue
		}
		fmt.Fprintf(b, "add %s-new ", set)
		writeValue(b, p)
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "swap %s-new %s\ndestroy %s-new\n", set, set, set)
}

// writeValue writes an address without the length of a single one.
func writeValue(b *bytes.Buffer, p netip.Prefix) {
	if p.IsSingleIP() {
		b.Write(p.Addr().AppendTo(b.AvailableBuffer()))
		return
	}
	b.Write(p.AppendTo(b.AvailableBuffer()))
}
