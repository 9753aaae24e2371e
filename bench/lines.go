//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"cs/bench/gen"
	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
)

// rounds is how often each figure is taken; the least one counts, since the
// machine may be shared.
const rounds = 15

// batch is how many lines are handed over at once, as sources do it.
const batch = 1000

// A course is a log, and the content it is run through.
type course struct {
	name    string
	kind    string // label type of the lines
	lines   []string
	content hub.Content
	against string  // the course that this one is compared with, or ""
	target  float64 // ns a line, or how many times those of against; 0 for none
}

// run measures the course with a number of workers on as many cores: the nanoseconds
// that a line takes, and those of processor time that it costs, each in the best of the
// rounds. Others on the machine, and name servers that are asked about an attacker, make
// lines take longer, but hardly cost more.
func (c course) run(workers int) (took, cost float64, note string, err error) {
	old := runtime.GOMAXPROCS(workers)
	defer runtime.GOMAXPROCS(old)
	engine, errs := pipeline.Load(pipeline.Options{
		Content: c.content,
		Workers: workers,
		Alert:   func(decisions.Alert) {},
	})
	if len(errs) > 0 {
		return 0, 0, "", fmt.Errorf("%s: %w", c.name, errors.Join(errs...))
	}
	labels := map[string]string{"type": c.kind}
	now := time.Now()
	lines := make([]event.Line, len(c.lines))
	for i, l := range c.lines {
		lines[i] = event.Line{Raw: l, Src: "/var/log/x", Module: "file", Labels: labels, Time: now, Mode: event.Replay}
	}
	best, least, allocs := time.Duration(1<<62), time.Duration(1<<62), uint64(0)
	for range rounds {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start, spent := time.Now(), ownTime()
		for part := range slices.Chunk(lines, batch) {
			engine.Process(part, now)
		}
		best, least = min(best, time.Since(start)), min(least, ownTime()-spent)
		runtime.ReadMemStats(&after)
		allocs = after.Mallocs - before.Mallocs
	}
	n, s := uint64(len(lines)), engine.Stats()
	note = fmt.Sprintf("%.0f lines/s, %.4f allocations a line; of %d lines %d parsed, %d poured, %d alerts",
		float64(n)/least.Seconds(), float64(allocs)/float64(n), n, s.Parsed/rounds, s.Poured/rounds, s.Alerts/rounds)
	return float64(best.Nanoseconds()) / float64(n), float64(least.Nanoseconds()) / float64(n), note, nil
}

// ownTime is the processor time that this process has spent so far.
func ownTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // not with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lines measures the engine: whole lines, pours included, on one core and on two. Where
// nothing else is said, it is processor time.
func (b *bench) lines(context.Context) error {
	const n = 20_000
	web, foreign, ssh := gen.NewWeb(false).Lines(n), gen.NewWeb(true).Lines(n), gen.SSH(n)
	courses := []course{
		{"web access lines, starter set", "nginx", web, hub.Base(), "", 0},
		{"ssh lines in syslog, starter set", "syslog", ssh, hub.Base(), "", 0},
	}
	if b.corpus != nil {
		enrich := []string{"crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich"}
		nginx := append(slices.Clone(enrich), "crowdsecurity/nginx-logs")
		base := b.corpus.pick(append(nginx, "crowdsecurity/base-http-scenarios/")...)
		all := b.corpus.pick(append(nginx, append(b.corpus.web(), "crowdsecurity/http-logs")...)...)
		sshd := b.corpus.pick(append(slices.Clone(enrich), "crowdsecurity/sshd")...)
		courses = append(courses,
			course{"nginx lines, base-http-scenarios", "nginx", web, base, "", 1000},
			course{"  the same, not ASCII", "nginx", foreign, base, "nginx lines, base-http-scenarios", 2},
			course{"  all HTTP scenarios", "nginx", web, all, "", 1500},
			course{"  everything of the hub", "nginx", web, b.corpus.all, "  all HTTP scenarios", 1.3},
			course{"ssh lines in syslog, sshd", "syslog", ssh, sshd, "", 1000},
			course{"  everything of the hub", "syslog", ssh, b.corpus.all, "ssh lines in syslog, sshd", 1.3},
		)
		if real, path, err := gen.AccessLog(); err == nil {
			courses = append(courses, course{fmt.Sprintf("%d real lines, base-http-scenarios", len(real)), "nginx", real, base, "", 0})
			_ = path
		}
	}
	figures := map[string]float64{}
	for _, c := range courses {
		took, ns, note, err := c.run(1)
		if err != nil {
			return err
		}
		figures[c.name] = ns
		switch {
		case c.against != "":
			note = fmt.Sprintf("%.2f times %q, target %g; %s", ns/figures[c.against], c.against, c.target, note)
		case c.target > 0:
			note = fmt.Sprintf("target %g ns; %s", c.target, note)
		}
		b.row(c.name, fmt.Sprintf("%.0f ns a line", ns), note)
		if c.name == "nginx lines, base-http-scenarios" && runtime.NumCPU() > 1 {
			two, both, _, err := c.run(2)
			if err != nil {
				return err
			}
			b.row("  two workers", fmt.Sprintf("%.0f ns a line", two),
				fmt.Sprintf("by the clock, %.2f times as fast as one, target 1.9; %.0f ns of processor time", took/two, both))
		}
	}
	return nil
}
