package pf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cs/remediate"
	"cs/remediate/remediatetest"
)

// TestMain makes the test a pfctl when it is called as one.
func TestMain(m *testing.M) {
	if path := os.Getenv("FAKE_PF"); path != "" {
		syscall.Exit(fakeMain(path, os.Args[1:])) // os.Exit waits a second for races to be told
	}
	os.Exit(m.Run())
}

// fake is pf with the words of pfctl: what one process of pfctl does, the next
// one finds.
type fake struct {
	Limit   int
	Main    string                     // rules of the main ruleset
	Rules   map[string]string          // by anchor
	Tables  map[string]map[string]bool // "anchor/table" -> value ("!" before negated ones)
	States  string
	Killed  []string
	Refuses string
}

func newFake() *fake {
	return &fake{
		Limit: 200_000, Main: "scrub in all fragment reassemble\nanchor \"crowdsec\" all\npass all flags S/SA keep state\n",
		Rules: map[string]string{}, Tables: map[string]map[string]bool{},
	}
}

func fakeMain(path string, args []string) int {
	f := newFake()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pfctl: /dev/pf: No such file or directory")
		return 1
	}
	stdin, _ := io.ReadAll(os.Stdin)
	out, errs := f.pfctl(stdin, args)
	text, _ = json.Marshal(f)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return 1
	}
	fmt.Print(out)
	if strings.HasPrefix(errs, "pfctl: ") {
		fmt.Fprintln(os.Stderr, errs)
		return 1
	}
	fmt.Fprint(os.Stderr, errs)
	return 0
}

// pfctl returns what pfctl prints on standard output and standard error.
func (f *fake) pfctl(stdin []byte, args []string) (out, errs string) {
	if f.Refuses != "" {
		return "", "pfctl: " + f.Refuses
	}
	anchor, table := "", ""
	for len(args) > 2 && (args[0] == "-a" || args[0] == "-t") {
		if args[0] == "-a" {
			anchor = args[1]
		} else {
			table = args[1]
		}
		args = args[2:]
	}
	key := anchor + "/" + table
	switch call := strings.Join(args, " "); call {
	case "-s memory":
		return fmt.Sprintf("states        hard limit   100000\nsrc-nodes     hard limit    10000\ntable-entries hard limit   %d\n", f.Limit), ""
	case "-s rules":
		if anchor == "" {
			return f.Main, ""
		}
		return f.Rules[anchor], ""
	case "-s states":
		return f.States, ""
	case "-v -v -s Tables":
		var b strings.Builder
		for name, list := range f.Tables {
			a, t, _ := cutLast(name, "/")
			if a == anchor {
				fmt.Fprintf(&b, "-pa-r--\t%s\t%s\n\tAddresses:   %d\n\tCleared:     Mon Nov 30 10:00:00 2026\n\tReferences:  [ Anchors: 0                  Rules: 1                  ]\n\tEvaluations: [ NoMatch: 0                  Match: 0                  ]\n", t, a, len(list))
			}
		}
		return b.String(), ""
	case "-f -":
		f.Rules[anchor] = ""
		for line := range strings.Lines(string(stdin)) {
			w := strings.Fields(line)
			if w[0] != "table" {
				f.Rules[anchor] += line
				continue
			}
			name := anchor + "/" + strings.Trim(w[1], "<>")
			if f.Tables[name] == nil {
				f.Tables[name] = map[string]bool{}
			}
		}
		return "", ""
	case "-F rules":
		f.Rules[anchor] = ""
		return "", "rules cleared\n"
	case "-F Tables":
		maps.DeleteFunc(f.Tables, func(name string, _ map[string]bool) bool { return strings.HasPrefix(name, anchor+"/") })
		return "", "tables deleted.\n"
	case "-T flush":
		list, ok := f.Tables[key]
		if !ok {
			return "", "pfctl: Table does not exist."
		}
		n := len(list)
		clear(list)
		return "", fmt.Sprintf("%d addresses deleted.\n", n)
	case "-T show":
		list, ok := f.Tables[key]
		if !ok {
			return "", "pfctl: Table does not exist."
		}
		var b strings.Builder
		for _, value := range slices.Sorted(maps.Keys(list)) {
			if strings.HasPrefix(value, "!") {
				fmt.Fprintf(&b, "  %s\n", value)
			} else {
				fmt.Fprintf(&b, "   %s\n", value)
			}
		}
		return b.String(), ""
	case "-T add -f -", "-T delete -f -", "-T replace -f -":
		return "", f.change(key, args[1], string(stdin))
	default:
		if args[0] == "-k" {
			f.Killed = append(f.Killed, call)
			return "", "killed 1 states from 1 sources and 0 destinations\n"
		}
	}
	return "", "pfctl: usage"
}

