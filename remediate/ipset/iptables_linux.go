package ipset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cs/remediate"
)

const (
	chainName    = "CROWDSEC_CHAIN"
	logChainName = "CROWDSEC_LOG"

	// programTimeout bounds a call of iptables, which waits for others that hold its lock.
	programTimeout = 20 * time.Second
	maxComment     = 200
)

// runner runs a program and returns what it printed.
type runner func(ctx context.Context, stdin, name string, args ...string) (string, error)

func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errs.String())
		return "", &programError{name: name, args: strings.Join(args, " "), text: text[:min(len(text), 300)], err: err}
	}
	return out.String(), nil
}

// programError says how a program failed.
type programError struct {
	name, args, text string
	err              error
}

func (e *programError) Error() string {
	s := fmt.Sprintf("cannot run %s %s: %v", e.name, e.args, e.err)
	if e.text != "" {
		s += " (" + e.text + ")"
	}
	return s
}

func (e *programError) Unwrap() error { return e.err }

// exited tells whether a program ran to its end and said no.
func exited(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Exited()
}

// tables is iptables of one family.
type tables struct {
	run              runner
	program, restore string
	wait             []string // flag to wait for the lock, as far as the version knows it
	restoreWait      []string
	nft              bool // it writes to nf_tables
	sock             int  // to ask the kernel's legacy tables, -1 with nft
	v6               bool
}

// findTables finds out which iptables there is.
func findTables(ctx context.Context, r runner, v6 bool) (*tables, error) {
	t := &tables{run: r, program: "iptables", restore: "iptables-restore", sock: -1, v6: v6}
	if v6 {
		t.program, t.restore = "ip6tables", "ip6tables-restore"
	}
	out, err := r(ctx, "", t.program, "-V")
	if err != nil {
		return nil, err
	}
	t.nft = strings.Contains(out, "nf_tables")
	major, minor, patch := version(out)
	if major > 1 || minor > 4 || minor == 4 && patch >= 20 {
		t.wait = []string{"-w"}
	}
	if major > 1 || minor > 6 || minor == 6 && patch >= 2 {
		t.restoreWait = []string{"-w"}
	}
	if !t.nft {
		t.sock, err = unix.Socket(int(familyNumber(v6)), unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return nil, fmt.Errorf("cannot open a raw socket: %w", err)
		}
	}
	return t, nil
}

// version reads "iptables v1.8.9 (nf_tables)".
func version(text string) (major, minor, patch int) {
	_, text, _ = strings.Cut(text, "v")
	text, _, _ = strings.Cut(strings.TrimSpace(text), " ")
	parts := append(strings.Split(text, "."), "0", "0", "0")
	number := func(s string) int {
		n, _ := strconv.Atoi(s)
		return n
	}
	return number(parts[0]), number(parts[1]), number(parts[2])
}

func (t *tables) close() {
	if t.sock >= 0 {
		unix.Close(t.sock)
	}
}

func (t *tables) call(ctx context.Context, args ...string) (string, error) {
	return t.run(ctx, "", t.program, append(t.wait[:len(t.wait):len(t.wait)], args...)...)
}

// replace makes our chains have exactly the rules of a text for
// iptables-restore, in one step.
func (t *tables) replace(ctx context.Context, text string) error {
	_, err := t.run(ctx, text, t.restore, append(t.restoreWait[:len(t.restoreWait):len(t.restoreWait)], "--noflush")...)
	return err
}

// exists tells whether a chain is there.
func (t *tables) exists(ctx context.Context, chain string) (bool, error) {
	_, err := t.call(ctx, "-S", chain)
	if exited(err) {
		return false, nil
	}
	return err == nil, err
}

// jumps tells whether a chain jumps to ours.
func (t *tables) jumps(ctx context.Context, chain string) (bool, error) {
	_, err := t.call(ctx, "-C", chain, "-j", chainName)
	if exited(err) {
		return false, nil
	}
	return err == nil, err
}

