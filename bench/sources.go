//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"cs/bench/gen"
	"cs/bench/lab"
	"cs/decisions"
	"cs/pipeline"
	"cs/pipeline/event"
	"cs/pipeline/hub"
	"cs/pipeline/source"
	"cs/roles/config"
	"cs/roles/engine"
)

// sources measures what brings lines to the engine: cutting them, following a file, what that costs
// beside parsing, syslog over UDP, how soon a written line is parsed, and an agent that has nothing to read.
func (b *bench) sources(ctx context.Context) error {
	dir := filepath.Join(b.dir, "sources")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, measure := range []func(context.Context, string) error{b.split, b.reading, b.udp, b.wake, b.quiet} {
		if err := measure(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// split cuts lines on one core.
func (b *bench) split(context.Context, string) error {
	data := []byte(strings.Join(gen.NewWeb(false).Lines(1400), "\n") + "\n") // as much as a source reads at once
	now := time.Now()
	s := source.NewSplitter(event.Line{Module: "file"}, 0, func() time.Time { return now })
	best := time.Duration(1 << 62)
	const times = 400
	for range rounds {
		start := time.Now()
		for range times {
			skip := false
			for used := 0; used < len(data); {
				_, n := s.Take(data[used:], &skip, false)
				used += n
			}
		}
		best = min(best, time.Since(start))
	}
	b.row("line splitting, one core", fmt.Sprintf("%.2f GB/s", float64(times*len(data))/float64(best.Nanoseconds())), "target 1 GB/s")
	return nil
}

// open makes the source of an acquisition.
func open(text string, started func()) (source.Source, *source.Meters, error) {
	list, errs := config.ParseAcquisition("bench", []byte(text))
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	meters := new(source.Meters)
	src, _, err := engine.Reader{FromStart: true, Meters: meters, Started: started}.Open(list[0])
	return src, meters, err
}

// reading compares parsing lines that a file source reads with parsing the same lines in memory,
// by turns, on one core.
func (b *bench) reading(ctx context.Context, dir string) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	content, what := hub.Base(), "starter set"
	if b.corpus != nil {
		content, what = b.corpus.pick("crowdsecurity/syslog-logs", "crowdsecurity/dateparse-enrich", "crowdsecurity/nginx-logs", "crowdsecurity/base-http-scenarios/"), "base-http-scenarios"
	}
	e, errs := pipeline.Load(pipeline.Options{Content: content, Workers: 1, Alert: func(decisions.Alert) {}})
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	texts := gen.NewWeb(false).Lines(100_000)
	path := filepath.Join(dir, "access.log")
	if err := os.WriteFile(path, []byte(strings.Join(texts, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	now := time.Now()
	lines := make([]event.Line, len(texts))
	labels := map[string]string{"type": "nginx"}
	for i, text := range texts {
		lines[i] = event.Line{Raw: text, Src: path, Module: "file", Labels: labels, Time: now, Mode: event.Replay}
	}
	memory := func() error {
		for part := range slices.Chunk(lines, 1024) { // as the source hands them over
			e.Process(part, time.Now())
		}
		return nil
	}
	follow := func(process func([]event.Line)) error {
		src, _, err := open("filename: "+path+"\nuse_time_machine: true\nlabels: {type: nginx}\n", nil)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		n := 0
		err = src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			process(batch)
			done()
			if n += len(batch); n == len(lines) {
				cancel()
			}
			return nil
		})
		if n != len(lines) {
			return fmt.Errorf("%d of %d lines were read: %w", n, len(lines), err)
		}
		return nil
	}
	file := func() error { return follow(func(batch []event.Line) { e.Process(batch, time.Now()) }) }
	alone := func() error { return follow(func([]event.Line) {}) }
	ways := []func() error{memory, file, alone}
	best := slices.Repeat([]time.Duration{1 << 62}, len(ways))
	for range 2 * rounds {
		for i, way := range ways {
			runtime.GC()
			start := time.Now()
			if err := way(); err != nil {
				return err
			}
			best[i] = min(best[i], time.Since(start))
		}
	}
	ns := func(i int) float64 { return float64(best[i].Nanoseconds()) / float64(len(lines)) }
	b.row("parsed from memory, one core", fmt.Sprintf("%.0f ns a line", ns(0)), what)
	b.row("  from a file that is followed", fmt.Sprintf("%.0f ns a line", ns(1)), fmt.Sprintf("reading costs %.1f %%, target 5 %%", 100*(ns(1)/ns(0)-1)))
	b.row("  the file alone, unparsed", fmt.Sprintf("%.0f ns a line", ns(2)), fmt.Sprintf("%.2f GB/s", float64(len(strings.Join(texts, "\n")))/float64(best[2].Nanoseconds())))
	return nil
}

// udp sends 200,000 datagrams a second to a syslog source for some seconds.
func (b *bench) udp(ctx context.Context, _ string) error {
	const aSecond, seconds, burst = 200_000, 5, 40
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	c.Close()
	started := make(chan struct{})
	src, meters, err := open(fmt.Sprintf("source: syslog\nlisten_port: %d\nlabels: {type: syslog}\n", port), func() { close(started) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var got atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			got.Add(int64(len(batch)))
			done()
			return nil
		})
	}()
	select {
	case <-started:
	case err := <-ended:
		return err
	}
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	defer conn.Close()
	datagram := []byte("<34>Oct 11 22:14:15 web sshd[42]: Failed password for invalid user admin from 192.0.2.77 port 50022 ssh2")
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error // without it the sender is what is measured; see udp(7)
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, len(datagram)) }); err != nil || set != nil {
		return errors.Join(err, set)
	}
	text := bytes.Repeat(datagram, burst)
	begin := time.Now()
	sent := 0
	for ; sent < aSecond*seconds; sent += burst {
		time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Second / aSecond)))
		if _, err := conn.Write(text); err != nil {
			return err
		}
	}
	took := time.Since(begin)
	for last := int64(-1); got.Load() != last; time.Sleep(50 * time.Millisecond) {
		last = got.Load()
	}
	cancel()
	<-ended
	b.row("syslog over UDP", fmt.Sprintf("%.0f messages/s", float64(got.Load())/took.Seconds()),
		fmt.Sprintf("%d sent, %d lost, of which %d were noticed; target 200000 and none", sent, int64(sent)-got.Load(), meters.All()[0].Dropped.Load()))
	return nil
}