func (f *fake) change(key, verb, input string) string {
	list, ok := f.Tables[key]
	if !ok {
		if verb == "delete" {
			return "pfctl: Table does not exist."
		}
		list = map[string]bool{}
	}
	next := maps.Clone(list)
	if verb == "replace" {
		clear(next)
	}
	n, done := 0, 0
	for in := bufio.NewScanner(strings.NewReader(input)); in.Scan(); n++ {
		v := in.Text()
		if verb == "delete" {
			if next[v] {
				done++
			}
			delete(next, v)
		} else {
			if !next[v] {
				done++
			}
			next[v] = true
		}
	}
	total := len(next) - len(list)
	for _, l := range f.Tables {
		total += len(l)
	}
	if total > f.Limit {
		return "pfctl: Cannot allocate memory."
	}
	f.Tables[key] = next
	switch verb {
	case "add":
		return fmt.Sprintf("%d/%d addresses added.\n", done, n)
	case "delete":
		return fmt.Sprintf("%d/%d addresses deleted.\n", done, n)
	}
	if maps.Equal(list, next) {
		return "no changes.\n"
	}
	return fmt.Sprintf("%d addresses added.\n", done)
}

// blocks tells what pf does with a packet: the longest prefix decides.
func (f *fake) blocks(a netip.Addr) bool {
	for anchor, rules := range f.Rules {
		if anchor != "" && !callsAnchor(f.Main, anchor) {
			continue
		}
		for line := range strings.Lines(rules) {
			_, rest, _ := strings.Cut(line, "<")
			name, _, _ := strings.Cut(rest, ">")
			best, hit := -1, false
			for v := range f.Tables[anchor+"/"+name] {
				v, negated := strings.CutPrefix(v, "!")
				p, err := netip.ParsePrefix(v)
				if err != nil {
					p = netip.PrefixFrom(netip.MustParseAddr(v), netip.MustParseAddr(v).BitLen())
				}
				if p.Contains(a) && p.Bits() > best {
					best, hit = p.Bits(), !negated
				}
			}
			if hit {
				return true
			}
		}
	}
	return false
}

func (f *fake) run(_ context.Context, stdin []byte, args ...string) (string, error) {
	out, errs := f.pfctl(stdin, args)
	if strings.HasPrefix(errs, "pfctl: ") {
		return "", refused(errors.New(errs), errs)
	}
	return out + errs, nil
}

func newFilter(t *testing.T, f *fake, cfg Config) *Filter {
	t.Helper()
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	k.ctl.run = f.run
	return k
}

func open(t *testing.T, f *fake, cfg Config) *Filter {
	t.Helper()
	k := newFilter(t, f, cfg)
	if _, err := k.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

// always is a clock on which it is time to look again whenever it is asked, long before any end.
func always() func() time.Time {
	now := time.Now().Add(-10000 * time.Hour)
	return func() time.Time {
		now = now.Add(2 * checkEvery)
		return now
	}
}

func TestConforms(t *testing.T) {
	// Rules of ours, in this process.
	remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
		f := newFake()
		return remediatetest.Backend{
			New:     func() remediate.Kernel { return newFilter(t, f, Config{Now: always()}) },
			Blocked: f.blocks,
			Flush:   func() { f.pfctl(nil, []string{"-a", "crowdsec", "-F", "Tables"}) },
			Lasting: true,
		}
	})
}

