package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cs/decisions"
	"cs/remediate"
	"cs/remediate/remediatetest"
)

// TestMain makes the test a program that blocks, in a file, when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "block" {
		syscall.Exit(block(os.Args[2], os.Args[3])) // os.Exit waits a second for races to be told
	}
	os.Exit(m.Run())
}

// block does what a program of an operator's does: it keeps prefixes in a file.
func block(path, verb string) int {
	list := map[string]string{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	switch {
	case verb == "remove":
		os.Remove(path)
		return 0
	case verb == "check" && err != nil:
		return 1
	case verb == "check":
		return 0
	case verb == "apply" && err != nil:
		fmt.Fprintln(os.Stderr, "the list\n  is gone")
		return 1
	case verb == "load":
		clear(list)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		f := strings.Fields(in.Text())
		switch {
		case len(f) != 5:
			fmt.Fprintf(os.Stderr, "%d fields: %s\n", len(f), in.Text())
			return 3
		case f[0] == "add":
			list[f[1]] = in.Text()
		case f[0] == "del":
			delete(list, f[1])
		}
		if len(list) > 10_000 {
			return 2
		}
	}
	text, _ = json.Marshal(list)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return 4
	}
	return 0
}

// lines returns what the program blocks, sorted.
func lines(t *testing.T, path string) []string {
	t.Helper()
	list := map[string]string{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range list {
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func blocking(t *testing.T, cfg Config) (s *Script, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "list")
	cfg.Program, cfg.Args = os.Args[0], []string{"block", path}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func TestConforms(t *testing.T) {
	remediatetest.Conformance(t, func(t *testing.T) remediatetest.Backend {
		_, path := blocking(t, Config{})
		return remediatetest.Backend{
			New: func() remediate.Kernel {
				now := time.Now()
				// Two minutes are between any two looks at the clock: each check asks the program.
				s, err := New(Config{Program: os.Args[0], Args: []string{"block", path}, Now: func() time.Time {
					now = now.Add(2 * checkEvery)
					return now.Add(-1000 * time.Hour)
				}})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Blocked: func(a netip.Addr) bool {
				return slices.ContainsFunc(lines(t, path), func(line string) bool {
					word := strings.Fields(line)[1]
					if p, err := netip.ParsePrefix(word); err == nil {
						return p.Contains(a)
					}
					return netip.MustParseAddr(word) == a
				})
			},
			Flush:   func() { os.Remove(path) },
			Lasting: true,
		}
	})
}

func TestLines(t *testing.T) {
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	s, path := blocking(t, Config{
		Now: func() time.Time { return now },
	})
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := func(prefix, origin string, left time.Duration) remediate.Entry {
		return remediate.Entry{Prefix: netip.MustParsePrefix(prefix), Origin: origin, Until: now.Add(left)}
	}
	if err := s.Load(t.Context(), slices.Values([]remediate.Entry{
		e("203.0.113.4/32", "CAPI", 90*time.Minute), e("2001:db8::/32", "lists:a b\nadd 0.0.0.0/0 1 x y", time.Nanosecond),
		e("8.0.0.0/6", "CAPI", time.Hour), e("203.0.113.9/32", "CAPI", -time.Hour),
	})); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []remediate.Change{
		{Entry: e("203.0.113.5/32", "", time.Hour), Scenario: "crowdsecurity/ssh-bf"},
		{Entry: e("203.0.113.6/32", "é", time.Hour), Scenario: strings.Repeat("x", 300)},
		{Entry: e("203.0.113.6/32", "é", time.Hour), Op: remediate.Remove},
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"add 2001:db8::/32 1 lists:a_b_add_0.0.0.0/0_1_x_y -",
		"add 203.0.113.4 5400 CAPI -",
		"add 203.0.113.5 3600 - crowdsecurity/ssh-bf",
		"add 8.0.0.0/6 3600 CAPI -",
	}
	if got := lines(t, path); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestExitCodes(t *testing.T) {
	s, path := blocking(t, Config{})
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	many := func(yield func(remediate.Entry) bool) {
		for i := range 10_001 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)
			if !yield(remediate.Entry{Prefix: p, Until: time.Now().Add(time.Hour)}) {
				return
			}
		}
	}
	if err := s.Load(t.Context(), many); !errors.Is(err, remediate.ErrFull) {
		t.Errorf("full: %v", err)
	}
	os.Remove(path)
	one := []remediate.Change{{Entry: remediate.Entry{Prefix: netip.MustParsePrefix("203.0.113.4/32"), Until: time.Now().Add(time.Hour)}}}
	err := s.Apply(t.Context(), one)
	if err == nil || errors.Is(err, remediate.ErrFull) || !strings.HasSuffix(err.Error(), "apply: exit status 1 (the list is gone)") {
		t.Errorf("gone: %v", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no program was taken")
	}
	s, err = New(Config{Program: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// script writes a shell script, or skips the test where there is no shell.
func script(t *testing.T, text string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A program that hangs, with a child that holds its pipes, is killed with it.
func TestHanging(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	path := script(t, `[ "$3" = check ] && exit 2; echo hello >&2; (sleep 60; : >"$1") & wait`)
	s, err := New(Config{Program: path, Args: []string{mark, "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = s.Load(ctx, func(yield func(remediate.Entry) bool) {
		for yield(remediate.Entry{Prefix: netip.MustParsePrefix("203.0.113.4/32"), Until: time.Now().Add(time.Hour)}) { // more than a pipe holds
		}
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

// A program that can't tell is asked once.
func TestBlind(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	now := time.Now()
	s, err := New(Config{
		Program: script(t, `echo "$2 $CS_API_KEY" >>"$1"; [ "$2" = check ] && exit 2; exit 0`), Args: []string{count},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CS_API_KEY", "secret")
	if live, err := s.Open(t.Context()); live || err != nil {
		t.Fatalf("live: %v, %v", live, err)
	}
	for range 3 {
		now = now.Add(time.Hour)
		if ok, err := s.Check(t.Context()); !ok || err != nil {
			t.Errorf("check: %v, %v", ok, err)
		}
	}
	if err := s.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(count); err != nil || string(got) != "check \nremove \n" {
		t.Errorf("calls: %q, %v", got, err)
	}
}

// Verify believes the program, which can't be asked for single entries.
func TestVerify(t *testing.T) {
	verify := func(s *Script) (remediate.Verdict, error) {
		r := remediate.New(remediate.Config{Kernel: s})
		if _, err := r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(t.Context(), 10); err == nil {
			t.Error("verified before anything was loaded")
		}
		if _, err := r.Apply(t.Context(), decisions.Delta{Full: true, New: []decisions.Decision{
			{ID: 1, Type: "ban", Scope: "Ip", Value: "203.0.113.4", Origin: "cscli", Until: time.Now().Add(time.Hour)},
		}}); err != nil {
			t.Fatal(err)
		}
		return r.Verify(t.Context(), 10)
	}
	s, path := blocking(t, Config{})
	if v, err := verify(s); err != nil || !v.Structure || !v.Vouched || v.Asked != 0 {
		t.Errorf("in place: %+v, %v", v, err)
	}
	os.Remove(path)
	r := remediate.New(remediate.Config{Kernel: s})
	if _, err := r.Apply(t.Context(), decisions.Delta{Full: true}); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	if v, err := r.Verify(t.Context(), 10); err != nil || v.Structure || v.Vouched {
		t.Errorf("gone: %+v, %v", v, err)
	}
	s, err := New(Config{Program: script(t, `[ "$1" = check ] && exit 2; exit 0`)})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := verify(s); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("blind: %+v, %v", v, err)
	}
}

// A program that doesn't read what it is told is believed.
func TestDeafProgram(t *testing.T) {
	p := Program{Path: script(t, "exec 0<&-; exit 0")}
	if err := p.Run(t.Context(), func(w io.Writer) error {
		for range 1 << 12 {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// The wrapper of the package comment feeds programs made for upstream's bouncer.
func TestWrapper(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	custom := script(t, `echo "$@" >>`+log)
	wrapper := script(t, `[ "$1" = check ] && exit 2
while read -r verb value left origin reason; do `+custom+` "$verb" "$value" "$left" "$reason" '{}' || exit 1; done
`)
	now := time.Now()
	s, err := New(Config{Program: wrapper, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := remediate.Entry{Prefix: netip.MustParsePrefix("203.0.113.4/32"), Origin: "crowdsec", Until: now.Add(time.Hour)}
	if err := s.Load(t.Context(), slices.Values([]remediate.Entry{e})); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []remediate.Change{{Entry: e, Op: remediate.Remove, Scenario: "crowdsecurity/ssh-bf"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(log); err != nil || string(got) != "add 203.0.113.4 3600 - {}\ndel 203.0.113.4 3600 crowdsecurity/ssh-bf {}\n" {
		t.Errorf("calls: %q, %v", got, err)
	}
}
