package wfp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"cs/decisions"
	"cs/remediate"
)

// ruleName begins the names of our rules; the key follows. Upstream's bouncer
// uses the same word, without the dash.
const ruleName = "crowdsec-blocklist-"

// maxRemotes bounds the text of one rule's addresses, because command lines
// of the Windows shell end at 8191 characters.
const maxRemotes = 7500

// rules is an engine that makes rules of the Windows Firewall by netsh. It has
// no transactions: what can't be done half-way is done in an order that leaves no gap.
type rules struct {
	netsh  func(args ...string) (string, error) // returns what it printed, in any language
	ignore []netip.Prefix                       // a block can't be overridden by another rule
}

func (r *rules) begin() error          { return nil }
func (r *rules) commit() error         { return nil }
func (r *rules) abort() error          { return nil }
func (r *rules) close() error          { return nil }
func (r *rules) addProvider() error    { return nil }
func (r *rules) deleteProvider() error { return nil }
func (r *rules) addSublayer() error    { return nil }
func (r *rules) deleteSublayer() error { return nil }

// limit allows for the longest addresses of a family and their commas.
func (r *rules) limit(v6 bool) int {
	if v6 {
		return maxRemotes / len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128,")
	}
	return maxRemotes / len("255.255.255.255/32,")
}

func (r *rules) ignores() bool                 { return false }
func (r *rules) setIgnore(list []netip.Prefix) { r.ignore = list }

// pace is long: each look is a process.
func (r *rules) pace() time.Duration { return 15 * time.Second }

func name(key uint64) string { return fmt.Sprintf("%s%016x", ruleName, key) }

func (r *rules) addFilter(f *filter) error {
	if f.permit {
		return nil // cut out of the others
	}
	var list []netip.Prefix
	for _, p := range f.remotes {
		list = append(list, r.written(p)...)
	}
	// A range with holes in it can be many.
	dir := "in"
	if f.layer >= outbound4 {
		dir = "out"
	}
	limit := r.limit(f.layer.v6())
	for first := true; first || len(list) > 0; first = false {
		n := min(limit, len(list))
		text := make([]string, n)
		for i, p := range list[:n] {
			text[i] = p.String()
		}
		list = list[n:]
		if n == 0 {
			// So that it is found: an address that nobody has (RFC 5737, RFC 3849).
			text = []string{"192.0.2.0/32"}
			if f.layer.v6() {
				text = []string{"2001:db8::/128"}
			}
		}
		out, err := r.netsh("advfirewall", "firewall", "add", "rule", "name="+name(f.key), "dir="+dir, "action=block",
			"profile=any", "enable=yes", "remoteip="+strings.Join(text, ","))
		if err != nil {
			return netshError(err, out)
		}
	}
	return nil
}

// usable tells whether the Windows Firewall takes a prefix: one bad address makes it refuse all.
func usable(p netip.Prefix) bool {
	a := p.Addr()
	return !a.IsLoopback() && !a.IsMulticast() && (!a.IsUnspecified() || p.Bits() < a.BitLen()) && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (r *rules) deleteFilter(key uint64) error {
	out, err := r.netsh("advfirewall", "firewall", "delete", "rule", "name="+name(key))
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 && !strings.Contains(out, name(key)) {
		return errFilterNotFound // "No rules match the specified criteria", in any language
	}
	if err != nil {
		return netshError(err, out)
	}
	return nil
}

// written cuts what is ignored, and what the Windows Firewall refuses, out of a prefix.
func (r *rules) written(p netip.Prefix) (list []netip.Prefix) {
	for _, q := range remediate.Subtract(nil, p, r.ignore) {
		if usable(q) {
			list = append(list, q)
		}
	}
	return list
}

// remotes finds the addresses in what netsh prints, whatever is around them.
func (r *rules) remotes(key uint64) (list []netip.Prefix, there bool, err error) {
	out, err := r.netsh("advfirewall", "firewall", "show", "rule", "name="+name(key))
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		return nil, false, netshError(err, out)
	}
	if err != nil || !strings.Contains(out, name(key)) {
		return nil, false, nil
	}
	for _, word := range strings.FieldsFunc(out, func(r rune) bool { return r <= ' ' || r == ',' }) {
		if p, err := decisions.ParsePrefix(dotted(word)); err == nil {
			list = append(list, p)
		}
	}
	return list, true, nil
}

// dotted writes the length of an IPv4 prefix with a mask, as older versions print it
// ("203.0.113.0/255.255.255.0"), as a number.
func dotted(word string) string {
	value, mask, _ := strings.Cut(word, "/")
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
		b := m.As4()
		return value + "/" + strconv.Itoa(bits.LeadingZeros32(^binary.BigEndian.Uint32(b[:])))
	}
	return word
}

// filters finds the names of our rules in what netsh prints, whatever is around them.
func (r *rules) filters() (keys []uint64, err error) {
	out, err := r.netsh("advfirewall", "firewall", "show", "rule", "name=all")
	if err != nil && !errors.As(err, new(*exec.ExitError)) { // it fails when there are none
		return nil, netshError(err, out)
	}
	seen := map[uint64]bool{}
	for {
		_, rest, found := strings.Cut(out, ruleName)
		if !found {
			return keys, nil
		}
		out = rest
		if len(rest) < 16 {
			continue
		}
		if key, err := strconv.ParseUint(rest[:16], 16, 64); err == nil && !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
}

func netshError(err error, out string) error {
	text := strings.Join(strings.Fields(out), " ")
	return fmt.Errorf("cannot run netsh: %w (%s)", err, text[:min(len(text), 300)])
}