func TestTablesOnlyConforms(t *testing.T) {
	// Tables of the operator's; in some stories pfctl is a program.
	programs := []string{"loads", "nested_ranges", "many"}
	remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
		path := filepath.Join(t.TempDir(), "pf")
		f := newFake()
		f.Rules[""] = "block drop in quick from <crowdsec-blacklists> to any\nblock drop in quick from <crowdsec6-blacklists> to any\n"
		f.Tables["/crowdsec-blacklists"], f.Tables["/crowdsec6-blacklists"] = map[string]bool{}, map[string]bool{}
		write := func() {
			text, _ := json.Marshal(f)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		read := func() {
			text, err := os.ReadFile(path)
			*f = fake{}
			if err == nil {
				err = json.Unmarshal(text, f)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		write()
		t.Setenv("FAKE_PF", path)
		return remediatetest.Backend{
			New: func() remediate.Kernel {
				k, err := New(Config{TablesOnly: true, Now: always()})
				if err != nil {
					t.Fatal(err)
				}
				k.ctl.run = func(ctx context.Context, stdin []byte, args ...string) (string, error) {
					if slices.Contains(programs, filepath.Base(t.Name())) {
						return call(ctx, os.Args[0], stdin, args...)
					}
					read()
					defer write()
					return f.run(ctx, stdin, args...)
				}
				return k
			},
			Blocked: func(a netip.Addr) bool { read(); return f.blocks(a) },
			Flush:   func() { read(); clear(f.Tables["/crowdsec-blacklists"]); write() },
			Lasting: true,
		}
	})
}

func entries(list ...string) (out []remediate.Entry) {
	for _, p := range list {
		out = append(out, remediate.Entry{Prefix: netip.MustParsePrefix(p), Until: time.Now().Add(time.Hour)})
	}
	return out
}

// pfSense empties tables when its rules are applied; somebody else's rules may go, too.
func TestNeighbours(t *testing.T) {
	f := newFake()
	now := time.Now()
	k := open(t, f, Config{Now: func() time.Time { return now }})
	load := func() {
		t.Helper()
		if err := k.Load(t.Context(), slices.Values(entries("203.0.113.4/32", "2001:db8::/32"))); err != nil {
			t.Fatal(err)
		}
	}
	for name, disarm := range map[string]func(){
		"table emptied": func() { clear(f.Tables["crowdsec/crowdsec6-blacklists"]) },
		"entry deleted": func() {
			f.pfctl([]byte("203.0.113.4\n"), []string{"-a", "crowdsec", "-t", "crowdsec-blacklists", "-T", "delete", "-f", "-"})
		},
		"rules gone":    func() { f.Rules["crowdsec"] = "" },
		"main reloaded": func() { f.Main = "pass all\n" },
	} {
		load()
		main := f.Main
		disarm()
		now = now.Add(checkEvery)
		if ok, err := k.Check(t.Context()); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		f.Main = main
	}
	load()
	now = now.Add(checkEvery)
	if ok, err := k.Check(t.Context()); !ok || err != nil {
		t.Errorf("all is well: %v, %v", ok, err)
	}
}

func TestRefuses(t *testing.T) {
	has := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f := newFake()
	k := open(t, f, Config{})
	f.Main = "pass all\nanchor \"other\" all\n"
	has(k.Load(t.Context(), slices.Values(entries())), `add the line 'anchor "crowdsec"' to pf.conf`)
	k = open(t, f, Config{TablesOnly: true})
	has(k.Load(t.Context(), slices.Values(entries())), `add "table <crowdsec-blacklists> persist"`)
	f.Refuses = "/dev/pf: Permission denied"
	_, err := newFilter(t, f, Config{}).Open(t.Context())
	has(err, "pf needs root")

	bad := func(cfg Config) {
		t.Helper()
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	bad(Config{Table4: "a>\npass all"})
	bad(Config{Table4: "a", Table6: "a"})
	bad(Config{Table6: strings.Repeat("a", 32)})
	bad(Config{Anchor: "a b"})
	bad(Config{NoIPv4: true, NoIPv6: true})
	if err := k.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}); err == nil {
		t.Error("an address with a length was taken")
	}
}

// The limit of pf.conf is respected before pf says so, and understood when it does.
func TestLimit(t *testing.T) {
	f := newFake()
	f.Limit = 3
	k := open(t, f, Config{})
	if err := k.Load(t.Context(), slices.Values(entries("203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32", "203.0.113.4/32"))); !errors.Is(err, remediate.ErrFull) {
		t.Errorf("got %v", err)
	}
	if err := k.Load(t.Context(), slices.Values(entries("203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"))); err != nil {
		t.Error(err)
	}
	if err := k.Apply(t.Context(), []remediate.Change{{Entry: entries("203.0.113.4/32")[0]}}); !errors.Is(err, remediate.ErrFull) {
		t.Errorf("got %v", err)
	}
}