// jump makes the chains that exist jump to ours before anything else.
func (t *tables) jump(ctx context.Context, chains []string) error {
	for _, chain := range chains {
		there, err := t.exists(ctx, chain)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		there, err = t.jumps(ctx, chain)
		if err == nil && !there {
			_, err = t.call(ctx, "-I", chain, "-j", chainName)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove takes away our chains and what jumps to them.
func (t *tables) remove(ctx context.Context, chains []string) error {
	for _, chain := range chains {
		for there, err := t.jumps(ctx, chain); there; there, err = t.jumps(ctx, chain) {
			if err == nil {
				_, err = t.call(ctx, "-D", chain, "-j", chainName)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, chain := range []string{chainName, logChainName} {
		there, err := t.exists(ctx, chain)
		if err == nil && there {
			if _, err = t.call(ctx, "-F", chain); err == nil {
				_, err = t.call(ctx, "-X", chain)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rules returns our chains as iptables prints them.
func (t *tables) rules(ctx context.Context) (string, error) {
	out, err := t.call(ctx, "-S", chainName)
	if exited(err) {
		return "", nil
	}
	return out, err
}

// counters returns packets and bytes of the rules of our chain, in their order.
func (t *tables) counters(ctx context.Context) ([]remediate.Counter, error) {
	out, err := t.call(ctx, "-n", "-v", "-x", "-L", chainName)
	if err != nil {
		return nil, err
	}
	return parseCounters(out), nil
}

// parseCounters reads what "iptables -nvxL CHAIN" prints: two lines of headings,
// then one for each rule, which begins with packets and bytes.
func parseCounters(text string) []remediate.Counter {
	var list []remediate.Counter
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if i < 2 || len(f) < 2 {
			continue
		}
		packets, err1 := strconv.ParseUint(f[0], 10, 64)
		octets, err2 := strconv.ParseUint(f[1], 10, 64)
		if err1 == nil && err2 == nil {
			list = append(list, remediate.Counter{Packets: packets, Bytes: octets})
		}
	}
	return list
}

// tableInfo is struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h, and ip6t_getinfo too:
// what the kernel tells of a legacy table without listing it.
type tableInfo struct {
	Name       [32]byte
	ValidHooks uint32
	HookEntry  [5]uint32
	Underflow  [5]uint32
	Entries    uint32
	Size       uint32
}

// getInfo is IPT_SO_GET_INFO, and IP6T_SO_GET_INFO too.
const getInfo = 64

// info asks for the size and the shape of table filter, which most changes of
// its rules change too.
func (t *tables) info() (tableInfo, error) {
	info := tableInfo{}
	copy(info.Name[:], "filter")
	level := unix.SOL_IP
	if t.v6 {
		level = unix.SOL_IPV6
	}
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(t.sock), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return tableInfo{}, fmt.Errorf("cannot look at table filter: %w", errno)
	}
	return info, nil
}

// quote makes an origin fit for a comment in double quotes.
func quote(origin string) string {
	s := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`\\$", r) {
			return '_'
		}
		return r
	}, origin)
	return s[:min(len(s), maxComment)]
}

// ruleWriter writes the text of our chains for iptables-restore.
type ruleWriter struct {
	strings.Builder
	cfg *Config
}

// chains returns the whole text: what begins our chains, what is ignored, one
// rule for each set.
func (c *Config) chains(ignore []netip.Prefix, sets []originSet) string {
	w := ruleWriter{cfg: c}
	w.WriteString("*filter\n")
	if c.DenyLog || c.Action == Log {
		fmt.Fprintf(&w, ":%s - [0:0]\n", logChainName)
		prefix := c.LogPrefix
		if prefix == "" {
			prefix = "crowdsec drop: "
		}
		fmt.Fprintf(&w, "-A %s -m limit --limit 10/second --limit-burst 20 -j LOG --log-prefix %q\n", logChainName, prefix)
		if c.Action != Log {
			fmt.Fprintf(&w, "-A %s -j %s\n", logChainName, c.target())
		}
	}
	fmt.Fprintf(&w, ":%s - [0:0]\n", chainName)
	w.rule("", "processed", "")
	for _, p := range ignore {
		w.rule("-s "+p.String(), "", "RETURN")
	}
	for _, p := range c.IgnorePorts {
		for _, proto := range p.Protos() {
			w.rule(fmt.Sprintf("-p %s --dport %d:%d", proto, p.First, p.Last), "", "RETURN")
		}
	}
	for _, s := range sets {
		w.rule("-m set --match-set "+s.name+" src", s.origin, c.jump())
	}
	w.WriteString("COMMIT\n")
	return w.String()
}

func (w *ruleWriter) rule(match, comment, target string) {
	w.WriteString("-A " + chainName)
	if match != "" {
		w.WriteString(" " + match)
	}
	if comment != "" && !w.cfg.NoComments {
		w.WriteString(" -m comment --comment \"CrowdSec: " + quote(comment) + "\"")
	}
	if target != "" {
		w.WriteString(" -j " + target)
	}
	w.WriteString("\n")
}

// jump is where a packet from a blocked address goes.
func (c *Config) jump() string {
	if c.DenyLog || c.Action == Log {
		return logChainName
	}
	return c.target()
}

func (c *Config) target() string {
	if c.Action == "" {
		return "DROP"
	}
	return strings.ToUpper(c.Action)
}
