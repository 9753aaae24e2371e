//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cs/bench/lab"
)

// live measures the running program in a lab: memory at rest, and the time
// from the write of the line that completes a brute force to the last packet
// of the attacker that got through.
func (b *bench) live(ctx context.Context) (err error) {
	if err := lab.Usable(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir := filepath.Join(b.dir, "live")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	l, err := lab.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	auth := filepath.Join(dir, "auth.log")
	if err := os.WriteFile(auth, nil, 0o644); err != nil {
		return err
	}
	probe, err := l.Probe(ctx)
	if err != nil {
		return err
	}
	defer probe.Stop()
	began := time.Now()
	p, err := l.Start(nil, b.binary, "run", "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:8080", "--log", auth, "--type", "syslog")
	if err != nil {
		return err
	}
	if _, err := p.Wait(ctx, lab.Ready("run")); err != nil {
		return err
	}
	b.row("cs run: start to ready", time.Since(began).Round(time.Millisecond).String(), "starter set, empty store")
	time.Sleep(2 * time.Second)
	kib, err := lab.Memory(p.Pid())
	if err != nil {
		return err
	}
	b.row("cs run: memory at rest", fmt.Sprintf("%.1f MB", float64(kib)*1024/1e6), "budget 25 MB; VmRSS")

	var worst time.Duration
	for _, addr := range []netip.Addr{lab.Attacker, lab.Innocent} {
		if _, err := probe.Await(ctx, addr, true); err != nil {
			return err
		}
		var text strings.Builder
		for i := range 6 {
			fmt.Fprintf(&text, "%s host sshd[%d]: Failed password for root from %s port %d ssh2\n", time.Now().Format("Jan _2 15:04:05"), i, addr, 1024+i)
		}
		f, err := os.OpenFile(auth, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text.String())
		wrote := time.Now()
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		last, err := probe.Await(ctx, addr, false)
		if err != nil {
			return err
		}
		worst = max(worst, last.Sub(wrote))
	}
	b.row("detection to drop", worst.Round(100*time.Microsecond).String(), "log line written to last packet let through; worse of two")
	return nil
}
