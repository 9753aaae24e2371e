package export

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cs/remediate"
	"cs/remediate/remediatetest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// listed tells whether a plain file has an address.
func listed(t *testing.T, path string, a netip.Addr) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return slices.ContainsFunc(strings.Fields(string(text)), func(word string) bool {
		if p, err := netip.ParsePrefix(word); err == nil {
			return p.Contains(a)
		}
		return netip.MustParseAddr(word) == a
	})
}

func TestConforms(t *testing.T) {
	remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
		path := filepath.Join(t.TempDir(), "bans")
		return remediatetest.Backend{
			New: func() remediate.Kernel {
				f, err := New(Config{Path: path})
				if err != nil {
					t.Fatal(err)
				}
				return f
			},
			Blocked: func(a netip.Addr) bool { return listed(t, path, a) },
			Flush:   func() { os.Remove(path) },
			Lasting: true,
		}
	})
}

func entry(prefix string) remediate.Entry {
	return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: "CAPI", Until: time.Now().Add(time.Hour)}
}

func entries(list ...string) (out []remediate.Entry) {
	for _, p := range list {
		out = append(out, entry(p))
	}
	return out
}

func open(t *testing.T, cfg Config) *File {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(context.Background(), false) })
	return f
}

var some = entries("203.0.113.4/32", "203.0.114.0/24", "203.0.114.9/32", "10.0.0.0/30", "0.0.0.0/32", "2001:db8::5/128", "2001:db8:1::/48")

func TestFormats(t *testing.T) {
	f := func(format string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "bans")
		k := open(t, Config{Path: path, Format: format})
		if err := k.Load(t.Context(), slices.Values(some)); err != nil {
			t.Fatal(err)
		}
		if err := k.Ignore(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("2001:db8::/64")}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", format+".txt")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(got) != string(want) {
			t.Errorf("%s: %v; got\n%s", format, err, got)
		}
	}
	f(Plain)
	f(Nft)
	f(Ipset)
	f(Dnsmasq)
}

func TestRefuses(t *testing.T) {
	f := func(cfg Config) {
		t.Helper()
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	f(Config{})
	f(Config{Path: "x", Format: "xml"})
	f(Config{Path: "x", Format: Nft, Set4: "inet filter x {}"})
	f(Config{Path: "x", Format: Ipset, Set4: "inet filter"})
	f(Config{Path: "x", Format: Ipset, Set6: "x\nflush"})
}

// A flood of changes is not a flood of files.
func TestPutsOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bans")
	now := time.Now()
	f := open(t, Config{Path: path, Every: time.Second, Now: func() time.Time { return now }})
	if err := f.Load(t.Context(), slices.Values(some)); err != nil {
		t.Fatal(err)
	}
	before := f.stat
	for i := range 100 {
		now = now.Add(time.Millisecond)
		if err := f.Apply(t.Context(), []remediate.Change{{Entry: entry(fmt.Sprintf("203.0.115.%d/32", i))}}); err != nil {
			t.Fatal(err)
		}
	}
	if f.stat != before || listed(t, path, netip.MustParseAddr("203.0.115.1")) {
		t.Error("it was written meanwhile")
	}
	now = now.Add(time.Second)
	if ok, err := f.Check(t.Context()); !ok || err != nil {
		t.Errorf("check: %v, %v", ok, err)
	}
	if !listed(t, path, netip.MustParseAddr("203.0.115.99")) {
		t.Error("it was not written later")
	}
	// Nothing new, nothing written.
	before = f.stat
	now = now.Add(time.Minute)
	if err := f.Apply(t.Context(), []remediate.Change{{Op: remediate.Replace, Entry: entry("203.0.115.1/32")}}); err != nil || f.stat != before {
		t.Errorf("a new time was written: %v", err)
	}
	// What was put off is there at the end.
	if err := f.Apply(t.Context(), []remediate.Change{{Entry: entry("203.0.116.1/32")}, {Entry: entry("203.0.116.2/32")}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(t.Context(), []remediate.Change{{Op: remediate.Remove, Entry: entry("203.0.116.1/32")}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(t.Context(), false); err != nil || listed(t, path, netip.MustParseAddr("203.0.116.1")) || !listed(t, path, netip.MustParseAddr("203.0.116.2")) {
		t.Errorf("at the end: %v", err)
	}
}

func TestCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	dir := t.TempDir()
	path, log := filepath.Join(dir, "bans"), filepath.Join(dir, "log")
	f := open(t, Config{Path: path, Command: []string{"/bin/sh", "-c", `wc -l <"$1" >>"$2"; [ ! -e "$2.fail" ]`, "sh", path, log}})
	if err := f.Load(t.Context(), slices.Values(some)); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(log+".fail", nil, 0o600)
	if err := f.Apply(t.Context(), []remediate.Change{{Entry: entry("203.0.115.1/32")}}); err == nil {
		t.Error("the command's failure was not told")
	}
	// As the Reconciler does after an error.
	os.Remove(log + ".fail")
	if err := f.Load(t.Context(), slices.Values(some[:1])); err != nil {
		t.Error(err)
	}
	if err := f.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(log); err != nil || strings.Join(strings.Fields(string(text)), " ") != "6 7 1 0" {
		t.Errorf("calls: %q, %v", text, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// A neighbour's edit is noticed.
func TestEdited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bans")
	f := open(t, Config{Path: path})
	if err := f.Load(t.Context(), slices.Values(some)); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, []byte("192.0.2.1\n"), 0o644)
	if ok, err := f.Check(t.Context()); ok || err != nil {
		t.Errorf("check: %v, %v", ok, err)
	}
}

// The list is what the obvious way says, address by address.
func TestListAgainstSlow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		a := netip.AddrFrom4([4]byte{203, 0, 113, byte(rnd.IntN(256))})
		return netip.PrefixFrom(a, 24+rnd.IntN(9)).Masked()
	}
	for range 300 {
		f := &File{entries: map[netip.Prefix]struct{}{}}
		for range rnd.IntN(8) {
			f.entries[prefix()] = struct{}{}
		}
		for range rnd.IntN(4) {
			f.ignore = append(f.ignore, prefix())
		}
		list := f.list()
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			holds := func(p netip.Prefix) bool { return p.Contains(a) }
			want := 0
			for p := range f.entries {
				if p.Contains(a) && !slices.ContainsFunc(f.ignore, holds) {
					want = 1
				}
			}
			got := 0
			for _, p := range list {
				if p.Contains(a) {
					got++
				}
			}
			if got != want {
				t.Fatalf("%v of %v without %v: %v %d times, want %d", list, f.entries, f.ignore, a, got, want)
			}
		}
	}
}
