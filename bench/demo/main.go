//go:build linux

// Command demo shows the main job on real input: it builds a small network of
// two namespaces, lets cs watch log files that grow, and proves with packets
// that the attacker is dropped and an innocent neighbour is not; first with
// all roles in one process, then as three. It needs root and leaves nothing
// behind.
//
// usage: demo CS_BINARY
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cs/bench/gen"
	"cs/bench/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 55*time.Second)
	err := demo(ctx, os.Args[1:], &lineWriter{out: os.Stdout})
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, args []string, out io.Writer) (err error) {
	if len(args) != 1 {
		return errors.New("usage: demo CS_BINARY")
	}
	if err := lab.Usable(); err != nil {
		return fmt.Errorf("the demo can't run here: %w", err)
	}
	binary, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	web, from, err := gen.AccessLog()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "web access lines: %d from %s\n", len(web), from)

	var summary []string
	for _, s := range []struct {
		title string
		start func(*stage, context.Context) error
	}{
		{"1. all roles in one process: cs run", (*stage).startOne},
		{"2. three processes: cs lapi, cs agent, cs bouncer-firewall", (*stage).startThree},
	} {
		fmt.Fprintf(out, "\n== %s\n", s.title)
		line, err := play(ctx, out, binary, web, s.start)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		summary = append(summary, fmt.Sprintf("%s\n     %s", s.title, line))
	}
	fmt.Fprintf(out, "\n== summary\n  %s\n", strings.Join(summary, "\n  "))
	return nil
}

// stage is one run of the story: the network, the logs and the programs.
type stage struct {
	*lab.Lab
	binary, dir, auth, access string
	out                       io.Writer
	procs                     []*lab.Proc
}

func play(ctx context.Context, out io.Writer, binary string, web []string, start func(*stage, context.Context) error) (line string, err error) {
	dir, err := os.MkdirTemp("", "cs-demo-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	l, err := lab.New(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s := &stage{Lab: l, binary: binary, dir: dir, auth: filepath.Join(dir, "auth.log"), access: filepath.Join(dir, "access.log"), out: out}
	for _, f := range []string{s.auth, s.access} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			return "", err
		}
	}
	probe, err := l.Probe(ctx)
	if err != nil {
		return "", err
	}
	defer probe.Stop()
	for _, a := range []string{"attacker", "innocent"} {
		addr := lab.Attacker
		if a == "innocent" {
			addr = lab.Innocent
		}
		if _, err := probe.Await(ctx, addr, true); err != nil {
			return "", err
		}
		fmt.Fprintf(out, "  packets from the %s, %s, arrive\n", a, addr)
	}
	if err := start(s, ctx); err != nil {
		return "", err
	}

	fmt.Fprintf(out, "  a web server writes %d access lines, sshd writes failed logins of %s\n", len(web), lab.Attacker)
	if err := grow(s.access, web...); err != nil {
		return "", err
	}
	var last time.Time // when the line that makes the bucket overflow was written
	for i := range 6 {
		last = time.Now()
		err := grow(s.auth, fmt.Sprintf("%s demo sshd[%d]: Failed password for invalid user admin from %s port %d ssh2",
			last.Format("Jan _2 15:04:05"), 4000+i, lab.Attacker, 50000+i))
		if err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	dropped, err := probe.Await(ctx, lab.Attacker, false)
	if err != nil {
		return "", err
	}
	latency := max(dropped.Sub(last), 0)
	fmt.Fprintf(out, "  packets from the attacker, %s, are dropped %v after the sixth failed login was written\n", lab.Attacker, latency.Round(time.Millisecond))
	if !probe.Passing(lab.Innocent) {
		return "", errors.New("packets from the innocent neighbour are dropped as well")
	}
	fmt.Fprintf(out, "  packets from the innocent neighbour, %s, still arrive\n", lab.Innocent)

	table, err := s.Sh(ctx, s.binary+" decisions list --data-dir "+filepath.Join(s.dir, "lapi"))
	if err != nil {
		return "", fmt.Errorf("cs decisions list: %w: %s", err, table)
	}
	fmt.Fprint(out, indent(table))

	if _, err := s.Sh(ctx, "nft flush ruleset"); err != nil {
		return "", fmt.Errorf("nft flush ruleset: %w", err)
	}
	time.Sleep(time.Second)
	if probe.Passing(lab.Attacker) {
		return "", errors.New("a foreign 'nft flush ruleset' was not repaired within a second")
	}
	fmt.Fprintln(out, "  a neighbour's 'nft flush ruleset' a second ago: the attacker is still dropped")

	// The last to start reads the logs; it tells what it read when it stops.
	took, err := s.procs[len(s.procs)-1].Stop(ctx)
	if err != nil {
		return "", fmt.Errorf("stopping: %w", err)
	}
	fmt.Fprintf(out, "  stopped in %v\n", took.Round(time.Millisecond))
	return fmt.Sprintf("detection to drop: %v (from the write of the last log line to the last packet that got through)", latency.Round(time.Millisecond)), nil
}

func (s *stage) startOne(ctx context.Context) error {
	p, err := s.Start(s.echo("cs"), s.binary, "run", "--data-dir", filepath.Join(s.dir, "lapi"), "--listen", "127.0.0.1:8080",
		"--log", s.auth, "--type", "syslog", "--log", s.access, "--type", "nginx")
	if err != nil {
		return err
	}
	s.procs = append(s.procs, p)
	_, err = p.Wait(ctx, lab.Ready("run"))
	return err
}

func (s *stage) startThree(ctx context.Context) error {
	const token = "demo-token-of-thirty-two-characters-or-more"
	for _, c := range [][]string{
		{"lapi", "--listen", "127.0.0.1:8080", "--token", token},
		{"bouncer-firewall", "--lapi-url", "http://127.0.0.1:8080", "--token", token},
		{"agent", "--lapi-url", "http://127.0.0.1:8080", "--token", token, "--log", s.auth, "--type", "syslog", "--log", s.access, "--type", "nginx"},
	} {
		p, err := s.Start(s.echo(c[0]), s.binary, append(c, "--data-dir", filepath.Join(s.dir, strings.TrimSuffix(c[0], "-firewall")))...)
		if err != nil {
			return err
		}
		s.procs = append(s.procs, p)
		if _, err := p.Wait(ctx, lab.Ready(c[0])); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) echo(name string) func(string) {
	return func(line string) { fmt.Fprintf(s.out, "    %s | %s\n", name, line) }
}

func grow(path string, lines ...string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// lineWriter lets several programs print at once without mixing their lines.
type lineWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}