// wake writes a line now and then to a log that is quiet otherwise, and waits until it is parsed.
func (b *bench) wake(ctx context.Context, dir string) error {
	e, errs := pipeline.Load(pipeline.Options{Content: hub.Base(), Workers: 1, Alert: func(decisions.Alert) {}})
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	f, err := os.Create(filepath.Join(dir, "quiet.log"))
	if err != nil {
		return err
	}
	defer f.Close()
	started := make(chan struct{})
	src, _, err := open("filename: "+f.Name()+"\nlabels: {type: nginx}\n", func() { close(started) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	parsed, ended := make(chan time.Time, 1), make(chan error, 1)
	go func() {
		ended <- src.Run(ctx, func(_ context.Context, batch []event.Line, done func()) error {
			e.Process(batch, time.Now())
			parsed <- time.Now()
			done()
			return nil
		})
	}()
	defer func() { cancel(); <-ended }()
	<-started
	time.Sleep(100 * time.Millisecond)
	var took []time.Duration
	for _, line := range gen.NewWeb(false).Lines(300) {
		time.Sleep(5 * time.Millisecond)
		begin := time.Now()
		if _, err := f.WriteString(line + "\n"); err != nil {
			return err
		}
		select {
		case at := <-parsed:
			took = append(took, at.Sub(begin))
		case err := <-ended:
			ended <- err
			return err
		}
	}
	slices.Sort(took)
	b.row("from write to parsed line", took[len(took)/2].Round(time.Microsecond).String(), fmt.Sprintf("target 2 ms; median of %d, p99 %v", len(took), took[len(took)*99/100].Round(time.Microsecond)))
	return nil
}

// quiet runs an agent with 20 files to which nobody writes.
func (b *bench) quiet(ctx context.Context, dir string) error {
	const files, length = 20, 30 * time.Second
	args := []string{"agent", "--dry-run", "--data-dir", filepath.Join(dir, "data"), "--type", "nginx"}
	for i := range files {
		path := filepath.Join(dir, fmt.Sprintf("quiet%d.log", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		args = append(args, "--log", path)
	}
	agent, err := launch(ctx, lab.Ready("agent"), b.binary, args...)
	if err != nil {
		return err
	}
	defer agent.kill()
	cpu := func() (time.Duration, error) {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", agent.Process.Pid))
		if err != nil {
			return 0, err
		}
		var sum time.Duration
		for _, path := range tasks {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			ns, _, _ := strings.Cut(string(text), " ")
			n, err := strconv.ParseInt(ns, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n)
		}
		return sum, nil
	}
	time.Sleep(5 * time.Second)
	before, err := cpu()
	if err != nil {
		return err
	}
	select {
	case <-time.After(length):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpu()
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("idle CPU, %d quiet files", files), fmt.Sprintf("%.3f %%", 100*(after-before).Seconds()/length.Seconds()), "target 0.1 % of a core")
	return nil
}