func TestIgnores(t *testing.T) {
	f := newFake()
	k := open(t, f, Config{})
	ignore := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8::/64")}
	if err := k.Ignore(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	if err := k.Load(t.Context(), slices.Values(entries("203.0.113.0/24", "203.0.113.4/32"))); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(t.Context(), []remediate.Change{{Entry: entries("203.0.113.5/32")[0]}, {Entry: entries("203.0.113.99/32")[0]}}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"203.0.113.4": false, "203.0.113.5": false, "203.0.113.16": true, "203.0.113.99": true} {
		if got := f.blocks(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is blocked: %v", addr, got)
		}
	}
	if err := k.Ignore(t.Context(), nil); !errors.Is(err, remediate.ErrReload) {
		t.Errorf("a change: %v", err)
	}
}

// Connections of newly banned addresses end, IPv6 and ranges too, and those of others don't.
func TestKillsStates(t *testing.T) {
	f := newFake()
	f.States = `all tcp 192.0.2.1:22 <- 203.0.113.4:50000       ESTABLISHED:ESTABLISHED
all tcp 2001:db8:ffff::1[22] <- 2001:db8::5[50000]       ESTABLISHED:ESTABLISHED
all udp 10.0.0.2:53 (192.0.2.1:53) <- 203.0.114.77:999       SINGLE:MULTIPLE
all tcp 192.0.2.1:22 <- 203.0.115.4:50000       ESTABLISHED:ESTABLISHED
all icmp 192.0.2.1:8 <- 203.0.116.4:8       0:0
`
	k := open(t, f, Config{})
	if err := k.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("203.0.116.0/24")}); err != nil {
		t.Fatal(err)
	}
	if err := k.Load(t.Context(), slices.Values(entries())); err != nil {
		t.Fatal(err)
	}
	change := func(op remediate.Op, p string) remediate.Change {
		return remediate.Change{Op: op, Entry: entries(p)[0]}
	}
	if err := k.Apply(t.Context(), []remediate.Change{
		change(remediate.Add, "203.0.113.4/32"), change(remediate.Add, "2001:db8::/64"), change(remediate.Add, "203.0.114.0/24"),
		change(remediate.Replace, "203.0.115.4/32"), change(remediate.Add, "192.0.2.99/32"), change(remediate.Add, "203.0.116.0/22"),
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(f.Killed)
	want := []string{
		"-k 0.0.0.0/0 -k 203.0.113.4", "-k 0.0.0.0/0 -k 203.0.114.0/24",
		"-k 2001:db8::/64", "-k 203.0.113.4", "-k 203.0.114.0/24", "-k ::/0 -k 2001:db8::/64",
	}
	if !slices.Equal(f.Killed, want) {
		t.Errorf("killed %q", f.Killed)
	}
}

func TestRules(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		k, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.rules(); got != want {
			t.Errorf("got\n%s", got)
		}
	}
	f(Config{}, `table <crowdsec-blacklists> persist
table <crowdsec6-blacklists> persist
block drop in quick inet from <crowdsec-blacklists> to any label "crowdsec"
block drop in quick inet6 from <crowdsec6-blacklists> to any label "crowdsec"
`)
	f(Config{NoIPv6: true, Reject: true, Log: true, Table4: "bad"}, `table <bad> persist
block return in log quick inet from <bad> to any label "crowdsec"
`)
}

func TestCallsAnchor(t *testing.T) {
	f := func(rules, anchor string, want bool) {
		t.Helper()
		if got := callsAnchor(rules, anchor); got != want {
			t.Errorf("%q calls %s: %v", rules, anchor, got)
		}
	}
	f("anchor \"crowdsec\" all\n", "crowdsec", true)
	f("pass all\nanchor \"*\" all\n", "crowdsec", true)
	f("anchor \"crowdsec2\" all\n", "crowdsec", false)
	f("nat-anchor \"crowdsec\" all\n", "crowdsec", false)
	f("anchor \"userrules/*\" all\n", "userrules/crowdsec", true)
	f("anchor \"userrules\" all\n", "userrules/crowdsec", true)
	f("anchor \"other/*\" all\n", "userrules/crowdsec", false)
	f("", "crowdsec", false)
}

func FuzzWords(f *testing.F) {
	f.Add("-pa-r--\tcrowdsec\n\tAddresses:   5\n")
	f.Add("all tcp 2001:db8::1[22] <- 2001:db8:1::5[50000]  A:B\n2/3 addresses added.")
	f.Fuzz(func(t *testing.T, text string) {
		parseTables(text)
		callsAnchor(text, "crowdsec")
		number(text, "added")
		for range stateAddrs(text) {
		}
		var b bytes.Buffer
		prefixLines(&b, text, nil)
	})
}
