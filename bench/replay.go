//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cs/bench/gen"
)

// replay reads a large access log as a whole program, beside what can't be
// beaten: counting its lines.
func (b *bench) replay(ctx context.Context) error {
	log := filepath.Join(b.dir, "large.log")
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer os.Remove(log)
	n, err := gen.NewWeb(false).Write(f, int64(b.gib*(1<<30)))
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	args := []string{"agent", "--replay", "--dry-run", "--data-dir", b.dir, "--log", log, "--type", "nginx"}
	what := "starter set"
	if b.corpus != nil {
		content := filepath.Join(b.dir, "replay-content")
		if err := install(b.corpus.pick("crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich", "crowdsecurity/nginx-logs", "crowdsecurity/base-http-scenarios/"), content); err != nil {
			return err
		}
		args, what = append(args, "--content", content), "base-http-scenarios"
	}
	ours, err := measured(ctx, b.binary, args...)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("replay of %.1f GB of access log", b.gib*1.073741824), ours.wall.Round(10*time.Millisecond).String(),
		fmt.Sprintf("%d lines, %s: %.0f ns a line, %v of CPU", n, what, float64(ours.wall.Nanoseconds())/float64(n), ours.cpu.Round(10*time.Millisecond)))
	b.row("  memory at most", fmt.Sprintf("%.1f MB", float64(ours.rss)/1e6), "target 100 MB")
	for _, c := range [][]string{{"grep", "-c", "HTTP/1.1", log}, {"wc", "-l", log}} {
		limit, err := measured(ctx, c[0], c[1:]...)
		if err != nil {
			return err
		}
		b.row("  "+c[0]+" "+c[1], limit.wall.Round(10*time.Millisecond).String(), fmt.Sprintf("ours takes %.0f times as long", ours.wall.Seconds()/limit.wall.Seconds()))
	}
	return nil
}
