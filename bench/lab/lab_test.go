//go:build linux

package lab

import (
	"context"
	"testing"
	"time"
)

// TestProbe checks the measuring tool itself: packets pass, a rule stops the
// attacker's alone, and taking the rule away lets them pass again.
func TestProbe(t *testing.T) {
	if err := Usable(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := l.Probe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	sh := func(script string) {
		t.Helper()
		if out, err := l.Sh(ctx, script); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	await := func(passing bool) {
		t.Helper()
		if _, err := p.Await(ctx, Attacker, passing); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Await(ctx, Innocent, true); err != nil {
			t.Fatal(err)
		}
	}
	await(true)
	sh("nft add table ip t; nft add chain ip t c '{ type filter hook input priority 0; }'; nft add rule ip t c ip saddr " + Attacker.String() + " drop")
	await(false)
	sh("nft flush ruleset")
	await(true)
}
