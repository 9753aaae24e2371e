//go:build linux

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"cs/bench/gen"
	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// rounds is how often each figure is taken; the fastest one counts, since the
// machine may be shared.
const rounds = 5

// lines measures the engine with the starter set on one core: web access
// lines and ssh lines, in batches as sources deliver them.
func lines() (rows []row, err error) {
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)

	web, path, err := gen.AccessLog()
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name, module, kind, from string
		lines                    []string
	}{
		{"web access lines, replay", "file", "nginx", fmt.Sprintf("%d lines of %s", len(web), filepath.Base(path)), web},
		{"ssh lines in syslog, replay", "file", "syslog", "generated, one in four a failed login", gen.SSH(10000)},
	} {
		engine, errs := pipeline.Load(pipeline.Options{
			Content: hub.Base(),
			Alert:   func(decisions.Alert) {},
		})
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		labels := map[string]string{"type": c.kind}
		batch := make([]event.Line, len(c.lines))
		now := time.Now()
		for i, l := range c.lines {
			batch[i] = event.Line{Raw: l, Src: "/var/log/x", Module: c.module, Labels: labels, Time: now, Mode: event.Replay}
		}
		best := time.Duration(1 << 62)
		var allocs uint64
		for range rounds {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			engine.Process(batch, now)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			best = min(best, took)
			allocs = after.Mallocs - before.Mallocs
		}
		s := engine.Stats()
		rows = append(rows,
			row{c.name, rate(len(batch), best), fmt.Sprintf("%.0f ns a line; %s", float64(best.Nanoseconds())/float64(len(batch)), c.from)},
			row{"  allocations per line", fmt.Sprintf("%.4f", float64(allocs)/float64(len(batch))), fmt.Sprintf("%d alerts and %d of %d lines parsed in %d rounds", s.Alerts, s.Parsed, s.Lines, rounds)})
	}
	return rows, nil
}
